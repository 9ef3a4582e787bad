"""kernels/floating.cuh and pairs.cuh: what they say in PTX is what they say in C++."""

import itertools

import cubin
import host_cuda
import numpy as np
import pytest
from ptx import GlobalMemory, Machine, kernels

from cupylut import compiler

OPERATIONS = host_cuda.HERE / "operations.cu"
FLOATS, WORDS = 19, 17

SPECIAL = np.array(
    [0, 1, 1.5, 2**-149, 3e-40, 2**-126, 2**-24, 1e-8, 65504, 65519.99, 65520, 3.3e38, 3.4028235e38,
     1.0000001, 0.1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, np.inf, np.nan],
    np.float32,
)  # fmt: skip
SIGNALLING = np.uint32(0x7F800001).view(np.float32)


def inputs() -> tuple[np.ndarray, ...]:
    """Three numbers and a double for each: special ones with each other, near ones, random bits."""
    special = np.concatenate([SPECIAL, -SPECIAL, [SIGNALLING]])
    a, b, c = np.array(list(itertools.product(special, repeat=3)), np.float32).T
    rng = np.random.default_rng(0)
    random = rng.integers(0, 1 << 32, (3, 10_000), np.uint32).view(np.float32)
    x, y = rng.normal(size=(2, 10_000)).astype(np.float32)
    with np.errstate(all="ignore"):
        near = x, y, np.nextafter(-x * y, rng.choice([-9, 0, 9], 10_000).astype(np.float32))
        singles = tuple(map(np.concatenate, zip((a, b, c), random, near, strict=True)))
        doubles = singles[0].astype(np.float64) * (1 + singles[1].astype(np.float64) * 2.0**-30)
    doubles[::3] = rng.integers(0, 1 << 64, doubles[::3].size, np.uint64).view(np.float64)
    return *singles, doubles


def by_cpp(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    program = host_cuda.build("operations", (), None, host_cuda.KERNELS)
    out = host_cuda.run(program, [arrays[0].size], b"".join(x.tobytes() for x in arrays))
    size = arrays[0].size * FLOATS * 4
    floats, words = np.frombuffer(out[:size], np.float32), np.frombuffer(out[size:], np.uint32)
    return floats.reshape(-1, FLOATS), words.reshape(-1, WORDS)


def by_ptx(arrays: tuple[np.ndarray, ...], architecture: int) -> tuple[np.ndarray, np.ndarray]:
    code = compiler.source("pairs.cuh") + OPERATIONS.read_text(encoding="utf-8")
    kernel = kernels(cubin.compile_source(code, "operations.cu", architecture).ptx)["operations"]
    count, memory = arrays[0].size, GlobalMemory(1 << 24)
    results = [memory.empty(4 * count * n) for n in (FLOATS, WORDS)]
    there = [memory.put(x) for x in arrays]
    pointers = [np.uint64(x.ctypes.data).tobytes() for x in (*there, *results)]
    arguments = [*pointers[:4], np.int32(count).tobytes(), *pointers[4:]]
    Machine(kernel, 16, 256, arguments, memory).run()
    floats, words = results[0].view(np.float32), results[1].view(np.uint32)
    return floats.reshape(-1, FLOATS).copy(), words.reshape(-1, WORDS).copy()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("architecture", cubin.GENERATIONS)
def test_both_halves_agree(architecture: int) -> None:
    arrays = inputs()
    (floats, words), (want_floats, want_words) = by_ptx(arrays, architecture), by_cpp(arrays)
    np.testing.assert_array_equal(words, want_words)
    np.testing.assert_array_equal(np.isnan(floats), np.isnan(want_floats))
    differ = (floats.view(np.uint32) != want_floats.view(np.uint32)) & ~np.isnan(floats)
    assert not differ.any(), f"operations {np.flatnonzero(differ.any(axis=0))} differ"
