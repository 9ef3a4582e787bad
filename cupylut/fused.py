"""An activation with what is around it, in one pass: y = residual + scale·f(x + bias).

f comes from a table with float32 results (float64 for float64 arrays) and everything is computed in
that precision, so that a 16-bit result is rounded once.

`evaluate` works on arrays of one dtype; `kernels/fused.cu` is its device half. It also takes a
factor like x that f is multiplied by: with the table of f′, and the incoming gradient for a factor,
it computes the gradient by x.
"""

from collections.abc import Iterator
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import device, memory, rows, workers
from .arrays import JaxArrays, library_of
from .defaults import compute_dtype, default_table, product_table
from .dtypes import DType
from .gated import values
from .names import checked_name
from .operands import context_of, is_weak, together
from .ops import as_float, is_tensor, uncompiled
from .outputs import filled
from .tables import Table


def evaluate(
    table: Table,
    x: Any,
    out: Any,
    *,
    bias: Any = None,
    factor: Any = None,
    scale: Any = None,
    residual: Any = None,
) -> None:
    """out = residual + scale·factor·table(x + bias), for NumPy or CuPy arrays in C order.

    x, out, factor and residual have one shape, of one dimension, or with bias or scale of two; bias
    and scale have an element for each column, or scale is a number. out may be x, factor or
    residual.
    """
    if isinstance(x, np.ndarray):
        run = partial(_evaluate, table, bias, scale, factor is not None)
        workers.run(run, x, out, *(array for array in (factor, residual) if array is not None))
        return
    for entry, operands, by_value in launches(table, x, bias, factor, scale, residual, out):
        pointers = (0 if array is None else array for array in operands)
        device.run(entry, (table,), *pointers, *by_value)


def _evaluate(
    table: Table,
    bias: NDArray[Any] | None,
    scale: Any,
    has_factor: bool,
    x: NDArray[Any],
    out: NDArray[Any],
    *whole: NDArray[Any],
) -> None:
    with np.errstate(all="ignore"):
        for block in rows.blocks(x.shape):
            columns = block[-1]
            if bias is None:
                y = values(table, x[block])
            else:
                y = x[block].astype(table.dtype, order="C")
                y += bias[columns].astype(y.dtype)
                table.evaluate(y.reshape(-1), y.reshape(-1))
            if has_factor:
                y *= whole[0][block].astype(y.dtype)
            if isinstance(scale, Real):
                y *= y.dtype.type(scale)
            elif scale is not None:
                y *= scale[columns].astype(y.dtype)
            if len(whole) > has_factor:
                y += whole[-1][block].astype(y.dtype)
            out[block] = y


def launches(
    table: Table, x: Any, bias: Any, factor: Any, scale: Any, residual: Any, out: Any
) -> Iterator[tuple[str, list[Any], tuple[Any, Any]]]:
    """What `evaluate` takes to launch for arrays or tensors on a device.

    For each launch the kernel, in the words of `device.KERNELS`, its arrays, None for what there is
    not, and what follows them by value.
    """
    number = None
    if isinstance(scale, Real):
        scale, number = None, scale
    operands = {"bias": bias, "factor": factor, "scale": scale, "residual": residual}
    given = {**operands, "number": number}
    macros = [name.upper() for name, operand in given.items() if operand is not None]
    entry = "+".join(["fused_activation", *macros])
    with np.errstate(over="ignore"):
        by_value = table.result_dtype.type(0 if number is None else number)
    for part in rows.parts(x, *operands.values(), out):
        width = part[0].shape[1] if x.ndim == 2 else 1
        yield entry, part, (by_value, rows.divisor(width))


def table_for(function: str, dtype: DType, has_bias: bool) -> Table:
    """The table of f for x of this dtype: of the sum with a bias, which is not rounded to it."""
    if has_bias:
        return default_table(function, compute_dtype(dtype))
    return product_table(function, dtype)


