"""The GPU side: tables that stay on a device, and launches of the kernels that look up in them."""

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .build import device_entries
from .compiler import LOCK, SCALARS, kernel
from .cuda import external_stream, require_cupy
from .dtypes import DType
from .tables import Table
from .tuning import LONG_INDEX, Tuning, tuning

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


# table -> (device, entry point, dtype of the arrays, other tables, long_index) -> its launch
_launches: WeakKeyDictionary[Table, dict[Any, "Launch"]] = WeakKeyDictionary()
# table -> device -> its entries there
_resident: WeakKeyDictionary[Table, dict[int, Any]] = WeakKeyDictionary()


class Launch:
    """A kernel of the current device, which is `device`, with its grid and its last arguments.

    inputs: how many arrays it reads, itemsize: of the wider of their items and the results'.
    shared: bytes of shared memory.
    """

    def __init__(
        self,
        file: str,
        entry: str,
        macros: dict[str, str],
        device: int,
        *,
        inputs: int,
        itemsize: int,
        long_index: bool,
        shared: int = 0,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        """Compile it, unless it is there."""
        parameters = tuning_of(device)
        self.kernel = kernel(device, file, entry, macros | parameters.defines(long_index))
        # All tables of a kind and dtype have one kernel on a device: its limit must only grow.
        limit = self.kernel.max_dynamic_shared_size_bytes
        if shared > limit:
            self.kernel.max_dynamic_shared_size_bytes = shared
        self.shared, self.arguments = shared, arguments
        self.threads, self.max_blocks = resident_blocks(self.kernel, shared, device)
        self.block_elements = self.threads * parameters.elements(itemsize, inputs)
        self.count = np.int64 if long_index else np.uint32

    def __call__(self, count: int, *arguments: Any, stream: Any = None) -> None:
        """Run on arrays (or their addresses) of so many elements, on CuPy's stream or this one.

        They are the first arguments of the kernel, and what it takes by value behind them.
        """
        grid = (min(-(-count // self.block_elements), self.max_blocks),)
        args = (*arguments, self.count(count), *self.arguments)
        self.kernel(grid, (self.threads,), args, shared_mem=self.shared, stream=stream)


def _launch(
    entry: str, tables: tuple[Table, ...], dtype: DType, device: int, long_index: bool
) -> Launch:
    """The launch of a kernel of `KERNELS`, with the tables resident on the device."""
    cupy = require_cupy()
    if cupy.cuda.get_current_stream().is_capturing():
        raise RuntimeError(
            f"the table of {tables[0].name} in {dtype} was not used like this on this device "
            "yet, and cannot be prepared while a graph is captured: evaluate it once beforehand"
        )
    entries = [resident_entries(table, device) for table in tables]
    entry, *operands = entry.split("+")
    file, inputs = KERNELS[entry]
    macros = defines(tables, dtype) | dict.fromkeys(operands, "true")
    # Each table starts at a multiple of 16 bytes.
    shared = sum(-(-each.nbytes // 16) * 16 for each in entries[:-1]) + entries[-1].nbytes
    if shared > cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]:
        shared, macros["IN_SHARED"] = 0, "false"
    result = tables[0].result_dtype if entry == "quantized" else dtype
    # CuPy copies arguments by value before the launch; entries hold device memory alive. The
    # structs go as plain bytes: NumPy takes microseconds to tell CuPy what fields one has.
    arguments = tuple(
        argument
        for table, each in zip(tables, entries, strict=True)
        for argument in (each, np.int32(each.nbytes), as_bytes(table.parameters))
    )
    return Launch(
        file,
        entry,
        macros,
        device,
        inputs=inputs + len({"FACTOR", "RESIDUAL"} & set(operands)),
        itemsize=max(dtype.itemsize, result.itemsize),
        long_index=long_index,
        shared=shared,
        arguments=arguments,
    )


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
) -> Launch:
    """The launch of a kernel of `KERNELS` on the current device, which is `device`; kept.

    long_index: for arrays of `tuning.LONG_INDEX` elements and more.
    """
    launch = _find(entry, tables, dtype, device, long_index)
    if launch is None:
        with LOCK:
            launch = _find(entry, tables, dtype, device, long_index)
            if launch is None:
                launch = _launch(entry, tables, dtype, device, long_index)
                launches = _launches.setdefault(tables[0], {})
                launches[device, entry, dtype, tables[1:], long_index] = launch
    return launch


def _find(
    entry: str, tables: tuple[Table, ...], dtype: DType, device: int, long_index: bool
) -> Launch | None:
    return _launches.get(tables[0], {}).get((device, entry, dtype, tables[1:], long_index))


def run(entry: str, tables: tuple[Table, ...], *arguments: Any) -> None:
    """Run a kernel of `KERNELS` on CuPy arrays in C order, on CuPy's current stream.

    arguments: the arrays, of one dtype, 0 for one that is missing, and then what the kernel takes
    by value. The first has as many elements as there are results.
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
    """As `run`, for arrays at addresses on the current device, on a stream by its handle."""
    if count:
        long_index = count >= LONG_INDEX
        launch = _find(entry, tables, dtype, device, long_index)
        if launch is None:
            with external_stream(stream):
                launch = launch_of(entry, tables, dtype, device, long_index)
        launch(count, *arguments, stream=_handle(device, stream))


@lru_cache(maxsize=256)
def _handle(device: int, stream: int) -> Any:
    """The `external_stream` of the current device, kept; handle 0 is a stream of every device.

    Only to launch on: entered by several threads, one object would mix up what they return to.
    """
    return external_stream(stream)


def evaluate(table: Table, x: Any, out: Any) -> None:
    """out = table(x) for flat CuPy arrays of the table's dtypes, on CuPy's current stream."""
    if table.entry_point is None:
        raise TypeError(f"{table!r} is for products on a GPU: make another with cupylut.tabulate")
    run(table.entry_point, (table,), x, out)


def resident_entries(table: Table, device: int) -> Any:
    """As `device_entries`, but made once, and ready for launches on any stream."""
    on_devices = _resident.setdefault(table, {})
    if device not in on_devices:
        on_devices[device] = device_entries(table, device)
        require_cupy().cuda.get_current_stream().synchronize()
    return on_devices[device]
