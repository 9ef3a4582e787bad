"""Polynomials on segments, for any function: within 2 ulp of it, or what the table says.

Derivation. Either sign of x has its own table over a = |x|, a `Side`, and 0 goes with the left one
unless the table is `closed`, as it is where f jumps at 0 and f(0) belongs to the right:

    f(x) = intercept + slope·a + scale·m·P(a),   m = a if f(0) = 0, else 1

The line is what f approaches on that side, so that P only has to describe the rest, and exactly
nothing of it is left at infinity. m = a keeps relative accuracy around a zero at x = 0. `scale`, a
power of two with a sign, keeps the coefficients normal numbers where results are subnormal. Where
f is symmetric the two sides share their entries, with q for the function on the left:

    gate        f(x) = q(a) for x < 0, a + q(a) for x ≥ 0
    odd         f(x) = −q(a),          q(a), here q is the function on the right
    complement  f(x) = q(a),           1 − q(a)
    even        f(x) = q(a),           q(a), as for odd

P is a polynomial on each segment of a. The segments are those of a floating-point format: with
u = a + offset, the number of the segment is the leading bits of u. As long as offset exceeds a they
are of one width, as exponential tails need it; far above the offset there are equally many in each
octave, as algebraic tails need it, up to the largest number. With a negative offset |u| falls, and
there are equally many in each octave on the way to −offset, as Gaussian tails need it, which are
the steeper the farther out. Shifted back, the number and a 1 behind it are the middle of the
segment in u. With d = a − (middle − offset), and with `rest` for what c0 lost when it was rounded,

    r = rest + d·(c1 + d·(c2 + …))     small beside c0
    m·P = m·c0 + m·r                   one fused multiply-add
    f = slope·a + (intercept + scale·m·P)

The last segment holds the tail, and a stays there, at `limit`. The roundings of r
hardly count since r is small, and that of m·P in full only where the line adds nothing to it.

`fitting/polynomial.py` finds layout and coefficients, `kernels/polynomial.cuh` is the device half.
The NumPy half below computes P in float64 without fused operations, and in float32 takes cubics
made from that in most places (`cubics.py`). So it may differ from the kernel in the last bit; both
keep the promise.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..accuracy import ErrorReport, probe_points
from ..declaration import Float64Array, Function
from ..dtypes import DType, as_dtype
from .cubics import CHUNK, Cubics
from .segments import Layout
from .shipped import shipped
from .table import Table, check_values, read_only

TOLERANCE = 1 / 2  # in ulp, of the NumPy half's cubics

_REALS = tuple(np.dtype(t) for t in (np.float32, np.float64))


@dataclass(frozen=True)
class Side:
    """How f comes from P for one sign of x; entries begin at `entry`, by segments' numbers."""

    layout: Layout
    scale: float
    slope: float
    intercept: float
    entry: int

    @property
    def reach(self) -> float:
        """Where a ends in the line: nowhere, but 0·∞ is NaN."""
        return self.layout.limit if self.slope == 0 else np.inf

    @property
    def first(self) -> int:
        """The lowest number of a segment, less the place of its entry."""
        return self.layout.first - self.entry


