"""gated.py and kernels/gated.cu: z·f(x) and its gradient, rounded once.

The kernels are compiled as C++ and run on the CPU. The oracle is scipy's reference in float64.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from cubin import ARCHITECTURES, compile_kernel, instructions, per_element, resources
from host_cuda import SANITIZERS, Program
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BFLOAT16, by_dtype, same, values
from test_elementwise import FINDINGS, mutated
from test_linear import assert_same_bits

import cupylut
from cupylut import FUNCTIONS, device, gated, ops
from cupylut.accuracy import all_inputs, as_dtype, ulp, widened
from cupylut.tables import Table

GATES: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "silu": (cupylut.swiglu, {}),
    "gelu": (cupylut.geglu, {}),
    "gelu_tanh": (cupylut.geglu, {"approximate": "tanh"}),
}
by_gate = pytest.mark.parametrize("name", GATES)

# In ulp of the exact result: 16 bits round a float32 product, which is off by 2⁻¹³ or less of that;
# float32 adds its own rounding to what the table is off by, which the product may double.
BOUNDS = {"float16": 0.501, "bfloat16": 0.501, "float32": 2.5}


def tables_for(name: str, dtype: np.dtype) -> tuple[Table, Table]:
    function, real = FUNCTIONS[name], gated.real(dtype)
    assert function.derivative is not None
    return ops.default_table(function, real), ops.default_table(function.derivative, real)


def inputs(dtype: np.dtype, count: int = 65536) -> list[np.ndarray]:
    """x, z and g: every pattern of 16 bits, or as many numbers; finite and not huge."""
    rng = np.random.default_rng(0)
    x = all_inputs(dtype) if dtype.itemsize == 2 else rng.normal(scale=4, size=65536).astype(dtype)
    x = np.resize(x[np.abs(widened(x)) < 1e4], count)
    return [x, *(rng.normal(size=count).astype(dtype) for _ in range(2))]


def in_ulp(y: np.ndarray, exact: np.ndarray) -> float:
    return float((np.abs(widened(y) - exact) / ulp(exact, y.dtype)).max())


@by_gate
@by_dtype
def test_accuracy(name: str, dtype: np.dtype) -> None:
    x, z, _ = inputs(dtype)
    function, options = GATES[name]
    y = function(x, z, **options)
    assert y.dtype == dtype
    exact = FUNCTIONS[name](x) * widened(z)
    if dtype == np.float64:
        bound = tables_for(name, dtype)[0].report.max_abs
        assert (np.abs(y - exact) <= np.abs(z) * bound + 4 * ulp(exact, dtype)).all()
    else:
        assert in_ulp(y, exact) <= BOUNDS[dtype.name]


@by_gate
@by_dtype
def test_gradient_accuracy(name: str, dtype: np.dtype) -> None:
    x, z, g = inputs(dtype)
    value, slope = tables_for(name, dtype)
    dx, dz = np.empty_like(x), np.empty_like(x)
    gated.product_gradient(value, slope, x, z, g, dx, dz)
    factor = widened(g) * widened(z)
    derivative = FUNCTIONS[name].derivative
    assert derivative is not None
    for got, exact, error in (
        (dx, factor * derivative(x), np.abs(factor) * slope.report.max_abs),
        (dz, widened(g) * FUNCTIONS[name](x), np.abs(widened(g)) * value.report.max_abs),
    ):
        assert (np.abs(widened(got) - exact) <= error + 4 * ulp(exact, dtype)).all()
        if dtype.itemsize == 2:
            assert (np.abs(widened(got) - exact) <= error + 0.501 * ulp(exact, dtype)).all()


@by_dtype
def test_kernels_give_the_numpy_halves_results(dtype: np.dtype, compiler: str) -> None:
    """To the last bit for linear tables, whose two halves do."""
    real = gated.real(dtype)
    value = cupylut.tabulate("silu", real, size=200)
    slope = cupylut.tabulate(FUNCTIONS["silu"].derivative, real, size=100)
    check(Program(), (value, slope), dtype, [0, 9, 1000], [(3, 64), (7, 33)])


def check(
    program: Program,
    tables: tuple[Table, Table],
    dtype: np.dtype,
    counts: list[int],
    launches: list[tuple[int, int]],
) -> None:
    """Kernels and NumPy halves agree to the last bit for these sizes, launches and alignments."""
    lanes = 16 // dtype.itemsize
    for count in counts:
        x, z, g = inputs(dtype, count)
        if count > 5:
            x[:5] = np.nan, np.inf, -np.inf, 0.0, -0.0
        y, dx, dz = (np.empty_like(x) for _ in range(3))
        gated.product(tables[0], x, z, y)
        gated.product_gradient(*tables, x, z, g, dx, dz)
        for grid, block in launches:
            for offset, out in ((0, 0), (lanes - 1, lanes - 1), (1, 0), (1, None)):
                how: Any = {"grid": grid, "block": block, "offset": offset, "out_offset": out}
                for uncached in (False, True):
                    made = program.product(tables[:1], x, z, **how, uncached=uncached)
                    assert_same_bits(made, y)
                    made = program.product(tables, x, z, g, **how, uncached=uncached)
                    assert_same_bits(made[0], dx)
                    assert_same_bits(made[1], dz)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_under_sanitizers(sanitizer: str, compiler: str) -> None:
    tables = tables_for("gelu", BFLOAT16)
    slope = cupylut.tabulate(FUNCTIONS["gelu"].derivative, size=77)  # not a multiple of 16 bytes
    linear = cupylut.tabulate("gelu", size=50)
    assert tables[0].dtype == np.float32
    check(Program(sanitizer), (linear, slope), BFLOAT16, [1, 300], [(2, 48)])


@pytest.mark.parametrize(
    ("old", "new", "sanitizer"),
    [
        (
            "multiply(value(widen(x), entries), widen(z))",
            "multiply(value(widen(z), entries), widen(x))",
            None,
        ),
        ("multiply(gradient, value(widen(x)", "multiply(widen(z), value(widen(x)", None),
        ("out.lane[k] = (*this)(xs.lane[k],", "out.lane[k] = (*this)(xs.lane[0],", None),
        ("second.lane[k] = out.dz", "second.lane[k] = out.dx", None),
        ("(value_bytes + 15) / 16 * 16", "value_bytes", "undefined"),
        ("        __syncthreads();\n        return copies", "        return copies", "thread"),
        ("split(count, x, z, y)", "split(count, x, z)", "undefined"),
    ],
)
def test_a_changed_kernel_fails(
    tmp_path: Path, compiler: str, old: str, new: str, sanitizer: str | None
) -> None:
    program = Program(sanitizer, mutated(tmp_path, "gated.cu", old, new))
    value = cupylut.tabulate("silu", size=200)
    slope = cupylut.tabulate(FUNCTIONS["silu"].derivative, size=100)
    with pytest.raises(AssertionError, match=FINDINGS[sanitizer]):
        check(program, (value, slope), np.dtype(np.float32), [100], [(2, 48)])


# Instructions of the vector loop on sm_90 divided by elements, as measured.
BUDGETS = {
    ("float32", "product"): 23.0,
    ("bfloat16", "product"): 25.125,
    ("float16", "product"): 24.0,
    ("float32", "product_gradient"): 46.5,
    ("bfloat16", "product_gradient"): 47.125,
    ("float16", "product_gradient"): 44.75,
}


@pytest.mark.parametrize(("dtype", "entry"), BUDGETS)
def test_instruction_budgets(dtype: str, entry: str, tmp_path: Path) -> None:
    defines = {
        "SCALAR": device.SCALARS[dtype],
        "TABLE": "GateTable<true>",
        "SLOPE": "LinearTable<float, false>",
    }
    cubin = compile_kernel("gated.cu", tuple(defines.items()), 90)
    code = instructions(cubin, entry, tmp_path)
    assert per_element(code, as_dtype(dtype)) <= BUDGETS[dtype, entry] + 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@by_dtype
def test_compiles_without_spills(dtype: np.dtype, architecture: int, tmp_path: Path) -> None:
    value, slope = tables_for("silu", dtype)
    for tables in ((value,), (value, slope)):
        defines = tuple(device.defines(tables, dtype).items())
        cubin = compile_kernel("gated.cu", defines, architecture)
        for usage in resources(cubin, tmp_path).values():
            assert usage["LOCAL"] == usage["STACK"] == 0
            assert usage["REG"] <= 128


# --- the array functions ---


@by_dtype
def test_layouts_and_out(dtype: np.dtype) -> None:
    a, b = values((3, 4, 5), dtype), values((5, 4, 3), dtype).T
    want = cupylut.swiglu(np.ascontiguousarray(a), np.ascontiguousarray(b))
    y = cupylut.swiglu(a, b)
    assert same(y, want)
    assert y.strides == a.strides
    assert cupylut.swiglu(a.T, b.T).strides == a.T.strides
    assert same(cupylut.swiglu(a[:, ::2], b[:, ::2]), want[:, ::2])
    for out in (np.empty_like(a), np.empty((3, 4, 10), dtype)[..., ::2], a.copy()):
        assert cupylut.swiglu(a, b, out=out) is out
        assert same(np.ascontiguousarray(out), want)
    for which in (0, 1):
        pair = [a.copy(), b.copy()]
        assert same(np.ascontiguousarray(cupylut.swiglu(*pair, out=pair[which])), want)


@by_gate
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_libraries(name: str, dtype: Any) -> None:
    function, options = GATES[name]
    a, b = (values((2, 33), dtype)[i] for i in (0, 1))
    want = function(a, b, **options)
    with torch.no_grad():
        y = function(torch.from_numpy(a), torch.from_numpy(b), **options)
    assert type(y) is torch.Tensor
    assert same(y.numpy(), want)
    y = function(jax.numpy.asarray(a), jax.numpy.asarray(b), **options)
    assert isinstance(y, jax.Array)
    assert same(np.asarray(y), want)


@settings(max_examples=50, deadline=None)
@given(st.floats(width=16), st.floats(width=16))
def test_special_values_are_those_of_the_two_steps(x: float, z: float) -> None:
    a, b = np.float16([x]), np.float16([z])
    with np.errstate(all="ignore"):
        want = FUNCTIONS["gelu"](a) * b.astype(np.float64)
    y = cupylut.geglu(a, b)
    assert np.isnan(y[0]) == np.isnan(want[0])
    if not np.isnan(want[0]):
        assert np.signbit(y[0]) == np.signbit(want[0])
        with np.errstate(over="ignore"):
            assert y[0] == want.astype(np.float16)[0] or np.isfinite(y[0])


def test_integers_scalars_and_nothing() -> None:
    assert cupylut.swiglu(1.0, 2.0) == pytest.approx(2 * FUNCTIONS["silu"](1.0), abs=1e-4)
    assert cupylut.swiglu(np.int8([1]), np.int8([2])).dtype == np.float16
    assert cupylut.swiglu(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)


def test_what_does_not_fit_is_refused() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="equal shapes"):
        cupylut.swiglu(x, x[:2])
    with pytest.raises(TypeError, match="convert one"):
        cupylut.swiglu(x, x.astype(np.float16))
    with pytest.raises(TypeError, match="give one kind"):
        cupylut.swiglu(x, torch.zeros(3))
    with pytest.raises(ValueError, match="approximate"):
        cupylut.geglu(x, x, "erf")  # type: ignore[arg-type]
    memory = np.zeros(6, np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        cupylut.swiglu(x, memory[:3], out=memory[1:4])
    with pytest.raises(ValueError, match="shape"):
        cupylut.swiglu(x, x, out=memory)
