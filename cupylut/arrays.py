"""What array is this? The libraries' arrays seen as NumPy or CuPy arrays over the same memory.

One small class a library, found by where the array's type comes from, so that nothing is imported
that the caller has not imported. Each knows how to *view* an array without a copy, how to allocate
a result of the same kind, and on which device and stream to work. Layout, promotion and `out=` are
then settled once, on the views.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from .accuracy import DTYPES, DType
from .device import require_cupy

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13  # DLPack device types


def result_dtype(dtype: DType) -> DType | None:
    """The dtype of f(x) for x of this dtype, as of a ufunc with loops e, f and d; None if none."""
    if dtype.newbyteorder("=") in DTYPES:
        return dtype.newbyteorder("=")
    return np.result_type(dtype, np.float16) if dtype.kind in "bui" else None


class NumpyArrays:
    """NumPy arrays and scalars, and whatever numpy.asarray takes."""

    def view(self, x: Any) -> Any:
        """x as a NumPy or CuPy array over the same memory, which may be non-dense."""
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(
                "masked arrays are not supported: pass x.data (and mask the result) or x.filled()"
            )
        return np.asarray(x)

    def result_dtype(self, view: Any) -> DType | None:
        """The dtype of the result for x with this view."""
        return result_dtype(view.dtype)

    def empty_like(self, view: Any, x: Any) -> tuple[Any, Any]:
        """A new array with the shape, strides and dtype of a dense view, and the view of it.

        Of x's kind where that kind can be written to; `finish` converts the others.
        """
        result = (np if isinstance(view, np.ndarray) else require_cupy()).empty_like(view)
        return result, result

    def finish(self, result: Any, x: Any) -> Any:
        """What the caller gets for a filled `empty_like`."""
        if isinstance(x, np.ndarray):
            return result if type(x) is np.ndarray else x.__array_wrap__(result)
        return result[()] if result.ndim == 0 else result

    def context(self, x: Any) -> AbstractContextManager[Any]:
        """Where to allocate and launch: x's device and its library's stream."""
        return nullcontext()

    def check_out(self, out: Any) -> None:
        """Raise where out cannot be written to."""


class CupyArrays(NumpyArrays):
    """CuPy arrays."""

    def view(self, x: Any) -> Any:
        return x

    def finish(self, result: Any, x: Any) -> Any:
        return result

    def context(self, x: Any) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = x.device
        return device


class TorchArrays(NumpyArrays):
    """PyTorch tensors on the CPU and on CUDA devices, through DLPack."""

    def view(self, x: Any) -> Any:
        torch = sys.modules["torch"]
        if type(x) not in (torch.Tensor, torch.nn.Parameter):
            raise TypeError(
                f"{_name(x)} is a tensor subclass with rules of its own: pass a plain torch.Tensor"
            )
        if x.layout != torch.strided or x.device.type not in ("cpu", "cuda"):
            raise TypeError(
                f"a {x.layout} tensor on {x.device} is not supported: pass a dense tensor on the "
                "CPU or a CUDA device"
            )
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "this tensor requires grad, and cupylut has no backward pass yet: call it under "
                "torch.no_grad() or pass x.detach()"
            )
        x = x.detach()
        if x.is_complex() or x.is_neg():
            x = x.resolve_conj().resolve_neg()
        if x.dtype == torch.bfloat16:  # NumPy knows no bfloat16 in DLPack
            return self._from_dlpack(x.view(torch.int16)).view(ml_dtypes.bfloat16)
        return self._from_dlpack(x)

    @staticmethod
    def _from_dlpack(x: Any) -> Any:
        try:
            return (require_cupy() if x.is_cuda else np).from_dlpack(x)
        except (BufferError, TypeError, ValueError) as error:
            raise TypeError(f"a tensor of {x.dtype} is not supported: {error}") from error

    def empty_like(self, view: Any, x: Any) -> tuple[Any, Any]:
        torch = sys.modules["torch"]
        strides = [stride // view.itemsize for stride in view.strides]
        dtype = getattr(torch, view.dtype.name)
        result = torch.empty_strided(view.shape, strides, dtype=dtype, device=x.device)
        return result, self.view(result)

    def finish(self, result: Any, x: Any) -> Any:
        return result

    def context(self, x: Any) -> AbstractContextManager[Any]:
        if not x.is_cuda:
            return nullcontext()
        stream = sys.modules["torch"].cuda.current_stream(x.device)
        return _device_and_stream(x.device.index, stream.cuda_stream)

    def check_out(self, out: Any) -> None:
        if out.requires_grad:
            raise ValueError("out requires grad: pass out.detach() or leave it out")


class JaxArrays(NumpyArrays):
    """Concrete JAX arrays on one CPU or CUDA device."""

    def view(self, x: Any) -> Any:
        on_cpu = self._device(x).platform == "cpu"
        return np.asarray(x) if on_cpu else require_cupy().from_dlpack(x)

    @staticmethod
    def _device(x: Any) -> Any:
        if isinstance(x, sys.modules["jax"].core.Tracer):
            raise TypeError(
                "a traced JAX array has no values yet: call cupylut outside jit, grad and vmap"
            )
        if len(x.devices()) != 1:
            raise TypeError("a JAX array spread over several devices: pass its shards one by one")
        device = next(iter(x.devices()))
        if device.platform not in ("cpu", "gpu", "cuda"):
            raise TypeError(f"a JAX array on {device}: pass one on the CPU or a CUDA device")
        return device

    def result_dtype(self, view: Any) -> DType | None:
        dtype = result_dtype(view.dtype)
        wide = sys.modules["jax"].config.jax_enable_x64
        return np.dtype(np.float32) if dtype == np.float64 and not wide else dtype

    def finish(self, result: Any, x: Any) -> Any:
        jax = sys.modules["jax"]
        if isinstance(result, np.ndarray):
            return jax.device_put(result, self._device(x), may_alias=True)
        return jax.dlpack.from_dlpack(result)

    def context(self, x: Any) -> AbstractContextManager[Any]:
        device = self._device(x)
        if device.platform == "cpu":
            return nullcontext()
        local: AbstractContextManager[Any] = require_cupy().cuda.Device(device.local_hardware_id)
        return local

    def check_out(self, out: Any) -> None:
        raise TypeError("JAX arrays are immutable, so out= cannot be one: use the returned array")


class DLPackArrays(NumpyArrays):
    """Any other array that offers DLPack on the CPU or a CUDA device."""

    def view(self, x: Any) -> Any:
        device, _ = x.__dlpack_device__()
        if device not in (CPU, CUDA, CUDA_HOST, CUDA_MANAGED):
            raise TypeError(f"{_name(x)} is on DLPack device type {device}: use the CPU or CUDA")
        module: Any = np if device in (CPU, CUDA_HOST) else require_cupy()
        try:
            return module.from_dlpack(x)
        except (BufferError, RuntimeError) as error:
            raise TypeError(f"{_name(x)} cannot be viewed through DLPack: {error}") from error

    def finish(self, result: Any, x: Any) -> Any:
        if hasattr(x, "__array_namespace__"):
            return x.__array_namespace__().from_dlpack(result)
        return result

    def context(self, x: Any) -> AbstractContextManager[Any]:
        device, index = x.__dlpack_device__()
        if device in (CPU, CUDA_HOST):
            return nullcontext()
        current: AbstractContextManager[Any] = require_cupy().cuda.Device(index)
        return current


_LIBRARIES: dict[str, NumpyArrays] = {
    "numpy": NumpyArrays(),
    "cupy": CupyArrays(),
    "torch": TorchArrays(),
    "jax": JaxArrays(),
    "jaxlib": JaxArrays(),
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
    library = _library(type(x))
    if library is None:
        library = _OTHER if hasattr(x, "__dlpack_device__") else _LIBRARIES["numpy"]
    return library


def check_out(library: NumpyArrays, x: Any, view: Any, dtype: DType, out: Any) -> Any:
    """The view of `out`, or an error that says how it does not fit x and the result's dtype."""
    if library_of(out) is not library or (type(library) is NumpyArrays and _is_no_array(out)):
        raise TypeError(f"out is a {_name(out)}: it must be an array of x's kind, {_name(x)}")
    library.check_out(out)
    target = library.view(out)
    if type(target) is not type(view) and not isinstance(target, type(view)):
        raise ValueError("out lies on another device than x: allocate it where x is")
    if getattr(target, "device", None) != getattr(view, "device", None):
        raise ValueError(f"out lies on {target.device}, x on {view.device}: allocate it where x is")
    if target.shape != view.shape:
        raise ValueError(f"out has shape {target.shape}, the result has {view.shape}")
    if target.dtype != dtype:
        raise ValueError(f"out has dtype {target.dtype}, the result has {dtype}")
    if not getattr(target.flags, "writeable", True):
        raise ValueError("out is read-only: pass a writable array")
    if any(n > 1 and stride == 0 for n, stride in zip(target.shape, target.strides, strict=True)):
        raise ValueError("out refers to the same memory more than once: pass a plain array")
    if not same_memory(view, target) and shares_memory(view, target):
        raise ValueError("out overlaps x without being x: pass x itself, or an array apart from it")
    return target


