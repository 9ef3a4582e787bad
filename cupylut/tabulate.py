"""tabulate(): a function made into a table."""

from typing import Literal

from numpy.typing import DTypeLike

from .accuracy import DType, as_dtype
from .calibration import Calibration
from .declaration import Function, Reference
from .functions import as_function
from .search import Norm, search
from .tables import KINDS, DirectTable, GateTable, LinearTable, Table
from .tables.linear import Nodes


def tabulate(
    function: str | Function | Reference,
    dtype: DTypeLike = "float32",
    *,
    kind: str | None = None,
    size: int | None = None,
    domain: tuple[float, float] | Literal["optimal"] | None = None,
    nodes: Nodes | None = None,
    calibration: Calibration | None = None,
    left: float | str | None = None,
    right: float | str | None = None,
) -> Table:
    """Tabulate y = f(x) for inputs and results of one dtype.

    function: a name of `cupylut.FUNCTIONS`, or a callable that takes and returns a float64 array,
    with its tails `left` and `right`: the number that it approaches on that side, or "identity".

    dtype: float16, bfloat16, float32 or float64.

    kind: "direct", one result per input pattern, correctly rounded, for the 16-bit dtypes;
    "gate", within one ulp on every input, for gelu, gelu_tanh and silu in float32; or
    "linear", the paper's: `size` nodes on [lo, hi], straight lines between them, f's tails outside.
    Left out, it is the first of them that there is, and linear if size, domain, nodes or
    calibration are given.

    size: the number of nodes, from 2 to 65,536, 1024 if left out. domain: (lo, hi), or "optimal"
    for the one with the smallest worst-case error, found by `cupylut.search`, as if left out.
    nodes: "plain" ones, as if left out, lie on the curve; "balanced" ones lie beside it so that the
    error has both signs and is half as large. calibration: real inputs; then the optimal domain is
    the one with the smallest mean error over them.

    The table is immutable. ``table(x)`` evaluates it on an array of any library, ``table.report``
    says how far it is from f, ``table.save(path)`` keeps it.

    Raises ValueError for an unknown function, kind or dtype, for a size, domain or nodes that make
    no table of this kind, for a calibration without two inputs that differ or with a domain
    beside it, and for a callable that is not finite on the domain or does not approach its tails.

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
    >>> tabulate("gelu")
    GateTable(gelu, float32, 309 segments, at most 0.9637 ulp)

    Any other function, here the softsign with its tails −1 and 1:

    >>> softsign = tabulate(lambda x: x / (1 + abs(x)), domain=(-64, 64), left=-1.0, right=1.0)
    >>> softsign(np.float32([-np.inf, 1])).round(2)
    array([-1. ,  0.5], dtype=float32)
    """
    f = as_function(function, left, right)
    found = as_dtype(dtype)
    layout = {"size": size, "domain": domain, "nodes": nodes, "calibration": calibration}
    given = [name for name, value in layout.items() if value is not None]
    if kind is None:
        kind = "linear" if given else most_accurate_kind(f, found)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
    if kind != "linear":
        if given:
            raise ValueError(
                f"kind={kind!r} takes no {', '.join(given)}: that is for linear tables"
            )
        exact: type[DirectTable | GateTable]
        exact = DirectTable if kind == "direct" else GateTable
        return exact.build(f, found)
    size = 1024 if size is None else size
    nodes = "plain" if nodes is None else nodes
    if domain is None or isinstance(domain, str):
        if domain not in (None, "optimal"):
            raise ValueError(f'domain={domain!r}: give (lo, hi) or "optimal"')
        norm: Norm = "max" if calibration is None else "mean"
        best = search(f, size, norm=norm, nodes=nodes, weights=calibration)
        domain = best.lo, best.hi
    elif calibration is not None:
        raise ValueError("a calibration chooses the domain: give one of the two")
    return LinearTable.build(f, found, *domain, size, nodes)


def most_accurate_kind(function: Function, dtype: DType) -> str:
    """The kind that `tabulate` and the array functions choose for a dtype if left to it."""
    if dtype.itemsize == 2:
        return DirectTable.kind
    return (GateTable if GateTable.is_fitted(function, dtype) else LinearTable).kind
