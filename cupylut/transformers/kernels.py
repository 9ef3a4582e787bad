"""The `kernels` package, which replaces the forward of layers by name: our layers for its names.

`use_kernel_mapping` takes anything with a `load` that returns a class without state, whose forward
becomes the layer's. So nothing needs to be on a hub or in a folder, and `kernels` is not imported.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from ..torch.operators import activation

LAYERS = {
    "FastGELU": "gelu_tanh",
    "GeLU": "gelu",
    "GeluTanh": "gelu_tanh",
    "NewGELU": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "SiLU": "silu",
}
"""What the activations of transformers are called there, and which functions they are."""


@dataclass(frozen=True)
class _Repository:
    """Where `kernels` gets a layer from."""

    layer_name: str

    def load(self) -> type:
        return _layer(self.layer_name)

    def __str__(self) -> str:
        return f"`cupylut` (layer `{self.layer_name}`)"


@cache
def _layer(name: str) -> type:
    """A class with a forward and what it can do, and nothing else: more is refused there."""
    function = LAYERS[name]

    def forward(self: Any, input: Tensor) -> Tensor:
        return activation(input, function)

    members = {"forward": forward, "can_torch_compile": True, "has_backward": True}
    return type(name, (nn.Module,), members | {"__module__": __name__})


def kernel_mapping() -> dict[str, dict[str, Any]]:
    """The activations of transformers for `kernels.use_kernel_mapping`, for the CPU and CUDA.

    They serve inference, training and torch.compile alike::

        with kernels.use_kernel_mapping(kernel_mapping()):
            kernels.kernelize(model, mode=kernels.Mode.INFERENCE)

    `cupylut.transformers.patch` does more: it fuses gated MLPs, knows more functions, and can be
    undone. Here a model keeps its modules, and other kernels may be mapped beside ours.

    >>> sorted(kernel_mapping())
    ['FastGELU', 'GeLU', 'GeluTanh', 'NewGELU', 'QuickGELU', 'SiLU']
    """
    return {name: dict.fromkeys(("cpu", "cuda"), _Repository(name)) for name in LAYERS}
