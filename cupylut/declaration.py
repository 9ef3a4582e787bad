"""What there is to say about a function so that the library can tabulate it: `Function`, `Tail`.

The functions themselves are in functions.py.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, SupportsFloat, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array: TypeAlias = NDArray[np.float64]

# f(x) in float64; a parametric function takes its parameters after x.
Reference: TypeAlias = Callable[..., Float64Array]

# How f and its mirror image go together; a table of |x| can serve both signs of a symmetric f.
#   gate: f(x) − f(−x) = x    odd: f(x) + f(−x) = 0    complement: f(x) + f(−x) = 1
#   even: f(x) − f(−x) = 0
Symmetry: TypeAlias = Literal["gate", "odd", "complement", "even", "none"]

# That of f′, by that of f.
_OF_DERIVATIVE: dict[Symmetry, Symmetry] = {
    "gate": "complement",
    "odd": "even",
    "complement": "even",
    "even": "odd",
    "none": "none",
}


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


def as_tail(tail: "float | str | Tail", side: str) -> Tail:
    """The tail that a number, "identity" or a `Tail` stands for; ValueError for anything else."""
    if isinstance(tail, Tail) and np.isfinite(tail).all():
        return tail
    if isinstance(tail, str) and tail == "identity":
        return IDENTITY
    intercept = np.nan
    if isinstance(tail, SupportsFloat) and not isinstance(tail, str) and np.ndim(tail) == 0:
        with suppress(TypeError, ValueError, OverflowError):
            intercept = float(tail)
    if not np.isfinite(intercept):
        raise ValueError(
            f'{side}={tail!r} is not a tail: give a finite number, "identity" or a cupylut.Tail'
        )
    return Tail(0.0, intercept)


class _TailField:
    """A field of `Function`: given as `as_tail` takes it or None, and read as a `Tail` or None."""

    def __set_name__(self, owner: type, side: str) -> None:
        self.side = side

    def __get__(self, function: "Function | None", owner: type) -> Tail | None:
        if function is None:
            raise AttributeError(self.side)  # tells the dataclass that there is no default
        tail: Tail | None = vars(function)[self.side]
        return tail

    def __set__(self, function: "Function", tail: float | str | Tail | None) -> None:
        vars(function)[self.side] = None if tail is None else as_tail(tail, self.side)


def _to_odd(y: NDArray[Any]) -> Float64Array:
    """y rounded to odd: where float64 cannot hold y, the neighbour whose last bit is 1.

    That is never a tie, so rounding it again to fewer bits gives what rounding y itself would.
    """
    near = y.astype(np.float64)
    if y.dtype == np.float64:
        return near
    above = (y > near).astype(np.float64) - (y < near)
    odd = (near.view(np.uint64) & np.uint64(1)).astype(np.bool_)
    return np.where((above == 0) | odd, near, np.nextafter(near, above * np.inf))


def derivative_name(name: str) -> str:
    """The name of the derivative of a function, or of a derivative's.

    >>> derivative_name("gelu"), derivative_name("gelu_derivative")
    ('gelu_derivative', 'gelu_second_derivative')
    """
    base = name.removesuffix("_derivative")
    return f"{base}_derivative" if base == name else f"{base}_second_derivative"


IDENTITY = Tail(1.0, 0.0)
ZERO = Tail(0.0, 0.0)
ZERO_FROM_BELOW = Tail(0.0, -0.0)  # gelu-like functions reach 0 from below: the limit is −0

_FAR = 20.0  # far enough out for f′ to have its final sign, not so far that it is 0 in float64


@dataclass(frozen=True)
class Function:
    """A function of one real variable.

    Called with anything `numpy.asarray` takes, it returns the float64 reference, NaN for NaN, and
    at ±inf the limit given by the tail (never NaN). `left` and `right` are the straight lines that
    it approaches, or None where it approaches none, as x² does not; they are given as numbers
    (constants), "identity" or a `Tail`, and are a `Tail` then. `gradient` and `curvature` are the
    float64 references of f′ and f″; `kinks` are the points where branches meet, so that f″ jumps.
    `parameters` follow x in calls of all references. `cuda` is the function as a C++ expression in
    the double ``x``; without it, node values are uploaded instead of computed on the device.
    `source` is where the function was described.

    >>> from cupylut import FUNCTIONS
    >>> FUNCTIONS["gelu"]([-np.inf, -1.0, 0.0, np.inf])
    array([-0.        , -0.15865525,  0.        ,         inf])
    >>> FUNCTIONS["gelu"].derivative([-np.inf, 0.0, np.inf])
    array([-0. ,  0.5,  1. ])
    """

    name: str
    formula: str
    reference: Reference
    left: _TailField = _TailField()
    right: _TailField = _TailField()
    gradient: Reference | None = None
    curvature: Reference | None = None
    symmetry: Symmetry = "none"
    cuda: str | None = None
    parameters: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if self.symmetry not in get_args(Symmetry):
            raise ValueError(
                f"symmetry={self.symmetry!r}: choose one of {', '.join(get_args(Symmetry))}"
            )

    def __call__(self, x: ArrayLike) -> Float64Array:
        """f(x) in float64."""
        with np.errstate(all="ignore"):
            x = np.asarray(x, np.float64)
            try:  # copies both ways: a callable may work in place, and keep what it returns
                result = self.reference(x.copy(), *self.parameters)
            except Exception as error:
                raise ValueError(
                    f"{self.name} raised {type(error).__name__} ({error}): give a function of "
                    "every float64 array; numpy.vectorize makes one of a function of a number"
                ) from error
            y = self._numbers(result, x.shape)
            for infinity, tail in ((-np.inf, self.left), (np.inf, self.right)):
                if tail is not None and (there := x == infinity).any():
                    y = np.where(there, tail(infinity), y)
            if (numbers := np.isnan(x) & ~np.isnan(y)).any():  # as np.where(x < 0, 0, 1) makes
                y = np.where(numbers, np.nan, y)
        return y

    def _numbers(self, result: Any, shape: tuple[int, ...]) -> Float64Array:
        """What the reference returned, or a TypeError where that is no number for each x."""
        y = np.asarray(result)
        if result is None or y.shape != shape or y.dtype.kind not in "fiubO":
            what = "one number" if np.isscalar(result) else f"{y.dtype} of shape {y.shape}"
            raise TypeError(
                f"{self.name} returned {'None' if result is None else what} for float64 of shape "
                f"{shape}: give a function that returns a real number for each element"
            )
        if y.dtype in (np.float16, np.float32):
            raise TypeError(
                f"{self.name} returned {y.dtype} for float64: compute in float64, which JAX does "
                "with jax_enable_x64 and PyTorch with tensors made by .double()"
            )
        return _to_odd(y) if y.dtype.kind in "fO" else y.astype(np.float64)

    @property
    def tails(self) -> tuple[Tail, Tail]:
        """Both tails; raises ValueError where there is no straight line on a side."""
        if self.left is None or self.right is None:
            side = "left" if self.left is None else "right"
            raise ValueError(
                f"{self.name} approaches no straight line on the {side}, which a linear table and "
                "a search for its domain need: leave kind=, size= and domain= out"
            )
        return self.left, self.right

    @property
    def keeps_zero(self) -> bool:
        """Whether f(±0) = ±0, as of every gated activation."""
        return bool(self(0.0) == 0.0)

    @cached_property
    def derivative(self) -> "Function | None":
        """f′ as a function of its own; None where no gradient was declared.

        It approaches the slopes of f's tails.
        """
        if self.gradient is None:
            return None
        slope = Function(
            name=derivative_name(self.name),
            formula=f"d/dx ({self.formula})",
            reference=self.gradient,
            gradient=self.curvature,
            left=None,
            right=None,
            symmetry=_OF_DERIVATIVE[self.symmetry],
            parameters=self.parameters,
            kinks=self.kinks,
        )
        left, right = _slope(self.left, slope(-_FAR)), _slope(self.right, slope(_FAR))
        return replace(slope, left=left, right=right)


def _slope(tail: Tail | None, there: Float64Array) -> Tail | None:
    """The slope of a tail as a tail; a zero with the sign that f′ has on its way there."""
    return tail and Tail(0.0, tail.slope if tail.slope else float(np.copysign(0.0, there)))
