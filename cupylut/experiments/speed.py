"""How fast linear tables are, next to what the same array would otherwise be given to.

Contestants take turns, A, B, A, B, …, within one process. So they meet the same clock rate, caches
and neighbours, and the ratio of a pair says more than the ratio of two times taken apart.
"""

import importlib
import json
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from ..declaration import Float64Array
from ..tables import Table
from ..tabulate import tabulate
from . import environment
from .rivals import EXPRESSIONS, installed, normal, one_thread, scipy_expression, torch_function

Run: TypeAlias = Callable[[], object]

# Of the benchmark.
ELEMENTS, PAIRS = 1 << 22, 7

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


def race(contestants: Mapping[str, Run], rounds: int) -> dict[str, Float64Array]:
    """Seconds that each contestant takes, round by round.

    At each turn it runs twice, and the second run counts: the first may have to get back memory
    that the contestant before it made the allocator return to the system.
    """
    timers = {name: timeit.Timer(run) for name, run in contestants.items()}
    seconds = [[timer.repeat(2, 1)[1] for timer in timers.values()] for _ in range(rounds)]
    return dict(zip(timers, np.array(seconds).T, strict=True))


def cpu_times(name: str, table: Table, elements: int, rounds: int) -> dict[str, float]:
    """Median ns per float32 on one thread: SciPy, cupylut, and PyTorch where it is installed."""
    x = normal(np, elements)
    contestants: dict[str, Run] = {
        "SciPy": partial(scipy_expression, name, x),
        "cupylut": partial(table, x),
    }
    torch = installed("torch")
    if torch is None:
        seconds = race(contestants, rounds)
    else:
        with one_thread(torch):
            contestants["PyTorch"] = partial(torch_function(torch, name), torch.from_numpy(x))
            seconds = race(contestants, rounds)
    return {who: float(np.median(s)) / elements * 1e9 for who, s in seconds.items()}


def gpu_times(name: str, table: Table) -> dict[str, float] | None:
    """Median ns per float32 on the GPU: the CuPy expression, cupylut; None without a device."""
    cupy = installed("cupy")
    if cupy is None or not cupy.cuda.is_available():
        return None
    benchmark = importlib.import_module("cupyx.profiler").benchmark
    cupyx_special = importlib.import_module("cupyx.scipy.special")
    x = normal(cupy, GPU_ELEMENTS)
    contestants: dict[str, Run] = {
        "CuPy": partial(EXPRESSIONS[name], cupyx_special, x),
        "cupylut": partial(table, x),
    }
    measured = {
        who: benchmark(run, n_repeat=GPU_REPEATS, name=who) for who, run in contestants.items()
    }
    return {who: float(np.median(m.gpu_times)) / x.size * 1e9 for who, m in measured.items()}


@dataclass(frozen=True)
class Pairs:
    """A table against the SciPy expression: median ns per element, and the ratio of the pairs."""

    function: str
    dtype: str
    elements: int
    pairs: int
    scipy_ns: float
    cupylut_ns: float
    ratio: float
    ratio_min: float
    ratio_max: float


def measure(function: str, dtype: str, elements: int = ELEMENTS, pairs: int = PAIRS) -> Pairs:
    """Time one case of the benchmark."""
    x = normal(np, elements, dtype)
    table = tabulate(function, dtype, kind="linear")
    contestants = {"scipy": partial(scipy_expression, function, x), "cupylut": partial(table, x)}
    seconds = race(contestants, pairs)
    ratios = seconds["scipy"] / seconds["cupylut"]
    return Pairs(
        function=function,
        dtype=dtype,
        elements=elements,
        pairs=pairs,
        scipy_ns=float(np.median(seconds["scipy"])) / elements * 1e9,
        cupylut_ns=float(np.median(seconds["cupylut"])) / elements * 1e9,
        ratio=float(np.median(ratios)),
        ratio_min=float(ratios.min()),
        ratio_max=float(ratios.max()),
    )


def contract_kept(results: Sequence[Pairs]) -> bool:
    """Whether the case of the contract was as fast as promised."""
    return any((r.function, r.dtype) == CONTRACT_CASE and r.ratio >= CONTRACT for r in results)


def report(results: Sequence[Pairs]) -> str:
    """The results as a table to read."""
    first = results[0]
    lines = [
        f"SciPy expression against linear table on NumPy: {first.elements:,} elements, one thread,",
        f"{first.pairs} pairs in turn; median ns per element, median (min to max) of the ratios",
        "",
        f"{'':<11}{'':<9}{'SciPy':>9}{'cupylut':>9}   SciPy / cupylut",
    ]
    lines += [
        f"{r.function:<11}{r.dtype:<9}{r.scipy_ns:>9.2f}{r.cupylut_ns:>9.2f}"
        f"   {r.ratio:>5.2f}x ({r.ratio_min:.2f} to {r.ratio_max:.2f})"
        for r in results
    ]
    verdict = "kept" if contract_kept(results) else "NOT KEPT"
    contract = f"{CONTRACT_CASE[0]} in {CONTRACT_CASE[1]} at least {CONTRACT:g} times as fast"
    return "\n".join([*lines, "", f"Contract, {contract}: {verdict}."])


def as_json(results: Sequence[Pairs]) -> str:
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
