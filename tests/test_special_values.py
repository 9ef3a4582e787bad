"""NaN, ±inf, ±0, subnormals and the largest numbers: every function, dtype and library.

Each value is tried alone and at the beginning, in the middle and at the end of ordinary ones.
Warnings are errors here, so a RuntimeWarning from NumPy fails these tests too.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax  # noqa: TID251
import ml_dtypes
import numpy as np
import pytest
import torch  # noqa: TID251

import cupylut
from cupylut import defaults
from cupylut.declaration import Function, Tail
from cupylut.dtypes import BFLOAT16, DTYPES, ulp
from cupylut.functions import FUNCTIONS

finfo: Callable[[Any], Any] = ml_dtypes.finfo

Evaluate = Callable[[Callable[[Any], Any], Any], Any]


def _numpy(function: Callable[[Any], Any], x: Any) -> Any:
    return function(x)


def _torch(function: Callable[[Any], Any], x: Any) -> Any:
    if x.dtype == BFLOAT16:
        y = function(torch.from_numpy(x.view(np.int16)).view(torch.bfloat16))
        return y.view(torch.int16).numpy().view(BFLOAT16)
    return function(torch.from_numpy(x)).numpy()


def _jax(function: Callable[[Any], Any], x: Any) -> Any:
    wide = jax.enable_x64(True) if x.dtype == np.float64 else contextlib.nullcontext()
    with wide:
        return np.asarray(function(jax.device_put(x, jax.devices("cpu")[0])))


by_library = pytest.mark.parametrize("evaluate", [_numpy, _torch, _jax], ids=lambda f: f.__name__)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
by_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda f: f.name)


def results(evaluate: Evaluate, function: Callable[[Any], Any], x: float, dtype: Any) -> Any:
    """f(x) with x alone, alone in no dimension, and among ordinary values."""
    crowd = np.linspace(-9, 9, 1001).astype(dtype)
    crowd[[0, 500, 1000]] = x
    y = [
        evaluate(function, np.array([x], dtype)),
        evaluate(function, np.array(x, dtype)).reshape(1),
        evaluate(function, crowd)[[0, 500, 1000]],
    ]
    return np.concatenate(y)


def equal(y: Any, want: Any) -> bool:
    """Equal with the sign of zero."""
    return bool((y == want).all() and (np.signbit(y) == np.signbit(want)).all())


def on_tail(y: Any, tail: Tail, x: float, dtype: Any) -> bool:
    """Whether the results are the tail's at x: to the last bit but for a slope that is rounded."""
    with np.errstate(over="ignore"):
        want = np.array(tail.intercept if tail.slope == 0 else tail.slope * x, dtype)
    exact = tail.slope in (0, 1) or np.isinf(want)
    return equal(y, want) if exact else bool((abs(y - want) <= 2 * np.spacing(abs(want))).all())


@by_library
@by_dtype
@by_function
def test_nan_gives_nan(evaluate: Evaluate, dtype: Any, function: Function) -> None:
    for nan in (np.nan, -np.nan):
        y = results(evaluate, getattr(cupylut, function.name), nan, dtype)
        assert y.dtype == dtype
        assert np.isnan(y).all()


@by_library
@by_dtype
@by_function
def test_far_out_lies_the_tail(evaluate: Evaluate, dtype: Any, function: Function) -> None:
    activation = getattr(cupylut, function.name)
    largest = float(finfo(dtype).max)
    for x in (np.inf, largest):
        assert on_tail(results(evaluate, activation, x, dtype), function.right, x, dtype)
        assert on_tail(results(evaluate, activation, -x, dtype), function.left, -x, dtype)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "quick_gelu", "mish"])
@by_dtype
def test_minus_infinity_gives_minus_zero(name: str, dtype: Any) -> None:
    y = getattr(cupylut, name)(np.array([-np.inf], dtype))
    assert y[0] == 0
    assert np.signbit(y[0])


@by_library
@by_dtype
@by_function
def test_zero_keeps_its_sign_where_the_function_has_a_zero(
    evaluate: Evaluate, dtype: Any, function: Function
) -> None:
    activation = getattr(cupylut, function.name)
    plus, minus = (results(evaluate, activation, zero, dtype) for zero in (0.0, -0.0))
    if function(0.0) == 0:
        assert equal(plus, np.zeros(1, dtype))
        assert equal(minus, -np.zeros(1, dtype))
    else:
        assert equal(plus, minus)
        bound = defaults.default_table(function.name, dtype).report.max_abs
        assert (np.abs(plus.astype(np.float64) - function(0.0)) <= bound).all()


def tiny_values(dtype: Any) -> Any:
    """The smallest and the largest subnormal, the smallest normal and some between."""
    info = finfo(dtype)
    smallest, normal = float(info.smallest_subnormal), float(info.smallest_normal)
    magnitudes = [smallest, 3 * smallest, normal / 2, normal - smallest, normal, 3 * normal]
    return np.array([sign * x for x in magnitudes for sign in (1, -1)], dtype)


@by_library
@by_dtype
@by_function
def test_tiny_inputs_are_as_accurate_as_any(
    evaluate: Evaluate, dtype: Any, function: Function
) -> None:
    x = tiny_values(dtype)
    report, exact = defaults.default_table(function.name, dtype).report, function(x)
    y = evaluate(getattr(cupylut, function.name), x)
    bound = np.minimum(report.max_abs, report.max_ulp * ulp(exact, dtype))
    assert (np.abs(y.astype(np.float64) - exact) <= bound * (1 + 1e-6)).all()


@by_library
@by_dtype
def test_subnormal_numbers_are_not_flushed(evaluate: Evaluate, dtype: Any) -> None:
    """Through the table of y = x every result is its input, however small."""
    table = cupylut.tabulate(np.copy, dtype, domain=(1, 2), left="identity", right="identity")
    x = tiny_values(dtype)
    assert (x != 0).all()
    assert equal(evaluate(table, x), x)
    for value in x:
        assert equal(results(evaluate, table, value, dtype), value)
