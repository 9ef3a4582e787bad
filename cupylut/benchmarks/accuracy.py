"""docs/accuracy.md: every table's distance from its function, and PyTorch's beside it.

For a 16-bit dtype all finite inputs are measured. For float32 and float64 it is a sample: every
exponent and sign with the same number of significands, and the middle of every segment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accuracy import correctly_rounded
from ..declaration import Float64Array
from ..dtypes import all_inputs, as_dtype, ulp, widened
from ..functions import FUNCTIONS
from ..measuring import markdown
from ..measuring.environment import installed
from ..measuring.rivals import torch_function
from ..names import as_function, with_derivatives
from ..tables import CompactTable, LinearTable, PolynomialTable
from ..tabulate import most_accurate_kind, tabulate

SIGNIFICANDS = 512
"""How many of each binade are sampled."""

IN_TORCH = ("gelu", "gelu_tanh", "silu", "mish", "softplus", "sigmoid", "tanh")
"""What PyTorch has too."""


@dataclass(frozen=True)
class Row:
    """A table, or PyTorch in its place: size and errors; `misrounded` only for 16-bit dtypes.

    `at` is where `max_ulp` was met, or the domain on which it is the largest.
    """

    function: str
    dtype: str
    table: str
    size: int | None
    max_abs: float
    max_ulp: float
    at: str
    misrounded: int | None


def cases() -> Sequence[tuple[str, str]]:
    """Every (function, its derivative or second derivative, dtype)."""
    names = with_derivatives(FUNCTIONS)
    return [(f, d) for d in ("bfloat16", "float16", "float32", "float64") for f in names]


def inputs(dtype: str) -> NDArray[Any]:
    """All finite inputs of a 16-bit dtype, a sample over all binades of a wider one."""
    found = as_dtype(dtype)
    if found.itemsize == 2:
        x = all_inputs(found)
        return x[np.isfinite(widened(x))]
    info = np.finfo(found)
    exponents = np.arange(info.minexp, info.maxexp)[:, None]
    significands = 1 + np.random.default_rng(0).random((exponents.size, SIGNIFICANDS))
    x = np.ldexp(significands, exponents).ravel().astype(found)
    x = x[np.isfinite(x)]
    return np.concatenate([x, -x])


def measure(function: str, dtype: str) -> list[Row]:
    """The rows of one function and dtype: the kinds of table there are, and PyTorch on the CPU.

    Of a derivative there is one row, for the table that backward passes use.
    """
    x, f = inputs(dtype), as_function(function)
    exact = f(widened(x))
    kinds = [most_accurate_kind(f, x.dtype)]
    if function in FUNCTIONS:
        compact = [CompactTable.kind] if CompactTable.is_fitted(f, x.dtype) else []
        kinds += [*compact, LinearTable.kind]
    rows = []
    for kind in kinds:
        table = tabulate(function, dtype, kind=kind)
        if isinstance(table, PolynomialTable) and x.itemsize == 8:
            # The float64 reference is not good enough to judge it; mpmath was, when it was made.
            worst = table.report.max_ulp, f"{table.report.max_ulp_at:.6g}"
            if table.error is None and table.floor == 0:
                worst = table.worst_ulp, "[{:.4g}, {:.4g}]".format(*table.domain)
            size = table.entries.nbytes
            rows.append(Row(function, dtype, kind, size, table.report.max_abs, *worst, None))
            continue
        rows.append(_row(function, kind, table.entries.nbytes, x, table(x), exact))
    torch = installed("torch")
    if torch is not None and function in IN_TORCH:
        tensor = torch.from_numpy(widened(x)).to(getattr(torch, dtype))
        run = torch_function(torch, function)
        result = run(tensor).to(torch.float64).numpy().astype(x.dtype)
        rows.append(_row(function, f"PyTorch {torch.__version__}", None, x, result, exact))
    return rows


def _row(
    function: str,
    table: str,
    size: int | None,
    x: NDArray[Any],
    y: NDArray[Any],
    exact: Float64Array,
) -> Row:
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(widened(y) - exact)
        error[np.isinf(error) & (y == exact.astype(y.dtype))] = 0
        in_ulp = error / ulp(exact, x.dtype)
    worst = int(np.nanargmax(in_ulp))
    misrounded = None
    if x.itemsize == 2:
        correct = correctly_rounded(as_function(function), x.dtype)
        right = correct[np.isfinite(widened(all_inputs(x.dtype)))]
        misrounded = int((y.view(np.uint16) != right.view(np.uint16)).sum())
    return Row(
        function,
        x.dtype.name,
        table,
        size,
        float(np.nanmax(error)),
        float(in_ulp[worst]),
        f"{float(x[worst]):.6g}",
        misrounded,
    )


def worst_tail() -> float:
    """The largest error of the float64 tables where they are the function's tail."""
    tables = (tabulate(name, "float64") for name in FUNCTIONS)
    return max(t.tail_error for t in tables if isinstance(t, PolynomialTable))


def document(rows: Iterable[list[Row]]) -> str:
    """The Markdown page."""
    lines = [
        "# Accuracy",
        "",
        "Written by `python -m cupylut accuracy --output docs/accuracy.md`; not by hand.",
        "",
        f"16-bit dtypes: all finite inputs. float32 and float64: {SIGNIFICANDS} significands in",
        "every binade of either sign.",
        "*Misrounded* counts the inputs whose result is not the one that rounding the exact value",
        "to nearest even gives. *ulp* is the distance of neighbouring numbers at the exact result.",
        "Linear tables have 1024 nodes on their optimal domain. Their promise is the absolute",
        "error; near zero and in the tails, where f is tiny, that is many ulp. PyTorch runs on the",
        "CPU; on another processor some of its figures differ. The float32 kernels of gate and",
        "polynomial tables were also compared at all inputs: [exhaustive.md](exhaustive.md).",
        "",
        "Polynomial tables in float64 that promise 2 ulp do so on the domain under *at*, where",
        "they were compared with mpmath when they were made. Beyond it they are f's tail, off by",
        f"at most {worst_tail():.1g}: sigmoid(−38) is 0 and silu(−100) is −0. The other functions",
        "in float64 keep to an absolute error, and so do derivatives that cross zero, in float32",
        "too. Next to where a derivative jumps (gelu_10's at 10) a number may have the value of",
        "the other side. What a table of your own function keeps to, it says when it is printed.",
        "",
    ]
    found = [HEADER, *(cells(row) for group in rows for row in group)]
    return "\n".join([*lines, *markdown.table(found, left=3)]) + "\n"


HEADER = ("function", "dtype", "table", "bytes", "max abs", "max ulp", "at", "misrounded")


def cells(row: Row) -> Sequence[str]:
    """One line of the table."""
    size = "" if row.size is None else f"{row.size:,}"
    misrounded = "" if row.misrounded is None else f"{row.misrounded:,}"
    errors = f"{row.max_abs:.3g}", f"{row.max_ulp:.3g}", row.at
    return row.function, row.dtype, row.table, size, *errors, misrounded
