"""PyTorch operators for gate and up packed in one tensor, as the halves of its last axis.

    packed_product(p, f, gate_first)                  f(gate)·up
    packed_product_gradient(p, grad, f, gate_first)   grad·up·f′(gate) and grad·f(gate), packed

They are `product` and `product_gradient` of operators.py, and read and write packed memory.
"""

from typing import Any

import torch
from torch import Tensor

from .. import gated
from ..defaults import product_table
from .dispatch import (
    SingleLevelFunction,
    below,
    primal,
    recorded,
    recording,
    refuse,
    register,
    untraced,
)
from .operators import (
    NUMPY_DTYPES,
    alike,
    check_kinds,
    derivative,
    differentiable_product_gradient,
    gradient_tables,
    product,
    product_result,
    run_rows,
)


def packed_product(packed: Tensor, function: str, gate_first: bool = True) -> Tensor:
    """y = f(gate)·up for the halves of the last axis, in either order; see `cupylut.swiglu`.

    Differentiable as `product` is; the gradient is packed too, and written in one pass.

    >>> packed_product(torch.tensor([-1.0, 1.0, 2.0, 2.0]), "silu")
    tensor([-0.5379,  1.4621])
    """
    if isinstance(packed, torch.fx.Proxy):
        return recorded(packed, packed_product, function, gate_first)
    check_kinds(packed)
    if packed.is_nested:
        refuse(packed)
    (packed,) = alike(packed)
    y: Tensor = _packed_product(packed, function, gate_first)
    return y


# ---- what the operators compute -----------------------------------------------------------------

_C_ORDER = torch.contiguous_format


def _packed_result(packed: Tensor) -> Tensor:
    """An empty tensor for the product of the halves."""
    return product_result(gated.halves(packed, True)[0])


def _run_packed_product(packed: Tensor, function: str, gate_first: bool) -> Tensor:
    out = _packed_result(packed)
    if out.numel() == 0:
        return out
    target = out if out.is_contiguous() else torch.empty_like(out, memory_format=_C_ORDER)
    two = gated.halves(as_rows(packed), gate_first)
    table = product_table(function, NUMPY_DTYPES[packed.dtype])
    run_rows("packed_product", (table,), *two, as_rows(target))
    return out if target is out else out.copy_(target)


def _packed_gradient_result(packed: Tensor, grad: Tensor) -> Tensor:
    """An empty tensor for both gradients."""
    product_result(gated.halves(packed, True)[0], grad)
    return torch.empty_like(packed, memory_format=_C_ORDER)


def _run_packed_product_gradient(
    packed: Tensor, grad: Tensor, function: str, gate_first: bool
) -> Tensor:
    out = _packed_gradient_result(packed, grad)
    if out.numel() == 0:
        return out
    x, z, dx, dz = (half for t in (packed, out) for half in gated.halves(as_rows(t), gate_first))
    tables = gradient_tables(function, packed)
    run_rows("packed_product_gradient", tables, x, z, as_rows(grad), dx, dz)
    return out


def as_rows(x: Tensor) -> Tensor:
    """x with its last axis and one for all others, in C order."""
    return x.contiguous().view(-1, x.shape[-1])


# ---- their derivatives --------------------------------------------------------------------------


def _save_packed(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    packed, *ctx.options = inputs
    ctx.save_for_backward(packed)
    ctx.save_for_forward(packed)
    ctx.set_materialize_grads(False)


class _DifferentiablePackedProduct(SingleLevelFunction):
    setup_context = staticmethod(_save_packed)

    @staticmethod
    def forward(packed: Tensor, function: str, gate_first: bool) -> Any:
        return below(_packed_product, packed, function, gate_first)

    @staticmethod
    @untraced
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        (packed,) = ctx.saved_tensors
        if grad is None:
            return None, None, None
        return _packed_product_gradient(packed, grad, *ctx.options), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *_: None) -> Any:
        if tangent is None:
            return None
        with recording():
            (packed,) = map(primal, ctx.saved_tensors)
            function, gate_first = ctx.options
            (x, z), (dx, dz) = (gated.halves(t, gate_first) for t in (packed, tangent))
            return product(x, z * dx, derivative(function)) + product(x, dz, function)


def _differentiable_packed_product_gradient(
    packed: Tensor, grad: Tensor, function: str, gate_first: bool
) -> Tensor:
    """Of passes that can be differentiated themselves."""
    x, z = gated.halves(packed, gate_first)
    both = differentiable_product_gradient(x, z, grad, function)
    return torch.cat(both if gate_first else both[::-1], -1)


# ---- registration -------------------------------------------------------------------------------

_packed_product = register(
    "packed_product(Tensor packed, str function, bool gate_first) -> Tensor",
    _run_packed_product,
    lambda packed, function, gate_first: _packed_result(packed),
    _DifferentiablePackedProduct.apply,
)
_packed_product_gradient = register(
    "packed_product_gradient(Tensor packed, Tensor grad, str function, bool gate_first) -> Tensor",
    _run_packed_product_gradient,
    lambda packed, grad, function, gate_first: _packed_gradient_result(packed, grad),
    _differentiable_packed_product_gradient,
)
