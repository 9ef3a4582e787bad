"""transformers.py on models: logits, gradients, and all else that is done with a model.

Models of random weights, small but for the inputs of their activations, which reach to ±5 or so.
The oracle is the unpatched model in float64, and the measure is what the unpatched model is off by
in the same dtype.
"""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch  # noqa: TID251
from test_transformers import everything, one_thread, same_objects  # noqa: F401
from torch import Tensor  # noqa: TID251

transformers = pytest.importorskip("transformers")

from cupylut.transformers import patch, patched, restore  # noqa: E402

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.4,
}
# What some architectures call these.
SHORT = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
NAMES = {
    "gpt2": {"hidden_size": "n_embd", **SHORT},
    "bloom": SHORT,
    "t5": {
        "hidden_size": "d_model",
        "intermediate_size": "d_ff",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "head_dim": "d_kv",
        "initializer_range": "initializer_factor",
    },
}

ONE_PASS = "{} and the product in one pass"


def gated(mlp: str, activation: dict[str, str]) -> dict[str, str]:
    (function,) = activation.values()
    return activation | {mlp: ONE_PASS.format(function)}


GELU = {"GELUActivation": "gelu"}
SILU = {"SiLUActivation": "silu"}
GELU_TANH = {"GELUTanh": "gelu_tanh"}

# name: the class, what becomes of which class in it, and settings
ARCHITECTURES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", GELU, {}),
    "gpt2": ("GPT2LMHeadModel", {"NewGELUActivation": "gelu_tanh"}, {}),
    "llama": ("LlamaForCausalLM", gated("LlamaMLP", SILU), {}),
    "olmo": ("OlmoForCausalLM", gated("OlmoMLP", SILU), {}),
    "olmo2": ("Olmo2ForCausalLM", gated("Olmo2MLP", SILU), {}),
    "mistral": ("MistralForCausalLM", gated("MistralMLP", SILU), {}),
    "qwen2": ("Qwen2ForCausalLM", gated("Qwen2MLP", SILU), {}),
    "gemma": ("GemmaForCausalLM", gated("GemmaMLP", GELU_TANH), {}),
    "gemma2": ("Gemma2ForCausalLM", gated("Gemma2MLP", GELU_TANH), {}),
    "phi3": ("Phi3ForCausalLM", gated("Phi3MLP", SILU), {}),
    "modernbert": ("ModernBertForMaskedLM", gated("ModernBertMLP", GELU), {}),
    "mixtral": (
        "MixtralForCausalLM",
        gated("MixtralExperts", SILU),
        {"num_local_experts": 4, "experts_implementation": "batched_mm"},  # takes float64 too
    ),
    "lfm2": (  # Its layer calls functional.silu.
        "Lfm2ForCausalLM",
        {"Lfm2MLP": ONE_PASS.format("silu")},
        {"layer_types": ["conv", "full_attention"]},
    ),
    "bloom": ("BloomForCausalLM", {"BloomGelu": "gelu_tanh"}, {}),
    "t5": (
        "T5ForConditionalGeneration",
        gated("T5DenseGatedActDense", {"NewGELUActivation": "gelu_tanh"}),
        {"feed_forward_proj": "gated-gelu"},
    ),
}
# Beside them Gemma 2 has one that no attribute holds.
LEFT = {"gemma2": [("", "Gemma2ForCausalLM", "calls torch.tanh in forward")]}
by_architecture = pytest.mark.parametrize("name", ARCHITECTURES)

IDS = torch.arange(3, 35).reshape(2, 16)


