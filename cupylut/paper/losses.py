"""What tables do to a trained model: the loss of small transformers with tables in place.

The models of `cupylut.data.train`, with fewer steps of training. Tables are calibrated on what
enters the activations while the model reads training text; the loss is that of held-out text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..declaration import Float64Array
from ..functions import FUNCTIONS
from ..measuring.rivals import torch_function
from ..tabulate import tabulate
from .table1 import domains

MODELS = ("gelu_tanh", "silu")
STEPS = 200
SIZE = 1024
EXACT = "exact"


@dataclass(frozen=True)
class Row:
    """Nats a character with an activation in place, and the difference from the exact one.

    `change` is that of the mean, where differences cancel out; `per_character` the mean of the
    absolute difference at each character.
    """

    model: str
    activation: str
    loss: float
    change: float
    per_character: float


def measure(name: str, steps: int = STEPS, characters: int | None = None) -> list[Row]:
    """Train a model and take its loss with every activation; characters: of held-out text."""
    train = import_module("cupylut.data.train")
    text = train.corpus()
    model = train.train(name, text, steps)
    held_out = text.held_out[:characters]
    fitted = np.concatenate(model.inputs(text.training[: held_out.numel()]))
    lost = {who: nats(model, held_out, activation) for who, activation in activations(name, fitted)}
    exact = lost[EXACT]
    return [
        Row(
            model=name,
            activation=who,
            loss=float(each.mean()),
            change=float((each - exact).mean()),
            per_character=float(np.abs(each - exact).mean()),
        )
        for who, each in lost.items()
    ]


def nats(model: Any, text: Any, activation: Callable[[Any], Any]) -> Float64Array:
    """−log p of every character of a text but the first of each window, as `Model.loss` reads it.

    The model computes in float32, and only its logits are normalised in float64: `Model.loss` sums
    in float32, which is as coarse as the differences that are looked for.
    """
    torch, context = import_module("torch"), import_module("cupylut.data.train").CONTEXT
    windows = text[: text.numel() // context * context].view(-1, context)
    found = []
    with torch.inference_mode():
        for batch in windows.split(64):
            odds = torch.log_softmax(model(batch[:, :-1], activation).double(), -1)
            found.append(-odds.gather(-1, batch[:, 1:, None]).flatten().numpy())
    return np.concatenate(found)


def activations(name: str, fitted: Any) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    """What takes the place of a model's activation: callables on float32 tensors, by name."""
    torch = import_module("torch")
    function, fused = FUNCTIONS[name], torch_function(torch, name)

    def exact(x: Any) -> Any:
        return torch.from_numpy(function(x.numpy()).astype(np.float32))

    def in_16_bits(evaluate: Callable[[Any], Any], dtype: str) -> Callable[[Any], Any]:
        return lambda x: evaluate(x.to(getattr(torch, dtype))).to(torch.float32)

    linear: Mapping[str, Any] = domains(name, SIZE, fitted)
    return [
        (EXACT, exact),
        *((f"linear table of {SIZE}, {domain}", table) for domain, table in linear.items()),
        ("cupylut float32, within one ulp", tabulate(name)),
        ("PyTorch float32", fused),
        *(
            (f"{who} {dtype}", in_16_bits(evaluate, dtype))
            for dtype in ("float16", "bfloat16")
            for who, evaluate in (
                ("cupylut", tabulate(name, dtype)),
                ("PyTorch", fused),
            )
        ),
    ]
