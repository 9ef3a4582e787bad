"""How many passes a warp's reads of a table take through shared memory, simulated.

Which entry belongs to an input, the tables say; how a kernel reads an entry follows from the
entry's alignment, and the tests compare it with the machine code.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..dtypes import DType
from ..tables import (
    CompactTable,
    Table,
)
from ..tables.compact import SEGMENTS
from ..tables.shared_memory import WARP, WORD_BYTES, passes

VECTOR_BYTES = 16


def reads(table: Table) -> list[tuple[int, int]]:
    """The reads of one lookup: how far from the entry's address, and how many bytes."""
    if isinstance(table, CompactTable):
        planes = table.entries.size // SEGMENTS
        return [(plane * SEGMENTS * WORD_BYTES, WORD_BYTES) for plane in range(planes)]
    size = entry_bytes(table)
    width = min(VECTOR_BYTES, size & -size)  # the largest power of two that divides it
    return [(offset, width) for offset in range(0, size, width)]


def entry_bytes(table: Table) -> int:
    """From one entry to the next; that is one word of each plane for compact tables."""
    return WORD_BYTES if isinstance(table, CompactTable) else table.entries[0].nbytes


def simulate(table: Table, x: NDArray[Any]) -> float:
    """The mean number of passes of a warp's lookups, all reads of one together.

    x is an array as it lies in memory, whole vectors of 16 bytes for 32 lanes: a warp's lookups are
    those of the lanes' first elements, then of their second ones, and so on.
    """
    lanes = VECTOR_BYTES // x.dtype.itemsize
    vectors = table.places(x).reshape(-1, WARP, lanes)
    addresses = vectors.swapaxes(1, 2).reshape(-1, WARP) * entry_bytes(table)
    return float(sum(passes(addresses + offset, width).mean() for offset, width in reads(table)))


_Draw: TypeAlias = Callable[[np.random.Generator, int], NDArray[np.float64]]

INPUTS: dict[str, _Draw] = {
    "N(0, 1)": lambda rng, n: rng.standard_normal(n),
    "N(0, 3²)": lambda rng, n: 3 * rng.standard_normal(n),
    "half zeros": lambda rng, n: rng.standard_normal(n) * rng.integers(0, 2, n),
    "smooth": lambda _, n: 2 * np.sin(np.arange(n) * (2 * np.pi / 4096)),
    "sorted by warp": lambda rng, n: np.sort(rng.standard_normal((n // 256, 256))).ravel(),
    "sorted": lambda rng, n: np.sort(rng.standard_normal(n)),
}
"""What passes are simulated for, in memory order: standard normal values, three times as large
ones, every other one 0 on average, a wave of 4,096 elements, normal values sorted in each 256 (a
warp's vectors in 16 bits), and sorted as a whole."""


def inputs(name: str, dtype: DType, count: int = 1 << 16) -> NDArray[Any]:
    """The inputs of this name, in memory order."""
    return INPUTS[name](np.random.default_rng(0), count).astype(dtype)
