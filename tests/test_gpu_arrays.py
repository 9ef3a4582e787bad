"""The array contract on a CUDA device: CuPy, PyTorch, JAX and anything else with DLPack.

The host is the reference: results must have its bits. Whether there is a device at all is settled
in conftest.py; a library that is here without CUDA support is skipped by itself.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax  # noqa: TID251
import ml_dtypes
import numpy as np
import pytest
import torch  # noqa: TID251
from gpu import cupy, fewer
from samples import bits, by_dtype, values

import cupylut
from cupylut.dtypes import BFLOAT16, all_inputs
from cupylut.functions import FUNCTIONS

pytestmark = pytest.mark.gpu(interpreted=True)

by_name = pytest.mark.parametrize("name", FUNCTIONS)
needs_torch = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch without CUDA")


def same(x: Any, y: Any) -> bool:
    """Equal bit by bit; NaN may be any NaN, as devices have one of their own.

    In float32 and float64 a last bit may differ: polynomials are evaluated in other steps on the
    host, and the nodes of linear tables come from the device's own erfc, exp and tanh. test_device
    compares from the same lines.
    """
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    nan = np.isnan(x)
    equal = (bits(x) == bits(y)) | nan
    if x.dtype.itemsize > 2:
        with np.errstate(invalid="ignore"):
            slack = {4: 2.0**-22, 8: 2.0**-45}[x.dtype.itemsize] * np.maximum(2.0**-8, np.abs(y))
            equal |= (np.abs(x - y) <= slack) & (np.signbit(x) == np.signbit(y))
    return bool((nan == np.isnan(y)).all() and equal.all())


def inputs(dtype: Any) -> Any:
    """All inputs of a 16-bit dtype; for the others random bits and ordinary numbers."""
    if dtype.itemsize == 2:
        return all_inputs(dtype)
    rng, count = np.random.default_rng(0), fewer(500_000, 2000)
    random_bits = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype)
    ordinary = rng.normal(scale=4, size=count).astype(dtype)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    return np.concatenate([random_bits, ordinary, special])


# ---- the libraries ------------------------------------------------------------------------------


class Cupy:
    """How to make a GPU array and how to read it, for CuPy."""

    name = "cupy"

    def make(self, x: Any) -> Any:
        if x.dtype == BFLOAT16:
            return cupy.asarray(x.view(np.uint16)).view(BFLOAT16)
        return cupy.asarray(x)

    def read(self, x: Any) -> Any:
        return x.view(np.uint16).get().view(BFLOAT16) if x.dtype == BFLOAT16 else x.get()

    def is_like(self, y: Any, x: Any) -> bool:
        return type(y) is cupy.ndarray and y.device == x.device and y.dtype == x.dtype


class Torch:
    """The same for PyTorch."""

    name = "torch"

    def make(self, x: Any) -> Any:
        if x.dtype == BFLOAT16:
            return torch.from_numpy(x.view(np.int16).copy()).cuda().view(torch.bfloat16)
        return torch.from_numpy(x.copy()).cuda()

    def read(self, x: Any) -> Any:
        x = x.detach().cpu()
        if x.dtype == torch.bfloat16:
            return x.view(torch.int16).numpy().view(BFLOAT16)
        return x.numpy()

    def is_like(self, y: Any, x: Any) -> bool:
        return type(y) is torch.Tensor and y.device == x.device and y.dtype == x.dtype


class Jax:
    """The same for JAX; float64 only where x64 is on."""

    name = "jax"

    def make(self, x: Any) -> Any:
        return jax.device_put(x, jax.devices("cuda")[0])

    def read(self, x: Any) -> Any:
        return np.asarray(x)

    def is_like(self, y: Any, x: Any) -> bool:
        return isinstance(y, jax.Array) and y.devices() == x.devices() and y.dtype == x.dtype


@pytest.fixture(params=[Cupy, pytest.param(Torch, marks=needs_torch), Jax], ids=lambda c: c.name)
def library(request: pytest.FixtureRequest) -> Any:
    if request.param is Jax:
        try:
            jax.devices("cuda")
        except RuntimeError as error:
            pytest.skip(f"JAX without CUDA: {error}")
    return request.param()


@by_dtype
@by_name
def test_the_device_computes_the_hosts_bits(library: Any, name: str, dtype: Any) -> None:
    function, x = getattr(cupylut, name), inputs(dtype)
    with jax.enable_x64(True):
        there = library.make(x)
        y = function(there)
        assert library.is_like(y, there)
        with np.errstate(invalid="ignore"):  # signalling NaN among the bits
            assert same(library.read(y), function(x))
            assert same(library.read(there), x)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (1, 5), (2, 3, 5), (1025,)])
@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32], ids=str)
def test_every_shape(library: Any, shape: tuple[int, ...], dtype: Any) -> None:
    x = values(shape, dtype)
    there = library.make(x)
    y = cupylut.silu(there)
    assert library.is_like(y, there)
    assert same(library.read(y), cupylut.silu(x))


@pytest.mark.parametrize("dtype", [np.bool, np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_integers_promote_as_on_the_host(library: Any, dtype: Any) -> None:
    x = np.array([0, 1, 3, 100]).astype(dtype)
    with jax.enable_x64(True):
        y = library.read(cupylut.gelu(library.make(x)))
    assert same(y, cupylut.gelu(x))


@pytest.mark.parametrize("dtype", [np.complex64, ml_dtypes.float8_e4m3fn], ids=str)
def test_other_dtypes_are_refused(library: Any, dtype: Any) -> None:
    if dtype is np.complex64:
        x = library.make(np.zeros(3, dtype))
    elif library.name == "torch":
        x = torch.zeros(3).cuda().to(torch.float8_e4m3fn)
    elif library.name == "jax":
        x = library.make(np.zeros(3, dtype))
    else:
        pytest.skip("CuPy has no such dtype")
    with pytest.raises(TypeError, match="float16, bfloat16, float32 or float64"):
        cupylut.gelu(x)


# ---- layouts and out=, for the libraries that have them -----------------------------------------

# name -> (shape of the memory, the view of it, whether it is dense). The view is written in what
# CuPy and PyTorch have in common.
VIEWS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any], bool]] = {
    "c": ((4, 6, 10), lambda a: a, True),
    "fortran": ((10, 6, 4), lambda a: a.swapaxes(0, 2), True),
    "channels last": ((4, 10, 6), lambda a: a.swapaxes(1, 2), True),
    "sliced": ((8, 12, 20), lambda a: a[1::2, ::2, 1::2], False),
    "part of rows": ((4, 6, 20), lambda a: a[:, :, 3:13], False),
    "outer rows": ((8, 6, 10), lambda a: a[::2], False),
    "unaligned": ((241,), lambda a: a[1:].reshape(4, 6, 10), True),
}
by_view = pytest.mark.parametrize("view", VIEWS)
by_strided_library = pytest.mark.parametrize(
    "library", [Cupy(), pytest.param(Torch(), marks=needs_torch)], ids=lambda c: c.name
)


def strides(x: Any) -> tuple[int, ...]:
    return tuple(x.stride()) if isinstance(x, torch.Tensor) else tuple(x.strides)


def laid_out(library: Any, content: Any, view: str) -> tuple[Any, Any]:
    """A GPU array of this layout with this content, and the array that it is a view of."""
    shape, see, _ = VIEWS[view]
    memory = np.full(shape, 7, content.dtype)
    see(memory)[...] = content
    there = library.make(memory)
    return see(there), there


@by_view
@by_strided_library
@by_dtype
def test_layouts(library: Any, view: str, dtype: Any) -> None:
    content = values((4, 6, 10), dtype)
    x, _ = laid_out(library, content, view)
    y = cupylut.gelu(x)
    assert library.is_like(y, x)
    assert same(library.read(y), cupylut.gelu(content))
    assert same(library.read(x), content)
    if VIEWS[view][2]:
        assert strides(y) == strides(x)


@by_strided_library
def test_a_broadcast_view_gives_a_full_array(library: Any) -> None:
    content = np.linspace(-3, 3, 5, dtype=np.float32)
    row = library.make(content)
    x = row.expand(4, 5) if library.name == "torch" else cupy.broadcast_to(row, (4, 5))
    y = cupylut.gelu(x)
    assert same(library.read(y), cupylut.gelu(np.broadcast_to(content, (4, 5))))
    assert strides(y) == strides(library.make(np.zeros((4, 5), np.float32)))


@by_view
@pytest.mark.parametrize("out_view", VIEWS)
@by_strided_library
@by_dtype
def test_out_takes_every_layout_and_nothing_beside_it_is_written(
    library: Any, view: str, out_view: str, dtype: Any
) -> None:
    content = values((4, 6, 10), dtype)
    want = np.full(VIEWS[out_view][0], 7, dtype)
    VIEWS[out_view][1](want)[...] = cupylut.gelu(content)
    x, _ = laid_out(library, content, view)
    out, memory = laid_out(library, np.zeros((4, 6, 10), dtype), out_view)
    assert cupylut.gelu(x, out=out) is out
    assert same(library.read(memory), want)
    if view == out_view:
        x, memory = laid_out(library, content, view)
        assert cupylut.gelu(x, out=x) is x
        assert same(library.read(memory), want)


@by_strided_library
def test_out_must_fit(library: Any) -> None:
    memory = library.make(np.zeros(100, np.float32))
    for x, out, message in [
        (memory[:50], memory[1:51], "out overlaps an input"),
        (memory[:50], memory[49:99], "out overlaps an input"),
        (memory[::2], memory[:50], "out overlaps an input"),
        (memory[:50], memory[50:99], "out has shape"),
        (memory[:50], library.make(np.zeros(50)), "out has dtype float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            cupylut.gelu(x, out=out)
    assert cupylut.gelu(memory[::2], out=memory[1::2]) is not None
    for other in (np.zeros(100, np.float32), [0.0] * 100):
        with pytest.raises(TypeError, match="it must be an array of x's kind"):
            cupylut.gelu(memory, out=other)


def test_out_must_not_overlap_itself() -> None:
    out = cupy.lib.stride_tricks.as_strided(cupy.zeros(9, np.float32), (4, 5), (4, 4))
    with pytest.raises(ValueError, match="out refers to the same memory more than once"):
        cupylut.gelu(cupy.zeros((4, 5), np.float32), out=out)


@needs_torch
def test_out_must_be_on_the_inputs_device() -> None:
    here, there = torch.zeros(3), torch.zeros(3).cuda()
    for x, out in ((here, there), (there, here)):
        with pytest.raises(ValueError, match=r"out lies on .*, x on .*: allocate it where x is"):
            cupylut.gelu(x, out=out)


# ---- CuPy's streams and other arrays with DLPack ------------------------------------------------

SPIN = r"""
extern "C" __global__ void spin(long long cycles) {
  long long start = clock64();
  while (clock64() - start < cycles) {}
}
"""
CYCLES = 200_000_000  # about a tenth of a second


@pytest.mark.gpu
def test_cupy_work_is_ordered_on_the_current_stream() -> None:
    content = values(10_000, np.float32)
    ready, x = cupy.asarray(content), cupy.zeros(10_000, np.float32)
    spin = cupy.RawKernel(SPIN, "spin")
    cupy.cuda.Device().synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        # First to warm tables and kernels; twice, as a round's results live on in the next one,
        # which must find memory in the pool.
        for cycles in (1, 1, CYCLES):
            spin((1,), (1,), (np.int64(cycles),))
            x[...] = ready
            results = [cupylut.gelu(x), cupylut.gelu(x, out=cupy.empty_like(x))]
            finished = stream.done
            stream.synchronize()
            x[...] = 0
            stream.synchronize()
    assert not finished  # so nothing has waited for the device
    for y in results:
        assert same(y.get(), cupylut.gelu(content))


class Foreign:
    """Nothing but the protocol, around a CuPy array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)


