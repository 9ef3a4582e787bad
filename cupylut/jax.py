"""Lookups as JAX operations, for arrays that JAX is tracing: jit, grad, jvp, vmap, scan, …

`cupylut.gelu(x)` comes here by itself where x has no values yet. A lookup is then a gather and a
few multiplications that XLA compiles with everything around it, on any of its devices:

    16 bits   results[bits(x)], one gather from all 65,536 results, the same bits as everywhere;
              and of quantised tables with 8 bits from 256
    float32   the table's coefficients in float64, rounded once, with or without `jax_enable_x64`

Results are those of the table's NumPy half, but for the last bit of some float32 ones, where that
takes cubics instead of the coefficients (tables/cubics.py). XLA on the CPU treats subnormal numbers
as zeros, so float32 inputs and results that are subnormal go through their bit patterns, as
integers.

The derivative is a lookup too, in the table of the function's derivative.
"""

from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .defaults import derivative_table
from .dtypes import DType, all_inputs
from .tables import GateTable, LinearTable, PolynomialTable, Table
from .tables.gate import SCALE, unpack
from .tables.polynomial import Side

SMALLEST_NORMAL = 2.0**-126  # of float32
TINY = 2.0**-149  # the smallest float32: the unit of subnormal bit patterns


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def lookup(table: Table, x: Any) -> Any:
    """y = table(x) for a JAX array of the table's dtype and any shape; differentiable twice.

    `cupylut.gelu` and the like and `table(x)` call it for what JAX is tracing, with x promoted.

    Raises TypeError where a table of unknown derivative is differentiated: one that was made with
    `cupylut.tabulate`, or a second derivative.

    >>> import cupylut, jax
    >>> slope = jax.jit(jax.grad(cupylut.gelu))
    >>> print(f"{slope(1.0):.3f}")
    1.083
    """
    return table_lookup(table, x)


