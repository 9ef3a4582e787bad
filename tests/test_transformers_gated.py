"""transformers.py on gated MLPs: what else may be done with one while it is patched."""

from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor, nn  # noqa: TID251

pytest.importorskip("transformers")

from test_transformers import one_thread  # noqa: F401
from test_transformers_models import build, logits, off

import cupylut
from cupylut.transformers import patch, patched, restore


def mlp_of(name: str) -> Any:
    return build(name).model.layers[0].mlp


def test_a_gated_mlp_is_the_same_object_with_its_hooks() -> None:
    model = build("llama")
    mlp, seen = model.model.layers[1].mlp, []
    mlp.register_forward_hook(lambda module, args, y: seen.append(module))
    with patched(model):
        assert model.model.layers[1].mlp is mlp
        assert isinstance(mlp, type(mlp_of("llama")))
        assert mlp.config is model.config
        assert "silu and the product in one pass" in repr(mlp)
        logits(model)
    assert seen == [mlp]


def test_hooks_on_the_activation_keep_it_and_the_product_apart() -> None:
    model, seen = build("llama"), []
    model.model.layers[0].mlp.act_fn.register_forward_hook(lambda *_: seen.append(1))
    handle = patch(model)
    assert [found.what for found in handle.left] == ["has hooks"]
    assert [found.name for found in handle.replaced] == [
        "model.layers.1.mlp.act_fn",
        "model.layers.1.mlp",
    ]
    logits(model)
    assert seen == [1]


def test_an_mlp_with_a_forward_of_its_own_keeps_it() -> None:
    mlp = mlp_of("llama")
    mlp.forward = lambda x: x
    handle = patch(nn.Sequential(mlp))
    assert [found.kind for found in handle.replaced] == ["SiLUActivation"]
    assert mlp(1) == 1


def test_the_input_by_position_or_by_keyword() -> None:
    mlp, x = mlp_of("phi3"), torch.randn(3, 32)
    with patched(nn.Sequential(mlp)):
        assert torch.equal(mlp(x), mlp(hidden_states=x))


def test_gate_and_up_of_two_shapes_or_dtypes() -> None:
    mlp, x = mlp_of("llama"), torch.randn(3, 32)
    mlp.up_proj = nn.Linear(32, 1)
    want = mlp(x)
    with patched(nn.Sequential(mlp)):
        assert torch.allclose(mlp(x), want, rtol=1e-4, atol=1e-4)
    mlp.gate_proj.to(torch.bfloat16)

    class Cast(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.to(self.weight.dtype))

    mlp.gate_proj.__class__ = Cast
    want = mlp(x)
    with patched(nn.Sequential(mlp)):
        assert torch.allclose(mlp(x), want, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("how", ["grouped_mm", "batched_mm", "eager"])
def test_experts_however_they_are_evaluated(how: str) -> None:
    model = build("mixtral")
    model.set_experts_implementation(how)
    with torch.no_grad():
        want = logits(model)
        with patched(model):
            assert torch.allclose(logits(model), want, rtol=1e-4, atol=1e-4)
            assert not torch.equal(logits(model), want)


def test_the_product_of_experts_is_rounded_once() -> None:
    model = build("mixtral")
    experts, x = model.model.layers[0].mlp.experts, torch.randn(9, 2 * 48).bfloat16()
    exact, before = experts._apply_gate(x.double()), experts._apply_gate(x)
    with patched(model):
        assert off(experts._apply_gate(x), exact) < 0.9 * off(before, exact)


class SecondHalf(nn.Module):
    """A gated MLP whose gate is the second half."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down, self.act = nn.Linear(4, 12), nn.Linear(6, 4), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.both(x).chunk(2, dim=-1)
        return self.down(self.act(gate) * up)


def test_the_gate_may_be_the_second_half() -> None:
    mlp, x = SecondHalf(), torch.randn(3, 4)
    want = mlp(x)
    with patched(nn.Sequential(mlp)) as handle:
        assert len(handle.replaced) == 2
        assert torch.allclose(mlp(x), want, rtol=1e-5, atol=1e-6)


def test_the_input_may_go_through_something_first() -> None:
    class Normed(SecondHalf):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            up, gate = self.both(self.norm(x)).chunk(2, dim=-1)
            return self.down(self.act(gate) * up)

    mlp, x = Normed(), torch.randn(3, 4)
    want = mlp(x)
    with patched(nn.Sequential(mlp)) as handle:
        assert len(handle.replaced) == 2
        assert torch.allclose(mlp(x), want, rtol=1e-5, atol=1e-6)


class Both(SecondHalf):
    """One with a method for the product too."""

    def _apply_gate(self, x: Tensor) -> Tensor:
        up, gate = x.chunk(2, dim=-1)
        return self.act(gate) * up


def test_one_method_of_a_module_is_replaced() -> None:
    mlp = Both()
    handle = patch(nn.Sequential(mlp))
    assert [found.kind for found in handle.replaced] == ["SiLU", "Both"]
    restore(handle)
    assert type(mlp) is Both


def test_an_activation_with_a_table_of_its_own_is_asked() -> None:
    mlp = SecondHalf()
    with patched(nn.Sequential(mlp), {"0.act": cupylut.tabulate("silu", size=64)}) as handle:
        assert [found.kind for found in handle.replaced] == ["SiLU"]


@pytest.mark.parametrize("wide", [torch.float32, torch.bfloat16, torch.int8])
def test_a_product_in_the_dtype_of_the_next_layers_weight(wide: torch.dtype) -> None:
    """T5 may have this layer alone in float32; of int8 it makes what it can."""
    mlp: Any = build("t5", torch.bfloat16).encoder.block[0].layer[1].DenseReluDense
    seen: list[Tensor] = []
    mlp.wo = nn.Linear(48, 32, bias=False, dtype=torch.float32)
    mlp.wo.weight = nn.Parameter(mlp.wo.weight.to(wide), requires_grad=False)
    mlp.wo.forward = seen.append
    x = torch.randn(3, 32, dtype=torch.bfloat16)
    mlp(x)
    with patched(nn.Sequential(mlp)) as handle:
        assert len(handle.replaced) == 2
        mlp(x)
    before, during = seen
    assert during.dtype == before.dtype
    assert torch.allclose(during, before, rtol=0.02, atol=1e-3)
