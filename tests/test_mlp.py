"""transformers/mlp.py: which forward methods are gated MLPs, and which only look like one."""

import dataclasses
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import pytest
import torch  # noqa: TID251
import torch.nn.functional as F  # noqa: N812, TID251
from torch import nn  # noqa: TID251

pytest.importorskip("transformers")

from transformers.models.t5.modeling_t5 import T5DenseGatedActDense  # noqa: TID251

from cupylut.transformers.mlp import GatedMLP, gated_mlp

SEPARATE = GatedMLP("act", ("gate", "up"), ("down",))
HALVES = GatedMLP("act", ("both",), ("down",))
CALLED = GatedMLP(None, ("gate", "up"), ("down",), function="silu")


class Is:
    """Methods that are gated MLPs, by what they are."""

    class Separate:
        def one_expression(self, x: Any) -> Any:
            """Llama's, with a docstring."""
            return self.down(self.act(self.gate(x)) * self.up(x))

        def other_order(self, x: Any) -> Any:
            return self.down(self.up(x) * self.act(self.gate(x)))

        def statements(self, hidden: Any) -> Any:
            g = self.gate(hidden)
            g = self.act(g)
            y = self.up(hidden)
            y = g * y
            y = self.down(y)
            return y  # noqa: RET504

    class Halves:
        def unpacked(self, x: Any) -> Any:
            x = self.both(x)
            gate, x = x.chunk(2, dim=-1)
            x = x * self.act(gate)
            return self.down(x)

        def indexed(self, x: Any) -> Any:
            halves = self.both(x).chunk(2, -1)
            return self.down(self.act(halves[0]) * halves[1])

    class Called:
        def by_name(self, x: Any) -> Any:
            """LFM2's."""
            return self.down(F.silu(self.gate(x)) * self.up(x))

        def through_modules(self, x: Any) -> Any:
            gate = nn.functional.silu(self.gate(x))
            return self.down(self.up(x) * gate)


class IsNot:
    """Methods that do something else."""

    def no_product(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) + self.up(x))

    def no_activation(self, x: Any) -> Any:
        return self.down(self.gate(x) * self.up(x))

    def scaled_gate(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x) * self.scale) * self.up(x))

    def scaled_result(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x)) * self.scale

    def clamped(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x).clamp(max=7)) * self.up(x))

    def wider(self, x: Any) -> Any:
        return self.down((self.act(self.gate(x).float()) * self.up(x).float()).to(x.dtype))

    def other_input(self, x: Any) -> Any:
        x = x + 1
        return self.down(self.act(self.gate(x)) * self.up(x))

    def input_of_up(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(self.gate(x)))

    def two_norms(self, x: Any) -> Any:
        return self.down(self.act(self.gate(self.norm(x))) * self.up(self.other(x)))

    def normed_twice(self, x: Any) -> Any:
        return self.down(self.act(self.gate(self.norm(x))) * self.up(self.norm(x)))

    def halves_of_two(self, x: Any) -> Any:
        x = self.norm(x)
        return self.down(self.act(self.both(x).chunk(2, -1)[0]) * x.chunk(2, -1)[1])

    def up_is_the_input(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) * x)

    def converts_to_another_dtype(self, x: Any) -> Any:
        y = self.act(self.gate(x)) * self.up(x)
        if isinstance(self.down.weight, torch.Tensor) and y.dtype != self.down.weight.dtype:
            y = y.to(self.gate.weight.dtype)
        return self.down(y)

    def decides(self, x: Any) -> Any:
        if self.training:
            x = self.gate(x)
        return self.down(self.act(self.gate(x)) * self.up(x))

    def called_with_settings(self, x: Any) -> Any:
        return self.down(F.silu(self.gate(x), inplace=True) * self.up(x))

    def called_with_a_variable(self, x: Any) -> Any:
        return self.down(F.gelu(self.gate(x), approximate=self.form) * self.up(x))

    def a_cheap_one(self, x: Any) -> Any:
        return self.down(F.relu(self.gate(x)) * self.up(x))

    def a_local_name(self, x: Any) -> Any:
        F = self.functions  # noqa: N806
        return self.down(F.silu(self.gate(x)) * self.up(x))

    def both_activated(self, x: Any) -> Any:
        return self.down(F.silu(self.gate(x)) * F.silu(self.up(x)))

    def more_calls(self, x: Any) -> Any:
        _ = self.count(x)
        return self.down(self.act(self.gate(x)) * self.up(x))

    def statement(self, x: Any) -> Any:
        print(x)
        return self.down(self.act(self.gate(x)) * self.up(x))

    def more_arguments(self, x: Any, mask: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x))

    def default(self, x: Any, mask: Any = None) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x))

    def keywords(self, x: Any, **kwargs: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x))

    def activation_with_settings(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x), True) * self.up(x))

    def projection_with_keyword(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x, mode=1))

    def a_global(self, hidden: Any) -> Any:
        return self.down(self.act(self.gate(hidden)) * self.up(x))  # noqa: F821

    def same_half(self, x: Any) -> Any:
        gate, _ = self.both(x).chunk(2, dim=-1)
        return self.down(self.act(gate) * gate)

    def three_parts(self, x: Any) -> Any:
        parts = self.both(x).chunk(3, dim=-1)
        return self.down(self.act(parts[0]) * parts[1])

    def first_dimension(self, x: Any) -> Any:
        gate, up = self.both(x).chunk(2)
        return self.down(self.act(gate) * up)

    def two_packed(self, x: Any) -> Any:
        return self.down(
            self.act(self.both(x).chunk(2, dim=-1)[0]) * self.both(x).chunk(2, dim=-1)[1]
        )

    def nothing(self, x: Any) -> None:
        return

    @cache  # noqa: B019
    def decorated(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x))

    def wrapped(self, x: Any) -> Any:
        return self.down(self.act(self.gate(x)) * self.up(x))

    wrapped = wraps(wrapped)(lambda self, x: 0)

    @property
    def a_property(self) -> Any:
        return self.down


