"""The activations as functions of arrays: validate, choose the table, evaluate in place."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from . import arrays, device
from .accuracy import DType
from .functions import FUNCTIONS, Function
from .tables import Table
from .tabulate import tabulate


def apply(table: Table | Callable[[DType], Table], x: Any, out: Any = None) -> Any:
    """table(x), or (table for the dtype)(x), for an array of any library; see `gelu`."""
    library = arrays.library_of(x)
    array = x if hasattr(x, "shape") else np.asarray(x)
    with library.context(array):
        source = library.view(array)
        dtype = library.result_dtype(source)
        if dtype is None:
            raise TypeError(
                f"an array of {source.dtype} is not supported: convert it to float16, bfloat16, "
                "float32 or float64"
            )
        chosen = table if isinstance(table, Table) else table(dtype)
        if chosen.dtype != dtype:
            raise TypeError(
                f"this table is for {chosen.dtype} and the input gives {dtype}: convert the input, "
                f'or make a table with tabulate(..., dtype="{dtype}")'
            )
        if out is None:
            source = arrays.dense(source, dtype)
            result, target = library.empty_like(source, array)
            _evaluate(chosen, source, target)
            return library.finish(result, x)
        target = arrays.check_out(library, array, source, dtype, out)
        source = arrays.dense(source, dtype)
        if source.strides == target.strides and arrays.is_dense(target):
            _evaluate(chosen, source, target)
        else:  # the two walk memory in different orders
            result = source.copy(order="K")
            _evaluate(chosen, result, result)
            target[...] = result
        return out


def _evaluate(table: Table, source: Any, target: Any) -> None:
    """target = table(source) for dense views with the same strides."""
    if isinstance(source, np.ndarray):
        table.evaluate(arrays.flat(source), arrays.flat(target))
    else:
        device.evaluate(table, arrays.flat(source), arrays.flat(target))


@lru_cache
def default_table(function: str, dtype: DType) -> Table:
    """The table that `cupylut.<function>(x)` evaluates: the paper's, on the optimal domain."""
    return tabulate(function, dtype)


def gelu(x: Any, approximate: Literal["none", "tanh"] = "none", *, out: Any = None) -> Any:
    """y = x·Φ(x) = x/2·(1 + erf(x/√2)), or with approximate="tanh" OpenAI's form of it.

    The tanh form is x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).

    x: an array of NumPy, CuPy, PyTorch or JAX, or of anything else with DLPack, on the CPU or a
    CUDA device, of any shape and strides; or a number or list, as numpy.asarray takes them.
    float16, bfloat16, float32 and float64 keep their dtype; integers and bools become the float
    that NumPy's functions make of them. x is not modified.

    out: an array of x's kind, shape and device and the result's dtype to write to; x itself is
    allowed, memory that only overlaps x is not.

    Returns an array of x's kind, dtype, device, shape and memory order (or out), evaluated through
    a table of 1024 nodes on the domain with the smallest worst-case error. NaN gives NaN, +inf
    gives +inf, −inf gives −0, and ±0 keeps its sign.

    Raises TypeError for dtypes, arrays and devices that are not supported, ValueError for an `out`
    that does not fit, an unknown `approximate`, or a tensor that requires grad, and RuntimeError
    for a GPU array where CuPy or a driver is missing.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (arXiv 1606.08415).

    >>> import numpy as np
    >>> gelu(np.float32([-1, 0, 1])).round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    if approximate not in names:
        raise ValueError(f'approximate={approximate!r}: choose "none" or "tanh"')
    return apply(lambda dtype: default_table(names[approximate], dtype), x, out)


def _activation(function: Function) -> Callable[..., Any]:
    """The array function of a declaration."""

    def activation(x: Any, *, out: Any = None) -> Any:
        return apply(lambda dtype: default_table(function.name, dtype), x, out)

    at_one = f"{function(1.0):.4f}"
    activation.__name__ = activation.__qualname__ = function.name
    activation.__doc__ = f"""y = {function.formula}.

    x, out, the result and the errors raised are those of `cupylut.gelu`. The limits are
    f(−inf) = {function.left} and f(+inf) = {function.right}; NaN gives NaN.

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
