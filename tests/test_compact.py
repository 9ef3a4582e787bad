"""tables/compact.py and kernels/compact.cuh: correctly rounded for every 16-bit input.

The oracle is `correctly_rounded`: float64 from scipy's references where it is far enough from the
middle between two results, mpmath elsewhere.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cubin import compile_kernel, instructions, lookup_defines, vector_loop
from gpu import cupy
from host_cuda import SANITIZERS, Program, mutated
from samples import assert_same_bits, evaluate

from cupylut import FUNCTIONS, CompactTable, load, tabulate
from cupylut.accuracy import correctly_rounded
from cupylut.benchmarks.counts import LOOP_BYTES
from cupylut.dtypes import all_inputs, as_dtype, widened
from cupylut.fitting.compact import (
    DESIGNS,
    Design,
    fit,
    numbers,
    simulate,
)
from cupylut.tables.compact import SEGMENTS
from cupylut.tables.floating import multiply_add

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
    assert misrounded(table, Program(in_shared=False).elementwise(table, x)) == 0


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
    """Every coefficient of every segment is needed: most of them to a few of its 24 bits."""
    table = table_for(name, dtype)
    x, y = numbers(name, table.dtype)
    row = table.layout.segment(np.minimum(np.abs(widened(x)), table.layout.limit))
    moves = {"float16": (8, 10, 16, 18), "bfloat16": (11, 14, 18, 22)}[dtype]
    for power, bits in zip(range(table.coefficients.shape[1]), moves, strict=False):
        for move in (-(1 << bits), 1 << bits):
            coefficients = table.coefficients.copy()
            coefficients.view(np.int32)[:, power] += move
            wrong = simulate(table.layout, coefficients, x).view(np.uint16) != y.view(np.uint16)
            assert set(row[wrong]) >= set(range(28))


@pytest.mark.parametrize("name", [name for name, dtype in DESIGNS if dtype == "float16"])
def test_the_last_bit_of_a_coefficient_counts(name: str) -> None:
    """That of c0 near 0, where x/2 is a tie for every odd subnormal."""
    table = table_for(name, "float16")
    x, y = numbers(name, table.dtype)
    for move in (-1, 1):
        coefficients = table.coefficients.copy()
        coefficients.view(np.int32)[0, 0] += move
        wrong = simulate(table.layout, coefficients, x).view(np.uint16) != y.view(np.uint16)
        assert wrong.any()


LAST_STEP = "subtract_product_up(positive_part(x), t, p)"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # another rounding of the last step, of the index, of a step of Horner's scheme
        (LAST_STEP, "multiply_add(-t, p, positive_part(x))"),
        (LAST_STEP, "multiply_add_down(-t, p, positive_part(x))"),
        ("multiply_add(t, scale, offset)", "multiply_add_up(t, scale, offset)"),
        ("multiply_add(t, scale, offset)", "multiply_add_down(t, scale, offset)"),
        ("p = multiply_add(p, t, c", "p = multiply_add_up(p, t, c"),
        # another order, range or special value
        ("return number - ", "return 1 + number - "),
        ("bounded_magnitude(x, limit)", "bounded_magnitude(x, limit - 0.25f)"),
        ("i < SQUARINGS", "i < SQUARINGS - 1"),
        ("positive_part(x)", "maximum(x, 0.0f)"),
    ],
)  # fmt: skip
def test_a_changed_kernel_fails(tmp_path: Path, compiler: str, old: str, new: str) -> None:
    program = Program(kernels=mutated(tmp_path, "compact.cuh", old, new))
    table = table_for("gelu", "float16")
    y = program.elementwise(table, all_inputs(table.dtype))
    with pytest.raises(AssertionError):
        assert_same_bits(y, evaluate(table, all_inputs(table.dtype)))


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_under_sanitizers(sanitizer: str, compiler: str) -> None:
    table = table_for("silu", "bfloat16")
    x = all_inputs(table.dtype)[::37]
    for offsets in ((0, 0), (3, 3), (1, 2), (5, None)):
        y = Program(sanitizer).elementwise(
            table, x, grid=2, block=64, x_offset=offsets[0], y_offset=offsets[1]
        )
        assert_same_bits(y, evaluate(table, x))


@pytest.mark.parametrize("architecture", [75, 90, 100])
@pytest.mark.parametrize(("name", "dtype"), [("gelu", "float16"), ("silu", "bfloat16")])
def test_machine_code(name: str, dtype: str, architecture: int) -> None:
    """No flushing, and one 4-byte read of shared memory a coefficient."""
    table = table_for(name, dtype)
    defines = lookup_defines(table)
    cubin = compile_kernel("elementwise.cu", defines, architecture)
    loop = vector_loop(instructions(cubin, "elementwise"))
    assert not [line for line in loop if ".FTZ" in line]
    reads = [line for line in loop if "LDS" in line]
    assert len(reads) == LOOP_BYTES // 2 * table.coefficients.shape[1]
    assert not [line for line in reads if ".64" in line or ".128" in line]


@every_table
def test_planes_fit_the_banks(name: str, dtype: str) -> None:
    """At most 32 words of 4 bytes a coefficient, so no two of them are in the same bank."""
    table = table_for(name, dtype)
    planes = table.entries.reshape(-1, SEGMENTS)
    assert planes.dtype == np.float32
    assert planes.nbytes <= 512
    np.testing.assert_array_equal(planes.T[: len(table.coefficients)], table.coefficients)
    x, _ = numbers(name, table.dtype)
    used = table.layout.segment(np.minimum(np.abs(widened(x)), table.layout.limit))
    assert set(used) == set(range(SEGMENTS))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_script_makes_the_table_again(dtype: str) -> None:
    """Correctly rounded again; another linear algebra library may find other last bits."""
    table = table_for("gelu", dtype)
    layout, coefficients = fit("gelu", as_dtype(dtype))
    assert layout == table.layout
    x, y = numbers("gelu", table.dtype)
    assert_same_bits(simulate(layout, coefficients, x), y)
    np.testing.assert_allclose(coefficients[:, 0], table.coefficients[:, 0], rtol=0.01)


def test_a_design_that_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DESIGNS, ("gelu", "float16"), Design(degree=2, squarings=1))
    with pytest.raises(ValueError, match="degree 2 is too low"):
        fit("gelu", as_dtype("float16"))


def test_multiply_add_rounds_once() -> None:
    """Where float64 is a tie of float32 but the exact sum is not; and towards +∞."""
    one, tiny = np.float32(1), np.float32(2.0**-100)
    tie = np.float32(2.0**-24)
    assert multiply_add(one, tie, one) == 1
    for sign in (-1, 1):
        c = np.float32(1 + 2.0**-23)  # odd: the tie goes away from it, unless tiny decides
        product = np.float32(sign * (2.0**-24) * (1 - 2.0**-23)), np.float32(1 + 2.0**-23)
        assert multiply_add(*product, c) == c  # |product| is just below half an ulp
    assert multiply_add(tiny, tiny, one, up=True) == 1 + 2.0**-23
    assert multiply_add(-tiny, tiny, one, up=True) == 1
    assert np.signbit(multiply_add(-tiny, tiny, np.float32(-0.0), up=True))


def test_only_what_was_fitted() -> None:
    with pytest.raises(ValueError, match="no compact table was fitted for mish in float16"):
        tabulate("mish", "float16", kind="compact")
    with pytest.raises(ValueError, match="no compact table was fitted for gelu in float32"):
        tabulate("gelu", "float32", kind="compact")
    with pytest.raises(ValueError, match="no compact table"):
        CompactTable.build(replace(FUNCTIONS["gelu"], formula="x"), as_dtype("float16"))
    with pytest.raises(ValueError, match="takes no size"):
        tabulate("gelu", "float16", kind="compact", size=5)
    assert tabulate("gelu", "float16").kind == "direct"
    assert tabulate("gelu", "float16", kind="compact", error=0.01).kind == "compact"


def test_files_pickles_and_immutability(tmp_path: Path) -> None:
    table = table_for("silu", "bfloat16")
    table.save(tmp_path / "silu.npz")
    for again in (load(tmp_path / "silu.npz"), pickle.loads(pickle.dumps(table))):
        assert isinstance(again, CompactTable)
        assert repr(again) == "CompactTable(silu, bfloat16, 32 segments of degree 3, 512 bytes)"
        assert (again.layout, again.report) == (table.layout, table.report)
        np.testing.assert_array_equal(again.entries, table.entries)
        np.testing.assert_array_equal(again.results, table.results)
        for array in (again.coefficients, again.results):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
    fields, values = table._state()
    with pytest.raises(ValueError, match=r"\(any, any\) numbers"):
        CompactTable._restore(fields, values[:, 0])


@pytest.mark.gpu(interpreted=True)
@every_table
def test_device_gives_every_result(name: str, dtype: str) -> None:
    table = table_for(name, dtype)
    x = all_inputs(table.dtype)
    assert misrounded(table, cupy.asnumpy(table(cupy.asarray(x)))) == 0
