"""How near to the memory limit of a device the tables come, and what everybody else reaches there.

The floor of any elementwise function is a copy of the same bytes: each input read once, each output
written once. So every time is given beside that of a copy, and our own loop that computes nothing
stands beside both: what it loses is the loop's, what a table loses to it is the table's.

On a CUDA device a time is that between two events around one call. Before each call the device
reads an array that is several times as large as its caches. So they hold nothing of the inputs,
whatever the size: every input comes from memory, as it does where a layer's arrays are many. And
the device is busy while the call is prepared, so that its launch is not in the time: what a call
costs the host is measured apart (`hosttime`). An output that fits into the second-level cache (some
50 MB on a Hopper GPU) may still be there when the clock stops, for all contestants alike: below
64 MB fractions say less, and may be above 1.

On the CPU it is the wall clock, on one thread: the same path, measured without a GPU.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from ..cuda import require_cupy
from ..dtypes import as_dtype
from ..measuring.environment import installed
from ..measuring.records import Limit, Progress, head, leaving_out
from ..measuring.timing import FLOOR, Run, measure, microseconds
from . import cells, contestants, hosttime, targets
from .cells import FORMAT, Cell
from .formula import DTYPES

# Read before each call on a GPU: several times its caches.
FLUSHED_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long it may take.

    sizes: in elements, those first that must not be left out. runs: at most so many of each
    contestant. seconds: for a cell, after which there are no more runs than five. limit: in seconds
    for all, after which cells are left out.
    """

    device: str
    dtypes: Sequence[str]
    sizes: Sequence[int]
    runs: int
    seconds: float
    limit: float

    def within(self, seconds: float | None) -> "Settings":
        """These settings with another limit."""
        return self if seconds is None else replace(self, limit=seconds)


CPU = Settings(
    device="cpu",
    dtypes=("float32", "bfloat16"),
    sizes=(1 << 20, 1 << 10),
    runs=15,
    seconds=0.3,
    limit=60,
)
CUDA = Settings(
    device="cuda",
    dtypes=DTYPES,
    sizes=tuple(1 << n for n in (28, 26, 24, 30, 20, 22, 16, 18, 12, 14, 10)),
    runs=30,
    seconds=0.5,
    limit=420,
)
SETTINGS = {settings.device: settings for settings in (CPU, CUDA)}


def cases(settings: Settings) -> list[tuple[str, str, int]]:
    """Every (function, dtype, elements) that is timed, in order of worth."""
    paper = [("gelu_tanh", dtype, targets.PAPER_ELEMENTS) for dtype in settings.dtypes]
    found = [
        (f, dtype, n)
        for n in settings.sizes
        for f in contestants.FUNCTIONS
        for dtype in settings.dtypes
    ]
    first = len(contestants.FUNCTIONS) * len(settings.dtypes)
    return [*found[:first], *paper, *found[first:]]


def run(settings: Settings, progress: Progress = list) -> dict[str, Any]:
    """Measure everything; a dictionary that JSON can hold. An interrupt ends it early.

    Raises RuntimeError where there is no such device, saying what to do.
    """
    if settings.device == "cuda":
        require_cupy()
    record = head(FORMAT, settings)
    left_out = record["left_out"]
    limit = Limit(settings.limit, left_out)
    host: list[hosttime.HostTime] = []
    found: list[Cell] = []
    try:
        with leaving_out("host time", left_out.append):
            host += hosttime.measure(settings.device, left_out)
        for function, dtype, elements in limit.within(progress(cases(settings)), "cell"):
            with leaving_out(f"{function}, {dtype}, {elements:,}", left_out.append):
                cell = measure_cell(function, dtype, elements, settings, left_out)
                if cell is not None:
                    found.append(cell)
    except KeyboardInterrupt:
        left_out.append("all that follows: interrupted")
    record["host"] = [asdict(row) for row in host]
    record["cells"] = [cell.as_record() for cell in found]
    record["targets"] = judged(record)
    return record


