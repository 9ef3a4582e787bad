"""The GPU side: read the kernels, compile them with cupy.RawModule, keep tables resident, launch.

CuPy is imported by `require_cupy` alone, when a GPU array has arrived.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .accuracy import DType
from .functions import FUNCTIONS
from .tables import LinearTable, Table
from .tables.linear import node_values
from .tuning import LONG_INDEX, Tuning, tuning

# CuPy appends -ftz=true to these; kernels/floating.cuh says why that does no harm.
OPTIONS = ("--std=c++17", "--fmad=false")

SCALARS = {"float16": "Float16", "bfloat16": "BFloat16", "float32": "float", "float64": "double"}

_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)

# Guards the caches of compiled modules and resident tables, not the launches. Reentrant, as
# building a table compiles a module.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]


def source(name: str) -> str:
    """The text of a kernel file with its includes spliced in, each once.

    The compiler never sees an include path: CuPy's disk cache hashes the source but not what it
    includes. `#line` keeps file names and line numbers in the compiler's messages. Only ASCII:
    CuPy writes the source into a file in the encoding of the user's locale, which may lack what
    the comments are written in.
    """
    seen: set[str] = set()

    def splice(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (resources.files("cupylut.kernels") / name).read_text(encoding="utf-8")
        text = text.replace("#pragma once", "")

        def include(match: re.Match[str]) -> str:
            line = text.count("\n", 0, match.start()) + 2
            if match[1] == "host.h":  # the tests' own, when a C++ compiler reads the kernels
                return match[0]
            return f'{splice(match[1])}\n#line {line} "{name}"'

        return f'#line 1 "{name}"\n' + _INCLUDE.sub(include, text)

    return splice(name).encode("ascii", "ignore").decode()


# Entry point -> its file, and how many arrays it reads (INPUTS in kernels/stream.cuh). Where one is
# asked for as "fused_activation+BIAS", it is compiled with that macro as true.
KERNELS = {
    "elementwise": ("elementwise.cu", 1),
    "product": ("gated.cu", 2),
    "product_gradient": ("gated.cu", 3),
    "packed_product": ("gated.cu", 2),
    "packed_product_gradient": ("gated.cu", 3),
    "fused_activation": ("fused.cu", 1),  # and a factor and residual where there are any
    "quantized": ("quantized.cu", 1),
}


def defines(tables: tuple[Table, ...], dtype: DType) -> dict[str, str]:
    """What a kernel of `KERNELS` must be compiled with for these tables and dtype of arrays."""
    structs = dict(zip(("TABLE", "SLOPE"), (table.struct for table in tables), strict=False))
    if tables[0].entry_point == "quantized":  # whose struct names the types of both arrays
        return structs
    return {"SCALAR": SCALARS[dtype.name], **structs}


def build_defines(function: str) -> dict[str, str]:
    """What `build.cu` must be compiled with for the nodes of a function."""
    declared = FUNCTIONS.get(function)
    return {"FUNCTION": declared.cuda} if declared is not None and declared.cuda else {}


def define(code: str, defines: dict[str, str]) -> str:
    """The code behind the macros, whose values may hold any character."""
    return "".join(f"#define {key} {value}\n" for key, value in defines.items()) + code


def require_cupy() -> ModuleType:
    """CuPy with a usable device, or a RuntimeError that says what to install."""
    try:
        import cupy  # noqa: TID251
    except ImportError as error:
        raise RuntimeError(
            "a GPU array needs CuPy: pip install 'cupylut[cuda13]' (or 'cupylut[cuda12]', by the "
            f"driver's CUDA version). Importing it said: {error}"
        ) from error
    except OSError as error:
        raise RuntimeError(
            f"CuPy cannot be imported: {error}. It makes a folder for compiled kernels when it is: "
            "name one that can be written to in the environment variable CUPY_CACHE_DIR"
        ) from error
    if not cupy.cuda.is_available():
        raise RuntimeError(
            "CuPy finds no CUDA device: a GPU array needs an NVIDIA driver that supports the "
            "installed extra, cupylut[cuda13] or cupylut[cuda12]"
        )
    module: ModuleType = cupy
    return module


@lru_cache
def _module(device: int, name: str, defines: tuple[tuple[str, str], ...]) -> Any:
    cupy = require_cupy()
    code = define(source(name), dict(defines))
    try:
        module = cupy.RawModule(code=code, options=OPTIONS)
        module.compile()
    except OSError:  # an unwritable home: compile without CuPy's disk cache
        os.environ["CUPY_CACHE_IN_MEMORY"] = "1"
        module = cupy.RawModule(code=code, options=OPTIONS)
        module.compile()
    except cupy.cuda.compiler.CompileException as error:
        raise RuntimeError(f"{name} does not compile:\n{error}") from error
    return module


def kernel(device: int, name: str, entry: str, defines: dict[str, str]) -> Any:
    """A compiled kernel of the current device, memoised."""
    with _lock:
        return _module(device, name, tuple(defines.items())).get_function(entry)


# table -> (device, entry point, dtype of the arrays, other tables, long_index) -> its launch
_launches: WeakKeyDictionary[Table, dict[Any, "_Launch"]] = WeakKeyDictionary()
# table -> device -> its entries there
_resident: WeakKeyDictionary[Table, dict[int, Any]] = WeakKeyDictionary()


class _Launch:
    """Tables resident on a device, with the kernel, grid and arguments that evaluate them."""

    def __init__(
        self, entry: str, tables: tuple[Table, ...], dtype: DType, device: int, long_index: bool
    ) -> None:
        cupy = require_cupy()
        if cupy.cuda.get_current_stream().is_capturing():
            raise RuntimeError(
                f"the table of {tables[0].name} in {dtype} was not used like this on this device "
                "yet, and cannot be prepared while a graph is captured: evaluate it once beforehand"
            )
        entries = [resident_entries(table, device) for table in tables]
        attributes = cupy.cuda.Device(device).attributes
        parameters = tuning_of(device)
        # Each table starts at a multiple of 16 bytes.
        self.shared = sum(-(-each.nbytes // 16) * 16 for each in entries[:-1]) + entries[-1].nbytes
        entry, *operands = entry.split("+")
        macros = (
            defines(tables, dtype)
            | parameters.defines(long_index)
            | dict.fromkeys(operands, "true")
        )
        file, inputs = KERNELS[entry]
        inputs += len({"FACTOR", "RESIDUAL"} & set(operands))
        # A vector has as many elements as fit of the wider of x and y.
        result = tables[0].result_dtype if entry == "quantized" else dtype
        elements = parameters.elements(max(dtype.itemsize, result.itemsize), inputs)
        if self.shared > attributes["MaxSharedMemoryPerBlockOptin"]:
            self.shared, macros["IN_SHARED"] = 0, "false"
        self.kernel = kernel(device, file, entry, macros)
        # All tables of a kind and dtype have one kernel on a device: its limit must only grow.
        limit = self.kernel.max_dynamic_shared_size_bytes
        if self.shared > limit:
            self.kernel.max_dynamic_shared_size_bytes = self.shared
        self.threads, self.max_blocks = resident_blocks(self.kernel, self.shared, device)
        self.count = np.int64 if long_index else np.uint32
        self.block_elements = self.threads * elements
        # CuPy copies arguments by value before the launch; entries hold device memory alive. The
        # structs go as plain bytes: NumPy takes microseconds to tell CuPy what fields one has.
        self.tables = tuple(
            argument
            for table, each in zip(tables, entries, strict=True)
            for argument in (each, np.int32(each.nbytes), as_bytes(table.parameters))
        )

    def __call__(self, count: int, *arguments: Any, stream: Any = None) -> None:
        """Run on arrays (or their addresses) of so many elements, on CuPy's stream or this one.

        They are the first arguments of the kernel, and what it takes by value behind them.
        """
        grid = (min(-(-count // self.block_elements), self.max_blocks),)
        args = (*arguments, self.count(count), *self.tables)
        self.kernel(grid, (self.threads,), args, shared_mem=self.shared, stream=stream)


def as_bytes(struct: NDArray[Any]) -> NDArray[np.void]:
    """An array of one struct as one of as many bytes without fields."""
    return struct.view(f"V{struct.nbytes}")


def tuning_of(device: int) -> Tuning:
    """The launch parameters for a device."""
    return tuning(int(require_cupy().cuda.Device(device).compute_capability))


def resident_blocks(kernel: Any, shared: int, device: int) -> tuple[int, int]:
    """How many threads a block should have, and how many such blocks a device runs at a time."""
    cupy = require_cupy()
    resident = {
        threads: threads
        * cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
            kernel.kernel.ptr, threads, shared
        )
        for threads in tuning_of(device).threads
    }
    threads = max(resident, key=lambda threads: resident[threads])
    processors = cupy.cuda.Device(device).attributes["MultiProcessorCount"]
    return threads, max(1, resident[threads] // threads) * processors


def launch_of(
    entry: str, tables: tuple[Table, ...], dtype: DType, device: int, long_index: bool = False
) -> _Launch:
    """The launch of a kernel of `KERNELS` on the current device, which is `device`; kept.

    long_index: for arrays of `tuning.LONG_INDEX` elements and more.
    """
    launch = _find(entry, tables, dtype, device, long_index)
    if launch is None:
        with _lock:
            launch = _find(entry, tables, dtype, device, long_index)
            if launch is None:
                launch = _Launch(entry, tables, dtype, device, long_index)
                launches = _launches.setdefault(tables[0], {})
                launches[device, entry, dtype, tables[1:], long_index] = launch
    return launch


def _find(
    entry: str, tables: tuple[Table, ...], dtype: DType, device: int, long_index: bool
) -> _Launch | None:
    return _launches.get(tables[0], {}).get((device, entry, dtype, tables[1:], long_index))


def run(entry: str, tables: tuple[Table, ...], *arguments: Any) -> None:
    """Run a kernel of `KERNELS` on flat CuPy arrays of one dtype, on CuPy's current stream.

    The first has as many elements as there are results.
    """
    first = arguments[0]
    if first.size:
        long_index = first.size >= LONG_INDEX
        launch_of(entry, tables, first.dtype, first.device.id, long_index)(first.size, *arguments)


def run_at(
    device: int,
    stream: int,
    entry: str,
    tables: tuple[Table, ...],
    dtype: DType,
    count: int,
    *arguments: Any,
) -> None:
    """The same for arrays at these addresses of the current device, on a stream by its handle."""
    if count:
        long_index = count >= LONG_INDEX
        launch = _find(entry, tables, dtype, device, long_index)
        if launch is None:
            with external_stream(stream):
                launch = launch_of(entry, tables, dtype, device, long_index)
        launch(count, *arguments, stream=_handle(stream))


def external_stream(stream: int) -> Any:
    """Another library's stream of the current device, by its handle, as CuPy's."""
    protocol = SimpleNamespace(__cuda_stream__=lambda: (0, stream))
    return require_cupy().cuda.Stream.from_external(protocol)


# Only to launch on: entered by several threads, one object would mix up what they return to.
_handle = lru_cache(maxsize=256)(external_stream)


@contextmanager
def on_device_until_done(device: int) -> Iterator[None]:
    """Work on a device for arrays whose library does not say on which stream it goes on.

    The library may write to or free x, and read `out`, as soon as the call returns.
    """
    cupy = require_cupy()
    with cupy.cuda.Device(device):
        try:
            yield
        finally:
            cupy.cuda.get_current_stream().synchronize()


@contextmanager
def on_device_and_stream(device: int, stream: int) -> Iterator[None]:
    """Work on a device and a stream of another library."""
    with require_cupy().cuda.Device(device), external_stream(stream):
        yield


def evaluate(table: Table, x: Any, out: Any) -> None:
    """out = table(x) for flat CuPy arrays of the table's dtypes, on CuPy's current stream."""
    if table.entry_point is None:
        raise TypeError(f"{table!r} is for products on a GPU: make another with cupylut.tabulate")
    run(table.entry_point, (table,), x, out)


def resident_entries(table: Table, device: int) -> Any:
    """The same as `device_entries`, made once and there for launches on any stream."""
    on_devices = _resident.setdefault(table, {})
    if device not in on_devices:
        on_devices[device] = device_entries(table, device)
        require_cupy().cuda.get_current_stream().synchronize()
    return on_devices[device]


def device_entries(table: Table, device: int) -> Any:
    """The table's entries in the memory of the current device, as whatever dtype.

    A linear table of a declared function is computed there, from the function's CUDA expression;
    any other is uploaded.
    """
    cupy = require_cupy()
    if isinstance(table, LinearTable) and computes_declared(table):
        return lines(table, nodes(table, device), device)
    return cupy.array(table.entries.reshape(-1).view(np.uint8))


def computes_declared(table: LinearTable) -> bool:
    """Whether the table holds a function of `FUNCTIONS`, not just one of the same name."""
    function = FUNCTIONS.get(table.name)
    if function is None or not function.cuda:
        return False
    values = node_values(function, table.lo, table.hi, table.size, table.nodes)
    return bool(np.array_equal(table.values, values))


def nodes(table: LinearTable, device: int) -> Any:
    """The ordinates of the table's nodes, computed on the current device in double precision."""
    cupy = require_cupy()
    values = cupy.empty(table.size)
    launch = kernel(device, "build.cu", "nodes", build_defines(table.name))
    balanced = np.int32(table.nodes == "balanced")
    args = (values, np.int32(table.size), np.float64(table.lo), np.float64(table.step), balanced)
    launch(_grid(table.size), (_BUILD_THREADS,), args)
    return values


def lines(table: LinearTable, values: Any, device: int) -> Any:
    """The lines of the table between nodes with these ordinates, computed on the device."""
    cupy = require_cupy()
    out = cupy.empty((table.size + 1, 2), table.real)
    launch = kernel(device, "build.cu", f"lines_{table.real.name}", build_defines(table.name))
    tails = (np.array([tuple(t)], _LINE) for t in (table.left, table.right))
    geometry = (np.int32(table.size), np.float64(table.lo), np.float64(table.step))
    launch(_grid(table.size + 1), (_BUILD_THREADS,), (out, values, *geometry, *tails))
    return out


_LINE = np.dtype([("slope", np.float64), ("intercept", np.float64)])
_BUILD_THREADS = 256  # of a block


def _grid(count: int) -> tuple[int]:
    return (-(-count // _BUILD_THREADS),)
