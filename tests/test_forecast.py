"""forecast.py: the error of a table on calibrated inputs, against the raw data."""

from typing import Any

import numpy as np
import pytest
from scipy import special

from cupylut import Calibration, quantized, tabulate
from cupylut.data import minilm_gelu_inputs
from cupylut.dtypes import BFLOAT16, DTYPES, widened
from cupylut.functions import FUNCTIONS


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(None, "float16"), (None, "bfloat16"), (None, "float32"), ("linear", "float32"),
     ("linear", "float64"), ("linear", "bfloat16")],
)  # fmt: skip
def test_forecast_is_the_error_on_the_data(kind: str | None, dtype: str) -> None:
    x = minilm_gelu_inputs()[3].astype(BFLOAT16 if dtype == "bfloat16" else dtype)
    table = tabulate("gelu", dtype, kind=kind)
    error = np.abs(widened(table(x)) - FUNCTIONS["gelu"](widened(x)))
    forecast = Calibration(x).forecast(table)
    assert forecast.mean_abs == pytest.approx(error.mean(), rel=0.02)
    assert forecast.rms == pytest.approx(np.sqrt((error**2).mean()), rel=0.03)
    assert error.max() * 0.8 < forecast.max_abs < error.max() * 1.3
    assert Calibration(x).min <= forecast.max_abs_at <= Calibration(x).max


def test_forecast_sees_clipped_extremes_exactly() -> None:
    x = [0.1, 0.2, 5.125]
    forecast = Calibration(x).forecast(tabulate("silu", "float64", domain=(-4, 4)))
    assert forecast.max_abs_at == 5.125
    assert forecast.max_abs == pytest.approx(5.125 - FUNCTIONS["silu"](5.125), rel=1e-9)
    assert forecast.rms == pytest.approx(forecast.max_abs / np.sqrt(3), rel=1e-6)
    assert str(forecast).endswith(f"max abs {forecast.max_abs:.3g} at 5.125")


def test_forecast_beyond_the_range_of_the_dtype() -> None:
    forecast = Calibration([1e30, 1.0, -1e30]).forecast(tabulate("gelu", "float16"))
    assert forecast.max_abs < 2**-11


def test_forecast_of_a_function_of_the_user() -> None:
    def softsign(x: Any) -> Any:
        return x / (1 + np.abs(x))

    table = tabulate(softsign, domain=(-64, 64), left=-1.0, right=1.0)
    c = Calibration(np.linspace(-10, 10, 1000))
    with pytest.raises(ValueError, match="function that the table of 'softsign' stands for"):
        c.forecast(table)
    assert 0 < c.forecast(table, softsign).max_abs < 1e-2
    assert c.forecast(table, np.tanh).max_abs > 0.05


def gelu(x: Any) -> Any:
    """A namesake of the library's."""
    return x * special.expit(x)


def test_a_namesake_is_not_taken_for_the_librarys() -> None:
    c = Calibration(np.linspace(-10, 10, 1000))
    for table in (
        tabulate(gelu, kind="linear", left=0.0, right="identity"),
        tabulate(gelu, "float16", left=0.0, right="identity"),
        quantized(gelu, "int8", "int8", scale=0.1, out_scale=0.1, left=0.0, right="identity"),
    ):
        with pytest.raises(ValueError, match="the table of 'gelu' stands for: it is not cupylut's"):
            c.forecast(table)
        # Twice as much where the input is rounded too.
        assert c.forecast(table, gelu).max_abs <= 2.2 * table.report.max_abs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_librarys_own_tables_are_recognised(name: str) -> None:
    c = Calibration(np.linspace(-30, 30, 999), np.geomspace(1e-30, 1e30, 99), [-1e30, 7e4])
    for dtype in DTYPES[1:3]:  # bfloat16 and float32
        tables = [tabulate(name, dtype), tabulate(name, dtype, size=20)]
        if dtype.itemsize == 2:
            tables.append(quantized(name, dtype, "float8_e5m2", scale=3.0))
        for table in tables:
            assert c.forecast(table) == c.forecast(table, name)


@pytest.mark.parametrize(
    "name", ["elu(0.5)", "gelu_derivative", "leaky_relu(0.1)_derivative", "relu2", "xielu"]
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_whatever_as_function_knows_is_found_by_name(name: str, dtype: str) -> None:
    c = Calibration(np.linspace(-30, 30, 999))
    table = tabulate(name, dtype)
    assert c.forecast(table) == c.forecast(table, name)


# Numbers that come out in int8 and the 8-bit floats as the grids of these scales have them.
PAIRS = [
    ("int8", "int8", 0.05, 0.02),
    ("float8_e4m3fn", "float16", 0.5, 1.0),
    ("float16", "float8_e5m2", 1.0, 0.25),
    ("float8_e5m2", "int8", 2.0, 0.1),
]


@pytest.mark.parametrize(("dtype", "out_dtype", "scale", "out_scale"), PAIRS)
def test_forecast_of_quantized_tables(
    dtype: str, out_dtype: str, scale: float, out_scale: float
) -> None:
    """The rounding of input and result is part of it, and what is cut off."""
    x = np.random.default_rng(0).normal(scale=2, size=4000).astype(BFLOAT16)
    table = quantized("gelu", dtype, out_dtype, scale=scale, out_scale=out_scale)
    scale, out_scale = table.scale, table.out_scale  # in float32
    real = x.astype(np.float64) / scale
    q = (np.rint(real).clip(-128, 127) if dtype == "int8" else real).astype(table.dtype)
    wide = x.astype(np.float64)
    error = np.abs(table(q).astype(np.float64) * out_scale - wide * special.ndtr(wide))
    forecast = Calibration(x).forecast(table)
    assert forecast.mean_abs == pytest.approx(error.mean(), rel=0.03)
    assert forecast.rms == pytest.approx(np.sqrt((error**2).mean()), rel=0.03)
    assert forecast.max_abs == pytest.approx(error.max(), rel=0.3)
    there = np.isclose(wide, forecast.max_abs_at, rtol=2.0**-7)
    assert error[there].max() == pytest.approx(error.max(), rel=0.3)
