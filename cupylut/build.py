"""The entries of tables in a GPU's memory; `kernels/build.cu` computes those of linear ones."""

from typing import Any

import numpy as np

from .compiler import kernel
from .cuda import require_cupy
from .functions import FUNCTIONS
from .tables import LinearTable, Table
from .tables.linear import node_values


def build_defines(function: str) -> dict[str, str]:
    """What `build.cu` must be compiled with for the nodes of a function."""
    declared = FUNCTIONS.get(function)
    return {"FUNCTION": declared.cuda} if declared is not None and declared.cuda else {}


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
    launch(_grid(table.size), (_BUILD_THREADS,), (values, *_geometry(table), balanced))
    return values


def lines(table: LinearTable, values: Any, device: int) -> Any:
    """The lines of the table between nodes with these ordinates, computed on the device."""
    cupy = require_cupy()
    out = cupy.empty((table.size + 1, 2), table.real)
    launch = kernel(device, "build.cu", f"lines_{table.real.name}", build_defines(table.name))
    tails = (np.array([tuple(t)], _LINE) for t in (table.left, table.right))
    launch(_grid(table.size + 1), (_BUILD_THREADS,), (out, values, *_geometry(table), *tails))
    return out


_LINE = np.dtype([("slope", np.float64), ("intercept", np.float64)])
_BUILD_THREADS = 256  # of a block


def _geometry(table: LinearTable) -> tuple[np.int32, np.float64, np.float64]:
    """How many nodes there are, around where, and how far apart."""
    return np.int32(table.size), np.float64(table.centre), np.float64(table.step)


def _grid(count: int) -> tuple[int]:
    return (-(-count // _BUILD_THREADS),)