def _is_no_array(out: Any) -> bool:
    return not isinstance(out, np.ndarray)


def same_memory(a: Any, b: Any) -> bool:
    """Whether two views are element for element the same memory."""
    return bool(
        _address(a) == _address(b)
        and a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
    )


def shares_memory(a: Any, b: Any) -> bool:
    """Whether two views have a byte in common; yes where that is too hard to tell."""
    if not isinstance(a, np.ndarray):
        return bool(require_cupy().shares_memory(a, b))
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def is_dense(view: Any) -> bool:
    """Whether the view is all of a stretch of memory, each element once, in any order of axes."""
    expected = view.itemsize
    for axis in reversed(_memory_order(view)):
        if view.shape[axis] > 1 and view.strides[axis] != expected:
            return False
        expected *= view.shape[axis]
    return True


def dense(view: Any, dtype: DType) -> Any:
    """The view itself, or a copy, as a dense, aligned array of this dtype, native byte order."""
    if view.dtype == dtype and is_dense(view) and getattr(view.flags, "aligned", True):
        return view
    return view.astype(dtype, order="K", copy=True)


def flat(view: Any) -> Any:
    """A dense view as one dimension, in the order of memory."""
    return view.transpose(_memory_order(view)).reshape(-1)


def _memory_order(view: Any) -> list[int]:
    """The axes from the widest stride to the narrowest; those of length 1 do not matter."""
    return sorted(range(view.ndim), key=lambda axis: -view.strides[axis])


def _address(view: Any) -> int:
    return int(view.ctypes.data if isinstance(view, np.ndarray) else view.data.ptr)


def _name(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


@contextmanager
def _device_and_stream(device: int, stream: int) -> Iterator[None]:
    cupy: ModuleType = require_cupy()
    with cupy.cuda.Device(device), cupy.cuda.ExternalStream(stream, device):
        yield
