"""Polynomials of a root of the gate: correctly rounded 16-bit results from half a kilobyte.

Derivation. With a = |x| and q(a) = f(−a)/(−a), every function of "gate" symmetry is

    f(x) = max(x, 0) − a·q(a).

From `limit` on f rounds to x or to −0, so a may stay there, which makes f(∞) = ∞ and f(−∞) = −0.
q falls by up to 40 decades on the way. Its root p = q^(1/2ⁿ) falls so slowly that polynomials of
degree 2 or 3 in 32 segments follow it:

    t = min(|x|, limit)
    k = bits(t·scale + offset) >> shift, counted from the first segment
    p = c0 + t·(c1 + t·(c2 + t·c3))
    y = round(up(max(x, −0) − t·p^(2ⁿ)))

Every step is one float32 operation. Where offset is 2 and shift 0, the last bit of t·scale + offset
is worth 2⁻²² for all t, and the segments are equally wide. With a larger shift they grow like the
spacing of floating-point numbers does: silu is curved near 0 and has a long tail. The polynomials
are in t and not in its distance from a segment's centre. That saves two operations; the roundings
of Horner's scheme then weigh more, the more so the larger t is, and float32 has 13 bits more than
float16 to spare for that, and 16 more than bfloat16.

"up" rounds towards +∞ before y is rounded to nearest in 16 bits. That is for ties: x/2 falls
between two subnormals for every odd pattern, the exact value is a little above x/2, and so is y.

A result is right when p lies in an interval that follows from the neighbours of f(x). The
coefficients of a segment solve these inequalities for all its inputs, by linear programming, and
the results of all 65,536 inputs are compared after every float32 rounding: the method of Lim and
Nagarakatte, "High performance correctly rounded math libraries for 32-bit floating point
representations" (PLDI 2021). `fitting/compact.py` does it.

Coefficients of the same power are neighbours in memory, 32 words of 4 bytes: as many as a GPU's
shared memory has banks, so a warp reads 32 of them at once whatever its inputs are.

`kernels/compact.cuh` is the device half. The NumPy half is one gather from all 65,536 results, as
for a direct table: both give the correctly rounded result, so they agree.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..accuracy import ErrorReport
from ..declaration import Float64Array, Function
from ..dtypes import DType, all_inputs, as_dtype, widened
from ..functions import FUNCTIONS
from .chunks import gather
from .direct import DirectTable, Patterns
from .floating import Float32Array, multiply_add
from .shipped import is_shipped, shipped
from .table import Table, check_values, read_only

SEGMENTS = 32  # a word in each bank of shared memory

_PARAMETERS = np.dtype(
    [*((name, np.float32) for name in ("limit", "scale", "offset")), ("first", np.uint32)]
)


@dataclass(frozen=True)
class Layout:
    """Where the segments lie, and that q is p squared `squarings` times."""

    limit: float
    scale: float
    offset: float
    shift: int
    squarings: int

    @property
    def first(self) -> int:
        """The shifted bits of t·scale + offset at t = 0: those of the first segment."""
        return int(np.float32(self.offset).view(np.uint32)) >> self.shift

    def segment(self, t: ArrayLike) -> NDArray[np.int64]:
        """The segment that the kernel finds for float32 magnitudes up to the limit."""
        position = multiply_add(t, np.float32(self.scale), np.float32(self.offset))
        patterns = np.ascontiguousarray(position).view(np.uint32)
        return (patterns >> self.shift).astype(np.int64) - self.first


def gate(coefficients: Float32Array, squarings: int, t: Float64Array) -> Float32Array:
    """q(t) as the kernel computes it, with coefficients c0, c1, … along the last axis."""
    *lower, p = np.moveaxis(coefficients, -1, 0)
    for c in reversed(lower):
        p = multiply_add(p, t, c)
    for _ in range(squarings):
        p = p * p
    return np.asarray(p)


def simulate(layout: Layout, coefficients: Float32Array, x: NDArray[Any]) -> NDArray[Any]:
    """The kernel's results for finite numbers of a 16-bit dtype, to the bit."""
    wide = widened(x)
    t = np.minimum(np.abs(wide), layout.limit)
    q = gate(coefficients[layout.segment(t)], layout.squarings, t)
    y = multiply_add(-t, q, np.where(wide < 0, -0.0, wide), up=True)
    return y.astype(x.dtype)


