"""CuPy without a GPU: its arrays lie in the interpreter's memory, which executes its kernels.

It has what cupylut and its tests use of CuPy, with NumPy behind it, and no name that CuPy lacks.
NVRTC compiles the sources for the compute capability of `DEVICE`. Each launch must fit the kernel:
its arguments the parameters, its shared memory what the kernel may have.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import cubin
import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

from cupylut import device
from cupylut.compiler import OPTIONS, _module
from cupylut.dtypes import FLOATS8

from .machine import Machine
from .memory import WRITTEN, AccessError, GlobalMemory
from .text import kernels

ATTRIBUTES = {"MaxSharedMemoryPerBlockOptin": 100 << 10, "MultiProcessorCount": 3}
DEVICE = SimpleNamespace(memory=GlobalMemory(), compute_capability="90")

LAUNCHES: list[tuple[str, tuple[int, ...], tuple[int, ...], int]] = []  # name, grid, block, shared
STREAMS: list[Any] = []  # of the launches
COMPILED: list[str] = []
SYNCHRONIZED: list[int] = []
POINTERS: dict[tuple[str, str], int] = {}  # to the functions of modules
LIMITS: dict[int, int] = {}  # of their shared memory


# --- arrays ---


class ndarray(NDArrayOperatorsMixin):  # noqa: N801
    """An array of the device: what computes with it makes another one there."""

    def __init__(self, host: np.ndarray) -> None:
        self._host = host
        self.device = Device(0)
        self.data = SimpleNamespace(ptr=host.ctypes.data)

    @property
    def flags(self) -> SimpleNamespace:
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    def get(self) -> np.ndarray:
        """A copy for the host; all of it must have been written."""
        if (DEVICE.memory.marks(self._host) != WRITTEN).any():
            raise AccessError("an array is read that nobody has filled")
        return self._host.copy()

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc: Any, method: str, *x: Any, **options: Any) -> Any:
        return on_device(getattr(ufunc, method))(*x, **options)

    def __array_function__(self, function: Any, types: Any, x: Any, options: Any) -> Any:
        call = getattr(module(), function.__name__, None)
        if call is None or any(kind is not ndarray for kind in types):
            return NotImplemented
        return call(*x, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(module().real.ndarray, name):
            raise AttributeError(name)
        value = getattr(self._host, name)
        if callable(value):
            return partial(on_device(getattr(np.ndarray, name)), self)
        return there(value)

    def __getitem__(self, key: Any) -> Any:
        return there(self._host[here(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        key = here(key)
        refuse(self.dtype)
        self._host[key] = operand(value)
        DEVICE.memory.marks(self._host)[key] = WRITTEN

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> Any:
        return self


ndarray.__module__ = "cupy"  # by which arrays.py knows whose it is


def there(value: Any) -> Any:
    """NumPy's results as CuPy's: arrays and numbers are arrays on the device."""
    if isinstance(value, tuple) and any(isinstance(each, np.ndarray) for each in value):
        return tuple(map(there, value))
    if not isinstance(value, np.ndarray | np.generic):
        return value
    if isinstance(value, np.generic) or not DEVICE.memory.has(value):
        value = copied(np.asarray(value))
    return ndarray(value)


def here(value: Any) -> Any:
    """What NumPy takes for this argument, which is no array of the host."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(map(here, value))
    return value


def operand(value: Any) -> Any:
    """The same of what is computed with or copied: its elements must be there."""
    if not isinstance(value, ndarray):
        return here(value)
    refuse(value.dtype)
    return value.get()


def refuse(dtype: np.dtype) -> None:
    """CuPy sees memory as 8-bit floats, but neither makes, copies nor computes with them."""
    if dtype in FLOATS8:
        raise ValueError(f"Unsupported dtype {dtype}")


def on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy for arrays of the device, which it reads unless its result is a view."""

    def call(*arguments: Any, **options: Any) -> Any:
        options = {key: here(value) for key, value in options.items()}
        result = function(*map(here, arguments), **options)
        if not (isinstance(result, np.ndarray) and DEVICE.memory.has(result)):
            for each in arguments:
                operand(each)
        return there(result)

    return call


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return empty_like(np.empty(shape, dtype, order))


def empty_like(x: Any, dtype: Any = None, order: str = "K") -> ndarray:
    model = np.empty_like(x._host if isinstance(x, ndarray) else x, dtype, order)
    refuse(model.dtype)
    memory = DEVICE.memory.empty(model.nbytes)
    return ndarray(np.ndarray(model.shape, model.dtype, memory, strides=model.strides))


def copied(x: np.ndarray) -> np.ndarray:
    """In the device's memory, in the same order."""
    copy = empty_like(x)._host
    copy[...] = x
    DEVICE.memory.marks(copy)[...] = WRITTEN
    return copy


def asarray(x: Any, dtype: Any = None) -> ndarray:
    if isinstance(x, ndarray) and dtype in (None, x.dtype):
        return x
    return array(x, dtype)


def array(x: Any, dtype: Any = None) -> ndarray:
    return ndarray(copied(np.asarray(x if isinstance(x, np.ndarray) else operand(x), dtype)))


