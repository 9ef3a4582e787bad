"""Polynomials of degree 5 for the gate on |x|: at most 1 ulp from the function, on every float32.

Derivation. With a = |x| and q(a) = f(−a)/(−a), every function of "gate" symmetry is

    f(x) = max(x, 0) − a·q(a),

so one table of q serves both signs, and the relative error near 0 and the sign of 0 come out right.
q is a polynomial in each segment of u = a·max(a, split): far out q falls like e^(−a²/2) or e^(−a³),
so in a² it takes far fewer segments. Where split is beyond `limit`, they are all equally wide in a.
k, the nearest integer to u/step, is a segment's number. As step is a power of 2, k is in the last
bits of u + MAGIC·step, in one rounding. The local coordinate is d = u − k·step, and with e the rest
that c0 lost in rounding

    q(a)·2⁸⁰ = c0 + r,  r = e + d·(c1 + d·(c2 + d·(c3 + d·(c4 + d·c5))))
    z = a·c0 + a·r
    y = (x < 0 ? −0 : x) − z·2⁻⁸⁰

The factor 2⁸⁰ keeps the coefficients normal numbers where the result is a subnormal one. r is at
most a quarter of c0 or so, hence its roundings weigh little, and for x < 0 that of z is the only
one that counts in full. A segment takes 24 bytes: c0 … c4 and one word with c5 (16 bits) and e
(16 bits).

From `limit` on, a·q(a) < 2⁻¹⁵⁰ rounds to nothing: a stays there, which makes f(∞) = ∞, f(−∞) = −0.

`fitting/gate.py` finds the coefficients, `kernels/gate.cuh` is the device half. The NumPy half
takes the same coefficients in float64 and rounds once, or in most places cubics made from them
(`cubics.py`). So it is closer to the function and may differ from the kernel in the last bit; both
keep the promise.
"""

from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..accuracy import UNMEASURED, ErrorReport, probe_points
from ..declaration import Float64Array, Function
from ..dtypes import FLOAT32, DType, as_dtype
from .cubics import CHUNK, Cubics
from .shipped import is_shipped, shipped
from .table import Table, check_values, read_only

Words: TypeAlias = NDArray[np.uint32]

SCALE = 2.0**80  # of the coefficients
MAGIC = 1.5 * 2.0**23  # adding it in float32 rounds to an integer, which is then in the low bits
WORDS = 6  # of an entry
TOLERANCE = 1 / 8  # in ulp, of the NumPy half's cubics


@dataclass(frozen=True)
class Layout:
    """Where the segments lie: u = a·max(a, split), cut every `step`, a power of 2."""

    limit: float
    split: float
    step: float

    def coordinate(self, a: ArrayLike) -> Float64Array:
        """u of magnitudes a, exact for float32 ones."""
        a = np.asarray(a, np.float64)
        return np.asarray(a * np.maximum(a, self.split))

    def segment(self, a: ArrayLike) -> NDArray[np.int64]:
        """The segment number k of float32 magnitudes a."""
        return np.rint(self.coordinate(np.minimum(a, self.limit)) / self.step).astype(np.int64)

    @property
    def count(self) -> int:
        """How many segments there are."""
        return int(self.segment(self.limit)) + 1

    def meetings(self) -> Float64Array:
        """The magnitudes where one segment ends and the next begins, nearly."""
        u = (np.arange(self.count) + 0.5) * self.step
        return np.asarray(np.minimum(u / self.split, np.sqrt(u)))