@dataclass(frozen=True, eq=False, repr=False)
class CompactTable(Table):
    """A gate function by small polynomials, correctly rounded for every float16 or bfloat16.

    `coefficients` has a row c0, c1, … for each segment. `results` holds the bit pattern of f(x) for
    every pattern of x. Make one with `cupylut.tabulate`.
    """

    kind: ClassVar[str] = "compact"

    name: str
    dtype: DType
    layout: Layout
    coefficients: Float32Array
    results: Patterns
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.coefficients)
        read_only(self.results)

    @classmethod
    def is_fitted(cls, function: Function, dtype: DType) -> bool:
        """Whether the library comes with this table."""
        return is_shipped(cls.kind, function, dtype)

    @classmethod
    def build(cls, function: Function, dtype: DType) -> Self:
        """The table that was fitted for a function; raises ValueError where there is none."""
        found = shipped(cls.kind, function, dtype)
        if found is None:
            raise ValueError(f"no compact table was fitted for {function.name} in {dtype.name}")
        fields, words = found
        return cls._of(function, dtype, _layout(fields), words.view(np.float32))

    @classmethod
    def _of(
        cls, function: Function, dtype: DType, layout: Layout, coefficients: Float32Array
    ) -> Self:
        rounded = DirectTable.build(function, dtype)
        return cls(function.name, dtype, layout, coefficients, rounded.results, rounded.report)

    def __repr__(self) -> str:
        degree = self.coefficients.shape[1] - 1
        return (
            f"CompactTable({self.name}, {self.dtype.name}, {len(self.coefficients)} segments of "
            f"degree {degree}, {self.entries.nbytes} bytes)"
        )

    @property
    def struct(self) -> str:
        """CompactTable<degree, squarings, shift>."""
        degree = self.coefficients.shape[1] - 1
        return f"CompactTable<{degree}, {self.layout.squarings}, {self.layout.shift}>"

    @cached_property
    def entries(self) -> Float32Array:
        """The coefficients of each power for all segments, one power after the other."""
        planes = np.zeros((self.coefficients.shape[1], SEGMENTS), np.float32)
        planes[:, : len(self.coefficients)] = self.coefficients.T
        return read_only(planes.ravel())

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct CompactTable of `kernels/compact.cuh`."""
        p = np.zeros(1, _PARAMETERS)
        for name in ("limit", "scale", "offset", "first"):
            p[name] = getattr(self.layout, name)
        return p

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Which of the entries the kernel reads first for each x, a word of each power in turn."""
        return self.layout.segment(np.fmin(np.abs(widened(x)), self.layout.limit))

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of the table's dtype."""
        gather(self.results, x, out)

    def _state(self) -> tuple[dict[str, Any], Float32Array]:
        names = {"name": self.name, "dtype": self.dtype.name}
        return names | asdict(self.layout), self.coefficients

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        check_values(values, np.float32, None, None)
        function, dtype = FUNCTIONS[fields["name"]], as_dtype(fields["dtype"])
        table = cls._of(function, dtype, _layout(fields), values)
        table._check()
        return table

    def _check(self) -> None:
        """Raise ValueError where the kernel would not give the results, which are f's own here."""
        x = all_inputs(self.dtype)
        x = x[np.isfinite(widened(x))]
        count = 1 + int(self.places(x).max())
        if not len(self.coefficients) == count <= SEGMENTS:
            raise ValueError(f"{count} segments laid out, {len(self.coefficients)} given")
        if not 0 <= self.layout.squarings < 8:
            raise ValueError(f"{self.layout.squarings} squarings, where 1 to 5 are enough")
        with np.errstate(all="ignore"):
            found = simulate(self.layout, self.coefficients, x)
        if (found.view(np.uint16) != self.results[x.view(np.uint16)]).any():
            raise ValueError(f"the polynomials are not those of {self.name} in {self.dtype.name}")


def _layout(fields: dict[str, Any]) -> Layout:
    return Layout(**{key: of(fields[key]) for key, of in Layout.__annotations__.items()})
