"""One entry per bit pattern: the table of a 16-bit dtype, correctly rounded for every input.

Derivation. A 16-bit dtype has 65,536 inputs, so f can be tabulated outright, each result rounded
once from the exact value. Most inputs need no entry, though. Close to zero f is its tangent to
within half an ulp, and far out it is x or a constant. So for either sign the table keeps a *window*
of magnitudes, counted in bit patterns, and one more entry for the constant:

    y = round(up(slope·x + intercept)), with the sign of x if f keeps it      |x| ≤ near
    y = results[place of x, or of the end of the window beyond which it is]   near < |x|
    y = x                                                   x > identity, and where x is NaN

"up" rounds the float32 value towards +∞ before it is rounded to nearest in 16 bits. That is for
ties: x/2 falls between two subnormals for every odd pattern, and there the exact value, a little
above x/2 for gelu-like functions, decides. With the intercept 2⁻¹⁴⁹ the float32 value is a little
above x/2 too, and the tie is no more. The intercept also settles the sign of f(±0).

`windows.py` says how the two windows lie in the table, and where in them x is.

Windows are found by comparing the rules with the correct results of all inputs, so every function
has a table: a function that no rule fits has windows over everything but ±0, which are always the
tangent's. So a function is refused whose values there differ by more than their signs.

`kernels/direct.cuh` is the device half. The NumPy half is one gather from all 65,536 results.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..accuracy import ErrorReport, correctly_rounded, error_report
from ..declaration import Function
from ..dtypes import BFLOAT16, FLOAT16, DType, all_inputs, as_dtype, widened
from .chunks import gather
from .floating import multiply_add
from .table import Table, check_values, read_only
from .windows import SIGN, WINDOWS, Windows, twice

Patterns: TypeAlias = NDArray[np.uint16]

TINY = 2.0**-149  # the smallest float32
_LARGEST_FLOAT16 = 0x7BFF  # that `near`, compared as a float16, may be

_PARAMETERS = np.dtype(
    [
        ("windows", WINDOWS),
        *(("identity", np.uint32), ("slope", np.float32), ("intercept", np.float32)),
        ("sign", np.uint32),
    ]
)


class _Tangent(NamedTuple):
    """What f is near zero; its sign is that of x where `signed`."""

    slope: float
    intercept: float
    signed: bool


class _Design(NamedTuple):
    """What the table keeps, and what holds beside it."""

    tangent: _Tangent
    windows: Windows
    identity: int


@dataclass(frozen=True, eq=False, repr=False)
class DirectTable(Table):
    """The correctly rounded result of every input of float16 or bfloat16.

    `results` holds the bit pattern of f(x) for every pattern of x; `slope` is f′(0). Make one with
    `cupylut.tabulate`.
    """

    kind: ClassVar[str] = "direct"

    name: str
    dtype: DType
    results: Patterns
    slope: float
    report: ErrorReport

    def __post_init__(self) -> None:
        read_only(self.results)

    @classmethod
    def build(cls, function: Function, dtype: DType) -> Self:
        """Tabulate a function; raises ValueError where that fails, or makes no table."""
        if dtype.itemsize != 2:
            raise ValueError(f"a direct table is for float16 or bfloat16, not for {dtype}")
        x = all_inputs(dtype)
        y = correctly_rounded(function, dtype)
        h = 2.0**-20
        table = cls(
            name=function.name,
            dtype=dtype,
            results=y.view(np.uint16),
            slope=float(function(h) - function(-h)) / (2 * h),
            report=error_report(function, x, y, even=x.size),
        )
        _ = table.entries  # made now: a function that has none is refused
        return table

    def __repr__(self) -> str:
        return f"DirectTable({self.name}, {self.dtype.name}, {self.entries.nbytes:,} bytes)"

    @property
    def struct(self) -> str:
        """DirectTable<Float16> or DirectTable<BFloat16>."""
        return f"DirectTable<{scalar(self.dtype)}>"

    @cached_property
    def entries(self) -> Patterns:
        """The results in the two windows, each with that of all numbers beyond it."""
        return read_only(self._design.windows.kept(self.results))

    @cached_property
    def parameters(self) -> NDArray[Any]:
        """struct DirectTable of `kernels/direct.cuh`."""
        tangent, windows, identity = self._design
        p = np.zeros(1, _PARAMETERS)
        p["windows"] = windows.struct()
        p["identity"], p["sign"] = twice(identity), twice(SIGN * tangent.signed)
        p["slope"], p["intercept"], _ = tangent
        return p

    def places(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """The number of the entry that the kernel reads for each x."""
        return self._design.windows.places(x)

    @cached_property
    def _design(self) -> _Design:
        """The design with the smallest windows, over all tangents."""
        reaches = [(tangent, self._reach(tangent)) for tangent in self._tangents()]
        designs = [self._beside(*each) for each in reaches if each[1] >= 0]
        if not designs:
            plus, minus = self.results[[0, SIGN]].view(self.dtype)
            raise ValueError(
                f"{self.name}(0) is {plus}, {self.name}(-0) is {minus}: a direct table has one "
                'value for both; take kind="full"'
            )
        return min(designs, key=lambda design: design.windows.size)

    def _beside(self, tangent: _Tangent, reach: int) -> _Design:
        near = min(reach, _LARGEST_FLOAT16)
        last = self._infinity
        positive, negative = self.results[: last + 1], self.results[SIGN : SIGN + last + 1]
        high = _agreement(positive, np.full_like(positive, positive[-1]))
        itself = _agreement(positive, np.arange(last + 1, dtype=np.uint16))
        minus_high = _agreement(negative, np.full_like(negative, negative[-1]))
        identity = last
        if itself <= high:
            high = itself
            identity = max(near, itself - 1)
        windows = Windows(near, max(high, near + 1), max(minus_high, near + 1))
        return _Design(tangent, windows, identity)

    @property
    def _infinity(self) -> int:
        """The pattern of +inf; larger magnitudes are NaN."""
        return int(np.array(np.inf, self.dtype).view(np.uint16))

    def _tangents(self) -> list[_Tangent]:
        """What the tangent at zero may be computed with."""
        at_zero = float(self.results[:1].view(self.dtype)[0])
        signed = bool(self.results[0] != self.results[SIGN])
        if at_zero != 0:
            return [_Tangent(0.0, at_zero, signed)]
        slope = float(np.float32(self.slope))
        return [_Tangent(slope, intercept, signed) for intercept in (TINY, 0.0)] + [
            _Tangent(slope, intercept, signed=False) for intercept in (-0.0, -TINY)
        ]

    def _reach(self, tangent: _Tangent) -> int:
        """The magnitude up to which a tangent gives the correct results, of either sign.

        −1 if it does not at zero.
        """
        magnitudes = []
        for sign in (0, SIGN):
            inputs = all_inputs(self.dtype)[sign : sign + self._infinity]
            with np.errstate(all="ignore"):
                up = multiply_add(tangent.slope, widened(inputs), tangent.intercept, up=True)
                ruled = up.astype(self.dtype).view(np.uint16)
            if tangent.signed:
                ruled = (ruled & ~np.uint16(SIGN)) | np.uint16(sign)
            wrong = ruled != self.results[sign : sign + self._infinity]
            magnitudes.append(int(np.argmax(wrong)) if wrong.any() else self._infinity)
        return min(magnitudes) - 1

    def evaluate(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the table's values at x into out; both 1-D, of the table's dtype."""
        gather(self.results, x, out)

    def _state(self) -> tuple[dict[str, Any], Patterns]:
        return {"name": self.name, "dtype": self.dtype.name, "slope": self.slope}, self.results

    @classmethod
    def _restore(cls, fields: dict[str, Any], values: NDArray[Any]) -> Self:
        check_values(values, np.uint16, 65536)
        return cls(
            name=str(fields["name"]),
            dtype=as_dtype(fields["dtype"], (FLOAT16, BFLOAT16)),
            results=values,
            slope=float(fields["slope"]),
            report=ErrorReport(**fields["report"]),
        )


def scalar(dtype: DType) -> str:
    """The C++ type of a 16-bit dtype."""
    return "Float16" if dtype == np.float16 else "BFloat16"


def _agreement(a: Patterns, b: Patterns) -> int:
    """The index from which on the two are equal."""
    return a.size - int(np.argmin(np.append((a == b)[::-1], False)))
