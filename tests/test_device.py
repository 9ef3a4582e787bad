"""device.py with a GPU: tables built and evaluated on it against the CPU, bit by bit.

test_launch.py has what can be said of launches without one.
"""

from typing import Any

import numpy as np
import pytest
from gpu import cupy, fewer
from samples import assert_same_bits, by_dtype
from test_linear import inputs

from cupylut import FUNCTIONS, build, tabulate
from cupylut.tables import Table

on_device = pytest.mark.gpu(interpreted=True)


def uploaded(name: str, dtype: np.dtype, **options: Any) -> Table:
    """A linear table of a function that the library does not know, and so cannot build there."""
    f = FUNCTIONS[name]

    def unknown(x: Any) -> Any:
        return f(x)

    return tabulate(unknown, dtype, left=f.left, right=f.right, **options)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_unknown_functions_are_uploaded(name: str) -> None:
    table = uploaded(name, np.dtype(np.float32), size=100, domain=(-3.0, 3.0))
    assert build.build_defines(table.name) == {}
    known = tabulate(name, "float32", size=100, domain=(-3.0, 3.0))
    assert table.entries.tobytes() == known.entries.tobytes()


@on_device
@pytest.mark.parametrize("name", FUNCTIONS)
@by_dtype
def test_device_evaluates_the_same_bits(name: str, dtype: np.dtype) -> None:
    """All 16-bit inputs, or a million others, from the same lines as on the host."""
    table = tabulate(name, dtype, kind="linear")
    x = inputs(table, 1_000_000)[:: fewer(1, 101)]
    loaded = uploaded(name, dtype, domain=(table.lo, table.hi))
    y = cupy.asnumpy(loaded(cupy.asarray(x)))
    assert_same_bits(y, loaded(x))


@on_device
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("nodes", ["plain", "balanced"])
def test_device_builds_the_same_table(name: str, nodes: str) -> None:
    current = cupy.cuda.Device().id
    for dtype, size in (("float32", 1024), ("float64", 77), ("float16", 2)):
        table = tabulate(name, dtype, size=size, nodes=nodes)
        values = cupy.asnumpy(build.nodes(table, current))
        np.testing.assert_allclose(values, table.values, rtol=2e-14, atol=1e-15)
        lines = cupy.asnumpy(build.lines(table, cupy.asarray(table.values), current))
        assert lines.tobytes() == table.entries.tobytes()
        # Of the device's own nodes, whose last bits are those of its library functions.
        entries = cupy.asnumpy(build.device_entries(table, current))
        near = 4e-15 * max(1, np.abs(values).max()) / table.step
        np.testing.assert_allclose(entries, table.entries, rtol=1e-7, atol=near)


@on_device
@pytest.mark.parametrize("size", [2, 1024, 6000, 20_000, 65536])
@by_dtype
def test_device_takes_any_size(size: int, dtype: np.dtype) -> None:
    """Within 48 KB of shared memory, beyond it, and in global memory."""
    table = uploaded("silu", dtype, size=size, domain=(-20.0, 20.0))
    x = inputs(table, 100_000)[:: fewer(1, 31)]
    for count in (0, 1, 17, x.size):
        assert_same_bits(cupy.asnumpy(table(cupy.asarray(x[:count]))), table(x[:count]))


@pytest.mark.gpu
def test_more_than_two_to_the_31_elements() -> None:
    count = 2**31 + 100
    free, _ = cupy.cuda.runtime.memGetInfo()
    if free < 3 * count * 2:
        pytest.skip("less than 13 GB of free device memory")
    table = tabulate("gelu", "float16")
    x = cupy.empty(count, cupy.float16)
    x[:] = 1
    x[-50:] = -1
    table(x, out=x)
    expected = table(np.float16([1, -1]))
    assert bool((x[:-50] == expected[0]).all())
    assert bool((x[-50:] == expected[1]).all())
