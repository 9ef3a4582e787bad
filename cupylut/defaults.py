"""Which table a function is evaluated with where nobody chose one, and its gradient.

Each is made once, and kept as long as the process runs. So it is where its name has come to mean
another function: a captured CUDA graph holds the table's address.
"""

from contextlib import suppress
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np

from .declaration import Function
from .dtypes import BFLOAT16, FLOAT32, FLOAT64, DType
from .names import as_function
from .tables import Table, UnroundedTable
from .tabulate import tabulate


@lru_cache(maxsize=1024)
def default_table(function: str | Function, dtype: DType) -> Table:
    """The table that `cupylut.<function>(x)` evaluates, for a function or its key."""
    return _default_table(as_function(function), dtype)


@lru_cache(maxsize=1024)
def product_table(function: str | Function, dtype: DType) -> Table:
    """The table of f that products with arrays of this dtype take f from, not yet rounded to it.

    An `UnroundedTable` for bfloat16 arrays, where the function has one; else the default table of
    float32, or of float64.
    """
    if dtype == BFLOAT16:
        with suppress(ValueError):
            return _unrounded_table(as_function(function))
    return default_table(function, compute_dtype(dtype))


def forget_names() -> None:
    """Look every name up again at its next call, since one has another function now."""
    default_table.cache_clear()
    product_table.cache_clear()


@lru_cache(maxsize=1024)
def _default_table(function: Function, dtype: DType) -> Table:
    try:
        table = tabulate(function, dtype)
    except ValueError as error:
        also = ", which products and gradients take in 16 bits too" if dtype == np.float32 else ""
        raise ValueError(
            f"{function.name} has no default table in {dtype}{also}: convert the input to another "
            "dtype, or call a table of f alone, made by cupylut.tabulate, where 16 bits, error= or "
            f"kind= may help. The reason is: {error}"
        ) from error
    _functions[table] = function
    return table


@lru_cache(maxsize=1024)
def _unrounded_table(function: Function) -> Table:
    table = UnroundedTable.build(function)
    _functions[table] = function
    return table


def compute_dtype(dtype: DType) -> DType:
    """The dtype that products and sums with arrays of this one are computed in."""
    return FLOAT64 if dtype.itemsize == 8 else FLOAT32


_functions: WeakKeyDictionary[Table, Function] = WeakKeyDictionary()


def derivative_table(table: Table) -> Table:
    """The table of f′ that goes with `default_table` or `product_table` of f.

    Raises TypeError for all other tables.
    """
    function = _functions.get(table)
    if function is None:
        raise TypeError(
            f"the derivative of {table} is not known: give it one, by torch.autograd.Function or "
            "jax.custom_jvp"
        )
    if function.derivative is None:
        raise no_derivative(function.name)
    make = product_table if isinstance(table, UnroundedTable) else default_table
    return make(function.derivative, table.dtype)


def no_derivative(name: str) -> TypeError:
    """The error where the derivative of a function is asked for, by its key, which has none."""
    base = name.removesuffix("_second_derivative")
    if base == name:
        return TypeError(f"the derivative of {name} was not declared: see cupylut.declare")
    return TypeError(
        f"third derivatives of {base} are not there: the derivative of {name} is not known. "
        "Functions bring their first and second derivatives, and no higher ones"
    )
