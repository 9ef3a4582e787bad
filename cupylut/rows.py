"""Arrays as rows: the parts that they are worked on in, and how a kernel finds an element's row.

`kernels/rows.cuh` is the device half.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import device
from .tables import Table
from .tables.chunks import CHUNK

LARGEST = 2**30
"""The elements of a launch: their numbers, in a packed array twice as high, fit 32 bits."""


@lru_cache(maxsize=1024)
def divisor(width: int) -> NDArray[np.void]:
    """The struct `Rows`, which divides by this width: i // width = i·reciprocal >> shift, i < 2³¹.

    Source: Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (PLDI
    1994), section 4: the reciprocal times the width exceeds 2^shift by less than 2^(shift − 31).
    """
    shift = 31 + (width - 1).bit_length()
    return device.as_bytes(np.array([width, -(-(1 << shift) // width), shift], np.uint32))


def blocks(shape: tuple[int, ...], size: int = CHUNK) -> Iterator[tuple[slice, ...]]:
    """What to index arrays of one or two dimensions with, for parts of at most so many elements.

    They are whole rows, or parts of one.
    """
    *outer, width = shape
    within = [slice(j, j + size) for j in range(0, width, size)]
    if not outer:
        yield from ((columns,) for columns in within)
        return
    step = max(1, size // max(1, width))
    for i in range(0, outer[0], step):
        yield from ((slice(i, i + step), columns) for columns in within)


def parts(*arrays: Any) -> Iterator[list[Any]]:
    """Arrays or tensors of two dimensions, or one, in parts of no more than `LARGEST` elements.

    A missing array is None. Others may have columns only, where the first has rows too.
    """
    shape = tuple(arrays[0].shape)
    if math.prod(shape) <= LARGEST:
        yield list(arrays)
        return
    for block in blocks(shape, LARGEST):
        yield [None if array is None else array[block[-array.ndim :]] for array in arrays]


def run(entry: str, tables: tuple[Table, ...], *arrays: Any) -> None:
    """Run a kernel of `device.KERNELS` on 2-D CuPy arrays, by as many launches as it takes."""
    for part in parts(*arrays):
        device.run(entry, tables, *part, divisor(part[0].shape[1]))
