"""Which function is it? The activations of PyTorch and transformers, by type and settings.

`verdict` knows a module or a bare callable by what it is, never by the name that something has for
it, and says why a known one cannot be a table.
"""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers import activations

from ..functions import FUNCTIONS, elu
from ..ops import gelu_form
from ..torch import Activation


class Verdict(NamedTuple):
    """The key of the function that something computes, or why it is left; of others neither."""

    function: str | None = None
    reason: str = ""


def _softplus(beta: float = 1, threshold: float = 20) -> Verdict:
    if beta == 1 and threshold >= 20:  # where it becomes x, which it exceeds by e⁻²⁰ = 2e-9
        return Verdict("softplus")
    reason = f"there is no table of softplus with beta {beta:g}, threshold {threshold:g}"
    return Verdict(reason=reason)


def _clipped_gelu(lo: float, hi: float) -> Verdict:
    if lo <= -0.17 and hi == 10:  # gelu never goes below −0.16997
        return Verdict("gelu_10")
    return Verdict(reason=f"there is no table of gelu clipped to [{lo:g}, {hi:g}]")


def _elu(alpha: float) -> Verdict:
    if not isfinite(alpha):
        return Verdict(reason=f"there is no table of elu with alpha {alpha:g}")
    return Verdict(elu(float(alpha)).name)


def _always(function: str) -> Callable[..., Verdict]:
    if function in FUNCTIONS:
        return lambda *_: Verdict(function)
    return lambda *_: Verdict(reason=f"is {function}, which has no tables in every dtype")


CHEAP = "costs no more than a copy"
_HALVES = Verdict(reason="is the product of the halves of its input")

# A version of transformers may lack some of these.
_TRANSFORMERS = {
    "GELUActivation": "gelu",
    "GELUTanh": "gelu_tanh",
    "PytorchGELUTanh": "gelu_tanh",
    "NewGELUActivation": "gelu_tanh",
    "FastGELUActivation": "gelu_tanh",  # with √(2/π) to ten digits
    "AccurateGELUActivation": "gelu_tanh",
    "QuickGELUActivation": "quick_gelu",
    "SiLUActivation": "silu",
    "MishActivation": "mish",
    "LaplaceActivation": "laplace",
    "ReLUSquaredActivation": "relu2",
    "SqrtSoftplusActivation": "sqrtsoftplus",
    "XIELUActivation": "xielu",
}
# What only one model has is listed by its full name, for importing all models would take long.
_MODULES: dict[type | str, Callable[[Any], Verdict]] = {
    getattr(activations, name): _always(function)
    for name, function in _TRANSFORMERS.items()
    if hasattr(activations, name)
} | {
    activations.ClippedGELUActivation: lambda module: _clipped_gelu(module.min, module.max),
    nn.GELU: lambda module: Verdict(gelu_form(module.approximate)),
    nn.ELU: lambda module: _elu(module.alpha),
    nn.Softplus: lambda module: _softplus(module.beta, module.threshold),
    nn.SiLU: _always("silu"),
    nn.Mish: _always("mish"),
    nn.SELU: _always("selu"),
    nn.Sigmoid: _always("sigmoid"),
    nn.Tanh: _always("tanh"),
    nn.GLU: lambda _: _HALVES,
    # With √(2/π) to eight digits.
    "transformers.models.bloom.modeling_bloom.BloomGelu": _always("gelu_tanh"),
    "transformers.models.lxmert.modeling_lxmert.GeLU": _always("gelu"),
}
# Called with the keywords of a functools.partial, if any.
_CALLABLES: dict[Any, Callable[..., Verdict]] = {
    functional.gelu: lambda approximate="none": Verdict(gelu_form(approximate)),
    functional.elu: lambda alpha=1.0: _elu(alpha),
    functional.softplus: _softplus,
    functional.silu: _always("silu"),
    functional.mish: _always("mish"),
    functional.selu: _always("selu"),
    functional.sigmoid: _always("sigmoid"),
    functional.tanh: _always("tanh"),
    torch.selu: _always("selu"),
    torch.sigmoid: _always("sigmoid"),
    torch.tanh: _always("tanh"),
    functional.glu: lambda **_: _HALVES,
    "transformers.models.esm.modeling_esm.gelu": _always("gelu"),
    "transformers.models.evolla.modeling_evolla.gelu": _always("gelu"),
}
# A kernel of their own costs no more than a copy of the tensor; neither would a table.
_CHEAP_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold, nn.Hardtanh, nn.Hardsigmoid,
    nn.Hardswish, activations.LinearActivation,
)  # fmt: skip
_CHEAP_CALLABLES = (
    functional.relu, torch.relu, functional.relu6, functional.leaky_relu, functional.hardswish,
    functional.hardsigmoid, functional.hardtanh,
)  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def verdict(value: Any) -> Verdict:
    """Which function a module or callable computes, or why its table may not take its place.

    >>> verdict(partial(functional.gelu, approximate="tanh"))
    Verdict(function='gelu_tanh', reason='')
    >>> verdict(nn.SiLU(inplace=True))
    Verdict(function=None, reason='works in place')
    >>> verdict(nn.Linear(2, 2))
    Verdict(function=None, reason='')
    """
    try:
        return _of_module(value) if isinstance(value, nn.Module) else _of_callable(value)
    except ValueError as error:  # what PyTorch would refuse when it is called
        return Verdict(reason=str(error))


def addition(module: nn.Module) -> str:
    """What a module does beside what its class says, if anything."""
    if "forward" in module.__dict__:  # not vars(), which PyTorch 2.6 does not compile
        return "has a forward of its own"
    return "has hooks" if any(getattr(module, hooks) for hooks in _HOOKS) else ""


def _form(value: Any, forms: Mapping[Any, Callable[..., Verdict]]) -> Callable[..., Verdict] | None:
    """What is known of a class or function."""
    return forms.get(value) or forms.get(f"{value.__module__}.{value.__qualname__}")


def _of_module(module: nn.Module) -> Verdict:
    kind = type(module)
    if isinstance(module, Activation):
        return Verdict(reason="is a table already")
    if isinstance(module, _CHEAP_MODULES):
        return Verdict(reason=CHEAP)
    form = _form(kind, _MODULES)
    if form is None:
        known = next((base.__name__ for base in kind.__mro__ if _form(base, _MODULES)), None)
        return Verdict(reason=f"may differ from its base class {known}" if known else "")
    reason = addition(module)
    if reason:
        return Verdict(reason=reason)
    if next(module.parameters(), None) is not None:
        return Verdict(reason="has parameters, which a table would not follow")
    if getattr(module, "inplace", False):
        return Verdict(reason="works in place")
    return form(module)


def _of_callable(value: Any) -> Verdict:
    function, settings = value, {}
    if isinstance(value, partial) and not value.args:
        function, settings = value.func, value.keywords
    if not isinstance(function, FunctionType | BuiltinFunctionType):
        return Verdict()
    if function in _CHEAP_CALLABLES:
        return Verdict(reason=CHEAP)
    form = _form(function, _CALLABLES)
    try:
        return form(**settings) if form else Verdict()
    except TypeError:
        return Verdict(reason=f"is called with {', '.join(settings)}")
