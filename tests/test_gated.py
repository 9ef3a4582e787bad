"""gated.py and kernels/gated.cu: z·f(x) and its gradient, rounded once.

The kernels are compiled as C++ and run on the CPU. The oracle is scipy's reference in float64.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cubin import GENERATIONS, compile_kernel, instructions, per_element, resources
from host_cuda import FINDINGS, SANITIZERS, Program, mutated
from samples import assert_same_bits, by_dtype

import cupylut
from cupylut import FUNCTIONS, defaults, device, gated
from cupylut.compiler import SCALARS
from cupylut.dtypes import BFLOAT16, all_inputs, as_dtype, ulp, widened
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
    value = defaults.product_table(name, dtype)
    return value, defaults.derivative_table(value)


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


@pytest.mark.parametrize("name", ["silu", "elu"])
@pytest.mark.parametrize("shape", [(70_000,), (70, 1000), (2, 40_000)])
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=str)
def test_large_arrays_have_the_results_of_small_ones(
    name: str, shape: tuple[int, ...], dtype: np.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, though those of 16 bits are found in another way."""
    asked, of_all_inputs = [], gated._of_all_inputs
    monkeypatch.setattr(
        gated, "_of_all_inputs", lambda *given: asked.append(given) or of_all_inputs(*given)
    )
    x, z, _ = (array.reshape(shape) for array in inputs(dtype, math.prod(shape)))
    table = defaults.product_table(name, dtype)
    whole, parts = np.empty_like(x), np.empty_like(x)
    gated.product(table, x, z, whole)
    assert bool(asked) == (table.dtype != dtype)
    asked.clear()
    flat = [array.reshape(-1) for array in (x, z, parts)]
    for part in (slice(i, i + 1000) for i in range(0, x.size, 1000)):
        gated.product(table, *(array[part] for array in flat))
    assert not asked
    assert_same_bits(whole, parts)


@by_dtype
def test_kernels_give_the_numpy_halves_results(dtype: np.dtype, compiler: str) -> None:
    """To the last bit for linear tables, whose two halves do."""
    real = defaults.compute_dtype(dtype)
    value = cupylut.tabulate("silu", real, size=200)
    slope = cupylut.tabulate(FUNCTIONS["silu"].derivative, real, size=100)
    check(Program(), (value, slope), dtype, [0, 9, 1000], [(3, 64), (7, 32)])


def test_tables_in_global_memory(compiler: str) -> None:
    tables = tables_for("silu", BFLOAT16)
    check(Program(in_shared=False), tables, BFLOAT16, [100], [(3, 64)])
    check_packed(Program(in_shared=False), tables, BFLOAT16, [(9, 16)])


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
                made = program.product(tables[:1], x, z, **how)
                assert_same_bits(made, y)
                made = program.product(tables, x, z, g, **how)
                assert_same_bits(made[0], dx)
                assert_same_bits(made[1], dz)


@by_dtype
def test_packed_kernels_give_the_numpy_halves_results(dtype: np.dtype, compiler: str) -> None:
    real, lanes = defaults.compute_dtype(dtype), 16 // dtype.itemsize
    value = cupylut.tabulate("silu", real, size=200)
    slope = cupylut.tabulate(FUNCTIONS["silu"].derivative, real, size=100)
    check_packed(Program(), (value, slope), dtype, [(1, 1), (33, 3 * lanes), (20, lanes + 1)])


def check_packed(
    program: Program, tables: tuple[Table, Table], dtype: np.dtype, shapes: list[tuple[int, int]]
) -> None:
    """Kernels and NumPy halves agree to the last bit with those for arrays of their own."""
    for count, width in shapes:
        x, z, g = (values.reshape(count, width) for values in inputs(dtype, count * width))
        y, dx, dz = (np.empty_like(x.ravel()) for _ in range(3))
        gated.product(tables[0], x.ravel(), z.ravel(), y)
        gated.product_gradient(*tables, x.ravel(), z.ravel(), g.ravel(), dx, dz)
        for gate_first in (True, False):
            pack = partial(pack_rows, gate_first=gate_first, shape=x.shape)
            packed, want = pack(x, z), pack(dx, dz)
            halves, out = gated.halves(packed, gate_first), np.empty_like(x)
            gated.product(tables[0], *halves, out)
            assert_same_bits(out.ravel(), y)
            out = np.empty_like(packed)
            gated.product_gradient(*tables, *halves, g, *gated.halves(out, gate_first))
            assert_same_bits(out, want)
            for offset, place in ((0, 0), (0, 1), (1, None)):
                how: Any = {"gate_first": gate_first, "offset": offset}
                how |= {"grid": 3, "block": 32}
                made = program.product(tables, packed, g, **how, out_offset=place)
                assert_same_bits(made, want.ravel())
                made = program.product(tables[:1], packed, **how, out_offset=place or 0)
                assert_same_bits(made, y)


