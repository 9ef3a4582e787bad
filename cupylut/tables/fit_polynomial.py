"""Find the coefficients of the polynomial tables: python -m cupylut.tables.fit_polynomial.

For every segment, a fit of q·2⁸⁰ that minimises the largest error in units of what counts: the ulp
of a·q, which is the result for x < 0 (for x > 0 the result is larger). Coefficients are rounded
one by one, those that cost most first, and the others are fitted again to make up for it. What
the roundings of the evaluation add depends on the input, so the results are then compared at every
float32 with the function, and a segment that misses the target tries the neighbours of its
rounded coefficients.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from ..accuracy import ulp
from ..functions import FUNCTIONS, Float64Array
from .polynomial import MAGIC, SCALE, WORDS, Layout, Words, unpack

DEGREE = 5
TARGET = 0.985  # ulp: what a segment's coefficients have to reach
SAMPLES = 64  # inputs of a segment that the fit looks at
SMALLEST = 2.0**-13  # below it, a·q differs from a/2 by less than 2⁻¹³, and nothing new happens

LAYOUTS = {
    "gelu": Layout(limit=14.375, split=4.0625, near=-6.0, step=0.75),
    "gelu_tanh": Layout(limit=10.8125, split=3.0625, near=-3.0, step=0.375),
    "silu": Layout(limit=109.0, split=np.inf, near=-1.0, step=0.4375),
}


def gate(name: str, a: Float64Array) -> Float64Array:
    """q(a) = f(−a)/(−a); its limit at 0."""
    with np.errstate(invalid="ignore"):
        return np.where(a == 0, 0.5, FUNCTIONS[name](-a) / -a)


def as_float32(x: Float64Array) -> Float64Array:
    """x rounded to float32."""
    return x.astype(np.float32).astype(np.float64)


def as_bfloat16(x: Float64Array) -> Float64Array:
    """x rounded to bfloat16."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def simulate(layout: Layout, words: Words, a: NDArray[np.float32]) -> NDArray[np.float32]:
    """z·2⁻⁸⁰ = a·q(a) as the kernel computes it before its last step.

    A float32 multiply-add is done in float64, where the product is exact.
    """

    def multiply_add(a: Any, b: Any, c: Any) -> Float64Array:
        return as_float32(np.asarray(a * b + c))

    coefficients, rest = unpack(words)
    index = layout.segment(a) - layout.first
    c0, c1, c2, c3, c4, c5 = coefficients[index].T
    wide = a.astype(np.float64)
    d = as_float32(layout.coordinate(a) - layout.segment(a) * layout.step)
    r = c5
    for c in (c4, c3, c2, c1, rest[index]):
        r = multiply_add(d, r, c)
    return multiply_add(wide, c0, as_float32(wide * r))
