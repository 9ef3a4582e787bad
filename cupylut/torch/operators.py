"""PyTorch operators: the functions with derivatives, batching rules and shapes.

Operators in `torch.ops.cupylut` are all that autograd, torch.compile, torch.export and torch.func
see: three here, and those of packed.py and fused_activation.py. A function goes by its key, a
string such as "gelu", "elu(0.5)" or "gelu_derivative":

    activation(x, f)                  f(x)
    product(x, z, f)                  f(x)·z, rounded once: the gated forms, and every derivative
    product_gradient(x, z, grad, f)   grad·z·f′(x) and grad·f(x), in one pass

Derivatives are products with f′, so that the operators differentiate each other:

    ∂ activation(x, f) = product(x, ∂x, f′)
    ∂ product(x, z, f) = product(x, ∂z, f) + product(x, z·∂x, f′)

There are tables of f, f′ and f″; what needs f‴ raises TypeError.

On the CPU the tables' NumPy half works on the tensor's memory; on CUDA the kernels get its address
and the current stream. PyTorch allocates the results.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from .. import arrays, device, gated, memory, rows, workers
from ..declaration import derivative_name
from ..defaults import default_table, derivative_table, no_derivative, product_table
from ..dtypes import DType
from ..tables import Table
from .dispatch import SingleLevelFunction, below, primal, recorded, recording, register, untraced


def activation(x: Tensor, function: str) -> Tensor:
    """y = f(x) for the key of a function; see `cupylut.gelu`.

    Differentiable twice, in reverse and forward mode. The gradient is grad·f′(x) with f′ from a
    table in float32 (float64 for float64), rounded once.

    >>> x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    >>> activation(x, "gelu").sum().backward()
    >>> x.grad
    tensor([-0.0833,  0.5000,  1.0833])
    """
    y: Tensor = _activation(x, function)
    return y


def product(x: Tensor, z: Tensor, function: str) -> Tensor:
    """y = f(x)·z for the key of a function, in one pass and rounded once; see `cupylut.swiglu`.

    x and z have the same shape, dtype and device; under autocast z is converted to x's dtype.
    Differentiable twice; both gradients come from one pass.

    >>> product(torch.tensor([-1.0, 1.0]), torch.tensor([2.0, 2.0]), "silu")
    tensor([-0.5379,  1.4621])
    """
    if isinstance(x, torch.fx.Proxy):
        return recorded(x, product, z, function)
    check_kinds(x, z=z)
    x, z = alike(x, z)
    y: Tensor = _product(x, z, function)
    return y


def check_kinds(x: Tensor, **others: Tensor | None) -> None:
    """Raise TypeError where an operand is no tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"a {type(x).__name__} in the place of a tensor: here it comes first, and the name of "
            'the function after it, as in fused(x, "gelu")'
        )
    for name, operand in others.items():
        if operand is not None and not isinstance(operand, Tensor):
            raise TypeError(f"x is a Tensor, {name} a {type(operand).__name__}: give one kind")


def alike(x: Tensor, *others: Tensor | None) -> Any:
    """Operands with integers made floats, and under autocast floats of x's dtype.

    So it does with the bias of a linear layer. PyTorch knows the derivative of that.
    """
    tensors = [t if t is None or t.is_floating_point() else _as_floats(t) for t in (x, *others)]
    dtype = tensors[0].dtype
    if all(t is None or t.dtype == dtype for t in tensors) or not _under_autocast(x.device.type):
        return tensors
    return [t.to(dtype) if t is not None and t.is_floating_point() else t for t in tensors]


def kept_wide(residual: Tensor, x: Tensor) -> bool:
    """Whether a residual stays wider than x: under autocast, which keeps residual streams so."""
    return (
        _under_autocast(x.device.type)
        and residual.is_floating_point()
        and x.is_floating_point()
        and torch.promote_types(residual.dtype, x.dtype) == residual.dtype != x.dtype
    )


def _under_autocast(kind: str) -> bool:
    """Whether autocast is on for a kind of device; it does not know all, such as "meta"."""
    return kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind)


def _as_floats(x: Tensor) -> Tensor:
    return x.to(_RESULTS.get(x.dtype, x.dtype))


# ---- what the operators compute -----------------------------------------------------------------

