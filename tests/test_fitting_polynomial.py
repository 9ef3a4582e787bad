"""fitting/polynomial.py: functions of the user, of which each table keeps its promise."""

import host_cuda
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import assert_same_bits, evaluate
from scipy.special import expit
from test_polynomial import FLOAT32, errors, inputs

from cupylut import FUNCTIONS, PolynomialTable
from cupylut.declaration import IDENTITY, ZERO, Function, Tail
from cupylut.dtypes import FLOAT64, ulp
from cupylut.fitting import polynomial
from cupylut.fitting.branches import Goal, branches_of
from cupylut.fitting.segments import Fitted, Quality, fit_branch
from cupylut.fitting.simulated import errors as errors_at
from cupylut.fitting.simulated import numbers
from cupylut.tables.segments import Layout


@settings(max_examples=4, deadline=None)
@given(
    steepness=st.floats(0.1, 10, allow_subnormal=False),
    shift=st.floats(-2, 2, allow_subnormal=False),
    scale=st.floats(1e-3, 1e3, allow_subnormal=False),
)
def test_functions_of_the_user(steepness: float, shift: float, scale: float) -> None:
    def own(x: np.ndarray) -> np.ndarray:
        return scale * expit(steepness * x + shift)

    f = Function("own", "", own, ZERO, Tail(0.0, scale))
    table = PolynomialTable.build(f, FLOAT32)
    x = inputs(table)
    assert errors(table, f, x, evaluate(table, x)).max() <= 2


STEEP = {
    "shifted swish": (lambda x: x * expit(x - 1), ZERO, IDENTITY),
    "its mirror image": (lambda x: -x * expit(-x - 2), Tail(-1.0, 0.0), ZERO),
    "swish with a square": (lambda x: x * expit(x) ** 2, ZERO, IDENTITY),
    "shifted softplus": (lambda x: np.logaddexp(0, x - 3), ZERO, Tail(1.0, -3.0)),
}


@pytest.mark.parametrize("name", STEEP)
def test_functions_that_are_small_beside_their_line(name: str, compiler: str) -> None:
    """Which is not added then: in the difference of the two, roundings would count for more."""
    reference, left, right = STEEP[name]
    f = Function("own", "", reference, left, right)
    table = PolynomialTable.build(f, FLOAT32)
    x = inputs(table)
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert errors(table, f, x, y).max() <= 2
    x = np.float32([-np.inf, np.inf, 0.0])
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        np.testing.assert_array_equal(y, f(x).astype(np.float32))
    assert table.domain == (-np.inf, np.inf)
    assert table.entries.nbytes < 24 * 1024


KINKS = {
    "a plateau": (lambda x: np.where(np.abs(x) <= 1, 1, np.exp(1 - np.abs(x))), ZERO, ZERO),
    "a wide plateau": (lambda x: np.where(np.abs(x) <= 2, 1, np.exp(2 - np.abs(x))), ZERO, ZERO),
    "a jump": (lambda x: np.where(x < 3, 1, 7) * np.exp(-x * x), ZERO, ZERO),
    "hardshrink": (lambda x: np.where(np.abs(x) > 0.5, x, 0), IDENTITY, IDENTITY),
}


@pytest.mark.parametrize("dtype", [FLOAT32, np.dtype(np.float64)])
@pytest.mark.parametrize("name", KINKS)
def test_kinks_and_jumps_at_round_numbers(name: str, dtype: np.dtype) -> None:
    """There is a layout whose segments begin there."""
    f = Function(name, "", *KINKS[name])
    table = PolynomialTable.build(f, dtype)
    x = np.linspace(-6, 6, 10_001).astype(dtype)
    y, exact = evaluate(table, x), f(x)
    tolerance = np.maximum(ulp(exact, dtype), table.floor) if table.error is None else table.error
    assert (np.abs(y - exact) <= 2 * tolerance).all()


JUMPS = {
    "step at 1": (lambda x: np.where(x >= 1, 1.0, 0.0), 0.0, 1.0, 1.0),
    "step at 3": (lambda x: np.where(x >= 3, 1.0, 0.0), 0.0, 1.0, 3.0),
    "step behind 1/2": (lambda x: np.where(x > 0.5, 1.0, 0.0), 0.0, 1.0, 0.5),
    "hardshrink, closed": (
        lambda x: np.where(np.abs(x) >= 1, x, 0), Tail(1, 0), Tail(1, 0), 1.0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "error", "dtype"),
    [
        *((name, None, FLOAT32) for name in JUMPS),
        ("step at 1", 1e-4, FLOAT32),
        ("step at 1", None, FLOAT64),
        ("step at 3", None, FLOAT64),
    ],
)
def test_a_jump_is_where_it_is(name: str, error: float | None, dtype: np.dtype) -> None:
    """The numbers next to it may round to a segment beyond it."""
    reference, left, right, at = JUMPS[name]
    f = Function(name, "", reference, left, right)
    table = PolynomialTable.build(f, dtype, error)
    x = (dtype.type(at).view(f"i{dtype.itemsize}") + np.arange(-50, 51)).view(dtype)
    for each in (x, -x):
        np.testing.assert_allclose(evaluate(table, each), f(each), rtol=3e-7, atol=error or 0)


