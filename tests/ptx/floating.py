"""PTX's floating-point instructions but for comparisons and conversions.

The bits of NaN, which only min and max define, are odd ones here, so that nobody comes to rely on
them. Approximations (.approx) are as good as they can be: the reference only says how bad they may
be.
"""

import ctypes
import ctypes.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .types import Operation, constant, dtype_of

CANONICAL_NAN = {"f16": 0x7FFF, "bf16": 0x7FFF, "f32": 0x7FFFFFFF, "f64": 0x7FFFFFFFFFFFFFFF}
ANY_NAN = {"f16": 0xFEDC, "bf16": 0xFFED, "f32": 0xFFEDCBA9, "f64": 0xFFFEDCBA98765432}

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.fma.restype, _libm.fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
_one_fma = np.frompyfunc(_libm.fma, 3, 1)


def exact_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b in double precision, and what rounding took from it (Knuth)."""
    s = a + b
    back = s - a
    overflow = np.where(np.isfinite(a) & np.isfinite(b), -s, 0.0)
    return s, np.where(np.isfinite(s), (a - (s - back)) + (b - back), overflow)


def directed(s: Any, rest: Any, rounding: str) -> Any:
    """The sum of both, rounded to the precision of s, which is it rounded to nearest."""
    if rounding == "rm":
        return np.where(rest < 0, np.nextafter(s, -np.inf, dtype=s.dtype), s)
    if rounding == "rp":
        return np.where(rest > 0, np.nextafter(s, np.inf, dtype=s.dtype), s)
    if rounding == "rz":
        return np.where(rest * s < 0, np.nextafter(s, s.dtype.type(0)), s)
    return s


def cancelled(s: Any, a: Any, b: Any, rounding: str) -> Any:
    """a + b = s with the sign of zero that a sum of two that cancel has: −0 where rounded down."""
    opposite = np.signbit(a) != np.signbit(b)
    return np.where((s == 0) & (a == -b) & opposite, -0.0 if rounding == "rm" else 0.0, s)


def to_odd(s: Any, rest: Any) -> Any:
    """s + rest with an odd last bit where it is inexact: rounded again, it is rounded once."""
    even = s.view(np.int64) % 2 == 0
    return np.where((rest != 0) & even, np.nextafter(s, np.copysign(np.inf, rest)), s)


def narrowed(wide: Any, kind: str, rounding: str) -> Any:
    """A double to a narrower type."""
    s = wide.astype(dtype_of(kind))
    rest = np.where(s == wide, 0.0, np.asarray(wide - s.astype(np.float64)))  # inf − inf is 0
    return s if rounding == "rn" else directed(s, rest, rounding)


def multiplied_and_added(kind: str, rounding: str, a: Any, b: Any, c: Any) -> Any:
    if kind == "f64":
        if rounding != "rn":
            raise NotImplementedError(f"fma.{rounding}.f64")
        return fused(*np.broadcast_arrays(a, b, c))
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)  # exact
    s, rest = exact_sum(product, np.asarray(c, np.float64))
    sum_ = cancelled(to_odd(np.atleast_1d(s), rest), product, c, rounding)
    return narrowed(sum_, kind, rounding)


def fused(a: Any, b: Any, c: Any) -> Any:
    """a·b + c in double precision, rounded once: by Boldo and Melquiond, "Emulation of a FMA".

    What may over- or underflow on the way is left to the C library.
    """
    high, low = exact_product(a, b)
    sum_low, rest_low = exact_sum(c, low)
    sum_high, rest_high = exact_sum(high, sum_low)
    y = sum_high + to_odd(*exact_sum(rest_low, rest_high))
    size = np.abs(high)
    safe = (size > 2.0**-900) & (np.maximum(np.maximum(size, np.abs(c)), np.abs(a)) < 2.0**900)
    others = ~(safe & (np.abs(b) < 2.0**900) & np.isfinite(y))
    if others.any():
        y[others] = np.asarray(_one_fma(a[others], b[others], c[others]), np.float64)
    return y


def exact_product(a: Any, b: Any) -> tuple[Any, Any]:
    """a·b in double precision, and what rounding took from it (Dekker)."""
    product = a * b
    (a1, a2), (b1, b2) = ((h := x * 134217729.0 - (x * 134217729.0 - x), x - h) for x in (a, b))
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def added(kind: str, rounding: str, a: Any, b: Any) -> Any:
    if kind == "f32":
        return multiplied_and_added(kind, rounding, a, np.float32(1), b)
    s, rest = exact_sum(a, b)
    return cancelled(directed(s, rest, rounding), a, b, rounding)


def subtracted(kind: str, rounding: str, a: Any, b: Any) -> Any:
    return added(kind, rounding, a, -b)


def multiplied(kind: str, rounding: str, a: Any, b: Any) -> Any:
    if kind == "f32":
        return narrowed(np.asarray(a, np.float64) * np.asarray(b, np.float64), kind, rounding)
    if rounding != "rn":
        raise NotImplementedError(f"mul.{rounding}.f64")
    return a * b


def divided(kind: str, rounding: str, a: Any, b: Any) -> Any:
    if rounding != "rn":
        raise NotImplementedError(f"div.{rounding}")
    return a / b


def reciprocal(kind: str, rounding: str, a: Any) -> Any:
    return divided(kind, rounding, dtype_of(kind).type(1), a)


def extreme(sign: int, propagate: bool, a: Any, b: Any) -> Any:
    """min (sign 1) or max (−1): −0 is less than +0, and NaN is the result of NaN alone."""
    first = np.where(a == b, np.signbit(a) == (sign > 0), sign * a < sign * b)
    result = np.where(np.isnan(b) | first, a, b)
    if propagate:
        result = np.where(np.isnan(a), a, np.where(np.isnan(b), b, result))
    return result


def flushed(x: Any) -> Any:
    """Subnormal numbers as zeros of their sign."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def floating(
    compute: Callable[..., Any], kind: str, count: int, flags: set[str], nan: Any = ANY_NAN
) -> Operation:
    """With the flags ftz and sat; results that are NaN have these bits."""

    def computed(*x: Any) -> Any:
        ftz = "ftz" in flags
        y = np.asarray(compute(*(map(flushed, x) if ftz else x)), dtype_of(kind))
        if ftz:
            y = flushed(y)
        if "sat" in flags:
            one = y.dtype.type(1)
            return np.where(y > 0, np.minimum(y, one), y.dtype.type(0))
        return np.where(np.isnan(y), constant(kind, nan[kind]), y)

    return Operation((kind,) * count, kind, computed)


