"""transformers.py: what is kept in a patched model, and that there and back is nowhere."""

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor, nn  # noqa: TID251
from torch.nn import functional  # noqa: TID251

pytest.importorskip("transformers")

import cupylut
from cupylut import Calibration
from cupylut.torch import Activation
from cupylut.transformers import calibrate, linear_tables, patch, patched, restore


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
        torch.manual_seed(0)
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


class GatedMLP(nn.Module):
    def __init__(self, act: Any) -> None:
        super().__init__()
        self.gate, self.up, self.down = (nn.Linear(4, 4) for _ in range(3))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.gate(x)) * self.up(x))


@pytest.mark.parametrize(
    ("act", "others"),
    [(nn.SiLU(), [nn.ReLU(), Activation("gelu")]), (functional.silu, [functional.relu, torch.sin])],
    ids=["module", "function"],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_another_activation_may_be_put_into_a_patched_gated_mlp(
    act: Any, others: list[Any], compiled: bool
) -> None:
    torch._dynamo.reset()
    mlp, x = GatedMLP(act), torch.randn(3, 4)
    run = torch.compile(mlp, backend="eager", fullgraph=True) if compiled else mlp
    with torch.no_grad():
        before = run(x)
        handle = patch(nn.Sequential(mlp))
        replaced, after = mlp.act, run(x)
        for other in others:
            mlp.act = other
            assert torch.equal(run(x), GatedMLP.forward(mlp, x))
        mlp.act = replaced
        assert torch.equal(run(x), after)
        assert len(handle.replaced) == 2
        restore(handle)
        assert torch.equal(run(x), before)


@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_hooks_on_the_activation_of_a_patched_gated_mlp_are_called(register: str) -> None:
    mlp, seen = GatedMLP(nn.SiLU()), []
    patch(nn.Sequential(mlp))
    handle = getattr(mlp.act, register)(lambda *_: seen.append(1))
    mlp(torch.randn(3, 4)).sum().backward()
    handle.remove()
    mlp(torch.randn(3, 4)).sum().backward()
    assert seen == [1]


def test_a_class_that_cannot_be_extended_is_left() -> None:
    class Tagged(GatedMLP):
        def __init_subclass__(cls, tag: str) -> None:
            cls.tag = tag

    model = nn.Sequential(Tagged(nn.SiLU()))
    x = torch.randn(3, 4)
    before, handle = model(x), patch(model)
    (found,) = handle.left
    assert found.what.startswith("has a class that cannot be extended: ")
    torch.testing.assert_close(model(x), before)
    assert str(model[0].act) == "Activation('silu')"
    restore(handle)


def test_modes_follow() -> None:
    model = Mixed().eval()
    handle = patch(model)
    assert not any(module.training for module in model.modules())
    model.train()
    restore(handle)
    assert all(module.training for module in model.modules())


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


# ---- arguments beside the tensor ----------------------------------------------------------------

# What a model has for an attribute, and how it may call it.
CALLS: list[tuple[Any, Callable[[Any, Tensor], Tensor]]] = [
    (functional.silu, lambda f, x: f(x, inplace=True)),
    (functional.silu, lambda f, x: f(x, True)),
    (functional.silu, lambda f, x: f(input=x, inplace=False)),
    (functional.gelu, lambda f, x: f(x, approximate="tanh")),
    (partial(functional.gelu, approximate="tanh"), lambda f, x: f(x, approximate="none")),
    (functional.softplus, lambda f, x: f(x, 2.0)),
    (functional.elu, lambda f, x: f(x, alpha=0.5)),
    (torch.tanh, lambda f, x: f(x, out=torch.empty_like(x))),
]
PLAIN = [functional.silu, functional.gelu, functional.softplus, torch.tanh, nn.GELU(), nn.SiLU()]


@pytest.mark.parametrize("own_table", [False, True])
@pytest.mark.parametrize(("value", "call"), CALLS)
def test_calls_with_more_arguments_go_where_they_went(
    value: Any, call: Callable[[Any, Tensor], Tensor], own_table: bool
) -> None:
    model, x = holder_of(value), torch.linspace(-3, 3, 5000)
    changed = x.clone()
    want = call(value, changed)
    calibrations = calibrate_call(model, lambda: call(model.act, x.clone()))
    assert calibrations["act"] == Calibration(x)
    tables = linear_tables(model, calibrations, size=16) if own_table else None
    handle = patch(model, tables)
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        given = x.clone()
        y = call(twin.act, given)
        assert torch.equal(y, want)
        assert torch.equal(given, changed)
        assert (y is given) == torch.equal(changed, want)
        assert not torch.equal(twin.act(x), value(x))
    restore(handle)
    assert model.act is value


@pytest.mark.parametrize("value", PLAIN)
def test_the_tensor_may_be_given_by_name(value: Any) -> None:
    model, x = holder_of(value), torch.linspace(-3, 3, 5000)
    # Builtin functions of PyTorch know their tensor as input too.
    assert calibrate_call(model, lambda: model.act(input=x))["act"] == Calibration(x)
    want = value(input=x)
    with patched(model):
        y = model.act(input=x)
        assert torch.equal(y, model.act(x))
        compiled = torch.compile(lambda x: model.act(input=x), backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(x), y)
    assert torch.allclose(y, want, rtol=1e-5, atol=1e-6)
    assert not torch.equal(y, want)


def holder_of(value: Any) -> nn.Module:
    model = nn.Module()
    model.act = value
    return model


def calibrate_call(model: nn.Module, call: Callable[[], Any]) -> dict[str, Calibration]:
    """What `calibrate` finds where the forward of the model is this call."""
    model.forward = lambda _: call()
    try:
        return calibrate(model, [torch.zeros(1)])
    finally:
        del model.forward


def test_what_is_no_model_no_batches_or_no_handle() -> None:
    with pytest.raises(TypeError, match=r"batches is a dict: for one batch give \[batch\]"):
        calibrate(Mixed(), {"x": torch.ones(2, 4)})
    for take in (patch, partial(calibrate, batches=[]), partial(linear_tables, calibrations={})):
        with pytest.raises(TypeError, match=r"model is a str: give a torch\.nn\.Module"):
            take("gpt2")
    with pytest.raises(TypeError, match="restore takes what patch returned, not a Mixed"):
        restore(Mixed())


def test_tables_for_some_activations_and_for_none() -> None:
    model = Mixed()
    some = {"more.b": cupylut.tabulate("tanh", size=64)}
    with patched(model, some) as handle:
        assert [found.name for found in handle.replaced if found.what != str(some["more.b"])] == [
            "shared", "bare", "tanh", "first.1", "first.3", "more.a",
        ]  # fmt: skip
    with pytest.raises(ValueError, match=r"tables for first\.0, which are no activations"):
        patch(model, {"first.0": some["more.b"]})
    assert not linear_tables(model, {"bare": Calibration()})
