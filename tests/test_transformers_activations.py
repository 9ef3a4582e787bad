"""transformers/activations.py: which function stands there, and what is left and why.

The oracle is the activation itself, in float64.
"""

import copy
from functools import partial
from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor, nn  # noqa: TID251
from torch.nn import functional  # noqa: TID251

transformers = pytest.importorskip("transformers")

from transformers.models.bloom.modeling_bloom import BloomGelu  # noqa: E402, TID251
from transformers.models.esm.modeling_esm import gelu as gelu_of_esm  # noqa: E402, TID251
from transformers.models.lxmert.modeling_lxmert import GeLU as LxmertGeLU  # noqa: E402, TID251

from cupylut import FUNCTIONS  # noqa: E402
from cupylut.names import as_function  # noqa: E402
from cupylut.torch import Activation  # noqa: E402
from cupylut.torch.operators import activation  # noqa: E402
from cupylut.transformers import patch  # noqa: E402

activations = transformers.activations
ACT2FN = activations.ACT2FN


def named(value: Any) -> str:
    """A test's name for a module, function or text: one without an address."""
    if isinstance(value, partial):
        return f"partial {value.func.__name__} {value.keywords}"
    return getattr(value, "__name__", str(value))


def held(value: Any) -> Any:
    """A module with this attribute."""
    holder = nn.Module()
    holder.act = value
    return holder


CHEAP = "costs no more than a copy"

# name -> what patch says of it
OF_TRANSFORMERS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_10": "gelu_10",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
    "mish": "mish",
    "laplace": "laplace",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu2": "is relu2, which has no tables in every dtype",
    "sqrtsoftplus": "is sqrtsoftplus, which has no tables in every dtype",
    "xielu": "has parameters, which a table would not follow",
    "hardswish": CHEAP,
    "leaky_relu": CHEAP,
    "linear": CHEAP,
    "prelu": CHEAP,
    "relu": CHEAP,
    "relu6": CHEAP,
}

REPLACED: list[tuple[Any, str]] = [
    *((ACT2FN[name], what) for name, what in OF_TRANSFORMERS.items() if what in FUNCTIONS),
    (BloomGelu(), "gelu_tanh"),
    (LxmertGeLU(), "gelu"),
    (nn.GELU(), "gelu"),
    (nn.GELU(approximate="tanh"), "gelu_tanh"),
    (nn.SiLU(), "silu"),
    (nn.Mish(), "mish"),
    (nn.SELU(), "selu"),
    (nn.ELU(), "elu"),
    (nn.ELU(alpha=0.123456789), "elu(0.123456789)"),
    (nn.Softplus(), "softplus"),
    (nn.Softplus(threshold=50), "softplus"),
    (nn.Sigmoid(), "sigmoid"),
    (nn.Tanh(), "tanh"),
    (activations.ClippedGELUActivation(-0.17, 10), "gelu_10"),
    (functional.gelu, "gelu"),
    (gelu_of_esm, "gelu"),
    (partial(functional.gelu, approximate="tanh"), "gelu_tanh"),
    (partial(functional.gelu, approximate="none"), "gelu"),
    (functional.silu, "silu"),
    (functional.mish, "mish"),
    (functional.softplus, "softplus"),
    (functional.sigmoid, "sigmoid"),
    (torch.sigmoid, "sigmoid"),
    (functional.tanh, "tanh"),
    (torch.tanh, "tanh"),
    (functional.elu, "elu"),
    (functional.selu, "selu"),
    (torch.selu, "selu"),
]


def test_no_activation_of_transformers_is_forgotten() -> None:
    assert activations.ACT2CLS.keys() <= OF_TRANSFORMERS.keys()


@pytest.mark.parametrize(("value", "what"), REPLACED, ids=named)
def test_replaced_by_the_function_that_it_is(value: Any, what: str) -> None:
    before = copy.deepcopy(value)
    holder = held(copy.deepcopy(value))
    assert [found.what for found in patch(holder).replaced] == [what]
    x = torch.linspace(-12, 12, 4001)
    exact = before(x.double())
    # It is the function: softplus is cut off at 20, FastGELU has a constant to ten digits.
    declared = torch.from_numpy(as_function(what)(x.numpy()))
    assert torch.allclose(exact, declared, rtol=1e-8, atol=3e-9)
    # And what takes its place is that function's table.
    with torch.no_grad():
        y = holder.act(x)
    assert torch.equal(y, activation(x, what))
    assert torch.allclose(y.double(), exact, rtol=1e-6, atol=3e-9)


