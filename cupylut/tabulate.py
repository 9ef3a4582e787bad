"""tabulate() and quantized(): a function made into a table."""

from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from .calibration import Calibration
from .declaration import Function, Reference, Tail
from .dtypes import DType, as_dtype
from .names import as_function, is_known
from .search import Norm, reach, search
from .tables import (
    KINDS,
    SETTLED,
    CompactTable,
    DirectTable,
    GateTable,
    LinearTable,
    PolynomialTable,
    QuantizedTable,
    Table,
)
from .tables.linear import Nodes, as_domain
from .tables.quantized import QUANTIZED
from .tables.shared_memory import BLOCK_BYTES


@np.errstate(all="ignore")
def tabulate(
    function: str | Function | Reference,
    dtype: DTypeLike = "float32",
    *,
    kind: str | None = None,
    size: int | None = None,
    domain: tuple[float, float] | Literal["optimal"] | None = None,
    nodes: Nodes | None = None,
    calibration: Calibration | None = None,
    error: float | None = None,
    left: float | str | Tail | None = None,
    right: float | str | Tail | None = None,
) -> Table:
    """Tabulate y = f(x) for inputs and results of one dtype.

    function: a name of `cupylut.FUNCTIONS`, or a callable that takes and returns a float64 array,
    with its tails `left` and `right`: the number that it approaches on that side, "identity", or a
    line as ``cupylut.Tail(slope, intercept)``. (Where it approaches no line, as x² does, give a
    `cupylut.Function` with None for that side.) It is looked at in many places, but not everywhere:
    what is narrower than a hundredth of its distance from 0 may be missed. It may return numbers of
    a type that knows more than float64, such as those of mpmath: 16-bit results are rounded once.

    dtype: float16, bfloat16, float32 or float64.

    kind: "direct", one result per input pattern, correctly rounded, for the 16-bit dtypes;
    "full", the same from 128 KB that hold all 65,536 results; "compact", the same from half a
    kilobyte on a GPU, for gelu, gelu_tanh, silu and quick_gelu; "gate", within one ulp on every
    input, for the same four in float32; "polynomial", of any function, see below; or "linear", the
    paper's: `size` nodes on [lo, hi], straight lines between them, f's tails outside.
    Left out, it is the first there is of direct, gate and polynomial, and linear if size, domain,
    nodes or calibration are given.

    A polynomial table says what it keeps to when it is printed. In float32 that is 2 ulp on every
    input for all of `FUNCTIONS`, and for callables but in two places: where f is zero away from x =
    0, an absolute error of a tenth of a millionth of its values near 0 is allowed, and where a tail
    is approached as slowly as by 1/x², or a kink takes the room, 1.5e-8 far out. In float64 it is 2
    ulp for gelu, gelu_tanh, silu, quick_gelu, mish, softplus, sigmoid and tanh as far as they are
    more than 1e-16; below, they are their tail: sigmoid(−38.) is 0. For all others it is an
    absolute error of 1e-13, or of 1e-14 of the largest constant tail and value on [−1, 1], if that
    is more. Where f(0) = 0, ±0 give ±0.

    size: the number of nodes, from 2 to 65,536, 1024 if left out. domain: (lo, hi), or "optimal"
    for the one with the smallest worst-case error, found by `cupylut.search`, as if left out.
    nodes: "plain" ones, as if left out, lie on the curve; "balanced" ones lie beside it so that the
    error has both signs and is half as large. calibration: real inputs; then the optimal domain is
    the one with the smallest mean error over them.

    error: the largest absolute error allowed, roundings to the dtype included, however large x is;
    only of polynomial tables the straight lines that f approaches may be rounded besides. The table
    is then the smallest one that keeps to it, of any kind or of the one given; linear and
    polynomial ones of at most 48 KB, which every GPU has of shared memory, are tried.

    The table is immutable. ``table(x)`` evaluates it on an array of any library, ``table.report``
    says how far it is from f, ``table.save(path)`` keeps it.

    Raises ValueError for an unknown function, kind or dtype, for a size, domain or nodes that make
    no table of this kind, for a calibration without two inputs that differ or with a domain
    beside it, for an error out of reach, saying how near the best table comes, and for a callable
    that is not finite or does not approach its tails (looked at as by `cupylut.search`); TypeError
    for a callable that does not return a real number for each element.

    Source: Kim, Kim and Seo, "Lookup Table Optimization for Efficient GPU Inference of High-Cost
    Activation Functions" (2024).

    >>> import numpy as np
    >>> table = tabulate("gelu", size=1024)
    >>> table
    LinearTable(gelu, float32, 1024 nodes on [-4.637, 4.637])
    >>> print(f"{table.report.max_abs:.1e}")
    8.2e-06

    >>> tabulate("gelu", "bfloat16")
    DirectTable(gelu, bfloat16, 5,614 bytes)
    >>> tabulate("gelu", "bfloat16", kind="compact")
    CompactTable(gelu, bfloat16, 32 segments of degree 2, 384 bytes)
    >>> tabulate("gelu")
    GateTable(gelu, float32, 414 segments, at most 0.9894 ulp)

    >>> tabulate("gelu", error=1e-3)
    PolynomialTable(gelu, float32, 2 segments of degree 7, error at most 0.001)

    Any other function, here the softsign with its tails −1 and 1:

    >>> softsign = tabulate(lambda x: x / (1 + abs(x)), left=-1.0, right=1.0)
    >>> softsign(np.float32([-np.inf, -3, 1]))
    array([-1.  , -0.75,  0.5 ], dtype=float32)

    One that crosses zero elsewhere than at 0:

    >>> tabulate(lambda x: np.tanh(x - 0.3), left=-1.0, right=1.0)
    PolynomialTable(<lambda>, float32, 39 segments of degree 5, within 2 ulp or 1e-07)
    """
    f = _function(function, left, right)
    found = as_dtype(dtype)
    layout = {"size": size, "domain": domain, "nodes": nodes, "calibration": calibration}
    given = [name for name, value in layout.items() if value is not None]
    if kind is not None and kind not in tuple(KINDS):  # which asks for no hash
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
    if error is not None:
        if given:
            raise ValueError(f"give error= or {', '.join(given)}, not both: error= chooses them")
        return smallest_table(f, found, error, kind)
    if kind is None:
        kind = "linear" if given else most_accurate_kind(f, found)
    if kind != "linear":
        if given:
            raise ValueError(
                f"kind={kind!r} takes no {', '.join(given)}: that is for linear tables"
            )
        return SETTLED[kind].build(f, found)
    size = 1024 if size is None else size
    nodes = "plain" if nodes is None else nodes
    if domain is None or isinstance(domain, str):
        if domain not in (None, "optimal"):
            raise ValueError(f'domain={domain!r}: give (lo, hi) or "optimal"')
        if not isinstance(calibration, Calibration | None):
            raise TypeError(
                f"calibration must be a cupylut.Calibration, not {type(calibration).__name__}: "
                "make one and update it with real inputs"
            )
        norm: Norm = "max" if calibration is None else "mean"
        best = search(f, size, norm=norm, nodes=nodes, weights=calibration)
        domain = best.lo, best.hi
    elif calibration is not None:
        raise ValueError("a calibration chooses the domain: give one of the two")
    else:
        for sign in (-1.0, 1.0):  # for tails that are not those of f
            reach(f, sign)
    return LinearTable.build(f, found, *as_domain(domain), size, nodes)


