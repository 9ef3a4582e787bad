"""Gated layers in one pass over memory: y = z·f(x), of which swiglu and geglu are cases.

f comes from a table with float32 results (float64 for float64 arrays) and everything is multiplied
in that precision, so a 16-bit result is rounded once, and is the one that the exact product gives
but for inputs within 2⁻¹² or so of the middle between two results.

`product` and `product_gradient` work on flat arrays of one dtype, or on the rows of 2-D ones where
x and z are the halves of a packed array; `kernels/gated.cu` is their device half. With the table of
f′ in place of f's, `product` is the backward pass of f itself.
"""

from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import device, memory, operands, rows, workers
from .defaults import product_table
from .dtypes import DType, all_inputs
from .ops import gelu_form, is_tensor, uncompiled
from .outputs import filled
from .tables import Table
from .tables.chunks import CHUNK, gather

Order = Literal["gate_up", "up_gate"]


def product(table: Table, x: Any, z: Any, out: Any) -> None:
    """out = z·table(x) for NumPy or CuPy arrays: flat ones, where out may be x or z.

    Or x and z are the halves of a 2-D array in C order, and so is out.
    """
    if isinstance(x, np.ndarray):
        workers.run(partial(_product, table), x, z, out)
    elif x.ndim == 1:
        device.run("product", (table,), x, z, out)
    else:
        rows.run("packed_product", (table,), x, z, out)


def _product(table: Table, x: NDArray[Any], z: NDArray[Any], out: NDArray[Any]) -> None:
    with np.errstate(all="ignore"):
        for block in rows.blocks(x.shape):
            y = values(table, x[block])
            y *= z[block].astype(y.dtype)
            out[block] = y


def product_gradient(
    value: Table, slope: Table, x: Any, z: Any, g: Any, dx: Any, dz: Any
) -> None:  # fmt: skip
    """dx = g·z·slope(x) and dz = g·value(x): how z·value(x) changes, for an incoming gradient g.

    Flat NumPy or CuPy arrays; dx and dz may be inputs, but not each other. Or x and z, and dx and
    dz, are the halves of 2-D arrays in C order, as in `product`.
    """
    if isinstance(x, np.ndarray):
        workers.run(partial(_product_gradient, value, slope), x, z, g, dx, dz)
    elif x.ndim == 1:
        device.run("product_gradient", (value, slope), x, z, g, dx, dz)
    else:
        rows.run("packed_product_gradient", (value, slope), x, z, g, dx, dz)


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
        for block in rows.blocks(x.shape):
            y, steepness = values(value, x[block]), values(slope, x[block])
            gradient = g[block].astype(y.dtype)
            steepness *= gradient * z[block].astype(y.dtype)
            y *= gradient
            dx[block] = steepness
            dz[block] = y


def values(table: Table, x: NDArray[Any]) -> NDArray[Any]:
    """A new array in C order with the table's values at x, which may be of another dtype."""
    full_block = x.size > CHUNK // 2  # of whole rows, as many as fit, or of part of one
    if x.dtype.itemsize < table.dtype.itemsize == 4 and full_block:
        y = np.empty(x.shape, table.result_dtype)
        gather(_of_all_inputs(table, x.dtype), x.reshape(-1), y.reshape(-1))
        return y
    inputs = x.astype(table.dtype, order="C")
    y = inputs if table.result_dtype == table.dtype else np.empty(x.shape, table.result_dtype)
    table.evaluate(inputs.reshape(-1), y.reshape(-1))
    return y


@lru_cache(maxsize=32)
def _of_all_inputs(table: Table, dtype: DType) -> NDArray[Any]:
    """The table's values at all numbers of a narrower dtype: the same, and soon faster to find."""
    y = all_inputs(dtype).astype(table.dtype)
    table.evaluate(y, y)
    return y


def swiglu(gate: Any, up: Any = None, *, order: Order = "gate_up", out: Any = None) -> Any:
    """y = silu(gate)·up = gate·σ(gate)·up, in one pass.

    gate, up: arrays of one kind, shape, device and dtype (float16, bfloat16, float32, float64, or
    integers, which become the float that NumPy's functions make of them), as in `cupylut.gelu`,
    but not Dask's; under PyTorch's autocast up is converted to gate's dtype.

    Without up, the first array is packed: the halves of its last axis are gate and up, in this
    order as Hugging Face and vLLM have them, or for order="up_gate" in the other, as
    `torch.nn.functional.glu`. In C order it is read as it is, else the halves are copied.

    out: an array like them to write to; gate or up itself is allowed.

    Returns an array of gate's kind, dtype, device, shape and memory order (or out). In float16 and
    bfloat16 the exact product is rounded once, to within 0.51 ulp; in float32 it is within 2.5 ulp.

    Raises TypeError and ValueError as `cupylut.gelu` does, for a gate and up that differ, and for a
    packed array whose last axis is odd.

    Source: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).

    >>> import numpy as np
    >>> swiglu(np.float32([-1, 0, 1]), np.float32([2, 2, 2])).round(4)
    array([-0.5379,  0.    ,  1.4621], dtype=float32)
    >>> swiglu(np.float32([-1, 0, 1, 2, 2, 2])).round(4)
    array([-0.5379,  0.    ,  1.4621], dtype=float32)
    """
    return _gated("silu", gate, up, order, out)


