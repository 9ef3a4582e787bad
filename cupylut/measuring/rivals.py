"""What the tables are compared with: SciPy's and CuPy's expressions, PyTorch's functions."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from scipy import special

from ..dtypes import as_dtype

# What one writes without this library; `special` is scipy.special or cupyx.scipy.special, and
# NumPy's functions give CuPy's arrays to CuPy.
EXPRESSIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "gelu": lambda special, x: x * special.ndtr(x),
    "gelu_tanh": lambda special, x: (
        x * special.expit(1.5957691216057308 * x * (1 + 0.044715 * x * x))
    ),
    "silu": lambda special, x: x * special.expit(x),
    "mish": lambda special, x: x * np.tanh(np.logaddexp(0, x)),
    "softplus": lambda special, x: np.logaddexp(0, x),
}


def normal(xp: Any, elements: int, dtype: str = "float32") -> Any:
    """N(0, 1) numbers of NumPy or CuPy, equal in every run: on zeros everything is faster."""
    x = xp.random.default_rng(0).standard_normal(elements, np.float32)
    return x.astype(as_dtype(dtype), copy=False)


def special_functions(device: str) -> tuple[str, Any]:
    """Whose expressions are evaluated on "cpu" or "cuda", and the `special` that they take."""
    if device == "cuda":
        return "CuPy", import_module("cupyx.scipy.special")
    return "SciPy", special


def expression(special: Any, name: str, x: Any) -> Any:
    """The expression in x's dtype, computed in float32 for 16 bits, which SciPy lacks."""
    wide = x.astype(np.result_type(x.dtype, np.float32), copy=False)
    return EXPRESSIONS[name](special, wide).astype(x.dtype, copy=False)


scipy_expression = partial(expression, special)


def as_tensor(torch: Any, x: Any) -> Any:
    """A tensor over the memory of an array, by way of integers: DLPack knows no NumPy bfloat16."""
    integers = torch.from_dlpack(x.view(f"i{x.itemsize}"))
    return integers.view(getattr(torch, x.dtype.name))


def torch_function(torch: Any, name: str) -> Callable[[Any], Any]:
    """PyTorch's own function of that name."""
    functional = torch if name in ("sigmoid", "tanh") else torch.nn.functional
    if name == "gelu_tanh":
        return partial(functional.gelu, approximate="tanh")
    function: Callable[[Any], Any] = getattr(functional, name)
    return function
