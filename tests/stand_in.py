"""CuPy without a GPU: what cupylut/device.py uses of it, with the kernels running on the CPU.

It takes what CuPy's RawModule takes, source and options, and gives every kernel argument to the
program of tests/host_cuda in the order of the kernel's own parameters. So a wrong argument, type,
grid or size of shared memory gives wrong results here too.
"""

import ctypes
import sys
from collections.abc import Iterator
from itertools import takewhile
from types import SimpleNamespace
from typing import Any

import host_cuda
import numpy as np
import pytest

from cupylut import device
from cupylut.compiler import OPTIONS, SCALARS, _module
from cupylut.dtypes import DTYPES
from cupylut.fitting.polynomial import DEGREES

ENTRY_BYTES = {
    **{f"LinearTable<float, {constant}>": 8 for constant in ("true", "false")},
    **{f"LinearTable<double, {constant}>": 16 for constant in ("true", "false")},
    "DirectTable<Float16>": 2,
    "DirectTable<BFloat16>": 2,
    "GateTable<true>": 24,
    "GateTable<false>": 24,
    "QuantizedTable<unsigned char, unsigned char>": 1,
    "QuantizedTable<unsigned char, unsigned short>": 2,
    "QuantizedTable<unsigned short, unsigned char>": 1,
    **{
        f"PolynomialTable<{real}, {degree}, {product}, {closed}>": size * (degree + 2)
        for real, size in (("float", 4), ("double", 8))
        for degree in DEGREES[size]
        for product in ("true", "false")
        for closed in ("true", "false")
    },
}


class Array(np.ndarray):
    """Host memory that claims to be a device's."""

    device = SimpleNamespace(id=0)


def as_array(x: Any) -> Array:
    return np.ascontiguousarray(x).view(Array)


