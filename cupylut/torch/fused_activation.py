"""The PyTorch operator for activations with a bias, a scale and a residual.

    fused(x, f, bias, factor, scale, number, residual)   residual + number·scale·factor·f(x + bias)

Only x has to be there; number is a scale for all. With g, the incoming gradient, the gradients are

    by x          fused(x, f′, bias, g, scale, number)
    by bias       the sum of that over all axes but the last
    by scale      the sum of fused(x, f, bias, g) over them, or over all where scale has none
    by residual   g

With a factor besides, there is one more: g times the factor is the factor then, rounded in between.
"""

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..fused import check_shape, evaluate, launches, table_for
from .dispatch import (
    SingleLevelFunction,
    below,
    in_front,
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
    check_operand,
    derivative,
    kept_wide,
    laid_out,
    launch,
    product_result,
    view,
)


def fused(
    x: Tensor,
    function: str,
    *,
    bias: Tensor | None = None,
    scale: Tensor | float | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """y = residual + scale·f(x + bias) for the key of a function, in one pass; see `cupylut.fused`.

    Differentiable twice, by x, bias, scale and residual. Under autocast a residual of a wider dtype
    than x's is added in a pass of its own, and keeps its dtype.

    >>> x = torch.tensor([[-1.0, 1.0]])
    >>> fused(x, "silu", bias=torch.tensor([0.0, 1.0]), scale=2.0, residual=x)
    tensor([[-1.5379,  4.5232]])
    """
    if isinstance(x, torch.fx.Proxy):
        return recorded(x, fused, function, bias=bias, scale=scale, residual=residual)
    number = None
    if isinstance(scale, Real):
        number, scale = float(scale), None
    check_kinds(x, bias=bias, scale=scale, residual=residual)
    if x.is_nested:
        refuse(x)
    if residual is not None and kept_wide(residual, x):
        check_shape("residual", residual.shape, x.shape)  # or it would be broadcast
        return residual + fused(x, function, bias=bias, scale=number if scale is None else scale)
    x, bias, scale, residual = alike(x, bias, scale, residual)
    y: Tensor = _fused(x, function, bias, None, scale, number, residual)
    return y


# ---- what the operator computes -----------------------------------------------------------------


def _result(
    x: Tensor,
    function: str,
    bias: Tensor | None,
    factor: Tensor | None,
    scale: Tensor | None,
    number: float | None,
    residual: Tensor | None,
) -> Tensor:
    """An empty tensor for the result; raises where the operands do not fit."""
    for name, row in (("bias", bias), ("scale", scale)):
        if row is not None:
            check_shape(name, row.shape, x.shape)
            check_operand(x, row)
    return product_result(x, *(t for t in (factor, residual) if t is not None))


def _run(x: Tensor, function: str, *operands: Any) -> Tensor:
    out = target = _result(x, function, *operands)
    if out.numel() == 0:
        return out
    bias, factor, scale, number, residual = operands
    columns = bias is not None or scale is not None
    width = out.shape[-1] if out.ndim else 1
    if columns and not out.is_contiguous():
        target = torch.empty_like(out, memory_format=torch.contiguous_format)

    def arranged(t: Tensor) -> Tensor:
        t = laid_out(t, target)
        return t.view(-1, width) if columns else t.as_strided((t.numel(),), (1,))

    tensors = {
        "x": arranged(x),
        "bias": None if bias is None else bias.contiguous(),
        "factor": None if factor is None else arranged(factor),
        "scale": None if scale is None else scale.expand(width).contiguous(),
        "residual": None if residual is None else arranged(residual),
        "out": arranged(target),
    }
    table = table_for(function, NUMPY_DTYPES[x.dtype], bias is not None)
    if x.is_cuda:
        tensors["scale"] = number if scale is None else tensors["scale"]
        for entry, pointers, by_value in launches(table, **tensors):
            launch(entry, (table,), pointers, *by_value)
    else:
        views: dict[str, Any] = {n: None if t is None else view(t) for n, t in tensors.items()}
        views["scale"] = number if scale is None else views["scale"]
        evaluate(table, **views)
    return out if target is out else out.copy_(target)


# ---- its derivatives ----------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, ctx.function, bias, factor, scale, ctx.number, _ = inputs
    ctx.save_for_backward(x, bias, factor, scale)
    ctx.save_for_forward(x, bias, factor, scale)
    ctx.set_materialize_grads(False)


def _times(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor


class _Differentiable(SingleLevelFunction):
    setup_context = staticmethod(_save)

    @staticmethod
    def forward(*args: Any) -> Any:
        return below(_fused, *args)

    @staticmethod
    @untraced
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        x, bias, factor, scale = ctx.saved_tensors
        by_x, _, by_bias, by_factor, by_scale, _, by_residual = ctx.needs_input_grad
        if grad is None:
            return (None,) * 7
        scales = scale, ctx.number, None
        times = _times(grad, factor)
        dx = dbias = dfactor = dscale = None
        if by_x or by_bias:
            dx = _fused(x, derivative(ctx.function), bias, times, *scales)
            dbias = dx.sum_to_size(bias.shape) if by_bias else None
        if by_factor:
            dfactor = _fused(x, ctx.function, bias, grad, *scales)
        if by_scale:
            terms = _fused(x, ctx.function, bias, times, None, None, None)
            dscale = terms.sum_to_size(scale.shape)
        return (
            dx if by_x else None,
            None,
            dbias,
            dfactor,
            dscale,
            None,
            grad if by_residual else None,
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        dx, _, dbias, dfactor, dscale, _, dresidual = tangents
        with recording():
            x, bias, factor, scale = map(primal, ctx.saved_tensors)
            total, function = dresidual, ctx.function
            if dx is not None or dbias is not None:
                inner = torch.zeros_like(x) if dx is None else dx
                inner = _times(inner if dbias is None else inner + dbias, factor)
                slope = derivative(function)
                total = _fused(x, slope, bias, inner, scale, ctx.number, total)
            if dfactor is not None:
                total = _fused(x, function, bias, dfactor, scale, ctx.number, total)
            if dscale is not None:
                total = _fused(x, function, bias, factor, dscale, None, total)
            return total


def _batched(info: Any, dims: tuple[int | None, ...], *args: Any) -> Any:
    """In one call, or a call for each bias or scale where these are batched."""
    if dims[2] is None and dims[4] is None:
        args = tuple(
            arg if i in (2, 4) else in_front(info.batch_size, arg, dim)
            for i, (arg, dim) in enumerate(zip(args, dims, strict=True))
        )
        return _fused(*args), 0
    results = [
        _fused(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, dims, strict=True)))
        for i in range(info.batch_size)
    ]
    if not results:
        return torch.empty_like(in_front(0, args[0], dims[0])), 0
    return torch.stack(results), 0


_fused = register(
    # A Scalar may be a symbol, so that torch.compile does not begin again for every number.
    "fused(Tensor x, str function, Tensor? bias, Tensor? factor, Tensor? scale, Scalar? number, "
    "Tensor? residual) -> Tensor",
    _run,
    _result,
    _Differentiable.apply,
    _batched,
)
