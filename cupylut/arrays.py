"""What array is this? The libraries' arrays seen as NumPy or CuPy arrays over the same memory.

One small class a library, found by where the array's type comes from, so that nothing is imported
that the caller has not imported but CuPy, for an array on a GPU. Each knows how to *view* an array
without a copy, how to allocate a result of the same kind, and on which device and stream to work.
Layout, promotion and `out=` are then settled once, on the views.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from typing import Any

import ml_dtypes
import numpy as np

from . import memory
from .cuda import on_device_and_stream, on_device_until_done, require_cupy
from .dlpack import aligned, exchanged, name_of, namespace_of
from .dtypes import DTYPES, FLOAT32, FLOATS8, DType

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13  # DLPack device types

_WHAT_WORKS = (
    "convert it to float16, bfloat16, float32 or float64 (8-bit floats are for tables of theirs, "
    "made by cupylut.quantized)"
)

NO_CONTEXT = nullcontext()  # has no state, so one will do


@lru_cache(maxsize=256)
def result_dtype(dtype: DType) -> DType | None:
    """The dtype of f(x) for x of this dtype, as of a ufunc with loops e, f and d; None if none."""
    if dtype.kind in "bui":
        return np.result_type(dtype, np.float16)
    native = dtype.newbyteorder("=") if dtype.kind in "fV" else dtype  # bfloat16 is of kind V
    return next((known for known in DTYPES if known == native), None)


class NumpyArrays:
    """NumPy arrays and scalars, and whatever numpy.asarray takes."""

    def is_traced(self, x: Any) -> bool:
        """Whether x stands for arrays that are not there yet; JAX's only."""
        return False

    def context(self, x: Any) -> AbstractContextManager[Any]:
        """Where to allocate and launch: x's device and its library's stream."""
        return NO_CONTEXT

    def view(self, x: Any) -> Any:
        """x as a NumPy or CuPy array over the same memory, which may be non-dense."""
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(
                "masked arrays are not supported: pass x.data (and mask the result) or x.filled()"
            )
        return np.asarray(x)

    def result_dtype(self, view: Any) -> DType:
        """The dtype of the result for x with this view, or a TypeError."""
        dtype = result_dtype(view.dtype)
        if dtype is None:
            raise TypeError(f"an array of {view.dtype} is not supported: {_WHAT_WORKS}")
        return dtype

    def empty_like(self, view: Any, dtype: DType, x: Any) -> tuple[Any, Any]:
        """A new dense array of x's shape and order in memory, and the view of it.

        Of x's kind where that kind can be written to; `finish` converts the others.
        """
        result = memory.empty_like(view, dtype)
        return result, result

    def scratch_like(self, view: Any, dtype: DType, x: Any) -> Any:
        """A view like that of `empty_like`, of memory that is given back when the call is done."""
        return memory.scratch_like(view, dtype)

    def finish(self, result: Any, x: Any) -> Any:
        """What the caller gets for a filled `empty_like`."""
        if isinstance(x, np.ndarray):
            return result if type(x) is np.ndarray else x.__array_wrap__(result)
        return result[()] if result.ndim == 0 else result

    def refuse_out(self, out: Any, x: Any) -> None:
        """Raise where out is not of x's kind or cannot be written to."""
        if not isinstance(out, np.ndarray):
            raise wrong_kind(out, x)

    def written(self, out: Any) -> None:
        """Tell the library that out has new values."""


class CupyArrays(NumpyArrays):
    """CuPy arrays."""

    def context(self, x: Any) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = x.device
        return device

    def view(self, x: Any) -> Any:
        return aligned(x, x)

    def finish(self, result: Any, x: Any) -> Any:
        return result

    def refuse_out(self, out: Any, x: Any) -> None:
        """Nothing to check: whatever CuPy made can be written to."""


