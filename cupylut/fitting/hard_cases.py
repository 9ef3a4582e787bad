"""Find the inputs whose 16-bit result float64 would round wrongly.

A float64 value decides how f(x) rounds to 16 bits unless it is within its own error of the middle
between two results. Such inputs (mostly odd subnormals x, where f(x) = x/2 to all digits of float64
and x/2 is exactly such a middle) are decided here with mpmath, which the library itself does not
need.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import all_inputs, as_dtype, round_to, ulp, widened
from ..functions import CURVED, FUNCTIONS
from ..names import with_derivatives

# How near to a middle, in ulp of the result, float64 is not trusted: 2⁻³⁰ is a million times its
# error, and still leaves nothing but true ties and near-ties.
TRUST = 2.0**-30

# Enough digits to tell x/2 + x²·0.4 from x/2 at the smallest bfloat16, 2⁻¹³³.
DIGITS = 80


def exact_functions() -> dict[str, Callable[[Any], Any]]:
    """The declared functions and their derivatives in mpmath, to `DIGITS` digits."""
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = DIGITS
    number, exp = mp.mpf, mp.exp

    def cdf(x: Any) -> Any:
        return mp.erfc(-x / mp.sqrt(2)) / 2

    def density(x: Any) -> Any:
        return exp(-x * x / 2) / mp.sqrt(2 * mp.pi)

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + exp(-x))

    def gated(x: Any, z: Any, slope: Any) -> Any:
        """The derivative of x·σ(z) where slope = dz/dx."""
        return sigmoid(z) * (1 + x * slope * sigmoid(-z))

    def gated_curvature(x: Any, z: Any, slope: Any, bend: Any) -> Any:
        """The second derivative of x·σ(z) where slope = dz/dx and bend = d²z/dx²."""
        factor = 2 * slope + x * (bend + (sigmoid(-z) - sigmoid(z)) * slope**2)
        return sigmoid(z) * sigmoid(-z) * factor

    def gelu_derivative(x: Any) -> Any:
        return cdf(x) + x * density(x)

    def gelu_second_derivative(x: Any) -> Any:
        return density(x) * (2 - x * x)

    def mish_derivative(x: Any) -> Any:
        gate = mp.tanh(mp.log1p(exp(x)))
        return gate + x * (1 - gate * gate) * sigmoid(x)

    def mish_second_derivative(x: Any) -> Any:
        gate = mp.tanh(mp.log1p(exp(x)))
        factor = 2 + x * (sigmoid(-x) - 2 * gate * sigmoid(x))
        return mp.sech(mp.log1p(exp(x))) ** 2 * sigmoid(x) * factor

    def sigmoid_second_derivative(x: Any) -> Any:
        return sigmoid(x) * sigmoid(-x) * (sigmoid(-x) - sigmoid(x))

    def sqrtsoftplus_second_derivative(x: Any) -> Any:
        s = mp.log1p(exp(x))
        return sigmoid(x) * (2 * s * sigmoid(-x) - sigmoid(x)) / (4 * s * mp.sqrt(s))

    c, cubic, quick = 2 * mp.sqrt(2 / mp.pi), number(44715) / 10**6, number(1702) / 1000
    mu, sigma = number(707107) / 10**6, number(282095) / 10**6
    slope = number(0.01)  # parameters are the float64 numbers, constants the decimal ones
    alpha, scale = map(number, FUNCTIONS["selu"].parameters)
    alpha_p, alpha_n, beta = map(number, CURVED["xielu"].parameters)
    exact = {
        "gelu": lambda x: x * cdf(x),
        "gelu_derivative": gelu_derivative,
        "gelu_second_derivative": gelu_second_derivative,
        "gelu_tanh": lambda x: x * sigmoid(c * (x + cubic * x**3)),
        "gelu_tanh_derivative": lambda x: gated(
            x, c * (x + cubic * x**3), c * (1 + 3 * cubic * x * x)
        ),
        "gelu_tanh_second_derivative": lambda x: gated_curvature(
            x, c * (x + cubic * x**3), c * (1 + 3 * cubic * x * x), c * 6 * cubic * x
        ),
        "silu": lambda x: x * sigmoid(x),
        "silu_derivative": lambda x: gated(x, x, 1),
        "silu_second_derivative": lambda x: gated_curvature(x, x, 1, 0),
        "quick_gelu": lambda x: x * sigmoid(quick * x),
        "quick_gelu_derivative": lambda x: gated(x, quick * x, quick),
        "quick_gelu_second_derivative": lambda x: gated_curvature(x, quick * x, quick, 0),
        "mish": lambda x: x * mp.tanh(mp.log1p(exp(x))),
        "mish_derivative": mish_derivative,
        "mish_second_derivative": mish_second_derivative,
        "softplus": lambda x: mp.log1p(exp(x)),
        "softplus_derivative": sigmoid,
        "softplus_second_derivative": lambda x: sigmoid(x) * sigmoid(-x),
        "sigmoid": sigmoid,
        "sigmoid_derivative": lambda x: sigmoid(x) * sigmoid(-x),
        "sigmoid_second_derivative": sigmoid_second_derivative,
        "tanh": mp.tanh,
        "tanh_derivative": lambda x: mp.sech(x) ** 2,
        "tanh_second_derivative": lambda x: -2 * mp.tanh(x) * mp.sech(x) ** 2,
        "hardswish": lambda x: x * min(max(x + 3, number(0)), number(6)) / 6,
        "hardswish_derivative": lambda x: 0 if x < -3 else 1 if x > 3 else (2 * x + 3) / 6,
        "hardswish_second_derivative": lambda x: number(1) / 3 if abs(x) < 3 else 0,
        "laplace": lambda x: cdf((x - mu) / sigma),
        "laplace_derivative": lambda x: density((x - mu) / sigma) / sigma,
        "laplace_second_derivative": lambda x: (mu - x) / sigma**3 * density((x - mu) / sigma),
        "gelu_10": lambda x: min(x * cdf(x), number(10)),
        "gelu_10_derivative": lambda x: 0 if x * cdf(x) > 10 else gelu_derivative(x),
        "gelu_10_second_derivative": lambda x: 0 if x * cdf(x) > 10 else gelu_second_derivative(x),
        "selu": lambda x: scale * (x if x > 0 else alpha * mp.expm1(x)),
        "selu_derivative": lambda x: scale * (1 if x > 0 else alpha * exp(x)),
        "selu_second_derivative": lambda x: 0 if x > 0 else scale * alpha * exp(x),
        "elu": lambda x: x if x > 0 else mp.expm1(x),
        "elu_derivative": lambda x: 1 if x > 0 else exp(x),
        "elu_second_derivative": lambda x: 0 if x > 0 else exp(x),
        "relu2": lambda x: max(x, number(0)) ** 2,
        "relu2_derivative": lambda x: 2 * max(x, number(0)),
        "relu2_second_derivative": lambda x: 2 if x > 0 else 0,
        "sqrtsoftplus": lambda x: mp.sqrt(mp.log1p(exp(x))),
        "sqrtsoftplus_derivative": lambda x: sigmoid(x) / (2 * mp.sqrt(mp.log1p(exp(x)))),
        "sqrtsoftplus_second_derivative": sqrtsoftplus_second_derivative,
        "xielu": lambda x: beta * x + (alpha_p * x * x if x > 0 else alpha_n * (mp.expm1(x) - x)),
        "xielu_derivative": lambda x: beta + (2 * alpha_p * x if x > 0 else alpha_n * mp.expm1(x)),
        "xielu_second_derivative": lambda x: 2 * alpha_p if x > 0 else alpha_n * exp(x),
        "leaky_relu": lambda x: slope * x if x < 0 else x,
        "leaky_relu_derivative": lambda x: 1 if x > 0 else slope,
        "leaky_relu_second_derivative": lambda x: 0,
    }

    def of_number(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: number(f(number(x)))

    return {name: of_number(f) for name, f in exact.items()}


def untrusted(name: str, dtype_name: str) -> tuple[Any, Any]:
    """The finite inputs that float64 does not decide, and its values there."""
    x = all_inputs(as_dtype(dtype_name))
    x = x[np.isfinite(widened(x))]
    y = with_derivatives()[name](x)
    in_ulp = np.abs(y) / ulp(y, dtype_name)
    near = np.abs(in_ulp - np.floor(in_ulp) - 0.5) < TRUST
    return x[near], y[near]


def decide(exact: Any, approximate: float, dtype_name: str) -> Any:
    """Round an mpmath number near a middle: on which side of the middle does it lie?"""
    spacing = float(ulp(approximate, dtype_name))
    below = np.floor(approximate / spacing)
    middle = (below + 0.5) * spacing
    if exact == middle:
        return round_to(middle, dtype_name)
    return round_to((below + (exact > middle)) * spacing, dtype_name)


def hard_cases(name: str, dtype_name: str) -> list[tuple[int, int]]:
    """Pairs of patterns (x, f(x)) where the float64 value rounds to another result."""
    exact = exact_functions()[name]
    cases = []
    for x, approximate in zip(*untrusted(name, dtype_name), strict=True):
        result = decide(exact(float(x)), float(approximate), dtype_name)
        # A result of zero keeps the sign of the exact value.
        result = np.copysign(result, round_to(approximate, dtype_name))
        if result.view(np.uint16) != round_to(approximate, dtype_name).view(np.uint16):
            cases.append((int(x.view(np.uint16)), int(result.view(np.uint16))))
    return cases


def text() -> str:
    """The data file: function -> dtype -> those pairs."""
    cases = {
        name: {
            dtype: found for dtype in ("float16", "bfloat16") if (found := hard_cases(name, dtype))
        }
        for name in with_derivatives()
    }
    return json.dumps(cases, separators=(",", ":")) + "\n"
