"""One float32 result per bfloat16 input: f before it is rounded, for products with it.

Derivation. z·f(x) is computed in float32 and rounded to bfloat16 once, so f has to be nearer than a
direct table's results. But x still is one of 65,536 numbers, so that f can be looked up by their
patterns, in the windows of `windows.py`. Close to zero f is a parabola to float32's accuracy, and
far out it is x or a constant:

    y = c0 + x·(c1 + x·c2)                                                    |x| ≤ near
    y = results[place of x, or of the end of the window beyond which it is]   near < |x|
    y = x                                                   x > identity, and where x is NaN

The parabola goes through f at 0 and ±h; of some h the one is taken with which it reaches farthest.
With c0 = f(−0) the sum has the sign of zero that f has, if it is x's or none.

That takes 9 to 15 KB for smooth functions and a third fewer instructions than a float32 table, and
the 4-byte reads meet with fewer bank conflicts than its coefficients do. Functions with a kink at
zero, which no parabola fits, would need windows over nearly everything, and are refused.

`kernels/unrounded.cuh` is the device half. The NumPy half is one gather from all 65,536 results.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..accuracy import ErrorReport, error_report
from ..declaration import Float64Array, Function
from ..dtypes import BFLOAT16, FLOAT32, DType, all_inputs, ulp, widened
from .chunks import gather
from .direct import scalar
from .table import Table, check_values, read_only
from .windows import SIGN, WINDOWS, Windows

MAX_BYTES = 16 * 1024  # several blocks on a multiprocessor, and a short time to fill each
TOLERANCE = 2.0  # in ulp of float32, where the result is not the rounded one

_INFINITY = 0x7F80  # the pattern of +inf
_POSITIVE, _NEGATIVE = slice(0, _INFINITY), slice(SIGN, SIGN + _INFINITY)

_PARAMETERS = np.dtype(
    [
        ("windows", WINDOWS),
        *((n, np.float32) for n in ("reach", "identity", "c0", "c1", "c2")),
        ("unused", np.uint32),
    ]
)


class Parabola(NamedTuple):
    """c0 + x·(c1 + x·c2), all float32 numbers."""

    c0: float
    c1: float
    c2: float

    @classmethod
    def through(cls, f: Function, h: float) -> Self:
        """The one that f meets at 0 and ±h."""
        middle, above, below = (float(f(x)) for x in (-0.0, h, -h))
        slope, bend = (above - below) / (2 * h), (above + below - 2 * middle) / (2 * h * h)
        return cls(*(float(np.float32(c)) for c in (middle, slope, bend)))

    def __call__(self, x: Float64Array) -> NDArray[np.float32]:
        """Its values at bfloat16 numbers, with the kernel's roundings."""
        inner = (x * self.c2 + self.c1).astype(np.float32)
        return np.asarray((x * inner + self.c0).astype(np.float32))


