"""What "error" means here: distances in absolute terms and in ulp, gathered in an `ErrorReport`."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .declaration import Float64Array, Function
from .dtypes import DType, all_inputs, round_to, ulp, widened
from .names import is_declared
from .ties import beside_lines


@dataclass(frozen=True)
class ErrorReport:
    """How far a table is from the function it stands for.

    `max_abs` and `max_ulp` are the largest error, met at `max_abs_at` and `max_ulp_at`, over all
    finite inputs of a 16-bit dtype, and otherwise over points of every segment, a low-discrepancy
    sequence, points that crowd the ends of the domain, and four in every octave of float32.
    `mean_abs` and `rms` are averages over the domain, each part of it weighing the same. Errors are
    those of the result in the table's dtype, its rounding included; what two ulp of float64 may
    explain, the rounding of f itself, counts in float64 only. `points` is how many inputs were
    tried.

    Of those, `misrounded` gave another result than the exact value rounded to nearest even (None
    in float64, whose exact values are no more exact), `above_half_ulp`, `above_one_ulp` and
    `above_two_ulp` were off by more than that, and `monotonicity_breaks` are pairs of neighbours
    between which the table rises where the function falls, or falls where it rises.
    `special_values` says that NaN gives NaN, and ±0 and ±∞ what the function gives.
    """

    max_abs: float
    max_abs_at: float
    mean_abs: float
    rms: float
    max_ulp: float
    max_ulp_at: float
    points: int
    misrounded: int | None
    above_half_ulp: int
    above_one_ulp: int
    above_two_ulp: int
    monotonicity_breaks: int
    special_values: bool

    def __str__(self) -> str:
        misrounded = "" if self.misrounded is None else f", {self.misrounded:,} misrounded"
        return (
            f"max abs {self.max_abs:.3g} at {self.max_abs_at:.6g}, mean abs {self.mean_abs:.3g}, "
            f"rms {self.rms:.3g}, max {self.max_ulp:.3g} ulp at {self.max_ulp_at:.6g}{misrounded}, "
            f"over {self.points:,} points"
        )

    def and_beyond(self, other: "ErrorReport") -> "ErrorReport":
        """The report on other inputs too; its averages remain those over the domain."""
        worst = max(self, other, key=lambda report: report.max_abs)
        worst_in_ulp = max(self, other, key=lambda report: report.max_ulp)
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        if self.misrounded is not None and other.misrounded is not None:
            sums["misrounded"] = self.misrounded + other.misrounded
        return replace(
            self,
            max_abs=worst.max_abs,
            max_abs_at=worst.max_abs_at,
            max_ulp=worst_in_ulp.max_ulp,
            max_ulp_at=worst_in_ulp.max_ulp_at,
            special_values=self.special_values and other.special_values,
            **sums,
        )


_COUNTS = ("points", "above_half_ulp", "above_one_ulp", "above_two_ulp", "monotonicity_breaks")

_NAN = float("nan")
UNMEASURED = ErrorReport(_NAN, _NAN, _NAN, _NAN, _NAN, _NAN, 0, None, 0, 0, 0, 0, False)
"""Stands in while a table is being made."""


def correctly_rounded(function: Function, dtype: DTypeLike) -> NDArray[Any]:
    """f(x) rounded once from the exact value, for every pattern x of a 16-bit dtype.

    The float64 reference decides, except where the exact value is so near to the middle between
    two results that float64 cannot tell: those inputs of the functions in `FUNCTIONS` and of their
    derivatives were decided with mpmath and are kept in data/hard_cases.json. For a function of the
    user the reference has the last word. Raises ValueError where it gives NaN for a number.
    """
    x = all_inputs(dtype)
    wide = widened(x)
    exact = function(wide)
    failed = np.isnan(exact) & ~np.isnan(wide)
    if failed.any():
        where = wide[failed][0]
        raise ValueError(f"{function.name}({where:g}) is NaN: give a function of every number")
    return _rounded(function, x, exact, x.dtype)


def _rounded(
    function: Function, x: NDArray[Any], exact: Float64Array, dtype: DType
) -> NDArray[Any]:  # fmt: skip
    """The exact values at x rounded to the dtype; the hard cases are those of x's own."""
    if dtype.itemsize == 2:
        exact = beside_lines(function, widened(x), exact)
    y = round_to(exact, dtype)
    if x.dtype == dtype and is_declared(function):
        cases = hard_cases().get(function.name, {}).get(x.dtype.name, ())
        for pattern, result in cases:
            y.view(np.uint16)[x.view(np.uint16) == pattern] = result
    return y