# PyTorch's dtypes as NumPy's, and the dtype of f(x) for each
NUMPY_DTYPES: dict[Any, DType] = {
    getattr(torch, dtype.name): dtype
    for dtype in [*map(np.dtype, "?bhilBHILefd"), np.dtype(ml_dtypes.bfloat16)]
}
_RESULTS: dict[Any, Any] = {
    ours: getattr(torch, result.name)
    for ours, dtype in NUMPY_DTYPES.items()
    if (result := arrays.result_dtype(dtype)) is not None
}


def _result(x: Tensor) -> Tensor:
    """An empty tensor for f(x), of x's order in memory."""
    dtype = _RESULTS.get(x.dtype)
    if dtype is None:
        raise TypeError(
            f"a tensor of {x.dtype} is not supported: convert it to float16, bfloat16, float32 or "
            "float64"
        )
    return torch.empty_like(x, dtype=dtype)


def product_result(x: Tensor, *others: Tensor) -> Tensor:
    """An empty tensor for f(x)·z; raises where the operands do not fit."""
    if not x.is_floating_point():
        raise TypeError(f"a product takes tensors of floats, not of {x.dtype}: convert it")
    for z in others:
        check_operand(x, z)
        if z.shape != x.shape:
            raise ValueError(
                f"tensors of shape {tuple(x.shape)} and {tuple(z.shape)}: give equal shapes"
            )
    return _result(x)


def check_operand(x: Tensor, z: Tensor) -> None:
    """Raise where two tensors do not go together."""
    if z.dtype != x.dtype:
        raise TypeError(f"tensors of {x.dtype} and {z.dtype}: convert one")
    if z.device != x.device:
        raise ValueError(f"tensors on {x.device} and {z.device}: move one")


def laid_out(x: Tensor, out: Tensor) -> Tensor:
    """x, or where it lies in memory in another way than out, a copy that lies like it."""
    return x if x.stride() == out.stride() else torch.empty_like(out).copy_(x)


def _run_activation(x: Tensor, function: str) -> Tensor:
    out = _result(x)
    if x.dtype != out.dtype or x.stride() != out.stride():
        x = out.copy_(x)
    _run("elementwise", (default_table(function, NUMPY_DTYPES[out.dtype]),), x, out)
    return out


def _run_product(x: Tensor, z: Tensor, function: str) -> Tensor:
    out = product_result(x, z)
    x, z = (laid_out(t, out) for t in (x, z))
    _run("product", (product_table(function, NUMPY_DTYPES[x.dtype]),), x, z, out)
    return out


