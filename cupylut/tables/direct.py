"""One entry per bit pattern: the table of a 16-bit dtype, correctly rounded for every input.

Derivation. A 16-bit dtype has 65,536 inputs, so f can be tabulated outright, each result rounded
once from the exact value. Most inputs need no entry, though. Close to zero f is its tangent to
within half an ulp, and far out it is x or a constant. So for either sign the table keeps a *window*
of magnitudes, counted in bit patterns, and one more entry for the constant:

    y = round(up(slope·x + intercept))            |x| < first
    y = results[base + min(|x| − first, length)]  first ≤ |x| < identity
    y = x                                         identity ≤ |x|, NaN included; and ±0 if f keeps it

"up" rounds the float32 value towards +∞ before it is rounded to nearest in 16 bits. That is for
ties: x/2 falls between two subnormals for every odd pattern, and there the exact value, a little
above x/2 for gelu-like functions, decides. With the intercept 2⁻¹⁴⁹ the float32 value is a little
above x/2 too, and the tie is no more.

Windows are found by comparing the rules with the correct results of all inputs, so every function
has a table: a function that no rule fits has windows over everything.

`kernels/direct.cuh` is the device half. The NumPy half is one gather from all 65,536 results.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..accuracy import (
    DType,
    ErrorReport,
    all_inputs,
    as_dtype,
    correctly_rounded,
    error_report,
    widened,
)
from ..declaration import Float64Array, Function
from .table import Table

Patterns: TypeAlias = NDArray[np.uint16]

SIGN = 0x8000
TINY = 2.0**-149  # the smallest float32

# Elements gathered at a time: the converted indices, 8 bytes each, stay in the cache.
CHUNK = 65536

_WINDOW = np.dtype([(name, np.uint32) for name in ("first", "length", "base", "identity")])
_PARAMETERS = np.dtype(
    [
        *((name, _WINDOW) for name in ("positive", "negative")),
        *((name, np.float32) for name in ("slope", "intercept", "keep")),
    ]
)


@dataclass(frozen=True, eq=False, repr=False)
class DirectTable(Table):
    """The correctly rounded result of every input of float16 or bfloat16.

    `results` holds the bit pattern of f(x) for every pattern of x; `slope` is f′(0); `keeps_zero`
    says that f(±0) = ±0. Make one with `cupylut.tabulate`.
    """

    kind: ClassVar[str] = "direct"

    name: str
    dtype: DType
    results: Patterns
    slope: float
    keeps_zero: bool
    report: ErrorReport

    def __post_init__(self) -> None:
        self.results.flags.writeable = False

    @classmethod
    def build(cls, function: Function, dtype: DType) -> Self:
        """Tabulate a function; raises ValueError where it is NaN for a number."""
        if dtype.itemsize != 2:
            raise ValueError(f"a direct table is for float16 or bfloat16, not for {dtype}")
        x = all_inputs(dtype)
        y = correctly_rounded(function, dtype)
        h = 2.0**-20
        return cls(
            name=function.name,
            dtype=dtype,
            results=y.view(np.uint16),
            slope=float(function(h) - function(-h)) / (2 * h),
            keeps_zero=function.keeps_zero,
            report=error_report(function, x, y, even=x.size),
        )

    def __repr__(self) -> str:
        return f"DirectTable({self.name}, {self.dtype.name}, {self.entries.nbytes:,} bytes)"

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def struct(self) -> str:
        """DirectTable<Float16> or DirectTable<BFloat16>."""
        return f"DirectTable<{scalar(self.dtype)}>"

    @cached_property
    def entries(self) -> Patterns:
        """The results inside the two windows, each with the constant behind it."""
        p = self.parameters[0]
        windows = [
            np.append(results[w["first"] : w["first"] + w["length"]], results[self._infinity])
            for w, results in (
                (p["positive"], self.results[:SIGN]),
                (p["negative"], self.results[SIGN:]),
            )
        ]
        return np.concatenate(windows)

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct DirectTable of `kernels/direct.cuh`."""
        p = np.zeros(1, _PARAMETERS)
        p["keep"] = 0 if self.keeps_zero else -1
        p["slope"], p["intercept"] = max(
            self._tangents(), key=lambda rule: sum(self._tangent_reach(rule, s) for s in (0, SIGN))
        )
        base = 0
        for sign, side in ((0, "positive"), (SIGN, "negative")):
            first = self._tangent_reach((p["slope"][0], p["intercept"][0]), sign)
            results = self.results[sign : sign + self._infinity + 1]
            itself = _agreement(results, np.arange(sign, sign + results.size, dtype=np.uint16))
            constant = _agreement(results, np.full_like(results, results[-1]))
            last = max(first, min(itself, constant))
            identity = last if itself <= constant else self._infinity + 1
            p[side] = (first, last - first, base, identity)
            base += last - first + 1
        return p

    @property
    def _infinity(self) -> int:
        """The pattern of +inf; larger magnitudes are NaN."""
        return int(np.array(np.inf, self.dtype).view(np.uint16))

    def _tangents(self) -> list[tuple[float, float]]:
        """Slopes and intercepts that the tangent at zero may be computed with."""
        at_zero = float(self.results[:1].view(self.dtype)[0])
        if at_zero != 0:
            return [(0.0, at_zero)]
        slope = float(np.float32(self.slope))
        return [(slope, TINY), (slope, 0.0)]

    def _tangent_reach(self, rule: tuple[float, float], sign: int) -> int:
        """The magnitude up to which a tangent gives the correct results."""
        x = widened(all_inputs(self.dtype)[sign : sign + self._infinity])
        with np.errstate(all="ignore"):
            ruled = _rounded_up(*rule, x).astype(self.dtype).view(np.uint16)
        wrong = ruled != self.results[sign : sign + self._infinity]
        wrong[0] &= not self.keeps_zero
        return int(np.argmax(wrong)) if wrong.any() else self._infinity

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of the table's dtype."""
        gather(self.results, x, out)

    def _state(self) -> tuple[dict[str, Any], Float64Array]:
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        values = state.pop("results").astype(np.float64)
        del state["report"]
        return state | {"dtype": self.dtype.name}, values

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: Float64Array) -> Self:
        if values.shape != (65536,):
            raise ValueError(f"a direct table has 65,536 results, not {values.shape}")
        return cls(
            name=str(fields["name"]),
            dtype=as_dtype(fields["dtype"]),
            results=values.astype(np.uint16),
            slope=float(fields["slope"]),
            keeps_zero=bool(fields["keeps_zero"]),
            report=ErrorReport(**fields["report"]),
        )