class TorchArrays(NumpyArrays):
    """PyTorch tensors on the CPU and CUDA devices, for tables and out=: see torch/operators.py."""

    def context(self, x: Any) -> AbstractContextManager[Any]:
        self._check(x)
        if not x.is_cuda:
            return NO_CONTEXT
        stream = sys.modules["torch"].cuda.current_stream(x.device)
        return on_device_and_stream(x.device.index, stream.cuda_stream)

    @staticmethod
    def _check(x: Any) -> None:
        torch = sys.modules["torch"]
        if type(x) not in (torch.Tensor, torch.nn.Parameter):
            raise TypeError(f"{name_of(x)} has rules of its own: pass a plain torch.Tensor")
        if x.layout != torch.strided or x.device.type not in ("cpu", "cuda"):
            raise TypeError(
                f"a {x.layout} tensor on {x.device} is not supported: pass a dense tensor on the "
                "CPU or a CUDA device"
            )
        if x.is_quantized:  # a table of cupylut.quantized takes its integers
            raise TypeError(f"a quantized {x.dtype} tensor: pass its int_repr() or dequantize()")
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "a tensor requires grad, and neither a table nor out= records a gradient: call a "
                "function such as cupylut.gelu without out=, or pass the tensor's detach()"
            )
        if torch.autograd.forward_ad.unpack_dual(x).tangent is not None:
            raise ValueError(
                "a tensor has a tangent, and neither a table nor out= has a forward derivative: "
                "call a function such as cupylut.gelu without out=, or pass the tensor's primal"
            )

    def view(self, x: Any) -> Any:
        cupy = require_cupy() if x.is_cuda else None
        try:
            if x.is_neg():  # a bit that no exchange of memory knows of
                x = x.resolve_neg()
            if x.is_floating_point() and x.itemsize == 1:  # unknown to NumPy's and CuPy's halves
                name = str(x.dtype).removeprefix("torch.")
                pattern = x.detach().view(sys.modules["torch"].uint8)
                return self.view(pattern).view(getattr(ml_dtypes, name))
            if cupy is None:
                view = self.on_cpu(x)
            else:  # CuPy is on the tensor's stream already: -1 asks for no synchronisation
                view = aligned(cupy.from_dlpack(x.detach().__dlpack__(stream=-1)), x)
            if view.size > 0 and memory.address(view) != x.data_ptr():
                raise TypeError("its memory cannot be seen")
        except (AssertionError, AttributeError, BufferError, RuntimeError, TypeError) as error:
            raise TypeError(
                f"a tensor of {x.dtype} that is no array of numbers ({error}): pass one of "
                "float16, bfloat16, float32 or float64 that holds values, so not a fake one, nor "
                "one inside a torch.func transform"
            ) from error
        return view

    @staticmethod
    def on_cpu(x: Any) -> Any:
        """A tensor on the CPU as a NumPy array, which is of other memory where it has none."""
        torch = sys.modules["torch"]
        if x.requires_grad:
            x = x.detach()
        if x.dtype == torch.bfloat16:  # unknown to torch's half of the exchange
            return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return x.numpy()

    def empty_like(self, view: Any, dtype: DType, x: Any) -> tuple[Any, Any]:
        torch = sys.modules["torch"]
        part = x[tuple(map(slice, view.shape))]  # of a packed x, the view is half
        result = torch.empty_like(part, dtype=getattr(torch, dtype.name), requires_grad=False)
        return result, self.view(result)

    def scratch_like(self, view: Any, dtype: DType, x: Any) -> Any:
        """Of PyTorch's memory, which takes care of graphs."""
        return self.empty_like(view, dtype, x)[1]

    def finish(self, result: Any, x: Any) -> Any:
        return result

    def refuse_out(self, out: Any, x: Any) -> None:
        self._check(out)
        if out.device != x.device:
            raise wrong_device(out.device, x.device)
        if out.is_neg():
            raise ValueError("out has its negative bit set: pass a tensor without it")

    def written(self, out: Any) -> None:
        # Or backward passes that saved out would not notice that it changed.
        sys.modules["torch"].autograd.graph.increment_version(out)


