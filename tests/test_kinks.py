"""fitting/kinks.py: where functions turn or jump, and tables that do so there."""

from collections.abc import Callable

import host_cuda
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import evaluate
from scipy.special import expit
from test_polynomial import errors, inputs

from cupylut import PolynomialTable, Tail
from cupylut.declaration import IDENTITY, Function, as_tail
from cupylut.dtypes import FLOAT32, FLOAT64
from cupylut.fitting.kinks import kink

by_dtype = pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=lambda d: d.name)

# Functions that turn or jump at k, and whether they take the value of what follows there.
TURNS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], bool]] = {
    "from below": (np.minimum, True),
    "from above": (np.maximum, True),
    "at zero": (lambda x, k: np.abs(x - k), True),
    "a threshold": (lambda x, k: np.where(x >= k, x, 0), True),
    "an open threshold": (lambda x, k: np.where(x > k, x, 0), False),
    "a curve": (lambda x, k: np.where(x >= k, 1.0, np.exp(1 - x / k)), True),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    # The rounding of a curve in float64 hides how it turns between numbers of float64.
    [(name, d) for name in TURNS for d in (FLOAT32, FLOAT64) if (name, d) != ("a curve", FLOAT64)],
)
@given(k=st.floats(0.01, 100), off=st.floats(-0.06, 0.06), negative=st.booleans())
def test_kinks_are_found_to_a_number(
    name: str, dtype: np.dtype, k: float, off: float, negative: bool
) -> None:
    k = float(dtype.type(k))
    of, closed = TURNS[name]
    sign = -1.0 if negative else 1.0
    f = Function(name, "", lambda x: of(sign * x, k), None, None)
    found = kink(f, dtype, sign * k * (1 + off))
    assert found == (k if closed else np.nextafter(dtype.type(k), dtype.type(np.inf)))


@by_dtype
@given(k=st.floats(0.01, 100))
def test_kinks_between_two_numbers_are_on_the_side_of_each(dtype: np.dtype, k: float) -> None:
    """By the kink in float64 that is no float32, all numbers up to there take the one branch."""
    f = Function("clip", "", lambda x: np.minimum(x, k), None, None)
    found = dtype.type(kink(f, dtype, 1.02 * k))
    assert np.nextafter(found, dtype.type(0)) <= k <= found


@by_dtype
def test_a_jump_at_zero(dtype: np.dtype) -> None:
    f = Function("step", "", lambda x: np.where(x >= 0, 1.0, 0.0), None, None)
    assert kink(f, dtype, -0.0) == np.finfo(dtype).smallest_subnormal


OWN = {
    "threshold": (lambda x: np.where(x > 0.1, x, 20.0), 20.0, IDENTITY, 0.1),
    "threshold, closed at a power of two": (lambda x: np.where(x >= 1, x, 0), 0.0, IDENTITY, 1.0),
    "a threshold near zero, far from where the error is largest": (
        lambda x: np.where(x > 2e-6, np.exp(-x * x), x - 1), Tail(1, -1), 0.0, 2e-6),
    "hard tanh": (lambda x: np.clip(x, -0.3, 0.7), -0.3, 0.7, 0.7),
    "an S of three lines": (
        lambda x: np.where(x > 1.3, 0.65 + x / 2, np.where(x < -0.4, x / 5 - 0.32, x)),
        Tail(0.2, -0.32), Tail(0.5, 0.65), 1.3),
    "a curve and a plateau": (lambda x: np.minimum(x * expit(x), 0.7), 0.0, 0.7, 1.1235),
    "a curve and a line": (
        lambda x: np.where(x > 2.2, 2.2 * expit(2.2) + (x - 2.2), x * expit(x)),
        0.0, Tail(1, 2.2 * expit(2.2) - 2.2), 2.2),
    "hard shrink of a curve": (
        lambda x: np.where(np.abs(x) >= 0.3, x * expit(x), 0), 0.0, IDENTITY, 0.3),
    "a curve to a power of two": (lambda x: np.where(x > -0.5, 1.0, expit(x)), 0.0, 1.0, 0.5),
    "a jump just above a power of two": (
        lambda x: np.where(x < 1 + 2.0**-20, expit(x), 1.0), 0.0, 1.0, 1 + 2.0**-20),
    "zero in a kink": (lambda x: np.abs(np.tanh(x - 1)), 1.0, 1.0, 1.0),
    "step at zero": (lambda x: np.where(x >= 0, 1.0, 0.0), 0.0, 1.0, 0.0),
    "curves that jump at zero": (
        lambda x: np.where(x >= 0, 2 + expit(x), np.exp(np.minimum(x, 0))), 0.0, 3.0, 0.0),
    "step near zero": (lambda x: np.where(x > 1e-5, 1.0, 0.0), 0.0, 1.0, 1e-5),
    "sign": (np.sign, -1.0, 1.0, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_within_two_ulp(name: str, compiler: str) -> None:
    """Kernel and NumPy half, on all numbers next to the kink."""
    reference, left, right, at = OWN[name]
    f = Function("own", "", reference, as_tail(left, "left"), as_tail(right, "right"))
    table = PolynomialTable.build(f, FLOAT32)
    near = (np.float32(at).view(np.int32) + np.arange(-200, 201)).view(np.float32)
    near = near[np.isfinite(near)]
    x = np.concatenate([inputs(table), near, -near])
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert errors(table, f, x, y).max() <= 2


@pytest.mark.parametrize(
    "name", ["threshold", "hard tanh", "a jump just above a power of two", "zero in a kink"]
)
def test_float64(name: str) -> None:
    reference, left, right, at = OWN[name]
    f = Function("own", "", reference, as_tail(left, "left"), as_tail(right, "right"))
    table = PolynomialTable.build(f, FLOAT64)
    near = (np.float64(at).view(np.int64) + np.arange(-200, 201)).view(np.float64)
    x = np.concatenate([np.linspace(-10, 10, 100_001), near])
    assert np.abs(evaluate(table, x) - f(x)).max() <= table.error


def test_two_kinks_on_one_side_are_refused() -> None:
    f = Function("clip", "", lambda x: np.clip(x, 0.1, 0.37), Tail(0, 0.1), Tail(0, 0.37))
    with pytest.raises(ValueError, match=r"within 2 ulp of clip .* is off by .* at 0\.(37|1)"):
        PolynomialTable.build(f, FLOAT32)
