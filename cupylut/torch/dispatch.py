"""What PyTorch's dispatcher asks of an operator: shapes, derivatives, batching rules, and refusals.

`register` gives the operators of operators.py, packed.py and fused_activation.py all of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

_library = torch.library.Library("cupylut", "DEF")


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that torch.compile never traces, nor what it calls: for what PyTorch calls back.

    Such a call, of a backward pass for instance, looks to the compiler like any other where it
    takes place inside a compiled function, and it would trace into NumPy. `torch.compiler.disable`
    is the same, but imports the compiler, which takes seconds, also for who compiles nothing.
    """
    try:
        from torch._C._dynamo.eval_frame import (
            _FrameAction,
            _FrameExecStrategy,
            set_code_exec_strategy,
        )
    except ImportError:  # another release
        return torch._disable_dynamo(function)  # type: ignore[no-any-return]
    skip = _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.SKIP)
    set_code_exec_strategy(function.__code__, skip)
    return function


def register(
    schema: str,
    run: Callable[..., Any],
    result: Callable[..., Any],
    differentiable: Callable[..., Any],
    batched: Callable[..., Any] | None = None,
    tags: tuple[Any, ...] = (),
) -> Any:
    """Make an operator of `torch.ops.cupylut` and return it.

    run: computes it for tensors on the CPU or a CUDA device. result: makes empty results, for
    tensors without memory. differentiable: the same operator where derivatives are recorded.
    batched: a rule for `torch.library.register_vmap`; without one, a batch is a call on tensors of
    one axis more, in front.
    """
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag, *tags))
    operator = getattr(torch.ops.cupylut, name).default
    for key in ("CPU", "CUDA"):
        _library.impl(name, untraced(run), key)
    for key in ("CompositeExplicitAutograd", "NestedTensorCPU", "NestedTensorCUDA"):  # all others
        _library.impl(name, refuse, key)
    _library.impl(name, _autograd(operator, differentiable), "Autograd", with_keyset=True)
    torch.library.register_fake(f"cupylut::{name}", result, lib=_library)
    rule = _of_each(result, batched or _in_one_call(operator))
    torch.library.register_vmap(f"cupylut::{name}", rule, lib=_library)
    return operator


def refuse(*args: Any) -> None:
    """Raise for the first tensor of a kind that an operator does not take."""
    x = next(filter(_is_special, args), args[0])
    if x.is_quantized:
        raise TypeError(f"a quantized {x.dtype} tensor is not supported: pass its dequantize()")
    kind = "nested tensor" if x.is_nested else f"{x.layout} tensor"
    raise TypeError(
        f"a {kind} of {x.dtype} on {x.device} is not supported: pass a dense tensor of floats on "
        "the CPU or a CUDA device"
    )


def _is_special(x: Any) -> bool:
    """Whether this is a tensor, but none that is dense."""
    special = isinstance(x, Tensor) and (x.is_nested or x.is_quantized or x.layout != torch.strided)
    return bool(special)


def recorded(proxy: torch.fx.Proxy, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """A call that torch.fx traces, as one node: what depends on dtypes is decided when it runs."""
    return proxy.tracer.create_proxy("call_function", function, (proxy, *args), named)


# ---- derivatives --------------------------------------------------------------------------------


class SingleLevelFunction(torch.autograd.function._SingleLevelFunction):  # type: ignore[misc]
    """The base class of what an operator is where derivatives are recorded.

    An operator's autograd kernel sees one level of differentiation, as of torch.func.grad inside
    torch.func.jvp, and leaves the others to those below. torch.autograd.Function would begin with
    the outermost again; its base class is meant for a single level.
    """

    # Compiled autograd asks for it, and the base class has none.
    _compiled_autograd_key = getattr(torch.autograd.Function, "_compiled_autograd_key", None)


def below(operator: Callable[..., Any], *args: Any) -> Any:
    """The operator at the levels below, where derivatives are recorded by rules of their own."""
    with recording(), torch._C._AutoDispatchBelowAutograd():
        return operator(*args)


@contextmanager
def recording() -> Iterator[None]:
    """Record derivatives: PyTorch has switched that off, for the levels below too."""
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        yield


def primal(x: Tensor | None) -> Tensor | None:
    """x without its tangent of this level."""
    return None if x is None else forward_ad.unpack_dual(x, level=0).primal


def _is_differentiated(*args: Any) -> bool:
    """Whether a derivative by one of the tensors is, or may be, recorded at this level."""
    if forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return True
    return torch.is_grad_enabled() and any(getattr(x, "requires_grad", False) for x in args)


def _autograd(operator: Any, differentiable: Callable[..., Any]) -> Any:
    """The autograd kernel of an operator."""

    @untraced
    def kernel(keys: Any, *args: Any) -> Any:
        if _is_differentiated(*args):
            with enable_single_level_autograd_function():
                return differentiable(*args)
        return operator.redispatch(keys & torch._C._after_autograd_keyset, *args)

    return kernel


# ---- batching rules -----------------------------------------------------------------------------


def _of_each(result: Callable[..., Any], rule: Callable[..., Any]) -> Any:
    """The rule, for batches each of whose elements the operator takes by itself.

    Behind the batch's axis a number would look like a row, and the row like one that fits it.
    """

    def checked(info: Any, dims: tuple[int | None, ...], *args: Any) -> Any:
        result(*map(_shape_of_one, args, dims))
        return rule(info, dims, *args)

    return checked


def _shape_of_one(x: Any, dim: int | None) -> Any:
    """A tensor without memory of the shape and dtype of one element of a batch."""
    if not isinstance(x, Tensor):
        return x
    shape = list(x.shape)
    if dim is not None:
        del shape[dim]
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _in_one_call(operator: Callable[..., Any]) -> Any:
    """The operator applied to a whole batch, as torch.func.vmap asks for it."""

    def rule(info: Any, dims: tuple[int | None, ...], *args: Any) -> Any:
        results = operator(*map(partial(in_front, info.batch_size), args, dims))
        return results, (0,) * len(results) if isinstance(results, tuple) else 0

    return rule


def in_front(size: int, x: Any, dim: int | None) -> Any:
    """A tensor of a batch with the batch's axis in front; anything else as it is."""
    if not isinstance(x, Tensor):
        return x
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
