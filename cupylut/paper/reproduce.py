"""The paper's experiments, redone on one device: `python -m cupylut reproduce`.

`run` gives one record, a dictionary that JSON can hold: where it was measured and how, and for
each part its rows. `summary` makes tables of it, and `report` a page.
"""

import bisect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import Any

from ..cuda import require_cupy
from ..measuring.environment import installed
from ..measuring.records import Limit, Progress, head, leaving_out
from . import activation, figure1, figure2, losses, table1
from .models import ARCHITECTURES, Reduction
from .table1 import TABLE1

FORMAT = "cupylut results 1"

PARTS = ("table1", "figure1", "figure2")

ROWS = ("errors", "losses", "speed")
"""Of table 1: the first two need no GPU, the last is of times."""


@dataclass(frozen=True)
class Settings:
    """What is measured on a device, and how long it may take.

    runs: at most so many of each contestant. seconds: for a row, after which there are no more
    runs than five. limits: in seconds for the speeds of each part, shared among its functions or
    models and dtypes, after which rows are left out. They are measured in the order given, those
    first that are missed most.
    """

    device: str
    dtypes: Sequence[str]
    sizes: Sequence[int]
    tokens: Sequence[int]
    model_tokens: Sequence[int]
    batches: Sequence[int]
    reduction: Reduction | None
    training_steps: int
    runs: int
    seconds: float
    limits: tuple[float, float, float]

    def within(self, seconds: float | None) -> "Settings":
        """These settings with so many seconds for all parts, shared out as before."""
        if seconds is None:
            return self
        of_each = seconds / sum(self.limits)
        table1, figure1, figure2 = (of_each * limit for limit in self.limits)
        return replace(self, seconds=of_each * self.seconds, limits=(table1, figure1, figure2))


CPU = Settings(
    device="cpu",
    dtypes=("float32",),
    sizes=table1.SIZES,
    tokens=(128, 512, 2048),
    model_tokens=(64, 128, 256, 512, 1024),
    batches=(1, 2, 4),
    reduction=Reduction(layers=1, vocabulary=1000),
    training_steps=losses.STEPS,
    runs=25,
    seconds=1.5,
    limits=(60, 40, 100),
)
CUDA = Settings(
    device="cuda",
    dtypes=("float32", "float16"),
    sizes=table1.SIZES,
    tokens=(128, 256, 512, 1024, 2048),
    model_tokens=(64, 128, 256, 512, 1024),
    batches=(1, 8, 64, 2, 4, 16, 32),
    reduction=None,
    training_steps=losses.STEPS,
    runs=100,
    seconds=2.0,
    limits=(120, 60, 200),
)
SETTINGS = {settings.device: settings for settings in (CPU, CUDA)}


def require(device: str) -> None:
    """Raise RuntimeError, saying what to do, where the experiments cannot run on a device."""
    lacking = [name for name in ("torch", "transformers") if installed(name) is None]
    if lacking:
        raise RuntimeError(
            f"the experiments need {' and '.join(lacking)}: pip install 'cupylut[transformers]'"
        )
    if device == "cuda":
        require_cupy()
        if not installed("torch").cuda.is_available():
            raise RuntimeError(
                "PyTorch sees no CUDA device: give --device cpu, or install its CUDA build"
            )


def run(parts: Sequence[str], settings: Settings, progress: Progress = list) -> dict[str, Any]:
    """Redo parts of the paper; see the module.

    What fails is left out, with the reason in the record, so that the rest is not lost; an
    interrupt ends it early. Raises RuntimeError as `require` does, and if there is nothing at all.
    """
    require(settings.device)
    record = head(FORMAT, settings)
    left_out = record["left_out"]
    measure = {"table1": _table1, "figure1": _figure1, "figure2": _figure2}
    try:
        for part in parts:
            with leaving_out(part, left_out.append):
                measure[part](settings, progress, record)
    except KeyboardInterrupt:
        left_out.append("all that follows: interrupted")
    for part in parts:
        if not _measured(record.get(part)):
            record.pop(part, None)
    if not any(part in record for part in parts):
        raise RuntimeError(f"nothing could be measured: {'; '.join(left_out)}")
    return read(json.dumps(record))


def _measured(part: Any) -> bool:
    """Whether a part has any rows."""
    return any(part[key] for key in ROWS) if isinstance(part, dict) else bool(part)


# Each puts its rows into the record as it goes, so that those taken before a failure are there.


def _table1(settings: Settings, progress: Progress, record: dict[str, Any]) -> None:
    left_out = record["left_out"]
    found: dict[str, Any] = {
        "paper": [{"function": name} | asdict(published) for name, published in TABLE1.items()],
        "inputs": {name: table1.inputs(name).source for name in TABLE1},
        **{key: [] for key in ROWS},
    }
    record["table1"] = found
    for case in progress([(function, size) for function in TABLE1 for size in settings.sizes]):
        found["errors"] += map(asdict, table1.measure(*case))
    for model in progress(losses.MODELS if settings.training_steps else ()):
        found["losses"] += map(asdict, losses.measure(model, settings.training_steps))
    if settings.tokens and (reason := activation.why_not_compiled(settings.device)):
        left_out.append(f"torch.compile: {reason}")
    cases = [(f, d) for f in TABLE1 for d in settings.dtypes]
    for (function, dtype), limit in Limit(settings.limits[0], left_out).shared(cases, progress):
        what = f"speed of {function}, {dtype}, tokens"
        for tokens in limit.within(settings.tokens, what):
            with leaving_out(f"{what} {tokens}", left_out.append):
                row = activation.time(function, dtype, tokens, *_budget(settings))
                found["speed"].append(asdict(row))


def _figure1(settings: Settings, progress: Progress, record: dict[str, Any]) -> None:
    left_out, found = record["left_out"], record.setdefault("figure1", [])
    for dtype, limit in Limit(settings.limits[1], left_out).shared(settings.dtypes, progress):
        what = f"figure 1, {dtype}, tokens"
        lengths = limit.within(settings.model_tokens, what)
        with leaving_out(f"{what} from here on", left_out.append):
            for row in figure1.rows(lengths, dtype, settings.reduction, *_budget(settings)):
                found.append(asdict(row))


def _figure2(settings: Settings, progress: Progress, record: dict[str, Any]) -> None:
    left_out, found = record["left_out"], record.setdefault("figure2", [])
    cases = [(n, d) for n in ARCHITECTURES for d in settings.dtypes]
    for (name, dtype), limit in Limit(settings.limits[2], left_out).shared(cases, progress):
        what = f"figure 2, {name}, {dtype}, batch"
        batches, first = limit.within(settings.batches, what), len(found)
        with leaving_out(f"{what}es from here on", left_out.append):  # out of memory, above all
            for row in figure2.rows(name, batches, dtype, settings.reduction, *_budget(settings)):
                bisect.insort(found, asdict(row), first, key=itemgetter("batch"))


def _budget(settings: Settings) -> tuple[str, int, float]:
    return settings.device, settings.runs, settings.seconds


def read(text: str) -> dict[str, Any]:
    """The record in a file that `reproduce --json` wrote; ValueError where it is something else."""
    try:
        record = json.loads(text)
        form = record["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError("no results of `python -m cupylut reproduce --json`") from error
    if form != FORMAT:
        raise ValueError(f"results of format {form!r}: this version reads {FORMAT!r}")
    if not any(part in record for part in PARTS):
        raise ValueError(f"results without any of {', '.join(PARTS)}")
    return dict(record)