class StandardForeign(Foreign):
    """With the namespace of the array API standard, and dtypes of 16 bits in it."""

    @property
    def device(self) -> Any:
        return self.array.device

    def __array_namespace__(self) -> Any:
        def from_dlpack(array: Any) -> Any:
            return StandardForeign(cupy.from_dlpack(array))

        return SimpleNamespace(from_dlpack=from_dlpack, float16=np.float16, bfloat16=BFLOAT16)


@by_dtype
@pytest.mark.parametrize("kind", [Foreign, StandardForeign])
def test_any_array_with_dlpack_is_taken(kind: type[Foreign], dtype: Any) -> None:
    content = values((4, 6), dtype)
    views: list[Callable[[Any], Any]]
    views = [lambda a: a, lambda a: a.T, lambda a: a[::2, 1::2], lambda a: a[0, 0]]
    for view in views:
        x = kind(view(Cupy().make(content)))
        y = cupylut.gelu(x)
        assert type(y) is (kind if kind is StandardForeign else cupy.ndarray)
        y = getattr(y, "array", y)
        assert same(Cupy().read(y), cupylut.gelu(np.array(view(content))))
    out = kind(cupy.zeros((4, 6), dtype))
    assert cupylut.gelu(kind(Cupy().make(content)), out=out) is out
    assert same(Cupy().read(out.array), cupylut.gelu(content))


def test_a_foreign_producer_is_given_the_stream_and_may_reuse_its_memory_at_once() -> None:
    content, streams = values(10_000, np.float32), []

    class Recording(Foreign):
        def __dlpack__(self, **options: Any) -> Any:
            streams.append(options["stream"])
            return super().__dlpack__(**options)

    memory, out = cupy.asarray(content), cupy.zeros(10_000, np.float32)
    cupy.cuda.Device().synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        y = cupylut.gelu(Recording(memory))
        cupylut.gelu(Recording(memory), out=Recording(out))
        assert stream.done
        assert set(streams) == {stream.ptr}
    memory[...] = 0
    for result in (y, out):
        assert same(result.get(), cupylut.gelu(content))
