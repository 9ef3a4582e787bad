"""transformers.py: what is replaced by what, what is left, and that both directions change nothing.

The oracle is the unpatched module or model in float64.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor, nn  # noqa: TID251
from torch.nn import functional  # noqa: TID251

transformers = pytest.importorskip("transformers")

from cupylut.ops import function_of  # noqa: E402
from cupylut.torch import Activation, activation  # noqa: E402
from cupylut.transformers import patch, patched, restore  # noqa: E402

activations = transformers.activations
ACT2FN = activations.ACT2FN


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


# ---- which function is it? ----------------------------------------------------------------------

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
    "hardswish": CHEAP,
    "leaky_relu": CHEAP,
    "linear": CHEAP,
    "prelu": CHEAP,
    "relu": CHEAP,
    "relu6": CHEAP,
}

REPLACED: list[tuple[Any, str]] = [
    *((ACT2FN[name], what) for name, what in OF_TRANSFORMERS.items() if what != CHEAP),
    (nn.GELU(), "gelu"),
    (nn.GELU(approximate="tanh"), "gelu_tanh"),
    (nn.SiLU(), "silu"),
    (nn.Mish(), "mish"),
    (nn.SELU(), "selu"),
    (nn.ELU(), "elu(1.0)"),
    (nn.ELU(alpha=0.123456789), "elu(0.123456789)"),
    (nn.Softplus(), "softplus"),
    (nn.Softplus(threshold=50), "softplus"),
    (nn.Sigmoid(), "sigmoid"),
    (nn.Tanh(), "tanh"),
    (activations.ClippedGELUActivation(-0.17, 10), "gelu_10"),
    (functional.gelu, "gelu"),
    (partial(functional.gelu, approximate="tanh"), "gelu_tanh"),
    (partial(functional.gelu, approximate="none"), "gelu"),
    (functional.silu, "silu"),
    (functional.mish, "mish"),
    (functional.softplus, "softplus"),
    (functional.sigmoid, "sigmoid"),
    (torch.sigmoid, "sigmoid"),
    (functional.tanh, "tanh"),
    (torch.tanh, "tanh"),
    (functional.elu, "elu(1.0)"),
]


def test_no_activation_of_transformers_is_forgotten() -> None:
    unknown = {name for name in activations.ACT2CLS if name not in OF_TRANSFORMERS}
    assert unknown <= {"relu2", "sqrtsoftplus", "xielu"}


@pytest.mark.parametrize(("value", "what"), REPLACED, ids=named)
def test_replaced_by_the_function_that_it_is(value: Any, what: str) -> None:
    before = copy.deepcopy(value)
    holder = held(copy.deepcopy(value))
    assert [found.what for found in patch(holder).replaced] == [what]
    x = torch.linspace(-12, 12, 4001)
    exact = before(x.double())
    # It is the function: softplus is cut off at 20, FastGELU has a constant to ten digits.
    declared = torch.from_numpy(function_of(what)(x.numpy()))
    assert torch.allclose(exact, declared, rtol=1e-8, atol=3e-9)
    # And what takes its place is that function's table.
    with torch.no_grad():
        y = holder.act(x)
    assert torch.equal(y, activation(x, what))
    # Of 1024 nodes, and a tenth of what gelu and gelu_tanh differ by.
    assert ((y - exact).abs() - 1e-7 * exact.abs()).max() <= 4.7e-5


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
    *((ACT2FN[name], what) for name, what in OF_TRANSFORMERS.items() if what == CHEAP),
    (Louder(), "may differ from its base class GELU"),
    (hooked(), "has hooks"),
    (with_its_own_forward(), "has a forward of its own"),
    (nn.SiLU(inplace=True), "works in place"),
    (nn.Softplus(beta=2), "there is no table of softplus with beta 2, threshold 20"),
    (nn.Softplus(threshold=5), "there is no table of softplus with beta 1, threshold 5"),
    (activations.ClippedGELUActivation(-10, 6), "there is no table of gelu clipped to [-10, 6]"),
    (activations.ClippedGELUActivation(0, 10), "there is no table of gelu clipped to [0, 10]"),
    (functional.relu, CHEAP),
    (functional.selu, "has a derivative that jumps"),
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


@pytest.mark.parametrize(
    "value", [nn.Linear(2, 2), nn.Softmax(-1), torch.exp, print, partial(max, 0), None, 3]
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


# ---- what a model keeps -------------------------------------------------------------------------


def everything(model: nn.Module) -> dict[str, list[Any]]:
    """All that a model refers to, module for module."""
    return {
        name: [module, type(module), *vars(module).items(), *module._modules.items()]
        for name, module in model.named_modules()
    }


def same_objects(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> bool:
    def flat(found: dict[str, list[Any]]) -> list[tuple[str, int]]:
        parts = [(n, p) for n, all_ in found.items() for p in all_]
        return [(n, id(q)) for n, p in parts for q in (p if isinstance(p, tuple) else (p,))]

    return flat(before) == flat(after)


class Mixed(nn.Module):
    """Activations as modules, shared, in containers, and as bare callables."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.SELU())
        self.shared = self.first[1]
        self.more = nn.ModuleDict({"a": self.shared, "b": nn.Tanh()})
        self.bare = functional.silu
        self.tanh = partial(functional.gelu, approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        y = self.tanh(self.bare(self.shared(self.first(x))))
        return self.more["b"](self.more["a"](y))


def test_restore_puts_back_the_very_objects() -> None:
    model = Mixed()
    before = everything(model)
    x = torch.randn(3, 4, requires_grad=True)
    want = model(x)
    handle = patch(model)
    assert handle.active
    assert not same_objects(everything(model), before)
    assert not torch.equal(model(x), want)
    restore(handle)
    assert not handle.active
    assert same_objects(everything(model), before)
    assert torch.equal(model(x), want)
    restore(handle)  # nothing to do
    assert same_objects(everything(model), before)


def test_what_was_shared_is_shared() -> None:
    model = Mixed()
    handle = patch(model)
    assert model.shared is model.first[1] is model.more["a"]
    assert isinstance(model.shared, Activation)
    assert {found.name for found in handle.replaced} == {
        "first.1", "first.3", "shared", "more.a", "more.b", "bare", "tanh",
    }  # fmt: skip


def test_patched_restores_after_an_error() -> None:
    model = Mixed()
    before = everything(model)

    def fails() -> None:
        with patched(model) as handle:
            assert len(handle.replaced) == 7
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert same_objects(everything(model), before)


def test_patching_twice() -> None:
    model = Mixed()
    before = everything(model)
    first = patch(model)
    between = everything(model)
    second = patch(model)
    assert not second.active
    assert {found.what for found in second.left} == {"is a table already"}
    assert same_objects(everything(model), between)
    restore(second)
    assert same_objects(everything(model), between)
    restore(first)
    assert same_objects(everything(model), before)


def test_restore_does_not_undo_what_others_did() -> None:
    model = Mixed()
    handle = patch(model)
    model.more["b"] = other = nn.Tanh()
    between = everything(model)
    with pytest.raises(ValueError, match="b of ModuleDict is a Tanh now"):
        restore(handle)
    assert model.more["b"] is other
    assert same_objects(everything(model), between)
    assert handle.active


def test_modes_follow() -> None:
    model = Mixed().eval()
    handle = patch(model)
    assert not any(module.training for module in model.modules())
    model.train()
    restore(handle)
    assert all(module.training for module in model.modules())


def test_a_function_whose_derivative_jumps_is_differentiated_by_pytorch() -> None:
    model = nn.Sequential(nn.SELU())
    x = torch.tensor([-1.0, 1e-4, 2.0], requires_grad=True)
    want, (gradient,) = model(x), torch.autograd.grad(model(x).sum(), x)
    with patched(model):
        assert torch.equal(model(x), want)
        assert torch.equal(torch.autograd.grad(model(x).sum(), x)[0], gradient)
        with torch.no_grad():
            assert torch.equal(model(x), activation(x, "selu"))


def test_the_summary_counts_what_differs_in_numbers_only() -> None:
    layers = [nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.ReLU()) for _ in range(12)]
    model = nn.ModuleDict({"layers": nn.ModuleList(layers), "out": nn.Tanh()})
    assert str(patch(model)).splitlines() == [
        "replaced: 13",
        "     1 × out: Tanh → tanh",
        "    12 × layers.*.*: GELU → gelu",
        "left: 12",
        "    12 × layers.*.*: ReLU costs no more than a copy",
    ]
