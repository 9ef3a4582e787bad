"""What the error of a table is on inputs that were counted by a `Calibration`."""

from dataclasses import dataclass

import numpy as np

from .declaration import Float64Array, Function, Reference
from .dtypes import ulp, widened
from .names import as_function
from .tables import QuantizedTable, Table
from .tables.grid import Grid


@dataclass(frozen=True)
class Forecast:
    """The error of a table on calibrated inputs: |table(x) − f(x)|, each input weighing the same.

    `max_abs` is the largest, met near `max_abs_at`. The rounding of the result to the table's dtype
    is part of the error, the rounding of the input is not: x comes in that dtype. A quantised table
    has a scale for its input, so there both are, and what its scales cut off.
    """

    mean_abs: float
    rms: float
    max_abs: float
    max_abs_at: float

    def __str__(self) -> str:
        return (
            f"mean abs {self.mean_abs:.3g}, rms {self.rms:.3g}, "
            f"max abs {self.max_abs:.3g} at {self.max_abs_at:.6g}"
        )


@np.errstate(all="ignore")  # ∞ − ∞, and what is outside of the table's dtype
def forecast(
    table: Table,
    function: str | Function | Reference | None,
    points: Float64Array,
    weights: Float64Array,
) -> Forecast:
    """The forecast for points that stand for so many inputs each; see `Calibration.forecast`."""
    f = _named(table.name) if function is None else _reference(function)
    x, y = _evaluated(table, points)
    error = _distance(y, f(x))
    error[np.isinf(x)] = 0  # beyond the dtype's range; there tables are exact
    if function is None and not _is_of(table, f(x), error):
        raise ValueError(
            f"give the function that the table of {table.name!r} stands for: it is not cupylut's "
            "of that name"
        )
    if isinstance(table, QuantizedTable):
        x, error = points, _distance(y, f(points))
    worst = int(np.argmax(error))
    return Forecast(
        mean_abs=float(weights @ error / weights.sum()),
        rms=float(np.sqrt(weights @ error**2 / weights.sum())),
        max_abs=float(error[worst]),
        max_abs_at=float(x[worst]),
    )


def _distance(y: Float64Array, exact: Float64Array) -> Float64Array:
    return np.abs(y - exact)


def _evaluated(table: Table, points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The points as inputs of the table and its results there, both in reals."""
    y = np.empty(points.shape, table.result_dtype)
    if isinstance(table, QuantizedTable):
        x = Grid(table.dtype, table.scale).nearest(points).view(table.dtype)
        table.evaluate(x, y)
        return widened(x) * table.scale, widened(y) * table.out_scale
    x = points.astype(table.dtype)
    table.evaluate(x, y)
    return widened(x), widened(y)


def _named(name: str) -> Function:
    """The function of this name, where there is one."""
    try:
        return as_function(name)
    except ValueError as error:
        raise ValueError(f"give the function that the table of {name!r} stands for") from error


def _reference(function: str | Function | Reference) -> Function:
    """The function itself; the tails of a callable are of no interest here."""
    named = isinstance(function, str | Function)
    return as_function(function) if named else as_function(function, left=0.0, right=0.0)


def _is_of(table: Table, exact: Float64Array, error: Float64Array) -> bool:
    """Whether a table keeps to its own report with these errors: whether the function is its own.

    A report on float32 or float64 does not have every input, so there is some room; where results
    are cut off, or overflow, it says nothing. Its largest absolute error may come from rounding a
    huge result. It must not excuse one near zero, where the report's error in ulp is the limit.
    """
    reported = np.isfinite(error)
    largest = np.full_like(exact, table.report.max_abs)
    if isinstance(table, QuantizedTable):
        grid = Grid(table.out_dtype, table.out_scale)
        reported &= (grid.lowest < exact) & (exact < grid.highest)
    else:
        largest = np.minimum(largest, table.report.max_ulp * ulp(exact, table.dtype))
    allowed = 2 * largest + 2.0**-23 * np.abs(exact)
    return not (error > allowed)[reported].any()
