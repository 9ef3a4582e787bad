"""What is made of a calibration: percentiles, shares and domains, against raw data."""

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cupylut
from cupylut import Calibration, search, tabulate
from cupylut.data import character_inputs, minilm_gelu_inputs
from cupylut.dtypes import BFLOAT16, DTYPES
from cupylut.functions import FUNCTIONS

BIN = 2.0**-7  # the widest bin, relative to the numbers in it


def wide(x: Any) -> Any:
    return np.asarray(x).astype(np.float64)


# ---- percentiles and shares ---------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float32, st.integers(1, 200), elements={"allow_nan": False, "allow_infinity": False}
    ),
    st.integers(0, 99),
    st.integers(1, 100),
)
def test_percentiles_are_numpys_to_within_a_bin(x: Any, low: int, high: int) -> None:
    low, high = min(low, high - 1), max(low + 1, high)
    ranks = np.array([low, high]) / 100 * x.size
    ordered = np.sort(wide(x))
    for got, rank in zip(Calibration(x).percentiles(low, high), ranks, strict=True):
        # numpy.quantile(method="inverted_cdf"), or its neighbour where the rank is nearly whole.
        index = np.ceil(rank + np.array([-1e-9, 1e-9])).astype(int) - 1
        near = ordered[index.clip(0, x.size - 1)]
        slack = np.maximum(np.abs(near) * BIN, 1e-38)
        assert (np.abs(got - near) <= slack).any()


def test_percentiles_of_many() -> None:
    x = np.random.default_rng(2).normal(-1, 2, 100_000).astype(np.float32)
    c = Calibration(x)
    for low, high in ((0.1, 99.9), (5, 50), (25, 75)):
        expected = np.quantile(x, [low / 100, high / 100], method="inverted_cdf")
        assert c.percentiles(low, high) == pytest.approx(expected, rel=BIN)
    assert c.percentiles(0, 100) == (x.min(), x.max())
    assert Calibration([1.0, 100.0]).percentiles(0, 50) == (1.0, 1.0)
    table = tabulate("gelu", domain=c.percentiles(0.1, 99.9))
    assert (table.lo, table.hi) == c.percentiles(0.1, 99.9)


def test_share_outside_a_domain() -> None:
    x = np.random.default_rng(3).normal(-1, 2, 100_000).astype(np.float32)
    c = Calibration(x)
    for lo, hi in ((-2.5, 2.5), (-6.0, 0.3), (0.0, 1e9)):
        expected = np.mean((x < lo) | (x > hi))
        # Of the bins of lo and hi the part on the wrong side is at most what is in them.
        unsure = sum(np.mean(np.abs(x - end) <= BIN * abs(end)) for end in (lo, hi))
        assert abs(c.outside(lo, hi) - expected) <= unsure / 10 + 1e-12
    assert c.outside(float(x.min()), float(x.max())) == 0
    assert c.outside(float(x.min()), np.nextafter(float(x.max()), 0)) == 1 / x.size
    assert Calibration([1.0, np.inf, np.nan]).outside(0, 2) == 0


# ---- the domain, against brute force on the data ------------------------------------------------


def mean_error(x: Any, name: str, lo: float, hi: float, size: int) -> float:
    """The error of linear interpolation with its tails on the raw data, by definition."""
    f, x = FUNCTIONS[name], wide(x)
    nodes = np.linspace(lo, hi, size)
    y = np.interp(x, nodes, f(nodes))
    y = np.where(x < lo, f.left(x), np.where(x > hi, f.right(x), y))
    return float(np.abs(y - f(x)).mean())


LAYERS = minilm_gelu_inputs()
DATA = {
    "six layers": LAYERS.ravel(),
    "one layer": LAYERS[2],
    "bfloat16": LAYERS.ravel().astype(BFLOAT16),
    "narrow": np.random.default_rng(4).normal(-1, 0.3, 20_000).astype(np.float32),
    "heavy tails": 2 * np.random.default_rng(5).standard_t(3, 20_000),
}


@pytest.mark.parametrize(("data", "name"), [*((data, "gelu") for data in DATA), ("narrow", "silu")])
def test_optimum_is_that_of_brute_force_on_the_raw_data(data: str, name: str) -> None:
    x, size = DATA[data], 256
    c = Calibration(x)
    found = search(name, size, norm="mean", weights=c)
    raw = mean_error(x, name, found.lo, found.hi, size)
    assert found.error == pytest.approx(raw, rel=0.01)
    close = np.array([0.5, 0.8, 0.95, 0.98, 1, 1.02, 1.05, 1.3, 2])
    # Wide ranges too, and the ends of the data themselves.
    los = [*(found.lo * close), *np.quantile(wide(x), [0, 0.0001, 0.001, 0.01])]
    his = [*(found.hi * close), *np.quantile(wide(x), [1, 0.9999, 0.999, 0.99])]
    best = min(mean_error(x, name, lo, hi, size) for lo in los for hi in his if lo < hi)
    assert raw <= 1.02 * best


# function -> inputs of one trained model to calibrate with, others held out, and the paper's ends
REAL = {
    "gelu": (LAYERS[:, ::2], LAYERS[:, 1::2], (-2.509, 2.712)),
    "gelu_tanh": (*character_inputs("gelu_tanh"), (-2.567, 2.538)),
    "silu": (*character_inputs("silu"), (-3.844, 3.612)),
}


