"""transformers/calibrating.py: what activations get for inputs, and tables for that."""

from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor, nn  # noqa: TID251
from torch.nn import functional  # noqa: TID251

pytest.importorskip("transformers")

from test_transformers import Mixed, everything, one_thread, same_objects  # noqa: F401

import cupylut
from cupylut import Calibration
from cupylut.transformers import calibrate, linear_tables, patched


def trained_inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(50, 4, generator=generator) for _ in range(3)]


def test_calibrate_counts_what_goes_into_each_activation() -> None:
    model = Mixed().train()
    model.first.eval()
    modes = [module.training for module in model.modules()]
    found = calibrate(model, trained_inputs())
    assert [module.training for module in model.modules()] == modes
    assert set(found) == {
        "first.1", "first.3", "shared", "more.a", "more.b", "bare", "tanh",
    }  # fmt: skip
    assert found["shared"] is found["first.1"] is found["more.a"]
    assert found["shared"].count == 3 * 3 * 200
    expected = {name: Calibration() for name in ("first.3", "bare", "tanh", "more.b")}
    with torch.no_grad():
        for x in trained_inputs():
            y = functional.gelu(model.first[0](x))
            expected["first.3"].update(model.first[2](y))
            y = model.shared(model.first(x))
            expected["bare"].update(y)
            expected["tanh"].update(y := functional.silu(y))
            expected["more.b"].update(functional.gelu(functional.gelu(y, approximate="tanh")))
    assert {name: found[name] for name in expected} == expected


def test_calibrate_leaves_the_model_as_it_was_also_after_an_error() -> None:
    model = Mixed()
    before = everything(model)
    calibrate(model, trained_inputs())
    assert same_objects(everything(model), before)
    with pytest.raises(RuntimeError):
        calibrate(model, [torch.ones(2, 3)])
    assert same_objects(everything(model), before)
    assert not model.shared._forward_pre_hooks


def test_batches_of_every_kind() -> None:
    model, x = Mixed(), torch.ones(2, 4)
    for batch in (x, (x,), [x], {"x": x}):
        assert calibrate(model, [batch])["bare"].count == 8


def test_each_activation_through_a_table_of_its_own() -> None:
    model = Mixed()
    inputs = trained_inputs()
    want = [model(x) for x in inputs]
    calibrations = calibrate(model, inputs)
    tables = linear_tables(model, calibrations, size=4096)
    assert {name: table.name for name, table in tables.items()} == {
        "first.1": "gelu", "shared": "gelu", "more.a": "gelu",
        "first.3": "selu", "more.b": "tanh", "bare": "silu", "tanh": "gelu_tanh",
    }  # fmt: skip
    with patched(model, tables) as handle, torch.no_grad():
        assert {found.what for found in handle.replaced} == {str(t) for t in tables.values()}
        got = [model(x) for x in inputs]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, want, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_the_domain_is_that_of_the_inputs_unless_the_next_ones_would_suffer() -> None:
    model = nn.Sequential(nn.GELU(), nn.GELU(), nn.Tanh())
    wide, narrow = Calibration(torch.linspace(-4, 4, 999)), Calibration(torch.linspace(-0.5, 1, 99))
    tables: Any = linear_tables(model, {"0": wide, "1": narrow, "2": narrow}, size=256)
    calibrated = cupylut.tabulate("gelu", kind="linear", size=256, calibration=wide)
    domains = [(tables[name].lo, tables[name].hi) for name in "012"]
    best = [cupylut.search(name, size=256) for name in ("gelu", "tanh")]
    assert domains == [(calibrated.lo, calibrated.hi), *((d.lo, d.hi) for d in best)]
    assert domains[0] != domains[1]
    assert (tables["2"](torch.tensor([-0.6])) + 0.537).abs() < 1e-3


def test_tables_are_for_inference() -> None:
    model = Mixed()
    tables = linear_tables(model, calibrate(model, trained_inputs()), size=64)
    with patched(model, tables), pytest.raises(ValueError, match="requires grad"):
        model(torch.ones(2, 4))


def test_a_shared_module_takes_the_table_of_any_of_its_names() -> None:
    model, table = Mixed(), cupylut.tabulate("gelu", size=64)
    with patched(model, {"more.a": table}) as handle:
        assert model.shared is model.first[1] is model.more["a"]
        assert model.shared(torch.tensor([-4.0])) == table(torch.tensor([-4.0]))
        shared = [found.what for found in handle.replaced if found.name in ("first.1", "shared")]
        assert shared == 2 * [str(table)]


class OwnScale(nn.Module):
    """A layer with a function of PyTorch, which all its like refer to."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.act = scale, functional.gelu

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.scale * x)


def test_layers_that_refer_to_one_function_are_counted_apart() -> None:
    model, x = nn.Sequential(OwnScale(0.1), OwnScale(3.0)), torch.randn(200)
    found = calibrate(model, [x])
    assert found["0.act"] == Calibration(0.1 * x)
    assert found["1.act"] == Calibration(3 * functional.gelu(0.1 * x))
