"""The activation functions: one declaration each.

A declaration says everything the rest of the library needs: a float64 reference that keeps its
*relative* accuracy in the negative tail (``x * ndtr(x)``, never ``1 + erf``, which cancels), the
derivative, the straight lines that the function approaches on either side, its symmetry, and the
same expression for the CUDA compiler. To add a function, add one declaration: tables, kernels,
array front ends and tests take it from ``FUNCTIONS``.

Sources: Hendrycks and Gimpel, arXiv 1606.08415 (gelu and its tanh form, quick_gelu as x·σ(1.702x));
Elfving et al., Neural Networks 107 (silu); Misra, arXiv 1908.08681 (mish).
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtr

Float64Array: TypeAlias = NDArray[np.float64]
Reference: TypeAlias = Callable[[Float64Array], Float64Array]

# What f and its mirror image add up to; a table of |x| can serve both signs of a symmetric f.
#   gate: f(x) − f(−x) = x    odd: f(−x) = −f(x)    complement: f(x) + f(−x) = 1
Symmetry: TypeAlias = Literal["gate", "odd", "complement", "none"]


class Tail(NamedTuple):
    """The straight line ``slope * x + intercept`` that a function approaches on one side."""

    slope: float
    intercept: float

    def __call__(self, x: ArrayLike) -> Float64Array:
        """The line at x, the constant also at ±inf (where ``0 * inf`` would be NaN)."""
        x = np.asarray(x, np.float64)
        if self.slope == 0:
            return np.where(np.isnan(x), x, self.intercept)
        return self.slope * x + self.intercept

    def __str__(self) -> str:
        if self.slope == 0:
            return f"constant {self.intercept:g}"
        return "identity" if self == IDENTITY else f"line {self.slope:g}·x + {self.intercept:g}"


IDENTITY = Tail(1.0, 0.0)
ZERO = Tail(0.0, 0.0)
ZERO_FROM_BELOW = Tail(0.0, -0.0)  # gelu-like functions reach 0 from below: the limit is −0


@dataclass(frozen=True)
class Function:
    """A function of one real variable with straight tails.

    Called with anything `numpy.asarray` takes, it returns the float64 reference, and at ±inf the
    limit given by the tail (never NaN). `cuda` is the same function as a C++ expression in the
    double ``x``; without it, node values are uploaded instead of being computed on the device.

    >>> FUNCTIONS["gelu"]([-np.inf, -1.0, 0.0, np.inf])
    array([-0.        , -0.15865525,  0.        ,         inf])
    """

    name: str
    formula: str
    reference: Reference
    left: Tail
    right: Tail
    derivative: Reference | None = None
    symmetry: Symmetry = "none"
    cuda: str | None = None

    def __call__(self, x: ArrayLike) -> Float64Array:
        """f(x) in float64."""
        with np.errstate(all="ignore"):
            x = np.asarray(x, np.float64)
            y = np.asarray(self.reference(x), np.float64)
            infinite = np.isinf(x)
            if infinite.any():
                y = np.where(infinite, np.where(x < 0, self.left(x), self.right(x)), y)
        return y

    @property
    def keeps_zero(self) -> bool:
        """Whether f(±0) = ±0, as of every gated activation."""
        return bool(self(0.0) == 0.0)


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


_SQRT_8_OVER_PI = 1.5957691216057308  # 2·√(2/π)


def _gelu(x: Float64Array) -> Float64Array:
    return np.asarray(x * ndtr(x))


def _gelu_derivative(x: Float64Array) -> Float64Array:
    return np.asarray(ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


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
    return np.asarray(gate + x * (1 - gate * gate) * expit(x))


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


_DECLARATIONS = (
    Function(
        name="gelu",
        formula="x·Φ(x) = x/2·(1 + erf(x/√2))",
        reference=_gelu,
        derivative=_gelu_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="0.5 * x * erfc(x * -0.70710678118654752440)",
    ),
    Function(
        name="gelu_tanh",
        formula="x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))",
        reference=_gelu_tanh,
        derivative=_gelu_tanh_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-1.5957691216057308 * x * (1 + 0.044715 * x * x)))",
    ),
    Function(
        name="silu",
        formula="x·σ(x) = x/(1 + e^−x)",
        reference=_silu,
        derivative=_silu_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-x))",
    ),
    Function(
        name="quick_gelu",
        formula="x·σ(1.702·x)",
        reference=_quick_gelu,
        derivative=_quick_gelu_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        symmetry="gate",
        cuda="x / (1 + exp(-1.702 * x))",
    ),
    Function(
        name="mish",
        formula="x·tanh(log(1 + eˣ))",
        reference=_mish,
        derivative=_mish_derivative,
        left=ZERO_FROM_BELOW,
        right=IDENTITY,
        cuda="x * tanh(log1p(exp(x)))",
    ),
    Function(
        name="softplus",
        formula="log(1 + eˣ)",
        reference=_softplus,
        derivative=_sigmoid,
        left=ZERO,
        right=IDENTITY,
        symmetry="gate",
        cuda="x > 0 ? x + log1p(exp(-x)) : log1p(exp(x))",
    ),
    Function(
        name="sigmoid",
        formula="σ(x) = 1/(1 + e^−x)",
        reference=_sigmoid,
        derivative=_sigmoid_derivative,
        left=ZERO,
        right=Tail(0.0, 1.0),
        symmetry="complement",
        cuda="1 / (1 + exp(-x))",
    ),
    Function(
        name="tanh",
        formula="tanh(x)",
        reference=_tanh,
        derivative=_tanh_derivative,
        left=Tail(0.0, -1.0),
        right=Tail(0.0, 1.0),
        symmetry="odd",
        cuda="tanh(x)",
    ),
)

FUNCTIONS: Mapping[str, Function] = MappingProxyType({f.name: f for f in _DECLARATIONS})
"""Every activation by name."""
