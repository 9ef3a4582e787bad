"""What was measured on GPUs, as Markdown: the records in docs/results for docs/performance.md."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..measuring import markdown, records
from ..measuring.records import RESULTS
from ..measuring.timing import FLOOR, microseconds
from ..paper import reproduce
from . import cells, counters, hosttime, targets
from .bandwidth import columns, in_words, verdicts
from .cells import Cell

Lines: TypeAlias = Iterator[str]

MOST = 10
"""Misses of a target that are listed, the worst ones."""


def document(folder: Path = RESULTS) -> Lines:
    """A section for each record of the bandwidth benchmark on a GPU, if there is any."""
    for file, record in records.find(cells.FORMAT, folder).items():
        if record["environment"]["device"] == "cuda":
            yield from section(file, record, folder)


def section(file: str, record: Mapping[str, Any], folder: Path) -> Lines:
    """All that was measured on one device."""
    where = record["environment"]
    found = sorted(cells.of(record), key=lambda c: (c.function, c.dtype, c.elements))
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    yield f"## Measured on {where['name']}"
    yield ""
    yield f"`docs/results/{file}`: {where['date']}, commit {where['commit']}; {versions}."
    yield verdicts(found)
    yield ""
    yield (
        "The largest array of each: µs of a copy of the same bytes, and the fraction of its speed "
        "that each reaches. The default is in bold type; our own loop that computes nothing is "
        '"loop", our formulas without a table are "formula" and "fast".'
    )
    yield ""
    yield from markdown.table(_largest(found))
    yield ""
    yield from _faster(found)
    yield (
        "Our default against the fastest rival, by elements: above 1.05 it wins, below 0.95 it "
        "loses, to whom is said."
    )
    yield ""
    yield from markdown.table(_by_size(found))
    yield ""
    yield (
        f"µs for each call of {hosttime.FUNCTION} on {hosttime.ELEMENTS:,} elements: of the host; "
        f"in a chain of {hosttime.CHAIN_CALLS} until all is done; of the same chain as a CUDA "
        "graph."
    )
    yield ""
    yield from markdown.table(_host(record["host"]))
    yield ""
    yield from _targets(targets.judge(found, where["name"], _figure2(where["name"], folder)))
    for counted in _records(folder, counters.FORMAT, where["name"]):
        if counted["rows"]:
            yield ""
            yield f"Counted by ncu, arrays of {counted['elements']:,} elements:"
            yield ""
            yield from markdown.table(counters.table(counted))
    if record["left_out"]:
        yield ""
        yield f"Left out, by the file with the reason: {len(record['left_out'])} measurements."


def _figure2(name: str, folder: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of figure 2 that `reproduce` measured on this device, if it did."""
    found = _records(folder, reproduce.FORMAT, name)
    return [row for record in found for row in record.get("figure2", ())]


def _records(folder: Path, form: str, name: str) -> list[Mapping[str, Any]]:
    found = records.find(form, folder).values()
    return [record for record in found if record["environment"]["name"] == name]


def _largest(found: Sequence[Cell]) -> Iterator[Sequence[str]]:
    largest = {(cell.function, cell.dtype): cell for cell in found}
    who = columns(list(largest.values()))
    yield ("", "elements", "copy", *who, "verdict")
    for cell in largest.values():
        fractions = (
            "" if w not in cell.times
            else f"**{cell.copy_fraction[w]:.2f}**" if w == cell.default
            else f"{cell.copy_fraction[w]:.2f}"
            for w in who
        )  # fmt: skip
        yield (
            f"{cell.function} {cell.dtype}",
            f"{cell.elements:,}",
            microseconds(cell.times[FLOOR].median),
            *fractions,
            in_words(cell),
        )


def _faster(found: Sequence[Cell]) -> Lines:
    """Where the default is not what to take, for the largest array of each."""
    faster = [
        f"- {cell.function} {cell.dtype}: {in_words(cell)}."
        for cell in {(cell.function, cell.dtype): cell for cell in found}.values()
        if cell.better_kind or (cell.verdict and cell.verdict.outcome == "lost")
    ]
    if faster:
        yield "There, something else than the default is faster for:"
        yield ""
        yield from (*faster, "")


def _by_size(found: Sequence[Cell]) -> Iterator[Sequence[str]]:
    sizes = sorted({cell.elements for cell in found})
    yield ("", *(f"{size:,}" for size in sizes))
    of = {(cell.function, cell.dtype, cell.elements): cell for cell in found}
    for function, dtype in dict.fromkeys((cell.function, cell.dtype) for cell in found):
        here = (of.get((function, dtype, size)) for size in sizes)
        yield (f"{function} {dtype}", *map(_against, here))


def _against(cell: Cell | None) -> str:
    if cell is None or cell.verdict is None:
        return ""
    to = f" {cell.verdict.rival}" if cell.verdict.outcome == "lost" else ""
    return f"{cell.verdict.gain:.2f}{to}"


def _host(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    names = "call", "chain", "graph"
    yield ("library", "who", "dtype", *names)
    for row in rows:
        figures = ("" if row[name] is None else f"{row[name]:.2f}" for name in names)
        yield (row["library"], row["who"], row["dtype"], *figures)


def _targets(outcomes: Sequence[targets.Outcome]) -> Lines:
    yield from markdown.table(
        [
            ("target", "at least", "smallest", "where", ""),
            *(
                (
                    outcome.claim,
                    f"{outcome.least:g}",
                    "" if outcome.smallest is None else f"{outcome.smallest:.2f}",
                    outcome.where,
                    outcome.state,
                )
                for outcome in outcomes
            ),
        ]
    )
    missed = [outcome for outcome in outcomes if outcome.misses]
    if not missed:
        return
    yield ""
    yield "What missed its target, and why:"
    yield ""
    for outcome in missed:
        yield f"- {outcome.claim}, at least {outcome.least:g}:"
        misses = sorted(outcome.misses, key=lambda miss: miss[1])
        yield from (f"  - {where}: {figure:.2f}. {why}." for where, figure, why in misses[:MOST])
        if len(misses) > MOST:
            yield f"  - {len(misses) - MOST} more, nearer to it."
