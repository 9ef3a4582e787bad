"""Files of results: how they begin, what is left out of them and why, and where they are kept."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from . import environment

T = TypeVar("T")
Progress: TypeAlias = Callable[[Iterable[Any]], Iterable[Any]]

RESULTS = Path(__file__).parents[2] / "docs" / "results"
"""Where a checkout keeps measurements, if there are any."""


def head(form: str, settings: Any) -> dict[str, Any]:
    """The beginning of a record of this format, measured with settings that name a device."""
    return {
        "format": form,
        "environment": environment.describe(settings.device),
        "settings": asdict(settings),
        "left_out": [],
    }


@contextmanager
def leaving_out(what: str, left_out: Callable[[str], None]) -> Iterator[None]:
    """Tell left_out what fails in here, with the reason, and go on: the rest is not lost."""
    try:
        yield
    except Exception as error:  # of CUDA, a compiler, a rival, whatever it may be
        left_out(f"{what}: {type(error).__name__}: {error}".partition("\n")[0])


class Limit:
    """So many seconds from now on, and a list of what is left out after them."""

    def __init__(self, seconds: float, left_out: list[str]) -> None:
        """left_out: what to add to."""
        self.end = time.monotonic() + seconds
        self.left_out = left_out

    def shared(self, items: Sequence[T], progress: Progress = list) -> Iterator[tuple[T, "Limit"]]:
        """Each item with its share of the time that those before it have left."""
        for number, item in enumerate(progress(items)):
            share = (self.end - time.monotonic()) / (len(items) - number)
            yield item, Limit(share, self.left_out)

    def within(self, items: Iterable[T], what: str) -> Iterator[T]:
        """The items as long as there is time; the others are left out, under the name of `what`."""
        for item in items:
            if time.monotonic() < self.end:
                yield item
            else:
                self.left_out.append(f"{what} {item}: out of time")


def find(form: str, folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The records of one format in a folder, by file name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("format") == form:
            found[path.name] = record
    return found
