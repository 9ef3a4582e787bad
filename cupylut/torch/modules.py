"""The functions as modules, in place of those of `torch.nn`."""

from typing import Literal

import torch
from torch import Tensor

from ..names import checked_name
from ..ops import gelu_form
from .operators import activation, product
from .packed import packed_product


class Activation(torch.nn.Module):  # type: ignore[misc]
    """y = f(x) for every element, f a function by the name that `cupylut.tabulate` takes.

    Those beyond `cupylut.FUNCTIONS` have tables in some dtypes only.

    Without parameters and state. There is no `inplace`.

    >>> Activation("quick_gelu")(torch.tensor([1.0]))
    tensor([0.8458])
    >>> Activation("quick_gelu")
    Activation('quick_gelu')
    """

    def __init__(self, function: str) -> None:
        """function: a name, such as "gelu"; raises ValueError for one that is not known."""
        super().__init__()
        self.function = checked_name(function)

    def forward(self, input: Tensor) -> Tensor:  # as PyTorch's modules have it
        return activation(input, self.function)

    def extra_repr(self) -> str:
        return repr(self.function) if type(self) is Activation else ""


class GELU(Activation):
    """y = x·Φ(x), or the tanh form of it: in place of `torch.nn.GELU`; see `cupylut.gelu`."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        """approximate: "none" or "tanh"."""
        super().__init__(gelu_form(approximate))
        self.approximate = approximate

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Activation):
    """y = x·σ(x): in place of `torch.nn.SiLU`."""

    def __init__(self) -> None:
        """Nothing to choose."""
        super().__init__("silu")


class Mish(Activation):
    """y = x·tanh(log(1 + eˣ)): in place of `torch.nn.Mish`."""

    def __init__(self) -> None:
        """Nothing to choose."""
        super().__init__("mish")


class QuickGELU(Activation):
    """y = x·σ(1.702·x), as CLIP has it."""

    def __init__(self) -> None:
        """Nothing to choose."""
        super().__init__("quick_gelu")


class Gated(torch.nn.Module):  # type: ignore[misc]
    """y = f(gate)·up in one pass, f a function by name, as in `Activation`.

    Without up, the halves of the last axis of one tensor are gate and up, in this order.

    >>> Gated("sigmoid")(torch.tensor([0.0]), torch.tensor([3.0]))
    tensor([1.5000])
    >>> Gated("sigmoid")(torch.tensor([0.0, 3.0]))
    tensor([1.5000])
    """

    def __init__(self, function: str) -> None:
        """function: a name, such as "gelu"; raises ValueError for one that is not known."""
        super().__init__()
        self.function = checked_name(function)

    def forward(self, gate: Tensor, up: Tensor | None = None) -> Tensor:
        if up is None:
            return packed_product(gate, self.function)
        return product(gate, up, self.function)

    def extra_repr(self) -> str:
        return repr(self.function) if type(self) is Gated else ""


class SwiGLU(Gated):
    """y = silu(gate)·up; see `cupylut.swiglu`."""

    def __init__(self) -> None:
        """Nothing to choose."""
        super().__init__("silu")


class GEGLU(Gated):
    """y = gelu(gate)·up, or with the tanh form of gelu; see `cupylut.geglu`."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        """approximate: "none" or "tanh"."""
        super().__init__(gelu_form(approximate))
        self.approximate = approximate

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"
