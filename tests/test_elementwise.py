"""kernels/elementwise.cu run on the CPU: every element once, nothing else touched, no race.

Compiled as C++, and as PTX for the GPUs whose instructions or vectors differ.
"""

from pathlib import Path
from typing import Any

import numpy as np
import ptx
import pytest
from host_cuda import FINDINGS, SANITIZERS, Program, mutated
from samples import assert_same_bits

from cupylut import LinearTable, tabulate
from cupylut.dtypes import DTYPES
from cupylut.tuning import TUNINGS

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)

pytestmark = pytest.mark.usefixtures("compiler")


def table_for(dtype: np.dtype, size: int = 100) -> LinearTable:
    return tabulate("gelu", dtype, size=size)


def sample(table: LinearTable, count: int) -> np.ndarray:
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 5.0]).astype(table.dtype)
    x = np.random.default_rng(count).uniform(-6, 6, count).astype(table.dtype)
    places = np.arange(0, count, 5)
    x[places] = np.resize(special, places.size)
    return x


PROGRAMS = {"C++": Program(), **{f"sm_{n}": ptx.Program(n) for n in (90, 100)}}
by_program = pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)


def check(program: Any, dtype: np.dtype, **layouts: list) -> None:
    """The kernel's bits are the NumPy half's for every combination of these launches."""
    table = table_for(dtype)
    for count in layouts.get("counts", [1000]):
        x = sample(table, count)
        expected = table(x)
        for grid, block in layouts.get("launches", [(3, 64)]):
            for x_offset, y_offset in layouts.get("offsets", [(0, 0)]):
                y = program.elementwise(
                    table, x, grid=grid, block=block, x_offset=x_offset, y_offset=y_offset
                )
                assert_same_bits(y, expected)


@by_program
@every_dtype
def test_odd_sizes(dtype: np.dtype, program: Any) -> None:
    counts = [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 255, 1023, 4097]
    check(program, dtype, counts=counts, offsets=[(0, 0), (3, 3)])


@by_program
@every_dtype
def test_misaligned_and_in_place(dtype: np.dtype, program: Any) -> None:
    lanes = 16 // dtype.itemsize
    offsets = [(i, j) for i in range(lanes) for j in {i, 0, lanes - 1}]
    check(program, dtype, counts=[5, 700], offsets=[*offsets, *((i, None) for i in range(lanes))])


@pytest.mark.parametrize("dtype", [DTYPES[0], DTYPES[3]], ids=lambda d: d.name)
@pytest.mark.parametrize(("capability", "long_index"), [(75, True), (100, False), (100, True)])
def test_other_gpus_and_sizes(dtype: np.dtype, capability: int, long_index: bool) -> None:
    """Larger vectors, and 64-bit indices."""
    program = Program(tuning=TUNINGS[capability], long_index=long_index)
    offsets = [(0, 0), (1, 1), (3, 1), (3, None)]
    check(program, dtype, counts=[0, 1, 7, 33, 1003], launches=[(3, 64), (1, 32)], offsets=offsets)


@every_dtype
def test_any_launch(dtype: np.dtype) -> None:
    launches = [(1, 32), (1, 256), (7, 64), (40, 96)]
    check(Program(), dtype, counts=[0, 3, 2000], launches=launches)


@every_dtype
def test_table_in_global_memory(dtype: np.dtype) -> None:
    table = tabulate("silu", dtype, size=65536, domain=(-20.0, 20.0))
    x = sample(table, 3000)
    assert_same_bits(Program(in_shared=False).elementwise(table, x), table(x))


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("dtype", [DTYPES[1], DTYPES[2]], ids=lambda d: d.name)
def test_under_sanitizers(sanitizer: str, dtype: np.dtype) -> None:
    check(
        Program(sanitizer),
        dtype,
        counts=[0, 1, 17, 1003],
        launches=[(2, 64)],
        offsets=[(0, 0), (3, 3), (1, 2), (5, None)],
    )
    table = table_for(dtype)
    x = sample(table, 500)
    in_global = Program(sanitizer, in_shared=False)
    assert_same_bits(in_global.elementwise(table, x), table(x))


# One change a line, and the sanitizer that finds it (None: the bits differ).
CHANGES = [
    (None, "stream.cuh", "i += step;", "i += step + 1;"),
    (None, "stream.cuh", "blockDim.x * VECTORS)", "blockDim.x * VECTORS + 1)"),
    (None, "stream.cuh", "thread / WARP * (WARP * VECTORS)", "thread / WARP * WARP"),
    (None, "stream.cuh", "k < VECTORS - 1; ++k", "k < VECTORS - 2; ++k"),
    (None, "stream.cuh", "i + LAST <", "i + LAST + 1 <"),
    (None, "lookup.cuh", "table(widen(xs.lane[k])", "table(widen(xs.lane[0])"),
    (None, "stream.cuh", "i < words; i +=", "i < words - 1; i +="),
    (None, "stream.cuh", "i < halves; i +=", "i < halves - 1; i +="),
    (None, "stream.cuh", "i = parts.tail + thread", "i = parts.tail + thread + 1"),
    (None, "stream.cuh", "i < parts.head;", "i + 1 < parts.head;"),
    (None, "linear.cuh", "multiply_add(line.slope,", "multiply_add(1.0000002f * line.slope,"),
    (None, "linear.cuh", "maximum(x, low)", "x"),
    (None, "linear.cuh", "where_exceeds(x, keep,", "where_exceeds(x, keep - 1,"),
    (None, "linear.cuh", "- 0x40000000u", "- 0x3fffffffu"),
    (None, "linear.cuh", "multiply_add_down(position", "multiply_add(position"),
    ("undefined", "stream.cuh", "/ sizeof(Scalar) % LANES", "% LANES"),
    ("address", "linear.cuh", "lines[number(position)]", "lines[number(position) + 1]"),
    (None, "stream.cuh", "gridDim.x) * blockDim.x;", "gridDim.x) * (blockDim.x + 1);"),
    ("thread", "stream.cuh", "if constexpr (IN_SHARED) __syncthreads();", ""),
]


@pytest.mark.parametrize(("sanitizer", "file", "old", "new"), CHANGES, ids=[c[3] for c in CHANGES])
def test_a_changed_kernel_fails(
    tmp_path: Path, sanitizer: str | None, file: str, old: str, new: str
) -> None:
    program = Program(sanitizer, mutated(tmp_path, file, old, new))
    launches = {"launches": [(2, 32)], "offsets": [(0, 0), (1, 1), (0, 1), (2, None)]}
    with pytest.raises(AssertionError, match=FINDINGS[sanitizer]):
        check(program, np.dtype(np.float32), counts=[1000], **launches)
