"""device.py's launches without a GPU: on the stand-in for CuPy, which interprets their PTX."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import host_cuda
import numpy as np
import pytest
from ptx import AccessError
from ptx.cupy import (
    COMPILED,
    CURRENT,
    DEVICE,
    LAUNCHES,
    STREAMS,
    SYNCHRONIZED,
    CompileError,
    RawModule,
    asarray,
    empty,
)
from samples import assert_same_bits, bits
from test_linear import inputs

from cupylut import FUNCTIONS, build, defaults, device, quantized, tabulate
from cupylut.dtypes import DTYPES, FLOATS8, all_inputs
from cupylut.tuning import LONG_INDEX, tuning

pytestmark = pytest.mark.usefixtures("stand_in", "compiler")


def launch(table: Any, x: np.ndarray) -> np.ndarray:
    x, dtype = asarray(bits(x)).view(x.dtype), table.result_dtype
    target = empty(x.shape, f"u{dtype.itemsize}").view(dtype)
    device.evaluate(table, x, target)
    return target.get()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_every_kind_of_table(dtype: np.dtype) -> None:
    kinds = {"linear", tabulate("gelu", dtype).kind}
    for kind in kinds:
        table = tabulate("gelu", dtype, kind=kind)
        x = inputs(table) if kind == "linear" else inputs(tabulate("gelu", dtype, size=9))
        want = host_cuda.Program().elementwise(table, x)
        check = assert_same_bits
        if dtype == np.float64:  # the nodes are those of the C library's erfc
            check = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)
        check(launch(table, x), want)
        name, grid, block, shared = LAUNCHES[-1]
        assert (name, shared) == ("elementwise", table.entries.nbytes)
        if shared <= 50 << 10:
            assert (grid, block) == ((6,), (256,))  # 3 multiprocessors with 2 blocks each
        else:
            assert (grid, block) == ((3,), (512,))  # one block, so a larger one
        check(launch(table, x[:5]), want[:5])
        assert LAUNCHES[-1][1] == (1,)


@pytest.mark.parametrize(("capability", "long_index"), [("100", False), ("90", True)])
def test_launch_parameters(monkeypatch, capability: str, long_index: bool) -> None:
    """By compute capability, and 64-bit indices for large arrays, in launches of their own."""
    monkeypatch.setattr(DEVICE, "compute_capability", capability)
    expected = tuning(int(capability))
    table = tabulate("gelu", "float16", size=50)
    x = asarray(np.linspace(-6, 6, 5000).astype(np.float16))
    y = empty(x.shape, x.dtype)
    prepared = device.launch_of("elementwise", (table,), x.dtype, 0, long_index)
    prepared(x.size, x, y)
    assert_same_bits(y.get(), table(x.get()))
    grid = -(-x.size // (256 * expected.bytes_in_flight // 2))
    assert LAUNCHES[-1][1:3] == ((grid,), (256,))
    assert prepared is device.launch_of("elementwise", (table,), x.dtype, 0, long_index)
    assert prepared is not device.launch_of("elementwise", (table,), x.dtype, 0, not long_index)


def test_what_cupy_refuses() -> None:
    """What the stand-in would do with NumPy, and a test on a GPU fail at."""
    x, unfilled = asarray(np.ones(3, np.float32)), empty(3, np.float32)
    for error, wrong in (
        (TypeError, lambda: x + np.ones(3)),
        (TypeError, lambda: x.__setitem__(..., np.ones(3))),
        (ValueError, lambda: empty(3, FLOATS8[0])),
        (ValueError, lambda: asarray(np.zeros(3, FLOATS8[0]))),
        (AttributeError, lambda: x.ctypes),
        (AttributeError, lambda: x.flags.writeable),
        (AttributeError, lambda: sys.modules["cupy"].longdouble),
        (AccessError, lambda: unfilled + x),
        (AccessError, lambda: unfilled.astype(float)),
        (AccessError, lambda: x.__setitem__(..., unfilled)),
    ):
        with pytest.raises(error):
            wrong()


def test_large_arrays_have_long_indices(monkeypatch) -> None:
    asked = []

    def find(*key: Any) -> Any:
        asked.append(key[-1])
        return lambda *_, **__: None

    monkeypatch.setattr(device, "_find", find)
    for size in (LONG_INDEX - 1, LONG_INDEX):
        x = SimpleNamespace(size=size, dtype=np.dtype(np.float16), device=SimpleNamespace(id=0))
        device.run("elementwise", (None,), x, x)
        device.run_at(0, 1, "elementwise", (None,), x.dtype, size, 16, 32)
    assert asked == [False, False, True, True]


@pytest.mark.parametrize(
    ("dtype", "out_dtype", "blocks"),
    [("int8", "float8_e5m2", 3), ("int8", "float16", 5), ("float16", "float8_e5m2", 3)],
)
def test_quantized_tables(dtype: str, out_dtype: str, blocks: int) -> None:
    """A thread handles 32 bytes at once of the wider array; the last table has larger blocks."""
    table = quantized("gelu", dtype, out_dtype, scale=0.05, out_scale=0.02)
    x = np.resize(all_inputs(dtype), 20_000)
    y = launch(table, x)
    np.testing.assert_array_equal(y.view(f"u{y.itemsize}"), np.resize(table.results, 20_000))
    name, grid, _, shared = LAUNCHES[-1]
    assert (name, grid, shared) == ("quantized", (blocks,), table.entries.nbytes)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=lambda d: d.name)
def test_products_and_their_gradients(dtype: np.dtype) -> None:
    real = defaults.compute_dtype(dtype)
    value, slope = tabulate("silu", real), tabulate(FUNCTIONS["silu"].derivative, real, size=99)
    arrays = [np.linspace(-i, i, 999).astype(dtype) for i in (9, 2, 3)]
    x, z, g = map(asarray, arrays)
    y, dx, dz = (empty(999, dtype) for _ in range(3))
    device.run("product", (value,), x, z, y)
    device.run("product_gradient", (value, slope), x, z, g, dx, dz)
    launched = [name for name, *_ in LAUNCHES if name.startswith("product")]
    assert launched == ["product", "product_gradient"]
    program = host_cuda.Program()
    tolerance = 1e-12 if dtype == np.float64 else 0  # nodes are those of the C library's exp
    for got, want in (
        (y.get(), program.product((value,), *arrays[:2])),
        ((dx.get(), dz.get()), program.product((value, slope), *arrays)),
    ):
        wide = np.asarray(got, np.float64), np.asarray(want, np.float64)
        np.testing.assert_allclose(*wide, tolerance, tolerance)


def addresses(*arrays: Any) -> list[int]:
    return [array.data.ptr for array in arrays]


@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=lambda d: d.name)
def test_arrays_at_addresses_on_a_stream(dtype: np.dtype) -> None:
    """A table is made on the stream that first needs it, and launched on any."""
    table = tabulate("silu", size=50)
    x, z = (np.linspace(-i, i, 999).astype(dtype) for i in (9, 2))
    for stream in (7, 8, 7):
        arrays = asarray(x), asarray(z), empty(999, dtype)
        where = addresses(*arrays)
        device.run_at(0, stream, "product", (table,), dtype, x.size, *where)
        assert_same_bits(arrays[2].get(), host_cuda.Program().product((table,), x, z))
        assert STREAMS[-1].ptr == stream
    assert SYNCHRONIZED == [7]
    assert [name for name, *_ in LAUNCHES] == ["nodes", "lines_float32"] + 3 * ["product"]
    device.run_at(0, 7, "product", (table,), dtype, 0, 0, 0, 0)
    assert len(LAUNCHES) == 5
    assert len(CURRENT) == 1


def test_the_default_stream_is_another_one_on_each_device() -> None:
    table = tabulate("silu", size=50)
    x = asarray(np.linspace(-9, 9, 99, dtype=table.dtype))
    used = []
    for current in (0, 1, 0):
        device.run_at(current, 0, "elementwise", (table,), x.dtype, x.size, *addresses(x, x))
        used.append(STREAMS[-1])
    assert used[0] is used[2] is not used[1]


def test_no_table_is_made_while_a_graph_is_captured() -> None:
    table = tabulate("silu", "bfloat16")
    x = asarray(np.linspace(-9, 9, 99).astype(table.dtype))
    y = empty(99, table.dtype)
    for stream in (13, 5, 13):
        captured, ready = stream == 13, bool(LAUNCHES)
        arguments = (0, stream, "elementwise", (table,), table.dtype, x.size, *addresses(x, y))
        if captured and not ready:
            with pytest.raises(RuntimeError, match="evaluate it once beforehand"):
                device.run_at(*arguments)
        else:
            device.run_at(*arguments)
    assert len(LAUNCHES) == 2
    assert_same_bits(y.get(), host_cuda.Program().elementwise(table, x.get()))


def test_the_device_builds_what_the_host_builds() -> None:
    for nodes in ("plain", "balanced"):
        table = tabulate("softplus", size=500, nodes=nodes)
        entries = build.device_entries(table, 0)
        assert [name for name, *_ in LAUNCHES] == ["nodes", "lines_float32"]
        np.testing.assert_allclose(entries.get(), table.entries, rtol=1e-6, atol=1e-12)
        LAUNCHES.clear()


def test_a_table_of_the_user_is_uploaded() -> None:
    table = tabulate(np.arctan, domain=(-5.0, 5.0), size=77, left=-np.pi / 2, right=np.pi / 2)
    x = inputs(table)
    assert_same_bits(launch(table, x), host_cuda.Program().elementwise(table, x))
    assert [name for name, *_ in LAUNCHES] == ["elementwise"]


def test_shared_memory_is_asked_for_up_to_the_limit_and_not_beyond() -> None:
    x = np.linspace(-9, 9, 1000, dtype=np.float32)
    for size, fits in ((6000, True), (10_000, True), (20_000, False)):
        table = tabulate(FUNCTIONS["silu"].reference, domain=(-20.0, 20.0), size=size,
                         left=-0.0, right="identity")  # fmt: skip
        assert_same_bits(launch(table, x), host_cuda.Program().elementwise(table, x))
        assert LAUNCHES[-1][3] == (table.entries.nbytes if fits else 0)


def test_a_small_table_does_not_take_shared_memory_from_a_large_one() -> None:
    """They share a kernel; both need more than it may have by default."""
    x = np.linspace(-9, 9, 100, dtype=np.float32)
    large, small = (
        tabulate(FUNCTIONS["silu"].reference, domain=(-20.0, 20.0), size=size,
                 left=-0.0, right="identity")
        for size in (10_000, 7000)
    )  # fmt: skip
    for table in (large, small, large):
        assert_same_bits(launch(table, x), host_cuda.Program().elementwise(table, x))
        assert LAUNCHES[-1][0] == "elementwise"


def test_kernels_are_compiled_once_and_tables_made_once() -> None:
    first, second = (tabulate("mish", size=n) for n in (64, 65))
    x = np.zeros(3, np.float32)
    for table in (first, first, second):
        launch(table, x)
    assert len(COMPILED) == 2  # build.cu of mish, elementwise.cu of float32
    assert [name for name, *_ in LAUNCHES].count("nodes") == 2
    assert not launch(first, x[:0]).size
    assert len(LAUNCHES) == 2 * 2 + 3


def test_threads_share_one_compilation() -> None:
    table = tabulate("mish", "float32", size=333)
    x = np.linspace(-5, 5, 1000, dtype=np.float32)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: launch(table, x), range(16)))
    assert len(COMPILED) == 2  # build.cu and elementwise.cu
    assert [name for name, *_ in LAUNCHES].count("nodes") == 1
    for y in results:
        assert_same_bits(y, results[0])


def test_a_resident_table_costs_a_launch_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory, copy, synchronisation or device is asked of CuPy: it is not there any more."""
    table, other = tabulate("gelu", "bfloat16"), tabulate("silu")
    x, y = (asarray(np.linspace(-9, 9, 99).astype(table.dtype)) for _ in range(2))
    calls = [
        lambda: device.evaluate(table, x, y),
        lambda: device.run_at(0, 7, "elementwise", (table,), x.dtype, x.size, *addresses(x, y)),
        lambda: device.run("product", (other,), x, x, y),
    ]
    for call in calls:
        call()
    for log in (LAUNCHES, SYNCHRONIZED):
        log.clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    for call in calls:
        call()
    assert [name for name, *_ in LAUNCHES] == ["elementwise", "elementwise", "product"]
    assert SYNCHRONIZED == []


