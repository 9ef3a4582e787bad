"""tabulate(): a function made into a table."""

from typing import Literal

from numpy.typing import DTypeLike

from .accuracy import as_dtype
from .functions import Function, Reference, as_function
from .search import search
from .tables import KINDS, LinearTable, Table
from .tables.linear import Nodes


def tabulate(
    function: str | Function | Reference,
    dtype: DTypeLike = "float32",
    *,
    kind: str = "linear",
    size: int = 1024,
    domain: tuple[float, float] | Literal["optimal"] = "optimal",
    nodes: Nodes = "plain",
    left: float | str | None = None,
    right: float | str | None = None,
) -> Table:
    """Tabulate y = f(x): `size` nodes on [lo, hi], straight lines between them, f's tails outside.

    function: a name of `cupylut.FUNCTIONS`, or a callable that takes and returns a float64 array,
    with its tails `left` and `right`: the number that it approaches on that side, or "identity".

    dtype: of the inputs and results: float16, bfloat16, float32 or float64.

    size: the number of nodes, from 2 to 65,536. domain: (lo, hi), or "optimal" for the one with
    the smallest worst-case error, found by `cupylut.search`. nodes: "plain" ones lie on the curve;
    "balanced" ones lie beside it so that the error has both signs and is half as large.

    The table is immutable. ``table(x)`` evaluates it on an array of any library, ``table.report``
    says how far it is from f, ``table.save(path)`` keeps it.

    Raises ValueError for an unknown function, kind or dtype, for a size or domain that makes no
    table, and for a callable that is not finite on it or does not approach its tails.

    Source: Kim, Kim and Seo, "Lookup Table Optimization for Efficient GPU Inference of High-Cost
    Activation Functions" (2024).

    >>> table = tabulate("gelu", size=1024)
    >>> table
    LinearTable(gelu, float32, 1024 nodes on [-4.641, 4.641])
    >>> print(f"{table.report.max_abs:.1e}")
    8.2e-06

    Any other function, here the softsign with its tails −1 and 1:

    >>> softsign = tabulate(lambda x: x / (1 + abs(x)), domain=(-64, 64), left=-1.0, right=1.0)
    >>> softsign(np.float32([-np.inf, 1]))
    array([-1. ,  0.5], dtype=float32)
    """
    f = as_function(function, left, right)
    found = as_dtype(dtype)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
    if isinstance(domain, str):
        if domain != "optimal":
            raise ValueError(f'domain={domain!r}: give (lo, hi) or "optimal"')
        best = search(f, size, nodes=nodes)
        lo, hi = best.lo, best.hi
    else:
        lo, hi = domain
    return LinearTable.build(f, found, lo, hi, size, nodes)
