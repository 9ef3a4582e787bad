"""Makes the float64 tables NAME_float64.npz: polynomials of the functions, fitted with mpmath.

The float64 references are themselves off by several ulp where a function fades out, so coefficients
that promise 2 ulp in float64 need values of more digits. `python -m cupylut.data.polynomials` makes
the files again, in some minutes; with names, those of these functions only. The library reads them
with `PolynomialTable.build` and does not need mpmath.
"""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cupylut.data.hard_cases import exact_functions, with_derivatives
from cupylut.declaration import Float64Array
from cupylut.tables import PolynomialTable
from cupylut.tables.chebyshev import chebyshev
from cupylut.tables.fit_polynomial import (
    DEGREES,
    MAX_BYTES,
    Design,
    Fitted,
    assemble,
    fastest,
    interpolate,
)
from cupylut.tables.halves import Goal, Half, halves_of, zero_floor
from cupylut.tables.segments import Layout, layouts
from cupylut.tables.simulated import errors, numbers

FLOAT64 = np.dtype(np.float64)

_FITTED = ("gelu", "gelu_tanh", "silu", "quick_gelu", "mish", "softplus", "sigmoid", "tanh")
NAMES = (*_FITTED, *(f"{name}_derivative" for name in _FITTED))

# In ulp, of the NumPy half at some thousand points; the kernel has fewer roundings.
DESIGN = 1.75

TAIL = 2.0**-53  # what the tail may be off by
TRUNCATION = 0.125  # ulp that the polynomials may be off by before any rounding


class Digits:
    """A function in mpmath."""

    def __init__(self, name: str) -> None:
        """Take a name of `exact_functions`."""
        self.exact = np.vectorize(exact_functions()[name], otypes=[object])
        self.function = with_derivatives()[name]
        self.x, self.y = np.array([]), np.array([])

    def __call__(self, x: Float64Array) -> NDArray[Any]:
        """f(x) as an array of objects; the last one is remembered."""
        if not np.array_equal(x, self.x):
            self.x, self.y = x.copy(), self.exact(x.astype(object))
        return self.y

    def rounded(self, x: Float64Array) -> Float64Array:
        """f(x) in float64."""
        x = np.asarray(x, np.float64)
        y = self.function(np.where(np.isfinite(x), 0.0, x))  # the limits, and NaN
        y[np.isfinite(x)] = self(x[np.isfinite(x)]).astype(np.float64)
        return y

    def rest(self, x: Float64Array) -> Float64Array:
        """What rounding lost."""
        return (self(x) - self(x).astype(np.float64)).astype(np.float64)


@cache
def _inverse(degree: int) -> NDArray[Any]:
    """The matrix from values at the Chebyshev points to the powers of t, in mpmath numbers."""
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = 80
    vandermonde = mp.matrix([[mp.mpf(float(t)) ** i for i in range(degree + 1)]
                             for t in chebyshev(degree)])  # fmt: skip
    return np.array((vandermonde**-1).tolist(), dtype=object).T


def solve(p: NDArray[Any]) -> NDArray[Any]:
    """`chebyshev.powers_of` in mpmath numbers."""
    return np.asarray(p @ _inverse(p.shape[1] - 1))


def in_digits(f: Digits, half: Half) -> Half:
    """The half with a q in mpmath numbers."""
    left, right = half.members[0], half.members[-1]
    if len(half.members) == 1:  # no symmetry
        return replace(half, q=lambda a: f(left.sign * a) - left.slope * a)
    if left.factor < 0:  # odd
        return replace(half, q=lambda a: f(a) - right.slope * a)
    return replace(half, q=lambda a: f(-a))


def promising(goal: Goal, half: Half, layout: Layout, degree: int) -> bool:
    """Whether the polynomials of a few segments are close enough to q."""
    segments = np.unique(np.linspace(0, max(layout.count - 2, 0), 9).astype(int))
    starts, ends = layout.starts()[segments], layout.ends()[segments]
    middle, radius = (ends + starts) / 2, (ends - starts) / 2
    a = middle[:, None] + radius[:, None] * chebyshev(degree)
    t = np.array([-0.984375, 0.984375, 0.9375, 0.0625])
    between = middle[:, None] + radius[:, None] * t
    factor = (a, between) if goal.product else (1.0, 1.0)
    powers = solve(half.q(a) / factor[0])
    value = sum(powers[:, [i]] * t**i for i in range(degree + 1)) * factor[1]
    error = np.abs(value - half.q(between)).astype(np.float64)
    for member in half.members:
        tolerance = goal.tolerance(goal.f(member.sign * between))
        if not (error <= TRUNCATION * tolerance).all():
            return False
    return True


def fit(name: str) -> PolynomialTable:
    """A small table of a function in float64."""
    digits = Digits(name)
    f = replace(digits.function, reference=digits.rounded, parameters=())
    floor = zero_floor(digits.function, FLOAT64)
    goal = Goal(f, FLOAT64, None, f.keeps_zero, floor, DESIGN, noise=0.0)
    halves = [in_digits(digits, half) for half in halves_of(goal, TAIL)]
    designs = []
    for degree in DEGREES[8]:
        most = MAX_BYTES // (8 * (degree + 2))
        parts = [part for half in halves if (part := _fit(goal, digits, half, degree, most))]
        if len(parts) == len(halves):
            designs.append(Design(tuple(halves), tuple(parts)))
    return assemble(goal, fastest(goal, designs)).measured(f)


def _fit(goal: Goal, digits: Digits, half: Half, degree: int, most: int) -> Fitted | None:
    """The fewest segments of this degree within the goal."""
    for layout in layouts(FLOAT64, half, most):
        if promising(goal, half, layout, degree):
            rows, k = interpolate(goal, half, layout, degree, solve)
            a = numbers(goal, half, layout, 10_000)
            error, x = errors(goal, half, layout, rows, k, a, digits.rest)
            worst, at = float(error.max()), float(x[np.argmax(error)])
            print(f"  degree {degree}, {layout.count} segments: {worst:.3f} ulp at {at:g}")
            if worst <= goal.design:
                return Fitted(layout, rows, k, worst, at)
    return None


def main(names: list[str]) -> None:
    """Write the files beside this one."""
    for name in names:
        table = fit(name)
        table.save(Path(__file__).with_name(f"{name}_float64.npz"))
        print(f"{table!r}, {table.entries.nbytes:,} bytes, from {table.domain[0]:g} to "
              f"{table.domain[1]:g}, outside {table.tail_error:.1g}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:] or list(NAMES))