class JaxArrays(NumpyArrays):
    """JAX arrays on one CPU or CUDA device; what JAX traces is its own view."""

    def is_traced(self, x: Any) -> bool:
        return isinstance(x, sys.modules["jax"].core.Tracer)

    def context(self, x: Any) -> AbstractContextManager[Any]:
        if self.is_traced(x):
            return NO_CONTEXT
        device = self.device_of(x)
        if device.platform == "cpu":
            return NO_CONTEXT
        # XLA gives the memory of an x that is deleted to whatever its own stream does next.
        return on_device_until_done(device.local_hardware_id)

    @staticmethod
    def device_of(x: Any) -> Any:
        """The device that x lies on; TypeError where it has several, or another kind of one."""
        if not isinstance(x, sys.modules["jax"].Array):
            raise TypeError(f"{name_of(x)} is not a JAX array: pass a jax.Array")
        if len(x.devices()) != 1:
            raise TypeError("a JAX array spread over several devices: call cupylut under jax.jit")
        device = next(iter(x.devices()))
        if device.platform not in ("cpu", "gpu", "cuda"):
            raise TypeError(f"a JAX array on {device}: call cupylut under jax.jit")
        return device

    def view(self, x: Any) -> Any:
        if self.is_traced(x):
            return x
        if self.device_of(x).platform == "cpu":
            return np.asarray(x)
        if x.dtype in FLOATS8:  # unknown to CuPy's half; JAX makes a copy
            return exchanged(require_cupy(), x.view(np.uint8)).view(x.dtype)
        return exchanged(require_cupy(), x)

    def result_dtype(self, view: Any) -> DType:
        if not isinstance(view.dtype, np.dtype):  # of random keys, which have no numbers to show
            raise TypeError(f"an array of {view.dtype} is not supported: {_WHAT_WORKS}")
        dtype = super().result_dtype(view)
        if view.dtype.kind in "bui" and not sys.modules["jax"].config.jax_enable_x64:
            return min(dtype, FLOAT32)
        return dtype

    def empty_like(self, view: Any, dtype: DType, x: Any) -> tuple[Any, Any]:
        if not isinstance(view, np.ndarray):
            return self._empty_on_gpu(view, dtype, x)
        # XLA takes over memory that begins at a multiple of 64 bytes, and copies all other.
        size = view.size * dtype.itemsize
        raw = np.empty(size + 64, np.uint8)
        start = -memory.address(raw) % 64
        result = raw[start : start + size].view(dtype).reshape(view.shape)
        return result, result

    def _empty_on_gpu(self, view: Any, dtype: DType, x: Any) -> tuple[Any, Any]:
        """Memory of JAX's own, which XLA keeps for as long as it reads it; of CuPy's it would not.

        Nothing else refers to the array yet, so that it can be written to.
        """
        if dtype in FLOATS8:  # unknown to CuPy's half
            return super().empty_like(view, dtype, x)
        empty = partial(sys.modules["jax"].numpy.empty, view.shape, dtype)
        result = self._beside(x, lambda where: empty(device=where)).block_until_ready()
        return result, exchanged(require_cupy(), result)

    def _beside(self, x: Any, make: Callable[[Any], Any]) -> Any:
        """make(a sharding or None): an array where x lies, which JAX may move if it may move x."""
        jax = sys.modules["jax"]
        with jax.enable_x64(True):  # float64 arrays are used outside of it too
            if x.committed:
                return make(x.sharding)
            with jax.default_device(self.device_of(x)):
                return make(None)

    def finish(self, result: Any, x: Any) -> Any:
        jax = sys.modules["jax"]
        if isinstance(result, jax.Array):
            return result
        if isinstance(result, np.ndarray):
            return self._beside(x, partial(jax.device_put, result, may_alias=True))
        patterns = jax.dlpack.from_dlpack(result.view(np.uint8))
        return patterns.view(result.dtype).block_until_ready()  # a copy; CuPy's memory is free then

    def refuse_out(self, out: Any, x: Any) -> None:
        raise TypeError("JAX arrays are immutable, so out= cannot be one: use the returned array")