@np.errstate(all="ignore")
def quantized(
    function: str | Function | Reference,
    dtype: DTypeLike,
    out_dtype: DTypeLike,
    *,
    scale: float = 1.0,
    out_scale: float = 1.0,
    left: float | str | Tail | None = None,
    right: float | str | Tail | None = None,
) -> QuantizedTable:
    """Tabulate y = round(f(scale·q) / out_scale) for inputs q and results y of 8 bits, or of 16.

    An array of a narrow dtype and one scale for all of it stand for the reals scale·q: "per-tensor"
    quantisation, symmetric, that is without a zero point. To dequantise, apply f and quantise again
    is one lookup, and exact: f(scale·q) / out_scale is rounded once, to nearest, ties to even. (A
    callable is taken at its float64 word, and so are the slopes of leaky_relu and selu.)

    function: a name of `cupylut.FUNCTIONS`, or a callable that takes and returns a float64 array,
    with its tails `left` and `right`, as in `cupylut.tabulate`.

    dtype, out_dtype: those of q and y: int8, float8_e4m3fn, float8_e5m2 (of ml_dtypes in NumPy and
    CuPy), float16 or bfloat16; at least one has 8 bits.

    scale, out_scale: positive numbers, rounded to float32, as frameworks keep them.

    8 bits saturate: what is beyond int8's −128…127, float8_e4m3fn's ±448 or float8_e5m2's ±57344
    becomes the last of them, infinities too. 16 bits overflow to infinity, as everywhere. NaN gives
    NaN, in int8 0. ±0 keep their sign as far as f does and y's dtype has one.

    Returns an immutable table; ``table(q)`` evaluates it on an array of any library with the rules
    of `cupylut.gelu`; only of one dtype and its own can `out` be q itself. ``table.report`` is
    about the inputs whose exact value is in the range of y, errors in reals, ulp those of y.

    Raises ValueError for an unknown function or dtype, for two dtypes of 16 bits, for a scale that
    is not a positive float32, and for a callable that is not finite or does not approach its tails.

    Source: Micikevicius et al., "FP8 Formats for Deep Learning" (arXiv 2209.05433); Wu et al.,
    "Integer Quantization for Deep Learning Inference" (arXiv 2004.09602).

    >>> import numpy as np
    >>> table = quantized("gelu", "int8", "int8", scale=0.05, out_scale=0.02)
    >>> table
    QuantizedTable(gelu, int8 · 0.05 to int8 · 0.02, 256 bytes)
    >>> table(np.int8([-128, -20, 0, 20, 127]))  # gelu of -6.4, -1, 0, 1 and 6.35
    array([  0,  -8,   0,  42, 127], dtype=int8)
    """
    f = _function(function, left, right)
    found, out = as_dtype(dtype, QUANTIZED), as_dtype(out_dtype, QUANTIZED)
    return QuantizedTable.build(f, found, out, scale, out_scale)


