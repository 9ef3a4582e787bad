"""One entry per input: all 65,536 results of a 16-bit dtype.

`direct.py` keeps the results in two windows, and pays with a dozen instructions for finding out
whether an input is in one. This keeps all results, 128 KB, and does nothing but look up. Every
block fills its shared memory with them first, where a GPU has that much (compute capability 8.0,
9.0, 10.0); elsewhere they are read through the first-level cache. So it is for large arrays, if for
any: no GPU has judged it yet, and nothing chooses it unasked.

`kernels/full.cuh` is the device half; the NumPy half is that of direct tables.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .direct import DirectTable, Patterns, scalar


class FullTable(DirectTable):
    """The correctly rounded result of every input of float16 or bfloat16, in the order of patterns.

    Make one with `cupylut.tabulate`.
    """

    kind: ClassVar[str] = "full"

    def __repr__(self) -> str:
        return f"FullTable({self.name}, {self.dtype.name}, {self.entries.nbytes:,} bytes)"

    @property
    def struct(self) -> str:
        """FullTable<Float16> or FullTable<BFloat16>."""
        return f"FullTable<{scalar(self.dtype)}>"

    @property
    def entries(self) -> Patterns:
        """The results."""
        return self.results

    @property
    def parameters(self) -> NDArray[Any]:
        """Nothing: struct FullTable of `kernels/full.cuh` is empty, which is one byte in C++."""
        return np.zeros(1, np.uint8)

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """The number of the entry that the kernel reads for each x."""
        return x.view(np.uint16).astype(np.int64)