@lookup.defjvp  # type: ignore[untyped-decorator]
def _lookup_jvp(table: Table, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (tangent,) = primals, tangents
    of_slope = derivative_table(table)
    slope = lookup(of_slope, converted(x, of_slope.dtype))
    return lookup(table, x), converted(tangent, slope.dtype) * slope


def converted(x: Any, dtype: DType) -> Any:
    """x.astype(dtype), which outside of `jax.enable_x64` would narrow a float64 x to float32."""
    return x if x.dtype == dtype else x.astype(dtype)


def product(table: Table, x: Any, z: Any) -> Any:
    """z·table(x) for JAX arrays of one shape, in the dtype of the table's results.

    The product is XLA's own, which on a CPU flushes subnormal results.
    """
    return converted(z, table.result_dtype) * lookup(table, converted(x, table.dtype))


def fused(
    table: Table, x: Any, *, bias: Any = None, scale: Any = None, residual: Any = None
) -> Any:
    """residual + scale·table(x + bias) for JAX arrays, in the dtype of the table's results."""
    y = converted(x, table.dtype)
    y = lookup(table, y if bias is None else y + _of_columns(bias, y))
    if scale is not None:
        y = y * _of_columns(scale, y)
    return y if residual is None else y + converted(residual, y.dtype)


def _of_columns(operand: Any, y: Any) -> Any:
    """A bias or scale in y's dtype and number of axes, which JAX may be told not to adjust."""
    operand = converted(jnp.asarray(operand), y.dtype)
    return operand.reshape((1,) * (y.ndim - 1) + operand.shape) if operand.ndim else operand


# Compiled by itself, a lookup that a model does many times is traced once, and its table is held
# once in the program. Tables are immutable and compare by identity.
@partial(jax.jit, static_argnums=0)
def table_lookup(table: Table, x: Any) -> Any:
    """The primal of `lookup`."""
    if table.dtype.itemsize <= 2:
        inputs = all_inputs(table.dtype)
        results = np.empty(inputs.size, table.result_dtype)
        table.evaluate(inputs, results)
        index = lax.bitcast_convert_type(x, f"u{inputs.itemsize}")
        patterns = _gather(results.view(f"u{results.itemsize}"), index)
        return lax.bitcast_convert_type(patterns, table.result_dtype)
    with jax.enable_x64(True):
        return _narrowed(_in_float64(table, _widened(x)), table.dtype)


def _gather(values: Any, index: Any) -> Any:
    return jnp.asarray(values).at[index].get(mode="promise_in_bounds")


def _widened(x: Any) -> Any:
    """x as float64, subnormal float32 numbers too."""
    if x.dtype == np.float64:
        return x
    spacings = lax.bitcast_convert_type(x, np.int32) & 0x7FFFFFFF
    magnitude = spacings.astype(np.float64) * TINY
    wide = x.astype(np.float64)
    return jnp.where(magnitude < SMALLEST_NORMAL, jnp.copysign(magnitude, wide), wide)


def _narrowed(y: Any, dtype: DType) -> Any:
    """y rounded to the dtype, subnormal float32 results too."""
    if dtype == np.float64:
        return y
    magnitude = jnp.abs(y)
    # Behind 2⁵²·TINY the last bit of a float64 is worth TINY, so that the sum rounds y to it.
    sign = (lax.bitcast_convert_type(y, np.int64) >> 32).astype(np.int32) & -0x80000000
    last = lax.bitcast_convert_type(magnitude + 2.0**52 * TINY, np.int64).astype(np.int32)
    subnormal = lax.bitcast_convert_type(last | sign, np.float32)
    return jnp.where(magnitude < SMALLEST_NORMAL, subnormal, y.astype(np.float32))


@singledispatch
def _in_float64(table: Table, x: Any) -> Any:
    """The table's value at x, both float64, before it is rounded to the table's dtype."""
    raise TypeError(f"{table} cannot be traced by JAX: call it outside jit, grad and vmap")


@_in_float64.register
def _(table: LinearTable, x: Any) -> Any:
    """The steps of tables/linear.py; without XLA's contraction, in float64, the same bits."""
    scale, offset, _, low, high, keep = (float(value) for value in table.parameters[0])
    position = (x * scale + offset).astype(table.real)
    position = jnp.where(jnp.isnan(position), 0, jnp.clip(position, 0, 1)).astype(np.float64)
    line = (position * table.width).astype(np.int32)
    slope, intercept = (_gather(values.astype(np.float64), line) for values in table.entries.T)
    y = slope * jnp.clip(x, low, high) + intercept
    return jnp.where(jnp.abs(x) > keep, y, x)


@_in_float64.register
def _(table: GateTable, x: Any) -> Any:
    """The steps of tables/gate.py in the order of its `exactly`."""
    layout = table.layout
    c, rest = unpack(table.words)
    c[:, 0] += rest
    a = jnp.fmin(jnp.abs(x), layout.limit)
    u = a * jnp.maximum(a, layout.split)
    k = jnp.rint(u * (1 / layout.step))
    d = u - k * layout.step
    segment = k.astype(np.int32)
    q = 0.0
    for coefficients in c.T[::-1] / SCALE:
        q = q * d + _gather(coefficients, segment)
    return jnp.copysign(jnp.maximum(x, 0) - a * q, x)


@_in_float64.register
def _(table: PolynomialTable, x: Any) -> Any:
    """The steps of tables/polynomial.py, what that does in the table's dtype included."""
    real, integer = table.dtype.type, np.dtype(f"u{table.dtype.itemsize}").type

    def pick(of: Callable[[Side], float], kind: type[Any] = np.float64) -> Any:
        """A number of the side that each x is on."""
        return jnp.where(table.on_right(x), kind(of(table.right)), kind(of(table.left)))

    a = jnp.fmin(jnp.abs(x), pick(lambda side: side.layout.limit))
    dropped = pick(lambda side: side.layout.dropped, integer)
    offset = pick(lambda side: side.layout.offset)
    # Sums of float64, rounded to float32, are those of float32, where a may be subnormal.
    number = lax.bitcast_convert_type((a + offset).astype(real), integer) >> dropped
    segment = number.astype(np.int32) - pick(lambda side: side.first, np.int32)
    half = pick(lambda side: side.layout.middle_bit, integer)
    middle = lax.bitcast_convert_type(number << dropped | half, real).astype(np.float64)
    d = (a - (middle - offset).astype(real).astype(np.float64)).astype(real).astype(np.float64)

    c0, rest, *others = table.rows.T
    p = 0.0
    for coefficients in (*reversed(others), rest):
        p = p * d + _gather(coefficients, segment)
    p += _gather(c0, segment)
    if table.product:
        p *= a
    y = p * pick(lambda side: side.scale) + pick(lambda side: side.intercept)
    slope = pick(lambda side: float(real(side.slope)))
    line = slope * jnp.fmin(jnp.abs(x), pick(lambda side: side.reach))
    y += line
    return jnp.where(jnp.abs(x) > (0 if table.product else -1), y, x)
