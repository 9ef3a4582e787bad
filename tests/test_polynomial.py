"""tables/polynomial.py and kernels/polynomial.cuh: within 2 ulp of any function, on every float32.

The kernel runs on the CPU, and it and the NumPy half are compared with float64 references.
"""

import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path

import host_cuda
import numpy as np
import pytest
from gpu import cupy
from host_cuda import mutated
from samples import assert_same_bits, evaluate
from scipy.special import expit

from cupylut import FUNCTIONS, PolynomialTable
from cupylut.declaration import IDENTITY, ZERO, Function, Tail
from cupylut.dtypes import FLOAT32, ulp
from cupylut.names import as_function
from cupylut.tables.chunks import CHUNK

STRIDE = 40_009  # prime, so that all low bits of the patterns occur

DERIVATIVES = {
    f.name: f for name in ("silu", "mish", "hardswish") if (f := FUNCTIONS[name].derivative)
}
OWN = {
    f.name: f
    for f in (
        Function("softsign", "", lambda x: x / (1 + abs(x)), Tail(0.0, -1.0), Tail(0.0, 1.0)),
        Function("hardsigmoid", "", lambda x: np.clip(x + 2.5, 0, 5) / 5, ZERO, Tail(0.0, 1.0)),
        Function("hat", "", lambda x: np.maximum(1 - np.abs(x), 0), ZERO, ZERO),
        Function("parabola", "", lambda x: 1.1 * x * x, None, None),
        Function("softer sign", "", lambda x: np.where(x < 0, x * np.exp(-(2.75 * x) ** 2),
                                                       x / (1 + 0.8463076925173716 * np.abs(x))),
                 ZERO, Tail(0.0, 1 / 0.8463076925173716)),
        Function("relu", "", lambda x: np.maximum(x, 0), ZERO, IDENTITY),
        Function("swish with a jump", "", lambda x: np.where(x > 0, 1 + x, expit(x)), ZERO,
                 Tail(1.0, 1.0)),
    )
}  # fmt: skip
ALL = {**FUNCTIONS, **DERIVATIVES, **OWN}

# It takes many seconds to find a table of the parabola.
SLOW = {"parabola": [pytest.mark.exhaustive]}
every_function = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW.get(name, [])) for name in ALL]
)


@cache
def table_for(name: str) -> PolynomialTable:
    return PolynomialTable.build(ALL[name], FLOAT32)


def inputs(table: PolynomialTable) -> np.ndarray:
    """Every STRIDE-th float32, those around the boundaries of segments, and the rarest."""
    layouts = table.left.layout, table.right.layout
    boundaries = [np.append(layout.starts()[1:], layout.limit) for layout in layouts]
    around = np.concatenate(boundaries).astype(np.float32).view(np.int32)[:, None]
    around = around + np.array([-3, -2, -1, 0, 1, 2])
    rare = [*range(1, 50), *range(0x7F7FFFD0, 0x7F800000), *range(0x7FFFF0, 0x800010)]
    bits = np.concatenate([np.arange(1, 0x7F800000, STRIDE), around.ravel(), rare])
    a = bits[(bits > 0) & (bits < 0x7F800000)].astype(np.int32).view(np.float32)
    return np.concatenate([a, -a])


