"""The paper's Table 1, redone: its Min and Max next to the optimal ones, errors and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..cuda import require_cupy
from ..data import minilm_gelu_inputs
from ..declaration import Function
from ..dtypes import FLOAT32
from ..functions import FUNCTIONS
from ..measuring.environment import installed
from ..measuring.rivals import expression, normal, special_functions, torch_function
from ..measuring.timing import CLOSE, Run, measure
from ..search import search
from ..tables import LinearTable, Table
from .table1 import TABLE1

SAMPLES = 1_000_000

# Of the timing. The arrays on a GPU are so large that they lie in its memory, not in its caches.
ELEMENTS, ROUNDS = 1 << 21, 9
GPU_ELEMENTS, GPU_ROUNDS = 1 << 25, 100
SECONDS = 60.0

# Inputs whose errors are computed at a time, so that any number of them fits into memory.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Inputs:
    """Finite float32 values of a real model, and where they come from."""

    source: str
    values: NDArray[np.float32]


def default_inputs() -> Inputs:
    """The real inputs that come with the library."""
    values = minilm_gelu_inputs().ravel()
    return Inputs(f"{values.size:,} inputs of the GELU layers of all-MiniLM-L6-v2", values)


@dataclass(frozen=True)
class Errors:
    """A table with its largest error, and its mean errors on N(0, 1) and on the real inputs."""

    table: LinearTable
    largest: float
    mean_normal: float
    mean_real: float


@dataclass(frozen=True)
class Comparison:
    """A function's tables on the paper's and on the optimal domain, and times in ns per element."""

    name: str
    paper: Errors
    optimal: Errors
    paper_inside: float
    cpu: Mapping[str, float]
    gpu: Mapping[str, float] | None


def compare(name: str, size: int, inputs: Inputs) -> Comparison:
    """Redo the paper's row for a function with tables of this size."""
    function, published = FUNCTIONS[name], TABLE1[name]
    best = search(name, size)
    paper = _errors(function, published.lo, published.hi, size, inputs)
    optimal = _errors(function, best.lo, best.hi, size, inputs)
    inside = np.linspace(published.lo, published.hi, 1 << 17, dtype=np.float32)[1:-1]
    return Comparison(
        name=name,
        paper=paper,
        optimal=optimal,
        paper_inside=float(_error(paper.table, function, inside).max()),
        cpu=times(name, optimal.table, "cpu"),
        gpu=times(name, optimal.table, "cuda") if _has_cuda() else None,
    )


def _errors(function: Function, lo: float, hi: float, size: int, inputs: Inputs) -> Errors:
    table = LinearTable.build(function, FLOAT32, lo, hi, size)
    return Errors(
        table=table,
        largest=table.report.max_abs,
        mean_normal=_mean_error(table, function, normal(np, SAMPLES)),
        mean_real=_mean_error(table, function, inputs.values),
    )


def _mean_error(table: LinearTable, function: Function, x: NDArray[np.float32]) -> float:
    chunks = (x[i : i + _CHUNK] for i in range(0, x.size, _CHUNK))
    return sum(float(_error(table, function, chunk).sum()) for chunk in chunks) / x.size


def _error(table: LinearTable, function: Function, x: NDArray[np.float32]) -> NDArray[np.float64]:
    error: NDArray[np.float64] = np.abs(table(x).astype(np.float64) - function(x))
    return error


def times(name: str, table: Table, device: str) -> dict[str, float]:
    """Median ns per float32 on "cpu" or "cuda": what one writes with SciPy or CuPy, and cupylut.

    On the CPU that is on one thread, and PyTorch stands beside them where it is installed.
    """
    if device == "cuda":
        x, rounds = normal(require_cupy(), GPU_ELEMENTS), GPU_ROUNDS
    else:
        x, rounds = normal(np, ELEMENTS), ROUNDS
    who, special = special_functions(device)
    contestants: dict[str, Run] = {
        who: partial(expression, special, name, x),
        "cupylut": partial(table, x),
    }
    torch = installed("torch")
    if device == "cpu" and torch is not None:
        contestants["PyTorch"] = partial(torch_function(torch, name), torch.from_numpy(x))
    found = measure(contestants, device, rounds, SECONDS)
    return {who: 1e3 * taken.median / x.size for who, taken in found.items()}


