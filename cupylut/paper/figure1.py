"""Figure 1 of the paper: the share of the activation in the time that GPT-2 takes to encode.

The share is the time of the activation alone, on an array as it has in the model, times the number
of layers, divided by the time of the whole model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from ..measuring.timing import Time, fastest, measure
from .activation import AS_WRITTEN, FUSED, OURS, USES, contestants
from .models import ARCHITECTURES, Reduction, build, tokens, with_activation

MODEL = "GPT-2"
WHO = (AS_WRITTEN, FUSED, OURS)


@dataclass(frozen=True)
class Row:
    """Times in µs for so many tokens: of the model, and of one activation, by whose it is."""

    dtype: str
    tokens: int
    layers: int
    model: Mapping[str, Time]
    activation: Mapping[str, Time]
    share: Mapping[str, float]
    fastest: Sequence[str]


def rows(
    lengths: Iterable[int],
    dtype: str,
    reduction: Reduction | None,
    device: str,
    runs: int,
    seconds: float,
) -> Iterator[Row]:
    """A row for each number of tokens; `seconds` are for each."""
    torch = import_module("torch")
    function = ARCHITECTURES[MODEL].function
    models: dict[str, Any] = {}
    for length in lengths:
        if not models:  # where no time is left for a row, there is none for building a model
            model = build(MODEL, device, dtype, reduction)
            layers = model.config.n_layer
            found = contestants(function, dtype)
            models = {who: with_activation(model, function, found[who]) for who in WHO}
        numbers = tokens(model, 1, length)
        x = torch.randn(1, length, USES[function].width).to(numbers.device, model.dtype)
        with torch.inference_mode():
            whole = measure(
                {who: partial(models[who], numbers) for who in WHO}, device, runs, seconds
            )
            alone = measure({who: partial(found[who], x) for who in WHO}, device, runs, seconds)
        yield Row(
            dtype=dtype,
            tokens=length,
            layers=layers,
            model=whole,
            activation=alone,
            share={who: layers * alone[who].median / whole[who].median for who in WHO},
            fastest=fastest(whole),
        )
