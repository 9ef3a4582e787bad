"""tabulate.py: tables within an absolute error, the smallest there are."""

import numpy as np
import pytest

from cupylut import FUNCTIONS, Tail, tabulate
from cupylut.dtypes import ulp


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("error", [0.05, 0.005])
def test_the_smallest_table_within_an_error(dtype: str, error: float) -> None:
    table = tabulate("tanh", dtype, error=error)
    assert table.report.max_abs <= error
    for kind in ["direct" if table.dtype.itemsize == 2 else "polynomial", "linear"]:
        other = tabulate("tanh", dtype, error=error, kind=kind)
        assert other.kind == kind
        assert other.report.max_abs <= error
        assert other.entries.nbytes >= table.entries.nbytes
    linear = tabulate("tanh", dtype, error=error, kind="linear")
    fewer = tabulate("tanh", dtype, size=linear.size - 1, nodes="balanced")
    assert fewer.report.max_abs > error


def test_the_smallest_table_is_compact_where_lines_take_more() -> None:
    table = tabulate("gelu", "float16", error=1e-3)
    assert table.kind == "compact"
    linear = tabulate("gelu", "float16", error=1e-3, kind="linear")
    assert linear.entries.nbytes > table.entries.nbytes


@pytest.mark.parametrize(
    ("name", "error"), [("sigmoid", 1e-6), ("silu", 2e-6), ("tanh", 2e-6), ("mish", 1e-5)]
)
def test_a_linear_table_keeps_to_an_error_with_its_roundings(name: str, error: float) -> None:
    table = tabulate(name, kind="linear", error=error)
    x = np.random.default_rng(0).uniform(-8, 8, 4_000_000).astype(np.float32)
    assert np.abs(table(x) - FUNCTIONS[name](x)).max() <= error


@pytest.mark.parametrize(
    ("function", "tails"),
    [("leaky_relu", {}), ("selu", {}), (lambda x: np.logaddexp(0, x - 2), (0.0, Tail(1.0, -2.0)))],
)
def test_tails_may_be_rounded_besides(function, tails) -> None:
    """An ulp of a large result is more than any error that is asked for."""
    left, right = tails or (None, None)
    table = tabulate(function, error=1e-3, left=left, right=right)
    f = FUNCTIONS[function] if isinstance(function, str) else function
    x = np.linspace(-1000, 1e9, 1_000_001).astype(np.float32)
    exact = f(x.astype(np.float64))
    assert (np.abs(table(x) - exact) <= 1e-3 + 1.5 * ulp(exact, "float32")).all()


def test_in_float64_two_ulp_are_let_through() -> None:
    """Which are more than 1e-13 where a function is large before it is its tail."""

    def squareplus(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x + np.hypot(x, 2), 4 / (np.hypot(x, 2) + np.abs(x))) / 2

    table = tabulate(squareplus, "float64", left=0, right="identity")
    assert repr(table).endswith("error at most 1e-13 or 2 ulp)")
    x = np.concatenate([np.linspace(-1e3, 1e3, 200_001), np.geomspace(1e3, 1e20, 100_001)])
    assert (np.abs(table(x) - squareplus(x)) <= np.maximum(1e-13, 2 * np.spacing(x))).all()


def test_errors_out_of_reach_and_senseless() -> None:
    with pytest.raises(ValueError, match=r"no table of gelu keeps to error=1e-12: GateTable.* is"):
        tabulate("gelu", error=1e-12)
    with pytest.raises(ValueError, match=r"CompactTable.* is off by"):
        tabulate("gelu", "bfloat16", error=1e-9)
    with pytest.raises(ValueError, match=r"DirectTable.* is off by"):
        tabulate("mish", "bfloat16", error=1e-9)
    with pytest.raises(ValueError, match="there is no direct table in float32"):
        tabulate("gelu", error=1e-3, kind="direct")
    with pytest.raises(ValueError, match="error= or size, domain, not both"):
        tabulate("gelu", error=1e-3, size=5, domain=(-1, 1))
    with pytest.raises(ValueError, match="positive"):
        tabulate("gelu", error=0.0)


def test_an_error_that_no_dtype_can_keep_to_far_out() -> None:
    """The largest float32 numbers are 2e31 apart, and a hundredth of them 2e29."""
    with pytest.raises(
        ValueError, match=r"leaky_relu keeps to error=1e-06: .* is off by 2.*e.29 at -"
    ):
        tabulate("leaky_relu", error=1e-6, kind="linear")
    for name, dtype in (("leaky_relu", "float64"), ("elu", "float32"), ("hardswish", "float64")):
        assert tabulate(name, dtype, error=1e-6).report.max_abs <= 1e-6