class DLPackArrays(NumpyArrays):
    """Any other array that offers DLPack on the CPU or a CUDA device.

    NumPy and CuPy are the consumers: they ask for the newest version that they know, do without
    the keywords of a producer that knows no versions, and CuPy hands over its current stream.
    """

    def context(self, x: Any) -> AbstractContextManager[Any]:
        device, index = self._device(x)
        return NO_CONTEXT if device in (CPU, CUDA_HOST) else on_device_until_done(index)

    @staticmethod
    def _device(x: Any) -> tuple[int, int]:
        device, index = x.__dlpack_device__()
        if device not in (CPU, CUDA, CUDA_HOST, CUDA_MANAGED):
            raise TypeError(f"{name_of(x)} is on DLPack device type {device}: use the CPU or CUDA")
        return device, index

    def view(self, x: Any) -> Any:
        if self._device(x)[0] in (CPU, CUDA_HOST):
            return exchanged(np, x)
        return aligned(exchanged(require_cupy(), x), x)

    def empty_like(self, view: Any, dtype: DType, x: Any) -> tuple[Any, Any]:
        namespace = namespace_of(x)
        if dtype.itemsize == 2 and namespace and not hasattr(namespace, dtype.name):
            raise TypeError(
                f"the result for {view.dtype} is of {dtype}, which the library of {name_of(x)} "
                "does not have: convert x to float32 first"
            )
        return super().empty_like(view, dtype, x)

    def finish(self, result: Any, x: Any) -> Any:
        if namespace := namespace_of(x):
            result = namespace.from_dlpack(result)  # on its default device of that kind
            return result if result.device == x.device else result.to_device(x.device)
        return result

    def refuse_out(self, out: Any, x: Any) -> None:
        if type(out) is not type(x):
            raise wrong_kind(out, x)
        one, other = self.view(out), self.view(out)
        if one.size > 0 and memory.address(one) != memory.address(other):
            raise ValueError(
                f"out is a {name_of(out)} that exports copies of its memory, so it would not "
                "change: leave out= out and use the result"
            )


class DaskArrays(NumpyArrays):
    """Dask arrays, whose blocks belong to a library of their own once they are computed."""

    def view(self, x: Any) -> Any:
        raise TypeError("a Dask array has no values yet: map over its blocks, or compute() it")

    def map_blocks(self, function: Callable[[Any], Any], name: str, x: Any, out: Any) -> Any:
        """The Dask array of function(block) of the same shape, in a layer of this name."""
        dask = sys.modules["dask.array"]
        if not isinstance(x, dask.Array):
            raise TypeError(f"{name_of(x)} is not a Dask array: pass a dask.array.Array")
        if out is not None:
            raise TypeError("Dask arrays are lazy, so there is no out=: use the returned array")
        # An empty block tells the kind of the result, and errors now rather than when computed.
        meta = function(dask.utils.meta_from_array(x))
        return x.map_blocks(function, token=name, dtype=meta.dtype, meta=meta)


_LIBRARIES: dict[str, NumpyArrays] = {
    "numpy": NumpyArrays(),
    "cupy": CupyArrays(),
    "torch": TorchArrays(),
    "jax": JaxArrays(),
    "jaxlib": JaxArrays(),
    "dask": DaskArrays(),
}
_OTHER = DLPackArrays()


@lru_cache(maxsize=256)
def _library(cls: Any) -> NumpyArrays | None:
    for base in cls.__mro__:
        library = _LIBRARIES.get(base.__module__.partition(".")[0])
        if library is not None:
            return library
    return None


def library_of(x: Any) -> NumpyArrays:
    """The library that x belongs to; numpy.asarray decides on what none of them knows."""
    cls: Any = type(x)
    library = _library(cls)
    if library is not None:
        return library
    if hasattr(x, "__dlpack_device__"):
        return _OTHER
    if hasattr(x, "__cuda_array_interface__"):
        raise TypeError(f"{name_of(x)} is on a GPU and has no DLPack: pass cupy.asarray(x)")
    return _LIBRARIES["numpy"]


def wrong_kind(out: Any, x: Any) -> TypeError:
    """The error about an `out` that is of another kind than x."""
    return TypeError(f"out is a {name_of(out)}: it must be an array of x's kind, {name_of(x)}")


def wrong_device(out: Any, x: Any) -> ValueError:
    """The error about an `out` on another device than x."""
    return ValueError(f"out lies on {out}, x on {x}: allocate it where x is")
