"""Times of PyTorch calls: medians of runs in turn, and who is fastest.

Contestants take turns, A, B, A, B, …, so that all meet the same clock rate, caches and neighbours.
On a CUDA device a run is timed by events around a single call with nothing else in the queue: what
a caller waits for, the launch included, which is most of it where an array is small. On the CPU it
is the wall clock of `torch.utils.benchmark`, on one thread, after two runs that do not count.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from .speed import installed

Run: TypeAlias = Callable[[], object]
T = TypeVar("T")

LEAST_RUNS, WARM_UP = 3, 3

# Medians that are closer than this change places from run to run.
CLOSE = 1.05

FLOOR = "copy"
"""No contestant: the memory limit that the others are compared with."""


@dataclass(frozen=True)
class Time:
    """Microseconds a call: median, mean and quartiles of so many runs."""

    median: float
    mean: float
    low: float
    high: float
    runs: int


def measure(
    contestants: Mapping[str, Run], device: str, runs: int, seconds: float
) -> dict[str, Time]:
    """The times of contestants on "cpu" or "cuda".

    They run `runs` times each, fewer once `seconds` have passed, and three times at least.
    """
    once = _on_cuda if device == "cuda" else _on_cpu
    for run in contestants.values():
        for _ in range(WARM_UP if device == "cuda" else 1):
            run()
    end = time.monotonic() + seconds
    rounds: list[list[float]] = []
    while len(rounds) < runs and (len(rounds) < LEAST_RUNS or time.monotonic() < end):
        rounds.append([once(run) for run in contestants.values()])
    return {
        name: _summary(np.array(taken) * 1e6)
        for name, taken in zip(contestants, zip(*rounds, strict=True), strict=True)
    }


def _summary(taken: Any) -> Time:
    low, median, high = (float(q) for q in np.quantile(taken, [0.25, 0.5, 0.75]))
    return Time(median, float(taken.mean()), low, high, taken.size)


def _on_cpu(run: Run) -> float:
    from importlib import import_module

    timer = import_module("torch.utils.benchmark").Timer("run()", globals={"run": run})
    return float(timer.timeit(1).mean)


def _on_cuda(run: Run) -> float:
    cuda = installed("torch").cuda
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))
    cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3


def fastest(medians: Mapping[str, float]) -> list[str]:
    """Who is fastest, the floor apart, and who is too close to it to tell."""
    contestants = {who: median for who, median in medians.items() if who != FLOOR}
    limit = CLOSE * min(contestants.values())
    return sorted((w for w, m in contestants.items() if m <= limit), key=contestants.__getitem__)


class Limit:
    """So many seconds from now on, and a list of what is left out after them."""

    def __init__(self, seconds: float, left_out: list[str]) -> None:
        """left_out: what to add to."""
        self.end = time.monotonic() + seconds
        self.left_out = left_out

    def within(self, items: Iterable[T], what: str) -> Iterator[T]:
        """The items as long as there is time; the others are left out, under the name of `what`."""
        for item in items:
            if time.monotonic() < self.end:
                yield item
            else:
                self.left_out.append(f"{what} {item}: out of time")