def judged(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets by a record; there are none on a CPU."""
    where = record["environment"]
    if where["device"] != "cuda":
        return []
    return [asdict(each) for each in targets.judge(cells.of(record), where["name"])]


def measure_cell(
    function: str, dtype: str, elements: int, settings: Settings, left_out: list[str]
) -> Cell | None:
    """One cell; None, with the reason in left_out, if it does not fit or our default fails."""
    device, what = settings.device, f"{function}, {dtype}, {elements:,}"
    # Here, where nothing holds the arrays of the cell before, not even if that failed.
    release(device)
    needed = contestants.MOST_ARRAYS * elements * as_dtype(dtype).itemsize + FLUSHED_BYTES
    if needed > free_bytes(device):
        left_out.append(f"{what}: needs {needed / 2**30:.1f} GiB of memory")
        return None
    torch = installed("torch")
    with nullcontext() if torch is None else torch.inference_mode():
        runs = contestants.contestants(
            function, dtype, elements, device, lambda reason: left_out.append(f"{what}, {reason}")
        )
        default = contestants.default_kind(function, dtype)
        if not {FLOOR, default} <= runs.keys():
            return None
        times = measure(runs, device, settings.runs, settings.seconds, flush(device))
    return Cell(function, dtype, elements, default, times)


def flush(device: str) -> Run | None:
    """What to run before each call on a GPU: see the module."""
    if device == "cpu":
        return None
    cupy = require_cupy()
    return partial(cupy.ones(FLUSHED_BYTES // 4, cupy.float32).sum, out=cupy.empty((), "f"))


def free_bytes(device: str) -> float:
    """Of the device's memory; there is always enough on the CPU for what is measured there."""
    if device == "cpu":
        return float("inf")
    free, _ = require_cupy().cuda.runtime.memGetInfo()
    return float(free)


def release(device: str) -> None:
    """Give the pools' memory back, so that CuPy and PyTorch do not keep it from one another."""
    if device == "cuda":
        require_cupy().get_default_memory_pool().free_all_blocks()
        torch = installed("torch")
        if torch is not None:
            torch.cuda.empty_cache()


# ---- in words -----------------------------------------------------------------------------------


def report(record: dict[str, Any]) -> Iterator[str]:
    """The lines that the command prints."""
    where = record["environment"]
    yield f"{where['name']}, {where['date']}, commit {where['commit'] or 'unknown'}"
    yield (
        "Times of a copy of the same bytes in µs, and the fraction of its speed that each reaches;"
        " * the default"
    )
    measured = sorted(cells.of(record), key=lambda c: (c.function, c.dtype, c.elements))
    for (function, dtype), group in groupby(measured, lambda c: (c.function, c.dtype)):
        yield ""
        yield from table(f"{function} {dtype}", list(group))
    yield ""
    yield verdicts(measured)
    yield ""
    yield from hosttime.report(record["host"])
    if record["targets"]:
        yield ""
        yield "Targets:"
    for target in record["targets"]:
        yield from target_lines(target)
    yield from (f"Left out: {what}" for what in record["left_out"])


def columns(measured: Sequence[Cell]) -> list[str]:
    """Everything that was timed in any of the cells but the copy."""
    return list(dict.fromkeys(w for cell in measured for w in cell.times if w != FLOOR))


def table(title: str, measured: Sequence[Cell]) -> Iterator[str]:
    """Cells of one function and dtype, a row a size."""
    who = columns(measured)
    width = max(13, *map(len, who))
    yield f"{title:<20}{'copy':>9}" + "".join(f"{w:>{width + 2}}" for w in who) + "  verdict"
    for cell in measured:
        fractions = (
            f"{cell.copy_fraction[w]:.2f}{'*' if w == cell.default else ' '}"
            if w in cell.times
            else "- "
            for w in who
        )
        yield (
            f"{cell.elements:>20,}{microseconds(cell.times[FLOOR].median):>9}"
            + "".join(f"{f:>{width + 2}}" for f in fractions)
            + f"  {in_words(cell)}"
        )


def in_words(cell: Cell) -> str:
    """The verdict, and a kind of our own that would have been faster."""
    verdict = "no rival" if cell.verdict is None else str(cell.verdict)
    return verdict if cell.better_kind is None else f"{verdict}; {cell.better_kind} is faster"


def verdicts(measured: Sequence[Cell]) -> str:
    """How often we won, were equal and lost, and to whom."""
    found = [cell.verdict for cell in measured if cell.verdict is not None]
    lost = [verdict.rival for verdict in found if verdict.outcome == "lost"]
    text = ", ".join(
        f"{sum(v.outcome == outcome for v in found)} {outcome}"
        for outcome in ("won", "equal", "lost")
    )
    to = ", ".join(f"{who} in {lost.count(who)}" for who in dict.fromkeys(lost))
    return f"Of {len(found)} cells: {text}" + (f" (to {to})." if to else ".")


def target_lines(target: dict[str, Any]) -> Iterator[str]:
    """A target, its smallest figure, and what missed it."""
    smallest = "" if target["smallest"] is None else f": {target['smallest']:.2f}"
    where = f" ({target['where']})" if target["where"] else ""
    yield f"  {target['claim']}, at least {target['least']:g}: {target['state']}{smallest}{where}"
    for at, figure, why in target["misses"]:
        yield f"    {at}: {figure:.2f}; {why}"
