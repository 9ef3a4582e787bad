"""The dtypes of tables: which there are, their numbers, and rounding to them."""

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .declaration import Float64Array

DType: TypeAlias = np.dtype[Any]

FLOAT16: DType = np.dtype(np.float16)
BFLOAT16: DType = np.dtype(ml_dtypes.bfloat16)
FLOAT32: DType = np.dtype(np.float32)
FLOAT64: DType = np.dtype(np.float64)

DTYPES: tuple[DType, ...] = FLOAT16, BFLOAT16, FLOAT32, FLOAT64
"""The dtypes that tables are made for."""

EIGHT_BIT: tuple[DType, ...] = tuple(
    np.dtype(t) for t in (np.int8, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
)
"""The dtypes that quantised tables are made for, beside the 16-bit ones of the above."""

FLOATS8 = EIGHT_BIT[1:]
"""Those of them that are floats."""


def as_dtype(dtype: DTypeLike, among: tuple[DType, ...] = DTYPES) -> DType:
    """The supported dtype that `dtype` names ("bfloat16" too), or an error listing them.

    PyTorch's dtypes are understood, by their names.
    """
    given: Any = dtype
    if type(dtype).__module__ == "torch":
        given = str(dtype).removeprefix("torch.")
    elif dtype is None:  # float64 to NumPy
        given = "None"
    try:
        found = np.dtype(getattr(ml_dtypes, given, given) if isinstance(given, str) else given)
    except TypeError:
        found = None
    if found is None or found.newbyteorder("=") not in among:
        names = ", ".join(d.name for d in among)
        raise ValueError(f"no tables for dtype {dtype!r}: choose one of {names}")
    return found.newbyteorder("=")


def all_inputs(dtype: DTypeLike) -> NDArray[Any]:
    """Every bit pattern of a 16-bit or 8-bit dtype, in the order of the patterns."""
    found = as_dtype(dtype, (*DTYPES, *EIGHT_BIT))
    return np.arange(256**found.itemsize).astype(f"u{found.itemsize}").view(found)


def widened(x: NDArray[Any]) -> Float64Array:
    """x as float64, quietly also where a NaN signals."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.float64)


def ulp(y: ArrayLike, dtype: DTypeLike) -> Float64Array:
    """The distance between neighbours of `dtype` at the real number y, as float64.

    In the subnormal range it is the smallest subnormal; beyond the largest finite number it stays
    that of the last binade, as if the exponent went on there.

    >>> ulp([1.0, 0.0], "float16") == [2.0**-10, 2.0**-24]
    array([ True,  True])
    """
    info = ml_dtypes.finfo(as_dtype(dtype))  # type: ignore[no-untyped-call]
    y = np.abs(np.asarray(y, np.float64))
    exponent = np.where(y == 0, info.minexp, np.frexp(y)[1] - 1)
    exponent = np.clip(exponent, info.minexp, info.maxexp - 1)
    return np.asarray(np.ldexp(1.0, exponent - info.nmant))


def round_to(y: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """y rounded once, to nearest even, from float64 to `dtype`.

    Not ``astype``: to bfloat16 that goes through float32 and rounds twice.

    >>> float(round_to(1 + 2.0**-8 + 2.0**-40, "bfloat16"))
    1.0078125
    """
    y = np.asarray(y, np.float64)
    with np.errstate(all="ignore"):
        spacing = ulp(np.where(np.isfinite(y), y, 0), dtype)
        return (np.rint(y / spacing) * spacing).astype(as_dtype(dtype))
