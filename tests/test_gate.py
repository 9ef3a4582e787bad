"""tables/gate.py and kernels/gate.cuh: at most 1 ulp off on every float32.

The kernel's lookup is compiled as C++ and compared with libm's erfc and exp in double precision;
the NumPy half is compared with scipy's references.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import host_cuda
import numpy as np
import pytest
from exhaustive import FINITE, STRIDE, Found, compare
from gpu import cupy, fewer
from host_cuda import mutated
from samples import assert_same_bits, evaluate

from cupylut import FUNCTIONS, tabulate
from cupylut.dtypes import FLOAT32, ulp
from cupylut.fitting.gate import LAYOUTS, Samples, fit, polish
from cupylut.tables.chunks import CHUNK
from cupylut.tables.gate import GateTable

every_table = pytest.mark.parametrize("name", LAYOUTS)


def table_for(name: str) -> GateTable:
    return GateTable.build(FUNCTIONS[name], FLOAT32)


def patterns(a: np.ndarray) -> np.ndarray:
    return np.asarray(a, np.float32).view(np.uint32)


def boundaries(table: GateTable) -> np.ndarray:
    """Bit patterns of the magnitudes where a segment begins, nearly, and of split and limit."""
    layout = table.layout
    ends = (np.arange(layout.count) + 0.5) * layout.step
    a = np.minimum(ends / layout.split, np.sqrt(ends))
    return patterns(np.append(a, [min(layout.split, layout.limit), layout.limit]))


def magnitudes_for(table: GateTable) -> np.ndarray:
    """Magnitudes: every STRIDE-th pattern, those around the boundaries, and the rarest."""
    around = boundaries(table)[:, None] + np.arange(-20, 21)
    rare = [*range(100), *range(0x7F7FFF00, 0x7F800000), *range(0x7FFF00, 0x800100)]
    bits = np.concatenate([np.arange(0, 0x7F800000, STRIDE), around.ravel(), rare])
    return bits.astype(np.uint32).view(np.float32)


def differs(found: Found) -> bool:
    """Whether something is wrong with ±0, ±∞ or NaN."""
    return found.special != (0, 0x80000000, 0x7F800000, 0x80000000) or found.nans != 4


@every_table
def test_kernel_is_within_one_ulp(name: str, compiler: str) -> None:
    table = table_for(name)
    found = compare(table, boundaries(table))
    assert not differs(found)
    assert found.tried > 8_000_000
    assert 0.8 < found.worst <= table.worst_ulp + 1e-4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r = multiply_add(d, r, c.c3)", "r = multiply_add(d, r, c.c2)"),
        ("from_word(c.c5_and_rest << 16)", "0.0f"),
        ("multiply_add(a, c.c0, multiply(a, r))", "multiply(a, multiply_add(c.c0, 1.0f, r))"),
        ("-0x1p-80f", "-0x1.000002p-80f"),
        ("bounded_magnitude(x, limit)", "bounded_magnitude(x, limit - 1)"),
        ("positive_part(x)", "maximum(x, 0.0f)"),
        ("maximum(a, split)", "maximum(a, split + 0.01f)"),
        ("subtract(magic, rounded)", "subtract(magic, add(rounded, 0.5f))"),
        ("- low_word(magic)]", "- low_word(magic) + 1]"),
    ],
)
def test_a_changed_kernel_fails(tmp_path: Path, compiler: str, old: str, new: str) -> None:
    changed = mutated(tmp_path, "gate.cuh", old, new)
    table = table_for("gelu")
    found = compare(table, boundaries(table), stride=4099, kernels=changed)
    assert differs(found) or found.worst > table.worst_ulp + 1e-4


@pytest.mark.exhaustive
@every_table
def test_kernel_is_within_one_ulp_of_every_input(name: str, compiler: str) -> None:
    table = table_for(name)
    found = compare(table, stride=1)
    assert found.tried == FINITE
    assert found.above_one == 0
    assert found.worst == pytest.approx(table.worst_ulp, abs=1e-4)
    assert table.worst_ulp < 1


@every_table
def test_numpy_half_is_within_one_ulp(name: str) -> None:
    table = table_for(name)
    a = magnitudes_for(table)
    for x in (a, -a):
        exact = FUNCTIONS[name](x)
        y = evaluate(table, x)
        error = np.abs(y.astype(np.float64) - exact) / ulp(exact, FLOAT32)
        assert error.max() < 0.8
        assert (np.signbit(y) == np.signbit(x)).all()


@every_table
def test_special_values(name: str) -> None:
    table = table_for(name)
    nan = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    x = np.concatenate([np.array([0.0, -0.0, np.inf, -np.inf, -1e30, 1e30], np.float32), nan])
    expected = np.array([0.0, -0.0, np.inf, -0.0, -0.0, 1e30, *nan], np.float32)
    assert_same_bits(evaluate(table, x), expected)


@every_table
@pytest.mark.parametrize("word", [0, 1, 2])
def test_a_mutated_coefficient_is_noticed(name: str, word: int, compiler: str) -> None:
    table = table_for(name)
    for entry in table.layout.segment([0.5, 3.5, 9.0]):
        words = table.words.copy()
        words[entry, word] ^= 4 << 4 * word
        assert compare(replace(table, words=words), boundaries(table), 4099).worst > 1


@every_table
def test_segments_cover_the_inputs(name: str) -> None:
    table = table_for(name)
    a = magnitudes_for(table)
    index = table.layout.segment(a)
    assert index.min() == 0
    assert index.max() == table.layout.count - 1
    used = np.unique(index)
    np.testing.assert_array_equal(np.flatnonzero(table.words.any(axis=1)), used)


@every_table
def test_small_enough_for_shared_memory(name: str) -> None:
    table = table_for(name)
    assert table.entries.dtype.itemsize == 24
    assert table.entries.nbytes <= 12288
    assert table.report.max_ulp < 0.8


@every_table
def test_the_fit_is_reproducible(name: str) -> None:
    """The script finds the shipped coefficients, here in a few segments, but for last bits.

    Those are the linear algebra library's; the promise does not depend on them.
    """
    table = table_for(name)
    layout = table.layout
    assert layout == LAYOUTS[name]
    segments = layout.segment([2.0, 7.5, 8.5, 10.0])
    first = fit(Samples(name, layout, segments), segments == 0)
    for segment, start in zip(segments, first, strict=True):
        words, worst = polish(name, layout, int(segment), start)
        assert worst < 1
        shipped = table.words[segment]
        assert (np.abs(words[:2].astype(np.int64) - shipped[:2]) < 8).all()


def test_pickle_chunks_and_in_place() -> None:
    table = pickle.loads(pickle.dumps(table_for("gelu")))
    x = np.resize(magnitudes_for(table), 2 * CHUNK + 77)
    x[::3] *= -1
    whole = evaluate(table, x)
    for part in (slice(0, 1), slice(5, 1000), slice(CHUNK - 1, None), slice(7, 7)):
        assert_same_bits(evaluate(table, x[part]), whole[part])
    table.evaluate(x, x)
    assert_same_bits(x, whole)


def test_state_round_trip() -> None:
    table = table_for("silu")
    fields, values = table._state()
    again = GateTable._restore(fields | {"report": vars(table.report)}, values)
    assert (again.words == table.words).all()
    assert (again.name, again.dtype, again.layout) == (table.name, table.dtype, table.layout)
    for wrong in (values[1:], values.astype(np.float32)):
        with pytest.raises(ValueError, match=r"\(\d+, 6\) numbers of uint32 expected, not"):
            GateTable._restore(fields, wrong)


def test_only_what_was_fitted() -> None:
    for dtype in ("float16", "bfloat16", "float64"):
        with pytest.raises(ValueError, match=f"no gate table was fitted for gelu in {dtype}"):
            tabulate("gelu", dtype, kind="gate")
    with pytest.raises(ValueError, match="no gate table"):
        GateTable.build(FUNCTIONS["mish"], FLOAT32)
    with pytest.raises(ValueError, match="no gate table"):
        GateTable.build(replace(FUNCTIONS["gelu"], left=FUNCTIONS["tanh"].left), FLOAT32)


def test_immutable() -> None:
    table = table_for("gelu")
    for array in (table.words, table.entries):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert "414 segments" in repr(table)


@pytest.mark.gpu(interpreted=True)
@every_table
def test_device_computes_the_bits_of_the_kernel_on_the_cpu(name: str, compiler: str) -> None:
    table = table_for(name)
    a = magnitudes_for(table)[:: fewer(1, 97)]
    for x in (a, -a):
        assert_same_bits(
            cupy.asnumpy(table(cupy.asarray(x))), host_cuda.Program().elementwise(table, x)
        )
