"""What the tests of PyTorch share: its own functions as oracles, and tensors."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor  # noqa: TID251
from torch.nn import functional  # noqa: TID251

import cupylut.torch  # noqa: F401  (the operators)

activation, product = torch.ops.cupylut.activation.default, torch.ops.cupylut.product.default
product_gradient = torch.ops.cupylut.product_gradient.default

# name -> PyTorch's own
ORACLES: dict[str, Callable[..., Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
    "mish": functional.mish,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "softplus": functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "selu": functional.selu,
    "elu": functional.elu,
    "leaky_relu": functional.leaky_relu,
}
FOUR = ("gelu", "gelu_tanh", "silu", "mish")
# key of a gated form -> PyTorch's own
GATED = {
    f"{name} gate": lambda x, z, f=ORACLES[name]: f(x) * z for name in ("silu", "gelu", "gelu_tanh")
}
by_name = pytest.mark.parametrize("name", FOUR)

# What ours and PyTorch's float64 results and gradients may differ by.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-11}


def gate_of(key: str) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(product, function=key.removesuffix(" gate"))


def numbers(*shape: int, dtype: torch.dtype = torch.float64, grad: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    x = 3 * torch.randn(*shape, dtype=torch.float64, generator=generator)
    return x.to(dtype).requires_grad_(grad)


def close(x: Any, y: Any, tolerance: float = 4e-6) -> bool:
    return x.dtype == y.dtype and torch.allclose(x, y, rtol=tolerance, atol=tolerance)
