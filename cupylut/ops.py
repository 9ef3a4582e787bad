"""The activations as functions of arrays: validate, choose the table, evaluate in place."""

import sys
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, Literal, Protocol

import numpy as np

from . import arrays, device, memory, workers
from .declaration import Function
from .defaults import default_table
from .dtypes import DType
from .functions import FUNCTIONS
from .outputs import filled
from .tables import QuantizedTable, Table


def apply(function: str | Table, x: Any, out: Any = None) -> Any:
    """f(x) for the key of a function, or table(x), for an array of any library; see `gelu`."""
    if not is_tensor(x):
        return _apply(function, x, out)
    if isinstance(function, str) and out is None:
        from .torch.operators import activation  # above this module; imports torch

        return activation(x, function)
    return uncompiled(_apply, function, x, out)


def is_tensor(x: Any) -> bool:
    """Whether x is PyTorch's, or what torch.fx has in a tensor's place where it traces."""
    loaded = sys.modules
    tensor = getattr(loaded.get("torch"), "Tensor", ())
    return isinstance(x, (tensor, getattr(loaded.get("torch.fx"), "Proxy", ())))


def uncompiled(function: Callable[..., Any], *args: Any) -> Any:
    """A call that torch.compile breaks its graph for: it would trace into NumPy."""
    compiler: Any = sys.modules["torch"].compiler
    if compiler.is_compiling():
        return compiler.disable(function)(*args)
    return function(*args)


def _apply(function: str | Table, x: Any, out: Any) -> Any:
    library = arrays.library_of(x)
    if isinstance(library, arrays.DaskArrays):
        name = function if isinstance(function, str) else function.name
        return library.map_blocks(partial(apply, function), name, x, out)
    with library.context(x):
        source = library.view(x)
        table = _table_for(function, source, library)
        if out is None and library.is_traced(x):
            from .jax import converted, lookup

            return lookup(table, converted(x, table.dtype))
        fill = partial(_evaluate, table, source)
        return filled(library, [(x, source)], table.result_dtype, out, fill)


def _table_for(function: str | Table, source: Any, library: arrays.NumpyArrays) -> Table:
    """The table to evaluate for a library's array with this view; raises TypeError if none fits."""
    if not isinstance(function, str):
        if _same_but_for_byte_order(source.dtype, function.dtype):
            return function  # also of 8 bits, which have no result_dtype
        if isinstance(function, QuantizedTable):
            raise TypeError(
                f"this table is for arrays of {function.dtype}, not of {source.dtype}: convert the "
                "input, or make a table with cupylut.quantized"
            )
    dtype = library.result_dtype(source)
    table = default_table(function, dtype) if isinstance(function, str) else function
    if table.dtype != dtype:
        raise TypeError(
            f"this table is for {table.dtype} and the input gives {dtype}: convert the input, "
            f'or make a table with tabulate(..., dtype="{dtype}")'
        )
    return table


def _same_but_for_byte_order(dtype: Any, other: DType) -> bool:
    """Whether an array's dtype, which in JAX may be none of NumPy's, is this one."""
    return isinstance(dtype, np.dtype) and np.can_cast(dtype, other, "equiv")


def _evaluate(table: Table, source: Any, target: Any) -> None:
    """target = table(source) for a dense target of the table's result dtype."""
    if source.dtype != table.dtype or not memory.same_layout(source, target):
        in_place = table.dtype == table.result_dtype
        dense = target if in_place else memory.scratch_like(target, table.dtype)
        memory.copy(source, dense)
        source = dense
    x, y = memory.flat(source), memory.flat(target)
    if isinstance(y, np.ndarray):
        workers.run(table.evaluate, x, y)
    else:
        device.evaluate(table, x, y)


