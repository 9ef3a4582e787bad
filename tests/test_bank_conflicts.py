"""benchmarks/bank_conflicts.py: simulated passes follow from entries that give tables' results."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupylut import quantized, tabulate
from cupylut.benchmarks import bank_conflicts, roofline
from cupylut.benchmarks.counts import COUNTS, Case
from cupylut.dtypes import all_inputs, as_dtype, widened
from cupylut.tables import Table
from cupylut.tables.gate import unpack
from cupylut.tables.shared_memory import BANKS, passes


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 63), min_size=32, max_size=32), st.sampled_from([2, 4, 8, 16]))
def test_passes_by_the_definition(places: list[int], width: int) -> None:
    """One lane after the other: the words that its group asks each bank for."""
    groups = max(1, width // 4)
    total = 0
    for group in range(groups):
        asked: dict[int, set[int]] = {}
        for place in places[group * 32 // groups : (group + 1) * 32 // groups]:
            for byte in range(place * width, (place + 1) * width):
                asked.setdefault(byte // 4 % 32, set()).add(byte // 4)
        total += max(map(len, asked.values()))
    assert passes(np.array([places]) * width, width).tolist() == [total]


@pytest.mark.parametrize(("width", "lanes", "groups"), [(4, 32, 1), (8, 16, 2), (16, 8, 4)])
def test_passes_of_random_entries(width: int, lanes: int, groups: int) -> None:
    """Each group of lanes throws balls into as many bins; its passes are the fullest bin's."""
    rng = np.random.default_rng(0)
    addresses = rng.integers(0, 1 << 20, (4096, 32)) * width
    fullest = rng.multinomial(lanes, [1 / lanes] * lanes, 100_000).max(axis=1).mean()
    assert passes(addresses, width).mean() == pytest.approx(groups * fullest, rel=0.01)


COMPACT = [case for case in COUNTS if case[1] == "compact"]


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(COMPACT),
    st.lists(st.integers(0, 0xFFFF), min_size=256, max_size=256),
)
def test_compact_tables_have_no_conflicts(case: Case, patterns: list[int]) -> None:
    """A pass a plane for any inputs, NaN and infinities too."""
    table = roofline.table_of(case)
    x = np.array(patterns, np.uint16).view(as_dtype(case[0]))
    assert bank_conflicts.simulate(table, x) == len(bank_conflicts.reads(table))


@pytest.mark.parametrize("case", COMPACT, ids="-".join)
def test_compact_entries_are_those_of_the_result(case: Case) -> None:
    table = roofline.table_of(case)
    x = every(table)
    number = table.places(x)
    assert number.min() == 0
    assert number.max() < BANKS
    planes = table.entries.reshape(-1, BANKS).astype(float)
    t = np.fmin(np.abs(widened(x)), table.layout.limit)
    p = sum(plane[number] * t**power for power, plane in enumerate(planes))
    y = np.fmax(widened(x), 0) - t * p ** (2**table.layout.squarings)
    # The kernel computes p in float32, which may round otherwise close to a tie.
    assert (y.astype(table.dtype) == table(x)).mean() > 0.999


def every(table: Table) -> np.ndarray:
    """All finite inputs of 16 bits, or a sample of others."""
    if table.dtype.itemsize == 2:
        x = all_inputs(table.dtype)
        return x[np.isfinite(widened(x))]
    rng = np.random.default_rng(0)
    return np.append(rng.normal(scale=4, size=1 << 16), [0, -0.0, 1e5, -1e5]).astype(table.dtype)


@pytest.mark.parametrize(("dtype", "eps"), [("float32", 2**-23), ("bfloat16", 2**-8)])
def test_linear_entries_are_those_of_the_result(dtype: str, eps: float) -> None:
    table = tabulate("silu", dtype, kind="linear")
    x = every(table)
    x = x[x != 0]  # which is kept
    slope, intercept = table.entries[table.places(x)].T.astype(float)
    low, high = (float(table.parameters[0][name]) for name in ("low", "high"))
    want = widened(table(x))
    got = slope * np.clip(widened(x), low, high) + intercept
    assert (np.abs(got - want) <= eps * np.abs(want)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_direct_entries_are_the_results(dtype: str) -> None:
    table = tabulate("gelu", dtype)
    x = all_inputs(table.dtype)
    places = table.places(x)
    right = table.entries[places] == table(x).view(np.uint16)
    # Near zero the kernel computes the result, and where it is x it takes x.
    assert right[np.abs(widened(x)) > 0.1].mean() > 0.5
    assert right[(np.abs(widened(x)) > 0.1) & (np.abs(widened(x)) < 2)].all()
    assert (places.min(), places.max()) == (0, len(table.entries) - 1)


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("bfloat16", "int8"), ("float16", "int8")])
def test_quantized_entries_are_the_results(dtypes: tuple[str, str]) -> None:
    table = quantized("gelu", *dtypes, out_scale=0.05)
    x = all_inputs(table.dtype)
    y = np.empty(x.size, table.out_dtype)
    table.evaluate(x, y)
    assert (table.entries[table.places(x)].view(y.dtype) == y).all()


def test_gate_entries_are_those_of_the_result() -> None:
    table = tabulate("gelu")
    x = every(table)
    layout, number = table.layout, table.places(x)
    c, rest = unpack(table.words)
    a = np.fmin(np.abs(widened(x)), layout.limit)
    d = layout.coordinate(a) - number * layout.step
    assert np.abs(d).max() <= layout.step / 2
    q = np.polynomial.polynomial.polyval(d, c[number].T, tensor=False) + rest[number]
    assert np.allclose(np.fmax(x, 0) - a * q * 2.0**-80, table(x), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(("function", "dtype"), [("mish", "float32"), ("gelu", "float64")])
def test_polynomial_entries_are_those_of_the_result(function: str, dtype: str) -> None:
    table = tabulate(function, dtype, kind="polynomial")
    x = every(table)
    number, y = table.places(x), np.empty(x.size)
    for side, on in ((table.left, x <= 0), (table.right, x > 0)):
        a = np.fmin(np.abs(x[on]), side.layout.limit)
        start = side.layout.middles()[side.layout.segment(a)]
        rows = table.rows[number[on]]
        p = np.polynomial.polynomial.polyval(
            widened(a) - start, rows[:, [0, *range(2, rows.shape[1])]].T, tensor=False
        )
        reach = np.fmin(widened(np.abs(x[on])), side.reach)
        factor = a if table.product else 1
        y[on] = side.slope * reach + side.intercept + side.scale * factor * (p + rows[:, 1])
    assert np.allclose(y, table(x), rtol=1e-5, atol=1e-30)


# --- the model ---
