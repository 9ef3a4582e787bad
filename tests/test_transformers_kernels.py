"""transformers/kernels.py: the layers are what the kernels package demands.

That package is not needed: it would set the forward of one module to that of our class.
"""

import inspect
from types import MethodType

import pytest
import torch  # noqa: TID251
from torch import nn  # noqa: TID251

activations = pytest.importorskip("transformers").activations

from cupylut.transformers.kernels import kernel_mapping  # noqa: E402

# The name that a decorator gives each class of transformers.
CLASSES = {
    "FastGELU": activations.FastGELUActivation,
    "GeLU": activations.GELUActivation,
    "GeluTanh": activations.GELUTanh,
    "NewGELU": activations.NewGELUActivation,
    "QuickGELU": activations.QuickGELUActivation,
    "SiLU": activations.SiLUActivation,
}


def test_every_name_on_both_devices() -> None:
    mapping = kernel_mapping()
    assert mapping.keys() == CLASSES.keys()
    assert all(repositories.keys() == {"cpu", "cuda"} for repositories in mapping.values())
    assert kernel_mapping() == mapping
    assert len({hash(repositories["cpu"]) for repositories in mapping.values()}) == len(mapping)


@pytest.mark.parametrize("name", CLASSES)
def test_layer(name: str) -> None:
    layer, replaced = kernel_mapping()[name]["cpu"].load(), CLASSES[name]
    # Without state: no constructor, no members but these two.
    assert issubclass(layer, nn.Module)
    assert layer.__init__ is nn.Module.__init__
    assert set(dir(layer)) - set(dir(nn.Module)) == {"can_torch_compile", "has_backward"}
    ours, theirs = (
        [(p.name, p.kind) for p in inspect.signature(kind.forward).parameters.values()]
        for kind in (layer, replaced)
    )
    assert ours == theirs

    module = replaced()
    module.forward = MethodType(layer.forward, module)
    x = torch.linspace(-9, 9, 1001, requires_grad=True)
    exact, y = replaced()(x.double()), module(x)
    assert torch.allclose(y.double(), exact, rtol=1e-6, atol=1e-10)
    slopes = (torch.autograd.grad(t.sum(), x)[0] for t in (y, exact))
    assert torch.allclose(*slopes, rtol=1e-5, atol=1e-6)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), y)