def test_what_transformers_tests_of_its_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    """With our modules in the place of its own: as tests/utils/test_activations.py there has it."""
    get = activations.get_activation
    for name, what in OF_TRANSFORMERS.items():
        if what in FUNCTIONS:
            monkeypatch.setitem(ACT2FN, name, (Activation, {"function": what}))
    x = torch.tensor([-100, -1, -0.1, 0, 0.1, 1.0, 100])
    assert torch.allclose(get("gelu_python")(x), get("gelu")(x))
    assert torch.allclose(get("gelu_python")(x), functional.gelu(x))
    assert not torch.allclose(get("gelu_python")(x), get("gelu_new")(x))
    y, clipped = get("gelu")(x), get("gelu_10")(x)
    assert clipped.max() == 10
    assert torch.allclose(y[clipped < 10], clipped[clipped < 10])
    for name in OF_TRANSFORMERS:
        assert get(name) is not get(name)
    for name in ("bogus", None):
        with pytest.raises(KeyError):
            get(name)


class LouderBloom(BloomGelu):
    pass


class Louder(nn.GELU):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked() -> nn.Module:
    module = nn.GELU()
    module.register_forward_hook(lambda module, x, y: None)
    return module


def with_its_own_forward() -> nn.Module:
    module = ACT2FN["gelu"]
    module.forward = torch.relu
    return module


LEFT: list[tuple[Any, str]] = [
    (nn.ELU(alpha=float("inf")), "there is no table of elu with alpha inf"),
    (partial(functional.gelu, approximate="sinh"), 'approximate=\'sinh\': choose "none" or "tanh"'),
    *((ACT2FN[name], what) for name, what in OF_TRANSFORMERS.items() if what not in FUNCTIONS),
    (Louder(), "may differ from its base class GELU"),
    (LouderBloom(), "may differ from its base class BloomGelu"),
    (hooked(), "has hooks"),
    (with_its_own_forward(), "has a forward of its own"),
    (nn.SiLU(inplace=True), "works in place"),
    (nn.Softplus(beta=2), "there is no table of softplus with beta 2, threshold 20"),
    (nn.Softplus(threshold=5), "there is no table of softplus with beta 1, threshold 5"),
    (activations.ClippedGELUActivation(-10, 6), "there is no table of gelu clipped to [-10, 6]"),
    (activations.ClippedGELUActivation(0, 10), "there is no table of gelu clipped to [0, 10]"),
    (nn.GLU(), "is the product of the halves of its input"),
    (functional.glu, "is the product of the halves of its input"),
    (functional.relu, CHEAP),
    (partial(functional.silu, inplace=True), "is called with inplace"),
    (Activation("gelu"), "is a table already"),
]


@pytest.mark.parametrize(("value", "reason"), LEFT, ids=named)
def test_left_for_a_reason(value: Any, reason: str) -> None:
    holder = held(value)
    handle = patch(holder)
    assert [found.what for found in handle.left] == [reason]
    assert not handle.replaced
    assert not handle.active
    assert holder.act is value


class Calls(nn.Module):
    """Activations that no attribute holds."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(x) + nn.functional.gelu(x) + torch.nn.functional.softplus(x, beta=2)
        x = torch.sigmoid(x) + functional.gelu(x) + gelu_of_esm(x) + activations.gelu_new(x)
        x = ACT2FN[self.name](x) + functional.glu(x)
        # None of these is one, or costs more than a copy.
        return functional.relu(x) + torch.exp(x) + self.linear(x) + torch.missing(x) + held(x)


class Own(Calls):
    def forward(self, x: Tensor, functional: Any) -> Tensor:
        return functional.gelu(x)


def test_calls_by_name_are_left() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Calls(), Own(), Calls())
    model[3].forward = torch.exp
    handle = patch(model)
    calls = (
        "functional.gelu", "nn.functional.gelu", "torch.nn.functional.softplus", "torch.sigmoid",
        "gelu_of_esm", "activations.gelu_new", "ACT2FN[self.name]", "functional.glu",
    )  # fmt: skip
    assert sorted(handle.left) == sorted(
        ("1", "Calls", f"calls {call} in forward") for call in calls
    )
    assert not handle.replaced


@pytest.mark.parametrize(
    "value",
    [
        nn.Linear(2, 2),
        nn.Softmax(-1),
        torch.exp,
        print,
        partial(torch.tanh, torch.ones(1)),
        None,
        3,
    ],
)
def test_what_is_no_activation_is_not_mentioned(value: Any) -> None:
    handle = patch(held(value))
    assert handle.left == handle.replaced == ()


def test_the_model_is_no_activation_itself() -> None:
    handle = patch(nn.GELU())
    assert [found.what for found in handle.left] == [
        "is the model itself, and nothing refers to it"
    ]
    assert not handle.active