@pytest.mark.parametrize("name", REAL)
def test_calibrated_tables_are_better_on_held_out_data(name: str) -> None:
    seen, held_out, papers = REAL[name]

    def error(**options: Any) -> float:
        y = tabulate(name, kind="linear", **options)(held_out)
        return float(np.abs(wide(y) - FUNCTIONS[name](held_out)).mean())

    calibrated = error(calibration=Calibration(seen))
    assert calibrated < 0.8 * error()
    assert calibrated < 0.1 * error(domain=papers)


def test_tabulate_with_a_calibration_is_search_with_its_weights() -> None:
    c = Calibration(LAYERS)
    table = tabulate("gelu", "float16", size=200, nodes="balanced", calibration=c)
    best = search("gelu", 200, nodes="balanced", norm="mean", weights=c)
    assert (table.kind, table.lo, table.hi, table.size) == ("linear", best.lo, best.hi, 200)
    again = tabulate("gelu", kind="linear", size=200, domain="optimal", calibration=c)
    assert isinstance(again, cupylut.LinearTable)
    points = search("gelu", 200, norm="mean", weights=c.weights)
    assert points == search("gelu", 200, norm="mean", weights=c)


# ---- nothing to calibrate with ------------------------------------------------------------------

NOTHING = {"no inputs": [], "all NaN": [np.nan] * 5, "all infinite": [np.inf, -np.inf]}


@pytest.mark.parametrize("data", NOTHING)
def test_without_finite_inputs_there_is_an_error(data: str) -> None:
    c = Calibration(NOTHING[data])
    uses: list[Callable[[], Any]] = [
        lambda: c.min,
        lambda: c.max,
        lambda: c.weights,
        lambda: c.percentiles(1, 99),
        lambda: c.outside(-1, 1),
        lambda: c.forecast(tabulate("gelu", kind="linear")),
        lambda: search("gelu", norm="mean", weights=c),
        lambda: tabulate("gelu", calibration=c),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="no finite input was counted"):
            use()
    assert c.count == 0
    assert c.update([1.0, 2.0]).count == 2


def test_constant_inputs_choose_no_domain() -> None:
    c = Calibration(np.full(1000, 1.5, np.float32))
    with pytest.raises(ValueError, match=r"every input is 1\.5"):
        tabulate("gelu", calibration=c)
    assert c.percentiles(0, 100) == (1.5, 1.5)
    assert c.outside(1.5, 2) == 0
    assert c.forecast(tabulate("gelu")).max_abs < 1e-6


def test_two_inputs_are_enough() -> None:
    table = tabulate("gelu", calibration=Calibration([-1.5, 1.5]))
    assert Calibration([-1.5, 1.5]).forecast(table).max_abs < 1e-6


def test_arguments_that_make_no_sense() -> None:
    c = Calibration([1.0, 2.0])
    for low, high in ((5, 5), (-1, 50), (50, 101), (np.nan, 5)):
        with pytest.raises(ValueError, match="from 0 to 100"):
            c.percentiles(low, high)
    with pytest.raises(ValueError, match="lower one first"):
        c.outside(2, 1)
    with pytest.raises(TypeError, match="x is a Calibration: merge"):
        Calibration(c)
    with pytest.raises(ValueError, match="one of the two"):
        tabulate("gelu", domain=(-1, 1), calibration=c)
    with pytest.raises(ValueError, match="takes no calibration"):
        tabulate("gelu", "float16", kind="direct", calibration=c)
    with pytest.raises(ValueError, match='apply to norm="mean"'):
        search("gelu", weights=c)


def test_what_the_caller_makes_of_floating_point_errors_is_of_no_account() -> None:
    numbers = np.array([1e-39, 5e-324, -1e-310, 1e39, 2.0, np.inf, np.nan])
    signalling = np.array([0x7FF0000000000001], np.uint64).view(np.float64)
    want = Calibration(numbers, signalling)
    least = Calibration([1e-39]).weights
    forecasts = [want.forecast(tabulate("gelu", dtype)) for dtype in DTYPES]
    with np.errstate(all="raise"):
        assert Calibration(numbers, signalling) == want
        assert np.array_equal(Calibration([1e-39]).weights, least)
        assert [want.forecast(tabulate("gelu", dtype)) for dtype in DTYPES] == forecasts


def test_the_documentation_is_right() -> None:
    page = Path(__file__).parents[1] / "docs" / "calibration.md"
    failures, examples = doctest.testfile(str(page), module_relative=False)
    assert failures == 0
    assert examples > 5


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(DTYPES[0], 1024), (DTYPES[1], 16), (DTYPES[2], 16), (DTYPES[2], 65536), (DTYPES[3], 1024)],
    ids=str,
)
def test_the_outermost_inputs_are_not_taken_for_the_tail(dtype: np.dtype, size: int) -> None:
    """Where the tail is far from the function, as tanh's are near 0, the domain must go beyond."""
    x = np.random.default_rng(0).uniform(-0.018, 0.24, 5000).astype(dtype)
    table = cupylut.tabulate("tanh", dtype, size=size, calibration=Calibration(x))
    assert np.abs(table(x).astype(np.float64) - np.tanh(x.astype(np.float64))).max() < 2e-3
