"""Train two small character-level transformers, and sample what enters their activations.

This script made ``character_gelu_tanh_inputs.npy`` and ``character_silu_inputs.npy``, in less than
three minutes on one CPU core. It needs PyTorch::

    python -m cupylut.data.train [--output FOLDER]

The models read the docstrings of Python's own standard library, character by character, and guess
the next one. One has MLPs with OpenAI's GELU, as GPT-2; the other MLPs gated by SiLU, as OLMo. A
tenth of the docstrings is held out. Two runs with the same versions of everything on the same
machine give the same files, byte for byte.

`train` and `Model.loss` are for experiments too: the loss of a trained model with any other
function in place of its activation.
"""

import argparse
import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cupylut.data import character_file
from cupylut.data.capture import MODULES, docstrings

Activation: TypeAlias = Literal["gelu_tanh", "silu"]

WIDTH, HEADS, LAYERS, CONTEXT = 128, 4, 3, 64
BATCH, STEPS, LEARNING_RATE = 16, 700, 3e-3
SAMPLE_PER_LAYER = 12_000
SEED = 0


class Corpus(NamedTuple):
    """Text as indices into its alphabet; the held-out part shares no docstring with the other."""

    alphabet: str
    training: Any
    held_out: Any


def corpus() -> Corpus:
    """The docstrings of the standard library, nine of ten for training, in an order by hash."""
    found = {
        text
        for module in map(importlib.import_module, MODULES)
        for text in docstrings(module, module.__name__)
        if text and text.isascii()
    }
    texts = sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())
    alphabet = "".join(sorted(set("".join(texts)) | {"\0"}))

    def indices(part: list[str]) -> Any:
        return torch.tensor([alphabet.index(character) for character in "\0".join(part)])

    cut = len(texts) // 10
    return Corpus(alphabet, training=indices(texts[cut:]), held_out=indices(texts[:cut]))


class Block(torch.nn.Module):  # type: ignore[misc]
    """Causal attention and an MLP, each after a LayerNorm and added to its input."""

    def __init__(self, gated: bool) -> None:
        """gated: whether the activation of one projection multiplies another."""
        super().__init__()
        linear = torch.nn.Linear
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention, self.mix = linear(WIDTH, 3 * WIDTH), linear(WIDTH, WIDTH)
        inner = 8 * WIDTH // 3 if gated else 4 * WIDTH
        self.up, self.down = linear(WIDTH, inner), linear(inner, WIDTH)
        self.gate = linear(WIDTH, inner) if gated else None

    def forward(self, x: Any, activation: Callable[[Any], Any]) -> Any:
        batch, length, _ = x.shape
        heads = self.attention(self.norms[0](x)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        h = self.norms[1](x)
        if self.gate is None:
            return x + self.down(activation(self.up(h)))
        return x + self.down(activation(self.gate(h)) * self.up(h))


class Model(torch.nn.Module):  # type: ignore[misc]
    """A causal transformer over characters; `activation` may be replaced by any callable."""

    def __init__(self, characters: int, activation: Activation) -> None:
        """characters: the length of the alphabet; activation: what its MLPs are built around."""
        super().__init__()
        self.name = activation
        self.characters = torch.nn.Embedding(characters, WIDTH)
        self.places = torch.nn.Embedding(CONTEXT, WIDTH)
        self.blocks = torch.nn.ModuleList(Block(activation == "silu") for _ in range(LAYERS))
        self.norm, self.head = torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, characters)

    def activation(self, x: Any) -> Any:
        """PyTorch's own activation, in float32."""
        return functional.silu(x) if self.name == "silu" else functional.gelu(x, approximate="tanh")

    def forward(self, indices: Any, activation: Callable[[Any], Any] | None = None) -> Any:
        x = self.characters(indices) + self.places(torch.arange(indices.shape[1]))
        for block in self.blocks:
            x = block(x, activation or self.activation)
        return self.head(self.norm(x))

    def loss(self, text: Any, activation: Callable[[Any], Any] | None = None) -> float:
        """The mean cross-entropy over a text, in nats a character, with an activation in place.

        The text is read in windows of the context's length; each predicts all but its first
        character. activation: any callable from a float32 tensor to one; the model's own if left
        out.
        """
        total = 0.0
        windows = text[: text.numel() // CONTEXT * CONTEXT].view(-1, CONTEXT)
        with torch.inference_mode():
            for batch in windows.split(64):
                logits = self(batch[:, :-1], activation)
                total += float(_cross_entropy(logits, batch[:, 1:], "sum"))
        return total / float(windows[:, 1:].numel())

    def inputs(self, text: Any) -> list[NDArray[np.float32]]:
        """Everything that enters the activations while the model reads a text, by layer."""
        seen: list[NDArray[np.float32]] = []

        def record(x: Any) -> Any:
            seen.append(x.numpy().ravel())
            return self.activation(x)

        self.loss(text, record)
        return [np.concatenate(seen[layer::LAYERS]) for layer in range(LAYERS)]


def _cross_entropy(logits: Any, targets: Any, reduction: str = "mean") -> Any:
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def train(activation: Activation, text: Corpus | None = None, steps: int = STEPS) -> Model:
    """A model with this activation, trained on the training part of the corpus.

    The same call gives the same model: the seed is fixed and one thread does all of it (the number
    of PyTorch's threads and its random state are put back).
    """
    text = text or corpus()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of summation must not depend on the number of cores
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = Model(len(text.alphabet), activation)
            optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.1)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1
            )
            windows = text.training.unfold(0, CONTEXT + 1, 1)
            for _ in range(steps):
                batch = windows[torch.randint(windows.shape[0], (BATCH,))]
                optimiser.zero_grad()
                _cross_entropy(model(batch[:, :-1]), batch[:, 1:]).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
    finally:
        torch.set_num_threads(threads)
    return model


def sample(model: Model, text: Corpus) -> NDArray[np.float32]:
    """(part, layer, value): inputs drawn at random while reading training and held-out text."""
    rng = np.random.default_rng(SEED)
    parts = text.training[: text.held_out.numel()], text.held_out
    return np.stack([
        [rng.choice(values, SAMPLE_PER_LAYER, replace=False) for values in model.inputs(part)]
        for part in parts
    ])  # fmt: skip


def main() -> None:
    """Train, save samples of the activations' inputs, and print what ``README.md`` quotes."""
    parser = argparse.ArgumentParser(description="Train two small character-level transformers.")
    default = Path(__file__).parent
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=default)
    folder: Path = parser.parse_args().output
    text = corpus()
    print(f"{text.training.numel():,} characters to train on, {text.held_out.numel():,} held out")
    for activation in get_args(Activation):
        model = train(activation, text)
        losses = model.loss(text.training[: text.held_out.numel()]), model.loss(text.held_out)
        drawn = sample(model, text)
        with (folder / character_file(activation)).open("wb") as file:
            np.save(file, drawn, allow_pickle=False)
        print(f"\n{activation}: loss {losses[0]:.4f} in training text, {losses[1]:.4f} held out\n")
        print("| layer | min | max | mean | std |")
        print("| ---: | ---: | ---: | ---: | ---: |")
        for layer, values in enumerate(drawn[1].astype(np.float64)):
            low, high, mean, std = values.min(), values.max(), values.mean(), values.std()
            print(f"| {layer} | {low:.3f} | {high:.3f} | {mean:.4f} | {std:.4f} |")


if __name__ == "__main__":
    main()
