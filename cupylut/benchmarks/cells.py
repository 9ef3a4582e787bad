"""One case of the bandwidth benchmark: times, fractions of copy bandwidth, and who wins.

Nothing here measures, and nothing here needs a GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..dtypes import as_dtype
from ..measuring.timing import CLOSE, FLOOR, Time
from ..tables import KINDS, UnroundedTable

FORMAT = "cupylut bandwidth 1"

EMPTY_LOOP, NEW_GELU = "loop", "NewGELU chain"
EAGER, TORCH_COMPILE = "PyTorch", "torch.compile"
FLOORS = (FLOOR, EMPTY_LOOP)
"""No contestants: a copy of the same bytes, and this library's own loop that computes nothing."""

OUR_KINDS = (*KINDS, UnroundedTable.kind)
"""The kinds of table."""

GATED = "swiglu"
LARGE = 64 * 2**20  # bytes


@dataclass(frozen=True)
class Verdict:
    """Whether our default is faster than the fastest rival, and how many times as fast it is."""

    outcome: str
    rival: str
    gain: float

    def __str__(self) -> str:
        who = {"won": "won against", "equal": "equal to", "lost": "lost to"}[self.outcome]
        return f"{who} {self.rival} ({self.gain:.2f}x)"


@dataclass(frozen=True)
class Cell:
    """A function, a dtype and the elements of an array, and the times of all that was timed.

    default: the kind of table that the library takes of itself.
    """

    function: str
    dtype: str
    elements: int
    default: str
    times: Mapping[str, Time]

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Cell":
        """The cell in a record of one."""
        times = {who: Time(**taken) for who, taken in record["times"].items()}
        return cls(
            record["function"], record["dtype"], record["elements"], record["default"], times
        )

    def as_record(self) -> dict[str, Any]:
        """The cell for JSON, with what follows from its times."""
        verdict = self.verdict
        return asdict(self) | {
            "copy_fraction": self.copy_fraction,
            "verdict": None if verdict is None else asdict(verdict),
        }

    @property
    def is_large(self) -> bool:
        """Whether a tensor has 64 MB or more, so that no cache holds much of it."""
        return self.elements * as_dtype(self.dtype).itemsize >= LARGE

    @cached_property
    def copy_fraction(self) -> dict[str, float]:
        """The time of the copy divided by that of each: 1 is the memory limit."""
        copy = self.times[FLOOR].median
        return {who: copy / taken.median for who, taken in self.times.items() if who != FLOOR}

    @property
    def rivals(self) -> list[str]:
        """Everything but the floors and our tables, the fastest first."""
        found = [who for who in self.times if who not in FLOORS and who not in OUR_KINDS]
        return sorted(found, key=lambda who: self.times[who].median)

    def gain(self, rival: str) -> float | None:
        """How many times as fast as this rival our default is; None without the rival."""
        return self._gain(rival) if rival in self.times else None

    def _gain(self, rival: str) -> float:
        return self.times[rival].median / self.times[self.default].median

    @property
    def verdict(self) -> Verdict | None:
        """Our default against the fastest rival; medians within 5 % are equal. None without any."""
        if not self.rivals:
            return None
        rival = self.rivals[0]
        gain = self._gain(rival)
        outcome = "won" if gain > CLOSE else "equal" if gain >= 1 / CLOSE else "lost"
        return Verdict(outcome, rival, gain)

    @property
    def better_kind(self) -> str | None:
        """A kind of table of ours that is more than 5 % faster than the default, if any is."""
        kinds = [who for who in self.times if who in OUR_KINDS]
        best = min(kinds, key=lambda who: self.times[who].median)
        faster = self.times[self.default].median > CLOSE * self.times[best].median
        return best if faster else None

    def __str__(self) -> str:
        return f"{self.function}, {self.dtype}, {self.elements:,} elements"


def of(record: Mapping[str, Any]) -> Sequence[Cell]:
    """The cells of a record."""
    return [Cell.read(cell) for cell in record["cells"]]
