"""Figure 2 of the paper: the latency of whole models, as they are and patched, by batch size.

Beside them the models run with a copy in place of the activation. That computes something else; it
is as fast as any activation could make the model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from ..measuring.timing import FLOOR, Time, fastest, measure, ratio
from .activation import AS_WRITTEN, FUSED, OURS, contestants
from .models import ARCHITECTURES, Reduction, build, tokens, twin, with_activation

LENGTH = 128
"""Tokens of a sequence."""

GAINS = {"GPT-2": 1.35, "GPT-2 medium": 1.35, "BERT": 1.03, "BERT-Large": 1.07, "OLMo-1B": 1.06}
"""How many times as fast the paper's models became at most; of GPT-2 it has one for the family."""


@dataclass(frozen=True)
class Row:
    """Times in µs of a model for a batch of sequences, who is fastest, and our gain.

    `gain` is the time of the model as it is written divided by that of the patched one, of the
    medians, at least and at most.
    """

    model: str
    dtype: str
    batch: int
    layers: int
    times: Mapping[str, Time]
    fastest: Sequence[str]
    gain: tuple[float, float, float]


def rows(
    name: str,
    batches: Iterable[int],
    dtype: str,
    reduction: Reduction | None,
    device: str,
    runs: int,
    seconds: float,
) -> Iterator[Row]:
    """A row for each size of batch; `seconds` are for each."""
    torch = import_module("torch")
    models: dict[str, Any] = {}
    for batch in batches:
        if not models:  # where no time is left for a row, there is none for building a model
            models = _models(name, dtype, reduction, device)
        model = models[AS_WRITTEN]
        numbers = tokens(model, batch, LENGTH)
        with torch.inference_mode():
            times = measure(
                {who: partial(each, numbers) for who, each in models.items()},
                device,
                runs,
                seconds,
            )
        yield Row(
            model=name,
            dtype=dtype,
            batch=batch,
            layers=model.config.num_hidden_layers,
            times=times,
            fastest=fastest(times),
            gain=ratio(times[AS_WRITTEN], times[OURS]),
        )


def _models(name: str, dtype: str, reduction: Reduction | None, device: str) -> dict[str, Any]:
    """The model as it is written, with other activations, and patched."""
    function = ARCHITECTURES[name].function
    model = build(name, device, dtype, reduction)
    found = contestants(function, dtype)
    models = {
        who: with_activation(model, function, found[who]) for who in (FLOOR, FUSED) if who in found
    }
    models |= {AS_WRITTEN: model, OURS: twin(model)}
    import_module("cupylut.transformers").patch(models[OURS])
    return models
