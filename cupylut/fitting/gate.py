"""Find the coefficients of the gate tables.

For every segment, a fit of q·2⁸⁰ that minimises the largest error in units of what counts: the ulp
of a·q, which is the result for x < 0 (for x > 0 the result is larger). Coefficients are rounded
one by one, those that cost most first, and the others are fitted again to make up for it. What
the roundings of the evaluation add depends on the input, so the results are then compared at every
float32 with the function, and a segment that misses the target tries the neighbours of its
rounded coefficients.
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array
from ..dtypes import ulp
from ..functions import FUNCTIONS
from ..tables.gate import SCALE, WORDS, Layout, Words, unpack
from ..tables.shipped import unparse

DEGREE = 5
TARGET = 0.95  # ulp: what a segment's coefficients have to reach
SAMPLES = 64  # inputs of a segment that the fit looks at
ROUNDS = 6  # of moving to a better neighbour, at most
SMALLEST = 2.0**-7  # below it r is less than a hundredth of c0, and its roundings do not count

# The limit is where a·q(a) < 2⁻¹⁵⁰. Steps are as wide as keeps r below about a quarter of c0: near
# it the rounding of a·r doubles, and a wider step also needs a higher degree. A segment ends where
# the coordinate changes, so that none has to follow a kink: split² is an odd number of half steps.
LAYOUTS = {
    "gelu": Layout(limit=14.375, split=float(np.float32(2.1794496)), step=0.5),
    "gelu_tanh": Layout(limit=10.8125, split=float(np.float32(1.2747549)), step=0.25),
    "silu": Layout(limit=109.0, split=160.0, step=64.0),
    "quick_gelu": Layout(limit=64.0, split=144.0, step=32.0),
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


def simulate(layout: Layout, segment: int, words: Words, a: NDArray[np.float32]) -> Float64Array:
    """a·q(a)·2⁸⁰ as the kernel computes it from a segment's words.

    A float32 multiply-add is done in float64, where the product is exact; rounding the sum twice
    makes a difference once in 10⁹ times.
    """
    c, rest = unpack(words)
    wide = a.astype(np.float64)
    d = as_float32(layout.coordinate(a) - segment * layout.step)
    r = c[5]
    for term in (c[4], c[3], c[2], c[1], rest):
        r = as_float32(d * r + term)
    return as_float32(wide * c[0] + as_float32(wide * r))


class Samples:
    """Where the fit looks at some segments: local coordinates, q·2⁸⁰ and weights, a row each."""

    def __init__(self, name: str, layout: Layout, segments: NDArray[np.int64]) -> None:
        """Chebyshev points of every segment, in its part of the inputs."""
        self.reach = layout.step / 2
        middle = segments[:, None] * layout.step
        ends = middle + self.reach * np.array([-1.0, 1.0])
        ends = np.clip(ends, 0, layout.coordinate(layout.limit))
        angles = np.cos(np.linspace(0, np.pi, SAMPLES))
        u = ends.mean(axis=1, keepdims=True) + np.diff(ends) / 2 * angles
        a = np.where(middle < layout.split**2, u / layout.split, np.sqrt(u))
        q = gate(name, a)
        self.d = u - middle
        self.target = q * SCALE
        # Relative to q, but never finer than the smallest subnormal result lets one see.
        self.weight = 1 / (SCALE * np.maximum(q, 2.0**-126 / np.maximum(a, 1.0)))

    def minimax(self, c: Float64Array, free: Sequence[int]) -> Float64Array:
        """The coefficients of these powers of d that make the largest weighted error smallest.

        The others stay as they are in c. By Lawson's algorithm: least squares, with more weight
        where the error is large.
        """
        fixed = [i for i in range(DEGREE + 1) if i not in free]
        powers = (self.d / self.reach)[:, :, None] ** np.arange(DEGREE + 1)
        scale = self.reach ** np.arange(DEGREE + 1)
        rest = self.target - np.einsum("snp,sp->sn", powers[:, :, fixed], (c * scale)[:, fixed])
        a, b = powers[:, :, list(free)] * self.weight[:, :, None], rest * self.weight
        importance = np.ones_like(b)
        best, smallest = np.zeros((len(c), len(free))), np.full(len(c), np.inf)
        for _ in range(20):
            root = np.sqrt(importance)[:, :, None]
            q, r = np.linalg.qr(a * root)
            found = np.linalg.solve(r, q.mT @ (b[:, :, None] * root))[:, :, 0]
            error = np.abs(np.einsum("snp,sp->sn", a, found) - b)
            largest = error.max(axis=1)
            better = largest < smallest
            best[better], smallest[better] = found[better], largest[better]
            importance *= error / largest[:, None] + 1e-3
            importance /= importance.mean(axis=1, keepdims=True)
        return best / scale[list(free)]

    def settle(self, c: Float64Array, free: Sequence[int]) -> None:
        """Fit these powers of d and round them to float32, the first first."""
        for i, power in enumerate(free):
            c[:, free[i:]] = self.minimax(c, free[i:])
            c[:, power] = as_float32(c[:, power])


def pack(c: Float64Array, high: Float64Array, c5: NDArray[np.uint32]) -> Words:
    """The words of c0 … c4 and the upper bits of c5, with c0 = high + e; c becomes what is kept."""
    rest = as_bfloat16(c[:, 0] - high)
    c[:, 0] = high + rest
    words = np.empty((len(c), WORDS), np.uint32)
    words[:, -1] = (c5 & np.uint32(0xFFFF0000)) | (rest.astype(np.float32).view(np.uint32) >> 16)
    c[:, 5] = words[:, -1].copy().view(np.float32)
    words[:, :-1] = np.column_stack([high, c[:, 1:5]]).astype(np.float32).view(np.uint32)
    return words


def fit(samples: Samples, zero: NDArray[np.bool_]) -> Words:
    """First words for some segments; `zero` marks the one of x = 0, where q = 1/2 exactly."""
    c = np.zeros((len(samples.d), DEGREE + 1))
    c[:, :] = samples.minimax(c, range(6))
    c5 = c[:, 5].astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    c[:, 5] = (c5 | np.uint32(0x8000)).view(np.float32)  # e is not known yet
    c[:, :5] = samples.minimax(c, range(5))
    c[zero, 0] = SCALE / 2
    high = as_float32(c[:, 0])
    pack(c, high, c5)
    samples.settle(c, [1, 2, 3, 4])
    return pack(c, high, c5)


def magnitudes(layout: Layout, segment: int) -> NDArray[np.float32]:
    """Every float32 magnitude from SMALLEST to limit that falls into a segment."""
    ends = np.maximum((segment + np.array([-0.501, 0.501])) * layout.step, 0)
    lo, hi = np.minimum(ends / layout.split, np.sqrt(ends))
    lo, hi = max(lo, SMALLEST), min(hi, layout.limit)
    bits = np.array([lo, hi], np.float32).view(np.uint32)
    a = np.arange(bits[0], bits[1] + 1, dtype=np.uint32).view(np.float32)
    inside: NDArray[np.float32] = a[layout.segment(a) == segment]
    return inside


def errors(
    name: str, layout: Layout, segment: int, words: Words, a: NDArray[np.float32]
) -> Float64Array:
    """The larger of the kernel's errors at a and −a, in ulp."""
    z = simulate(layout, segment, words, a) / SCALE
    wide = a.astype(np.float64)
    exact = wide * gate(name, wide)
    below = np.abs(as_float32(z) - exact) / ulp(exact, np.float32)
    above = np.abs(as_float32(wide - z) - (wide - exact)) / ulp(wide - exact, np.float32)
    return np.maximum(below, above)


