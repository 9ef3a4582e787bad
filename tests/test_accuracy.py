"""accuracy.py: ulp against the neighbours that the dtype really has, and the report's figures."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupylut import accuracy, dtypes
from cupylut.declaration import IDENTITY, Function
from cupylut.dtypes import DTYPES, all_inputs, as_dtype, ulp

SAME = Function("same", "x", np.array, IDENTITY, IDENTITY)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_ulp_is_the_gap_to_the_next_pattern(dtype) -> None:
    patterns = np.arange(0, 0x7C00 if dtype is np.float16 else 0x7F80, dtype=np.uint16)
    values = patterns.view(dtype).astype(np.float64)
    np.testing.assert_array_equal(ulp(values[:-1], dtype), np.diff(values))
    np.testing.assert_array_equal(ulp(-values[:-1], dtype), np.diff(values))
    assert ulp(1e300, dtype) == ulp(values[-1], dtype)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_ulp_is_numpy_spacing(x: float) -> None:
    if abs(x) < np.finfo(np.float32).max:  # there NumPy's is infinite
        assert ulp(x, np.float32) == abs(float(np.spacing(np.float32(abs(x)))))
    assert ulp(x, np.float64) == np.spacing(abs(x))


def test_as_dtype() -> None:
    assert as_dtype("bfloat16") == ml_dtypes.bfloat16
    assert as_dtype(">f4") == np.float32
    for bad in ("int32", "complex64", object, "nonsense", np.longdouble):
        with pytest.raises(ValueError, match="float16, bfloat16, float32, float64"):
            as_dtype(bad)


def test_report() -> None:
    x = np.array([1.0, 2.0, 4.0], np.float16)
    y = np.add(x, [0, 2.0**-9, 2.0**-8]).astype(np.float16)
    report = accuracy.error_report(SAME, x, y, even=2)
    assert (report.max_abs, report.max_abs_at) == (2.0**-8, 4.0)
    assert (report.max_ulp, report.max_ulp_at) == (1.0, 2.0)
    assert report.mean_abs == 2.0**-10
    assert report.rms == pytest.approx(2.0**-9 / np.sqrt(2))
    assert report.points == 3
    assert (report.misrounded, report.above_half_ulp, report.above_one_ulp) == (2, 2, 0)
    assert "2 misrounded, over 3 points" in str(report)


def test_report_on_overflow() -> None:
    x = np.array([6e4, 6.5e4], np.float16)
    # The first rounds to infinity, the second must not.
    steep = replace(SAME, reference=lambda x: np.where(x < 6.2e4, 1e6, 65504.0))
    report = accuracy.error_report(steep, x, np.array([np.inf, np.inf], np.float16), even=1)
    assert (report.max_abs, report.max_abs_at) == (np.inf, float(x[1]))
    assert report.mean_abs == 0
    assert report.misrounded == 1


def test_report_counts_every_input_once() -> None:
    x = np.resize(np.arange(8, dtype=np.float32), 100)
    y = x + np.float32(0.5)
    report = accuracy.error_report(SAME, x, y, even=100)
    assert (report.points, report.misrounded, report.above_two_ulp) == (8, 8, 8)
    assert report.mean_abs == 0.5


@given(st.permutations(range(6)))
def test_report_finds_where_a_rising_function_falls(order: list[int]) -> None:
    x, y = np.arange(6, dtype=np.float32), np.array(order, np.float32)
    report = accuracy.error_report(SAME, x, y, even=6)
    assert report.monotonicity_breaks == (np.diff(y) < 0).sum()


@pytest.mark.parametrize("where", [np.nan, np.inf, -np.inf, 0.0, -0.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_report_checks_special_values(dtype, where: float) -> None:
    x = np.array([1.0, np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    assert accuracy.error_report(SAME, x, x, even=1).special_values
    wide = x.astype(np.float64)
    bad = (wide == where) & (np.signbit(wide) == np.signbit(where)) | (
        np.isnan(where) & np.isnan(wide)
    )
    y = np.where(bad, -x, x)
    y[np.isnan(where) & bad] = 0
    assert not accuracy.error_report(SAME, x, y, even=1).special_values


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_probe_points_fill_the_domain_and_crowd_its_ends(dtype) -> None:
    x, even = accuracy.probe_points(dtype, -3.0, 5.0, 100)
    assert x.dtype == dtype
    wide = dtypes.widened(x)
    assert np.isfinite(wide[:even]).all()
    assert np.isnan(wide).any()
    counts, _ = np.histogram(wide[:even], bins=64, range=(-3, 5))
    if dtype.itemsize > 2:
        assert counts.min() > 0.99 * even / 64
        gaps = np.sort(wide[wide > 5] - 5)
        assert gaps[0] <= 4 * ulp(5.0, dtype)
    else:
        assert set(all_inputs(dtype)[:0x7C00].view(np.uint16)) <= set(x.view(np.uint16))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1e-12, 8.0, 1e12])
def test_probe_points_are_of_all_magnitudes(dtype, width: float) -> None:
    """Of float32: beyond, many a reference overflows on its way."""
    x, _ = accuracy.probe_points(np.dtype(dtype), -width, width, 10)
    for sign in (-1, 1):
        octaves = np.unique(np.log2(np.abs(x[np.isfinite(x) & (sign * x > 0)].astype(np.float64))))
        assert np.diff(octaves[octaves > -140]).max() < 0.26
        assert octaves[0] == (-149 if dtype is np.float32 else -200)
        assert octaves[-1] == np.log2(float(np.finfo(np.float32).max))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_report_does_not_count_the_roundings_of_the_reference(dtype) -> None:
    noisy = replace(SAME, reference=lambda x: x * 0.3 / 0.3)
    x = np.geomspace(1, 60_000, 999).astype(dtype)
    assert (noisy(x) != x).any()
    assert accuracy.error_report(noisy, x, x, even=9).max_abs == 0


def test_reports_on_two_parts() -> None:
    """The worst and the sum of both, and the averages over the first."""
    x = np.arange(-8, 8, dtype=np.float32)
    y = x + np.float32(0.25) * (x > 3) + np.float32(0.125) * (x == -8)
    whole = accuracy.error_report(SAME, x, y, even=8)
    parts = [accuracy.error_report(SAME, x[i], y[i], even=8) for i in (slice(8), slice(8, 16))]
    assert parts[0].and_beyond(parts[1]) == whole
    flipped = parts[1].and_beyond(parts[0])
    assert flipped == replace(whole, mean_abs=parts[1].mean_abs, rms=parts[1].rms)
