"""kernels/quantized.cu: run on the CPU, and its machine code; test_quantized.py has the results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cubin import (
    ARCHITECTURES,
    compile_kernel,
    instructions,
    lookup_defines,
    resources,
    stored_bytes,
    vector_loop,
)
from host_cuda import SANITIZERS, HostError, Program, mutated
from samples import bits
from test_quantized import by_pair

from cupylut import QuantizedTable, quantized
from cupylut.declaration import Function, Tail
from cupylut.dtypes import all_inputs
from cupylut.tuning import TUNINGS

# ---- the kernel, on the CPU --------------------------------------------------------------------


def check(program: Program, table: QuantizedTable, **launches: Any) -> None:
    x = all_inputs(table.dtype)
    for count in launches.get("counts", (x.size,)):
        for x_offset, y_offset in launches.get("offsets", ((0, 0), (3, 3))):
            y = program.elementwise(
                table, x[:count], grid=launches.get("grid", 3), block=launches.get("block", 64),
                x_offset=x_offset, y_offset=y_offset,
            )  # fmt: skip
            assert (bits(y) == table.results[:count]).all(), f"differ: {table}, {count} elements"


@by_pair
def test_kernel_gives_every_result(dtype: np.dtype, out_dtype: np.dtype, compiler: str) -> None:
    check(Program(), quantized("gelu", dtype, out_dtype, scale=0.05, out_scale=0.02))


# The three kernels: 1 byte to 1, 1 to 2, 2 to 1.
KERNELS = [("int8", "float8_e4m3fn"), ("float8_e5m2", "bfloat16"), ("bfloat16", "int8")]
by_kernel = pytest.mark.parametrize(("dtype", "out_dtype"), KERNELS, ids=map("-".join, KERNELS))


@by_kernel
def test_kernel_takes_any_size_and_place(dtype: str, out_dtype: str, compiler: str) -> None:
    table = quantized("sigmoid", dtype, out_dtype, scale=0.05, out_scale=0.01)
    counts = (0, 1, 7, 8, 9, 15, 17, 33, 200)
    check(Program(), table, counts=counts, offsets=((0, 0), (3, 3), (5, 13), (1, 2)))
    check(Program(), table, offsets=((15, 15), (8, 0), (0, 8), (4, 12)))
    check(Program(in_shared=False), table)
    if table.dtype.itemsize == table.result_dtype.itemsize:
        check(Program(), table, counts=(0, 1, 250), offsets=((0, None), (5, None)))


def test_kernel_with_larger_vectors_and_indices(compiler: str) -> None:
    program = Program(tuning=TUNINGS[100], long_index=True)
    table = quantized("silu", *KERNELS[1], scale=0.05)
    check(program, table, counts=(0, 1, 33, 256), offsets=((0, 0), (3, 19), (15, 15), (16, 8)))


@pytest.mark.parametrize("name", ["tanh", "leaky_relu", "softplus"])
def test_windows_of_any_function(name: str, compiler: str) -> None:
    for dtype, out_dtype, scale in (("bfloat16", "int8", 1e-3), ("float16", "float8_e5m2", 300.0)):
        check(Program(), quantized(name, dtype, out_dtype, scale=scale))
    constant = Function("one", "1", np.ones_like, Tail(0.0, 1.0), Tail(0.0, 1.0))
    check(Program(), quantized(constant, "float16", "int8"))


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_under_sanitizers(sanitizer: str, compiler: str) -> None:
    dtype, out_dtype = KERNELS[1 if sanitizer == "thread" else 2]
    table = quantized("silu", dtype, out_dtype, scale=0.05, out_scale=0.02)
    counts, offsets = (1, 17, 250), ((0, 0), (3, 3), (1, 2))
    check(Program(sanitizer), table, grid=2, block=32, counts=counts, offsets=offsets)
    check(Program(sanitizer), table, grid=2, block=32)


@pytest.mark.parametrize(
    ("sanitizer", "file", "old", "new"),
    [
        (None, "quantized.cuh", "magnitude > infinity", "magnitude >= infinity"),
        (None, "quantized.cuh", "lowest), highest)", "lowest), highest - 1)"),
        ("undefined", "stream.cuh", "/ sizeof(Scalar) % LANES", "% LANES"),
    ],
)
def test_a_changed_kernel_fails(
    tmp_path: Path, compiler: str, sanitizer: str | None, file: str, old: str, new: str
) -> None:
    program = Program(sanitizer, mutated(tmp_path, file, old, new))
    table = quantized("tanh", "bfloat16", "int8", scale=0.05, out_scale=0.01)
    with pytest.raises((AssertionError, HostError)):
        check(program, table, offsets=((0, 0), (1, 1), (2, 4)))


# ---- the kernel, compiled ----------------------------------------------------------------------


def cubin_of(dtype: str, out_dtype: str, architecture: int) -> bytes:
    table = quantized("gelu", dtype, out_dtype)
    defines = lookup_defines(table)
    return compile_kernel("quantized.cu", defines, architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@by_kernel
def test_compiles(dtype: str, out_dtype: str, architecture: int, tmp_path: Path) -> None:
    usage = resources(cubin_of(dtype, out_dtype, architecture), tmp_path)
    assert set(usage) == {"quantized"}
    for used in usage.values():
        assert used["STACK"] == used["LOCAL"] == 0
        assert used["REG"] <= 64


# As in test_compiler.py: instructions of the vector loop on sm_90, divided by its elements.
BUDGETS = {KERNELS[0]: 4.125, KERNELS[1]: 4.125, KERNELS[2]: 13.5}


@by_kernel
def test_instruction_budgets(dtype: str, out_dtype: str) -> None:
    code = instructions(cubin_of(dtype, out_dtype, 90), "quantized")
    table = quantized("gelu", dtype, out_dtype)
    loop = vector_loop(code, "64|128")
    elements = stored_bytes(loop, "64|128") // table.result_dtype.itemsize
    assert sum("LDS" in line for line in loop) == elements  # one read each
    count = sum(not line.endswith(":") for line in loop)
    assert count / elements <= BUDGETS[dtype, out_dtype] + 1