def unpack(words: Words) -> tuple[Float64Array, Float64Array]:
    """The numbers in entries' words, shape (..., 6): c0 … c5, as many, and e."""
    words = np.ascontiguousarray(words)
    rest = np.left_shift(words[..., -1], np.uint32(16))
    return words.view(np.float32).astype(np.float64), rest.view(np.float32).astype(np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class GateTable(Table):
    """A gate function by polynomials of degree 5, within 1 ulp for every finite float32.

    `words` are the entries, six 32-bit words each. `worst_ulp` is the largest error of the kernel
    over all 2³² inputs; `report` is that of the NumPy half at fewer of them.
    """

    kind: ClassVar[str] = "gate"

    name: str
    dtype: DType
    layout: Layout
    words: Words
    worst_ulp: float
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.words)

    @classmethod
    def is_fitted(cls, function: Function, dtype: DType) -> bool:
        """Whether the library comes with this table."""
        return is_shipped(cls.kind, function, dtype)

    @classmethod
    def build(cls, function: Function, dtype: DType) -> Self:
        """The table that was fitted for a function; raises ValueError where there is none."""
        found = shipped(cls.kind, function, dtype)
        if found is None:
            raise ValueError(f"no gate table was fitted for {function.name} in {dtype.name}")
        fields, words = found
        worst_ulp = fields.pop("worst_ulp")
        layout = Layout(**fields)
        table = cls(
            function.name, dtype, layout, words.astype(np.uint32), worst_ulp, report=UNMEASURED
        )
        a = layout.meetings()
        return table.reported(function, *probe_points(dtype, -layout.limit, layout.limit, [-a, a]))

    def __repr__(self) -> str:
        return (
            f"GateTable({self.name}, {self.dtype.name}, {self.layout.count} segments, "
            f"at most {self.worst_ulp} ulp)"
        )

    @property
    def struct(self) -> str:
        """GateTable<false>, or true where all segments are equally wide in a."""
        return f"GateTable<{str(self.layout.split >= self.layout.limit).lower()}>"

    @cached_property
    def entries(self) -> NDArray[Any]:
        """struct Quintic of `kernels/gate.cuh` for every segment number."""
        return self.words.view(_ENTRY).ravel()

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct GateTable of `kernels/gate.cuh`."""
        layout = self.layout
        p = np.zeros(1, _PARAMETERS)
        p["limit"], p["split"], p["magic"] = layout.limit, layout.split, MAGIC * layout.step
        return p

    @cached_property
    def _pairs(self) -> NDArray[np.complex128]:
        """The coefficients of −q in pairs, shape (3, count): a complex number costs one gather."""
        c, rest = unpack(self.words)
        c[:, 0] += rest
        return np.ascontiguousarray((c / -SCALE).view(np.complex128).T)

    @cached_property
    def _cubics(self) -> Cubics:
        return Cubics(self.exactly, TOLERANCE)

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Which of the entries the kernel reads for each x."""
        return self.layout.segment(np.fmin(np.abs(x), np.float32(self.layout.limit)))

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of float32."""
        self._cubics.evaluate(x, out)

    def exactly(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """`evaluate` by the coefficients themselves, in float64; out may be of float64."""
        evaluator = _Evaluator(self.layout, self._pairs, min(x.size, CHUNK))
        with np.errstate(all="ignore"):
            for i in range(0, x.size, CHUNK):
                evaluator.run(x[i : i + CHUNK], out[i : i + CHUNK])

    def _state(self) -> tuple[dict[str, Any], Words]:
        fields = {"name": self.name, "dtype": self.dtype.name, "worst_ulp": self.worst_ulp}
        return fields | asdict(self.layout), self.words

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        dtype = as_dtype(fields["dtype"], (FLOAT32,))
        layout = Layout(**{key: float(fields[key]) for key in Layout.__annotations__})
        numbers = np.array(astuple(layout))
        with np.errstate(over="ignore"):
            exact = (numbers == numbers.astype(np.float32)) & (numbers > 0) & (numbers < np.inf)
        if not exact.all() or np.frexp(layout.step)[0] != 0.5:
            raise ValueError(f"{layout}: give positive numbers of float32, the step a power of 2")
        check_values(values, np.uint32, layout.count, WORDS)
        return cls(
            name=str(fields["name"]),
            dtype=dtype,
            layout=layout,
            words=values,
            worst_ulp=float(fields["worst_ulp"]),
            report=ErrorReport(**fields["report"]),
        )


_ENTRY = np.dtype(
    [(name, np.float32) for name in ("c0", "c1", "c2", "c3", "c4")] + [("c5_and_rest", np.uint32)]
)
_PARAMETERS = np.dtype([(name, np.float32) for name in ("limit", "split", "magic")])


class _Evaluator:
    """The steps of the derivation above on one chunk, in float64 and without a branch.

    The sign of a result is that of x, always, so it is put there at the end.
    """

    def __init__(self, layout: Layout, pairs: NDArray[np.complex128], chunk: int) -> None:
        self.layout, self.pairs = layout, pairs
        self.index = np.empty(chunk, np.intp)
        self.pair = np.empty(chunk, np.complex128)
        self.x, self.a, self.d, self.sum = np.empty((4, chunk))
        # np.fmin and np.maximum are several times slower with a scalar.
        self.limit, self.split = np.full(chunk, layout.limit), np.full(chunk, layout.split)

    def run(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """out = table(x) for a chunk; x and out may be the same memory."""
        n, layout = x.size, self.layout
        index, pair = self.index[:n], self.pair[:n]
        wide, a, d, total = self.x[:n], self.a[:n], self.d[:n], self.sum[:n]

        wide[...] = x
        np.abs(wide, out=a)
        np.fmin(a, self.limit[:n], out=a)  # NaN too becomes the limit
        np.maximum(a, self.split[:n], out=d)
        d *= a  # u, exactly
        np.multiply(d, 1 / layout.step, out=total)
        np.rint(total, out=total)
        index[...] = total
        total *= layout.step
        d -= total

        # "wrap" is only the fastest mode: every index is in range.
        self.pairs[2].take(index, out=pair, mode="wrap")
        np.multiply(pair.imag, d, out=total)
        total += pair.real
        for pairs in (self.pairs[1], self.pairs[0]):
            pairs.take(index, out=pair, mode="wrap")
            total *= d
            total += pair.imag
            total *= d
            total += pair.real
        total *= a
        np.maximum(wide, 0, out=a)
        total += a
        np.copysign(total, wide, out=total)
        out[...] = total
