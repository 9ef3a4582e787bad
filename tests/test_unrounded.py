"""tables/unrounded.py and kernels/unrounded.cuh: f of every bfloat16, in float32.

The oracle is scipy's reference in float64. The kernel is gated.cu's, compiled as C++ and run on the
CPU: 1·f(x) is f(x) rounded to bfloat16, and 2⁸·f(x) shows the bits behind that.
"""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from cubin import compile_kernel, parameters
from host_cuda import Program, mutated
from samples import assert_same_bits

import cupylut
from cupylut import FUNCTIONS, defaults, device, gated
from cupylut.declaration import ZERO, Function
from cupylut.dtypes import BFLOAT16, all_inputs, ulp, widened
from cupylut.names import as_function
from cupylut.tables import UnroundedTable
from cupylut.tables.unrounded import MAX_BYTES

NAMES = [
    name
    for function in FUNCTIONS
    for name in (function, f"{function}_derivative")
    if name not in ("elu", "selu", "selu_derivative", "leaky_relu")
]
by_name = pytest.mark.parametrize("name", NAMES)

X = all_inputs(BFLOAT16)


def results_of(table: UnroundedTable) -> np.ndarray:
    y = np.empty(X.size, np.float32)
    table.evaluate(X, y)
    return y


@by_name
def test_within_two_ulp_on_every_input(name: str) -> None:
    function = as_function(name)
    table = UnroundedTable.build(function)
    assert table.entries.nbytes <= MAX_BYTES
    exact, y = function(widened(X)), results_of(table)
    numbers = np.isfinite(widened(X))
    error = np.abs(y[numbers] - exact[numbers]) / ulp(exact[numbers], np.float32)
    assert error.max() <= 2
    assert table.report.max_ulp == pytest.approx(error.max())
    special = ~numbers | (widened(X) == 0)
    with np.errstate(over="ignore"):
        assert_same_bits(y[special], exact[special].astype(np.float32))
    assert table.report.special_values


@pytest.mark.parametrize("name", ["elu", "selu", "leaky_relu", "relu2"])
def test_functions_with_a_kink_at_zero_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no table of at most 16,384 bytes"):
        UnroundedTable.build(as_function(name))
    if name in FUNCTIONS:
        assert defaults.product_table(name, BFLOAT16) is defaults.default_table(
            name, np.dtype(np.float32)
        )


def test_a_zero_without_a_sign_and_a_jump_at_zero() -> None:
    """f(−0) = +0 has a table, two values at ±0 have none."""
    even = Function("even", "", lambda x: x * x * np.exp(-x * x), ZERO, ZERO)
    table = UnroundedTable.build(even)
    assert not np.signbit(results_of(table)[[0, 0x8000]]).any()
    jump = Function("jump", "", lambda x: np.where(np.signbit(x), 1.0, 2.0), None, None)
    with pytest.raises(ValueError, match="no table"):
        UnroundedTable.build(jump)


def test_products_of_bfloat16_take_it() -> None:
    table = defaults.product_table("silu", BFLOAT16)
    assert isinstance(table, UnroundedTable)
    slope = defaults.derivative_table(table)
    assert isinstance(slope, UnroundedTable)
    assert slope is defaults.product_table("silu_derivative", BFLOAT16)
    for dtype in map(np.dtype, (np.float16, np.float32, np.float64)):
        kind = defaults.product_table("silu", dtype)
        assert kind is defaults.default_table("silu", defaults.compute_dtype(dtype))


def test_the_parameters_have_the_size_of_what_is_passed(tmp_path: Path) -> None:
    """CUDA copies as many bytes as the kernel declares from where the argument lies."""
    table = defaults.product_table("silu", BFLOAT16)
    cubin = compile_kernel("gated.cu", tuple(device.defines((table,), BFLOAT16).items()), 90)
    sizes = [8, 8, 8, 4, 8, 4, table.parameters.nbytes]
    assert parameters(cubin, "product", tmp_path) == sizes


def product(program: Program, table: UnroundedTable, x: np.ndarray, factor: float) -> np.ndarray:
    return program.product((table,), x, np.full_like(x, factor), grid=3, block=64)


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus", "tanh", "mish_derivative", "laplace"])
def test_the_kernel_gives_the_numpy_halfs_results(name: str, compiler: str) -> None:
    """On all inputs; and bit by bit, where bfloat16 does not round: f's leading bits taken away."""
    table = UnroundedTable.build(as_function(name))
    y = results_of(table)
    for factor in (1.0, -3.0):
        expected = np.empty_like(X)
        gated.product(table, X, np.full_like(X, factor), expected)
        assert_same_bits(product(Program(), table, X, factor), expected)
        with np.errstate(invalid="ignore", over="ignore"):
            assert_same_bits(expected, (np.float32(factor) * y).astype(BFLOAT16))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("item<2>(places, 1)", "item<2>(places, 0)"),
        ("multiply_add(x, c2, c1)", "multiply_add(x, c1, c2)"),
        ("where_exceeds(x, reach,", "where_exceeds(x, identity,"),
        ("unless_exceeds(x, identity,", "unless_exceeds(x, reach,"),
    ],
)
def test_a_changed_kernel_fails(tmp_path: Path, compiler: str, old: str, new: str) -> None:
    program = Program(kernels=mutated(tmp_path, "unrounded.cuh", old, new))
    table = defaults.product_table("gelu", BFLOAT16)
    expected = np.empty_like(X)
    gated.product(table, X, np.ones_like(X), expected)
    with pytest.raises(AssertionError, match="differ"):
        assert_same_bits(product(program, table, X, 1.0), expected)


def test_saved_copied_and_pickled(tmp_path: Path) -> None:
    table = UnroundedTable.build(FUNCTIONS["mish"])
    table.save(tmp_path / "mish.npz")
    others = cupylut.load(tmp_path / "mish.npz"), copy.deepcopy(table)
    for other in (*others, pickle.loads(pickle.dumps(table))):
        assert isinstance(other, UnroundedTable)
        assert repr(other) == repr(table) == "UnroundedTable(mish, bfloat16, 14,936 bytes)"
        assert_same_bits(results_of(other), table.results)
        assert other.parameters.tobytes() == table.parameters.tobytes()
        assert other.entries.tobytes() == table.entries.tobytes()
        assert other.report == table.report
