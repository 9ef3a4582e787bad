"""tables/cubics.py: what NumPy takes instead of float32 polynomials keeps the same promise."""

import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest
from samples import same

from cupylut import FUNCTIONS, tabulate
from cupylut.defaults import default_table
from cupylut.dtypes import FLOAT32, ulp
from cupylut.fitting.gate import LAYOUTS
from cupylut.names import as_function
from cupylut.tables import GateTable
from cupylut.tables.cubics import BLOCK, CHUNK, COUNT, REACH, STEP, Cubics

NAMES = [*FUNCTIONS, "gelu_derivative", "silu_derivative", "mish_derivative"]
GATES = list(LAYOUTS)

every_function = pytest.mark.parametrize("name", NAMES)


def table_for(name: str) -> Any:
    return default_table(as_function(name), FLOAT32)


@cache
def inputs() -> np.ndarray:
    """Patterns of all magnitudes, the neighbourhood of every boundary, and the rarest."""
    edges = ((np.arange(COUNT // 2) + 0.5) * STEP).astype(np.float32).view(np.int32)
    around = edges[:, None] + np.array([-3, -2, -1, 0, 1, 2])
    reach = np.float32(REACH).view(np.int32) + np.arange(-50_000, 50)
    rare = [*range(50), *range(0x7F7FFFD0, 0x7F800000), *range(0x7FFFF0, 0x800010)]
    patterns = np.arange(0, 0x7F800000, 40_009)
    common = np.arange(0x38000000, 0x41900000, 1009)
    bits = np.concatenate([patterns, common, around.ravel(), reach, rare])
    a = bits.astype(np.int32).view(np.float32)
    return np.concatenate([a, -a])


def errors(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """In ulp, or in floors where these are larger; 0 where both are infinite."""
    exact, floor = as_function(name)(x), getattr(table_for(name), "floor", 0.0)
    error = np.abs(y.astype(np.float64) - exact) / np.maximum(ulp(exact, FLOAT32), floor)
    with np.errstate(over="ignore"):
        error[y == exact.astype(np.float32)] = 0
    return error


@every_function
def test_within_the_promise_of_the_table(name: str) -> None:
    """Cubics add next to nothing to the error that the coefficients have in float64."""
    table, x = table_for(name), inputs()
    y, own = np.empty_like(x), np.empty_like(x)
    table.evaluate(x, y)
    table.exactly(x, own)
    worst, worst_own = errors(name, x, y).max(), errors(name, x, own).max()
    assert worst <= 0.7 if name in GATES else worst_own <= table.worst_ulp + 0.25
    assert worst <= worst_own + (0.125 if name in GATES else 0.25)
    assert (np.signbit(y) == np.signbit(own)).all()


@every_function
def test_most_numbers_are_served_by_cubics(name: str) -> None:
    near = np.arange(-COUNT // 2, COUNT // 2) * STEP
    near = np.abs(near) < 4
    missed = np.isnan(table_for(name)._cubics.rows[:-1][near]).any(axis=1)
    assert missed.mean() < (0.25 if name == "laplace" else 0.002)
    if name in GATES:
        assert not missed.any()


@every_function
def test_special_values_and_subnormal_numbers_are_the_tables(name: str) -> None:
    """A table for each sign has two slopes at 0, which differ where the gates' one does not."""
    table = table_for(name)
    special = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3e38, -3e38])
    tiny = np.arange(1, 0x00801000, 4000, dtype=np.int32).view(np.float32)
    x = np.concatenate([special, tiny, -tiny])
    y, own = np.empty_like(x), np.empty_like(x)
    table.evaluate(x, y)
    table.exactly(x, own)
    assert same(y[:4], own[:4])
    assert same(y[6:8], own[6:8])
    assert np.isnan(y[4:6]).all()
    np.testing.assert_allclose(y[8:], own[8:], rtol=2.0**-23, atol=2.0**-149)
    if name in GATES:
        assert same(y[8:], own[8:])


def test_results_do_not_depend_on_neighbours_or_the_place() -> None:
    """Numbers that the table itself is evaluated for are strewn among the others, or are all."""
    table = table_for("gelu_tanh")
    x = np.random.default_rng(0).normal(scale=3, size=2 * BLOCK + CHUNK + 77).astype(np.float32)
    special = np.float32([np.nan, np.inf, -np.inf, -9.5, 1e30, -20, 40])
    x[::1000] = np.resize(special, x[::1000].size)
    x[BLOCK : BLOCK + CHUNK] = -9.5
    whole = np.empty_like(x)
    table.evaluate(x, whole)
    order = np.random.default_rng(1).permutation(x.size)
    shuffled = np.empty_like(x)
    table.evaluate(x[order], shuffled)
    assert same(shuffled, whole[order])
    table.evaluate(x, x)
    assert same(x, whole)


def test_a_jump_leaves_its_segment_to_the_table() -> None:
    def step(x: np.ndarray, out: np.ndarray) -> None:
        out[...] = np.where(x > 1.001, 2.0, 1.0)

    cubics = Cubics(step, tolerance=0.125)
    missed = np.isnan(cubics.rows[:-1, 0])
    assert np.flatnonzero(missed).tolist() == [COUNT // 2 + 256]
    x = np.linspace(0.99, 1.01, 10_001, dtype=np.float32)
    y = np.empty_like(x)
    cubics.evaluate(x, y)
    np.testing.assert_array_equal(y, np.where(x > 1.001, 2.0, 1.0))


def test_a_changed_coefficient_is_noticed() -> None:
    table = table_for("silu")
    cubics = Cubics(table.exactly, 0.125)
    x = inputs()
    y = np.empty_like(x)
    for column in range(4):
        cubics.rows[COUNT // 2 + 300, column] += 2.0**-22
        cubics.evaluate(x, y)
        assert errors("silu", x, y).max() > 0.7
        cubics = Cubics(table.exactly, 0.125)


@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["ordinary inputs", "most of them far out"])
@pytest.mark.parametrize("name", ["gelu", "mish"])
def test_memory_stays_below_8_mb_whatever_the_size(name: str, scale: float) -> None:
    x = np.random.default_rng(0).standard_normal(1 << 21, np.float32)
    x *= np.float32(scale)
    fresh = table_for(name)
    fresh.__dict__.pop("_cubics", None)
    tracemalloc.start()
    try:
        fresh.evaluate(x, x)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", GATES)
def test_every_float32_is_within_one_ulp(name: str) -> None:
    table = table_for(name)
    assert isinstance(table, GateTable)
    y = np.empty(1 << 20, np.float32)
    worst = 0.0
    for start in range(0, 0x7F800000, y.size):
        a = np.arange(start, min(start + y.size, 0x7F800000), dtype=np.int32).view(np.float32)
        for x in (a, -a):
            table.evaluate(x, y[: x.size])
            worst = max(worst, errors(name, x, y[: x.size]).max())
            assert (np.signbit(y[: x.size]) == np.signbit(x)).all()
    assert worst < 0.7


@pytest.mark.parametrize("build", [
    lambda: GateTable.build(FUNCTIONS["silu"], FLOAT32),
    lambda: tabulate(lambda x: x / (1 + np.abs(x)), left=-1.0, right=1.0),
])  # fmt: skip
def test_cubics_are_made_once(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the report that is made with a table, and for its first call."""
    made = []
    monkeypatch.setattr(Cubics, "_fit", lambda self, fit=Cubics._fit: made.append(1) or fit(self))
    table = build()
    table(np.zeros(3, np.float32))
    assert made == [1]
