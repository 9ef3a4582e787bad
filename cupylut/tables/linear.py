"""The paper's table: uniform nodes, linear interpolation, the function's tails outside [lo, hi].

Derivation. With N nodes x_i = lo + i·h, h = (hi − lo)/(N − 1), segment i is the straight line
through (x_i, y_i) and (x_i+1, y_i+1). It is stored as slope and intercept *in x*, y = m·x + b, not
as a value and a local coordinate: then x enters the result exactly, and the rounding of
(x − lo)/h, which would put a floor of about 1.5e-6 under large float32 tables, only decides which
line is taken, and near a node the neighbour's is as good: taken δ·h too far it is off by
f″h²·δ(1 + δ)/2, against f″h²/8 in the middle of a segment. Rounding m to the dtype would cost
|x|·ulp(m)/2; b is chosen after m, through the middle of the segment, so that it costs at most
h/2·ulp(m)/2.

The tails are two more lines, numbers 0 and N. So a result takes one index, one read of 8 bytes (16
in float64) and one multiply-add:

    u = saturate(x·scale + offset)          position in [0, 1], the tails included
    i = ⌊u·(N + 1/2)⌋                       number of the line
    y = m[i]·clamp(x, low, high) + b[i]     one fused multiply-add in float32
    y = x where x is NaN, or ±0 and f keeps it

Interpolation is off by h²/8·|f″| in the middle of a segment and exact at the nodes, always to the
same side. "balanced" nodes lie off the curve by a second difference / 16, that is f″h²/16, which
splits that error evenly and halves the worst.

`kernels/linear.cuh` is the device half; this one computes the same bits.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..accuracy import UNMEASURED, ErrorReport, probe_points
from ..declaration import Float64Array, Function, Tail, as_tail
from ..dtypes import FLOAT32, FLOAT64, DType, all_inputs, as_dtype, ulp, widened
from .chunks import CHUNK, gather
from .table import Table, check_values, read_only

Nodes: TypeAlias = Literal["plain", "balanced"]

MIN_SIZE, MAX_SIZE = 2, 65536


def node_positions(lo: float, hi: float, size: int) -> Float64Array:
    """The abscissae of `size` uniform nodes, computed as `kernels/build.cu` does.

    From the centre on, so that those of a symmetric domain are symmetric to the last bit.
    """
    steps = np.arange(size, dtype=np.float64) - (size - 1) / 2
    return lo / 2 + hi / 2 + steps * ((hi - lo) / (size - 1))


def node_values(function: Function, lo: float, hi: float, size: int, nodes: Nodes) -> Float64Array:
    """The ordinates of the nodes: f itself, or moved by f″h²/16 to balance the error."""
    x = node_positions(lo, hi, size)
    y = function(x)
    if nodes == "balanced" and size > 2:
        y[1:-1] -= (y[:-2] - 2 * y[1:-1] + y[2:]) / 16
    return y


def as_domain(domain: Any) -> tuple[float, float]:
    """The ends (lo, hi) of a domain, or a ValueError that says what was given instead."""
    try:
        lo, hi = (float(end) for end in domain)
    except (TypeError, ValueError):
        lo = hi = np.nan
    if not (np.isfinite([lo, hi]).all() and lo < hi):
        raise ValueError(f"domain={domain!r}: give two finite numbers, the lower one first")
    return lo, hi


def check_layout(lo: float, hi: float, size: int, nodes: Nodes) -> None:
    """Raise ValueError where these do not describe a table."""
    if not (isinstance(size, Integral) and MIN_SIZE <= size <= MAX_SIZE):
        raise ValueError(f"size={size!r}: a table has {MIN_SIZE} to {MAX_SIZE:,} nodes")
    as_domain((lo, hi))
    if nodes not in get_args(Nodes):
        raise ValueError(f"nodes={nodes!r}: choose one of {', '.join(get_args(Nodes))}")


@dataclass(frozen=True, eq=False, repr=False)
class LinearTable(Table):
    """Uniform nodes on [lo, hi], linear interpolation between them, straight tails outside.

    `values` are the ordinates of the nodes in float64; `left` and `right` are the tails, and
    `keeps_zero` says that f(±0) = ±0. Make one with `cupylut.tabulate`.
    """

    kind: ClassVar[str] = "linear"

    name: str
    dtype: DType
    lo: float
    hi: float
    nodes: Nodes
    values: Float64Array
    left: Tail
    right: Tail
    keeps_zero: bool
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.values)

    @classmethod
    def build(
        cls,
        function: Function,
        dtype: DType,
        lo: float,
        hi: float,
        size: int,
        nodes: Nodes = "plain",
    ) -> Self:
        """Tabulate a function; raises ValueError for a domain where it or its inputs overflow."""
        check_layout(lo, hi, size, nodes)
        left, right = function.tails
        values = node_values(function, lo, hi, size, nodes)
        if not np.isfinite(values).all():
            where = node_positions(lo, hi, size)[~np.isfinite(values)][0]
            raise ValueError(f"{function.name}({where:g}) is not finite: narrow the domain")
        table = cls(
            name=function.name,
            dtype=dtype,
            lo=float(lo),
            hi=float(hi),
            nodes=nodes,
            values=values,
            left=left,
            right=right,
            keeps_zero=function.keeps_zero,
            report=UNMEASURED,
        )
        x, even = probe_points(dtype, table.lo, table.hi, table.between_nodes(5))
        with np.errstate(over="ignore"):  # a constant tail is cut off one step out: see parameters
            cuts = np.array([lo - table.step, hi + table.step]).astype(table.real)
        if np.isinf(cuts).any() or np.isinf(widened(x[:even])).all():
            raise ValueError(f"domain=({lo:g}, {hi:g}) is too far out for {dtype}: narrow it")
        return table.reported(function, x, even)

    @property
    def size(self) -> int:
        """The number of nodes."""
        return self.values.size

    def between_nodes(self, points: int) -> Float64Array:
        """So many points of each segment, a row each: an odd number, with the middle among them."""
        x = node_positions(self.lo, self.hi, self.size)[:-1, None]
        return np.asarray(x + (np.arange(points) + 0.5) * (self.step / points))

    def largest_error(self, function: Function) -> float:
        """How far results on the domain may be off, as found by a search that the report spares.

        Of the worst segments thousands of inputs are tried, since how roundings meet is a matter of
        luck, and half an ulp is added for the others.
        """

        def errors(x: Float64Array) -> Float64Array:
            inputs = x.ravel().astype(self.dtype)
            y = np.empty_like(inputs)
            self.evaluate(inputs, y)
            exact = function(widened(inputs))
            return np.abs(widened(y) - exact).reshape(x.shape)

        each = errors(self.between_nodes(15)).max(axis=1)
        worst = np.argsort(each)[-16:, None]
        found = errors(self.lo + self.step * (worst + np.linspace(0, 1, 4096)))
        return float(found.max() + ulp(np.abs(self.values).max(), self.dtype) / 2)

    def __repr__(self) -> str:
        return (
            f"LinearTable({self.name}, {self.dtype.name}, {self.size} {self._nodes_word} on "
            f"[{self.lo:.4g}, {self.hi:.4g}])"
        )

    @property
    def _nodes_word(self) -> str:
        return "nodes" if self.nodes == "plain" else f"{self.nodes} nodes"

    @property
    def step(self) -> float:
        """The distance h between nodes."""
        return (self.hi - self.lo) / (self.size - 1)

    @property
    def centre(self) -> float:
        """The middle of the domain."""
        return self.lo / 2 + self.hi / 2

    @property
    def real(self) -> DType:
        """The dtype that results are computed in: float64 for float64, else float32."""
        return FLOAT64 if self.dtype.itemsize == 8 else FLOAT32

    @property
    def struct(self) -> str:
        """LinearTable<float, false>, or double, or true where the right tail is constant."""
        real = "double" if self.real.itemsize == 8 else "float"
        return f"LinearTable<{real}, {str(self.right.slope == 0).lower()}>"

    @cached_property
    def entries(self) -> NDArray[Any]:
        """The lines, shape (size + 1, 2): slope and intercept of the tails and the segments."""
        lines = np.empty((self.size + 1, 2), self.real)
        y, h = self.values, self.step
        lines[1:-1, 0] = (y[1:] - y[:-1]) / h
        steps = np.arange(self.size - 1) + 0.5 - (self.size - 1) / 2
        middle = self.centre + steps * h
        lines[1:-1, 1] = (y[1:] + y[:-1]) / 2 - lines[1:-1, 0].astype(np.float64) * middle
        lines[0], lines[-1] = self.left, self.right
        return read_only(lines)

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct LinearTable of `kernels/linear.cuh`."""
        real = self.real.type
        p = np.zeros(1, np.dtype([(n, real) for n in _PARAMETERS], align=True))
        p["width"] = self.width * _UNIT[self.real]
        p["scale"] = 1 / (self.step * self.width)
        p["offset"] = (1 - self.lo / self.step) / self.width
        # A constant tail is slope 0 times x: keep ±inf out of the product.
        p["low"] = self.lo - self.step if self.left.slope == 0 else -np.inf
        p["high"] = self.hi + self.step if self.right.slope == 0 else np.inf
        p["keep"] = 0 if self.keeps_zero else -1
        return p

    @property
    def width(self) -> float:
        """The number of the line at position 1, in the middle of the right tail to be safe."""
        return self.size + 0.5

    @cached_property
    def _results(self) -> NDArray[Any]:
        """For a 16-bit dtype, the result of every bit pattern."""
        y = all_inputs(self.dtype).astype(np.float32)
        with np.errstate(all="ignore"):
            self._run(y, y)
            return y.astype(self.dtype)

    @cached_property
    def _lines(self) -> NDArray[np.complex128]:
        """`entries` as complex numbers: a gather of pairs costs no more than one of floats."""
        return self.entries.astype(np.float64).view(np.complex128).ravel()

    def _run(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        evaluator = _Evaluator(self, self._lines, min(x.size, CHUNK))
        for i in range(0, x.size, CHUNK):
            evaluator.run(x[i : i + CHUNK], out[i : i + CHUNK])

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Which of the entries the kernel reads for each x."""
        p = self.parameters[0]
        with np.errstate(all="ignore"):
            position = np.float64(p["scale"]) * widened(x) + np.float64(p["offset"])
            position = np.nan_to_num(np.clip(position.astype(self.real), 0, 1)).astype(np.float64)
        return np.asarray(np.floor(position * self.width), np.int64)

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of the table's dtype."""
        if self.dtype.itemsize == 2:
            gather(self._results, x, out)
            return
        with np.errstate(all="ignore"):
            self._run(x, out)

    def _state(self) -> tuple[dict[str, Any], Float64Array]:
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        values = state.pop("values")
        del state["report"]
        return state | {"dtype": self.dtype.name}, values

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        check_values(values, np.float64, None)
        check_layout(fields["lo"], fields["hi"], values.size, fields["nodes"])
        return cls(
            name=str(fields["name"]),
            dtype=as_dtype(fields["dtype"]),
            lo=float(fields["lo"]),
            hi=float(fields["hi"]),
            nodes=fields["nodes"],
            values=values,
            left=as_tail(Tail(*fields["left"]), "left"),
            right=as_tail(Tail(*fields["right"]), "right"),
            keeps_zero=bool(fields["keeps_zero"]),
            report=ErrorReport(**fields["report"]),
        )


_PARAMETERS = ("scale", "offset", "width", "low", "high", "keep")

# What the kernel counts lines in: for float32 the unit in the last place of 2, see number() there.
_UNIT = {FLOAT32: 2.0**-22, FLOAT64: 1.0}


class _Evaluator:
    """The steps of the derivation above on one chunk, in NumPy.

    For float32 the kernel's fused multiply-adds are done in float64, where the product of two
    float32 is exact, and rounded to float32 after the sum. (That is two roundings. They differ
    from one where the float64 sum lies within 2⁻⁵³ of a float32 tie: about once in 10⁹ results.)
    For float64 the kernel does not fuse, and neither does this.
    """

    def __init__(self, table: LinearTable, lines: NDArray[np.complex128], chunk: int) -> None:
        self.lines = lines
        self.scale, self.offset, _, self.low, self.high, self.keep = (
            float(value) for value in table.parameters[0]
        )
        self.width = table.width
        self.index = np.empty(chunk, np.intp)
        self.position, self.x = np.empty(chunk), np.empty(chunk)
        self.rounded = np.empty(chunk, table.real)
        self.line = np.empty(chunk, np.complex128)

    def run(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """out = table(x) for a chunk; x and out may be the same memory."""
        n = x.size
        index, position, line = self.index[:n], self.position[:n], self.line[:n]
        wide, rounded = self.x[:n], self.rounded[:n]
        wide[...] = x
        np.abs(x, out=rounded)
        special = n > 0 and not (rounded.min() > 0 and rounded.max() < np.inf)  # ±0, ±inf or NaN

        np.multiply(wide, self.scale, out=position)
        position += self.offset
        rounded[...] = position
        np.clip(rounded, 0, 1, out=rounded)
        if special:
            rounded[np.isnan(rounded)] = 0
        position[...] = rounded
        position *= self.width
        index[...] = position
        # "wrap" is only the fastest mode: every index is in range.
        self.lines.take(index, out=line, mode="wrap")
        if special:
            kept = ~(np.abs(x) > self.keep)
            values = x[kept]
            np.clip(wide, self.low, self.high, out=wide)
        np.multiply(line.real, wide, out=position)
        position += line.imag
        out[...] = position
        if special:
            out[kept] = values
