"""What PTX instructions compute, by NVIDIA's "PTX ISA" reference, for all threads at once.

It is written from that text alone: neither with the operations of kernels/floating.cuh for C++ nor
with the NumPy halves of the tables. Where the reference leaves NaN's bits open, they are odd ones
here, so that nobody comes to rely on them. Approximations (.approx) are as good as they can be:
the reference only says how bad they may be.
"""

import ctypes
import ctypes.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np

from .text import size_of

NAN = {"f16": 0x7FFF, "bf16": 0x7FFF, "f32": 0x7FFFFFFF, "f64": 0x7FFFFFFFFFFFFFFF}  # results'
# Where the reference leaves their bits open:
ANY_NAN = {"f16": 0xFEDC, "bf16": 0xFFED, "f32": 0xFFEDCBA9, "f64": 0xFFFEDCBA98765432}

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.fma.restype, _libm.fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
_one_fma = np.frompyfunc(_libm.fma, 3, 1)


@cache
def dtype_of(kind: str) -> np.dtype:
    """The NumPy type whose bits a PTX type has; for two in a word that of the word."""
    if kind == "pred":
        return np.dtype(bool)
    if kind in ("f16x2", "bf16x2"):
        return np.dtype(np.uint32)
    if kind == "bf16":
        return np.dtype(ml_dtypes.bfloat16)
    letter = {"s": "i", "f": "f"}.get(kind[0], "u")
    return np.dtype(f"{letter}{size_of(kind)}")


def constant(kind: str, bits: int) -> Any:
    return np.array(bits, f"u{size_of(kind)}").view(dtype_of(kind))[()]


@dataclass(frozen=True)
class Operation:
    """compute(sources) -> result, each an array of its PTX type."""

    sources: tuple[str, ...]
    result: str
    compute: Callable[..., Any]


# --- floating point ---


def exact_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b in double precision, and what rounding took from it (Knuth)."""
    s = a + b
    back = s - a
    return s, np.where(np.isfinite(s), (a - (s - back)) + (b - back), 0.0)


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


def extreme(kind: str, sign: int, propagate: bool, a: Any, b: Any) -> Any:
    """min (sign 1) or max (−1): −0 is less than +0, and NaN is the result of NaN alone."""
    first = np.where(a == b, np.signbit(a) == (sign > 0), sign * a < sign * b)
    result = np.where(np.isnan(b) | first, a, b)
    if propagate:
        result = np.where(np.isnan(a) | np.isnan(b), constant(kind, NAN[kind]), result)
    return result


def flushed(x: Any) -> Any:
    """Subnormal numbers of single precision as zeros of their sign."""
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def floating(
    compute: Callable[..., Any], kind: str, count: int, flags: set[str], nan: int | None = None
) -> Operation:
    """With the flags ftz and sat; results that are NaN have the reference's bits, or these."""

    def computed(*x: Any) -> Any:
        ftz = "ftz" in flags and kind == "f32"
        y = np.asarray(compute(*(map(flushed, x) if ftz else x)), dtype_of(kind))
        if ftz:
            y = flushed(y)
        if "sat" in flags:
            one = y.dtype.type(1)
            return np.where(y > 0, np.minimum(y, one), y.dtype.type(0))
        return np.where(np.isnan(y), constant(kind, NAN[kind] if nan is None else nan), y)

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
ARITHMETIC = {"add": added, "sub": subtracted, "mul": multiplied, "div": divided}


def _float(base: str, kind: str, modifiers: list[str]) -> Operation:
    flags, rounding = set(modifiers), next((m for m in modifiers if m in ROUNDINGS), "rn")
    if "approx" in flags:
        return floating(APPROXIMATIONS[base, kind], kind, 1, flags)
    if base == "fma":
        return floating(partial(multiplied_and_added, kind, rounding), kind, 3, flags)
    if base in ARITHMETIC:
        return floating(partial(ARITHMETIC[base], kind, rounding), kind, 2, flags)
    if base == "rcp":
        return floating(partial(divided, kind, rounding, dtype_of(kind).type(1)), kind, 1, flags)
    if base in ("min", "max"):
        sign = 1 if base == "min" else -1
        return floating(partial(extreme, kind, sign, "NaN" in flags), kind, 2, flags)
    if base == "copysign":  # of the first, on the second
        return Operation((kind, kind), kind, lambda a, b: np.copysign(b, a))
    return floating({"abs": np.abs, "neg": np.negative}[base], kind, 1, flags, ANY_NAN[kind])


