"""What takes the place of an activation or a gated MLP in a patched model.

All of it can be copied and pickled wherever the model can.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from ..tables import Table
from ..torch import Activation
from ..torch.operators import activation, product
from ..torch.packed import packed_product
from .activations import addition
from .mlp import GatedMLP


@dataclass(frozen=True)
class Product:
    """The method of a gated MLP, usually its forward, with the product in one pass."""

    mlp: GatedMLP
    function: str
    method: str = "forward"

    def __str__(self) -> str:
        return f"{self.function} and the product in one pass"

    def fits(self, module: Any) -> bool:
        """Whether the module's activation is still the one that was put there, and no more."""
        name = self.mlp.activation  # None is called by name, and cannot change
        return name is None or _is_lookup(getattr(module, name), self.function)

    def __call__(self, module: Any, x: Tensor) -> Any:
        for name in self.mlp.before:
            x = getattr(module, name)(x)
        gate, *up = [getattr(module, name)(x) for name in self.mlp.projections] or [x]
        if not up:
            y = packed_product(gate, self.function, self.mlp.gate_first)
        elif gate.dtype == up[0].dtype and gate.shape == up[0].shape:
            y = product(gate, up[0], self.function)
        else:
            y = activation(gate, self.function) * up[0]
        for name in self.mlp.down:
            part = attrgetter(name)(module)
            y = like_weight(y, part) if name.endswith(".weight") else part(y)
        return y


def like_weight(x: Tensor, weight: Any) -> Tensor:
    """x in the dtype of a weight, which may be wider, unless that is an int8 or no tensor."""
    if not isinstance(weight, Tensor) or weight.dtype == torch.int8:
        return x
    return x.to(weight.dtype)


@cache
def in_one_pass(base: type, form: Product) -> type:
    """A subclass with that method, for a module to have as its class.

    Where something else became the activation, or hooks came to it, the method is that of before.
    So the module, with its parameters, hooks and whoever refers to it, stays the same.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not form.fits(self):
            return getattr(base, form.method)(self, *args, **kwargs)
        (x,) = (*args, *kwargs.values())
        return form(self, x)

    def reduce(self: Any, _: int) -> Any:  # pickle would look for the class by its name
        return _empty, (base, form), self.__getstate__()

    namespace = {
        "__module__": __name__,
        "__doc__": f"{base.__name__} with {form}.",
        form.method: method,
        "extra_repr": lambda self: str(form),
        "__reduce_ex__": reduce,
    }
    return type(base.__name__, (base,), namespace)


def _empty(base: type, form: Product) -> Any:
    kind: Any = in_one_pass(base, form)
    return kind.__new__(kind)


class Lookup(nn.Module):  # type: ignore[misc]
    """y = table(x), for a table of one's own; without derivatives, so for inference only."""

    def __init__(self, table: Table) -> None:
        """table: for the dtype that x will have."""
        super().__init__()
        self.table = table

    def forward(self, input: Tensor) -> Any:
        return self.table(input)

    def extra_repr(self) -> str:
        return repr(self.table)


@dataclass(frozen=True)
class Call:
    """A lookup in the place of a bare callable, and that itself where it gets further arguments."""

    lookup: Callable[[Tensor], Any]
    replaced: Callable[..., Any]

    def __call__(self, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:  # such as approximate=, or inplace=True
            return self.replaced(input, *args, **kwargs)
        return self.lookup(input)


def substitute(value: Any, function: str, table: Table | None) -> Any:
    """A module in the place of a module, a callable in that of a callable."""
    if isinstance(value, nn.Module):
        module = Activation(function) if table is None else Lookup(table)
        return module.train(value.training)
    return Call(partial(activation, function=function) if table is None else table, value)


def _is_lookup(value: Any, function: str) -> bool:
    """Whether this is what `substitute` makes for a function, with nothing added to it."""
    if type(value) is Activation:
        return value.function == function and not addition(value)
    return isinstance(value, Call) and getattr(value.lookup, "keywords", {}) == {
        "function": function
    }
