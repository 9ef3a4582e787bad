"""PyTorch operators: the functions with derivatives, batching rules and shapes.

Three operators, in `torch.ops.cupylut`, are all that autograd, torch.compile, torch.export and
torch.func see. A function goes by its key, a string such as "gelu", "elu(0.5)" or
"gelu_derivative":

    activation(x, f)                  f(x)
    product(x, z, f)                  f(x)·z, rounded once: the gated forms, and every derivative
    product_gradient(x, z, grad, f)   grad·z·f′(x) and grad·f(x), in one pass

Derivatives are products with f′, so that the operators differentiate each other:

    ∂ activation(x, f) = product(x, ∂x, f′)
    ∂ product(x, z, f) = product(x, ∂z, f) + product(x, z·∂x, f′)

f″ is tabulated for no function: what needs it raises TypeError.

On the CPU the tables' NumPy half works on the tensor's memory; on CUDA the kernels get its address
and the current stream. PyTorch allocates the results.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

from . import arrays, device, gated, workers
from .accuracy import DType
from .ops import default_table, derivative_table
from .tables import Table

_library = torch.library.Library("cupylut", "DEF")
_SCHEMAS = (
    "activation(Tensor x, str function) -> Tensor",
    "product(Tensor x, Tensor z, str function) -> Tensor",
    "product_gradient(Tensor x, Tensor z, Tensor grad, str function) -> (Tensor, Tensor)",
)
for _schema in _SCHEMAS:
    _library.define(_schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.pointwise))

_activation = torch.ops.cupylut.activation.default
_product = torch.ops.cupylut.product.default
_product_gradient = torch.ops.cupylut.product_gradient.default


def activation(x: Tensor, function: str) -> Tensor:
    """y = f(x) for the key of a function; see `cupylut.gelu`.

    Differentiable once, in reverse and forward mode. The gradient is grad·f′(x) with f′ from a
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

    x and z have the same shape, dtype (a float) and device. Differentiable once; both gradients
    come from one pass.

    >>> product(torch.tensor([-1.0, 1.0]), torch.tensor([2.0, 2.0]), "silu")
    tensor([-0.5379,  1.4621])
    """
    y: Tensor = _product(x, z, function)
    return y


# ---- what the operators compute -----------------------------------------------------------------

# PyTorch's dtypes as NumPy's, and the dtype of f(x) for each
_DTYPES: dict[Any, DType] = {
    getattr(torch, dtype.name): dtype
    for dtype in [*map(np.dtype, "?bhilBHILefd"), np.dtype(ml_dtypes.bfloat16)]
}
_RESULTS: dict[Any, Any] = {
    ours: getattr(torch, result.name)
    for ours, dtype in _DTYPES.items()
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


def _product_result(x: Tensor, *others: Tensor) -> Tensor:
    """An empty tensor for f(x)·z; raises where the operands do not fit."""
    if not x.is_floating_point():
        raise TypeError(f"a product takes tensors of floats, not of {x.dtype}: convert it")
    for z in others:
        if z.dtype != x.dtype:
            raise TypeError(f"tensors of {x.dtype} and {z.dtype}: convert one, to multiply them")
        if z.device != x.device:
            raise ValueError(f"tensors on {x.device} and {z.device}: move one, to multiply them")
        if z.shape != x.shape:
            raise ValueError(
                f"tensors of shape {tuple(x.shape)} and {tuple(z.shape)}: give equal shapes"
            )
    return _result(x)


def _laid_out(x: Tensor, out: Tensor) -> Tensor:
    """x, or where it lies in memory in another way than out, a copy that lies like it."""
    return x if x.stride() == out.stride() else torch.empty_like(out).copy_(x)


def _run_activation(x: Tensor, function: str) -> Tensor:
    out = _result(x)
    if x.dtype != out.dtype or x.stride() != out.stride():
        x = out.copy_(x)
    _run("elementwise", (default_table(function, _DTYPES[out.dtype]),), x, out)
    return out


def _run_product(x: Tensor, z: Tensor, function: str) -> Tensor:
    out = _product_result(x, z)
    x, z = (_laid_out(t, out) for t in (x, z))
    _run("product", (_wide_table(function, x),), x, z, out)
    return out


def _run_product_gradient(
    x: Tensor, z: Tensor, grad: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    dx = _product_result(x, z, grad)
    dz = torch.empty_like(dx)
    value = _wide_table(function, x)
    tables = value, derivative_table(value)
    x, z, grad = (_laid_out(t, dx) for t in (x, z, grad))
    _run("product_gradient", tables, x, z, grad, dx, dz)
    return dx, dz


# Entry point of the kernel -> the NumPy half
_HALVES: dict[str, Callable[..., None]] = {
    "elementwise": lambda table, x, out: workers.run(table.evaluate, x, out),
    "product": gated.product,
    "product_gradient": gated.product_gradient,
}


def _run(entry: str, tables: tuple[Table, ...], *tensors: Tensor) -> None:
    """Run a kernel, or its NumPy half, on dense tensors of one dtype, device and layout."""
    x, count = tensors[0], tensors[0].numel()
    addresses = [t.data_ptr() for t in tensors]
    unit = x.element_size() if x.is_cuda else 1  # NumPy copes with any address
    if count and any(not address or address % unit for address in addresses):
        raise TypeError(
            "a tensor whose memory was freed, or begins at no multiple of its item size: pass its "
            "clone()"
        )
    if not x.is_cuda:
        _HALVES[entry](*tables, *[arrays.flat(arrays.TorchArrays.on_cpu(t)) for t in tensors])
        return
    index = x.get_device()
    # What torch.cuda.current_stream(index).cuda_stream is, but without making an object of it.
    stream = torch._C._cuda_getCurrentRawStream(index)
    with _current(index):
        device.run_at(index, stream, entry, tables, _DTYPES[x.dtype], count, *addresses)


def _current(index: int) -> AbstractContextManager[Any]:
    """Make this the current CUDA device."""
    current: AbstractContextManager[Any] = arrays.NO_CONTEXT
    # What torch.cuda.current_device() is, but without asking whether there is CUDA.
    return current if torch._C._cuda_getDevice() == index else torch.cuda.device(index)


def _wide_table(function: str, x: Tensor) -> Table:
    """The table for products with x."""
    return default_table(function, gated.real(_DTYPES[x.dtype]))


def _derivative(function: str, x: Tensor) -> str:
    """The key of f′; raises TypeError where it has no table that is good for products with x."""
    derivative_table(_wide_table(function, x))
    return f"{function}_derivative"


# ---- their derivatives --------------------------------------------------------------------------


# An operator's autograd kernel sees one level of differentiation, as of torch.func.grad inside
# torch.func.jvp, and leaves the others to those below. torch.autograd.Function would begin with
# the outermost again; its base class is meant for a single level.
_SingleLevelFunction: Any = torch.autograd.function._SingleLevelFunction


def _below(operator: Callable[..., Any], *args: Any) -> Any:
    """The operator at the levels below, where derivatives are recorded by rules of their own."""
    with _recording(), torch._C._AutoDispatchBelowAutograd():
        return operator(*args)


@contextmanager
def _recording() -> Iterator[None]:
    """Record derivatives: PyTorch has switched that off, for the levels below too."""
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        yield


def _primal(x: Tensor) -> Tensor:
    """x without its tangent of this level."""
    return forward_ad.unpack_dual(x, level=0).primal


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.function = inputs
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


class _DifferentiableActivation(_SingleLevelFunction):  # type: ignore[misc]
    setup_context = staticmethod(_save)

    @staticmethod
    def forward(x: Tensor, function: str) -> Any:
        return _below(_activation, x, function)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        (x,) = ctx.saved_tensors
        return None if grad is None else product(x, grad, _derivative(ctx.function, x)), None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, _: None) -> Any:
        if dx is None:
            return None
        with _recording():
            (x,) = map(_primal, ctx.saved_tensors)
            return product(x, dx, _derivative(ctx.function, x))


class _DifferentiableProduct(_SingleLevelFunction):  # type: ignore[misc]
    setup_context = staticmethod(_save)

    @staticmethod
    def forward(x: Tensor, z: Tensor, function: str) -> Any:
        return _below(_product, x, z, function)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        x, z = ctx.saved_tensors
        by_x, by_z, _ = ctx.needs_input_grad
        if grad is None:
            return None, None, None
        if not by_x:
            return None, product(x, grad, ctx.function), None
        dx, dz = _product_gradient(x, z, grad, ctx.function)
        return dx, dz if by_z else None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dz: Tensor | None, _: None) -> Any:
        with _recording():
            x, z = map(_primal, ctx.saved_tensors)
            by_z = None if dz is None else product(x, dz, ctx.function)
            if dx is None:
                return by_z
            by_x = product(x, z * dx, _derivative(ctx.function, x))
            return by_x if by_z is None else by_x + by_z


_requires_grad = attrgetter("requires_grad")


def _is_differentiated(*args: Any) -> bool:
    """Whether a derivative by one of the tensors is, or may be, recorded at this level."""
    if forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return True
    return torch.is_grad_enabled() and any(map(_requires_grad, args[:-1]))


def _autograd(operator: Any, differentiable: Callable[..., Any]) -> Any:
    """The autograd kernel of an operator."""

    def kernel(keys: Any, *args: Any) -> Any:
        if _is_differentiated(*args):
            with enable_single_level_autograd_function():
                return differentiable(*args)
        return operator.redispatch(keys & torch._C._after_autograd_keyset, *args)

    return kernel


def _differentiable_product_gradient(
    x: Tensor, z: Tensor, grad: Tensor, function: str
) -> tuple[Tensor, Tensor]:
    """The gradients in two passes that can be differentiated themselves, rounded twice."""
    return product(x, z * grad, _derivative(function, x)), product(x, grad, function)


# ---- their batching rules -----------------------------------------------------------------------


def _batched(operator: Callable[..., Any], outputs: int) -> Any:
    """The operator applied to a whole batch, as torch.func.vmap asks for it."""

    def rule(info: Any, dims: tuple[int | None, ...], *args: Any) -> Any:
        *tensors, function = args
        batch = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(tensors, dims, strict=False)
        ]
        return operator(*batch, function), (0,) * outputs if outputs > 1 else 0

    return rule


# ---- registration -------------------------------------------------------------------------------


def _refuse(x: Tensor, *_: Any) -> None:
    kind = "nested tensor" if x.is_nested else f"{x.layout} tensor"
    raise TypeError(
        f"a {kind} of {x.dtype} on {x.device} is not supported: pass a dense tensor of floats on "
        "the CPU or a CUDA device"
    )


def _register(
    name: str, run: Any, result: Any, operator: Any, differentiable: Any, outputs: int = 1
) -> None:
    for key in ("CPU", "CUDA"):
        _library.impl(name, run, key)
    for key in ("CompositeExplicitAutograd", "NestedTensorCPU", "NestedTensorCUDA"):  # all others
        _library.impl(name, _refuse, key)
    _library.impl(name, _autograd(operator, differentiable), "Autograd", with_keyset=True)
    torch.library.register_fake(f"cupylut::{name}", result, lib=_library)
    torch.library.register_vmap(f"cupylut::{name}", _batched(operator, outputs), lib=_library)


_register(
    "activation",
    _run_activation,
    lambda x, function: _result(x),
    _activation,
    _DifferentiableActivation.apply,
)
_register(
    "product",
    _run_product,
    lambda x, z, function: _product_result(x, z),
    _product,
    _DifferentiableProduct.apply,
)
_register(
    "product_gradient",
    _run_product_gradient,
    lambda x, z, grad, function: (_product_result(x, z, grad), _product_result(x)),
    _product_gradient,
    _differentiable_product_gradient,
    outputs=2,
)