def errors(table: PolynomialTable, f: Function, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """In ulp, or in floors where these are larger; 0 where both are infinite."""
    exact = f(x)
    error = np.abs(y.astype(np.float64) - exact) / np.maximum(ulp(exact, x.dtype), table.floor)
    with np.errstate(over="ignore"):
        error[y == exact.astype(x.dtype)] = 0
    return error


def off_jumps(table: PolynomialTable, x: np.ndarray) -> np.ndarray:
    """x without what is within a rounding of the jumps of hardswish's derivative."""
    return x[np.abs(np.abs(x) - 3) > 1e-6] if table.name == "hardswish_derivative" else x


@every_function
def test_both_halves_keep_the_promise(name: str, compiler: str) -> None:
    table = table_for(name)
    x = off_jumps(table, inputs(table))
    assert table.domain == (-np.inf, np.inf)
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        worst = errors(table, ALL[name], x, y).max()
        assert worst <= 2
        assert worst <= table.worst_ulp + 0.25  # which was not met at these very inputs
    assert (table.floor > 0) == (name in DERIVATIVES)
    assert table.report.max_ulp <= 2 or table.floor > 0


@pytest.mark.parametrize("name", [name for name in DERIVATIVES if name != "hardswish_derivative"])
def test_derivatives_are_within_1e_7(name: str, compiler: str) -> None:
    table = table_for(name)
    x = inputs(table)
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert np.abs(y.astype(np.float64) - ALL[name](x)).max() <= 1e-7


@every_function
def test_special_values(name: str, compiler: str) -> None:
    table, f = table_for(name), ALL[name]
    x = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45], np.float32)
    nan = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    expected = f(x).astype(np.float32)
    if f.keeps_zero:
        expected[:2] = x[:2]
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        assert_same_bits(y[2:4], expected[2:4])
        finite = np.isfinite(x)
        assert errors(table, f, x[finite], y[finite]).max() <= 2
        if f.keeps_zero:
            assert_same_bits(y[:2], expected[:2])
    for y in (host_cuda.Program().elementwise(table, nan), evaluate(table, nan)):
        assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("name", "end"), [("hardswish", -3.0), ("hardsigmoid", -2.5), ("hat", -1.0), ("hat", 1.0)]
)
def test_every_number_near_a_zero_where_the_function_ends(
    name: str, end: float, compiler: str
) -> None:
    """In ulp, and beyond it a zero of the right sign."""
    table = table_for(name)
    assert table.floor == 0
    bits = np.float32(end).view(np.uint32).astype(np.int64)
    x = (bits + np.arange(-60_000, 60_000)).astype(np.uint32).view(np.float32)
    outside = np.float32([1.001, 1.1, 1.5, 2, 1e9, np.inf]) * np.float32(end)
    for evaluated in (host_cuda.Program().elementwise, evaluate):
        y, exact = evaluated(table, x), ALL[name](x)
        assert (np.abs(y - exact) <= 2 * ulp(exact, FLOAT32)).all()
        assert_same_bits(evaluated(table, outside), ALL[name](outside).astype(np.float32))


def test_the_table_says_what_it_promises_and_where() -> None:
    """Nothing of its promise is left out of its words."""

    def own(reference, left: float, right: float, dtype=FLOAT32) -> PolynomialTable:
        f = Function("own", "", reference, Tail(0.0, left), Tail(0.0, right))
        return PolynomialTable.build(f, dtype)

    crossing = own(lambda x: np.tanh(x - 0.3), -1, 1)
    x = np.float32(0.3)
    assert abs(float(evaluate(crossing, x[None])[0]) - np.tanh(float(x) - 0.3)) > 2 * ulp(
        np.tanh(float(x) - 0.3), FLOAT32
    )
    assert repr(crossing).endswith(f"within 2 ulp or {2 * crossing.floor:.2g})")

    long_tails = own(lambda x: 1 / (1 + x * x), 0, 0)
    x = np.float32([20_000.0, -20_000.0])
    assert (evaluate(long_tails, x) == 0).all()
    lo, hi = long_tails.domain
    assert -20_000 < lo < -1000
    assert 1000 < hi < 20_000
    assert f"ulp on [{lo:.4g}, {hi:.4g}], {long_tails.tail_error:.2g} beyond" in repr(long_tails)
    assert np.abs(1 / (1 + np.square(hi))) <= long_tails.tail_error <= 2.0**-26
    # The report does not stop at the ends of the domain.
    assert long_tails.report.max_ulp > 1e6
    assert abs(long_tails.report.max_ulp_at) > hi
    assert long_tails.report.max_abs < 1e-7

    assert repr(table_for("mish")).endswith("within 2 ulp)")


@pytest.mark.parametrize("dtype", [FLOAT32, np.dtype(np.float64)])
@pytest.mark.parametrize("name", ["elu(0.0)_derivative", "leaky_relu(0.0)_derivative"])
def test_a_step_that_is_zero_at_zero(name: str, dtype: np.dtype, compiler: str) -> None:
    """What multiplies the gradient behind a relu."""
    table = PolynomialTable.build(as_function(name), dtype)
    x = np.array([-np.inf, -3, -1e-45, -0.0, 0.0, 1e-45, 3, np.inf], dtype)
    for y in (host_cuda.Program().elementwise(table, x), evaluate(table, x)):
        np.testing.assert_allclose(y, x > 0, rtol=0, atol=4 * np.finfo(np.float64).eps)