def scalar(dtype: DType) -> str:
    """The C++ type of a 16-bit dtype."""
    return "Float16" if dtype == np.float16 else "BFloat16"


def gather(results: Patterns, x: NDArray[Any], out: NDArray[Any]) -> None:
    """out = results[bit pattern of x], for 1-D arrays of a 16-bit dtype; the same memory too."""
    patterns, found = x.view(np.uint16), out.view(np.uint16)
    for i in range(0, x.size, CHUNK):
        chunk = slice(i, i + CHUNK)
        np.take(results, patterns[chunk], out=found[chunk], mode="wrap")


def _agreement(a: Patterns, b: Patterns) -> int:
    """The index from which on the two are equal."""
    return a.size - int(np.argmin(np.append((a == b)[::-1], False)))


def _rounded_up(slope: float, intercept: float, x: Float64Array) -> NDArray[np.float32]:
    """slope·x + intercept as one float32 operation that rounds towards +∞."""
    line = slope * x if slope else np.zeros(x.size)  # exact: 24 bits times 11
    # What float64 loses of the sum (Knuth's two-sum) tells on which side of it the exact sum is.
    total = line + intercept
    part = total - line
    lost = (line - (total - part)) + (intercept - part)
    nearest = total.astype(np.float32)
    below = (nearest < total) | ((nearest == total) & (lost > 0))
    if slope == 0:
        nearest[:] = intercept  # keeps the sign of a zero
    return np.where(below, np.nextafter(nearest, np.float32(np.inf)), nearest)