def _function(
    function: str | Function | Reference,
    left: float | str | Tail | None,
    right: float | str | Tail | None,
) -> Function:
    """The function that is meant; raises ValueError where a callable does not go to its tails."""
    f = as_function(function, left, right)
    if not is_known(f):
        for sign, tail in ((-1.0, f.left), (1.0, f.right)):
            if tail is not None:
                reach(f, sign)
    return f


def most_accurate_kind(function: Function, dtype: DType) -> str:
    """The kind that `tabulate` and the array functions choose for a dtype if left to it."""
    if dtype.itemsize == 2:
        return DirectTable.kind
    return (GateTable if GateTable.is_fitted(function, dtype) else PolynomialTable).kind


def smallest_table(function: Function, dtype: DType, error: float, kind: str | None) -> Table:
    """The table of the fewest bytes that is nowhere off by more than `error`."""
    if not (isinstance(error, Real) and error > 0) or isinstance(error, bool):
        raise ValueError(f"error={error!r}: give a positive number")
    error = float(error)
    found: list[Table] = []
    refusals: list[str] = []

    def consider(table: Table) -> None:
        if _keeps_to(error, function, table):
            found.append(table)
        else:
            worst = table.report.max_abs, table.report.max_abs_at
            refusals.append("{!r} is off by {:.3g} at {:.6g}".format(table, *worst))

    if kind == "compact" or (kind is None and CompactTable.is_fitted(function, dtype)):
        consider(CompactTable.build(function, dtype))
    elif kind in (None, "direct", "full") and dtype.itemsize == 2:
        consider(SETTLED[kind or DirectTable.kind].build(function, dtype))
    elif kind == "gate" or (kind is None and GateTable.is_fitted(function, dtype)):
        consider(GateTable.build(function, dtype))
    if kind in (None, "polynomial") and dtype.itemsize > 2:
        try:
            found.append(PolynomialTable.build(function, dtype, error))
        except ValueError as refusal:
            refusals.append(str(refusal))
    if kind in (None, "linear") and function.left is not None and function.right is not None:
        most = min([BLOCK_BYTES, *(table.entries.nbytes - 1 for table in found)])
        consider(_smallest_linear(function, dtype, error, most))
    if not found:
        best = "; ".join(refusals) or f"there is no {kind} table in {dtype.name}"
        raise ValueError(f"no table of {function.name} keeps to error={error:g}: {best}")
    return min(found, key=lambda table: table.entries.nbytes)


def _keeps_to(error: float, function: Function, table: Table) -> bool:
    """Whether no result is off by more than error, as far as can be seen."""
    if table.report.max_abs > error:
        return False
    if table.dtype.itemsize == 2 or not isinstance(table, LinearTable):
        return True  # the report knows all inputs, or where results are largest
    return table.largest_error(function) <= error


def _smallest_linear(function: Function, dtype: DType, error: float, most: int) -> LinearTable:
    """The linear table with the fewest nodes within `error`, else the largest of `most` bytes."""

    def with_nodes(size: int) -> LinearTable:
        best = search(function, size, nodes="balanced")
        return LinearTable.build(function, dtype, best.lo, best.hi, size, "balanced")

    entry_bytes = 16 if dtype.itemsize == 8 else 8
    high = max(2, most // entry_bytes - 1)
    table = with_nodes(high)
    low = 1  # too few nodes
    while _keeps_to(error, function, table) and high - low > 1:
        middle = (low + high) // 2
        smaller = with_nodes(middle)
        if _keeps_to(error, function, smaller):
            table, high = smaller, middle
        else:
            low = middle
    return table