def _run_product_gradient(
    x: Tensor, z: Tensor, grad: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    dx = product_result(x, z, grad)
    dz = torch.empty_like(dx)
    tables = gradient_tables(function, x)
    x, z, grad = (laid_out(t, dx) for t in (x, z, grad))
    _run("product_gradient", tables, x, z, grad, dx, dz)
    return dx, dz


# Entry point of the kernel -> the NumPy half
_HALVES: dict[str, Callable[..., None]] = {
    "elementwise": lambda table, x, out: workers.run(table.evaluate, x, out),
    "product": gated.product,
    "product_gradient": gated.product_gradient,
    "packed_product": gated.product,
    "packed_product_gradient": gated.product_gradient,
}


def _run(entry: str, tables: tuple[Table, ...], *tensors: Tensor) -> None:
    """Run a kernel, or its NumPy half, on dense tensors of one dtype, device and layout."""
    if tensors[0].is_cuda:
        launch(entry, tables, tensors)
    else:
        _HALVES[entry](*tables, *[memory.flat(view(t)) for t in tensors])


def run_rows(entry: str, tables: tuple[Table, ...], *tensors: Tensor) -> None:
    """Run a kernel, or its NumPy half, on the rows of tensors of two dimensions."""
    if tensors[0].is_cuda:
        for part in rows.parts(*tensors):
            launch(entry, tables, part, rows.divisor(part[0].shape[1]))
    else:
        _HALVES[entry](*tables, *map(view, tensors))


def view(x: Tensor) -> Any:
    """A tensor on the CPU as a NumPy array."""
    _address(x, unit=1)  # NumPy copes with any
    return arrays.TorchArrays.on_cpu(x)


def launch(
    entry: str, tables: tuple[Table, ...], tensors: Sequence[Tensor | None], *values: Any
) -> None:
    """Run a kernel on the memory of tensors, of which the first has an element for each result."""
    x: Any = tensors[0]
    index, unit = x.get_device(), x.element_size()
    # What torch.cuda.current_stream(index).cuda_stream is, but without making an object of it.
    stream = torch._C._cuda_getCurrentRawStream(index)
    addresses = [0 if t is None else _address(t, unit) for t in tensors]
    with _current(index):
        dtype = NUMPY_DTYPES[x.dtype]
        device.run_at(index, stream, entry, tables, dtype, x.numel(), *addresses, *values)


def _address(x: Tensor, unit: int) -> int:
    """Where the tensor's memory begins: at a multiple of the unit."""
    address: int = x.data_ptr()
    if (not address or address % unit) and x.numel():
        raise TypeError(
            "a tensor whose memory was freed, or begins at no multiple of its item size: pass its "
            "clone()"
        )
    return address


def _current(index: int) -> AbstractContextManager[Any]:
    """Make this the current CUDA device."""
    current: AbstractContextManager[Any] = arrays.NO_CONTEXT
    # What torch.cuda.current_device() is, but without asking whether there is CUDA.
    return current if torch._C._cuda_getDevice() == index else torch.cuda.device(index)


def gradient_tables(function: str, x: Tensor) -> tuple[Table, Table]:
    """The tables of f and f′ for products with x."""
    value = product_table(function, NUMPY_DTYPES[x.dtype])
    return value, derivative_table(value)


def derivative(function: str) -> str:
    """The key of f′; raises TypeError for that of a second derivative, which has none.

    It looks at no table, so that compilers may trace it.
    """
    if function.endswith("_second_derivative"):
        raise no_derivative(function)
    return derivative_name(function)


# ---- their derivatives --------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.function = inputs
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


class _DifferentiableActivation(SingleLevelFunction):
    setup_context = staticmethod(_save)

    @staticmethod
    def forward(x: Tensor, function: str) -> Any:
        return below(_activation, x, function)

    @staticmethod
    @untraced
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        (x,) = ctx.saved_tensors
        return None if grad is None else product(x, grad, derivative(ctx.function)), None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, _: None) -> Any:
        if dx is None:
            return None
        with recording():
            (x,) = map(primal, ctx.saved_tensors)
            return product(x, dx, derivative(ctx.function))


class _DifferentiableProduct(SingleLevelFunction):
    setup_context = staticmethod(_save)

    @staticmethod
    def forward(x: Tensor, z: Tensor, function: str) -> Any:
        return below(_product, x, z, function)

    @staticmethod
    @untraced
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        x, z = ctx.saved_tensors
        by_x, by_z, _ = ctx.needs_input_grad
        if grad is None:
            return None, None, None
        if not by_x:
            return None, product(x, grad, ctx.function), None
        # A ragged tensor takes what is pointwise and has one result.
        gradient = differentiable_product_gradient if x.is_nested else _product_gradient
        dx, dz = gradient(x, z, grad, ctx.function)
        return dx, dz if by_z else None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dz: Tensor | None, _: None) -> Any:
        with recording():
            x, z = map(primal, ctx.saved_tensors)
            by_z = None if dz is None else product(x, dz, ctx.function)
            if dx is None:
                return by_z
            by_x = product(x, z * dx, derivative(ctx.function))
            return by_x if by_z is None else by_x + by_z


def differentiable_product_gradient(
    x: Tensor, z: Tensor, grad: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    """The gradients in two passes that can be differentiated themselves, rounded twice."""
    return product(x, z * grad, derivative(function)), product(x, grad, function)


# ---- registration -------------------------------------------------------------------------------

_POINTWISE = (torch.Tag.pointwise,)

_activation = register(
    "activation(Tensor x, str function) -> Tensor",
    _run_activation,
    lambda x, function: _result(x),
    _DifferentiableActivation.apply,
    tags=_POINTWISE,
)
_product = register(
    "product(Tensor x, Tensor z, str function) -> Tensor",
    _run_product,
    lambda x, z, function: product_result(x, z),
    _DifferentiableProduct.apply,
    tags=_POINTWISE,
)
_product_gradient = register(
    "product_gradient(Tensor x, Tensor z, Tensor grad, str function) -> (Tensor, Tensor)",
    _run_product_gradient,
    lambda x, z, grad, function: (product_result(x, z, grad), product_result(x)),
    differentiable_product_gradient,
    tags=_POINTWISE,
)