def _has_cuda() -> bool:
    cupy = installed("cupy")
    return cupy is not None and bool(cupy.cuda.is_available())


def report(comparisons: Sequence[Comparison], inputs: Inputs) -> str:
    """What was measured, to read in a terminal of 100 columns."""
    return "\n".join([*_error_lines(comparisons, inputs), "", *_time_lines(comparisons)])


def _error_lines(comparisons: Sequence[Comparison], inputs: Inputs) -> list[str]:
    size = comparisons[0].optimal.table.size
    lines = [
        f"Table 1 of the paper, redone: float32 linear tables of {size:,} nodes",
        "",
        f"{'':<18}{'Min':>9}{'Max':>9}{'max |error|':>14}{'mean |error|':>14}{'mean |error|':>14}",
        f"{'':<18}{'':>9}{'':>9}{'any input':>14}{'N(0, 1)':>14}{'real input':>14}",
    ]
    for c in comparisons:
        published = TABLE1[c.name]
        lines += [
            f"{c.name} (the paper's {published.label}, error rate {published.error_rate} %)",
            _error_line("paper's", c.paper),
            _error_line("optimal", c.optimal),
            f"  {'gain':<34}"
            f"{_gain(c.paper.largest, c.optimal.largest):>14}"
            f"{_gain(c.paper.mean_normal, c.optimal.mean_normal):>14}"
            f"{_gain(c.paper.mean_real, c.optimal.mean_real):>14}",
        ]
    inside = ", ".join(f"{c.paper_inside:.1e}" for c in comparisons)
    return [
        *lines,
        "",
        "Optimal: the Min and Max with the least max |error|, found by cupylut.search.",
        f"N(0, 1): {SAMPLES:,} samples. Real input: {inputs.source}.",
        f"At the paper's Min and Max the error is all clipping: between them only {inside}.",
        "Its error rates are not reproducible as defined: no metric tried gives all three.",
    ]


def _error_line(label: str, errors: Errors) -> str:
    return (
        f"  {label:<16}{errors.table.lo:>9.3f}{errors.table.hi:>9.3f}"
        f"{errors.largest:>14.2e}{errors.mean_normal:>14.2e}{errors.mean_real:>14.2e}"
    )


def _gain(before: float, after: float) -> str:
    if after == 0:
        return "-"
    ratio = before / after
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2f}x"


def _time_lines(comparisons: Sequence[Comparison]) -> list[str]:
    lines = [
        f"Time in ns per element: NumPy float32, {ELEMENTS:,} elements, one thread, median",
        "",
        *_time_table({c.name: c.cpu for c in comparisons}),
        "",
        "SciPy: x*ndtr(x), x*expit(...).",
    ]
    if "PyTorch" in comparisons[0].cpu:
        lines[-1] += " PyTorch: its fused functions, on one thread too."
    else:
        lines.append("PyTorch is not installed, so it is not compared.")
    on_gpu = {c.name: c.gpu for c in comparisons if c.gpu is not None}
    if not on_gpu:
        return [*lines, "No GPU is timed: that takes CuPy and a CUDA device."]
    return [
        *lines,
        "",
        f"On the GPU: CuPy float32, {GPU_ELEMENTS:,} elements, median",
        "",
        *_time_table(on_gpu),
    ]


def _time_table(times: Mapping[str, Mapping[str, float]]) -> list[str]:
    contestants = next(iter(times.values()))
    lines = [f"  {'':<12}" + "".join(f"{who:>10}" for who in contestants) + "   fastest"]
    for name, by_contestant in times.items():
        close = CLOSE * min(by_contestant.values())
        fastest = " and ".join(who for who, ns in by_contestant.items() if ns <= close)
        row = "".join(f"{ns:>10.2f}" for ns in by_contestant.values())
        lines.append(f"  {name:<12}{row}   {fastest}")
    return lines
