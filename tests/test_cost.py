"""What a call costs beside the arithmetic: memory, function calls and time."""

import sys
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from samples import by_dtype

import cupylut
from cupylut.dtypes import DTYPES

SCRATCH = 8_000_000  # bytes

by_short_dtype = pytest.mark.parametrize("dtype", DTYPES[:3], ids=lambda dtype: dtype.name)


def peak(x: np.ndarray, out: np.ndarray | None) -> int:
    """The most memory in bytes that a call takes at a time, a new result included."""
    tracemalloc.start()
    try:
        cupylut.gelu(x, out=out)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@by_dtype
@pytest.mark.parametrize("size", [1 << 18, 1 << 22])
def test_memory_is_the_result_and_scratch_that_does_not_grow(dtype: np.dtype, size: int) -> None:
    x = np.random.default_rng(0).standard_normal(size, np.float32).astype(dtype)
    cupylut.gelu(x[:1])  # makes the table
    for dense in (x, x.reshape(4, -1).T, x.reshape(2, -1)[:, None]):
        assert peak(dense, None) < x.nbytes + SCRATCH
        assert peak(dense, dense) < SCRATCH


@by_short_dtype
@pytest.mark.parametrize("function", [cupylut.gelu, cupylut.silu, cupylut.mish])
def test_small_arrays_take_microseconds(function: Any, dtype: np.dtype) -> None:
    """5 and 15 µs on a machine with nothing else to do: 13 and 45 multiplications in NumPy.

    Those are timed in turn with the calls, as machines differ, and from one moment to the next.
    """
    x = np.linspace(-9, 9, 1024).astype(dtype)
    y, product = np.linspace(-9, 9, 1024), np.empty(1024)
    function(x)
    ratios = []
    for _ in range(20):
        call = process_time(lambda: function(x))
        ratios.append(call / process_time(lambda: np.multiply(y, y, out=product)))
    assert np.median(ratios) < (26 if dtype.itemsize == 2 else 90)


def process_time(run: Any) -> float:
    """The process's own time for a hundred calls."""
    start = time.process_time()
    for _ in range(100):
        run()
    return time.process_time() - start


@by_short_dtype
def test_small_arrays_take_few_function_calls(dtype: np.dtype) -> None:
    """Which are as many on every machine, unlike microseconds."""
    x = np.linspace(-9, 9, 1024).astype(dtype)
    cupylut.gelu(x)
    # The fewest of some, as garbage may be collected during any.
    assert min(calls(x) for _ in range(5)) <= (26 if dtype.itemsize == 2 else 32)


def calls(x: np.ndarray) -> int:
    """How many functions of Python one evaluation calls."""
    events: list[str] = []
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        cupylut.gelu(x)
    finally:
        sys.setprofile(None)
    return events.count("call")