@pytest.mark.parametrize(
    ("reference", "left", "right"),
    [
        (lambda x: np.square(np.tanh(x) - 0.5), 2.25, 0.25),
        (lambda x: np.square(np.cos(x)) * np.exp(-x * x / 2), 0.0, 0.0),
        (lambda x: -np.expm1(-100 * np.square(x - 3)), 1.0, 1.0),
        (lambda x: np.minimum(np.abs(x - 3), 1), 1.0, 1.0),
    ],
)
def test_functions_that_touch_zero_away_from_zero(reference, left: float, right: float) -> None:
    f = Function("own", "", reference, left, right)
    table = PolynomialTable.build(f, FLOAT32)
    x = inputs(table)
    assert 0 < table.floor <= 2.0**-24 * 2.25
    assert errors(table, f, x, evaluate(table, x)).max() <= 2


@pytest.mark.parametrize("at", [1.0, 1.5])
def test_functions_that_are_zero_around_zero(at: float) -> None:
    """How accurate they are where they begin is beside what they are farther out."""
    shifted = Function("own", "", lambda x: np.maximum(x - at, 0), 0.0, Tail(1.0, -at))
    shrink = Function(
        "own", "", lambda x: np.sign(x) * np.maximum(np.abs(x) - at, 0), Tail(1, at), Tail(1, -at)
    )
    for f in (shifted, shrink):
        table = PolynomialTable.build(f, FLOAT32)
        x = inputs(table)
        assert errors(table, f, x, evaluate(table, x)).max() <= 2
        assert table.floor <= 2.0**-24 * 2 * at


def test_the_worst_segments_are_searched() -> None:
    """Errors are a third larger there than at numbers that fill all segments."""
    goal = Goal(FUNCTIONS["gelu_tanh"], FLOAT32, None, product=True, floor=0.0)
    (branch,) = branches_of(goal, 0.0)
    part = fit_branch(goal, branch, 5, 400)
    assert part is not None
    everywhere = numbers(goal, part.layout, 60_000)
    worst, _ = errors_at(goal, branch, part.layout, part.rows, part.k, everywhere)
    assert 1.3 * worst.max() < part.quality.worst <= goal.enough


def part(degree: int, worst: float, good: bool, checked: bool = True) -> Fitted:
    layout = Layout(FLOAT32, 8.0, 5, 4.0)
    rows = np.zeros((layout.count, degree + 2))
    return Fitted(layout, rows, 0, Quality(worst, 0.0, checked, good))


@pytest.mark.parametrize(
    ("parts", "degree"),
    [
        # good before what is merely within the promise, though that is smaller
        ([part(7, 1.55, True), part(5, 1.9, False), part(3, 1.9, False)], 7),
        # of good ones the one with the fewest reads
        ([part(7, 1.1, True), part(5, 1.5, True), part(3, 2.5, False)], 5),
        # within the promise at many numbers before what looks better at few
        ([part(7, 1.9, False), part(5, 1.6, False, checked=False), part(3, 2.5, False)], 7),
        # what comes nearest
        ([part(7, 2.2, False), part(5, 2.1, False), part(3, 9.9, False)], 5),
    ],
)
def test_which_of_the_degrees_is_taken(
    monkeypatch: pytest.MonkeyPatch, parts: list[Fitted], degree: int
) -> None:
    found = {part.rows.shape[1] - 2: part for part in parts}
    monkeypatch.setattr(polynomial, "fit_branch", lambda goal, branch, degree, most: found[degree])
    goal = Goal(FUNCTIONS["gelu_tanh"], FLOAT32, None, product=True, floor=0.0)
    design = polynomial.best(goal, branches_of(goal, 0.0))
    assert design is not None
    assert design.parts[0].rows.shape[1] - 2 == degree


