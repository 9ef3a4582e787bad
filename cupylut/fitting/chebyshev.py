"""Polynomials through given values at Chebyshev points, as sums of powers."""

from functools import cache

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly, chebvander

from ..declaration import Float64Array


@cache
def chebyshev(degree: int) -> Float64Array:
    """Chebyshev points in (−1, 1), of so few bits that those of a segment are exact."""
    angles = (np.arange(degree + 1) + 0.5) * (np.pi / (degree + 1))
    return np.asarray(np.rint(np.cos(angles) * 2.0**12) * 2.0**-12)


@cache
def _to_powers(degree: int) -> tuple[Float64Array, Float64Array]:
    """Matrices from values at these points to Chebyshev coefficients, and from them to powers."""
    to_coefficients = np.asarray(np.linalg.inv(chebvander(chebyshev(degree), degree)).T, np.float64)
    rows = [np.pad(cheb2poly(row[: i + 1]), (0, degree - i))
            for i, row in enumerate(np.eye(degree + 1))]  # fmt: skip
    return to_coefficients, np.array(rows)


def powers_of(p: Float64Array) -> Float64Array:
    """The coefficients of the polynomials in t with these values at the Chebyshev points."""
    to_coefficients, to_powers = _to_powers(p.shape[1] - 1)
    return np.asarray(p @ to_coefficients @ to_powers)


def shifted(powers: Float64Array, by: Float64Array) -> Float64Array:
    """The coefficients of p(t + by) from those of p(t), for a column of shifts."""
    result = powers.copy()
    for i in range(powers.shape[1] - 1):
        for j in range(powers.shape[1] - 2, i - 1, -1):
            result[:, j] += by * result[:, j + 1]
    return result
