"""Hugging Face models: every activation and gated MLP of a model through tables, in one line.

    with cupylut.transformers.patched(model):
        model(**inputs)

Works on any `torch.nn.Module`. What a module computes is known by its type and settings, never by
the name of the attribute that holds it, and it is replaced by that very function: gelu and its tanh
form, which differ by up to 4.7e-4, stay apart. What is not recognised beyond doubt stays as it is;
`print(patch(model))` lists both.

Parameters, the keys of the state dict and the classes that `isinstance` sees of a gated MLP are
untouched, so training, saving, copying, pickling and torch.compile go on as before.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import activations

from .functions import FUNCTIONS
from .mlp import GatedMLP, gated_mlp
from .ops import default_table, derivative_table, gelu_form
from .torch import Activation, activation, product

# ---- which function is it? ----------------------------------------------------------------------


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
    return Verdict(f"elu({float(alpha)!r})")


def _always(function: str) -> Callable[..., Verdict]:
    return lambda *_: Verdict(function)


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
}
_MODULES: dict[type, Callable[[Any], Verdict]] = {
    getattr(activations, name): _always(function)
    for name, function in _TRANSFORMERS.items()
    if hasattr(activations, name) and function in FUNCTIONS
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


def _of_module(module: nn.Module) -> Verdict:
    kind = type(module)
    if isinstance(module, Activation) or kind.__module__ == __name__:
        return Verdict(reason="is a table already")
    if isinstance(module, _CHEAP_MODULES):
        return Verdict(reason="costs no more than a copy")
    if kind not in _MODULES:
        known = next((base.__name__ for base in kind.__mro__ if base in _MODULES), None)
        return Verdict(reason=f"may differ from its base class {known}" if known else "")
    if "forward" in vars(module):
        return Verdict(reason="has a forward of its own")
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return Verdict(reason="has hooks")
    if getattr(module, "inplace", False):
        return Verdict(reason="works in place")
    return _MODULES[kind](module)


def _of_callable(value: Any) -> Verdict:
    function, settings = value, {}
    if isinstance(value, partial) and not value.args:
        function, settings = value.func, value.keywords
    if not isinstance(function, FunctionType | BuiltinFunctionType):
        return Verdict()
    if function in _CHEAP_CALLABLES:
        return Verdict(reason="costs no more than a copy")
    try:
        return _CALLABLES[function](**settings) if function in _CALLABLES else Verdict()
    except TypeError:
        return Verdict(reason=f"is called with {', '.join(settings)}")


@cache
def _has_derivative(function: str) -> bool:
    """Whether the tables of a function can be trained through, which they cannot where f′ jumps."""
    try:
        derivative_table(default_table(function, np.dtype(np.float32)))
    except TypeError:
        return False
    return True


# ---- what takes its place -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Product:
    """The forward of a gated MLP with the product in one pass."""

    mlp: GatedMLP
    function: str

    def __str__(self) -> str:
        return f"{self.function} and the product in one pass"

    def __call__(self, module: Any, _: type, x: Tensor) -> Any:
        gate, *rest = (getattr(module, name)(x) for name in self.mlp.projections)
        if rest:
            (up,) = rest
        else:
            halves = gate.chunk(2, dim=-1)
            gate, up = halves if self.mlp.gate_first else reversed(halves)
        if gate.dtype == up.dtype and gate.shape == up.shape:
            y = product(gate, up, self.function)
        else:
            y = activation(gate, self.function) * up
        for name in self.mlp.down:
            y = getattr(module, name)(y)
        return y


@dataclass(frozen=True)
class _InferenceOnly:
    """The forward of an activation whose derivative jumps: its own where one is recorded."""

    function: str

    def __str__(self) -> str:
        return f"{self.function} where no derivative is recorded"

    def __call__(self, module: Any, base: Any, x: Tensor) -> Any:
        if torch.is_grad_enabled() and x.requires_grad:
            return base.forward(module, x)
        return activation(x, self.function)


_Form = _Product | _InferenceOnly


@cache
def _specialised(base: type, form: _Form) -> type:
    """A subclass with another forward, for the object to have as its class.

    So the object, with its parameters, hooks and whoever refers to it, is the same.
    """

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        (x,) = (*args, *kwargs.values())
        return form(self, base, x)

    def reduce(self: Any, _: int) -> Any:  # pickle would look for the class by its name
        return _empty, (base, form), self.__getstate__()

    namespace = {
        "__module__": __name__,
        "__doc__": f"{base.__name__} with {form}.",
        "forward": forward,
        "extra_repr": lambda self: str(form),
        "__reduce_ex__": reduce,
    }
    return type(base.__name__, (base,), namespace)


def _empty(base: type, form: _Form) -> Any:
    kind: Any = _specialised(base, form)
    return kind.__new__(kind)


# ---- patch and restore --------------------------------------------------------------------------


class Found(NamedTuple):
    """Something in a model: where it is, what it was, and what became of it."""

    name: str
    kind: str
    what: str


@dataclass(frozen=True)
class _Slot:
    """An attribute that refers to `after` instead of `before`."""

    owner: Any
    attribute: str
    before: Any
    after: Any


class Patch:
    """What `patch` did to a model, and the handle to undo it.

    `replaced` and `left` are tuples of `Found`: (name, kind, what), where `what` is the function,
    or the reason. As a string it is a summary, a line for all that differ only in numbers.
    """

    def __init__(self, replaced: list[Found], left: list[Found], slots: list[_Slot]) -> None:
        """Made by `patch`."""
        self.replaced = tuple(replaced)
        self.left = tuple(left)
        self._slots = slots

    @property
    def active(self) -> bool:
        """Whether there is anything to restore."""
        return bool(self._slots)

    def __str__(self) -> str:
        lines = [f"replaced: {len(self.replaced)}", *_summary(self.replaced, "{} → {}")]
        return "\n".join([*lines, f"left: {len(self.left)}", *_summary(self.left, "{} {}")])


def _summary(found: tuple[Found, ...], form: str) -> Iterator[str]:
    def pattern(name: str) -> str:
        return ".".join("*" if part.isdigit() else part for part in name.split("."))

    counts = Counter((pattern(name), form.format(kind, what)) for name, kind, what in found)
    for (name, text), count in counts.items():
        yield f"  {count:4} × {name}: {text}"


def _members(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any, Verdict]]:
    """Every activation: its full name, who holds it as which attribute, itself, and the verdict."""
    for path, owner in model.named_modules():
        if _of_module(owner) != Verdict():
            continue  # what an activation holds is its own affair
        for attribute, value in [*owner._modules.items(), *vars(owner).items()]:
            of = _of_module if isinstance(value, nn.Module) else _of_callable
            verdict = of(value)
            if verdict != Verdict():
                yield f"{path}.{attribute}".lstrip("."), owner, attribute, value, verdict


def patch(model: nn.Module) -> Patch:
    """Replace the activations and gated MLPs of a model; returns the handle for `restore`.

    model: any `torch.nn.Module`, in training or not, on the CPU or a CUDA device.

    Replaced are the activations of `transformers.activations.ACT2CLS`, of `torch.nn`, and of
    `torch.nn.functional` where an attribute holds one, also in a `functools.partial`. A module that
    is shared is replaced by one that is. Gated MLPs, ``down(act(gate(x)) * up(x))`` or the same of
    the halves of one projection, get the product in one pass; they keep their identity.

    Left are functions that cost no more than a copy, modules with hooks or with a forward of their
    own, subclasses, other settings than the tables', and calls that are written out in a forward
    method, which are no part of the model that it could see.

    Patching a patched model finds nothing more to replace. Copies of a patched model are patched
    for good. The results agree with the unpatched model's as closely as docs/accuracy.md says of
    each function; gradients are those of `cupylut.torch`.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.GELU(approximate="tanh"), nn.ReLU())
    >>> print(patch(model))
    replaced: 1
         1 × *: GELU → gelu_tanh
    left: 1
         1 × *: ReLU costs no more than a copy
    >>> model[1]
    Activation('gelu_tanh')
    """
    replaced: list[Found] = []
    left: list[Found] = []
    slots: dict[tuple[int, str], _Slot] = {}
    made: dict[int, Any] = {}

    def put(owner: Any, attribute: str, before: Any, after: Any) -> None:
        slots[id(owner), attribute] = _Slot(owner, attribute, before, after)

    if _of_module(model) != Verdict():
        left.append(Found("", _kind(model), "is the model itself, and nothing refers to it"))
    gates: dict[tuple[int, str], str] = {}
    for name, owner, attribute, value, (function, reason) in _members(model):
        if function is None:
            left.append(Found(name, _kind(value), reason))
            continue
        if _has_derivative(function):
            if id(value) not in made:
                made[id(value)] = _substitute(value, function)
            put(owner, attribute, value, made[id(value)])
            gates[id(owner), attribute] = function
        elif isinstance(value, nn.Module):
            kind: Any = type(value)
            put(value, "__class__", kind, _specialised(kind, _InferenceOnly(function)))
        else:
            left.append(Found(name, _kind(value), "has a derivative that jumps"))
            continue
        replaced.append(Found(name, _kind(value), function))
    for name, module in model.named_modules():
        kind = type(module)
        mlp = None if "forward" in vars(module) else gated_mlp(kind.forward)
        if mlp is not None and (function := gates.get((id(module), mlp.activation))):
            form = _Product(mlp, function)
            put(module, "__class__", kind, _specialised(kind, form))
            replaced.append(Found(name, kind.__name__, str(form)))
    for slot in slots.values():
        setattr(slot.owner, slot.attribute, slot.after)
    return Patch(replaced, left, list(slots.values()))


def _kind(value: Any) -> str:
    """What to call an activation."""
    if isinstance(value, partial):
        return f"partial {_kind(value.func)}"
    return type(value).__name__ if isinstance(value, nn.Module) else value.__name__


def _substitute(value: Any, function: str) -> Any:
    """A module in the place of a module, a callable in that of a callable."""
    if isinstance(value, nn.Module):
        return Activation(function).train(value.training)
    return partial(activation, function=function)


def restore(handle: Patch) -> None:
    """Undo a `patch`: every attribute refers to the very object of before.

    A second time there is nothing to do. Raises ValueError, and restores nothing, where something
    else has taken the place of what was put there.
    """
    for slot in handle._slots:
        found = getattr(slot.owner, slot.attribute, None)
        if found is not slot.after:
            raise ValueError(
                f"{slot.attribute} of {type(slot.owner).__name__} is a {type(found).__name__} now, "
                "not what patch put there: undo first what was done to the model after it"
            )
    for slot in handle._slots:
        if isinstance(slot.after, nn.Module):
            slot.before.train(slot.after.training)
        setattr(slot.owner, slot.attribute, slot.before)
    handle._slots = []


@contextmanager
def patched(model: nn.Module) -> Iterator[Patch]:
    """A model that is patched within a with statement, and restored after it.

    >>> model = nn.Sequential(nn.SiLU())
    >>> with patched(model) as patch:
    ...     y = model(torch.tensor([1.0]))
    >>> model, y
    (Sequential(
      (0): SiLU()
    ), tensor([0.7311]))
    """
    handle = patch(model)
    try:
        yield handle
    finally:
        restore(handle)
