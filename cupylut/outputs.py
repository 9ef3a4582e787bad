"""Results: new arrays, or those given as `out=`, which have to fit the operands."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import arrays, memory
from .dtypes import DType


def filled(
    library: arrays.NumpyArrays,
    operands: Sequence[tuple[Any, Any]],
    dtype: DType,
    out: Any,
    fill: Callable[[Any], None],
) -> Any:
    """`out`, or where it is None a new array like the first operand, as `fill` leaves it.

    operands: arrays of one library, with views of the result's shape, that `out` has to fit.
    fill: writes to a dense view of the result's shape and dtype, which may be an operand's own.
    """
    x, view = operands[0]
    if out is None:
        result, target = library.empty_like(view, dtype, x)
        fill(target)
        return library.finish(result, x)
    for operand in operands:
        target = out_view(library, *operand, dtype, out)
    if memory.is_dense(target):
        fill(target)
    else:
        dense = library.scratch_like(view, dtype, x)
        fill(dense)
        memory.copy(dense, target)
    library.written(out)
    return out


def out_view(library: arrays.NumpyArrays, x: Any, view: Any, dtype: DType, out: Any) -> Any:
    """The view of `out`, or an error that says how it does not fit x and the result's dtype."""
    if type(library) is arrays.NumpyArrays:
        x = view  # which a number or a list stands for
    if type(arrays.library_of(out)) is not type(library):
        raise arrays.wrong_kind(out, x)
    library.refuse_out(out, x)
    target = library.view(out)
    if target.device != view.device:
        raise arrays.wrong_device(target.device, view.device)
    if target.shape != view.shape:
        raise ValueError(f"out has shape {target.shape}, the result has {view.shape}")
    if target.dtype != dtype:
        raise ValueError(f"out has dtype {target.dtype}, the result has {dtype}")
    if not getattr(target.flags, "writeable", True):
        raise ValueError("out is read-only: pass a writable array")
    if _repeats(target):
        raise ValueError("out refers to the same memory more than once: pass a plain array")
    if not _same_memory(view, target) and _shares_memory(view, target):
        raise ValueError(
            "out overlaps an input, or may, without being it: pass x itself or other memory"
        )
    return target


def _repeats(view: Any) -> bool:
    """Whether the view may have an element twice: whether its axes do not nest."""
    if view.flags.c_contiguous:
        return False
    extent = view.itemsize
    for stride, n in sorted((abs(stride), n) for stride, n in memory.steps(view)):
        if stride < extent:
            return True
        extent += stride * (n - 1)
    return False


def _same_memory(a: Any, b: Any) -> bool:
    """Whether two views are element for element the same memory."""
    if a.dtype != b.dtype or not memory.same_layout(a, b):
        return False
    return a is b or memory.address(a) == memory.address(b)


class _Addresses:
    """The addresses of a GPU array's elements, for NumPy to compare."""

    def __init__(self, view: Any) -> None:
        self.__array_interface__ = {
            "version": 3,
            "shape": view.shape,
            "strides": view.strides,
            "typestr": f"|V{view.itemsize}",
            "data": (memory.address(view), True),
        }


def _shares_memory(a: Any, b: Any) -> bool:
    """Whether two views have a byte in common; yes where that is too hard to tell.

    CuPy's own function of that name sorts all addresses, and waits for the device.
    """
    if not isinstance(a, np.ndarray):
        a, b = _Addresses(a), _Addresses(b)
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