ROUNDINGS = ("rn", "rm", "rp", "rz")


def halves(kind: str, words: Any) -> Any:
    """Words of two 16-bit numbers as an array of those: [..., 0] is the lower."""
    return np.ascontiguousarray(words)[..., None].view(dtype_of(kind.removesuffix("x2")))


def _halves(base: str, kind: str, modifiers: list[str]) -> Operation:
    """An operation on both halves of words."""
    one = _float(base, kind.removesuffix("x2"), modifiers)

    def compute(*words: Any) -> Any:
        result = one.compute(*(halves(kind, each) for each in words))
        return np.ascontiguousarray(result).view(np.uint32)[..., 0]

    return Operation((kind,) * len(one.sources), kind, compute)


# --- integers ---


def shifted_left(a: Any, n: Any) -> Any:
    width = 8 * a.dtype.itemsize
    return np.where(n < width, a << np.minimum(n, width - 1).astype(a.dtype), a.dtype.type(0))


def shifted_right(a: Any, n: Any) -> Any:
    """Arithmetically where a is signed: beyond its width what is left is the sign."""
    width = 8 * a.dtype.itemsize
    shifted = a >> np.minimum(n, width - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(n < width, shifted, a.dtype.type(0))


def funnel_shifted(low: Any, high: Any, n: Any) -> Any:
    both = high.astype(np.uint64) << np.uint64(32) | low
    return (both << (n & np.uint32(31)).astype(np.uint64) >> np.uint64(32)).astype(np.uint32)


def inserted(a: Any, b: Any, position: Any, length: Any) -> Any:
    """The lowest bits of a in place of those of b."""
    mask = shifted_left(~shifted_left(~np.zeros_like(b), length), position)
    return b & ~mask | shifted_left(a, position) & mask


def permuted(a: Any, b: Any, selector: Any) -> Any:
    """Bytes of both words by the selector's digits; from 8 on the sign of the byte in all bits."""
    both = b.astype(np.uint64) << np.uint64(32) | a
    result = np.zeros_like(a)
    for byte in range(4):
        digit = selector >> np.uint32(4 * byte) & np.uint32(15)
        chosen = both >> (8 * (digit & np.uint32(7))).astype(np.uint64) & np.uint64(255)
        sign = np.where(chosen >> np.uint64(7), np.uint32(255), np.uint32(0))
        chosen = np.where(digit > 7, sign, chosen.astype(np.uint32))
        result = result | chosen << np.uint32(8 * byte)
    return result


def truncated_quotient(a: Any, b: Any) -> Any:
    if a.dtype.kind == "i":
        raise NotImplementedError("div of signed integers")
    return a // b


INTEGER = {
    "add": (2, np.add),
    "sub": (2, np.subtract),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "and": (2, np.bitwise_and),
    "or": (2, np.bitwise_or),
    "xor": (2, np.bitwise_xor),
    "not": (1, np.invert),
    "neg": (1, np.negative),
    "abs": (1, np.abs),
    "div": (2, truncated_quotient),
}


def _integer(base: str, kind: str, modifiers: list[str]) -> Operation:
    if base in ("mul", "mad"):
        wide = kind[0] + str(16 * size_of(kind))
        result = wide if "wide" in modifiers else kind
        if not {"lo", "wide"} & set(modifiers):
            raise NotImplementedError(f"{base}.hi")

        def compute(a: Any, b: Any, c: Any = 0) -> Any:
            kept = dtype_of(result)
            return np.asarray(a, kept) * np.asarray(b, kept) + np.asarray(c, kept)

        return Operation((kind, kind, result)[: 2 + (base == "mad")], result, compute)
    count, function = INTEGER[base]
    return Operation((kind,) * count, kind, function)


# --- comparison, selection, conversion ---

COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def compared(comparison: str, ftz: bool) -> Callable[[Any, Any], Any]:
    """Those that end in u hold for NaN too, the others do not: ne neither."""
    unordered = comparison.endswith("u") and comparison[:-1] in COMPARISONS
    compare = COMPARISONS[comparison[:-1] if unordered else comparison]

    def compute(a: Any, b: Any) -> Any:
        if np.asarray(a).dtype.kind in "iu":
            return compare(a, b)
        if ftz:
            a, b = flushed(a), flushed(b)
        nan = np.isnan(a) | np.isnan(b)
        return np.where(nan, unordered, compare(a, b))

    return compute


def _set_predicate(modifiers: list[str]) -> Operation:
    comparison, *flags, kind = modifiers
    if set(flags) - {"ftz"}:
        raise NotImplementedError(f"setp.{'.'.join(modifiers)}")
    return Operation((kind, kind), "pred", compared(comparison, "ftz" in flags))


def _set_bits(modifiers: list[str]) -> Operation:
    """All bits of the result, or of the half that belongs to a half, where the comparison holds."""
    comparison, result, kind = modifiers
    compare = compared(comparison, ftz=False)
    if kind.endswith("x2"):

        def compute(a: Any, b: Any) -> Any:
            holds = compare(halves(kind, a), halves(kind, b))
            return np.where(holds, np.uint16(0xFFFF), np.uint16(0)).view(np.uint32)[..., 0]
    else:

        def compute(a: Any, b: Any) -> Any:
            return np.where(compare(a, b), np.uint32(0xFFFFFFFF), np.uint32(0))

    return Operation((kind, kind), result, compute)


def _convert(modifiers: list[str]) -> Operation:
    *flags, result, source = modifiers
    if result.endswith("x2"):  # the first operand is the upper half
        one = _convert([*flags, result[:-2], source])

        def two(upper: Any, lower: Any) -> Any:
            upper, lower = np.broadcast_arrays(one.compute(upper), one.compute(lower))
            return np.stack([lower, upper], axis=-1).view(np.uint32)[..., 0]

        return Operation((source, source), result, two)
    if "f" not in result:  # from integers alone: NumPy keeps the lower bits and extends by sign
        if "f" in source:
            raise NotImplementedError(f"cvt.{'.'.join(modifiers)}")
        return Operation((source,), result, lambda x: x.astype(dtype_of(result)))

    def to_float(x: Any) -> Any:
        wide = np.asarray(flushed(x) if "ftz" in flags and source == "f32" else x, np.float64)
        if "rni" in flags:
            return np.rint(wide)
        return narrowed(wide, result, next((flag for flag in flags if flag in ROUNDINGS), "rn"))

    made = floating(to_float, result, 1, set(flags))
    return Operation((source,), result, made.compute)


@cache
def operation(opcode: str) -> Operation:
    """Of an instruction without memory and branches; NotImplementedError if it is not here."""
    base, *modifiers = opcode.split(".")
    kind = modifiers[-1]
    try:
        if base == "setp":
            return _set_predicate(modifiers)
        if base == "set":
            return _set_bits(modifiers)
        if base == "cvt":
            return _convert(modifiers)
        if base == "selp":
            return Operation((kind, kind, "pred"), kind, lambda a, b, p: np.where(p, a, b))
        if base in ("mov", "cvta"):
            return Operation((kind,), kind, np.array)
        if base in ("shl", "shr"):
            shift = shifted_left if base == "shl" else shifted_right
            return Operation((kind, "u32"), kind, shift)
        if opcode == "shf.l.wrap.b32":
            return Operation(("u32", "u32", "u32"), "u32", funnel_shifted)
        if base == "bfi":
            return Operation((kind, kind, "u32", "u32"), kind, inserted)
        if opcode == "prmt.b32":
            return Operation(("u32", "u32", "u32"), "u32", permuted)
        if kind.endswith("x2"):
            return _halves(base, kind, modifiers[:-1])
        return (_float if "f" in kind else _integer)(base, kind, modifiers[:-1])
    except (KeyError, ValueError) as error:
        raise NotImplementedError(f"PTX instruction {opcode}") from error
