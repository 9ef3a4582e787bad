"""The activation functions: one declaration each.

A declaration says everything the rest of the library needs: a float64 reference that keeps its
*relative* accuracy in the negative tail (``x * ndtr(x)``, never ``1 + erf``, which cancels), two
derivatives, the straight lines that the function approaches on either side, its symmetry, and the
same expression for the CUDA compiler. Tables, kernels, front ends and tests take all that from
``FUNCTIONS``. docs/architecture.md says what else a new function needs.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import references
from .declaration import IDENTITY, ZERO, ZERO_FROM_BELOW, Function, Tail


def _named(name: str, parameters: tuple[float, ...], default: tuple[float, ...]) -> str:
    return name if parameters == default else f"{name}({', '.join(map(repr, parameters))})"


def leaky_relu(negative_slope: float = 0.01) -> Function:
    """x for x > 0, negative_slope·x elsewhere."""
    return Function(
        name=_named("leaky_relu", (negative_slope,), (0.01,)),
        formula=f"max(x, 0) + {negative_slope:g}·min(x, 0)",
        reference=references.leaky_relu,
        parameters=(negative_slope,),
        gradient=references.leaky_relu_derivative,
        curvature=references.leaky_relu_second_derivative,
        left=Tail(negative_slope, 0.0),
        right=IDENTITY,
        cuda=f"x < 0 ? {negative_slope!r} * x : x",
        kinks=(0.0,),
    )


def elu(alpha: float = 1.0) -> Function:
    """x for x > 0, alpha·(eˣ − 1) elsewhere."""
    return Function(
        name=_named("elu", (alpha,), (1.0,)),
        formula=f"max(x, 0) + {alpha:g}·(e^min(x, 0) − 1)",
        reference=references.elu,
        parameters=(alpha, 1.0),
        gradient=references.elu_derivative,
        curvature=references.elu_second_derivative,
        left=Tail(0.0, -alpha),
        right=IDENTITY,
        cuda=f"x > 0 ? x : {alpha!r} * expm1(x)",
        kinks=(0.0,),
        source="Clevert, Unterthiner and Hochreiter, arXiv 1511.07289",
    )


def xielu(alpha_p: float = 0.8, alpha_n: float = 0.8, beta: float = 0.5) -> Function:
    """alpha_p·x² + beta·x for x > 0, alpha_n·(eˣ − 1 − x) + beta·x elsewhere."""
    return Function(
        name=_named("xielu", (alpha_p, alpha_n, beta), (0.8, 0.8, 0.5)),
        formula=f"{alpha_p:g}·max(x, 0)² + {alpha_n:g}·(e^min(x, 0) − 1 − min(x, 0)) + {beta:g}·x",
        reference=references.xielu,
        parameters=(alpha_p, alpha_n, beta),
        gradient=references.xielu_derivative,
        curvature=references.xielu_second_derivative,
        left=Tail(beta - alpha_n, -alpha_n),
        right=None,
        kinks=(0.0,),
        source="Huang and Schlag, arXiv 2411.13010",
    )


PARAMETRIC: Mapping[str, Callable[..., Function]] = MappingProxyType(
    {f.__name__: f for f in (elu, leaky_relu, xielu)}
)
"""What makes the functions with parameters, by name."""

_SELU = (1.6732632423543772, 1.0507009873554805)  # alpha and scale

_DECLARATIONS = (
    Function(
        name="gelu",
        formula="x·Φ(x) = x/2·(1 + erf(x/√2))",
        reference=references.gelu,
        gradient=references.gelu_derivative,
        curvature=references.gelu_second_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="0.5 * x * erfc(x * -0.70710678118654752440)",
        source="Hendrycks and Gimpel, arXiv 1606.08415",
    ),
    Function(
        name="gelu_tanh",
        formula="x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))",
        reference=references.gelu_tanh,
        gradient=references.gelu_tanh_derivative,
        curvature=references.gelu_tanh_second_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-1.5957691216057308 * x * (1 + 0.044715 * x * x)))",
        source="Hendrycks and Gimpel, arXiv 1606.08415",
    ),
    Function(
        name="silu",
        formula="x·σ(x) = x/(1 + e^−x)",
        reference=references.silu,
        gradient=references.silu_derivative,
        curvature=references.silu_second_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-x))",
        source="Elfving, Uchibe and Doya, Neural Networks 107 (arXiv 1702.03118)",
    ),
    Function(
        name="quick_gelu",
        formula="x·σ(1.702·x)",
        reference=references.quick_gelu,
        gradient=references.quick_gelu_derivative,
        curvature=references.quick_gelu_second_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-1.702 * x))",
        source="Hendrycks and Gimpel, arXiv 1606.08415, as x·σ(1.702·x)",
    ),
    Function(
        name="mish",
        formula="x·tanh(log(1 + eˣ))",
        reference=references.mish,
        gradient=references.mish_derivative,
        curvature=references.mish_second_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        cuda="x * tanh(log1p(exp(x)))",
        source="Misra, arXiv 1908.08681",
    ),
    Function(
        name="softplus",
        formula="log(1 + eˣ)",
        reference=references.softplus,
        gradient=references.sigmoid,
        curvature=references.sigmoid_derivative,
        left=ZERO,
        right=IDENTITY,
        symmetry="gate",
        cuda="x > 0 ? x + log1p(exp(-x)) : log1p(exp(x))",
        source="Dugas et al., Advances in Neural Information Processing Systems 13 (2001)",
    ),
    Function(
        name="sigmoid",
        formula="σ(x) = 1/(1 + e^−x)",
        reference=references.sigmoid,
        gradient=references.sigmoid_derivative,
        curvature=references.sigmoid_second_derivative,
        left=ZERO,
        right=Tail(0.0, 1.0),
        symmetry="complement",
        cuda="1 / (1 + exp(-x))",
    ),
    Function(
        name="tanh",
        formula="tanh(x)",
        reference=references.tanh,
        gradient=references.tanh_derivative,
        curvature=references.tanh_second_derivative,
        left=Tail(0.0, -1.0),
        right=Tail(0.0, 1.0),
        symmetry="odd",
        cuda="tanh(x)",
    ),
    Function(
        name="hardswish",
        formula="x·min(max(x + 3, 0), 6)/6",
        reference=references.hardswish,
        gradient=references.hardswish_derivative,
        curvature=references.hardswish_second_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x < -3 ? -0.0 : x * (fmin(x, 3.0) + 3) / 6",
        kinks=(-3.0, 3.0),
        source="Howard et al., arXiv 1905.02244",
    ),
    Function(
        name="laplace",
        formula="Φ((x − 0.707107)/0.282095)",
        reference=references.laplace,
        gradient=references.laplace_derivative,
        curvature=references.laplace_second_derivative,
        left=ZERO,
        right=Tail(0.0, 1.0),
        cuda="0.5 * erfc((0.707107 - x) / 0.282095 * 0.70710678118654752440)",
        source="Ma et al., arXiv 2209.10655",
    ),
    Function(
        name="gelu_10",
        formula="min(gelu(x), 10)",
        reference=references.clipped_gelu,
        parameters=(10.0,),
        gradient=references.clipped_gelu_derivative,
        curvature=references.clipped_gelu_second_derivative,
        left=ZERO_FROM_BELOW,
        right=Tail(0.0, 10.0),
        cuda="fmin(0.5 * x * erfc(x * -0.70710678118654752440), 10.0)",
        kinks=(10.0,),
    ),
    Function(
        name="selu",
        formula=f"{_SELU[1]:.5f}·(max(x, 0) + {_SELU[0]:.5f}·(e^min(x, 0) − 1))",
        reference=references.elu,
        parameters=_SELU,
        gradient=references.elu_derivative,
        curvature=references.elu_second_derivative,
        left=Tail(0.0, -_SELU[0] * _SELU[1]),
        right=Tail(_SELU[1], 0.0),
        cuda=f"{_SELU[1]!r} * (x > 0 ? x : {_SELU[0]!r} * expm1(x))",
        kinks=(0.0,),
        source="Klambauer et al., arXiv 1706.02515",
    ),
    elu(),
    leaky_relu(),
)

_CURVED = (
    Function(
        name="relu2",
        formula="max(x, 0)²",
        reference=references.relu2,
        gradient=references.relu2_derivative,
        curvature=references.relu2_second_derivative,
        left=ZERO,
        right=None,
        kinks=(0.0,),
    ),
    Function(
        name="sqrtsoftplus",
        formula="√log(1 + eˣ)",
        reference=references.sqrtsoftplus,
        gradient=references.sqrtsoftplus_derivative,
        curvature=references.sqrtsoftplus_second_derivative,
        left=ZERO,
        right=None,
    ),
    xielu(),
)

FUNCTIONS: Mapping[str, Function] = MappingProxyType({f.name: f for f in _DECLARATIONS})
"""Every activation by name."""

CURVED: Mapping[str, Function] = MappingProxyType({f.name: f for f in _CURVED})
"""Activations that approach no straight line on the right. They have tables in 16 bits; relu2 and
xielu in float32 too."""
