"""Times of calls: medians of runs in turn, and who is fastest.

Contestants take turns, A, B, A, B, …, so that all meet the same clock rate, caches and neighbours.
On a CUDA device a run is timed by events around a single call. With nothing else in the queue that
is what a caller waits for, the launch included, which is most of it where an array is small; behind
something else that keeps the device busy it is the time of the kernels alone. On the CPU it is the
wall clock, on one thread, of the second of two runs: the first may have to get back memory that the
contestant before it made the allocator return to the system.
"""

import math
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ..cuda import require_cupy
from .environment import installed

Run: TypeAlias = Callable[[], object]

LEAST_RUNS, WARM_UP = 5, 3
BUSY = 0.05  # seconds, in which the clock of an idle device rises

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
    contestants: Mapping[str, Run],
    device: str,
    runs: int,
    seconds: float,
    before: Run | None = None,
) -> dict[str, Time]:
    """The times of contestants on "cpu" or "cuda".

    They run `runs` times each, fewer once `seconds` have passed, and five times at least. On a CUDA
    device `before` is queued first each time, and its own time does not count: while the device is
    busy with it, the launches are prepared. So it is queued as often as a contestant needs.
    """
    torch = installed("torch")
    rounds: list[list[float]] = []
    with nullcontext() if device == "cuda" or torch is None else one_thread(torch):
        for run in contestants.values():
            for _ in range(WARM_UP):
                run()
        once = [partial(_on_cpu, run) for run in contestants.values()]
        if device == "cuda":
            _keep_busy(before or run)
            once = [partial(_on_cuda, run, _queued(before, run)) for run in contestants.values()]
        end = time.monotonic() + seconds
        while len(rounds) < runs and (len(rounds) < LEAST_RUNS or time.monotonic() < end):
            rounds.append([take() for take in once])
    return {
        name: _summary(np.array(taken) * 1e6)
        for name, taken in zip(contestants, zip(*rounds, strict=True), strict=True)
    }


@contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """PyTorch as NumPy is by default: one thread, no autograd."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def _summary(taken: Any) -> Time:
    low, median, high = (float(q) for q in np.quantile(taken, [0.25, 0.5, 0.75]))
    return Time(median, float(taken.mean()), low, high, taken.size)


def _on_cpu(run: Run) -> float:
    return timeit.Timer(run).repeat(2, 1)[1]


def _queued(before: Run | None, run: Run) -> list[Run]:
    """`before` so many times that the device takes twice as long for it as the host for a run."""
    if before is None:
        return []
    synchronize = require_cupy().cuda.runtime.deviceSynchronize
    taken = []
    for _ in range(LEAST_RUNS):
        synchronize()
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return [before] * max(1, math.ceil(2 * float(np.median(taken)) / _on_cuda(before)))


def _keep_busy(run: Run) -> None:
    """Run on the device until its clock has risen: contestants may have been compiled before."""
    end = time.monotonic() + BUSY
    while time.monotonic() < end:
        _on_cuda(run)


def _on_cuda(run: Run, before: Sequence[Run] = ()) -> float:
    """On the default stream, which CuPy and PyTorch share."""
    cuda = require_cupy().cuda
    start, end = cuda.Event(), cuda.Event()
    cuda.runtime.deviceSynchronize()
    for each in before:
        each()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(cuda.get_elapsed_time(start, end)) * 1e-3


def fastest(times: Mapping[str, Time]) -> list[str]:
    """Who is fastest, the floor apart, and who is too close to tell.

    Too close are medians within 5 %, and those whose lower quartile does not lie above the upper
    quartile of the fastest.
    """
    contestants = {who: taken for who, taken in times.items() if who != FLOOR}
    best = min(contestants.values(), key=lambda taken: taken.median)
    close = [
        who
        for who, taken in contestants.items()
        if taken.median <= CLOSE * best.median or taken.low <= best.high
    ]
    return sorted(close, key=lambda who: contestants[who].median)


def ratio(slow: Time, fast: Time) -> tuple[float, float, float]:
    """How many times as fast one is as another: of the medians, at least and at most.

    At least is the lower quartile of one by the upper quartile of the other; at most the reverse.
    """
    return slow.median / fast.median, slow.low / fast.high, slow.high / fast.low


def microseconds(time: float) -> str:
    """Three digits or more."""
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"
