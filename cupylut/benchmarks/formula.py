"""Formulas in a kernel of our own, the rivals of the tables: kernels/formula.cu.

"formula" computes f in float32 as PyTorch does, "fast" with the approximations that the hardware
has. Both take the place of a table in the kernels of the tables, so that nothing but the function
differs. They are there to be measured: they keep none of the library's promises.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import device
from ..compiler import SCALARS
from ..dtypes import DType
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
    return {"SCALAR": SCALARS[dtype], "FORMULA": formula, "IN_SHARED": "false"}


def run(formula: str, *arrays: Any) -> None:
    """y = f(x) for flat CuPy arrays x, y of one dtype, not empty, or y = z·f(x) for x, z, y."""
    y = arrays[-1]
    launch = _launch(formula, y.dtype, y.device.id, len(arrays) - 1, y.size >= LONG_INDEX)
    launch(y.size, *arrays)


@cache
def _launch(formula: str, dtype: DType, on: int, inputs: int, long_index: bool) -> device.Launch:
    no_entries, no_bytes, empty_struct = 0, np.int32(0), np.zeros(1, "V1")
    return device.Launch(
        "formula.cu",
        "elementwise" if inputs == 1 else "product",
        defines(formula, dtype.name),
        on,
        inputs=inputs,
        itemsize=dtype.itemsize,
        long_index=long_index,
        arguments=(no_entries, no_bytes, empty_struct),
    )