def test_values_at_a_jump(compiler: str) -> None:
    """0 belongs to the left, as in where(x > 0, …), or to the right if the table is closed."""
    table = table_for("swish with a jump")
    x = np.float32([-1e-45, -0.0, 0.0, 1e-45])
    for closed, expected in ((False, [0.5, 0.5, 0.5, 1.0]), (True, [0.5, 1.0, 1.0, 1.0])):
        table = replace(table, closed=closed)
        for y in (evaluate(table, x), host_cuda.Program().elementwise(table, x)):
            np.testing.assert_array_equal(y, np.float32(expected))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fused_multiply_add(d, r, p.rest)", "multiply(d, r)"),
        ("fused_multiply_add(d, r, p.c[i])", "fused_multiply_add(d, r, p.c[i + 1])"),
        ("positive(x)) ? right : left", "positive(x)) ? left : right"),
        ("middle = __funnelshift_l(0x80000000u, number,", "middle = __funnelshift_l(0u, number,"),
        ("Real(-1), side.offset))", "Real(-1), Real(0)))"),
        ("number - side.first", "number - side.first - 1"),
        ("bounded_magnitude(x, side.limit)", "bounded_magnitude(x, side.limit / 2)"),
        ("bounded_magnitude(x, side.reach)", "bounded_magnitude(x, side.limit)"),
        ("fused_multiply_add(a, p.c[0], multiply(a, r))", "multiply(a, add(p.c[0], r))"),
        ("where_exceeds(x, keep, y, x)", "y"),
    ],
)
def test_a_changed_kernel_fails(tmp_path: Path, compiler: str, old: str, new: str) -> None:
    changed = mutated(tmp_path, "polynomial.cuh", old, new)
    table = table_for("mish")
    x = np.concatenate([inputs(table), np.float32([0.0, -0.0, np.inf, -np.inf, np.nan])])
    y = host_cuda.Program().elementwise(table, x)
    try:
        other = host_cuda.Program(kernels=changed).elementwise(table, x)
    except host_cuda.HostError:  # it read where there is no entry
        return
    finite = np.isfinite(x)
    special = other[~finite].view(np.uint32) != y[~finite].view(np.uint32)
    before, after = (errors(table, ALL["mish"], x[finite], z[finite]).max() for z in (y, other))
    assert special.any() or not after <= before + 0.1


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_mutated_coefficient_is_noticed(column: int) -> None:
    table = table_for("softplus")
    x = inputs(table)
    for row in (0, 40, 150):
        rows = table.rows.copy()
        rows[row, column] += np.abs(rows[row, 0]) * 2.0**-20
        assert errors(table, ALL["softplus"], x, evaluate(replace(table, rows=rows), x)).max() > 2


@every_function
def test_small_enough_for_shared_memory(name: str) -> None:
    table = table_for(name)
    assert table.entries.nbytes == len(table.rows) * (table.degree + 2) * 4
    assert table.entries.nbytes <= (13 if name in FUNCTIONS else 48) * 1024
    ends = {side.entry + side.layout.count for side in (table.left, table.right)}
    assert max(ends) == len(table.rows)
    if ALL[name].symmetry != "none":
        assert table.left.entry == table.right.entry == 0


@pytest.mark.parametrize("name", ["mish", "gelu_10"])
def test_entries_for_small_inputs_of_either_sign_lie_in_different_banks(name: str) -> None:
    """Of 32 banks of a word; entries are an odd number of words."""
    table = table_for(name)
    near_zero = []
    for side in (table.left, table.right):
        numbers = np.arange(side.layout.count)
        near_zero.append(side.entry + (numbers[-16:] if side.layout.falling else numbers[:16]))
    entries = np.concatenate(near_zero)
    assert np.unique(entries % 32).size == entries.size > 16
    assert table.segments == table.left.layout.count + table.right.layout.count <= len(table.rows)


def test_pickle_chunks_and_in_place() -> None:
    table = pickle.loads(pickle.dumps(table_for("mish")))
    x = np.resize(inputs(table), 2 * CHUNK + 77)
    whole = evaluate(table, x)
    for part in (slice(0, 1), slice(5, 1000), slice(CHUNK - 1, None), slice(7, 7)):
        assert_same_bits(evaluate(table, x[part]), whole[part])
    table.evaluate(x, x)
    assert_same_bits(x, whole)


def test_state_round_trip() -> None:
    table = table_for("mish")
    fields, values = table._state()
    again = PolynomialTable._restore(fields | {"report": vars(table.report)}, values)
    assert (again.rows == table.rows).all()
    assert replace(again, rows=table.rows).__reduce__() == table.__reduce__()
    with pytest.raises(ValueError, match="segments"):
        PolynomialTable._restore(fields, values[1:])


def test_immutable() -> None:
    table = table_for("tanh")
    for array in (table.rows, table.entries):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.gpu(interpreted=True)
@every_function
def test_device_computes_the_bits_of_the_kernel_on_the_cpu(name: str, compiler: str) -> None:
    table = table_for(name)
    x = inputs(table)
    y = cupy.asnumpy(table(cupy.asarray(x)))
    assert_same_bits(y, host_cuda.Program().elementwise(table, x))
