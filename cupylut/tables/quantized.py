"""One entry per input pattern where the input or the result has 8 bits: int8, float8, and a scale.

Derivation. An array q of a narrow dtype and a number, its scale, stand for the reals scale·q. What
f makes of them, as such an array again, is

    y = round(f(scale·q) / out_scale)

rounded once from the exact value, to nearest even, and cut off at the ends of y's dtype
(`grid.py`). Dequantising, the function and quantising are then one lookup. 8 bits have 256 inputs:

    y = results[q]

Of the 65,536 inputs of 16 bits most need no entry. With results as coarse as 8 bits f is constant
close to zero, and so it is, or cut off, far out. The table keeps a window of magnitudes m = |q|,
counted in bit patterns, the negative ones before the positive ones, and the result of NaN behind:

    i = max(m − first, 0)                distance from where the windows begin
    i = clamp(q < 0 ? −1 − i : i, lowest, highest)
    y = results[m > infinity ? highest + 1 : i]

where results[0] is the first of the positive ones. A function that is never constant, such as
cos, has windows over everything.

256 results of 8 bits are two words in each of a GPU's 32 banks of shared memory, so that a warp
reads them in two passes whatever its inputs are.

`kernels/quantized.cuh` is the device half. The NumPy half gathers from the results of all inputs;
with 8 bits from those of all pairs of inputs, two at a time.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..accuracy import UNMEASURED, ErrorReport
from ..declaration import Float64Array, Function
from ..dtypes import BFLOAT16, EIGHT_BIT, FLOAT16, DType, all_inputs, as_dtype, widened
from ..ties import beside_lines
from .chunks import gather
from .grid import Grid
from .table import Table, check_values, read_only
from .windows import SIGN

Patterns: TypeAlias = NDArray[np.unsignedinteger]

QUANTIZED: tuple[DType, ...] = (*EIGHT_BIT, FLOAT16, BFLOAT16)
"""The dtypes that a quantised table may have on either side."""

_WINDOWS = np.dtype([(name, np.int32) for name in ("first", "infinity", "lowest", "highest")])


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedTable(Table):
    """The result of every input, where the input or the result has 8 bits; rounded once.

    `results` holds the bit pattern of round(f(scale·q) / out_scale) for every pattern of q. Make
    one with `cupylut.quantized`, which says how it rounds.
    """

    kind: ClassVar[str] = "quantized"
    entry_point: ClassVar[str | None] = "quantized"

    name: str
    dtype: DType
    out_dtype: DType
    scale: float
    out_scale: float
    results: Patterns
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.results)

    @classmethod
    def build(
        cls, function: Function, dtype: DType, out_dtype: DType, scale: float, out_scale: float
    ) -> Self:
        """Tabulate a function; raises ValueError where it is NaN for a number."""
        if dtype not in EIGHT_BIT and out_dtype not in EIGHT_BIT:
            raise ValueError(
                f"neither {dtype} nor {out_dtype} has 8 bits: cupylut.tabulate makes tables for "
                "float16 and bfloat16"
            )
        scale, out_scale = as_scale("scale", scale), as_scale("out_scale", out_scale)
        with np.errstate(invalid="ignore"):  # NaN that signals
            x = widened(all_inputs(dtype)) * scale
        exact = beside_lines(function, x, function(x))
        failed = np.isnan(exact) & ~np.isnan(x)
        if failed.any():
            raise ValueError(
                f"{function.name}({x[failed][0]:g}) is NaN: give a function of every number"
            )
        grid = Grid(out_dtype, out_scale)
        results = grid.nearest(exact)
        report = quantized_report(x, exact, results, grid)
        return cls(function.name, dtype, out_dtype, scale, out_scale, results, report)

    def __repr__(self) -> str:
        return (
            f"QuantizedTable({self.name}, {self.dtype.name} · {self.scale:g} to "
            f"{self.out_dtype.name} · {self.out_scale:g}, {self.entries.nbytes:,} bytes)"
        )

    @property
    def result_dtype(self) -> DType:
        """The dtype of the results."""
        return self.out_dtype

    @property
    def struct(self) -> str:
        """QuantizedTable<patterns of the input, patterns of the result>."""
        scalars = {1: "unsigned char", 2: "unsigned short"}
        return f"QuantizedTable<{scalars[self.dtype.itemsize]}, {scalars[self.out_dtype.itemsize]}>"

    @cached_property
    def entries(self) -> Patterns:
        """The results of all 8-bit inputs, or those inside the windows of the 16-bit ones."""
        if self.dtype.itemsize == 1:
            return self.results
        first, infinity, lowest, highest = (int(value) for value in self.parameters[0])
        windows = (
            self.results[SIGN + first : SIGN + first - lowest][::-1],
            self.results[first : first + highest + 1],
            self.results[infinity + 1 : infinity + 2],
        )
        entries = np.concatenate(windows)
        return read_only(np.append(entries, entries[: entries.nbytes % 2]))  # of even bytes

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct QuantizedTable of `kernels/quantized.cuh`: for 8-bit inputs an empty one."""
        if self.dtype.itemsize == 1:
            return np.zeros(1, np.uint8)
        infinity = int(np.array(np.inf, self.dtype).view(np.uint16))
        sides = self.results[: infinity + 1], self.results[SIGN : SIGN + infinity + 1]
        changes = [np.flatnonzero(side[1:] != side[:-1]) for side in sides]
        first = min(int(change[0]) if change.size else infinity for change in changes)
        # The last change leads to what is constant from there on.
        last = [int(change[-1]) + 1 if change.size else first for change in changes]
        return np.array([(first, infinity, first - last[1] - 1, last[0] - first)], _WINDOWS)

    @cached_property
    def _pairs(self) -> Patterns:
        """The two results of every pair of 8-bit inputs, the first in the low bits."""
        first = np.tile(self.results, 256)
        both = np.stack([first, np.repeat(self.results, 256)], axis=-1)
        return both.view(f"u{2 * self.results.itemsize}").ravel()

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Which of the entries the kernel reads for each x."""
        patterns = x.view(f"u{x.itemsize}").astype(np.int64)
        if x.itemsize == 1:
            return patterns
        first, infinity, lowest, highest = (int(value) for value in self.parameters[0])
        magnitude = patterns % SIGN
        place = np.maximum(magnitude - first, 0)
        place = np.clip(np.where(patterns < SIGN, place, -1 - place), lowest, highest)
        return np.where(magnitude > infinity, highest + 1, place) - lowest

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of the table's dtypes."""
        even = x.size - x.size % 2 if self.dtype.itemsize == 1 else 0
        if even:
            gather(self._pairs, x[:even].view(np.uint16), out[:even])
        gather(self.results, x[even:], out[even:])

    def _state(self) -> tuple[dict[str, Any], Patterns]:
        state = {"name": self.name, "dtype": self.dtype.name, "out_dtype": self.out_dtype.name}
        scales = {"scale": self.scale, "out_scale": self.out_scale}
        return state | scales, self.results

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        dtype, out_dtype = (as_dtype(fields[key], QUANTIZED) for key in ("dtype", "out_dtype"))
        check_values(values, f"u{out_dtype.itemsize}", 256**dtype.itemsize)
        return cls(
            name=str(fields["name"]),
            dtype=dtype,
            out_dtype=out_dtype,
            scale=as_scale("scale", fields["scale"]),
            out_scale=as_scale("out_scale", fields["out_scale"]),
            results=values,
            report=ErrorReport(**fields["report"]),
        )


