"""The activation functions: one declaration each.

A declaration says everything the rest of the library needs: a float64 reference that keeps its
*relative* accuracy in the negative tail (``x * ndtr(x)``, never ``1 + erf``, which cancels), the
derivative, the straight lines that the function approaches on either side, its symmetry, and the
same expression for the CUDA compiler. To add a function, add one declaration: tables, kernels,
array front ends and tests take it from ``FUNCTIONS``.

Sources: Hendrycks and Gimpel, arXiv 1606.08415 (gelu and its tanh form, quick_gelu as x·σ(1.702x));
Elfving et al., Neural Networks 107 (silu); Misra, arXiv 1908.08681 (mish); Howard et al., arXiv
1905.02244 (hardswish); Ma et al., arXiv 2209.10655 (laplace); Klambauer et al., arXiv 1706.02515
(selu).
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from .declaration import IDENTITY, ZERO, ZERO_FROM_BELOW, Float64Array, Function, Reference, Tail


def as_function(
    function: "str | Function | Reference",
    left: "float | str | Tail | None" = None,
    right: "float | str | Tail | None" = None,
) -> Function:
    """The `Function` that a name, a `Function` or a callable with two tails stands for.

    A tail is a number (the constant that f approaches), ``"identity"`` or a `Tail`.
    """
    if isinstance(function, str):
        if function not in FUNCTIONS:
            close = difflib.get_close_matches(function, FUNCTIONS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(
                f"unknown function {function!r}: {hint}The known ones are {', '.join(FUNCTIONS)}; "
                "for any other, pass a callable with left= and right="
            )
        function = FUNCTIONS[function]
    if isinstance(function, Function):
        if left is not None or right is not None:
            raise ValueError(f"{function.name} brings its own tails: leave out left= and right=")
        return function
    if not callable(function):
        raise TypeError(f"function must be a name or a callable, not {type(function).__name__}")
    if left is None or right is None:
        raise ValueError(
            "a callable needs both tails: left= and right=, each a number (the constant that the "
            'function approaches) or "identity"'
        )
    name = getattr(function, "__name__", type(function).__name__)
    return Function(name, f"{name}(x)", function, _tail(left, "left"), _tail(right, "right"))


def _tail(tail: float | str | Tail, side: str) -> Tail:
    if isinstance(tail, Tail):
        return tail
    if tail == "identity":
        return IDENTITY
    if isinstance(tail, str) or not np.isfinite(tail):
        raise ValueError(f'{side}={tail!r} is not a tail: give a finite number or "identity"')
    return Tail(0.0, float(tail))


def _sigmoid_gate(x: Float64Array, slope: Any, z: Float64Array) -> Float64Array:
    """The derivative of x·σ(z) where slope = dz/dx."""
    return np.asarray(expit(z) * (1 + x * slope * expit(-z)))


def _zero_from_below(y: Float64Array) -> Float64Array:
    """y, and −0 where it underflowed: the sum of +0 and a −0 that was negative is +0."""
    return np.where(y == 0, -0.0, y)


_SQRT_8_OVER_PI = 1.5957691216057308  # 2·√(2/π)


def _gelu(x: Float64Array) -> Float64Array:
    return np.asarray(x * ndtr(x))


def _gelu_derivative(x: Float64Array) -> Float64Array:
    return _zero_from_below(ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


def _gelu_tanh_argument(x: Float64Array) -> Float64Array:
    return np.asarray(_SQRT_8_OVER_PI * x * (1 + 0.044715 * x * x))


def _gelu_tanh(x: Float64Array) -> Float64Array:
    # (1 + tanh(z/2))/2 = σ(z), and σ does not cancel for z → −∞.
    return np.asarray(x * expit(_gelu_tanh_argument(x)))


def _gelu_tanh_derivative(x: Float64Array) -> Float64Array:
    slope = _SQRT_8_OVER_PI * (1 + 3 * 0.044715 * x * x)
    return _sigmoid_gate(x, slope, _gelu_tanh_argument(x))


def _silu(x: Float64Array) -> Float64Array:
    return np.asarray(x * expit(x))


def _silu_derivative(x: Float64Array) -> Float64Array:
    return _sigmoid_gate(x, 1.0, x)


def _quick_gelu(x: Float64Array) -> Float64Array:
    return np.asarray(x * expit(1.702 * x))


def _quick_gelu_derivative(x: Float64Array) -> Float64Array:
    return _sigmoid_gate(x, 1.702, 1.702 * x)


def _mish_gate(x: Float64Array) -> Float64Array:
    """tanh(log(1 + eˣ)) with t = e^−|x|: nothing overflows and the tail keeps its digits."""
    t: Float64Array = np.exp(-np.abs(x))
    return np.where(x < 0, t * (t + 2) / (t * (t + 2) + 2), (1 + 2 * t) / (1 + 2 * t + 2 * t * t))


def _mish(x: Float64Array) -> Float64Array:
    return x * _mish_gate(x)


def _mish_derivative(x: Float64Array) -> Float64Array:
    gate = _mish_gate(x)
    return _zero_from_below(gate + x * (1 - gate * gate) * expit(x))


def _softplus(x: Float64Array) -> Float64Array:
    return np.logaddexp(0.0, x)


def _sigmoid(x: Float64Array) -> Float64Array:
    return np.asarray(expit(x))


def _sigmoid_derivative(x: Float64Array) -> Float64Array:
    return np.asarray(expit(x) * expit(-x))


def _tanh(x: Float64Array) -> Float64Array:
    return np.tanh(x)


def _tanh_derivative(x: Float64Array) -> Float64Array:
    return np.asarray(4 * expit(2 * x) * expit(-2 * x))


def _hardswish(x: Float64Array) -> Float64Array:
    return np.where(x < -3, -0.0, x * (np.clip(x, -3, 3) + 3) / 6)


def _hardswish_derivative(x: Float64Array) -> Float64Array:
    return np.where(x < -3, 0.0, np.where(x > 3, 1.0, (2 * x + 3) / 6))


_MU, _SIGMA = 0.707107, 0.282095  # of laplace: the constants that its authors round to six digits


def _laplace(x: Float64Array) -> Float64Array:
    return np.asarray(ndtr((x - _MU) / _SIGMA))


def _laplace_derivative(x: Float64Array) -> Float64Array:
    z = (x - _MU) / _SIGMA
    return np.asarray(np.exp(-z * z / 2) / (_SIGMA * np.sqrt(2 * np.pi)))


def _clipped_gelu(x: Float64Array, bound: float) -> Float64Array:
    return np.minimum(_gelu(x), bound)


def _clipped_gelu_derivative(x: Float64Array, bound: float) -> Float64Array:
    return np.where(_gelu(x) > bound, 0.0, _gelu_derivative(x))


def _leaky_relu(x: Float64Array, negative_slope: float) -> Float64Array:
    return np.where(x < 0, negative_slope * x, x)


def _leaky_relu_derivative(x: Float64Array, negative_slope: float) -> Float64Array:
    return np.where(x > 0, 1.0, np.where(np.isnan(x), x, negative_slope))


def _elu(x: Float64Array, alpha: float, scale: float) -> Float64Array:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def _elu_derivative(x: Float64Array, alpha: float, scale: float) -> Float64Array:
    return scale * np.where(x > 0, 1.0, alpha * np.exp(np.where(x > 0, 0, x)))


def leaky_relu(negative_slope: float = 0.01) -> Function:
    """x for x > 0, negative_slope·x elsewhere."""
    return Function(
        name="leaky_relu" if negative_slope == 0.01 else f"leaky_relu({negative_slope:g})",
        formula=f"max(x, 0) + {negative_slope:g}·min(x, 0)",
        reference=_leaky_relu,
        parameters=(negative_slope,),
        gradient=_leaky_relu_derivative,
        left=Tail(negative_slope, 0.0),
        right=IDENTITY,
        cuda=f"x < 0 ? {negative_slope!r} * x : x",
        kinks=(0.0,),
    )


def elu(alpha: float = 1.0) -> Function:
    """x for x > 0, alpha·(eˣ − 1) elsewhere. Clevert et al., arXiv 1511.07289."""
    return Function(
        name="elu" if alpha == 1 else f"elu({alpha:g})",
        formula=f"max(x, 0) + {alpha:g}·(e^min(x, 0) − 1)",
        reference=_elu,
        parameters=(alpha, 1.0),
        gradient=_elu_derivative,
        left=Tail(0.0, -alpha),
        right=IDENTITY,
        cuda=f"x > 0 ? x : {alpha!r} * expm1(x)",
        kinks=(0.0,),
    )


_SELU = (1.6732632423543772, 1.0507009873554805)  # alpha and scale

_DECLARATIONS = (
    Function(
        name="gelu",
        formula="x·Φ(x) = x/2·(1 + erf(x/√2))",
        reference=_gelu,
        gradient=_gelu_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="0.5 * x * erfc(x * -0.70710678118654752440)",
    ),
    Function(
        name="gelu_tanh",
        formula="x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))",
        reference=_gelu_tanh,
        gradient=_gelu_tanh_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-1.5957691216057308 * x * (1 + 0.044715 * x * x)))",
    ),
    Function(
        name="silu",
        formula="x·σ(x) = x/(1 + e^−x)",
        reference=_silu,
        gradient=_silu_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-x))",
    ),
    Function(
        name="quick_gelu",
        formula="x·σ(1.702·x)",
        reference=_quick_gelu,
        gradient=_quick_gelu_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-1.702 * x))",
    ),
    Function(
        name="mish",
        formula="x·tanh(log(1 + eˣ))",
        reference=_mish,
        gradient=_mish_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        cuda="x * tanh(log1p(exp(x)))",
    ),
    Function(
        name="softplus",
        formula="log(1 + eˣ)",
        reference=_softplus,
        gradient=_sigmoid,
        left=ZERO,
        right=IDENTITY,
        symmetry="gate",
        cuda="x > 0 ? x + log1p(exp(-x)) : log1p(exp(x))",
    ),
    Function(
        name="sigmoid",
        formula="σ(x) = 1/(1 + e^−x)",
        reference=_sigmoid,
        gradient=_sigmoid_derivative,
        left=ZERO,
        right=Tail(0.0, 1.0),
        symmetry="complement",
        cuda="1 / (1 + exp(-x))",
    ),
    Function(
        name="tanh",
        formula="tanh(x)",
        reference=_tanh,
        gradient=_tanh_derivative,
        left=Tail(0.0, -1.0),
        right=Tail(0.0, 1.0),
        symmetry="odd",
        cuda="tanh(x)",
    ),
    Function(
        name="hardswish",
        formula="x·min(max(x + 3, 0), 6)/6",
        reference=_hardswish,
        gradient=_hardswish_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x < -3 ? -0.0 : x * (fmin(x, 3.0) + 3) / 6",
        kinks=(-3.0, 3.0),
    ),
    Function(
        name="laplace",
        formula="Φ((x − 0.707107)/0.282095)",
        reference=_laplace,
        gradient=_laplace_derivative,
        left=ZERO,
        right=Tail(0.0, 1.0),
        cuda="0.5 * erfc((0.707107 - x) / 0.282095 * 0.70710678118654752440)",
    ),
    Function(
        name="gelu_10",
        formula="min(gelu(x), 10)",
        reference=_clipped_gelu,
        parameters=(10.0,),
        gradient=_clipped_gelu_derivative,
        left=ZERO_FROM_BELOW,
        right=Tail(0.0, 10.0),
        cuda="fmin(0.5 * x * erfc(x * -0.70710678118654752440), 10.0)",
        kinks=(10.0,),
    ),
    Function(
        name="selu",
        formula=f"{_SELU[1]:.5f}·(max(x, 0) + {_SELU[0]:.5f}·(e^min(x, 0) − 1))",
        reference=_elu,
        parameters=_SELU,
        gradient=_elu_derivative,
        left=Tail(0.0, -_SELU[0] * _SELU[1]),
        right=Tail(_SELU[1], 0.0),
        cuda=f"{_SELU[1]!r} * (x > 0 ? x : {_SELU[0]!r} * expm1(x))",
        kinks=(0.0,),
    ),
    elu(),
    leaky_relu(),
)

FUNCTIONS: Mapping[str, Function] = MappingProxyType({f.name: f for f in _DECLARATIONS})
"""Every activation by name."""


def is_declared(function: Function) -> bool:
    """Whether this is a function of `FUNCTIONS` or the derivative of one, not just its namesake."""
    declared = FUNCTIONS.get(function.name.removesuffix("_derivative"))
    return declared is not None and function in (declared, declared.derivative)