def build(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The model of this name with the same weights in every dtype."""
    class_name, _, settings = ARCHITECTURES[name]
    sizes = {NAMES.get(name, {}).get(key, key): value for key, value in SIZES.items()}
    config = transformers.AutoConfig.for_model(name, **sizes | settings)
    torch.manual_seed(0)
    return getattr(transformers, class_name)(config).to(dtype).eval()


def logits(model: Any) -> Tensor:
    more = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    result: Tensor = model(IDS, **more).logits
    return result


def gradients(model: Any) -> Tensor:
    """Those of a loss by all parameters, in one vector."""
    y = logits(model)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad((weights * y).mean(), parameters, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def off(x: Tensor, exact: Tensor) -> float:
    """How far x is from the exact vector, of whose length."""
    return float((x.double() - exact).norm() / exact.norm())


@by_architecture
def test_what_is_replaced(name: str) -> None:
    model = build(name)
    handle = patch(model)
    kinds = {kind: what for _, kind, what in handle.replaced}
    expected = ARCHITECTURES[name][1]
    assert expected == {kind: what for kind, what in kinds.items() if kind != "Tanh"}
    assert len(handle.replaced) >= 2 * len(expected)
    assert list(handle.left) == LEFT.get(name, [])


@by_architecture
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits(name: str, dtype: torch.dtype) -> None:
    model = build(name, dtype)
    with torch.no_grad():
        exact = logits(build(name, torch.float64))
        before = logits(model)
        with patched(model):
            during = logits(model)
        assert torch.equal(logits(model), before)
    assert dtype == torch.bfloat16 or not torch.equal(during, before)
    assert off(during, exact) <= 1.2 * off(before, exact)


@by_architecture
def test_gradients(name: str) -> None:
    model = build(name)
    exact = gradients(build(name, torch.float64))
    before = gradients(model)
    with patched(model):
        during = gradients(model)
    assert torch.equal(gradients(model), before)
    assert not torch.equal(during, before)
    assert off(during, exact) <= 1.2 * off(before, exact)


FEW = pytest.mark.parametrize("name", ["bert", "llama", "phi3", "mixtral"])


@FEW
def test_restore_puts_back_the_very_objects(name: str) -> None:
    model = build(name)
    before = everything(model)
    handle = patch(model)
    assert not same_objects(everything(model), before)
    assert not patch(model).active
    restore(handle)
    assert same_objects(everything(model), before)


@FEW
def test_the_state_dict_is_the_same(name: str) -> None:
    model, other = build(name), build(name)
    keys = list(model.state_dict())
    with patched(model):
        assert list(model.state_dict()) == keys
        stored = io.BytesIO()
        torch.save(model.state_dict(), stored)
        stored.seek(0)
        other.load_state_dict(torch.load(stored))
        model.load_state_dict(other.state_dict())


@FEW
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deep", "pickle"],
)
def test_copies_are_patched(name: str, copied: Callable[[Any], Any]) -> None:
    model = build(name)
    handle = patch(model)
    other = copied(model)
    with torch.no_grad():
        want = logits(model)
        restore(handle)
        assert torch.equal(logits(other), want)
        assert not torch.equal(logits(model), want)
    assert {found.what for found in patch(other).left} == {"is a table already"}
    parameters = {id(p) for p in model.parameters()}
    assert not any(id(p) in parameters for p in other.parameters())


def test_training_learns_the_same() -> None:
    """Ten steps in training mode, with dropout, checkpointing and tied embeddings."""
    losses = []
    for change in (lambda model: None, patch):
        model = build("gpt2").train()
        # The newer name first, as the other one warns where both are there.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        change(model)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        torch.manual_seed(1)
        losses.append([])
        for _ in range(10):
            loss = model(IDS, labels=IDS, use_cache=False).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
        assert model.lm_head.weight is model.transformer.wte.weight
    want, got = losses
    assert want[-1] < 0.9 * want[0]
    assert got == pytest.approx(want, rel=1e-4)


@FEW
def test_compiled_as_one_graph(name: str) -> None:
    model = build(name)
    with patched(model), torch.no_grad():
        want = logits(model)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert torch.allclose(logits(compiled), want, rtol=1e-5, atol=1e-5)


def test_a_compiled_model_may_be_patched() -> None:
    model = build("llama")
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        before = logits(compiled)
        with patched(compiled):
            assert torch.equal(logits(compiled), logits(model))
            assert not torch.equal(logits(compiled), before)
        assert torch.equal(logits(compiled), before)


def test_generation_finds_the_same_words() -> None:
    model = build("olmo2")
    how: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    want = model.generate(IDS, **how)
    with patched(model):
        assert torch.equal(model.generate(IDS, **how), want)


def test_autocast() -> None:
    model = build("llama")
    with torch.no_grad():
        exact = logits(build("llama", torch.float64))
        with torch.autocast("cpu", torch.bfloat16):
            before = logits(model)
            with patched(model):
                during = logits(model)
    assert during.dtype == before.dtype == torch.bfloat16
    assert off(during, exact) <= 1.2 * off(before, exact)
