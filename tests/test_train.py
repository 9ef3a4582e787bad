"""data/train.py: the trained models, and the samples of their activations' inputs."""

from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID251

import cupylut
from cupylut.data import character_inputs, train
from cupylut.data.train import LAYERS, Corpus, Model


@pytest.fixture(scope="module")
def text() -> Corpus:
    return train.corpus()


@pytest.fixture(scope="module")
def model(text: Corpus) -> Model:
    return train.train("silu", text, steps=12)


def test_training_learns(model: Model, text: Corpus) -> None:
    with torch.random.fork_rng(devices=[]):
        untrained = Model(len(text.alphabet), model.name).loss(text.held_out)
    assert untrained > 4
    assert model.loss(text.held_out) < 3.2


def test_training_is_deterministic_and_leaves_no_trace(model: Model, text: Corpus) -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    again = train.train(model.name, text, steps=12)
    assert (torch.get_rng_state() == before[0]).all()
    assert torch.get_num_threads() == before[1]
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_is_that_of_the_characters(model: Model, text: Corpus) -> None:
    short = text.held_out[: 2 * train.CONTEXT + 5]
    expected = []
    for window in short[: 2 * train.CONTEXT].split(train.CONTEXT):
        with torch.no_grad():
            odds = torch.log_softmax(model(window[None, :-1])[0], -1)
        expected += [-float(odds[i, character]) for i, character in enumerate(window[1:])]
    assert model.loss(short) == pytest.approx(np.mean(expected), rel=1e-5)


def test_no_character_sees_those_after_it(model: Model, text: Corpus) -> None:
    window = text.held_out[None, : train.CONTEXT]
    other = window.clone()
    other[0, -1] = (other[0, -1] + 1) % len(text.alphabet)
    with torch.no_grad():
        a, b = model(window), model(other)
    assert torch.equal(a[:, :-1], b[:, :-1])
    assert not torch.equal(a[:, -1], b[:, -1])


def test_any_activation_can_take_the_place_of_the_models_own(model: Model, text: Corpus) -> None:
    short = text.held_out[:2000]
    own = model.loss(short)
    exact = cupylut.tabulate(model.name)
    assert model.loss(short, exact) == pytest.approx(own, abs=1e-5)
    assert abs(model.loss(short, torch.relu) - own) > 1e-4


def test_held_out_text_is_of_other_docstrings(text: Corpus) -> None:
    def documents(indices: torch.Tensor) -> set[str]:
        return set("".join(text.alphabet[i] for i in indices).split("\0"))

    training, held_out = documents(text.training), documents(text.held_out)
    assert not training & held_out
    assert min(len(training), len(held_out)) > 50
    assert 5 < text.training.numel() / text.held_out.numel() < 20


def test_inputs_are_what_enters_the_activations(model: Model, text: Corpus) -> None:
    short = text.held_out[:3000]
    layers = model.inputs(short)
    entered: list[float] = []

    def watch(x: torch.Tensor) -> torch.Tensor:
        entered.append(float(x.double().sum()))
        return model.activation(x)

    model.loss(short, watch)
    assert len(layers) == LAYERS == len(entered)
    for layer, total in zip(layers, entered, strict=True):
        assert layer.dtype == np.float32
        assert layer.astype(float).sum() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("name", ["gelu_tanh", "silu"])
def test_samples_are_as_documented(name: Any) -> None:
    inputs = character_inputs(name)
    assert inputs.shape == (2, LAYERS, train.SAMPLE_PER_LAYER)
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()
    training, held_out = inputs
    assert np.abs(training.mean(1) - held_out.mean(1)).max() < 0.05
    assert not np.array_equal(training, held_out)


def test_an_unknown_activation_has_no_samples() -> None:
    with pytest.raises(ValueError, match='"gelu_tanh" or "silu"'):
        character_inputs("relu")  # type: ignore[arg-type]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["gelu_tanh", "silu"])
def test_training_gives_models_like_those_of_the_samples(name: Any, text: Corpus) -> None:
    """Not bit by bit: other processors and versions of PyTorch round otherwise."""
    drawn, kept = train.sample(train.train(name, text), text), character_inputs(name)
    assert np.abs(drawn.mean(2) - kept.mean(2)).max() < 0.2
    assert np.abs(drawn.std(2) - kept.std(2)).max() < 0.2
