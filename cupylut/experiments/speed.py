"""How fast linear tables are, next to what the same array would otherwise be given to."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from ..tables import Table
from ..tabulate import tabulate
from . import environment, timing
from .environment import installed
from .rivals import EXPRESSIONS, normal, scipy_expression, torch_function

# Of the benchmark.
ELEMENTS, RUNS = 1 << 22, 15

# On a CPU, after which there are fewer runs.
SECONDS = 60.0

# Large enough to lie in a GPU's memory and not in its caches.
GPU_ELEMENTS, GPU_REPEATS = 1 << 25, 100

CASES: Sequence[tuple[str, str]] = (
    ("gelu", "float32"),
    ("gelu_tanh", "float32"),
    ("silu", "float32"),
    ("gelu", "float16"),
    ("gelu", "bfloat16"),
    ("gelu", "float64"),
)

CONTRACT_CASE, CONTRACT = ("gelu", "float32"), 3.0
"""The case that must be at least this many times as fast as the SciPy expression."""


def cpu_times(name: str, table: Table, elements: int, runs: int) -> dict[str, float]:
    """Median ns per float32 on one thread: SciPy, cupylut, and PyTorch where it is installed."""
    x = normal(np, elements)
    contestants: dict[str, timing.Run] = {
        "SciPy": partial(scipy_expression, name, x),
        "cupylut": partial(table, x),
    }
    if torch := installed("torch"):
        contestants["PyTorch"] = partial(torch_function(torch, name), torch.from_numpy(x))
    times = timing.measure(contestants, "cpu", runs, SECONDS)
    return {who: 1e3 * taken.median / elements for who, taken in times.items()}


def gpu_times(name: str, table: Table) -> dict[str, float] | None:
    """Median ns per float32 on the GPU: the CuPy expression, cupylut; None without a device."""
    cupy = installed("cupy")
    if cupy is None or not cupy.cuda.is_available():
        return None
    benchmark = importlib.import_module("cupyx.profiler").benchmark
    cupyx_special = importlib.import_module("cupyx.scipy.special")
    x = normal(cupy, GPU_ELEMENTS)
    contestants: dict[str, timing.Run] = {
        "CuPy": partial(EXPRESSIONS[name], cupyx_special, x),
        "cupylut": partial(table, x),
    }
    measured = {
        who: benchmark(run, n_repeat=GPU_REPEATS, name=who) for who, run in contestants.items()
    }
    return {who: float(np.median(m.gpu_times)) / x.size * 1e9 for who, m in measured.items()}


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


def contract_kept(results: Sequence[Comparison]) -> bool:
    """Whether the case of the contract was as fast as promised."""
    return any((r.function, r.dtype) == CONTRACT_CASE and r.ratio >= CONTRACT for r in results)


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
    verdict = "kept" if contract_kept(results) else "NOT KEPT"
    contract = f"{CONTRACT_CASE[0]} in {CONTRACT_CASE[1]} at least {CONTRACT:g} times as fast"
    return "\n".join([*lines, "", f"Contract, {contract}: {verdict}."])


def as_json(results: Sequence[Comparison]) -> str:
    """The results with all that one needs to compare them with another run."""
    function, dtype = CONTRACT_CASE
    record = {
        "benchmark": "SciPy expression against linear table on NumPy, one thread",
        "environment": environment.describe("cpu"),
        "results": [asdict(r) for r in results],
        "contract": {
            "function": function,
            "dtype": dtype,
            "at_least": CONTRACT,
            "kept": contract_kept(results),
        },
    }
    return json.dumps(record, indent=2) + "\n"