@dataclass(frozen=True, eq=False, repr=False)
class PolynomialTable(Table):
    """Polynomials of one degree, at most 2 ulp from the function on `domain`; see `tabulate`.

    The promise: |table(x) − f(x)| ≤ 2·max(ulp of f(x), `floor`) for x in `domain`, and
    ≤ `tail_error` outside, where the table is the tail of f. `floor` is 0 unless f is zero
    elsewhere than at 0. `worst_ulp` is the largest error of the kernel that was met, in ulp, or in
    floors where these are larger. If the table was made for an `error`, the promise is
    |table(x) − f(x)| ≤ error for every x, and `worst_ulp` is in units of it. Not counted then are
    the rounding of sloped tails, and in float64 the 2 ulp by which the reference itself may be off.

    `rows` are the segments: c0, rest, c1, c2, … of P/scale, numbers of the dtype in float64.
    """

    kind: ClassVar[str] = "polynomial"

    name: str
    dtype: DType
    product: bool
    closed: bool
    left: Side
    right: Side
    rows: Float64Array
    domain: tuple[float, float]
    tail_error: float
    floor: float
    error: float | None
    worst_ulp: float
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.rows)

    @classmethod
    def build(cls, function: Function, dtype: DType, error: float | None = None) -> Self:
        """A small table that keeps the promise, or the smallest off by `error` at most.

        Where no table of 2 ulp comes with the library, the float64 reference does not tell what
        2 ulp are in float64: there `error` is 1e-13 if left out, or 1e-14 of the size of f, the
        largest of its constant tails and its values on [−1, 1], if that is more.

        Raises ValueError where none of 48 KB or less does, saying how near the best came; and
        where f is not a number, or does not approach its tail.
        """
        if dtype not in _REALS:
            raise ValueError(f"polynomial tables are for float32 and float64, not {dtype.name}")
        if error is not None and not error > 0:
            raise ValueError(f"error={error!r}: give a positive number")
        found = shipped(cls.kind, function, dtype) if error is None else None
        if found is not None:
            fields, words = found
            return cls._restore(fields, words.view(dtype))
        from ..fitting.polynomial import fit  # which needs this class

        table = fit(function, dtype, error)
        assert isinstance(table, cls)
        return table

    @property
    def segments(self) -> int:
        """How many segments there are; unused rows may lie between those of either sign."""
        sides = self.left, self.right
        return sum({side.entry: side.layout.count for side in sides}.values())

    @property
    def degree(self) -> int:
        """The degree of the polynomials."""
        return int(self.rows.shape[1]) - 2

    def __repr__(self) -> str:
        (lo, hi), promise = self.domain, "within 2 ulp"
        if self.floor:
            promise += f" or {2 * self.floor:.2g}"
        if np.isfinite([lo, hi]).any():
            promise += f" on [{lo:.4g}, {hi:.4g}], {self.tail_error:.2g} beyond"
        if self.error is not None:
            beside = " or 2 ulp" if self.dtype.itemsize == 8 else ""
            promise = f"error at most {self.error:.3g}{beside}"
        return (
            f"PolynomialTable({self.name}, {self.dtype.name}, {self.segments} segments of degree "
            f"{self.degree}, {promise})"
        )

    @property
    def struct(self) -> str:
        """PolynomialTable<float or double, degree, product, closed>."""
        real = "float" if self.dtype.itemsize == 4 else "double"
        flags = f"{self.product}, {self.closed}".lower()
        return f"PolynomialTable<{real}, {self.degree}, {flags}>"

    @cached_property
    def entries(self) -> NDArray[Any]:
        """struct Segment of `kernels/polynomial.cuh`: c0, c1, …, rest."""
        order = [0, *range(2, self.degree + 2), 1]
        return read_only(self.rows[:, order].astype(self.dtype))

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct PolynomialTable of `kernels/polynomial.cuh`."""
        real = self.dtype.type
        numbers = ("limit", "offset", "scale", "slope", "intercept", "reach")
        words = ("shift", "first")
        side = np.dtype([*((n, real) for n in numbers), *((n, np.uint32) for n in words)])
        p = np.zeros(1, np.dtype([("left", side), ("right", side), ("keep", real)], align=True))
        for name, s in (("left", self.left), ("right", self.right)):
            p[name]["limit"], p[name]["offset"] = s.layout.limit, s.layout.offset
            p[name]["scale"], p[name]["reach"] = s.scale, s.reach
            p[name]["slope"], p[name]["intercept"] = s.slope, s.intercept
            p[name]["shift"] = s.layout.shift
            p[name]["first"] = s.first % 2**32
        p["keep"] = 0 if self.product else -1
        return p

    @cached_property
    def _pairs(self) -> NDArray[np.complex128]:
        """The rows in pairs, shape (pairs, count): a complex number costs one gather."""
        rows = np.pad(self.rows, ((0, 0), (0, self.rows.shape[1] % 2)))
        return np.ascontiguousarray(rows.view(np.complex128).T)

    @cached_property
    def _cubics(self) -> Cubics:
        return Cubics(self.exactly, TOLERANCE, self.floor)

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Which of the entries the kernel reads for each x."""

        def of(side: Side) -> NDArray[np.int64]:
            a = np.fmin(np.abs(x), self.dtype.type(side.layout.limit))
            return side.layout.number(a) - side.first

        return np.where(self.on_right(x), of(self.right), of(self.left))

    def on_right(self, x: Any) -> Any:
        """Whether numbers, of NumPy or JAX, are on the right side."""
        return x >= 0 if self.closed else x > 0

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of the table's dtype."""
        # Coarse tables have jumps that cubics do not reproduce within a part of an ulp.
        if self.dtype.itemsize == 4 and self.error is None:
            self._cubics.evaluate(x, out)
        else:
            self.exactly(x, out)

    def exactly(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """`evaluate` by the coefficients themselves, in float64; out may be of float64."""
        evaluator = _Evaluator(self, self._pairs, min(x.size, CHUNK))
        with np.errstate(all="ignore"):
            for i in range(0, x.size, CHUNK):
                evaluator.run(x[i : i + CHUNK], out[i : i + CHUNK])

    def measured(self, function: Function, beyond: bool = False) -> Self:
        """The table with its report on the domain; or with one on the rest added."""
        lo, hi = -min(self.left.layout.limit, 1024), min(self.right.layout.limit, 1024)
        suspects = [
            sign * a
            for sign, side in ((-1, self.left), (1, self.right))
            for a in (side.layout.middles(), side.layout.around_starts())
        ]
        x, even = probe_points(self.dtype, lo, hi, np.concatenate(suspects))
        outside = np.isfinite(x) & ((x < self.domain[0]) | (x > self.domain[1]))
        x = x[outside == beyond]
        if not x.size:
            return self
        table = self.reported(function, x, x.size if beyond else even)
        return table.annotated(report=self.report.and_beyond(table.report)) if beyond else table

    def _state(self) -> tuple[dict[str, Any], NDArray[Any]]:
        names = ("name", "product", "closed", "domain", "tail_error", "floor", "error", "worst_ulp")
        fields = {name: getattr(self, name) for name in names} | {"dtype": self.dtype.name}
        for name, side in (("left", self.left), ("right", self.right)):
            fields[name] = asdict(side)
            layout = fields[name].pop("layout")
            fields[name] |= {key: layout[key] for key in ("offset", "bits", "limit")}
        return fields, self.rows.astype(self.dtype)

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        dtype = as_dtype(fields["dtype"], _REALS)
        check_values(values, dtype, None, None)
        if values.shape[1] < 3:
            raise ValueError(f"{values.shape[1]} numbers a row are no polynomial: c0, rest, c1, …")

        def side(name: str) -> Side:
            numbers = {key: float(number) for key, number in fields[name].items()}
            offset, bits, limit = (numbers.pop(key) for key in ("offset", "bits", "limit"))
            layout = Layout(dtype, offset, int(bits), limit)
            entry = int(numbers.pop("entry"))
            # Of another sign, a + offset would have numbers far below those of the segments.
            laid_out = limit > 0 and (0 <= offset < np.inf or limit <= -offset < np.inf)
            if not (laid_out and 0 < layout.shift < 32):
                raise ValueError(f"the segments of the {name} side cannot be laid out: {layout}")
            if not 0 <= entry <= len(values) - layout.count:
                raise ValueError(
                    f"{layout.count} segments of the {name} side are not among {len(values)} rows"
                )
            return Side(layout, entry=entry, **numbers)

        lo, hi = fields["domain"]
        return cls(
            name=str(fields["name"]),
            dtype=dtype,
            product=bool(fields["product"]),
            closed=bool(fields.get("closed", False)),
            left=side("left"),
            right=side("right"),
            rows=values.astype(np.float64),
            domain=(float(lo), float(hi)),
            tail_error=float(fields["tail_error"]),
            floor=float(fields["floor"]),
            error=fields["error"],
            worst_ulp=float(fields["worst_ulp"]),
            report=ErrorReport(**fields["report"]),
        )


class _Evaluator:
    """The steps of the derivation above on one chunk, without a branch; P in float64."""

    def __init__(self, table: PolynomialTable, pairs: NDArray[Any], chunk: int) -> None:
        self.table, self.pairs = table, pairs
        real = table.dtype
        self.index = np.empty(chunk, np.intp)
        self.pair = np.empty(chunk, np.complex128)
        self.a, self.u = np.empty((2, chunk), real)
        self.number = np.empty(chunk, f"u{real.itemsize}")
        self.d, self.sum = np.empty((2, chunk))

    def run(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """out = table(x) for a chunk; x and out may be the same memory."""
        n, table, real = x.size, self.table, self.table.dtype.type
        index, pair, number = self.index[:n], self.pair[:n], self.number[:n]
        a, u, d, total = self.a[:n], self.u[:n], self.d[:n], self.sum[:n]
        on_right = table.on_right(x)

        def pick(of: Callable[[Side], float], kind: type[Any] = real) -> Any:
            """A number of the side that each x is on; one for all where they agree."""
            left, right = kind(of(table.left)), kind(of(table.right))
            return left if left == right else np.where(on_right, right, left)

        np.abs(x, out=a)
        kept = np.flatnonzero(~(a > (0 if table.product else -1)))
        special = x[kept]
        np.fmin(a, pick(lambda side: side.reach), out=u)
        line = pick(lambda side: float(real(side.slope)), np.float64) * u

        np.fmin(a, pick(lambda side: side.layout.limit), out=a)  # NaN too becomes the limit
        np.add(a, pick(lambda side: side.layout.offset), out=u)
        dropped = pick(lambda side: side.layout.dropped, number.dtype.type)
        np.right_shift(u.view(number.dtype), dropped, out=number)
        index[...] = number
        index -= pick(lambda side: side.first, np.intp)
        np.left_shift(number, dropped, out=number)
        number |= pick(lambda side: side.layout.middle_bit, number.dtype.type)
        np.subtract(number.view(real), pick(lambda side: side.layout.offset), out=u)
        np.subtract(a, u, out=d)

        # "wrap" is only the fastest mode: every index is in range.
        for i in range(len(self.pairs) - 1, 0, -1):
            self.pairs[i].take(index, out=pair, mode="wrap")
            if i == len(self.pairs) - 1:
                total[...] = pair.imag
            else:
                total *= d
                total += pair.imag
            total *= d
            total += pair.real
        self.pairs[0].take(index, out=pair, mode="wrap")
        total *= d
        total += pair.imag
        total += pair.real
        if table.product:
            total *= a
        total *= pick(lambda side: side.scale, np.float64)
        total += pick(lambda side: side.intercept)
        total += line
        out[...] = total
        out[kept] = special
