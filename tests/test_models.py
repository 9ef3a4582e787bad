"""paper/models.py: the paper's models, their twins and the activations put in."""

from typing import Any

import pytest

from cupylut.paper import activation, models

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("BERT", 109_482_240),
        ("BERT-Large", 335_141_888),
        ("GPT-2", 124_439_808),
        ("GPT-2 medium", 354_823_168),
        ("OLMo-1B", 1_176_764_416),
    ],
)
def test_models_are_as_published(name: str, parameters: int) -> None:
    model = models.build(name, "meta", "float16")
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert not model.training
    function = models.ARCHITECTURES[name].function
    found = [type(m) for m in model.modules() if type(m) is type(activation.as_written(function))]
    assert len(found) == model.config.num_hidden_layers


@pytest.mark.parametrize("use", activation.USES.values(), ids=lambda use: use.model)
def test_widths_are_those_of_the_models(use: activation.Use) -> None:
    config = models.build(use.model, "meta", "float16").config
    width = getattr(config, "intermediate_size", 4 * config.hidden_size)  # GPT-2 names none
    assert width == use.width


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_activation_is_patched(name: str) -> None:
    from cupylut.transformers import patch

    model = models.build(name, "meta", "float32")
    replaced = patch(models.twin(model)).replaced
    activations = [f for f in replaced if f.what == models.ARCHITECTURES[name].function]
    assert len(activations) == model.config.num_hidden_layers
    products = [f for f in replaced if "product" in f.what]
    assert len(products) == (model.config.num_hidden_layers if name == "OLMo-1B" else 0)
    assert len(patch(model).replaced) == len(replaced)  # the twin's patch was its own


def test_twins_share_weights_and_differ_in_the_activation() -> None:
    model = models.build("GPT-2", "cpu", "float32", models.Reduction(layers=2, vocabulary=20))
    numbers = models.tokens(model, 2, 5)
    assert numbers.shape == (2, 5)
    assert 0 <= int(numbers.min()) <= int(numbers.max()) < 20
    calls: list[int] = []

    def relu(x: Any) -> Any:
        calls.append(x.shape[-1])
        return torch.relu(x)

    fused = activation.contestants("gelu_tanh", "float32")["fused"]
    other, same = (models.with_activation(model, "gelu_tanh", f) for f in (relu, fused))
    assert [*map(id, other.parameters())] == [*map(id, model.parameters())]
    with torch.inference_mode():
        before, changed, kept = (m(numbers)[0] for m in (model, other, same))
    assert calls == [activation.USES["gelu_tanh"].width] * 2
    assert float((before - changed).abs().max()) > 1e-3
    torch.testing.assert_close(before, kept, atol=1e-5, rtol=1e-4)
