"""tables/compact.py and kernels/compact.cuh: correctly rounded for every 16-bit input.

The oracle is `correctly_rounded`: float64 from scipy's references where it is far enough from the
middle between two results, mpmath elsewhere.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cubin import ARCHITECTURES, compile_kernel, instructions, resources
from host_cuda import SANITIZERS, Program
from test_device import vector_loop
from test_elementwise import mutated
from test_linear import assert_same_bits, evaluate

from cupylut import FUNCTIONS, CompactTable, device, load, tabulate
from cupylut.accuracy import all_inputs, as_dtype, correctly_rounded, widened
from cupylut.tables.compact import SEGMENTS
from cupylut.tables.fit_compact import DESIGNS, fit, multiply_add, segment, simulate

every_table = pytest.mark.parametrize(("name", "dtype"), DESIGNS)


def table_for(name: str, dtype: str) -> CompactTable:
    return tabulate(name, dtype, kind="compact")


def misrounded(table: CompactTable, y: np.ndarray) -> int:
    """How many results for all inputs, in their order, are not f(x) rounded once; NaN for NaN."""
    expected = correctly_rounded(FUNCTIONS[table.name], table.dtype)
    nan = np.isnan(widened(expected))
    assert (nan == np.isnan(widened(all_inputs(table.dtype)))).all()
    wrong = (y.view(np.uint16) != expected.view(np.uint16)) & ~nan
    return int((wrong | (nan & ~np.isnan(widened(y)))).sum())


@every_table
def test_no_input_is_misrounded_by_the_kernel(name: str, dtype: str, compiler: str) -> None:
    table = table_for(name, dtype)
    x = all_inputs(table.dtype)
    assert misrounded(table, Program().elementwise(table, x)) == 0
    assert misrounded(table, Program().elementwise(table, x, uncached=True)) == 0


@every_table
def test_no_input_is_misrounded_by_numpy(name: str, dtype: str) -> None:
    table = table_for(name, dtype)
    assert misrounded(table, evaluate(table, all_inputs(table.dtype))) == 0
    assert table.report.max_ulp <= 0.5


@every_table
def test_special_values(name: str, dtype: str, compiler: str) -> None:
    table = table_for(name, dtype)
    infinity = np.array(np.inf, table.dtype).view(np.uint16)
    nan = np.array([infinity + 1, infinity + 9, 0x7FFF, 0xFFFF], np.uint16)
    finite = np.array([0.0, -0.0, np.inf, -np.inf, 6e4, -6e4], table.dtype)
    expected = np.array([0.0, -0.0, np.inf, -0.0, 6e4, -0.0], table.dtype)
    for values in (evaluate(table, finite), Program().elementwise(table, finite)):
        assert_same_bits(values, expected)
    x = nan.view(table.dtype)
    for values in (evaluate(table, x), Program().elementwise(table, x)):
        assert np.isnan(widened(values)).all()


@every_table
def test_the_simulation_is_the_kernel(name: str, dtype: str, compiler: str) -> None:
    """To the bit also where results are wrong: with changed coefficients."""
    table = table_for(name, dtype)
    x = all_inputs(table.dtype)
    x = x[np.isfinite(widened(x))]
    coefficients = table.coefficients * np.float32(1 + 2.0**-10)
    changed = replace(table, coefficients=coefficients)
    y = Program().elementwise(changed, x)
    assert_same_bits(simulate(table.layout, coefficients, x), y)
    assert (y.view(np.uint16) != evaluate(table, x).view(np.uint16)).sum() > 100


@every_table
def test_a_mutated_coefficient_fails(name: str, dtype: str) -> None:
    """A few of its last bits, in segments near 0, in the middle and in the tail."""
    table = table_for(name, dtype)
    x = all_inputs(table.dtype)
    x = x[np.isfinite(widened(x))]
    expected = evaluate(table, x).view(np.uint16)
    bits = 12 if dtype == "bfloat16" else 10
    for row in (0, 3, 12, 20):
        for power in range(table.coefficients.shape[1]):
            for sign in (-1, 1):
                coefficients = table.coefficients.copy()
                word = coefficients.view(np.uint32)
                word[row, power] += np.uint32(sign * 2**(bits + 3 * power) % 2**32)
                y = simulate(table.layout, coefficients, x).view(np.uint16)
                print(row, power, sign, (y != expected).sum())