@dataclass(frozen=True, eq=False, repr=False)
class UnroundedTable(Table):
    """f(x) in float32, within 2 ulp of it, for every x of bfloat16.

    `results` are the values for every pattern of x. Gated forms and derivatives use it; on a GPU
    only they do.
    """

    kind: ClassVar[str] = "unrounded"
    entry_point: ClassVar[str | None] = None

    name: str
    dtype: DType
    parabola: Parabola
    windows: Windows
    identity: int
    results: NDArray[np.float32]
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.results)

    @classmethod
    def build(cls, function: Function) -> Self:
        """Tabulate a function; raises ValueError where that takes more than `MAX_BYTES`."""
        inputs = all_inputs(BFLOAT16)
        x = widened(inputs)
        exact = function(x)
        with np.errstate(all="ignore"):
            rounded = exact.astype(np.float32)
            parabolas = [Parabola.through(function, 2.0**-i) for i in range(3, 14)]
            reaches = [_reach(parabola(x), exact) for parabola in parabolas]
            near = max(reaches)
            parabola = parabolas[reaches.index(near)]
            windows, identity = _windows(x, rounded, exact, near)
            results = _by_the_rules(parabola, windows, identity, x, rounded)
        if near < 0 or 4 * windows.size > MAX_BYTES:
            raise ValueError(f"{function.name} has no table of at most {MAX_BYTES:,} bytes")
        report = error_report(function, inputs, results, even=x.size)
        return cls(function.name, BFLOAT16, parabola, windows, identity, results, report)

    def __repr__(self) -> str:
        return f"UnroundedTable({self.name}, {self.dtype.name}, {self.entries.nbytes:,} bytes)"

    @property
    def result_dtype(self) -> DType:
        """float32."""
        return FLOAT32

    @property
    def struct(self) -> str:
        """UnroundedTable<BFloat16>."""
        return f"UnroundedTable<{scalar(self.dtype)}>"

    @cached_property
    def entries(self) -> NDArray[np.float32]:
        """The results in the two windows, each with that of all numbers beyond it."""
        return read_only(self.windows.kept(self.results))

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct UnroundedTable of `kernels/unrounded.cuh`."""
        p = np.zeros(1, _PARAMETERS)
        p["windows"] = self.windows.struct()
        p["reach"], p["identity"] = _number(self.windows.near), _number(self.identity)
        p["c0"], p["c1"], p["c2"] = self.parabola
        return p

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """The number of the entry that the kernel reads for each x."""
        return self.windows.places(x)

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the values at x, of bfloat16, into out, of float32; both 1-D."""
        gather(self.results, x, out)

    def _state(self) -> tuple[dict[str, Any], NDArray[np.float32]]:
        names = "name", "parabola", "windows", "identity"
        return {name: getattr(self, name) for name in names}, self.results

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        check_values(values, np.float32, 65536)
        table = cls(
            name=str(fields["name"]),
            dtype=BFLOAT16,
            parabola=Parabola(*fields["parabola"]),
            windows=Windows(*map(int, fields["windows"])),
            identity=int(fields["identity"]),
            results=values,
            report=ErrorReport(**fields["report"]),
        )
        near, high, minus_high = windows = table.windows
        first, last = min(near, table.identity), max(high, minus_high, table.identity)
        if not (first >= 0 and near < min(high, minus_high) and last <= _INFINITY):
            raise ValueError(f"{windows} and identity={table.identity} are no magnitudes in order")
        x = widened(all_inputs(BFLOAT16))
        with np.errstate(all="ignore"):
            ruled = _by_the_rules(table.parabola, windows, table.identity, x, values)
        if (ruled.view(np.uint32) != values.view(np.uint32)).any():
            raise ValueError("its results are not those of its parabola and windows")
        return table


def _by_the_rules(
    parabola: Parabola,
    windows: Windows,
    identity: int,
    x: Float64Array,
    rounded: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What the kernel gives for all inputs."""
    results, magnitudes = rounded.copy(), np.arange(x.size) % SIGN
    for side, end in ((slice(0, SIGN), windows.high), (slice(SIGN, None), windows.minus_high)):
        results[side][magnitudes[side] >= end] = rounded[side][_INFINITY]
    near = magnitudes <= windows.near
    results[near] = parabola(x[near])
    itself = (magnitudes > identity) & ~(x < 0)
    results[itself] = x[itself]
    results[np.isnan(x)] = np.nan
    return results


def _number(pattern: int) -> float:
    return float(np.uint16(pattern).view(BFLOAT16))


def _near_enough(y: NDArray[Any], exact: Float64Array) -> NDArray[np.bool_]:
    """Where results are within the tolerance; a zero has to have the sign of an exact one."""
    error = np.abs(y - exact)
    near: NDArray[np.bool_] = error <= TOLERANCE * ulp(exact, np.float32)
    near &= (exact != 0) | (np.signbit(y) == np.signbit(exact))
    return near


def _reach(y: NDArray[np.float32], exact: Float64Array) -> int:
    """The magnitude up to which results are near enough, for either sign; −1 if not at zero."""
    wrong = [~_near_enough(y[side], exact[side]) for side in (_POSITIVE, _NEGATIVE)]
    return min(int(np.argmax(side)) if side.any() else _INFINITY for side in wrong) - 1


def _windows(
    x: Float64Array, y: NDArray[np.float32], exact: Float64Array, near: int
) -> tuple[Windows, int]:
    """The windows behind `near`, of rounded values y at all inputs x, and where f is x from."""

    def last(side: slice, beyond: Any) -> int:
        """The last magnitude at which f is not what it is said to be beyond."""
        there = y[side]
        right = (there == beyond) | _near_enough(np.broadcast_to(beyond, there.shape), exact[side])
        return int(np.flatnonzero(~right)[-1]) if not right.all() else 0

    constant = last(_POSITIVE, y[_INFINITY]) + 1
    minus_high = last(_NEGATIVE, y[SIGN + _INFINITY]) + 1
    itself = last(_POSITIVE, x[_POSITIVE]) + 1
    high, identity = constant, _INFINITY
    if itself < constant:
        high, identity = itself, max(near, itself - 1)
    return Windows(near, max(high, near + 1), max(minus_high, near + 1)), identity