def geglu(
    gate: Any,
    up: Any = None,
    approximate: Literal["none", "tanh"] = "none",
    *,
    order: Order = "gate_up",
    out: Any = None,
) -> Any:
    """y = gelu(gate)·up, in one pass, with OpenAI's tanh form of gelu for approximate="tanh".

    gate, up, order, out, the result and the errors raised are those of `cupylut.swiglu`.

    Source: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).

    >>> print(f"{geglu(1.0, 3.0):.4f}")
    2.5240
    """
    return _gated(gelu_form(approximate), gate, up, order, out)


def _gated(function: str, gate: Any, up: Any, order: str, out: Any) -> Any:
    if order not in ("gate_up", "up_gate"):
        raise ValueError(f'order={order!r}: choose "gate_up" or "up_gate"')
    if up is not None and order != "gate_up":
        raise ValueError(f"order={order!r} is that of a packed array: leave it out, or up")
    gate_first = order == "gate_up"
    if not is_tensor(gate):
        return _run(function, gate, up, gate_first, out)
    if out is None and (up is None or is_tensor(up)):
        from .torch import operators, packed  # above this module; import torch

        if up is None:
            return packed.packed_product(gate, function, gate_first)
        return operators.product(gate, up, function)
    return uncompiled(_run, function, gate, up, gate_first, out)


def _run(function: str, gate: Any, up: Any, gate_first: bool, out: Any) -> Any:
    named = {"gate": gate} if up is None else {"gate": gate, "up": up}
    library, named = operands.together(named)
    gate, *_ = given = list(named.values())
    with operands.context_of(library, *given):
        x = packed = library.view(gate)
        if up is None:
            x, z = halves(packed, gate_first)
        else:
            z = library.view(given[1])
        dtype = library.result_dtype(x)
        if library.result_dtype(z) != dtype:
            raise TypeError(f"gate gives {dtype}, up {library.result_dtype(z)}: convert one")
        if x.shape != z.shape:
            raise ValueError(f"gate has shape {x.shape}, up {z.shape}: give equal shapes")
        table = product_table(function, dtype)
        if library.is_traced(x) or library.is_traced(z):
            from . import jax

            if out is not None:
                library.refuse_out(out, gate)
            both = (x, z) if up is None else given
            return jax.converted(jax.product(table, *both), dtype)
        if x.device != z.device:
            raise ValueError(f"gate lies on {x.device}, up on {z.device}: move one")
        fill = partial(_fill, table, x, z)
        if up is None:
            fill = partial(_fill_packed, table, packed, gate_first)
        return filled(library, [(gate, x), (given[-1], z)], dtype, out, fill)


def halves(packed: Any, gate_first: bool) -> tuple[Any, Any]:
    """The gate and up of an array or tensor that has both in its last axis, without a copy."""
    if packed.ndim == 0 or packed.shape[-1] % 2:
        raise ValueError(
            f"a packed array of shape {tuple(packed.shape)}: its last axis has to be even, to hold "
            "gate and up; or give them as two arrays"
        )
    half = packed.shape[-1] // 2
    first, second = packed[..., :half], packed[..., half:]
    return (first, second) if gate_first else (second, first)


def _fill(table: Table, x: Any, z: Any, out: Any) -> None:
    """out = z·table(x) for views of one shape, out dense."""
    x, z = (memory.flat(memory.laid_out(view, out)) for view in (x, z))
    product(table, x, z, memory.flat(out))


def _fill_packed(table: Table, packed: Any, gate_first: bool, out: Any) -> None:
    """out = f(gate)·up for the halves of the last axis; in C order without a copy."""
    width = out.shape[-1]
    in_c_order = packed.flags.c_contiguous and out.flags.c_contiguous
    if in_c_order and packed.dtype == out.dtype and out.size > width > 0:
        x, z = halves(packed.reshape(-1, 2 * width), gate_first)
        product(table, x, z, out.reshape(-1, width))
    else:
        _fill(table, *halves(packed, gate_first), out)
