"""Table 1 of the paper, its errors: four domains of a linear table, measured on real inputs.

A table is fitted on a part of a model's inputs and measured on the rest, which it has not seen.
The four domains are the paper's, the one with the smallest worst case, the one with the smallest
mean error over the part fitted on, and the one with the smallest mean error under N(0, 1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..data import character_inputs, minilm_gelu_inputs
from ..declaration import Function
from ..dtypes import FLOAT32
from ..functions import FUNCTIONS
from ..measuring.rivals import normal
from ..search import search
from ..tables import LinearTable, Table

SIZES = (256, 512, 1024, 2048, 4096)
DOMAINS = ("paper", "worst case", "calibrated", "N(0, 1)")
SAMPLES = 1 << 18


@dataclass(frozen=True)
class Published:
    """A row of the paper's Table 1; the error rate and the largest gain in speed in percent."""

    label: str
    lo: float
    hi: float
    error_rate: float
    speed: float


TABLE1: Mapping[str, Published] = {
    "gelu_tanh": Published("OpenAI GeLU", -2.567, 2.538, 0.1026, 892.87),
    "gelu": Published("GeLU", -2.509, 2.712, 0.1148, 195.23),
    "silu": Published("SiLU", -3.844, 3.612, 0.7595, 196.89),
}


@dataclass(frozen=True)
class Inputs:
    """Inputs of a model's activations: those that tables are fitted on, and others."""

    source: str
    fitted: NDArray[np.float32]
    held_out: NDArray[np.float32]


@cache
def inputs(function: str) -> Inputs:
    """The real inputs of an activation that come with the library."""
    if function == "gelu":
        layers = minilm_gelu_inputs()
        source = "all-MiniLM-L6-v2, six layers; fitted on one half of the sample"
        return Inputs(source, layers[:, ::2].ravel(), layers[:, 1::2].ravel())
    training, held_out = character_inputs("silu" if function == "silu" else "gelu_tanh")
    source = "a character-level transformer, three layers; fitted on training text"
    return Inputs(source, training.ravel(), held_out.ravel())


@dataclass(frozen=True)
class Metrics:
    """Errors e = table(x) − f(x) over inputs x: mean |e|, √mean e², max |e|, mean |e| / mean |f|.

    The last one is a fraction, not percent.
    """

    mean_abs: float
    rms: float
    max_abs: float
    relative: float


def metrics(table: Table, function: Function, x: NDArray[np.float32]) -> Metrics:
    """The errors of a float32 table over inputs, against f in float64."""
    exact = function(x)
    error = np.abs(table(x).astype(np.float64) - exact)
    return Metrics(
        mean_abs=float(error.mean()),
        rms=float(np.sqrt((error**2).mean())),
        max_abs=float(error.max()),
        relative=float(error.sum() / np.abs(exact).sum()),
    )


@dataclass(frozen=True)
class Row:
    """A table: its domain, its worst error over all inputs, and its errors over two kinds of them.

    `outside` is the share of the held-out inputs that are clipped.
    """

    function: str
    size: int
    domain: str
    lo: float
    hi: float
    worst: float
    outside: float
    held_out: Metrics
    normal: Metrics


def domains(function: str, size: int, fitted: NDArray[np.float32]) -> dict[str, LinearTable]:
    """The tables on the four domains, in float32 with plain nodes, as the paper has them."""

    def searched(norm: str, weights: Calibration | None = None) -> tuple[float, float]:
        found = search(function, size, norm=norm, weights=weights)  # type: ignore[arg-type]
        return found.lo, found.hi

    ends: dict[str, Callable[[], tuple[float, float]]] = {
        "paper": lambda: (TABLE1[function].lo, TABLE1[function].hi),
        "worst case": lambda: searched("max"),
        "N(0, 1)": lambda: searched("mean"),
        "calibrated": lambda: searched("mean", Calibration(fitted)),
    }
    dtype = FLOAT32
    return {d: LinearTable.build(FUNCTIONS[function], dtype, *ends[d](), size) for d in DOMAINS}


def measure(function: str, size: int) -> list[Row]:
    """The rows of one function and size."""
    f, data = FUNCTIONS[function], inputs(function)
    return [
        Row(
            function=function,
            size=size,
            domain=domain,
            lo=table.lo,
            hi=table.hi,
            worst=table.report.max_abs,
            outside=float(((data.held_out < table.lo) | (data.held_out > table.hi)).mean()),
            held_out=metrics(table, f, data.held_out),
            normal=metrics(table, f, normal(np, SAMPLES)),
        )
        for domain, table in domains(function, size, data.fitted).items()
    ]