def test_tables_for_products_are_for_nothing_else() -> None:
    x = asarray(np.zeros(3, DTYPES[1]))
    table = defaults.product_table("gelu", x.dtype)
    with pytest.raises(TypeError, match=r"UnroundedTable\(gelu.*is for products on a GPU"):
        device.evaluate(table, x, empty(3, np.float32))


def test_a_table_lies_on_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is launched for."""
    uploaded = []
    monkeypatch.setattr(
        sys.modules["cupy"], "array", lambda x: uploaded.append(x.nbytes) or asarray(x)
    )
    table = tabulate("silu", "float32")
    x, y = (asarray(np.linspace(-9, 9, 99).astype(table.dtype)) for _ in range(2))
    device.evaluate(table, x, y)
    device.run("product", (table,), x, x, y)
    device.launch_of("elementwise", (table,), x.dtype, 0, long_index=True)
    assert uploaded == [table.entries.nbytes]


def test_an_unwritable_cache_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unwritable(RawModule):
        def compile(self) -> None:
            if "CUPY_CACHE_IN_MEMORY" not in os.environ:
                raise PermissionError("~/.cupy")
            super().compile()

    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    monkeypatch.setattr(sys.modules["cupy"], "RawModule", Unwritable)
    table = tabulate("gelu", "bfloat16")
    x = inputs(tabulate("gelu", "bfloat16", size=9))
    assert_same_bits(launch(table, x), host_cuda.Program().elementwise(table, x))
    assert "CUPY_CACHE_IN_MEMORY" not in os.environ  # or the user's kernels would not be kept


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_failed_compile_names_the_kernel(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(RawModule):
        def compile(self) -> None:
            if in_memory and "CUPY_CACHE_IN_MEMORY" not in os.environ:
                raise PermissionError("~/.cupy")
            raise CompileError('linear.cuh(7): error: identifier "foo" is undefined')

    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    monkeypatch.setattr(sys.modules["cupy"], "RawModule", Failing)
    with pytest.raises(
        RuntimeError, match=r"(?s)elementwise.cu does not compile.*linear\.cuh\(7\)"
    ):
        launch(tabulate("gelu", "bfloat16"), np.zeros(3, DTYPES[1]))