def neighbours(samples: Samples, words: Words) -> Words:
    """Other words for a segment: c1, e and c5 moved by their last bits, the rest fitted again."""
    moves = np.array(list(product(range(-2, 3), range(-6, 7), (0, 1))))
    c, rest = unpack(np.repeat(words[None], len(moves), axis=0))
    high = c[:, 0].copy()
    c[:, 0] += rest + moves[:, 1] * np.spacing(high.astype(np.float32)) / 64
    c[:, 1] += moves[:, 0] * np.spacing(np.abs(c[:, 1]).astype(np.float32))
    c5 = (words[5] + moves[:, 2] * 65536).astype(np.uint32)
    pack(c, high, c5)
    samples.settle(c, [2, 3, 4])
    return pack(c, high, c5)


def polish(name: str, layout: Layout, segment: int, words: Words) -> tuple[Words, float]:
    """These words or, while they miss the target, the best of their neighbours; the worst error.

    The neighbours meet the inputs that are hard for these words before they meet all.
    """
    a = magnitudes(layout, segment)

    def measure(words: Words, a: NDArray[np.float32]) -> Float64Array:
        return errors(name, layout, segment, words, a)

    every = measure(words, a)
    for _ in range(ROUNDS):
        if every.max() <= TARGET:
            break
        hard = a[every > 0.75]
        tried = neighbours(Samples(name, layout, np.array([segment])), words)
        order = np.argsort([measure(each, hard).max() for each in tried])
        results = [(measure(each, a), each) for each in tried[order[:8]]]
        best, candidate = min(results, key=lambda result: result[0].max())
        if best.max() >= every.max():
            break
        every, words = best, candidate
    return words, float(every.max())


def design(name: str) -> tuple[Words, float]:
    """The words of a function's table, and the worst error of the kernel above SMALLEST."""
    layout = LAYOUTS[name]
    segments = np.arange(layout.count)
    words = fit(Samples(name, layout, segments), segments == 0)
    worst = 0.0
    for k in segments:
        words[k], error = polish(name, layout, int(k), words[k])
        worst = max(worst, error)
    return words, worst


def text(name: str) -> str:
    """The data file of a function."""
    words, worst = design(name)
    fields = {"worst_ulp": round(worst, 4)} | asdict(LAYOUTS[name])
    return unparse(COMMENT.format(name=name), fields, words)


COMMENT = """\
The float32 table of {name}: made by python -m cupylut.fitting. One entry a line: c0, c1, c2, c3, c4
as the bits of a float32, then c5 and e as those of a bfloat16 each; see cupylut/tables/gate.py.
"""
