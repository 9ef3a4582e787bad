"""What a call on a small array costs the host: checks, choice of the table, launch.

1,024 elements, which no device is busy with for long. On a CUDA device a call returns once the work
is queued; that is the time of the host. Whoever waits for a chain of such calls waits for the host
too, unless the chain is a CUDA graph, which one call launches: both are measured, for each call.
"""

import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from ..cuda import require_cupy
from ..measuring.environment import installed
from ..measuring.records import leaving_out
from ..measuring.rivals import (
    as_tensor,
    expression,
    normal,
    scipy_expression,
    special_functions,
    torch_function,
)
from ..measuring.timing import Run, one_thread

FUNCTION, ELEMENTS = "gelu", 1024
DTYPES = ("float32", "float16")

CALLS, REPEATS, CHAIN_CALLS = 200, 15, 20

Capture: TypeAlias = Callable[[Run], Run]


@dataclass(frozen=True)
class HostTime:
    """µs for each call: of the host; of a chain of calls until all is done; of its CUDA graph."""

    library: str
    who: str
    dtype: str
    call: float
    chain: float | None
    graph: float | None


def measure(device: str, left_out: list[str]) -> list[HostTime]:
    """The rows of NumPy, and of PyTorch and CuPy on a device; what fails is left out."""
    torch = installed("torch")
    found: list[HostTime] = []
    with nullcontext() if torch is None else torch.inference_mode():
        for dtype in DTYPES:
            x = normal(np, ELEMENTS, dtype)
            with nullcontext() if torch is None else one_thread(torch):
                found += _rows("NumPy", dtype, _numpy(x), None, left_out)
                if torch is not None and device == "cpu":
                    found += _rows("PyTorch", dtype, _torch(torch, x), None, left_out)
            if device == "cuda":
                x = require_cupy().asarray(x)
                found += _rows("CuPy", dtype, _cupy(x), _cupy_graph, left_out)
                if torch is not None and torch.cuda.is_available():
                    graph = partial(_torch_graph, torch)
                    found += _rows("PyTorch", dtype, _torch(torch, x), graph, left_out)
    return found


def _numpy(x: Any) -> Mapping[str, Run]:
    ours = getattr(ops, FUNCTION)
    return {
        "cupylut": partial(ours, x),
        "cupylut, out=": partial(ours, x, out=np.empty_like(x)),
        "SciPy": partial(scipy_expression, FUNCTION, x),
    }


def _cupy(x: Any) -> Mapping[str, Run]:
    ours = getattr(ops, FUNCTION)
    who, special = special_functions("cuda")
    return {
        "cupylut": partial(ours, x),
        "cupylut, out=": partial(ours, x, out=require_cupy().empty_like(x)),
        who: partial(expression, special, FUNCTION, x),
    }


def _torch(torch: Any, x: Any) -> Mapping[str, Run]:
    tensor = as_tensor(torch, x)
    native = torch_function(torch, FUNCTION)
    return {
        "cupylut": partial(getattr(ops, FUNCTION), tensor),
        "PyTorch": partial(native, tensor),
    }


def _rows(
    library: str,
    dtype: str,
    runs: Mapping[str, Run],
    capture: Capture | None,
    left_out: list[str],
) -> Iterator[HostTime]:
    for who, run in runs.items():
        what, repeated = f"host time, {library}, {dtype}, {who}", partial(_repeat, run)
        call = chain = graph = None
        with leaving_out(what, left_out.append):
            call = per_call(run)
            if capture is not None:
                chain = until_done(repeated)
        if call is None:
            continue
        if capture is not None:
            with leaving_out(f"{what}, graph", left_out.append):
                graph = until_done(capture(repeated))
        yield HostTime(library, who, dtype, call, chain, graph)


def per_call(run: Run) -> float:
    """Median µs of a call, without waiting for what it queued."""
    timer = timeit.Timer(run)
    timer.timeit(CALLS)
    return float(np.median(timer.repeat(REPEATS, CALLS))) / CALLS * 1e6


def _repeat(run: Run) -> None:
    for _ in range(CHAIN_CALLS):
        run()


def until_done(chain: Run) -> float:
    """Median µs of a call in a chain, until the device has done all of them."""
    synchronize = require_cupy().cuda.runtime.deviceSynchronize
    seconds = []
    for _ in range(REPEATS + 3):
        synchronize()
        start = time.perf_counter()
        chain()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[3:])) / CHAIN_CALLS * 1e6


def _torch_graph(torch: Any, chain: Run) -> Run:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        chain()
    replay: Run = graph.replay
    return replay


def _cupy_graph(chain: Run) -> Run:
    """Captured on a stream of its own, whose pool has the memory that the calls take."""
    stream = require_cupy().cuda.Stream(non_blocking=True)
    with stream:
        chain()
        stream.synchronize()
        stream.begin_capture()
        try:
            chain()
        finally:
            graph = stream.end_capture()
    return partial(graph.launch, stream)


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows of a record as a table to read."""
    yield (
        f"{FUNCTION} of {ELEMENTS:,} elements, µs a call: of the host, and in a chain of "
        f"{CHAIN_CALLS}"
    )
    yield f"{'library':<10}{'':<15}{'dtype':<9}{'call':>8}{'chain':>8}{'graph':>8}"
    for row in rows:
        figures = (
            "-" if row[name] is None else f"{row[name]:.2f}" for name in ("call", "chain", "graph")
        )
        yield f"{row['library']:<10}{row['who']:<15}{row['dtype']:<9}" + "".join(
            f"{figure:>8}" for figure in figures
        )
