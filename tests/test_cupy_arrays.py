"""Real CuPy arrays without a GPU: CuPy asks for no device while their memory is the host's.

Whatever would copy, or launch a kernel, fails here: there is no driver.
"""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cupylut import arrays, memory, outputs
from cupylut.dtypes import BFLOAT16, FLOATS8

cupy = pytest.importorskip("cupy")


def of_the_host(size: int) -> Any:
    """So many bytes of the host as CuPy allocates them on device 0."""
    owner = np.zeros(size + 1, np.uint8)
    unowned = cupy.cuda.UnownedMemory(owner.ctypes.data, owner.nbytes, owner, 0)
    return cupy.cuda.MemoryPointer(unowned, 0)


@pytest.fixture(autouse=True)
def host_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(memory, "require_cupy", lambda: cupy)
    with cupy.cuda.using_allocator(of_the_host):
        yield


def in_order(module: Any, shape: tuple[int, ...], axes: tuple[int, ...], dtype: Any) -> Any:
    """An array whose axes lie in memory in this order, the last one the nearest."""
    return module.empty([shape[axis] for axis in axes], dtype).transpose(np.argsort(axes))


SHAPES = list(itertools.product((1, 2, 3), (1, 4), (0, 1, 5)))
ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("axes", ORDERS, ids=str)
def test_dense_arrays_are_flat_without_a_copy(axes: tuple[int, ...]) -> None:
    for shape in SHAPES:
        x = in_order(cupy, shape, axes, np.float32)
        assert memory.is_dense(x)
        flat = memory.flat(x)
        assert (memory.address(flat), flat.shape) == (memory.address(x), (x.size,))
        # An axis of one element may have any stride.
        strides = [12 if n == 1 else stride for n, stride in zip(shape, x.strides, strict=True)]
        odd = cupy.ndarray(shape, np.float32, x.data, strides)
        assert memory.is_dense(odd)
        assert memory.same_layout(x, odd)
        assert memory.address(memory.flat(odd)) == memory.address(x)


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float64, np.int8, *FLOATS8], ids=str)
@pytest.mark.parametrize("axes", ORDERS, ids=str)
def test_new_arrays_lie_as_numpys_do(axes: tuple[int, ...], dtype: Any) -> None:
    library = arrays.library_of(cupy.empty(0))
    for shape in SHAPES:
        x, here = (in_order(module, shape, axes, np.float32) for module in (cupy, np))
        y, target = library.empty_like(x, np.dtype(dtype), x)
        assert y is target
        assert (type(y), y.dtype, y.shape) == (cupy.ndarray, dtype, shape)
        assert memory.same_layout(y, np.empty_like(here, dtype))


def test_views_are_what_numpys_are() -> None:
    x, here = (module.empty((8, 12, 20), np.float32) for module in (cupy, np))
    for view in (
        lambda a: a[1::2, ::2], lambda a: a[:, :, 3:13], lambda a: a[::-1], lambda a: a[3, 4, 5],
        lambda a: a[None, ::2], lambda a: a.T,
    ):  # fmt: skip
        there, expected = view(x), view(here)
        assert memory.is_dense(there) == memory.is_dense(expected)
        assert memory.steps(there) == memory.steps(expected)
        assert outputs._shares_memory(there, x)
    assert not outputs._shares_memory(x[:4], x[4:])
    assert not outputs._shares_memory(x[:, ::2], x[:, 1::2])
    assert outputs._repeats(cupy.lib.stride_tricks.as_strided(x, (4, 5), (4, 4)))


def test_an_address_between_items_is_refused() -> None:
    """NumPy copes with it; a kernel would fault, and nothing work after that."""
    x = cupy.empty(9, np.uint8)[1:].view(np.float32)
    with pytest.raises(TypeError, match="at an address that is no multiple of its item size: copy"):
        arrays.library_of(x).view(x)
    assert arrays.library_of(x).view(x[:0]).size == 0


def test_copies_are_refused_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their memory is given back, and the graph would write to it again and again."""
    capturing = False
    stream = SimpleNamespace(is_capturing=lambda: capturing)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: stream)
    x, dense = cupy.empty((3, 4), np.float32).T, cupy.empty((4, 3), np.float32)
    monkeypatch.setattr(cupy.ndarray, "__setitem__", lambda *_: None)  # which is a kernel's work
    assert memory.laid_out(x, dense).strides == dense.strides
    capturing = True
    assert memory.laid_out(dense, dense) is dense
    with pytest.raises(RuntimeError, match="whose memory would be another array's"):
        memory.laid_out(x, dense)
    with pytest.raises(RuntimeError, match="need a copy"):
        arrays.library_of(x).scratch_like(x, x.dtype, x)
