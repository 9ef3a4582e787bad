"""Kernels launched by hand, with the arguments that device.py gives them."""

from dataclasses import dataclass

import cubin
import numpy as np

from cupylut import compiler, device
from cupylut.tables import Table
from cupylut.tuning import tuning

from .machine import Machine
from .memory import WRITTEN, GlobalMemory
from .text import Kernel, kernels


def compiled(name: str, defines: dict[str, str], architecture: int) -> dict[str, Kernel]:
    """The kernels of a file of kernels/."""
    code = compiler.define(compiler.source(name), defines)
    return kernels(cubin.compile_source(code, name, architecture).ptx)


@dataclass(frozen=True)
class Program:
    """As host_cuda.Program: for which GPUs."""

    architecture: int = 90

    def elementwise(self, table: Table, x: np.ndarray, **launch: int | None) -> np.ndarray:
        """table(x) by kernels/elementwise.cu or quantized.cu; y_offset None works in place."""
        return self.run(table, x, **launch)[0]

    def run(
        self,
        table: Table,
        x: np.ndarray,
        *,
        grid: int = 3,
        block: int = 64,
        x_offset: int = 0,
        y_offset: int | None = 0,
    ) -> tuple[np.ndarray, Machine]:
        """The result, and the machine that executed the kernel."""
        defines = device.defines((table,), table.dtype) | tuning(self.architecture).defines()
        file = device.KERNELS[table.entry_point][0]
        kernel = compiled(file, defines, self.architecture)[table.entry_point]
        memory = GlobalMemory(1 << 26)
        source = memory.put(x, x_offset * x.itemsize)
        target, size = source, x.size * table.result_dtype.itemsize
        if y_offset is not None:
            target = memory.empty(size, y_offset * table.result_dtype.itemsize)
        entries = memory.put(table.entries)
        arguments = [
            np.uint64(source.ctypes.data),
            np.uint64(target.ctypes.data),
            np.uint32(x.size),
            np.uint64(entries.ctypes.data),
            np.int32(entries.nbytes),
            table.parameters,
        ]
        by_value = [argument.tobytes() for argument in arguments]
        machine = Machine(kernel, grid, block, by_value, memory, entries.nbytes)
        machine.run()
        assert (memory.marks(target) == WRITTEN).all()
        return target.copy().view(table.result_dtype), machine
