"""How views lie in memory: NumPy and CuPy arrays alike."""

from typing import Any

import numpy as np

from .cuda import require_cupy
from .dtypes import FLOATS8, DType


def same_layout(a: Any, b: Any) -> bool:
    """Whether two views of one shape have the same strides in elements, where it matters."""
    if a.itemsize == b.itemsize and a.strides == b.strides:
        return True
    return all(
        i * b.itemsize == j * a.itemsize
        for n, i, j in zip(a.shape, a.strides, b.strides, strict=True)
        if n > 1
    )


def is_dense(view: Any) -> bool:
    """Whether the view is all of a stretch of memory, each element once, in any order of axes."""
    expected = view.itemsize
    for stride, n in steps(view):
        if stride != expected:
            return False
        expected *= n
    return True


def empty_like(view: Any, dtype: DType | None = None, order: str = "K") -> Any:
    """A new dense array like a view, with the same order in memory or in C order, and its dtype."""
    module: Any = np if isinstance(view, np.ndarray) else require_cupy()
    dtype = view.dtype if dtype is None else dtype
    # A broadcast axis has no place in the order of memory: as NumPy's functions do, forget it.
    if 0 in view.strides and any(stride == 0 for stride, _ in steps(view)):
        order = "C"
    if dtype in FLOATS8:  # CuPy sees memory as such floats, but makes none
        return module.empty_like(view, dtype=np.uint8, order=order).view(dtype)
    return module.empty_like(view, dtype=dtype, order=order)


def scratch_like(view: Any, dtype: DType | None = None, order: str = "K") -> Any:
    """As `empty_like`, for memory that is given back when the call is done.

    A graph would go on writing to it, so RuntimeError is raised while CuPy captures one.
    """
    if not isinstance(view, np.ndarray) and require_cupy().cuda.get_current_stream().is_capturing():
        raise RuntimeError(
            "these arrays need a copy, whose memory would be another array's when the graph is "
            "replayed: pass dense arrays of one dtype and order in memory, or capture none"
        )
    return empty_like(view, dtype, order)


def copy(source: Any, target: Any) -> None:
    """target[...] = source; 8 bits of one dtype as integers, since CuPy has no such floats."""
    if source.dtype == target.dtype and source.itemsize == 1:
        source, target = source.view(np.uint8), target.view(np.uint8)
    target[...] = source


def laid_out(view: Any, dense: Any) -> Any:
    """The view, or a copy of it in the dtype and layout of a dense one."""
    if view.dtype == dense.dtype and same_layout(view, dense):
        return view
    copy = scratch_like(dense)
    copy[...] = view
    return copy


def flat(view: Any) -> Any:
    """A dense view as one dimension, in the order of memory."""
    return view.ravel("K")


def steps(view: Any) -> list[tuple[int, int]]:
    """The strides with the lengths of their axes, sorted; axes that take no step left out."""
    if view.size == 0:
        return []
    return sorted((s, n) for s, n in zip(view.strides, view.shape, strict=True) if n > 1)


def address(view: Any) -> int:
    """Where the view's first element lies."""
    data = view.__array_interface__["data"] if isinstance(view, np.ndarray) else [view.data.ptr]
    return int(data[0])
