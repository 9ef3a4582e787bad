"""PTX's types as NumPy's, and what an instruction is that computes with them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np


@cache
def size_of(kind: str) -> int:
    """Bytes of a PTX type such as u16, f32 or f16x2."""
    width, _, lanes = kind.lstrip("bfsu").partition("x")
    return int(width) // 8 * int(lanes or 1)


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