def gelu(x: Any, approximate: Literal["none", "tanh"] = "none", *, out: Any = None) -> Any:
    """y = x·Φ(x) = x/2·(1 + erf(x/√2)), or with approximate="tanh" OpenAI's form of it.

    The tanh form is x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).

    x: an array of NumPy, CuPy, PyTorch or JAX, or of anything else with DLPack, on the CPU or a
    CUDA device, of any shape and strides; a Dask array, which stays lazy; or a number or list, as
    numpy.asarray takes them.
    float16, bfloat16, float32 and float64 keep their dtype; integers and bools become the float
    that NumPy's functions make of them. x is not modified.

    out: an array of x's kind, shape and device and the result's dtype to write to; x itself is
    allowed, memory that only overlaps x is not.

    Returns an array of x's kind, dtype, device, shape and memory order (or out). In float16 and
    bfloat16 every result is the correctly rounded one; in float32 it is within 1 ulp of the exact
    value, in float64 within 2 ulp above −8.5 and within 1e-16 below (docs/accuracy.md has the
    figures of the other functions, and `cupylut.tabulate` makes other tables). NaN gives NaN, +inf
    gives +inf, −inf gives −0, and ±0 keeps its sign.

    Raises TypeError for dtypes, arrays and devices that are not supported, ValueError for an `out`
    that does not fit or an unknown `approximate`, and RuntimeError for a GPU array where CuPy or a
    driver is missing.

    PyTorch and JAX compile it and differentiate it once, in reverse and forward mode. With `out`
    no derivative is recorded, and a tensor that requires grad is refused with ValueError.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (arXiv 1606.08415).

    >>> import numpy as np
    >>> gelu(np.float32([-1, 0, 1])).round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    return apply(gelu_form(approximate), x, out)


_GELU_FORMS = {"none": "gelu", "tanh": "gelu_tanh"}


def gelu_form(approximate: str) -> str:
    """The name of the function that `approximate` asks for."""
    if not isinstance(approximate, str):
        raise TypeError(
            f'approximate is a {type(approximate).__name__}: choose "none" or "tanh"; an array to '
            "write to is out="
        )
    if approximate not in _GELU_FORMS:
        raise ValueError(f'approximate={approximate!r}: choose "none" or "tanh"')
    return _GELU_FORMS[approximate]


class ArrayFunction(Protocol):
    """The signature of `silu` and its like, for type checkers."""

    __name__: str

    def __call__(self, x: Any, *, out: Any = None) -> Any: ...


def _activation(function: Function) -> ArrayFunction:
    """The array function of a declaration."""

    def activation(x: Any, *, out: Any = None) -> Any:
        return apply(function.name, x, out)

    at_one = f"{function(1.0):.4f}"
    source = f"\n    Source: {function.source}.\n" if function.source else ""
    activation.__name__ = activation.__qualname__ = function.name
    activation.__doc__ = f"""y = {function.formula}.

    x, out, the result and the errors raised are those of `cupylut.gelu`. The limits are
    f(−inf) = {function(-np.inf):g} and f(+inf) = {function(np.inf):g}; NaN gives NaN.
{source}
    >>> print(f"{{{function.name}(1.0):.4f}}")
    {at_one}
    """
    return activation


gelu_tanh = _activation(FUNCTIONS["gelu_tanh"])
silu = _activation(FUNCTIONS["silu"])
quick_gelu = _activation(FUNCTIONS["quick_gelu"])
mish = _activation(FUNCTIONS["mish"])
softplus = _activation(FUNCTIONS["softplus"])
sigmoid = _activation(FUNCTIONS["sigmoid"])
tanh = _activation(FUNCTIONS["tanh"])
hardswish = _activation(FUNCTIONS["hardswish"])
laplace = _activation(FUNCTIONS["laplace"])
gelu_10 = _activation(FUNCTIONS["gelu_10"])
selu = _activation(FUNCTIONS["selu"])


def elu(x: Any, alpha: float = 1.0, *, out: Any = None) -> Any:
    """y = x for x > 0, alpha·(eˣ − 1) elsewhere.

    x, out, the result and the errors raised are those of `cupylut.gelu`. The limits are −alpha and
    +inf; NaN gives NaN. Every alpha makes a table of its own.

    Source: Clevert, Unterthiner and Hochreiter, arXiv 1511.07289.

    >>> print(f"{elu(-1.0, alpha=2.0):.4f}")
    -1.2642
    """
    return apply(f"elu({_number('alpha', alpha)})", x, out)


def leaky_relu(x: Any, negative_slope: float = 0.01, *, out: Any = None) -> Any:
    """y = x for x > 0, negative_slope·x elsewhere.

    x, out, the result and the errors raised are those of `cupylut.gelu`. Every slope makes a table
    of its own.

    >>> leaky_relu(-2.0, negative_slope=0.25)
    np.float64(-0.5)
    """
    return apply(f"leaky_relu({_number('negative_slope', negative_slope)})", x, out)


def _number(name: str, value: Any) -> float:
    """A parameter of a function; raises TypeError for what might have a gradient.

    It is written without !r, which says the same of a float: where the number is a symbol,
    PyTorch 2.14 does not compile that with Python 3.14.
    """
    if not isinstance(value, Real):
        raise TypeError(
            f"{name} is a {type(value).__name__}: give a number, with a table of its own; it is "
            "not learnt"
        )
    return as_float(name, value)


def as_float(name: str, value: Any) -> float:
    """A number of Python's as one of float64, which a large int is not."""
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} is too large for float64: give a smaller number") from error