def pack_rows(x: np.ndarray, z: np.ndarray, gate_first: bool, shape: tuple[int, ...]) -> np.ndarray:
    halves = (x, z) if gate_first else (z, x)
    return np.concatenate([half.reshape(shape) for half in halves], axis=-1)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_under_sanitizers(sanitizer: str, compiler: str) -> None:
    slope = cupylut.tabulate(FUNCTIONS["gelu"].derivative, size=77)  # not a multiple of 16 bytes
    linear = cupylut.tabulate("gelu", size=50)
    # A race, which takes long to look for, is one wherever arrays begin and end.
    counts, shapes = [300, 1], [(9, 16), (5, 7)]
    fewer = slice(1) if sanitizer == "thread" else slice(2)
    if sanitizer != "thread":
        check(Program(sanitizer), tables_for("gelu", BFLOAT16), BFLOAT16, counts, [(2, 64)])
    check(Program(sanitizer), (linear, slope), BFLOAT16, counts[fewer], [(2, 64)])
    check_packed(Program(sanitizer), (linear, slope), BFLOAT16, shapes[fewer])


@pytest.mark.parametrize(
    ("old", "new", "sanitizer"),
    [
        ("looked_up<SCALAR>(value, in.x", "looked_up<SCALAR>(value, in.z", None),
        ("looked_up(value, x[at], entries)", "looked_up(value, z[at], entries)", None),
        ("multiply(gradient, looked_up(value", "multiply(product, looked_up(value", None),
        ("narrowed(by_z)", "narrowed(by_x)", None),
        ("(value_bytes + 15) / 16 * 16", "value_bytes", "undefined"),
        ("        ready();\n", "", "thread"),
        ("split(count, x, z, y)", "split(count, x, z)", "undefined"),
        ("rows.row(i * LANES)", "rows.row(i)", None),
        ("i + rows.row(i) * rows.width", "i + rows.row(i + 1) * rows.width", "address"),
    ],
)
def test_a_changed_kernel_fails(
    tmp_path: Path, compiler: str, old: str, new: str, sanitizer: str | None
) -> None:
    program = Program(sanitizer, mutated(tmp_path, "gated.cu", old, new))
    value = cupylut.tabulate("silu", size=200)
    slope = cupylut.tabulate(FUNCTIONS["silu"].derivative, size=100)

    def check_all() -> None:
        check(program, (value, slope), np.dtype(np.float32), [100], [(2, 64)])
        check_packed(program, (value, slope), np.dtype(np.float32), [(7, 12), (7, 5)])

    with pytest.raises(AssertionError, match=FINDINGS[sanitizer]):
        check_all()


# Instructions of the vector loop on sm_90 divided by elements, as measured.
BUDGETS = {
    ("float32", "product"): 23.75,
    ("bfloat16", "product"): 16.625,
    ("float16", "product"): 24.375,
    ("float32", "product_gradient"): 35.0,
    ("bfloat16", "product_gradient"): 32.125,
    ("float16", "product_gradient"): 39.25,  # few registers are left for what is uniform
    # The row of a vector, and addresses that follow from it.
    ("float32", "packed_product"): 25.25,
    ("bfloat16", "packed_product"): 17.375,
    ("float16", "packed_product"): 25.125,
    ("float32", "packed_product_gradient"): 38.5,
    ("bfloat16", "packed_product_gradient"): 33.75,
    ("float16", "packed_product_gradient"): 40.125,
}


@pytest.mark.parametrize(("dtype", "entry"), BUDGETS)
def test_instruction_budgets(dtype: str, entry: str) -> None:
    tables = {"TABLE": "GateTable<true>", "SLOPE": "LinearTable<float, false>"}
    if dtype == "bfloat16":
        tables = dict.fromkeys(tables, "UnroundedTable<BFloat16>")
    defines = {"SCALAR": SCALARS[dtype], **tables}
    cubin = compile_kernel("gated.cu", tuple(defines.items()), 90)
    code = instructions(cubin, entry)
    outputs = 2 if "gradient" in entry else 1
    assert per_element(code, as_dtype(dtype), outputs) <= BUDGETS[dtype, entry] + 1


@pytest.mark.parametrize("architecture", GENERATIONS)
@by_dtype
def test_compiles_without_spills(dtype: np.dtype, architecture: int, tmp_path: Path) -> None:
    defines = tuple(device.defines(tables_for("silu", dtype), dtype).items())
    used = resources(compile_kernel("gated.cu", defines, architecture), tmp_path)
    assert len(used) == 4  # with a slope all of them: value alone, and its gradient
    for usage in used.values():
        assert usage["LOCAL"] == usage["STACK"] == 0
        assert usage["REG"] <= 128
