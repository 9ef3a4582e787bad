"""compiler.py: sources, compilation for every architecture, and what the machine code does."""

import re

import host_cuda
import numpy as np
import pytest
from cubin import (
    ARCHITECTURES,
    compile_kernel,
    instructions,
    lookup_defines,
    parameters,
    resources,
    vector_loop,
)

from cupylut import compiler, device, tabulate
from cupylut.benchmarks.counts import LOOP_BYTES
from cupylut.dtypes import DTYPES

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
every_architecture = pytest.mark.parametrize(
    "architecture",
    [  # 8.6, 8.9 and 12.0 are like 8.0 and 10.0 in what counts here
        pytest.param(a, marks=pytest.mark.exhaustive if a in (86, 89, 120) else [])
        for a in ARCHITECTURES
    ],
)


def elementwise_defines(dtype: np.dtype) -> tuple[tuple[str, str], ...]:
    return lookup_defines(tabulate("gelu", dtype, size=16))


def test_source_is_self_contained_and_names_its_lines() -> None:
    text = compiler.source("elementwise.cu")
    included = {line for line in text.splitlines() if line.startswith("#include")}
    assert included == {'#include "host.h"'}
    for name in ("elementwise.cu", "linear.cuh", "floating.cuh"):
        original = (host_cuda.KERNELS / name).read_text(encoding="utf-8").splitlines()
        at, line = None, 0
        for spliced in text.splitlines():
            if spliced.startswith("#line"):
                _, line, at = spliced.split()
                line = int(line)
                continue
            if at == f'"{name}"' and not spliced.startswith("#include") and spliced:
                assert original[line - 1].encode("ascii", "ignore").decode() == spliced
            line += 1


# A dtype, a kind and a function for every lookup that kernels/elementwise.cu is compiled with.
LOOKUPS = [
    *((dtype.name, "linear", "gelu") for dtype in DTYPES),
    *((dtype, kind, "gelu") for dtype in ("float16", "bfloat16") for kind in ("direct", "full")),
    ("float16", "compact", "gelu"),
    ("bfloat16", "compact", "silu"),
    ("float32", "gate", "gelu"),
    ("float32", "polynomial", "mish"),
    ("float32", "polynomial", "softplus"),
    ("float64", "polynomial", "gelu"),
]


@every_architecture
@pytest.mark.parametrize("case", LOOKUPS, ids="-".join)
def test_lookups_compile_without_spills(
    case: tuple[str, str, str], architecture: int, tmp_path
) -> None:
    dtype, kind, name = case
    defines = lookup_defines(tabulate(name, dtype, kind=kind))
    cubin = compile_kernel("elementwise.cu", defines, architecture)
    # Before 8.0 bfloat16 is rounded by several instructions; float64 takes two registers a number.
    many = (architecture, dtype, kind) == (75, "bfloat16", "direct") or dtype == "float64"
    most = 72 if many else 64
    for usage in resources(cubin, tmp_path).values():
        assert usage["STACK"] == usage["LOCAL"] == 0
        assert usage["REG"] <= most


@pytest.mark.parametrize("case", LOOKUPS, ids="-".join)
def test_parameters_have_the_sizes_of_what_is_passed(case: tuple[str, str, str], tmp_path) -> None:
    """CUDA copies as many bytes as the kernel declares from where the argument lies."""
    dtype, kind, name = case
    table = tabulate(name, dtype, kind=kind)
    cubin = compile_kernel("elementwise.cu", lookup_defines(table), 90)
    struct = device.as_bytes(table.parameters)
    assert struct.size == 1  # what CuPy passes by value
    assert parameters(cubin, "elementwise", tmp_path) == [8, 8, 4, 8, 4, struct.nbytes]


@pytest.mark.parametrize("architecture", [75, 80, 90, 100])
@every_dtype
def test_machine_code(dtype: np.dtype, architecture: int) -> None:
    """No flushing of subnormals, whole vectors, one read of the table an element."""
    width, vectors = (128, 2) if architecture < 100 else (256, 1)
    flushing = re.compile(r"\bF(ADD|MUL|FMA|MNMX|SETP?|SEL|CMP)\S*\.FTZ")
    for in_shared in (True, False) if architecture == 90 else (True,):
        elsewhere = () if in_shared else (("IN_SHARED", "false"),)
        defines = (*elementwise_defines(dtype), *elsewhere)
        cubin = compile_kernel("elementwise.cu", defines, architecture)
        code = instructions(cubin, "elementwise")
        assert not [line for line in code if flushing.search(line)]
        assert not [line for line in code if "div_u64" in line]
        loop = vector_loop(code)
        for access in ("STG", "LDG"):
            found = [line for line in loop if re.search(rf"\b{access}\.E\S*\.{width}\b", line)]
            assert len(found) == vectors or (access == "LDG" and not in_shared)
        reads = [line for line in loop if "LDS" in line]
        assert len(reads) == (LOOP_BYTES // dtype.itemsize if in_shared else 0)
        assert all((".128" if dtype.itemsize == 8 else ".64") in line for line in reads)


def test_a_failed_compile_names_file_and_line() -> None:
    defines = {"SCALAR": "float", "TABLE": "LinearTable<half, false>"}
    with pytest.raises(AssertionError, match=r"linear\.cuh\(\d+\)|elementwise\.cu\(\d+\)"):
        compile_kernel("elementwise.cu", tuple(defines.items()), 90)


@pytest.mark.gpu
def test_an_unwritable_home(tmp_path) -> None:
    """CuPy caches kernels under the home directory; without one it must still work."""
    import os
    import subprocess
    import sys

    program = (
        "import cupylut, cupy; y = cupylut.gelu(cupy.ones(5, cupy.float32)); "
        "assert abs(float(y[0]) - 0.8413) < 1e-3"
    )
    environment = {**os.environ, "CUPY_CACHE_DIR": "/proc/nowhere", "HOME": "/proc/nowhere"}
    environment.pop("CUPY_CACHE_IN_MEMORY", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    if "cupy" in done.stderr and "makedirs" in done.stderr:
        pytest.skip("CuPy itself cannot be imported without a cache directory")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
