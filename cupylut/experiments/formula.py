"""Formulas in a kernel of our own, the rivals of the tables: kernels/formula.cu.

"formula" computes f in float32 as PyTorch does, "fast" with the approximations that the hardware
has. Both go over arrays as the tables do, so that nothing but the function differs. They are there
to be measured: they keep none of the library's promises.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .. import device
from ..accuracy import DType
from ..tuning import LONG_INDEX

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
    launch = _launch(formula, y.dtype, y.device.id, len(arrays), y.size >= LONG_INDEX)
    blocks = min(-(-y.size // launch.block_elements), launch.max_blocks)
    launch.kernel((max(1, blocks),), (launch.threads,), (*arrays, launch.integer(y.size)))


class _Launch(NamedTuple):
    """A kernel of the current device, and how it is launched."""

    kernel: Any
    threads: int
    max_blocks: int
    block_elements: int
    integer: type[np.integer[Any]]


@cache
def _launch(formula: str, dtype: DType, number: int, arrays: int, long_index: bool) -> _Launch:
    entry = "formula_product" if arrays == 3 else "formula"
    parameters = device.tuning_of(number)
    macros = defines(formula, dtype.name) | parameters.defines(long_index)
    kernel = device.kernel(number, "formula.cu", entry, macros)
    threads, max_blocks = device.resident_blocks(kernel, 0, number)
    elements = threads * parameters.elements(dtype.itemsize, inputs=arrays - 1)
    return _Launch(kernel, threads, max_blocks, elements, np.int64 if long_index else np.uint32)
