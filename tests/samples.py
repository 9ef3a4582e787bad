"""What tests share: inputs with special values, a table's NumPy half, equality to the last bit."""

from typing import Any

import numpy as np
import pytest

from cupylut.dtypes import DTYPES
from cupylut.tables import Table

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)


def bits(x: Any) -> Any:
    """The bit patterns, so that NaN equals itself and −0 differs from 0."""
    x = np.ascontiguousarray(x)
    return x.view(f"u{x.dtype.itemsize}")


def same(x: Any, y: Any) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape and bool((bits(x) == bits(y)).all())


def values(shape: Any, dtype: Any) -> Any:
    x = np.random.default_rng(0).normal(scale=4.0, size=shape).astype(dtype)
    if x.size > 3:
        x.flat[:3] = np.nan, -np.inf, -0.0
    return x


def evaluate(table: Table, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    table.evaluate(x, y)
    return y


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Equal to the last bit, signs of zero included; any NaN equals any NaN."""
    pattern = f"u{a.itemsize}"
    with np.errstate(invalid="ignore"):  # signalling NaN
        nan = np.isnan(a) & np.isnan(b)
    differ = (a.view(pattern) != b.view(pattern)) & ~nan
    assert a.shape == b.shape
    assert not differ.any(), f"{differ.sum()} differ, first {a[differ][0]!r} and {b[differ][0]!r}"
