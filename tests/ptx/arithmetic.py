"""What PTX instructions compute, by NVIDIA's "PTX ISA" reference, for all threads at once.

It is written from that text alone: neither with the operations of kernels/floating.cuh for C++ nor
with the NumPy halves of the tables. What the kernels do not use is refused.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .floating import (
    ROUNDINGS,
    floating,
    floating_operation,
    flushed,
    halves,
    halves_operation,
    narrowed,
)
from .types import Operation, dtype_of, size_of

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
    position, length = (n & np.uint32(255) for n in (position, length))
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
        if modifiers not in (["lo"], ["wide"]):
            raise NotImplementedError(f"{base}.{'.'.join(modifiers)}")

        def compute(a: Any, b: Any, c: Any = 0) -> Any:
            kept = dtype_of(result)
            return np.asarray(a, kept) * np.asarray(b, kept) + np.asarray(c, kept)

        return Operation((kind, kind, result)[: 2 + (base == "mad")], result, compute)
    count, function = INTEGER[".".join([base, *modifiers])]
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
    if result != "u32":
        raise NotImplementedError(f"set.{'.'.join(modifiers)}")
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
    if set(flags) - ROUNDINGS - {"rni", "ftz", "sat"}:
        raise NotImplementedError(f"cvt.{'.'.join(modifiers)}")
    if result.endswith("x2"):  # the first operand is the upper half
        one = _convert([*flags, result[:-2], source])

        def two(upper: Any, lower: Any) -> Any:
            upper, lower = np.broadcast_arrays(one.compute(upper), one.compute(lower))
            return np.stack([lower, upper], axis=-1).view(np.uint32)[..., 0]

        return Operation((source, source), result, two)
    if "f" not in result:  # from integers alone: NumPy keeps the lower bits and extends by sign
        if flags or "f" in source:
            raise NotImplementedError(f"cvt.{'.'.join(modifiers)}")
        return Operation((source,), result, lambda x: x.astype(dtype_of(result)))

    if source in ("s64", "u64"):  # which double precision does not hold
        raise NotImplementedError(f"cvt.{'.'.join(modifiers)}")

    def to_float(x: Any) -> Any:
        wide = np.asarray(flushed(x) if "ftz" in flags and source == "f32" else x, np.float64)
        if "rni" in flags:
            return np.rint(wide)
        y = narrowed(wide, result, next((flag for flag in flags if flag in ROUNDINGS), "rn"))
        return flushed(y) if "ftz" in flags and result == "f32" else y

    made = floating(to_float, result, 1, set(flags) - {"ftz"})
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
            return halves_operation(base, kind, modifiers[:-1])
        return (floating_operation if "f" in kind else _integer)(base, kind, modifiers[:-1])
    except (KeyError, ValueError) as error:
        raise NotImplementedError(f"PTX instruction {opcode}") from error
