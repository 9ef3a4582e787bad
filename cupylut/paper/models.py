"""The paper's models from their published configurations, with random weights: no downloads."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .activation import Activation, as_written


@dataclass(frozen=True)
class Architecture:
    """A configuration of transformers, where it differs from that class's defaults.

    function: that of its activation.
    """

    config: str
    function: str
    settings: Mapping[str, int]


ARCHITECTURES: Mapping[str, Architecture] = {
    "BERT": Architecture("BertConfig", "gelu", {}),
    "BERT-Large": Architecture(
        "BertConfig",
        "gelu",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "GPT-2": Architecture("GPT2Config", "gelu_tanh", {}),
    "GPT-2 medium": Architecture(
        "GPT2Config", "gelu_tanh", {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    ),
    "OLMo-1B": Architecture(
        "OlmoConfig",
        "silu",
        {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
        },
    ),
}
"""The models of the paper's figure 2."""


@dataclass(frozen=True)
class Reduction:
    """What is taken off a model so that a CPU can run it: all layers but some, rare words."""

    layers: int
    vocabulary: int


def build(name: str, device: str, dtype: str, reduction: Reduction | None = None) -> Any:
    """A model without a head, with random weights, in evaluation mode."""
    torch, transformers = import_module("torch"), import_module("transformers")
    architecture = ARCHITECTURES[name]
    settings: dict[str, Any] = dict(architecture.settings)
    config = getattr(transformers, architecture.config)
    if reduction is not None:
        layers = "n_layer" if architecture.config == "GPT2Config" else "num_hidden_layers"
        settings |= {layers: reduction.layers, "vocab_size": reduction.vocabulary}
        settings |= {"bos_token_id": None, "eos_token_id": None}  # beyond the vocabulary
    settings["use_cache"] = False
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config(**settings), dtype=getattr(torch, dtype))
    return model.eval()


def tokens(model: Any, batch: int, length: int) -> Any:
    """Token numbers of a batch, at random, on the model's device."""
    torch = import_module("torch")
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(model.config.vocab_size, (batch, length), generator=generator)
    return numbers.to(model.device)


def twin(model: Any) -> Any:
    """A copy of a model with modules of its own and the same weights."""
    weights = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(weight): weight for weight in weights})


def with_activation(model: Any, function: str, activation: Activation) -> Any:
    """A twin with another callable in place of each of its activations."""
    torch = import_module("torch")

    class Other(torch.nn.Module):  # type: ignore[misc, name-defined]
        """The callable as a module."""

        def forward(self, x: Any) -> Any:
            return activation(x)

    kind = type(as_written(function))
    other = twin(model)
    for owner in [*other.modules()]:
        for name, child in [*owner.named_children()]:
            if type(child) is kind:
                setattr(owner, name, Other())
    return other
