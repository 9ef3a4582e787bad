"""ties.py: 16-bit results of functions with parameters are rounded from the exact value."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from cupylut import tabulate
from cupylut.dtypes import all_inputs, widened

Exact = Callable[[float], Any]


def exact_elu(alpha: float) -> Exact:
    return lambda x: mpmath.mpf(alpha) * mpmath.expm1(x) if x < 0 else mpmath.mpf(x)


def exact_leaky_relu(slope: float) -> Exact:
    return lambda x: mpmath.mpf(slope) * mpmath.mpf(x) if x < 0 else mpmath.mpf(x)


CASES = [
    *((f"elu({alpha})", exact_elu(alpha)) for alpha in (1.5, 0.5, 0.3, 3.0)),
    *((f"leaky_relu({slope})", exact_leaky_relu(slope)) for slope in (0.1, 0.3, 1.1, 0.25)),
]


def is_nearer(a: Any, b: Any, exact: Any) -> bool:
    return abs(mpmath.mpf(float(a)) - exact) < abs(mpmath.mpf(float(b)) - exact)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "exact"), CASES, ids=[name for name, _ in CASES])
def test_results_are_the_nearest(name: str, exact: Exact, dtype: str) -> None:
    """Neither neighbour is nearer, and of two that are as near the even one is taken."""
    table = tabulate(name, dtype)
    x = all_inputs(dtype)
    x = x[np.isfinite(widened(x)) & (widened(x) < 0) & (widened(x) > -64)][::7]
    y = table(x).view(np.uint16).astype(np.int64)
    with mpmath.workdps(60):
        for a, bits in zip(widened(x), y, strict=True):
            value = exact(float(a))
            patterns = np.array([bits, max(bits - 1, 0), bits + 1], np.uint16)
            result, *others = widened(patterns.view(x.dtype))
            for other in others:
                if np.isfinite(other) and np.signbit(other) == np.signbit(result):
                    assert not is_nearer(other, result, value)
                    tie = abs(mpmath.mpf(float(other)) - value) == abs(mpmath.mpf(result) - value)
                    assert not tie or bits % 2 == 0
