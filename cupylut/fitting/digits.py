"""Fits float64 polynomials to values in mpmath.

The float64 references are themselves off by several ulp where a function fades out, so coefficients
that promise 2 ulp in float64 need values of more digits.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array
from ..dtypes import FLOAT64
from ..names import with_derivatives
from ..tables import PolynomialTable
from ..tables.shared_memory import BLOCK_BYTES
from .branches import Branch, Goal, branches_of, zero_floor
from .chebyshev import chebyshev
from .hard_cases import exact_functions
from .layouts import layouts
from .polynomial import DEGREES, Design, assemble, fastest
from .segments import Fitted, Quality, interpolate, promising
from .simulated import errors, numbers

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
        inner = np.isfinite(x) & (x != 0)
        y = self.function(np.where(inner, 1.0, x))  # the limits, NaN, and ±0: mpmath has no −0
        y[inner] = self(x[inner]).astype(np.float64)
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


def in_digits(f: Digits, branch: Branch) -> Branch:
    """The branch with a q in mpmath numbers."""
    left, right = branch.members[0], branch.members[-1]
    if len(branch.members) == 1:  # no symmetry
        return replace(branch, q=lambda a: f(left.sign * a) - left.slope * a)
    if left.factor < 0:  # odd
        return replace(branch, q=lambda a: f(a) - right.slope * a)
    return replace(branch, q=lambda a: f(-a))


def fit(name: str) -> PolynomialTable:
    """A small table of a function in float64."""
    digits = Digits(name)
    f = replace(digits.function, reference=digits.rounded, parameters=())
    floor = zero_floor(digits.function, FLOAT64)
    goal = Goal(f, FLOAT64, None, f.keeps_zero, floor, DESIGN, noise=0.0)
    branches = [in_digits(digits, branch) for branch in branches_of(goal, TAIL)]
    designs = []
    for degree in DEGREES[8]:
        most = BLOCK_BYTES // (8 * (degree + 2))
        parts = [part for branch in branches if (part := _fit(goal, digits, branch, degree, most))]
        if len(parts) == len(branches):
            designs.append(Design(tuple(branches), tuple(parts)))
    return assemble(goal, fastest(goal, designs)).measured(digits.function, beyond=True)


def _fit(goal: Goal, digits: Digits, branch: Branch, degree: int, most: int) -> Fitted | None:
    """The fewest segments of this degree within the goal."""
    for layout in layouts(FLOAT64, branch, most):
        if promising(goal, branch, layout, degree, TRUNCATION, solve):
            rows, k = interpolate(goal, branch, layout, degree, solve)
            a = numbers(goal, layout, 10_000)
            error, x = errors(goal, branch, layout, rows, k, a, digits.rest)
            worst, at = float(error.max()), float(x[np.argmax(error)])
            print(f"  degree {degree}, {layout.count} segments: {worst:.3f} ulp at {at:g}")
            if worst <= goal.target:
                return Fitted(layout, rows, k, Quality(worst, at))
    return None