class Kernel:
    """cupy.RawKernel, of the kernels in this repository.

    The limit of shared memory belongs to the kernel in the module that CuPy loads once for the same
    code and device, whichever RawKernel sets it.
    """

    def __init__(self, name: str, code: str) -> None:
        self.name = name
        self.kernel = SimpleNamespace(ptr=POINTERS.setdefault((name, code), 1 + len(POINTERS)))
        macros = takewhile(lambda line: line.startswith("#define"), code.splitlines())
        self.defines = tuple(tuple(line.split(maxsplit=2)[1:]) for line in macros)

    def __call__(
        self, grid: tuple, block: tuple, args: tuple, shared_mem: int = 0, stream: Any = None
    ) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        assert all(is_argument(each) for each in args)
        LAUNCHES.append((self.name, grid, block, shared_mem))
        STREAMS.append(stream)
        args = self.seen(args)
        if self.name.startswith(("elementwise", "quantized")):
            self.elementwise(*grid, *block, shared_mem, *args)
        elif self.name.startswith("product"):
            self.product(*grid, *block, shared_mem, *args)
        elif self.name.startswith(("packed", "fused")):
            self.rows(*grid, *block, shared_mem, *args)
        elif self.name == "nodes":
            self.nodes(*args)
        else:
            self.lines(*args)

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return LIMITS.get(self.kernel.ptr, 48 << 10)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        assert size <= ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]
        LIMITS[self.kernel.ptr] = size

    @property
    def in_shared(self) -> bool:
        return dict(self.defines).get("IN_SHARED") != "false"

    def seen(self, args: tuple) -> tuple:
        """The arguments with arrays in place of addresses."""
        if not isinstance(args[0], int):
            return args
        count = next(argument for argument in args if isinstance(argument, np.uint32 | np.int64))
        scalar = dict(self.defines)["SCALAR"]
        dtype = next(d for d in DTYPES if SCALARS[d.name] == scalar)
        size = int(count) * dtype.itemsize
        return tuple(
            as_array(np.frombuffer((ctypes.c_char * size).from_address(argument), dtype))
            if isinstance(argument, int)
            else argument
            for argument in args
        )

    def elementwise(self, grid, block, shared, x, y, count, entries, size, table) -> None:
        index = {"unsigned": np.uint32, "long long": np.int64}[dict(self.defines)["INDEX"]]
        assert (type(count), type(size), table.size) == (index, np.int32, 1)
        assert all(isinstance(array, Array) for array in (x, y, entries))
        assert shared == (size if self.in_shared else 0)
        program = host_cuda.build(self.name, self.defines, None, host_cuda.KERNELS)
        length = int(size) // ENTRY_BYTES[dict(self.defines)["TABLE"]]
        arguments = [int(count), length, grid, block, 0, -1 if x is y else 0]
        stdin = table.tobytes() + entries.tobytes() + x.tobytes()
        y[...] = np.frombuffer(host_cuda.run(program, arguments, stdin), y.dtype)

    def product(self, grid, block, shared, *args) -> None:
        """z·f(x), or with a second table its gradient."""
        size = next(i for i, argument in enumerate(args) if not isinstance(argument, Array))
        arrays, count, tables = args[:size], args[size], args[size + 1 :]
        assert len(arrays) == (3 if len(tables) == 3 else 5)
        sizes = [int(n) for n in tables[1::3]]
        needed = sum(-(-n // 16) * 16 for n in sizes[:-1]) + sizes[-1]
        assert shared == (needed if self.in_shared else 0)
        defines = {"SLOPE": dict(self.defines)["TABLE"], **dict(self.defines)}
        program = host_cuda.build("gated", tuple(defines.items()), None, host_cuda.KERNELS)
        keys = ("TABLE", "SLOPE")[: len(sizes)]
        lengths = [n // ENTRY_BYTES[defines[key]] for n, key in zip(sizes, keys, strict=True)]
        arguments = [int(count), *[*lengths, 0][:2], grid, block, 0, 0, 0]
        stdin = b""
        for entries, parameters in zip(tables[::3], tables[2::3], strict=True):
            stdin += parameters.tobytes() + entries.tobytes()
        inputs, outputs = arrays[: 1 + len(sizes)], arrays[1 + len(sizes) :]
        stdin += b"".join(array.tobytes() for array in inputs)
        made = np.frombuffer(host_cuda.run(program, arguments, stdin), outputs[0].dtype)
        for i, out in enumerate(outputs):
            out[...] = made[i * out.size :][: out.size]

    def rows(self, grid, block, shared, *args) -> None:
        """Arguments of the kernels that know of rows: kept for a test to look at."""
        ROWS.append((self.name, dict(reversed(self.defines)), grid, block, shared, args))

    def build(
        self, count: Any, lo: Any, step: Any, balanced: int, real: int, tails: bytes
    ) -> bytes:
        assert (type(count), type(lo), type(step)) == (np.int32, np.float64, np.float64)
        program = host_cuda.build("build", self.defines, None, host_cuda.KERNELS)
        return host_cuda.run(
            program, [count, repr(float(lo)), repr(float(step)), balanced, real], tails
        )

    def nodes(self, values: Any, count: Any, lo: Any, step: Any, balanced: Any) -> None:
        assert type(balanced) is np.int32
        out = self.build(count, lo, step, int(balanced), 8, bytes(32))
        values[...] = np.frombuffer(out[: values.nbytes])
        self.__class__.balanced = int(balanced)

    def lines(self, out, values, count, lo, step, left, right) -> None:
        assert self.name == f"lines_{out.dtype.name}"
        tails = left.tobytes() + right.tobytes()
        made = self.build(count, lo, step, self.balanced, out.itemsize, tails)
        out[...] = np.frombuffer(made[values.nbytes :], out.dtype).reshape(out.shape)


def is_argument(each: Any) -> bool:
    """Whether CuPy passes it to a kernel: an address, a NumPy scalar or array of one by value.

    None is a null pointer.
    """
    if isinstance(each, np.ndarray) and not isinstance(each, Array):
        return each.size == 1
    return isinstance(each, Array | np.generic | None) or type(each) is int


POINTERS: dict[tuple[str, str], int] = {}  # to the functions of modules
LIMITS: dict[int, int] = {}  # of their shared memory
LAUNCHES: list[tuple[str, tuple, tuple, int]] = []
STREAMS: list[Any] = []
ROWS: list[tuple[Any, ...]] = []


class Module:
    """cupy.RawModule."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        assert options == OPTIONS
        assert code.isascii()
        self.code = code

    def compile(self) -> None:
        COMPILED.append(self.code)

    def get_function(self, name: str) -> Kernel:
        return Kernel(name, self.code)


COMPILED: list[str] = []


class Stream:
    """cupy.cuda.Stream."""

    def __init__(self, ptr: int, capturing: bool = False) -> None:
        self.ptr, self.capturing = ptr, capturing

    @classmethod
    def from_external(cls, protocol: Any) -> "Stream":
        return cls(protocol.__cuda_stream__()[1], capturing=protocol.__cuda_stream__()[1] == 13)

    def __enter__(self) -> None:
        CURRENT.append(self)

    def __exit__(self, *_: Any) -> None:
        CURRENT.pop()

    def synchronize(self) -> None:
        SYNCHRONIZED.append(self.ptr)

    def is_capturing(self) -> bool:
        return self.capturing


CURRENT = [Stream(0)]
SYNCHRONIZED: list[int] = []
ATTRIBUTES = {
    "MaxSharedMemoryPerBlockOptin": 100 << 10,
    "MultiProcessorCount": 3,
}


def occupancy(kernel: int, threads: int, shared: int) -> int:
    """The blocks of a small multiprocessor, with 100 KB of shared memory and 512 threads.

    None of a kernel that may not have so much.
    """
    if shared > LIMITS.get(kernel, 48 << 10):
        return 0
    return min(512 // threads, (100 << 10) // max(1, shared))


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch, compiler: str) -> Iterator[None]:
    """CuPy, for as long as a test takes."""
    stand_in = SimpleNamespace(
        RawModule=Module,
        array=as_array,
        empty=lambda shape, dtype=float: as_array(np.empty(shape, dtype)),
        cuda=SimpleNamespace(
            is_available=lambda: True,
            Device=lambda i: SimpleNamespace(attributes=ATTRIBUTES, compute_capability="75"),
            get_current_stream=lambda: CURRENT[-1],
            Stream=Stream,
            driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=occupancy),
            compiler=SimpleNamespace(CompileException=OverflowError),
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    _module.cache_clear()
    device._handle.cache_clear()
    for log in (COMPILED, LAUNCHES, STREAMS, ROWS, SYNCHRONIZED, POINTERS, LIMITS):
        log.clear()
    yield
    _module.cache_clear()
    device._handle.cache_clear()
