"""patch and restore: the activations and gated MLPs of a model replaced, and put back."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from ..tables import Table
from .activations import Verdict, verdict
from .mlp import gated_mlp
from .source import written_out
from .substitutes import Product, in_one_pass, substitute


class Found(NamedTuple):
    """Something in a model: where it is, what it was, and what became of it."""

    name: str
    kind: str
    what: str


@dataclass(frozen=True)
class Slot:
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

    def __init__(self, replaced: list[Found], left: list[Found], slots: list[Slot]) -> None:
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


def members(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any, Verdict]]:
    """Every activation: its full name, who holds it as which attribute, itself, and the verdict."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}: give a torch.nn.Module, of a pipeline its model"
        )
    for path, owner in model.named_modules():
        if verdict(owner) != Verdict():
            continue  # what an activation holds is its own affair
        for attribute, value in [*owner._modules.items(), *vars(owner).items()]:
            found = verdict(value)
            if found != Verdict():
                yield f"{path}.{attribute}".lstrip("."), owner, attribute, value, found


def patch(model: nn.Module, tables: Mapping[str, Table] | None = None) -> Patch:
    """Replace the activations and gated MLPs of a model; returns the handle for `restore`.

    model: any `torch.nn.Module`, in training or not, on the CPU or a CUDA device.

    Replaced are the activations of `transformers.activations.ACT2CLS`, of `torch.nn`, and of
    `torch.nn.functional` where an attribute holds one, also in a `functools.partial`; a call of
    that with more arguments than the tensor goes where it went before. A module that is shared is
    replaced by one that is. Gated MLPs, ``down(act(gate(x)) * up(x))`` or the same of
    the halves of one projection, get the product in one pass; they keep their identity.

    Left are functions that cost no more than a copy, modules with hooks or with a forward of their
    own, subclasses, other settings than the tables', and activations that a forward method calls by
    name. Formulas that are written out are not seen.

    tables: for activations by name, as the handle has them, tables to take instead of the usual
    ones, for inference; see `linear_tables`. Raises ValueError for a name that is not replaced,
    and TypeError for a model that is no module.

    Patching a patched model finds nothing more to replace. Copies of a patched model stay patched.
    The results agree with the unpatched model's as closely as docs/accuracy.md says of each
    function; gradients are those of `cupylut.torch`.

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
    tables = dict(tables or {})
    replaced: list[Found] = []
    left: list[Found] = []
    slots: list[Slot] = []
    made: dict[tuple[int, int], Any] = {}
    chosen: dict[int | str, Table] = {}  # a module may have several names, and is one
    gates: dict[tuple[int, str | None], str] = {}
    if verdict(model) != Verdict():
        left.append(Found("", _kind(model), "is the model itself, and nothing refers to it"))
    for name, _, _, value, (function, _) in members(model):
        if function is not None and name in tables:
            chosen.setdefault(identity(name, value), tables.pop(name))
    for name, owner, attribute, value, (function, reason) in members(model):
        if function is None:
            left.append(Found(name, _kind(value), reason))
            continue
        table = chosen.get(identity(name, value))
        key = id(value), id(table)
        if key not in made:
            made[key] = substitute(value, function, table)
        slots.append(Slot(owner, attribute, value, made[key]))
        replaced.append(Found(name, _kind(value), str(table or function)))
        if table is None:
            gates[id(owner), attribute] = function
    if tables:
        raise ValueError(f"tables for {', '.join(tables)}, which are no activations to replace")
    for name, module in model.named_modules():
        kind: Any = type(module)
        form = _form(module, gates)
        if form is not None:
            try:
                slots.append(Slot(module, "__class__", kind, in_one_pass(kind, form)))
            except TypeError as error:  # of an __init_subclass__ or a metaclass of its own
                left.append(
                    Found(name, kind.__name__, f"has a class that cannot be extended: {error}")
                )
                continue
            replaced.append(Found(name, kind.__name__, str(form)))
        methods = [m for m in _methods(module) if form is None or form.method != m]
        calls = [f"calls {call} in {m}" for m in methods for call in written_out(getattr(kind, m))]
        left += [Found(name, kind.__name__, call) for call in calls]
    for slot in slots:
        setattr(slot.owner, slot.attribute, slot.after)
    return Patch(replaced, left, slots)


def _methods(module: nn.Module) -> list[str]:
    """What to read of a module: nothing of an activation, nor what it has for its own.

    The experts of a mixture have a method for the product, called by all that evaluate them
    together; their forward evaluates one after the other.
    """
    if verdict(module) != Verdict():
        return []
    both = "forward", "_apply_gate"
    return [m for m in both if hasattr(type(module), m) and m not in vars(module)]


def _form(module: nn.Module, gates: Mapping[tuple[int, str | None], str]) -> Product | None:
    """The gated MLP that a module is, if its activation is one of the gates or called by name."""
    for method in _methods(module):
        mlp = gated_mlp(getattr(type(module), method))
        if mlp is not None:
            function = mlp.function or gates.get((id(module), mlp.activation))
            if function is not None:
                return Product(mlp, function, method)
    return None


def identity(name: str, value: Any) -> int | str:
    """What has one table: a module, or a place where a function is referred to."""
    return id(value) if isinstance(value, nn.Module) else name


def _kind(value: Any) -> str:
    """What to call an activation."""
    if isinstance(value, partial):
        return f"partial {_kind(value.func)}"
    return type(value).__name__ if isinstance(value, nn.Module) else value.__name__


def restore(handle: Patch) -> None:
    """Undo a `patch`: every attribute refers to the very object of before.

    A second time there is nothing to do. Raises ValueError, and restores nothing, where something
    else has taken the place of what was put there; TypeError for what is no handle.
    """
    if not isinstance(handle, Patch):
        raise TypeError(f"restore takes what patch returned, not a {type(handle).__name__}")
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
def patched(model: nn.Module, tables: Mapping[str, Table] | None = None) -> Iterator[Patch]:
    """Within a with statement: `patch`; after it: `restore`.

    >>> import torch
    >>> model = nn.Sequential(nn.SiLU())
    >>> with patched(model) as patch:
    ...     y = model(torch.tensor([1.0]))
    >>> model, y
    (Sequential(
      (0): SiLU()
    ), tensor([0.7311]))
    """
    handle = patch(model, tables)
    try:
        yield handle
    finally:
        restore(handle)