def from_dlpack(x: Any) -> ndarray:
    return x.__dlpack__(stream=CURRENT[-1].ptr, max_version=(1, 0))


# --- kernels ---


class RawKernel:
    """cupy.RawKernel.

    The limit of shared memory belongs to the kernel in the module that CuPy loads once for the same
    code and device, whichever RawKernel sets it.
    """

    def __init__(self, name: str, module: "RawModule") -> None:
        self.name, self.module = name, module
        key = (name, module.code)
        self.kernel = SimpleNamespace(ptr=POINTERS.setdefault(key, 1 + len(POINTERS)))

    def __call__(
        self, grid: tuple, block: tuple, args: tuple, shared_mem: int = 0, stream: Any = None
    ) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        LAUNCHES.append((self.name, grid, block, shared_mem))
        STREAMS.append(stream)
        kernel = self.module.kernels[self.name]
        arguments = list(map(as_bytes, args))
        Machine(kernel, *grid, *block, arguments, DEVICE.memory, shared_mem).run()

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return LIMITS.get(self.kernel.ptr, 48 << 10)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        assert size <= ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]
        LIMITS[self.kernel.ptr] = size


def as_bytes(argument: Any) -> bytes:
    """What CuPy passes: an address, a NumPy scalar or array of one by value; None is no address."""
    if isinstance(argument, ndarray):
        argument = argument.data.ptr
    if argument is None or type(argument) is int:
        return np.uint64(argument or 0).tobytes()
    if isinstance(argument, np.ndarray) and argument.size == 1:
        return argument.tobytes()
    if isinstance(argument, np.generic):
        return argument.tobytes()
    raise TypeError(f"Unsupported type {type(argument)}")


class CompileError(Exception):
    """cupy.cuda.compiler.CompileException."""


class RawModule:
    """cupy.RawModule."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        assert options == OPTIONS
        assert code.isascii()
        self.code = code

    def compile(self) -> None:
        COMPILED.append(self.code)
        made = cubin.compile_source(self.code, "module.cu", int(DEVICE.compute_capability))
        self.kernels = kernels(made.ptx)

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(name, self)


def occupancy(kernel: int, threads: int, shared: int) -> int:
    """The blocks of a small multiprocessor, with 100 KB of shared memory and 512 threads.

    None of a kernel that may not have so much.
    """
    if shared > LIMITS.get(kernel, 48 << 10):
        return 0
    return min(512 // threads, (100 << 10) // max(1, shared))


# --- devices and streams ---


class Device:
    """cupy.cuda.Device."""

    attributes = ATTRIBUTES

    def __init__(self, id: int = 0) -> None:
        self.id = id

    @property
    def compute_capability(self) -> str:
        return DEVICE.compute_capability

    def synchronize(self) -> None:
        """All is done when it is asked for."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass


class Stream:
    """cupy.cuda.Stream; a graph is captured on number 13."""

    done = True

    def __init__(self, ptr: int = 1, non_blocking: bool = False) -> None:
        self.ptr = ptr

    @classmethod
    def from_external(cls, protocol: Any) -> "Stream":
        return cls(protocol.__cuda_stream__()[1])

    def __enter__(self) -> "Stream":
        CURRENT.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        CURRENT.pop()

    def synchronize(self) -> None:
        SYNCHRONIZED.append(self.ptr)

    def is_capturing(self) -> bool:
        return self.ptr == 13


CURRENT = [Stream(0)]


class Cupy(ModuleType):
    """The module cupy: what is not here is NumPy's, where CuPy has it too."""

    real: ModuleType  # of which only the names are asked for

    ndarray = ndarray
    RawModule = RawModule
    empty, empty_like = staticmethod(empty), staticmethod(empty_like)
    asarray, array = staticmethod(asarray), staticmethod(array)
    asnumpy = staticmethod(ndarray.get)
    from_dlpack = staticmethod(from_dlpack)
    cuda = SimpleNamespace(
        is_available=lambda: True,
        Device=Device,
        get_current_stream=lambda: CURRENT[-1],
        Stream=Stream,
        driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=occupancy),
        compiler=SimpleNamespace(CompileException=CompileError),
    )

    lib = SimpleNamespace(
        stride_tricks=SimpleNamespace(as_strided=on_device(np.lib.stride_tricks.as_strided))
    )

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self.real, name):
            raise AttributeError(name)
        value = getattr(np, name)
        return on_device(value) if callable(value) and not isinstance(value, type) else value


@cache
def module() -> Cupy:
    made = Cupy("cupy")
    made.real = importlib.import_module("cupy")
    return made


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """In place of CuPy for as long as a test takes."""
    cubin.nvrtc()  # which comes with the real CuPy
    monkeypatch.setitem(sys.modules, "cupy", module())
    monkeypatch.setattr(DEVICE, "memory", GlobalMemory())
    for resident in ("_launches", "_resident"):
        monkeypatch.setattr(device, resident, WeakKeyDictionary())
    caches: list[Any] = [_module.cache_clear, device._handle.cache_clear]
    logs = (COMPILED, LAUNCHES, STREAMS, SYNCHRONIZED, POINTERS, LIMITS)
    for clear in (*caches, *(log.clear for log in logs)):
        clear()
    yield module()
    for clear in caches:
        clear()
