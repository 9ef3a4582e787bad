"""tables/linear.py and kernels/linear.cuh: accuracy against scipy's float64, and the same bits."""

import host_cuda
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import assert_same_bits, evaluate

from cupylut import FUNCTIONS, Function, LinearTable, search, tabulate
from cupylut.dtypes import DTYPES, all_inputs, ulp
from cupylut.tables import linear

SMOOTH = [f for f in FUNCTIONS.values() if not f.kinks]

every_function = pytest.mark.parametrize("f", SMOOTH, ids=[f.name for f in SMOOTH])
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)

BFLOAT16 = DTYPES[1]


def build(f: Function, dtype: np.dtype, size: int = 1024, nodes: linear.Nodes = "plain"):
    best = search(f, size, nodes=nodes)
    return LinearTable.build(f, dtype, best.lo, best.hi, size, nodes), best


def inputs(table: LinearTable, count: int = 20_000) -> np.ndarray:
    """All inputs of a 16-bit dtype, else a sample in and around the domain and special values."""
    if table.dtype.itemsize == 2:
        return all_inputs(table.dtype)
    width = table.hi - table.lo
    x = np.random.default_rng(count).uniform(table.lo - width, table.hi + width, count)
    info = np.finfo(table.dtype)
    special = [0.0, np.inf, np.nan, info.tiny, info.smallest_subnormal, info.max, 1e-30, 1.0]
    near = [table.lo, table.hi, *linear.node_positions(table.lo, table.hi, table.size)[:50]]
    everything = np.concatenate([x, special, np.negative(special), near]).astype(table.dtype)
    with np.errstate(over="ignore"):
        neighbours = [np.nextafter(everything, d, dtype=table.dtype) for d in (-np.inf, np.inf)]
    return np.concatenate([everything, *neighbours])


def float64(x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # signalling NaN
        return x.astype(np.float64)


@every_function
@every_dtype
def test_error_is_the_searched_optimum(f: Function, dtype: np.dtype) -> None:
    table, best = build(f, dtype)
    x = inputs(table)
    x = x[np.isfinite(float64(x))]
    exact = f(x)
    error = np.abs(float64(evaluate(table, x)) - exact)
    rounding = 0.5 if dtype.itemsize == 2 else 2  # of the result; in float32 also of a line
    bound = best.error * 1.001 + ulp(exact, np.float32)
    assert (error <= bound + rounding * ulp(np.abs(exact) + bound, dtype)).all()
    assert table.report.max_abs <= best.error * 1.001 + rounding * ulp(table.hi, dtype)
    if dtype.itemsize > 2:
        assert table.report.max_abs >= best.error * 0.99


@every_function
def test_balanced_nodes_halve_the_error(f: Function) -> None:
    plain, _ = build(f, np.dtype(np.float64))
    balanced, _ = build(f, np.dtype(np.float64), nodes="balanced")
    assert 0.5 < balanced.report.max_abs / plain.report.max_abs < 0.57
    assert "balanced" in repr(balanced)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 31, 256, 4096, 65536])
def test_every_size(size: int) -> None:
    f = FUNCTIONS["gelu"]
    table, best = build(f, np.dtype(np.float32), size)
    # No floor under large tables: what is left is the rounding of a result up to 6.
    assert table.report.max_abs <= best.error * 1.001 + ulp(table.hi, np.float32)
    assert table.size == size


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SMOOTH),
    st.sampled_from(DTYPES),
    st.floats(-30, 30),
    st.floats(0.01, 40),
    st.integers(2, 3000),
    st.sampled_from(["plain", "balanced"]),
)
def test_any_domain_keeps_the_tails_and_the_interpolation_bound(
    f: Function, dtype: np.dtype, lo: float, width: float, size: int, nodes: linear.Nodes
) -> None:
    table = LinearTable.build(f, dtype, lo, lo + width, size, nodes)
    x = inputs(table, 500)
    y, wide = float64(evaluate(table, x)), float64(x)
    with np.errstate(invalid="ignore", over="ignore"):
        margin = 1e-3 * table.step + 4 * np.abs(wide) * np.finfo(np.float32).eps
        below, above = wide < table.lo - margin, wide > table.hi + margin
        inside = (wide > table.lo + margin) & (wide < table.hi - margin)
    for side, tail in ((below, f.left), (above, f.right)):
        ordinary = side & (np.abs(wide) > table.parameters["keep"][0])
        expected = tail(wide[ordinary]).astype(dtype).astype(np.float64)
        np.testing.assert_array_equal(y[ordinary], expected)
    # The chord is off by h²/8·|f″| at most.
    curvature = np.abs(np.diff(f(np.linspace(-8, 8, 16001)), 2)).max() / 1e-6
    bound = 0.13 * curvature * table.step**2 * (1.6 if nodes == "balanced" else 1)
    bound = bound + 3 * ulp(np.maximum(1, np.abs(wide[inside])), dtype)
    zero = wide[inside] == 0
    assert ((np.abs(y[inside] - f(wide[inside])) <= bound) | zero).all()