def test_a_zero_is_a_zero_whatever_the_size_and_slope(compiler: str) -> None:
    for f in (
        Function("own", "", lambda x: 1e-30 * np.tanh(x), Tail(0, -1e-30), Tail(0, 1e-30)),
        Function("own", "", lambda x: 1e30 * np.tanh(x), Tail(0, -1e30), Tail(0, 1e30)),
        Function("own", "", lambda x: -np.tanh(x), Tail(0, 1), Tail(0, -1)),
        Function("own", "", lambda x: x * np.tanh(x), Tail(-1, 0), IDENTITY),
    ):
        table = PolynomialTable.build(f, FLOAT32)
        for y in (evaluate(table, np.float32([-0.0, 0.0])),
                  host_cuda.Program().elementwise(table, np.float32([-0.0, 0.0]))):  # fmt: skip
            assert_same_bits(y, np.float32([-0.0, 0.0]))


@pytest.mark.parametrize("error", [1e-6, 1e-7])
def test_tails_that_are_no_numbers_of_the_dtype_count_as_rounded(error: float) -> None:
    f = Function("own", "", np.arctan, Tail(0.0, -np.pi / 2), Tail(0.0, np.pi / 2))
    assert PolynomialTable.build(f, FLOAT32, error).report.max_abs <= error


@pytest.mark.parametrize(
    ("reference", "left", "right", "message"),
    [
        (lambda x: np.where(x == 0, np.nan, x), Tail(1.0, 0.0), IDENTITY, r"own\(0\) is NaN"),
        (np.log, ZERO, IDENTITY, r"own\(-.*\) is NaN"),
        (np.exp, ZERO, IDENTITY, r"own\(.*\) is not finite"),
        (np.tanh, ZERO, Tail(0.0, 1.0), r"own\(-3.40282e\+38\) = -1, which is -1 beside the left"),
        (lambda x: 1 / (x - 1) ** 2, ZERO, ZERO, r"own\(1\) is not finite"),
        (lambda x: 1 // 0 * x, ZERO, ZERO, r"own raised ZeroDivisionError"),
        (
            lambda x: np.clip(x, 0.1, 0.37),
            Tail(0.0, 0.1),
            Tail(0.0, 0.37),
            r"is off by .* at 0\.(1|099|37|36999)",
        ),
    ],
)
def test_bad_functions(reference, left: Tail, right: Tail, message: str) -> None:
    for dtype in (FLOAT32, np.dtype(np.float64)):
        with pytest.raises(ValueError, match=message):
            PolynomialTable.build(Function("own", "", reference, left, right), dtype)


def test_tails_that_even_the_largest_numbers_do_not_reach() -> None:
    f = Function("own", "", lambda x: 1 / (1 + np.abs(x)), ZERO, ZERO)
    table = PolynomialTable.build(f, FLOAT32)
    x = inputs(table)
    within = (x >= table.domain[0]) & (x <= table.domain[1])
    y = evaluate(table, x)
    assert errors(table, f, x[within], y[within]).max() <= 2
    assert np.abs(y - f(x))[~within].max() <= table.tail_error <= 1.001 * 2.0**-26


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="float32 and float64, not float16"):
        PolynomialTable.build(FUNCTIONS["tanh"], np.dtype(np.float16))
    with pytest.raises(ValueError, match="positive"):
        PolynomialTable.build(FUNCTIONS["tanh"], FLOAT32, error=-1.0)


@pytest.mark.parametrize("error", [1e-2, 1e-4, 2e-6])
def test_the_smallest_table_for_an_error(error: float) -> None:
    f = FUNCTIONS["gelu"]
    table = PolynomialTable.build(f, FLOAT32, error)
    x = inputs(table)
    assert np.abs(evaluate(table, x).astype(np.float64) - f(x)).max() <= error
    assert table.report.max_abs <= error
    assert table.entries.nbytes < 400


def test_an_error_out_of_reach() -> None:
    with pytest.raises(ValueError, match=r"within an error of 1e-09 of gelu in float32: the best"):
        PolynomialTable.build(FUNCTIONS["gelu"], FLOAT32, 1e-9)


@pytest.mark.parametrize("dtype", [FLOAT32, np.dtype(np.float64)])
@pytest.mark.parametrize("steepness", [0.3, 1.0, 2.0, 7.0])
def test_infinity_gives_the_tail(steepness: float, dtype: np.dtype, compiler: str) -> None:
    """Also where it is a product, of the limit and the coefficient of the last segment."""

    def softsign(x: np.ndarray) -> np.ndarray:
        return steepness * x / (1 + np.abs(steepness * x))

    f = Function("own", "", softsign, Tail(0.0, -1.0), Tail(0.0, 1.0))
    table = PolynomialTable.build(f, dtype)
    x = np.array([-np.inf, np.inf], dtype)
    for y in (evaluate(table, x), host_cuda.Program().elementwise(table, x)):
        assert_same_bits(y, f(x).astype(dtype))
    assert table.report.special_values
