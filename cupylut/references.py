"""The float64 references of the functions, of their derivatives and of their second derivatives.

Each keeps its *relative* accuracy in the negative tail (``x * ndtr(x)``, never ``1 + erf``, which
cancels), as far as the rounding of the argument of exp lets it.
"""

from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from .declaration import Float64Array


def sigmoid_gate(x: Float64Array, slope: Any, z: Float64Array) -> Float64Array:
    """The derivative of x·σ(z) where slope = dz/dx; far out, where 0·∞ would be NaN, its limit."""
    gate, rest = expit(z), expit(-z)
    return np.where(gate == 0, -0.0, gate * (1 + np.where(rest == 0, 0, x * slope * rest)))


def sigmoid_gate_curvature(x: Float64Array, slope: Any, bend: Any, z: Float64Array) -> Float64Array:
    """The second derivative of x·σ(z) where slope = dz/dx and bend = d²z/dx².

    It is σ′·(2·slope + x·(bend − tanh(z/2)·slope²)): σ″ = −σ′·tanh(z/2) does not cancel.
    """
    peak = sigmoid_derivative(z)
    factor = 2 * slope + x * (bend - np.tanh(z / 2) * slope * slope)
    return np.where(peak == 0, -0.0, peak * factor)


def zero_from_below(y: Float64Array) -> Float64Array:
    """y, and −0 where it underflowed: the sum of +0 and a −0 that was negative is +0."""
    return np.where(y == 0, -0.0, y)


_SQRT_8_OVER_PI = 1.5957691216057308  # 2·√(2/π)


def gelu(x: Float64Array) -> Float64Array:
    return np.asarray(x * ndtr(x))


def gelu_derivative(x: Float64Array) -> Float64Array:
    return zero_from_below(ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


def gelu_second_derivative(x: Float64Array) -> Float64Array:
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return np.where(density == 0, -0.0, density * (2 - x * x))


def gelu_tanh_argument(x: Float64Array) -> Float64Array:
    return np.asarray(_SQRT_8_OVER_PI * x * (1 + 0.044715 * x * x))


def gelu_tanh(x: Float64Array) -> Float64Array:
    # (1 + tanh(z/2))/2 = σ(z), and σ does not cancel for z → −∞.
    return np.asarray(x * expit(gelu_tanh_argument(x)))


def gelu_tanh_derivative(x: Float64Array) -> Float64Array:
    slope = _SQRT_8_OVER_PI * (1 + 3 * 0.044715 * x * x)
    return sigmoid_gate(x, slope, gelu_tanh_argument(x))


def gelu_tanh_second_derivative(x: Float64Array) -> Float64Array:
    slope = _SQRT_8_OVER_PI * (1 + 3 * 0.044715 * x * x)
    bend = _SQRT_8_OVER_PI * 6 * 0.044715 * x
    return sigmoid_gate_curvature(x, slope, bend, gelu_tanh_argument(x))


def silu(x: Float64Array) -> Float64Array:
    return np.asarray(x * expit(x))


def silu_derivative(x: Float64Array) -> Float64Array:
    return sigmoid_gate(x, 1.0, x)


def silu_second_derivative(x: Float64Array) -> Float64Array:
    return sigmoid_gate_curvature(x, 1.0, 0.0, x)


def quick_gelu(x: Float64Array) -> Float64Array:
    return np.asarray(x * expit(1.702 * x))


def quick_gelu_derivative(x: Float64Array) -> Float64Array:
    return sigmoid_gate(x, 1.702, 1.702 * x)


def quick_gelu_second_derivative(x: Float64Array) -> Float64Array:
    return sigmoid_gate_curvature(x, 1.702, 0.0, 1.702 * x)


def mish_gate(x: Float64Array) -> Float64Array:
    """tanh(log(1 + eˣ)) with t = e^−|x|: nothing overflows and the tail keeps its digits."""
    t: Float64Array = np.exp(-np.abs(x))
    return np.where(x < 0, t * (t + 2) / (t * (t + 2) + 2), (1 + 2 * t) / (1 + 2 * t + 2 * t * t))


def mish(x: Float64Array) -> Float64Array:
    return x * mish_gate(x)


def mish_derivative(x: Float64Array) -> Float64Array:
    gate = mish_gate(x)
    return zero_from_below(gate + x * (1 - gate * gate) * expit(x))


def mish_second_derivative(x: Float64Array) -> Float64Array:
    t: Float64Array = np.exp(-np.abs(x))
    # 1 − gate² without its cancellation where the gate is nearly 1
    right = 2 * t * (1 + t) / (1 + 2 * t + 2 * t * t)
    rest = np.where(x < 0, 1 - mish_gate(x) ** 2, right * right)
    bracket = 2 + x * (expit(-x) - 2 * mish_gate(x) * expit(x))
    return np.where(t == 0, -0.0, rest * expit(x) * bracket)


def softplus(x: Float64Array) -> Float64Array:
    return np.logaddexp(0.0, x)


def sigmoid(x: Float64Array) -> Float64Array:
    return np.asarray(expit(x))


def sigmoid_derivative(x: Float64Array) -> Float64Array:
    return np.asarray(expit(x) * expit(-x))


def sigmoid_second_derivative(x: Float64Array) -> Float64Array:
    return np.where(x == 0, x, sigmoid_derivative(x) * -np.tanh(x / 2))


def tanh(x: Float64Array) -> Float64Array:
    return np.tanh(x)


def tanh_derivative(x: Float64Array) -> Float64Array:
    return np.asarray(4 * expit(2 * x) * expit(-2 * x))


def tanh_second_derivative(x: Float64Array) -> Float64Array:
    return np.where(x == 0, x, -2 * np.tanh(x) * tanh_derivative(x))


def hardswish(x: Float64Array) -> Float64Array:
    return np.where(x < -3, -0.0, np.where(x > 3, x, x * (np.clip(x, -3, 3) + 3) / 6))


def hardswish_derivative(x: Float64Array) -> Float64Array:
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * x + 3) / 6))


