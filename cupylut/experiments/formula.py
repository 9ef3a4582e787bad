"""Formulas in a kernel of our own, the rivals of the tables: kernels/formula.cu.

"formula" computes f in float32 as PyTorch does, "fast" with the approximations that the hardware
has. Both go over arrays as the tables do, so that nothing but the function differs. They are there
to be measured: they keep none of the library's promises.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from .. import device
from ..accuracy import DType

FUNCTIONS = ("gelu", "gelu_tanh", "silu", "mish", "softplus")
DTYPES = ("float16", "bfloat16", "float32")

NAMESPACES = {"formula": "accurate", "fast": "fast"}
"""By what contestants and counts call them: where formula.cu has them."""

LOOP = "identity"
"""The formula that computes nothing: the time of the pass itself."""

NAMES: Sequence[str] = (
    LOOP,
    *(f"{namespace}::{function}" for namespace in NAMESPACES.values() for function in FUNCTIONS),
)

Launch: TypeAlias = tuple[Any, int]


def name(kind: str, function: str) -> str:
    """What `formula.cu` calls the formula of this kind.

    >>> name("fast", "gelu")
    'fast::gelu'
    """
    return f"{NAMESPACES[kind]}::{function}"


def defines(formula: str, dtype: str) -> dict[str, str]:
    """What `formula.cu` must be compiled with."""
    return {"SCALAR": device.SCALARS[dtype], "FORMULA": formula}


def run(formula: str, *arrays: Any) -> None:
    """y = f(x) for flat CuPy arrays x, y of one dtype, y = z·f(x) for x, z, y."""
    y = arrays[-1]
    kernel, most = _launch(formula, y.dtype, y.device.id, len(arrays))
    blocks = -(-y.size // (device.THREADS * (16 // y.itemsize)))
    kernel((max(1, min(blocks, most)),), (device.THREADS,), (*arrays, np.int64(y.size)))


@cache
def _launch(formula: str, dtype: DType, number: int, arrays: int) -> Launch:
    """The kernel on the current device, and how many blocks are resident at a time."""
    cupy = device.require_cupy()
    entry = "formula_product" if arrays == 3 else "formula"
    kernel = device.kernel(number, "formula.cu", entry, defines(formula, dtype.name))
    resident = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
        kernel.kernel.ptr, device.THREADS, 0
    )
    processors = cupy.cuda.Device(number).attributes["MultiProcessorCount"]
    return kernel, max(1, resident) * processors
