"""How near to the memory limit of a GPU the tables come, and what PyTorch reaches there.

The floor of any elementwise function is a copy of the same bytes: each input read once, each output
written once. So every time is given beside that of a device-to-device copy of as many bytes. Times
are medians of CUDA events around single calls, after warm-up; outputs are written in place of one
another, so that no allocator is timed. From a few hundred MB on no cache helps.
"""

import importlib
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from ..accuracy import as_dtype
from ..functions import FUNCTIONS
from ..tabulate import most_accurate_kind, tabulate
from .speed import installed, torch_function

NAMES = ("gelu", "gelu_tanh", "silu", "mish")
SIZES = (1 << 12, 1 << 16, 1 << 20, 1 << 24, 1 << 28)
DTYPES = ("float16", "bfloat16", "float32")
REPEATS = 50


@dataclass(frozen=True)
class Cell:
    """One function, dtype and size: median µs a call of everything that was timed."""

    function: str
    dtype: str
    elements: int
    microseconds: dict[str, float]

    @property
    def copy_fraction(self) -> dict[str, float]:
        """The time of the copy divided by that of each: 1 is the memory limit."""
        copy = self.microseconds["copy"]
        return {who: copy / time for who, time in self.microseconds.items() if who != "copy"}


def cases() -> Sequence[tuple[str, str, int]]:
    """Every (function, dtype, elements) that is timed."""
    return [(f, d, n) for d in DTYPES for n in SIZES for f in NAMES]


def measure(function: str, dtype: str, elements: int, repeats: int = REPEATS) -> Cell:
    """Time one case on the current CUDA device."""
    cupy = importlib.import_module("cupy")
    benchmark = importlib.import_module("cupyx.profiler").benchmark
    x = cupy.random.default_rng(0).standard_normal(elements, cupy.float32).astype(as_dtype(dtype))
    y = cupy.empty_like(x)
    contestants: dict[str, Callable[[], Any]] = {"copy": partial(cupy.copyto, y, x)}
    for kind in dict.fromkeys((most_accurate_kind(FUNCTIONS[function], x.dtype), "linear")):
        contestants[kind] = partial(tabulate(function, dtype, kind=kind), x, out=y)
    torch = installed("torch")
    if torch is not None and torch.cuda.is_available():
        tensor = torch.randn(elements, device="cuda").to(getattr(torch, dtype))
        contestants["PyTorch"] = _without_grad(torch, torch_function(torch, function), tensor)
    times = {
        who: float(np.median(benchmark(run, n_repeat=repeats, n_warmup=5).gpu_times)) * 1e6
        for who, run in contestants.items()
    }
    return Cell(function, dtype, elements, times)


def _without_grad(torch: Any, function: Callable[[Any], Any], x: Any) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return function(x)

    return run


def report(cells: Iterable[Cell]) -> Iterator[str]:
    """A line a cell: µs, fraction of the copy's speed, and who is fastest."""
    for cell in cells:
        fractions = cell.copy_fraction
        columns = (
            f"{who} {cell.microseconds[who]:.1f} us ({f:.2f})" for who, f in fractions.items()
        )
        best = max(fractions, key=lambda who: fractions[who])
        yield (
            f"{cell.function:<10}{cell.dtype:<9}{cell.elements:>11,}  "
            f"copy {cell.microseconds['copy']:.1f} us  {'  '.join(columns)}  fastest: {best}"
        )


def as_json(cells: Iterable[Cell]) -> str:
    """The cells with the device and the versions that they were measured with."""
    cupy = importlib.import_module("cupy")
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    torch = installed("torch")
    record = {
        "benchmark": "elementwise functions against a device-to-device copy of the same bytes",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": properties["name"].decode(),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "versions": {
            "python": platform.python_version(),
            "cupylut": version("cupylut"),
            "cupy": cupy.__version__,
            "torch": None if torch is None else torch.__version__,
        },
        "cells": [asdict(cell) | {"copy_fraction": cell.copy_fraction} for cell in cells],
    }
    return json.dumps(record, indent=2) + "\n"
