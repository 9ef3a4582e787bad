"""A record of `reproduce` as tables to read, the same in a terminal and on a page."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, TypeAlias

from ..measuring.timing import FLOOR, Time, microseconds, ratio
from .activation import AS_WRITTEN, COMPILED, FUSED, LINEAR, OURS, USES
from .figure1 import WHO
from .figure2 import GAINS, LENGTH
from .losses import SIZE

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """Paragraphs and a table, which may be empty; `key` names the picture beside it, if any."""

    key: str
    title: str
    text: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def sections(record: Record) -> list[Section]:
    """What a record holds, in the order of the paper."""
    found = [_where(record)]
    if "table1" in record:
        table1 = record["table1"]
        if table1["errors"]:
            found += [_beside(table1), _errors(table1)]
        if table1["losses"]:
            found.append(_losses(record))
        if table1["speed"]:
            found.append(_speed(table1))
    if "figure1" in record:
        found.append(_figure1(record["figure1"]))
    if "figure2" in record:
        found.append(_figure2(record["figure2"]))
    return found


def as_text(record: Record) -> str:
    """The sections for a terminal."""
    return "\n\n".join("\n".join(lines(section)) for section in sections(record))


def lines(section: Section) -> Iterator[str]:
    """A section for a terminal, its paragraphs in lines of 100 characters."""
    yield section.title
    yield "=" * len(section.title)
    for paragraph in section.text:
        yield from wrap(paragraph, 100)
    if not section.rows:
        return
    yield ""
    table = [section.header, *section.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _where(record: Record) -> Section:
    where, settings = record["environment"], record["settings"]
    text = []
    timed = "figure1" in record or "figure2" in record or record["table1"]["speed"]
    if not timed:
        text.append("Errors and losses alone: no times were taken.")
    if timed and where["busy"]:
        text.append(
            f"The machine was busy with other things when this began (load {where['load']} on "
            f"{where['cpus']} CPUs): the times are those of a shared machine. Errors and losses do "
            "not depend on that. Who is fastest is said only where quartiles do not overlap."
        )
    if timed and where["device"] == "cpu":
        text.append(
            "On a CPU the tables are evaluated with NumPy, on one thread as PyTorch beside them. "
            "The times say nothing about a GPU."
        )
    if timed and (reduction := settings["reduction"]):
        text.append(
            f"Reduced for the CPU: models have {reduction['layers']} of their layers and a "
            f"vocabulary of {reduction['vocabulary']:,}; at most {settings['runs']} runs."
        )
    text += [f"Left out: {what}." for what in record["left_out"]]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    text += [
        f"Device: {where['device']}, {where['name']}.",
        f"Processor: {where['processor']}, {where['cpus']} CPUs. System: {where['platform']}.",
        f"Versions: {versions}. Commit: {where['commit'] or 'not in a checkout'}.",
        f"Date: {where['date']}.",
    ]
    return Section("where", "Where this was measured", text, (), ())


# ---- table 1 ------------------------------------------------------------------------------------


def _beside(table1: Record) -> Section:
    size = shown_size(table1["errors"])
    text = [
        "The paper's rows are as it prints them. Its error rates are not reproducible as defined: "
        "no metric and distribution of inputs that was tried gives all three. Here the rate is "
        "mean |e| / mean |f| over held-out inputs. At its Min and Max the error is all clipping.",
        "The calibrated domain has the smallest mean error over the inputs that it was fitted on. "
        "It may lose the maximum to the domain of the worst case: the few inputs beyond its ends "
        "are clipped. And on other inputs of a model another domain may have a smaller mean.",
        "Speed is the time of the activation as the model has it, divided by ours: of medians, and "
        "of the quartiles that make it least and most, for the tokens where the least is largest.",
    ]
    rows = []
    for paper in table1["paper"]:
        name = paper["function"]
        here = {
            r["domain"]: r for r in table1["errors"] if (r["function"], r["size"]) == (name, size)
        }
        if not here:  # interrupted before
            continue
        text.append(_verdict(name, here, table1["inputs"][name]))
        rows.append(
            (
                f"{paper['label']}, published",
                f"{paper['lo']:.3f}",
                f"{paper['hi']:.3f}",
                f"{paper['error_rate']} %",
                "",
                "",
                "",
                f"{paper['speed'] / 100:.2f}x",
            )
        )
        for domain, row in here.items():
            error = row["held_out"]
            rows.append(
                (
                    f"{name}, {domain}",
                    f"{row['lo']:.3f}",
                    f"{row['hi']:.3f}",
                    f"{100 * error['relative']:.2g} %",
                    f"{error['mean_abs']:.1e}",
                    f"{error['max_abs']:.1e}",
                    f"{row['worst']:.1e}",
                    "",
                )
            )
        rows += [
            (f"{name}, {who}", "", "", "", "", "", "", speed) for who, speed in _gains(table1, name)
        ]
    header = ("", "Min", "Max", "error rate", "mean |e|", "max |e|", "any input", "speed at most")
    return Section("table1", f"Table 1, tables of {size} nodes", text, header, rows)


def shown_size(errors: Sequence[Record]) -> int:
    """The nodes of the tables beside the rows of the paper: as many as it has, or the most."""
    sizes = {row["size"] for row in errors}
    return SIZE if SIZE in sizes else max(sizes)


def _verdict(name: str, here: Mapping[str, Record], source: str) -> str:
    """Which domain has the smallest mean and the smallest largest error on held-out inputs."""
    mean = {domain: row["held_out"]["mean_abs"] for domain, row in here.items()}
    largest = {domain: row["held_out"]["max_abs"] for domain, row in here.items()}
    calibrated = here["calibrated"]
    return (
        f"{name} ({source}): the smallest mean error has {_winner(mean)}; calibrated "
        f"{mean['calibrated']:.1e}, worst case {mean['worst case']:.1e}, paper {mean['paper']:.1e}."
        f" The smallest maximum has {_winner(largest)}; calibrated {largest['calibrated']:.1e}, "
        f"worst case {largest['worst case']:.1e}, paper {largest['paper']:.1e}: "
        f"{100 * calibrated['outside']:.2g} % of the inputs lie beyond the ends of the calibrated "
        "domain, and are clipped."
    )


def _winner(errors: Mapping[str, float]) -> str:
    return min(errors, key=errors.__getitem__)


def _gains(table1: Record, name: str) -> Iterator[tuple[str, str]]:
    """The gain of our tables over the activation as it is written, where it is surest."""
    rows = [row for row in table1["speed"] if row["function"] == name]
    for who in (OURS, LINEAR):
        gains = [
            (ratio(Time(**row["times"][AS_WRITTEN]), Time(**row["times"][who])), row)
            for row in rows
        ]
        if gains:
            gain, row = max(gains, key=lambda pair: pair[0][1])
            yield f"{who}, {row['dtype']}, {row['tokens']} tokens", _times_as_fast(gain)


def _times_as_fast(gain: Sequence[float]) -> str:
    return f"{gain[0]:.2f}x ({gain[1]:.2f} to {gain[2]:.2f})"


def _errors(table1: Record) -> Section:
    text = [
        "Linear float32 tables with the nodes on the function. worst case: the domain with the "
        "smallest maximum over all inputs; N(0, 1) and calibrated: with the smallest mean, over "
        "that distribution and over inputs of a model. Errors are over inputs of the same model "
        "that no table was fitted on, over N(0, 1), and the largest over all inputs.",
    ]
    header = (
        "function", "nodes", "domain", "Min", "Max", "clipped", "mean", "rms", "max", "relative",
        "mean N(0, 1)", "rms N(0, 1)", "any input",
    )  # fmt: skip
    rows = [
        (
            r["function"],
            str(r["size"]),
            r["domain"],
            f"{r['lo']:.3f}",
            f"{r['hi']:.3f}",
            f"{100 * r['outside']:.2g} %",
            *(f"{r['held_out'][m]:.1e}" for m in ("mean_abs", "rms", "max_abs", "relative")),
            *(f"{r['normal'][m]:.1e}" for m in ("mean_abs", "rms")),
            f"{r['worst']:.1e}",
        )
        for r in table1["errors"]
    ]
    return Section("errors", "Errors by number of nodes", text, header, rows)


def _losses(record: Record) -> Section:
    steps = record["settings"]["training_steps"]
    text = [
        f"Two character-level transformers, trained here for {steps} steps; the loss in nats a "
        "character of held-out text with another activation in place, and how it differs from that "
        "with the exact one: of the mean, and at each character on average.",
    ]
    rows = [
        (
            r["model"],
            r["activation"],
            f"{r['loss']:.6f}",
            f"{r['change']:+.1e}",
            f"{r['per_character']:.1e}",
        )
        for r in record["table1"]["losses"]
    ]
    header = ("model", "activation", "loss", "change", "at a character")
    return Section("losses", "Loss of trained models", text, header, rows)


# ---- times --------------------------------------------------------------------------------------


def _speed(table1: Record) -> Section:
    rows = table1["speed"]
    text = [
        "Median µs a call, and how many times as fast that is as a copy of the same bytes, which "
        "is the memory limit (1 is at the limit). as written: the module of transformers; fused: "
        "torch.nn.functional; compiled: torch.compile of the first.",
        won(rows, (OURS, LINEAR)),
    ]
    who = (FLOOR, AS_WRITTEN, FUSED, COMPILED, OURS, LINEAR)
    table = [
        (
            f"{r['function']} ({USES[r['function']].model}, {r['width']})",
            r["dtype"],
            str(r["tokens"]),
            *(_time(r["times"], w) for w in who),
            " and ".join(r["fastest"]),
        )
        for r in rows
    ]
    header = ("function", "dtype", "tokens", *who, "fastest")
    return Section("speed", "Speed of the activation", text, header, table)


def won(rows: Sequence[Record], ours: Sequence[str]) -> str:
    """Who is fastest how often, us first."""
    alone = sum(set(row["fastest"]) <= set(ours) for row in rows)
    shared = sum(bool(set(row["fastest"]) & set(ours)) for row in rows) - alone
    others = Counter(who for row in rows for who in row["fastest"] if who not in ours)
    text = f"cupylut is fastest in {alone} of {len(rows)} rows"
    if shared:
        text += f", and too close to the fastest to tell in {shared} more"
    counts = ", ".join(f"{who} in {n}" for who, n in others.most_common())
    return f"{text}. Of the others: {counts}." if others else f"{text}."


def _time(times: Record, who: str) -> str:
    if who not in times:
        return ""
    median = times[who]["median"]
    if who == FLOOR:
        return microseconds(median)
    return f"{microseconds(median)} ({times[FLOOR]['median'] / median:.2f})"


def _figure1(rows: Sequence[Record]) -> Section:
    text = [
        "The activations' share of the time of GPT-2: the time of one, alone, times the number of "
        "layers, divided by that of the model. The paper has 29 % at 1024 tokens, of the chain of "
        "operations that the model is written with. Times of the model in ms.",
        won(rows, (OURS,)),
    ]
    table = [
        (
            str(r["tokens"]),
            r["dtype"],
            str(r["layers"]),
            *(f"{r['model'][w]['median'] / 1e3:.3g} ({100 * r['share'][w]:.0f} %)" for w in WHO),
            " and ".join(r["fastest"]),
        )
        for r in rows
    ]
    header = ("tokens", "dtype", "layers", *WHO, "fastest")
    return Section("figure1", "Figure 1: share of the activation in GPT-2", text, header, table)


def _figure2(rows: Sequence[Record]) -> Section:
    text = [
        f"Models on sequences of {LENGTH} tokens, in ms: as written, with the fused function of "
        "PyTorch in place where the model has a chain, and patched with cupylut. copy: with a copy "
        "in place of the activation, as fast as any activation could make the model. gain: as "
        "written divided by cupylut.",
        won(rows, (OURS,)),
    ]
    who = (FLOOR, AS_WRITTEN, FUSED, OURS)
    best: dict[str, Sequence[float]] = {}
    for row in rows:
        best[row["model"]] = max(row["gain"], best.get(row["model"], (0, 0)), key=lambda g: g[1])
    gains = (f"{m} {_times_as_fast(g)}, paper {GAINS[m]:.2f}x" for m, g in best.items())
    text.append(f"Gains, where they are surest; less than 1 is a loss: {'; '.join(gains)}.")
    table = [
        (
            r["model"],
            r["dtype"],
            str(r["layers"]),
            str(r["batch"]),
            *(f"{r['times'][w]['median'] / 1e3:.3g}" if w in r["times"] else "" for w in who),
            _times_as_fast(r["gain"]),
            " and ".join(r["fastest"]),
        )
        for r in rows
    ]
    header = ("model", "dtype", "layers", "batch", *who, "gain", "fastest")
    return Section("figure2", "Figure 2: latency of models", text, header, table)