def fused(
    function: str,
    x: Any,
    *,
    bias: Any = None,
    scale: Any = None,
    residual: Any = None,
    out: Any = None,
) -> Any:
    """y = residual + scale·f(x + bias), in one pass; each operand may be left out.

    With bias alone it is the end of a linear layer that leaves its bias to the activation; with
    scale and residual, that of a block with LayerScale.

    function: f, by the name that `cupylut.tabulate` takes, with parameters as in "elu(0.5)". Those
    beyond `cupylut.FUNCTIONS` have tables in some dtypes only.

    x: an array as `cupylut.gelu` takes, but none of Dask, with the rules for dtypes that are there.

    bias: one dimension, an element for each place in x's last axis. scale: the same, or one number;
    as an array without dimensions it can be learnt.
    residual: of x's shape. All are of x's kind, dtype and device; under PyTorch's autocast they are
    converted to x's dtype, but for a wider residual, whose dtype the result then has.

    out: as in `cupylut.gelu`; x or residual itself is allowed.

    Returns an array of x's kind, dtype, device, shape and memory order (or out). All is computed in
    float32 (float64 for float64), the sum x + bias too, and rounded once. In float16 and bfloat16
    it is within 0.51 ulp of the exact value; in float32, for functions with a gate table, within
    2.5 ulp of scale·f at the sum that float32 gives. A residual adds a rounding to float32. Where
    it cancels nearly all of scale·f, the error is that of scale·f in float32.

    Raises TypeError and ValueError as `cupylut.gelu` does, and for operands that do not fit x.

    PyTorch differentiates it by x, bias, scale and residual, and JAX does.

    Source of LayerScale: Touvron et al., "Going deeper with Image Transformers" (arXiv 2103.17239).

    >>> import numpy as np
    >>> x = np.float32([[-2, 0], [0, 2]])
    >>> fused("gelu", x, bias=np.float32([1, -1]), scale=2.0, residual=x).round(4)
    array([[-2.3173, -0.3173],
           [ 1.6827,  3.6827]], dtype=float32)
    """
    checked_name(function)
    operands = {"bias": bias, "scale": scale, "residual": residual}
    if not is_tensor(x):
        return _run(function, x, operands, out)
    if out is None:
        from .torch.fused_activation import fused  # above this module; imports torch

        return fused(x, function, **operands)
    return uncompiled(_run, function, x, operands, out)


def _run(function: str, x: Any, operands: dict[str, Any], out: Any) -> Any:
    given = {name: array for name, array in operands.items() if array is not None}
    number = given.pop("scale") if _is_number(operands["scale"], x) else None
    if isinstance(number, Real):
        number = as_float("scale", number)
    library, given = together({"x": x, **given})
    x = given.pop("x")
    with context_of(library, x, *given.values()):
        view = library.view(x)
        dtype = library.result_dtype(view)
        views = {name: library.view(array) for name, array in given.items()}
        for name, other in views.items():
            check_shape(name, other.shape, view.shape)
            if library.result_dtype(other) != dtype:
                raise TypeError(
                    f"x gives {dtype}, {name} {library.result_dtype(other)}: convert one"
                )
        table = table_for(function, dtype, "bias" in given)
        if any(map(library.is_traced, (view, number, *views.values()))):
            from . import jax

            if out is not None:
                library.refuse_out(out, x)
            return jax.converted(jax.fused(table, x, **{"scale": number, **given}), dtype)
        for name, other in views.items():
            if other.device != view.device:
                raise ValueError(f"x lies on {view.device}, {name} on {other.device}: move one")
        fitting = [(x, view)]
        if out is not None:
            fitting += [(given[name], np.broadcast_to(views[name], view.shape)) for name in views]
        by_value = None if number is None else float(number)
        fill = partial(_fill, table, view, {"scale": by_value, **views})
        return filled(library, fitting, dtype, out, fill)


def _is_number(scale: Any, x: Any) -> bool:
    """Whether this is a Python number, or what JAX makes of one beside its arrays."""
    if isinstance(scale, Real):
        return True
    return is_weak(scale) and scale.ndim == 0 and isinstance(library_of(x), JaxArrays)


def check_shape(name: str, shape: Any, whole: Any) -> None:
    """Raise where an operand of this name and shape does not fit x."""
    shape, whole = tuple(shape), tuple(whole)
    if name == "residual":
        if shape != whole:
            raise ValueError(f"x has shape {whole}, residual {shape}: give equal shapes")
    elif (name != "scale" or shape) and (len(shape) != 1 or shape != whole[-1:]):
        raise ValueError(
            f"x has shape {whole}, {name} {shape}: give one dimension, as long as x's last axis"
        )


def _fill(table: Table, x: Any, operands: dict[str, Any], out: Any) -> None:
    """Dense `out` = what `fused` makes of views."""
    if out.size == 0:
        return
    columns = [name for name in ("bias", "scale") if hasattr(operands.get(name), "shape")]
    width = out.shape[-1] if out.ndim else 1
    target = out
    if columns and not out.flags.c_contiguous:
        target = memory.scratch_like(out, order="C")

    def arranged(view: Any) -> Any:
        view = memory.laid_out(view, target)
        return view.reshape(-1, width) if columns else memory.flat(view)

    for name in columns:  # one number is that of each column
        row = np.broadcast_to(operands[name].astype(out.dtype, copy=False), (width,))
        operands[name] = row if row.flags.c_contiguous else row.copy()
    if "residual" in operands:
        operands["residual"] = arranged(operands["residual"])
    evaluate(table, arranged(x), arranged(target), **operands)
    if target is not out:
        out[...] = target
