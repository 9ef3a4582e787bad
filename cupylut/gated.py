"""Gated layers in one pass over memory: y = z·f(x), of which swiglu and geglu are cases.

f comes from a float32 table (float64 for float64 arrays) and everything is multiplied in that
precision, so a 16-bit result is rounded once, and is the one that the exact product gives but for
inputs within 2⁻¹² or so of the middle between two results.

`product` and `product_gradient` work on flat arrays of one dtype; `kernels/gated.cu` is their
device half. With the table of f′ in place of f's, `product` is the backward pass of f itself.
"""

import sys
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import arrays, device, workers
from .accuracy import DType
from .ops import check_out, default_table, gelu_form
from .tables import Table
from .tables.linear import CHUNK


def real(dtype: DType) -> DType:
    """The dtype that f and the products are computed in."""
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def product(table: Table, x: Any, z: Any, out: Any) -> None:
    """out = z·table(x) for flat NumPy or CuPy arrays; out may be x or z."""
    if not isinstance(x, np.ndarray):
        device.run("product", (table,), x, z, out)
        return
    workers.run(partial(_product, table), x, z, out)


def _product(table: Table, x: NDArray[Any], z: NDArray[Any], out: NDArray[Any]) -> None:
    with np.errstate(all="ignore"):
        for i in range(0, x.size, CHUNK):
            chunk = slice(i, i + CHUNK)
            y = _values(table, x[chunk])
            y *= z[chunk].astype(y.dtype)
            out[chunk] = y


def product_gradient(
    value: Table, slope: Table, x: Any, z: Any, g: Any, dx: Any, dz: Any
) -> None:  # fmt: skip
    """dx = g·z·slope(x) and dz = g·value(x): how z·value(x) changes, for an incoming gradient g.

    Flat NumPy or CuPy arrays; dx and dz may be inputs, but not each other.
    """
    if not isinstance(x, np.ndarray):
        device.run("product_gradient", (value, slope), x, z, g, dx, dz)
        return
    workers.run(partial(_product_gradient, value, slope), x, z, g, dx, dz)


def _product_gradient(
    value: Table,
    slope: Table,
    x: NDArray[Any],
    z: NDArray[Any],
    g: NDArray[Any],
    dx: NDArray[Any],
    dz: NDArray[Any],
) -> None:
    with np.errstate(all="ignore"):
        for i in range(0, x.size, CHUNK):
            chunk = slice(i, i + CHUNK)
            gradient = g[chunk].astype(value.dtype)
            y, steepness = _values(value, x[chunk]), _values(slope, x[chunk])
            steepness *= gradient * z[chunk].astype(y.dtype)
            y *= gradient
            dx[chunk] = steepness
            dz[chunk] = y


def _values(table: Table, x: NDArray[Any]) -> NDArray[Any]:
    wide = x.astype(table.dtype)
    table.evaluate(wide, wide)
    return wide


def swiglu(gate: Any, up: Any, *, out: Any = None) -> Any:
    """y = silu(gate)·up = gate·σ(gate)·up, in one pass.

    gate, up: arrays of one kind, shape, device and dtype (float16, bfloat16, float32, float64, or
    integers, which become the float that NumPy's functions make of them), as in `cupylut.gelu`.

    out: an array like them to write to; gate or up itself is allowed.

    Returns an array of gate's kind, dtype, device, shape and memory order (or out). In float16 and
    bfloat16 the exact product is rounded once, to within 0.51 ulp; in float32 it is within 2.5 ulp.

    Raises TypeError and ValueError as `cupylut.gelu` does, and for a gate and up that differ.

    Source: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).

    >>> import numpy as np
    >>> swiglu(np.float32([-1, 0, 1]), np.float32([2, 2, 2])).round(4)
    array([-0.5379,  0.    ,  1.4621], dtype=float32)
    """
    return _gated("silu", gate, up, out)


def geglu(
    gate: Any, up: Any, approximate: Literal["none", "tanh"] = "none", *, out: Any = None
) -> Any:  # fmt: skip
    """y = gelu(gate)·up, in one pass, with OpenAI's tanh form of gelu for approximate="tanh".

    gate, up, out, the result and the errors raised are those of `cupylut.swiglu`.

    Source: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).

    >>> print(f"{geglu(1.0, 3.0):.4f}")
    2.5240
    """
    return _gated(gelu_form(approximate), gate, up, out)


def _gated(function: str, gate: Any, up: Any, out: Any) -> Any:
    torch = sys.modules.get("torch")
    if isinstance(gate, getattr(torch, "Tensor", ())):
        if isinstance(up, torch.Tensor) and gate.is_floating_point() and out is None:  # type: ignore[union-attr]
            from . import torch_operators  # above this module; imports torch

            return torch_operators.product(gate, up, function)
        if torch.compiler.is_compiling():  # type: ignore[union-attr]
            return torch.compiler.disable(_run)(function, gate, up, out)  # type: ignore[union-attr]
    return _run(function, gate, up, out)


def _run(function: str, gate: Any, up: Any, out: Any) -> Any:
    library = arrays.library_of(gate)
    if type(arrays.library_of(up)) is not type(library):
        raise TypeError(f"gate is a {type(gate).__name__}, up a {type(up).__name__}: give one kind")
    with library.context(gate):
        x, z = library.view(gate), library.view(up)
        dtype = library.result_dtype(x)
        if library.result_dtype(z) != dtype:
            raise TypeError(f"gate gives {dtype}, up {library.result_dtype(z)}: convert one")
        if x.shape != z.shape:
            raise ValueError(f"gate has shape {x.shape}, up {z.shape}: give equal shapes")
        if library.is_traced(x) or library.is_traced(z):
            from . import jax

            if out is not None:
                library.check_out(out, gate)
            return jax.product(default_table(function, real(dtype)), gate, up).astype(dtype)
        if x.device != z.device:
            raise ValueError(f"gate lies on {x.device}, up on {z.device}: move one")
        target = None
        if out is not None:
            target = check_out(library, gate, x, dtype, out)
            check_out(library, up, z, dtype, out)
        if target is not None and arrays.is_dense(target):
            result, dense = out, target
        else:
            result, dense = library.empty_like(x, dtype, gate)
        x, z = (arrays.flat(_like(view, dense)) for view in (x, z))
        product(default_table(function, real(dtype)), x, z, arrays.flat(dense))
        if target is None:
            return library.finish(result, gate)
        if target is not dense:
            target[...] = dense
        library.written(out)
        return out


def _like(view: Any, dense: Any) -> Any:
    """The view, or a copy of it in the dtype and layout of a dense one."""
    if view.dtype == dense.dtype and arrays.same_layout(view, dense):
        return view
    copy = arrays.empty_like(dense)
    copy[...] = view
    return copy