def hardswish_second_derivative(x: Float64Array) -> Float64Array:
    return np.where(np.abs(x) < 3, 1 / 3, np.where(np.isnan(x), x, 0.0))


_MU, _SIGMA = 0.707107, 0.282095  # of laplace: the constants that its authors round to six digits


def laplace(x: Float64Array) -> Float64Array:
    return np.asarray(ndtr((x - _MU) / _SIGMA))


def laplace_derivative(x: Float64Array) -> Float64Array:
    z = (x - _MU) / _SIGMA
    return np.asarray(np.exp(-z * z / 2) / (_SIGMA * np.sqrt(2 * np.pi)))


def laplace_second_derivative(x: Float64Array) -> Float64Array:
    z = (x - _MU) / _SIGMA
    return -z / _SIGMA * laplace_derivative(x)


def clipped_gelu(x: Float64Array, bound: float) -> Float64Array:
    return np.minimum(gelu(x), bound)


def clipped_gelu_derivative(x: Float64Array, bound: float) -> Float64Array:
    return np.where(gelu(x) > bound, 0.0, gelu_derivative(x))


def clipped_gelu_second_derivative(x: Float64Array, bound: float) -> Float64Array:
    return np.where(gelu(x) > bound, 0.0, gelu_second_derivative(x))


def leaky_relu(x: Float64Array, negative_slope: float) -> Float64Array:
    return np.where(x < 0, negative_slope * x, x)


def leaky_relu_derivative(x: Float64Array, negative_slope: float) -> Float64Array:
    return np.where(x > 0, 1.0, np.where(np.isnan(x), x, negative_slope))


def leaky_relu_second_derivative(x: Float64Array, negative_slope: float) -> Float64Array:
    return np.where(np.isnan(x) | (x == 0), x, 0.0)


def elu(x: Float64Array, alpha: float, scale: float) -> Float64Array:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def elu_derivative(x: Float64Array, alpha: float, scale: float) -> Float64Array:
    return scale * np.where(x > 0, 1.0, alpha * np.exp(np.where(x > 0, 0, x)))


def elu_second_derivative(x: Float64Array, alpha: float, scale: float) -> Float64Array:
    return scale * np.where(x > 0, 0.0, alpha * np.exp(np.where(x > 0, 0, x)))


def relu2(x: Float64Array) -> Float64Array:
    return np.where(x < 0, 0.0, x * np.abs(x))


def relu2_derivative(x: Float64Array) -> Float64Array:
    return np.where(x < 0, 0.0, 2 * x)


def relu2_second_derivative(x: Float64Array) -> Float64Array:
    return np.where(x > 0, 2.0, np.where(np.isnan(x), x, 0.0))


def sqrtsoftplus(x: Float64Array) -> Float64Array:
    return np.sqrt(np.logaddexp(0.0, x))


def sqrtsoftplus_derivative(x: Float64Array) -> Float64Array:
    # Below −40 softplus is eˣ to the last bit, and further down the quotient would be 0/0.
    far = np.exp(x / 2) / 2
    return np.where(x < -40, far, expit(x) / (2 * np.sqrt(np.logaddexp(0.0, x))))


def sqrtsoftplus_second_derivative(x: Float64Array) -> Float64Array:
    # With s = softplus it is σ′/(2·√s) − σ²/(4·s·√s), of which nearly half is left below −40.
    s, rest = np.logaddexp(0.0, x), expit(-x)
    far = np.exp(x / 2) / 4
    near = expit(x) / (4 * s * np.sqrt(s)) * (2 * np.where(rest == 0, 0, s) * rest - expit(x))
    return np.where(x < -40, far, near)


def xielu(x: Float64Array, alpha_p: float, alpha_n: float, beta: float) -> Float64Array:
    below = np.where(x > 0, 0, x)
    # eᵇ − 1 − b cancels for small b, whose square counts then.
    small = below * below * (1 / 2 + below * (1 / 6 + below * (1 / 24 + below / 120)))
    curved = np.where(below > -1e-3, small, np.expm1(below) - below)
    y = beta * x + np.where(x > 0, alpha_p * x * x, alpha_n * curved)
    return np.where(x == 0, x, y)


def xielu_derivative(x: Float64Array, alpha_p: float, alpha_n: float, beta: float) -> Float64Array:
    return beta + np.where(x > 0, 2 * alpha_p * x, alpha_n * np.expm1(np.where(x > 0, 0, x)))


def xielu_second_derivative(
    x: Float64Array, alpha_p: float, alpha_n: float, beta: float
) -> Float64Array:
    return np.where(x > 0, 2 * alpha_p, alpha_n * np.exp(np.where(x > 0, 0, x)))
