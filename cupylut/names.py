"""Which function a name stands for: the library's own, their derivatives, and those declared."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping

import numpy as np

from .declaration import Function, Reference, Tail, as_tail
from .functions import CURVED, FUNCTIONS, PARAMETRIC

# Both, as a dictionary, which every release of PyTorch's compiler can follow.
_BY_NAME: Mapping[str, Function] = {**FUNCTIONS, **CURVED}

# What `declare` was given, by name.
_OWN: dict[str, Function] = {}

_WITH_PARAMETERS = re.compile(rf"({'|'.join(PARAMETRIC)})\(([^()]*)\)")


def as_function(
    function: "str | Function | Reference",
    left: "float | str | Tail | None" = None,
    right: "float | str | Tail | None" = None,
) -> Function:
    """The `Function` that a name, a `Function` or a callable with two tails stands for.

    Names are those of `FUNCTIONS` and `CURVED`, with parameters in parentheses where there are any,
    and those that were declared, with "_derivative" or "_second_derivative" behind them. A tail is
    a number (the constant that f approaches), ``"identity"`` or a `Tail`.

    >>> as_function("elu(0.5)").left
    Tail(slope=0.0, intercept=-0.5)
    >>> as_function("elu(0.5)_derivative")(-1.0).round(4)
    np.float64(0.1839)
    """
    if isinstance(function, str):
        function = _by_name(function)
    if isinstance(function, Function):
        if left is not None or right is not None:
            raise ValueError(f"{function.name} brings its own tails: leave out left= and right=")
        return function
    if not callable(function):
        raise TypeError(f"function must be a name or a callable, not {type(function).__name__}")
    if left is None or right is None:
        raise ValueError(
            "a callable needs both tails: left= and right=, each a number (the constant that the "
            'function approaches), "identity" or a cupylut.Tail. Where it approaches no line, give '
            "a cupylut.Function with None on that side"
        )
    name = str(getattr(function, "__name__", type(function).__name__))
    return Function(name, f"{name}(x)", function, as_tail(left, "left"), as_tail(right, "right"))


def checked_name(function: str) -> str:
    """A name that `as_function` knows; raises TypeError or ValueError for anything else."""
    if not isinstance(function, str):
        raise TypeError(
            f"function is a {type(function).__name__}: give a name, such as 'gelu'; a table is a "
            "callable of its own"
        )
    as_function(function)
    return function


def _by_name(name: str) -> Function:
    if function := _BY_NAME.get(name) or _OWN.get(name):
        return function
    base = name.removesuffix("_derivative")
    if base != name and not base.endswith("_derivative"):
        first = base.removesuffix("_second")
        function = _by_name(base if first == base else f"{first}_derivative")
        if function.derivative is None:
            raise ValueError(f"the derivative of {function.name} was not declared")
        return function.derivative
    if match := _WITH_PARAMETERS.fullmatch(name):
        return _with_parameters(match[1], match[2])
    known = [*_BY_NAME, *_OWN]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    raise ValueError(
        f"unknown function {name!r}{hint} The known ones are {', '.join(known)}; cupylut.tabulate "
        "makes tables of any other, from a callable, and cupylut.declare makes it known"
    )


def _with_parameters(name: str, given: str) -> Function:
    make = PARAMETRIC[name]
    names = list(inspect.signature(make).parameters)
    try:
        parameters = [float(number) for number in given.split(",")]
    except ValueError:
        parameters = []
    if not 0 < len(parameters) <= len(names) or not np.isfinite(parameters).all():
        raise ValueError(
            f"{name}({given}): write it {name}({', '.join(names)}), with a finite number for each"
        )
    return make(*parameters)


def declare(function: Function) -> Function:
    """Make a function of your own known by its name, which all calls take then; returns it.

    `tabulate` and `fused` take the name, and in PyTorch `Activation`, `Gated` and the operators
    behind them. There and in JAX it can be differentiated, once if it has a ``gradient``, twice if
    it has a ``curvature`` too. Its tables are made when they are first needed. What was saved or
    exported with it asks for the declaration where it is loaded.

    A name may be declared again, as by a cell of a notebook that runs twice. From then on it means
    the new function, also in PyTorch's modules and compiled graphs, which hold the name, and in
    backward passes still to come. Tables that were made before keep their function, and so do
    programs that hold tables: those of `jax.jit`, and CUDA graphs.

    function: with a name as of a variable, which none of the library's functions has, nor ends in
    "_derivative", or in "_second", as the names of derivatives begin.

    Raises TypeError for what is no `Function`, ValueError for any other name, and for a gradient or
    curvature that is not what differences come to; then the name means what it did before.

    >>> import cupylut, numpy as np
    >>> slope = lambda x: 1 / (1 + x * x)
    >>> f = cupylut.Function("atan", "arctan(x)", np.arctan, -np.pi / 2, np.pi / 2, gradient=slope)
    >>> cupylut.fused(cupylut.declare(f).name, np.float32([-np.inf, 0, 1]))
    array([-1.5707964,  0.       ,  0.7853982], dtype=float32)
    """
    if not isinstance(function, Function):
        raise TypeError(f"declare takes a cupylut.Function, not a {type(function).__name__}")
    name = function.name
    if not name.isidentifier() or name.endswith(("_derivative", "_second")) or name in _BY_NAME:
        raise ValueError(
            f"the name {name!r} cannot be declared: give one as of a variable, which "
            "none of the library's functions has, nor ends in _derivative or _second"
        )
    for f in _and_derivatives(function):
        _check_derivative(f)
    from .defaults import forget_names  # above this module

    _OWN[name] = function
    forget_names()
    return function


def _check_derivative(f: Function) -> None:
    """Raise ValueError where the derivative is none, by f's differences away from its kinks."""
    if f.derivative is None:
        return
    x, h = np.linspace(-5.9, 6.1, 97), 2.0**-20
    with np.errstate(all="ignore"):
        before, at, after = f(x - h), f(x), f(x + h)
        backward, forward = (at - before) / h, (after - at) / h
        exact, size = (backward + forward) / 2, np.nanmax(np.abs(forward), initial=0)
        noise = 1e-4 * size + 8 * np.finfo(float).eps * np.abs(at) / h
        off = np.abs(f.derivative(x) - exact)
    wrong = (off > noise) & (np.abs(forward - backward) <= noise)
    if wrong.any():
        i = np.argmax(np.where(wrong, off, 0))
        raise ValueError(
            f"{f.derivative.name}({x[i]:.6g}) is {f.derivative(x[i]):.6g}, where differences of "
            f"{f.name} come to {exact[i]:.6g}: give its derivative"
        )


def with_derivatives(functions: Mapping[str, Function] = _BY_NAME) -> dict[str, Function]:
    """Functions, their derivatives and the second ones, by name; all that are declared."""
    return {f.name: f for function in functions.values() for f in _and_derivatives(function)}


def _and_derivatives(function: Function) -> Iterator[Function]:
    """A function, its derivative and so on, as far as they are known."""
    yield function
    if function.derivative is not None:
        yield from _and_derivatives(function.derivative)


def is_known(function: Function) -> bool:
    """Whether this is one of the library's, parameters and all; those may also be derivatives."""
    name = function.name.removesuffix("_derivative").removesuffix("_second")
    try:
        return name not in _OWN and function == _by_name(function.name)
    except ValueError:
        return False


def is_declared(function: Function) -> bool:
    """Whether this is one of the functions above or a derivative, without other parameters."""
    return is_known(function) and "(" not in function.name