def as_scale(name: str, scale: float) -> float:
    """The scale as a float32 number, or a ValueError that says what one is."""
    try:
        with np.errstate(over="ignore"):
            number = float(np.float32(float(scale)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={scale!r}: give one number for the whole array") from error
    if not np.finfo(np.float32).tiny <= number < np.inf:
        raise ValueError(f"{name}={scale!r}: give a positive number that float32 can hold")
    return number


def quantized_report(
    x: Float64Array, exact: Float64Array, results: Patterns, grid: Grid
) -> ErrorReport:
    """The report on results for inputs x; errors are of those whose exact value is in range."""
    right = results == grid.nearest(exact)
    special_values = right[~np.isfinite(x) | (x == 0)].all()
    # Every input once, in ascending order.
    once = np.unique(x, return_index=True)[1]
    once = once[np.isfinite(x[once])]
    once = once[(grid.lowest < exact[once]) & (exact[once] < grid.highest)]
    x, exact, right = x[once], exact[once], right[once]
    y = widened(results[once].view(grid.dtype)) * grid.scale
    error = np.abs(y - exact)
    in_ulp = error / grid.spacing(exact)
    if not once.size:
        return UNMEASURED
    return ErrorReport(
        max_abs=float(error.max()),
        max_abs_at=float(x[np.argmax(error)]),
        mean_abs=float(error.mean()),
        rms=float(np.sqrt(np.mean(error**2))),
        max_ulp=float(in_ulp.max()),
        max_ulp_at=float(x[np.argmax(in_ulp)]),
        points=x.size,
        misrounded=int((~right).sum()),
        above_half_ulp=int((in_ulp > 0.5).sum()),
        above_one_ulp=int((in_ulp > 1).sum()),
        above_two_ulp=int((in_ulp > 2).sum()),
        monotonicity_breaks=int((np.diff(y) * np.diff(exact) < 0).sum()),
        special_values=bool(special_values),
    )
