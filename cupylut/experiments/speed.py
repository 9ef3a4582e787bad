"""How fast linear tables are on NumPy, next to SciPy's expressions: `bench numpy`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from ..tabulate import tabulate
from . import environment, timing
from .rivals import normal, scipy_expression

ELEMENTS, RUNS = 1 << 22, 15
SECONDS = 60.0  # after which there are fewer runs

CASES: Sequence[tuple[str, str]] = (
    ("gelu", "float32"),
    ("gelu_tanh", "float32"),
    ("silu", "float32"),
    ("gelu", "float16"),
    ("gelu", "bfloat16"),
    ("gelu", "float64"),
)


@dataclass(frozen=True)
class Comparison:
    """A table against the SciPy expression: median ns per element, and how many times as fast.

    The ratio is that of the medians, `at_least` and `at_most` those of their quartiles.
    """

    function: str
    dtype: str
    elements: int
    runs: int
    scipy_ns: float
    cupylut_ns: float
    ratio: float
    at_least: float
    at_most: float


def measure(function: str, dtype: str, elements: int = ELEMENTS, runs: int = RUNS) -> Comparison:
    """Time one case of the benchmark."""
    x = normal(np, elements, dtype)
    table = tabulate(function, dtype, kind="linear")
    contestants = {"scipy": partial(scipy_expression, function, x), "cupylut": partial(table, x)}
    times = timing.measure(contestants, "cpu", runs, SECONDS)
    scipy, cupylut = times["scipy"], times["cupylut"]
    ratio, at_least, at_most = timing.ratio(scipy, cupylut)
    return Comparison(
        function=function,
        dtype=dtype,
        elements=elements,
        runs=scipy.runs,
        scipy_ns=1e3 * scipy.median / elements,
        cupylut_ns=1e3 * cupylut.median / elements,
        ratio=ratio,
        at_least=at_least,
        at_most=at_most,
    )


def report(results: Sequence[Comparison]) -> str:
    """The results as a table to read."""
    first = results[0]
    lines = [
        f"SciPy expression against linear table on NumPy: {first.elements:,} elements, one thread,",
        f"{first.runs} runs in turn; median ns per element, ratio of medians (and of quartiles)",
        "",
        f"{'':<11}{'':<9}{'SciPy':>9}{'cupylut':>9}   SciPy / cupylut",
    ]
    lines += [
        f"{r.function:<11}{r.dtype:<9}{r.scipy_ns:>9.2f}{r.cupylut_ns:>9.2f}"
        f"   {r.ratio:>5.2f}x ({r.at_least:.2f} to {r.at_most:.2f})"
        for r in results
    ]
    return "\n".join(lines)


def as_json(results: Sequence[Comparison]) -> str:
    """The results with all that one needs to compare them with another run."""
    record = {
        "benchmark": "SciPy expression against linear table on NumPy, one thread",
        "environment": environment.describe("cpu"),
        "results": [asdict(r) for r in results],
    }
    return json.dumps(record, indent=2) + "\n"
