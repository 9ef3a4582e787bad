"""The polynomial tables that the library comes with: within 2 ulp in float64, by mpmath."""

import math
import pickle
from dataclasses import replace

import host_cuda
import numpy as np
import pytest
from samples import assert_same_bits, evaluate

import cupylut
from cupylut import PolynomialTable, tabulate
from cupylut.dtypes import FLOAT64, ulp
from cupylut.fitting import digits
from cupylut.fitting.branches import Goal, branches_of
from cupylut.fitting.hard_cases import exact_functions
from cupylut.fitting.segments import interpolate
from cupylut.names import as_function, with_derivatives

ALL = with_derivatives()

every_table = pytest.mark.parametrize("name", digits.NAMES)


def table_for(name: str) -> PolynomialTable:
    table = tabulate(ALL[name], "float64")
    assert isinstance(table, PolynomialTable)
    return table


def sample(table: PolynomialTable, count: int) -> np.ndarray:
    """Points of the domain, evenly, of every magnitude, and at the boundaries of segments."""
    rng = np.random.default_rng(count)
    lo, hi = -table.left.layout.limit, table.right.layout.limit
    starts = np.concatenate([-table.left.layout.starts(), table.right.layout.starts()])
    even = rng.uniform(lo, hi, count // 2)
    magnitudes = np.exp2(rng.uniform(-1000, 12, count // 4)) * rng.choice([-1, 1], count // 4)
    around = np.nextafter(rng.choice(starts, count // 4), rng.choice([-100, 100], count // 4))
    x = np.concatenate([even, magnitudes, around])
    return x[(x >= table.domain[0]) & (x <= table.domain[1]) & (x != 0)]


def exact_errors(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|y − f(x)| in ulp or in floors, where the difference is taken in 80 digits."""
    f = exact_functions()[name]
    error = [abs(f(float(a)) - float(b)) for a, b in zip(x, y, strict=True)]
    return np.array([float(e) for e in error]) / np.maximum(ulp(y, FLOAT64), table_for(name).floor)


def check(name: str, count: int) -> None:
    table = table_for(name)
    x = sample(table, count)
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert exact_errors(name, x, y).max() <= 2
    # So derivatives are within 3e-16.
    assert table.floor <= 1.3e-16 if name.endswith("derivative") else table.floor == 0


@every_table
def test_both_halves_are_within_two_ulp(name: str, compiler: str) -> None:
    check(name, 500)


@pytest.mark.exhaustive
@every_table
def test_both_halves_are_within_two_ulp_at_many_points(name: str, compiler: str) -> None:
    check(name, 130_000)


@every_table
def test_the_tail_is_off_by_what_is_published(name: str, compiler: str) -> None:
    table, f = table_for(name), ALL[name]
    assert table.tail_error < 2.0**-53
    beyond = np.array([1.0, 1.001, 1.5, 40.0, 1e30])
    x = np.concatenate([table.domain[0] * beyond, table.right.layout.limit * beyond])
    x = x[np.isfinite(x)]
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert (np.abs(y - f(x)) <= table.tail_error + ulp(f(x), FLOAT64)).all()


@every_table
def test_special_values(name: str, compiler: str) -> None:
    table, f = table_for(name), ALL[name]
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan])
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert_same_bits(y[:4], f(x[:4]))
        assert np.isnan(y[4:]).all()


@every_table
def test_size_and_report(name: str, tmp_path) -> None:
    table = table_for(name)
    assert table.entries.nbytes <= 32 * 1024
    lo, hi = table.domain
    in_ulp = table.report.max_ulp, table.report.max_ulp_at
    assert in_ulp[0] <= 2 or table.floor > 0 or not lo <= in_ulp[1] <= hi
    if np.isfinite(lo):  # beyond, the report goes on
        assert f" on [{lo:.4g}, {hi:.4g}], {table.tail_error:.2g} beyond)" in repr(table)
        assert not lo <= in_ulp[1] <= hi or table.floor > 0
        assert in_ulp[0] > 1e9
    assert table.report.max_abs <= 2.5e-16 or table.floor == 0
    assert table.worst_ulp <= digits.DESIGN
    assert table.report.special_values
    table.save(tmp_path / "table")
    for again in (cupylut.load(tmp_path / "table"), pickle.loads(pickle.dumps(table))):
        assert again.entries.tobytes() == table.entries.tobytes()
        assert again.parameters.tobytes() == table.parameters.tobytes()


@pytest.mark.parametrize("column", [0, 2])
def test_a_mutated_coefficient_is_noticed(column: int) -> None:
    table = table_for("silu")
    x = sample(table, 800)
    rows = table.rows.copy()
    rows[:, column] *= 1 + 2.0**-47
    assert exact_errors("silu", x, evaluate(replace(table, rows=rows), x)).max() > 2


@pytest.mark.parametrize("name", ["tanh", "silu_derivative"])
def test_the_fit_is_reproducible(name: str) -> None:
    """The script finds the shipped coefficients, to the last bit."""
    table = table_for(name)
    goal = Goal(ALL[name], FLOAT64, None, table.product, table.floor)
    (branch,) = branches_of(goal, digits.TAIL)
    branch = digits.in_digits(digits.Digits(name), branch)
    rows, k = interpolate(goal, branch, table.left.layout, table.degree, digits.solve)
    np.testing.assert_array_equal(rows, table.rows)
    assert table.left.scale == math.copysign(2.0**-k, table.left.scale)


def test_digits_keep_the_sign_of_a_zero() -> None:
    assert_same_bits(digits.Digits("tanh").rounded(np.array([-0.0, 0.0])), np.array([-0.0, 0.0]))


@pytest.mark.parametrize("error", [None, 2e-15])
def test_other_functions_in_float64(error: float | None) -> None:
    """Within an absolute error, 1e-13 unless another is asked for."""
    x = np.linspace(-50, 50, 100_001)
    x = x[np.abs(np.abs(x) - 3) > 1e-9]  # where hardswish′ jumps
    for f in (
        ALL["hardswish"].derivative,
        ALL["elu"],
        as_function(np.arctan, -np.pi / 2, np.pi / 2),
    ):
        if f.name == "arctan" and error:
            continue  # its tails are too long for that
        table = tabulate(f, "float64", error=error)
        assert table.kind == "polynomial"
        assert np.abs(table(x) - f(x)).max() <= max(table.error, 8 * np.spacing(50.0))


@pytest.mark.parametrize("alpha", [-200.0, 1e300])
def test_large_functions_in_float64(alpha: float) -> None:
    """Within 1e-14 of their size, where that is more than 1e-13."""
    x = np.linspace(-50, 50, 10_001)
    elu = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    slope = np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0)))
    for y, exact in (
        (cupylut.elu(x, alpha), elu),
        (tabulate(f"elu({alpha})_derivative", "float64")(x), slope),
        (tabulate(lambda x: alpha * np.tanh(x), "float64", left=-alpha, right=alpha)(x),
         alpha * np.tanh(x)),
    ):  # fmt: skip
        assert np.abs(y - exact).max() <= 1.001e-14 * abs(alpha)
    assert tabulate("elu(200)", "float64").error == 2e-12
    for name in ("gelu_10", "selu", "elu", "laplace", "elu(10)"):
        assert tabulate(name, "float64").error == 1e-13