def upper_half(x: Any) -> Any:
    """Doubles without their lower 32 bits."""
    return (np.asarray(x).view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)


APPROXIMATIONS = {
    ("ex2", "f32"): lambda x: np.exp2(x.astype(np.float64)),
    ("lg2", "f32"): lambda x: np.log2(x.astype(np.float64)),
    ("rcp", "f32"): lambda x: 1 / x.astype(np.float64),
    ("rcp", "f64"): lambda x: upper_half(1 / upper_half(x)),
    ("tanh", "f32"): lambda x: np.tanh(x.astype(np.float64)),
}
ARITHMETIC = {
    "add": (2, added),
    "sub": (2, subtracted),
    "mul": (2, multiplied),
    "div": (2, divided),
    "rcp": (1, reciprocal),
    "fma": (3, multiplied_and_added),
}
ROUNDINGS = {"rn", "rm", "rp", "rz"}


def floating_operation(base: str, kind: str, modifiers: list[str]) -> Operation:
    flags = set(modifiers)
    if flags - ROUNDINGS - {"approx", "ftz", "sat", "NaN"}:
        raise NotImplementedError(f"{base}.{'.'.join(modifiers)}")
    if "approx" in flags:
        return floating(APPROXIMATIONS[base, kind], kind, 1, flags)
    if base in ARITHMETIC:
        if kind not in ("f32", "f64") or not flags & ROUNDINGS:  # which may be fused with others
            raise NotImplementedError(f"{base}.{'.'.join(modifiers)}.{kind}")
        count, compute = ARITHMETIC[base]
        return floating(partial(compute, kind, *flags & ROUNDINGS), kind, count, flags)
    if base in ("min", "max"):
        compute = partial(extreme, 1 if base == "min" else -1, "NaN" in flags)
        return floating(compute, kind, 2, flags, CANONICAL_NAN)
    if base == "copysign":  # of the first, on the second
        return Operation((kind, kind), kind, lambda a, b: np.copysign(b, a))
    return floating({"abs": np.abs, "neg": np.negative}[base], kind, 1, flags)


def halves(kind: str, words: Any) -> Any:
    """Words of two 16-bit numbers as an array of those: [..., 0] is the lower."""
    return np.ascontiguousarray(words)[..., None].view(dtype_of(kind.removesuffix("x2")))


def halves_operation(base: str, kind: str, modifiers: list[str]) -> Operation:
    """An operation on both halves of words."""
    one = floating_operation(base, kind.removesuffix("x2"), modifiers)

    def compute(*words: Any) -> Any:
        result = one.compute(*(halves(kind, each) for each in words))
        return np.ascontiguousarray(result).view(np.uint32)[..., 0]

    return Operation((kind,) * len(one.sources), kind, compute)
