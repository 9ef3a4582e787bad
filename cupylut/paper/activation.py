"""Table 1 of the paper, its speeds: the activation of a model, as it is and through tables."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeAlias

from .. import ops
from ..measuring.rivals import torch_function
from ..measuring.timing import FLOOR, Time, fastest, measure
from ..tabulate import tabulate

AS_WRITTEN, FUSED, COMPILED, OURS, LINEAR = (
    "as written",
    "fused",
    "compiled",
    "cupylut",
    "linear table",
)
"""transformers' own module; torch.nn.functional's; torch.compile of the first; the default table;
the linear one, which is the paper's. FLOOR is a copy of the same bytes."""

Activation: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Use:
    """Where the paper meets an activation: the model, its key in transformers, the MLP's width."""

    model: str
    key: str
    width: int


USES: Mapping[str, Use] = {
    "gelu_tanh": Use("GPT-2", "gelu_new", 3072),
    "gelu": Use("BERT", "gelu", 3072),
    "silu": Use("OLMo-1B", "silu", 8192),
}


@dataclass(frozen=True)
class Row:
    """The times of one activation of so many tokens, µs a call, and who is fastest."""

    function: str
    dtype: str
    tokens: int
    width: int
    times: Mapping[str, Time]
    fastest: Sequence[str]


def as_written(function: str) -> Activation:
    """A new module of transformers for a function, as the paper's model has it."""
    module: Activation = import_module("transformers.activations").ACT2FN[USES[function].key]
    return module


def contestants(function: str, dtype: str) -> dict[str, Activation]:
    """What evaluates an activation, by name; without torch.compile.

    Only OpenAI's GELU is written out as a chain of operations and has a fused function beside it;
    the others are fused as they are written.
    """
    torch = import_module("torch")
    fused = {FUSED: torch_function(torch, function)} if function == "gelu_tanh" else {}
    return {
        FLOOR: torch.clone,
        AS_WRITTEN: as_written(function),
        **fused,
        OURS: getattr(ops, function),
        LINEAR: tabulate(function, dtype, kind="linear"),
    }


@cache
def compiled(function: str, dtype: str) -> Activation:
    """torch.compile of the activation as it is written, with the settings that it comes with."""
    torch = import_module("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's, of its own
        activation: Activation = torch.compile(as_written(function))
    return activation


@cache
def why_not_compiled(device: str) -> str:
    """Why torch.compile is left out on a device, or "" where it works: it needs a compiler."""
    torch = import_module("torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:  # whatever becomes of a compiler that is missing or broken
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return ""


def time(function: str, dtype: str, tokens: int, device: str, runs: int, seconds: float) -> Row:
    """Time one activation on "cpu" or "cuda"; see `timing.measure`."""
    torch = import_module("torch")
    width = USES[function].width
    x = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(0))
    x = x.to(device, getattr(torch, dtype))
    found = contestants(function, dtype)
    if not why_not_compiled(device):
        found[COMPILED] = compiled(function, dtype)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        times = measure({who: partial(f, x) for who, f in found.items()}, device, runs, seconds)
    return Row(function, dtype, tokens, width, times, fastest(times))