@every_function
@every_dtype
def test_kernel_computes_the_same_bits(f: Function, dtype: np.dtype, compiler: str) -> None:
    for size, nodes in ((1024, "plain"), (77, "balanced")):
        table, _ = build(f, dtype, size, nodes)
        x = inputs(table)
        y = host_cuda.Program().elementwise(table, x)
        assert_same_bits(y, evaluate(table, x))


@every_dtype
def test_chunks_do_not_matter(dtype: np.dtype) -> None:
    table, _ = build(FUNCTIONS["gelu"], dtype)
    x = np.resize(inputs(table), 2 * linear.CHUNK + 77)
    whole = evaluate(table, x)
    for part in (slice(0, 1), slice(5, 1000), slice(linear.CHUNK - 1, None), slice(7, 7)):
        assert_same_bits(evaluate(table, x[part]), whole[part])
    table.evaluate(x, x)
    assert_same_bits(x, whole)


def test_special_inputs_do_not_change_their_neighbours() -> None:
    table, _ = build(FUNCTIONS["sigmoid"], np.dtype(np.float32))
    x = np.linspace(-20, 20, 1000, dtype=np.float32)
    plain = evaluate(table, x)
    for special in (0.0, -0.0, np.nan, np.inf, -np.inf):
        y = evaluate(table, np.append(x, np.float32(special)))
        assert_same_bits(y[:-1], plain)


def test_report_is_what_an_independent_measurement_finds() -> None:
    f = FUNCTIONS["silu"]
    table, _ = build(f, np.dtype(np.float32), 300)
    x = np.linspace(table.lo - 5, table.hi + 5, 2_000_001).astype(np.float32)
    error = np.abs(evaluate(table, x).astype(np.float64) - f(x))
    assert table.report.max_abs == pytest.approx(error.max(), rel=1e-3)
    inside = error[(x >= table.lo) & (x <= table.hi)]
    assert table.report.mean_abs == pytest.approx(inside.mean(), rel=1e-2)
    assert table.report.rms == pytest.approx(np.sqrt((inside**2).mean()), rel=1e-2)
    at = np.array([table.report.max_abs_at], np.float32)
    assert abs(float(evaluate(table, at)[0]) - float(f(at)[0])) == table.report.max_abs


def test_16_bit_report_covers_all_finite_inputs() -> None:
    table, _ = build(FUNCTIONS["gelu"], BFLOAT16)
    x = all_inputs(BFLOAT16)
    x = x[np.isfinite(float64(x))]
    exact = FUNCTIONS["gelu"](x)
    y = float64(evaluate(table, x))
    in_ulp = np.abs(y - exact) / ulp(exact, BFLOAT16)
    assert table.report.max_ulp == in_ulp.max()
    assert table.report.points == x.size - 1  # ±0 are one


def test_immutable() -> None:
    table, _ = build(FUNCTIONS["gelu"], np.dtype(np.float32), 16)
    for array in (table.values, table.entries):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        table.lo = 0


@pytest.mark.parametrize("size", [64, 1000])
def test_odd_functions_have_odd_tables(size: int) -> None:
    """With an even number of nodes the line around 0 goes through 0, and is accurate there too."""
    x = np.geomspace(1e-30, 9, 2001).astype(np.float32)
    table = tabulate("tanh", size=size)
    assert table.lo == -table.hi
    assert_same_bits(table(-x), -table(x))
    small = x[x < 1e-4]
    np.testing.assert_allclose(table(small), small, rtol=2 * table.step**2)