def methods(holder: type) -> list[Any]:
    return [pytest.param(m, id=n) for n, m in vars(holder).items() if not n.startswith("__")]


@pytest.mark.parametrize("forward", methods(Is.Separate))
def test_two_projections(forward: Callable[..., Any]) -> None:
    assert gated_mlp(forward) == SEPARATE


@pytest.mark.parametrize("forward", methods(Is.Halves))
def test_halves_of_one(forward: Callable[..., Any]) -> None:
    assert gated_mlp(forward) == HALVES


@pytest.mark.parametrize("forward", methods(Is.Called))
def test_the_activation_may_be_called_by_name(forward: Callable[..., Any]) -> None:
    assert gated_mlp(forward) == CALLED


def test_settings_may_be_part_of_it_and_the_input_may_be_both() -> None:
    class GEGLU:
        def forward(self, x: Any) -> Any:
            x, gate = x.chunk(2, dim=-1)
            return x * F.gelu(gate, approximate="tanh")

    assert gated_mlp(GEGLU.forward) == GatedMLP(None, (), (), False, "gelu_tanh")


def test_the_gate_may_be_the_second_half_and_more_may_follow() -> None:
    class MLP:
        def forward(self, x: Any) -> Any:
            x, gate = self.both(x).chunk(2, dim=-1)
            return self.down(self.dropout(x * self.act(gate)))

    assert gated_mlp(MLP.forward) == GatedMLP("act", ("both",), ("dropout", "down"), False)


def test_a_conversion_to_the_dtype_of_the_next_weight() -> None:
    want = GatedMLP("act", ("wi_0", "wi_1"), ("dropout", "wo.weight", "wo"))
    assert gated_mlp(T5DenseGatedActDense.forward) == want


def test_the_input_may_go_through_something_first() -> None:
    class Separate:
        def forward(self, x: Any) -> Any:
            x = self.norm(self.stem(x))
            return self.down(self.act(self.gate(x)) * self.up(x))

    class Halves:
        def forward(self, x: Any) -> Any:
            x, gate = self.both(self.norm(x)).chunk(2, dim=-1)
            return self.down(self.act(gate) * x)

    before = ("stem", "norm")
    assert gated_mlp(Separate.forward) == dataclasses.replace(SEPARATE, before=before)
    want = dataclasses.replace(HALVES, before=("norm",), gate_first=False)
    assert gated_mlp(Halves.forward) == want


@pytest.mark.parametrize("forward", methods(IsNot))
def test_others(forward: Callable[..., Any]) -> None:
    assert gated_mlp(forward) is None


def test_without_source() -> None:
    scope: dict[str, Any] = {}
    exec("def forward(self, x):\n    return self.d(self.a(self.g(x)) * self.u(x))", scope)
    assert gated_mlp(scope["forward"]) is None
    assert gated_mlp(len) is None