@lru_cache
def hard_cases() -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Function -> dtype -> pairs of patterns (x, f(x)) that float64 would round wrongly."""
    text = (resources.files("cupylut.data") / "hard_cases.json").read_text(encoding="utf-8")
    cases: dict[str, dict[str, list[tuple[int, int]]]] = json.loads(text)
    return cases


def probe_points(
    dtype: DType, lo: float, hi: float, suspects: ArrayLike
) -> tuple[NDArray[Any], int]:
    """Inputs that find the worst error of a table on [lo, hi], and how many of them fill it evenly.

    These come first and follow the golden ratio, so that they meet every phase of every segment.
    `suspects` are where a table may be at its worst, which the kinds know. All octaves of float32
    are probed, whatever the domain is; those that only float64 has are not, since many a reference
    overflows there on its way.
    """
    width = hi - lo
    golden = (np.arange(1, 65537) * 0.6180339887498949) % 1.0
    even = (lo + width * golden).astype(dtype)
    if dtype.itemsize == 2:
        rest = all_inputs(dtype)
    else:
        shrinking = width * np.exp2(-np.arange(53.0))
        magnitudes = np.exp2(np.arange(-200.0, 128.0, 0.25))
        magnitudes = np.append(magnitudes, float(np.finfo(np.float32).max))
        special = [0.0, -0.0, np.inf, -np.inf, np.nan]
        rest = np.concatenate(
            [np.ravel(suspects), lo - shrinking, hi + shrinking, magnitudes, -magnitudes, special]
        )
        with np.errstate(all="ignore"):  # the smallest become 0
            rest = rest.astype(dtype)
    return np.concatenate([even, rest]), even.size


@np.errstate(all="ignore")
def error_report(function: Function, x: NDArray[Any], y: NDArray[Any], even: int) -> ErrorReport:
    """The report on results y for inputs x, of which the first `even` fill the domain evenly."""
    wide, exact = widened(x), function(widened(x))
    error = np.abs(widened(y) - exact)
    if y.dtype.itemsize < 8:
        error[error <= 2 * ulp(exact, np.float64)] = 0
    # Where the exact value rounds to an infinity, the infinity is right.
    error[np.isinf(widened(y)) & (widened(y) == widened(round_to(exact, y.dtype)))] = 0
    evenly = error[:even][np.isfinite(wide[:even])]
    mean, rms = float(evenly.mean()), float(np.sqrt(np.mean(evenly**2)))

    # From here on every input once, in ascending order.
    wide, once = np.unique(wide, return_index=True)
    finite = np.isfinite(wide)
    special = ~np.isfinite(widened(x)) | ((widened(x) == 0) & (exact == 0))
    special_values = _same(y[special], round_to(exact[special], y.dtype)).all()
    once = once[finite]
    x, y, wide, exact, error = x[once], y[once], wide[finite], exact[once], error[once]
    in_ulp = error / ulp(exact, y.dtype)
    rise, exact_rise = np.diff(widened(y)), np.diff(exact)
    # The reference itself wavers by its last bits.
    clear = np.abs(exact_rise) > 8 * ulp(exact[1:], np.float64)
    correct = None if y.dtype.itemsize == 8 else _rounded(function, x, exact, y.dtype)
    worst, worst_ulp = int(np.argmax(error)), int(np.argmax(in_ulp))
    return ErrorReport(
        max_abs=float(error[worst]),
        max_abs_at=float(wide[worst]),
        mean_abs=mean,
        rms=rms,
        max_ulp=float(in_ulp[worst_ulp]),
        max_ulp_at=float(wide[worst_ulp]),
        points=x.size,
        misrounded=None if correct is None else int((~_same(y, correct)).sum()),
        above_half_ulp=int((in_ulp > 0.5).sum()),
        above_one_ulp=int((in_ulp > 1).sum()),
        above_two_ulp=int((in_ulp > 2).sum()),
        monotonicity_breaks=int((clear & (rise * np.sign(exact_rise) < 0)).sum()),
        special_values=bool(special_values),
    )


def _same(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two results are the same: equal with the sign of a zero, or both NaN."""
    a, b = widened(a), widened(b)
    same: NDArray[np.bool_] = (a == b) & (np.signbit(a) == np.signbit(b))
    same |= np.isnan(a) & np.isnan(b)
    return same
