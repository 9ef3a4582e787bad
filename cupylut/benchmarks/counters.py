"""What the hardware counts while the main kernels run, read by Nsight Compute: `ncu`.

ncu runs this module's `workload`, in which each kernel is launched once, and writes a table of CSV,
of which `parse` makes rows. Where ncu is missing, or its user may not read the counters, the record
says so and has no rows. ncu leaves the clocks of the device as they are.
"""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from .. import gated
from ..cuda import require_cupy
from ..measuring import environment
from ..measuring.rivals import normal
from ..measuring.timing import Run
from . import formula
from .contestants import tables

FORMAT = "cupylut counters 1"

# float32 arrays of 256 MB, 16-bit ones of 128 MB.
ELEMENTS = 1 << 26

CASES = (("gelu", "float32"), ("gelu", "float16"), ("gelu", "bfloat16"), ("mish", "float32"))
FORMULAS = (("formula", "gelu"), ("fast", "gelu"))
FORMULA_DTYPES = ("float32", "bfloat16")

KERNELS = "regex:^(elementwise|product)"
"""The names of our kernels, for ncu; CuPy's own are called otherwise."""

METRICS = {
    "gpu__time_duration.sum": "duration",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__inst_issued.avg.pct_of_peak_sustained_active": "issue_percent",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum": "bank_conflicts",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
}
"""What is counted, by ncu's name and by ours; ncu says in which unit."""

SECONDS = 40
"""After which ncu is given up, and the record says so."""


@dataclass(frozen=True)
class Row:
    """A kernel by what it computes, and the figures of METRICS with their units."""

    what: str
    kernel: str
    figures: Mapping[str, float | None]
    units: Mapping[str, str]


def workload() -> dict[str, Run]:
    """The launches that are counted, in order, on the current device."""
    cupy = require_cupy()
    found: dict[str, Run] = {}
    for dtype in dict.fromkeys(dtype for _, dtype in CASES):
        x, z = normal(cupy, 2 * ELEMENTS, dtype).reshape(2, -1)
        y = cupy.empty_like(x)
        for function in (f for f, d in CASES if d == dtype):
            for kind, table in tables(function, dtype).items():
                found[f"{function} {dtype} {kind}"] = partial(table, x, out=y)
        found[f"swiglu {dtype}"] = partial(gated.swiglu, x, z, out=y)
        if dtype in FORMULA_DTYPES:
            found[f"loop {dtype}"] = partial(formula.run, formula.LOOP, x, y)
            for kind, function in FORMULAS:
                name = formula.name(kind, function)
                found[f"{function} {dtype} {kind}"] = partial(formula.run, name, x, y)
    return found


def run() -> None:
    """Launch everything once, and say what was launched: for ncu to look on."""
    for what, launch in workload().items():
        launch()
        print(f"launched: {what}", flush=True)
    require_cupy().cuda.runtime.deviceSynchronize()


def command(ncu: str) -> list[str]:
    """The command line that has ncu look on."""
    code = "from cupylut.benchmarks import counters; counters.run()"
    return [
        ncu,
        *("--csv", "--page", "raw", "--clock-control", "none", "--print-units", "base"),
        *("--kernel-name", KERNELS, "--metrics", ",".join(METRICS)),
        *(sys.executable, "-P", "-c", code),
    ]


def measure() -> dict[str, Any]:
    """The record: rows, or why there are none. Raises RuntimeError without a CUDA device."""
    require_cupy()
    record: dict[str, Any] = {
        "format": FORMAT,
        "environment": environment.describe("cuda"),
        "elements": ELEMENTS,
        "skipped": "",
        "rows": [],
    }
    ncu = shutil.which("ncu")
    if ncu is None:
        return record | {"skipped": "there is no ncu (Nsight Compute) on the PATH"}
    ended = _run(command(ncu))
    if ended is None:
        return record | {"skipped": f"ncu took more than {SECONDS} s"}
    output, errors, status = ended
    rows = parse(output)
    if not rows:
        return record | {"skipped": why(output + errors, status)}
    return record | {"rows": [asdict(row) for row in rows]}


def _run(command: Sequence[str]) -> tuple[str, str, int] | None:
    """Output, errors and exit status; None if it takes too long.

    Then its children are stopped too: the program that ncu looked on would disturb what follows.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            return *process.communicate(timeout=SECONDS), process.returncode
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def why(output: str, status: int) -> str:
    """The reason why ncu counted nothing, in its own words."""
    if "ERR_NVGPUCTRPERM" in output:
        return "this user may not read the GPU's counters (ERR_NVGPUCTRPERM)"
    errors = [line for line in output.splitlines() if "==ERROR==" in line or "Error:" in line]
    return errors[0].strip() if errors else f"ncu counted nothing and ended with {status}"


def parse(output: str) -> list[Row]:
    """The rows in what ncu printed: its CSV, between lines of its own and of the program.

    The CSV has a line of names, one of units, and then a line for each launch, in order.
    """
    lines = output.splitlines()
    launched = [line.removeprefix("launched: ") for line in lines if line.startswith("launched: ")]
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    table = [line for line in lines[start:] if line.startswith('"')]
    rows = list(csv.DictReader(io.StringIO("\n".join(table))))
    if len(rows) < 2:
        return []
    units, *launches = rows
    return [
        Row(
            what,
            found["Kernel Name"].partition("(")[0],
            {ours: number(found.get(metric)) for metric, ours in METRICS.items()},
            {ours: units.get(metric) or "" for metric, ours in METRICS.items()},
        )
        for what, found in zip(launched, launches, strict=False)
    ]


def number(text: str | None) -> float | None:
    """A figure of ncu's; None for what it could not count.

    >>> number("1,234.5"), number("n/a")
    (1234.5, None)
    """
    try:
        return float((text or "").replace(",", ""))
    except ValueError:
        return None


def report(record: Mapping[str, Any]) -> Iterator[str]:
    """The lines that the command prints."""
    if record["skipped"]:
        yield f"No counters: {record['skipped']}"
        return
    yield f"{record['environment']['name']}, {record['elements']:,} elements"
    for row in table(record):
        what, *figures = row
        yield f"{what:<28}" + "".join(f"{figure:>18}" for figure in figures)


def table(record: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The header and the rows of a record in words."""
    yield ("kernel", *METRICS.values())
    for row in record["rows"]:
        yield (row["what"], *(_figure(row, name) for name in METRICS.values()))


def _figure(row: Mapping[str, Any], name: str) -> str:
    figure = row["figures"][name]
    if figure is None:
        return "-"
    unit = "" if row["units"][name] in ("%", "", "register/thread") else f" {row['units'][name]}"
    return f"{figure:,.4g}{unit}" if figure < 1e4 else f"{figure:,.0f}{unit}"
