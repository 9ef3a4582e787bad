"""The experiments in pictures."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..declaration import Float64Array
from ..dtypes import FLOAT32
from ..functions import FUNCTIONS
from ..measuring.figures import STYLES, add_legend, new_figure, set_ticks
from ..measuring.timing import FLOOR
from ..tables import LinearTable
from . import table1
from .demo import Comparison, Inputs
from .figure1 import WHO
from .summary import Record, shown_size

_BACKGROUND = "#DDDDDD"

# What a model takes without its activations.
_REST = "#CCCCCC"

# Of the curves of errors.
_COLUMNS, _PER_COLUMN = 500, 64
_LEAST_ERROR = 1e-10


def _table1(figure: Any, record: Record) -> None:
    tables: dict[str, dict[str, LinearTable]] = {}
    errors = record["table1"]["errors"]
    size = shown_size(errors)
    for row in errors:
        if row["size"] == size and row["domain"] != "N(0, 1)":
            tables.setdefault(row["function"], {})[row["domain"]] = LinearTable.build(
                FUNCTIONS[row["function"]], FLOAT32, row["lo"], row["hi"], size
            )
    _error_curves(figure, tables, {name: table1.inputs(name).held_out for name in tables})


def _error_curves(
    figure: Any,
    tables: Mapping[str, Mapping[str, LinearTable]],
    inputs: Mapping[str, NDArray[Any]],
) -> None:
    """|table − f| against x on a log scale, a panel for each function.

    tables: by function and by what the legend calls them. inputs: by function, values whose density
    is shaded behind the curves.
    """
    panels = figure.subplots(len(tables), squeeze=False)[:, 0]
    for axes, (name, by_label) in zip(panels, tables.items(), strict=True):
        reach = 1.15 * max(max(-table.lo, table.hi) for table in by_label.values())
        density = axes.twinx()
        density.hist(
            inputs[name],
            bins=120,
            range=(-reach, reach),
            color=_BACKGROUND,
            label="density of the inputs",
        )
        density.set(yticks=[])
        axes.set_zorder(density.get_zorder() + 1)  # curves in front of the density
        axes.patch.set_visible(False)
        for (label, table), (color, dashes) in zip(by_label.items(), STYLES, strict=False):
            x, error = _envelope(table, reach)
            axes.semilogy(x, error, color=color, dashes=dashes, lw=1.6, label=label)
        domains = (f"{label} {t.lo:.3f}, {t.hi:.3f}" for label, t in by_label.items())
        axes.set_title(f"{name}:  {';  '.join(domains)}", fontsize="medium")
        axes.set(xlim=(-reach, reach), ylim=(_LEAST_ERROR, 1), ylabel="|table − f|")
        axes.grid(color="0.8", lw=0.5)
    panels[-1].set_xlabel("x")
    handles = [h for ax in (axes, density) for h in ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)


def _envelope(table: LinearTable, reach: float) -> tuple[Float64Array, Float64Array]:
    """The largest error in each of a few hundred columns, as it swings from node to node."""
    edges = np.linspace(-reach, reach, _COLUMNS + 1)
    x = np.linspace(-reach, reach, _COLUMNS * _PER_COLUMN, dtype=table.dtype)
    error = np.abs(table(x).astype(np.float64) - FUNCTIONS[table.name](x))
    return (edges[:-1] + edges[1:]) / 2, error.reshape(_COLUMNS, _PER_COLUMN).max(axis=1)


def _errors_by_size(figure: Any, record: Record) -> None:
    rows = record["table1"]["errors"]
    functions = list(dict.fromkeys(row["function"] for row in rows))
    panels = figure.subplots(len(functions), 2, sharex=True, sharey="row", squeeze=False)
    for (mean, largest), function in zip(panels, functions, strict=True):
        for axes, metric in ((mean, "mean_abs"), (largest, "max_abs")):
            for domain, (color, dashes) in zip(table1.DOMAINS, STYLES, strict=False):
                of = [r for r in rows if (r["function"], r["domain"]) == (function, domain)]
                x, y = [r["size"] for r in of], [r["held_out"][metric] for r in of]
                axes.loglog(x, y, color=color, dashes=dashes, marker="o", ms=4, label=domain)
            axes.grid(color="0.8", lw=0.5)
        mean.set_ylabel(function)
    panels[0, 0].set_title("mean |e|, held-out inputs", fontsize="medium")
    panels[0, 1].set_title("max |e|, held-out inputs", fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel("nodes")
        set_ticks(axes, {row["size"] for row in rows})
    add_legend(figure, panels[0, 0])


def _speed(figure: Any, record: Record) -> None:
    rows = record["table1"]["speed"]
    cases = list(dict.fromkeys((row["function"], row["dtype"]) for row in rows))
    names = dict.fromkeys(w for row in rows for w in row["times"] if w != FLOOR)
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axes, case in zip(panels, cases, strict=True):
        of = [row for row in rows if (row["function"], row["dtype"]) == case]
        who = {w for row in of for w in row["times"]} - {FLOOR}
        for name, (color, dashes) in zip(names, STYLES, strict=False):
            if name in who:
                y = [r["times"][FLOOR]["median"] / r["times"][name]["median"] for r in of]
                x = [r["tokens"] for r in of]
                axes.loglog(x, y, color=color, dashes=dashes, marker="o", ms=4, label=name)
        axes.axhline(1, color="0.5", lw=1)
        axes.set_title(" ".join(case), fontsize="medium")
        set_ticks(axes, {row["tokens"] for row in of})
        axes.set_xlabel("tokens")
        axes.grid(color="0.8", lw=0.5)
    panels[0].set_ylabel("copy's time / time")
    add_legend(figure, panels[0])


def _figure1(figure: Any, record: Record) -> None:
    rows = record["figure1"]
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    panels = figure.subplots(len(dtypes), 1, squeeze=False)[:, 0]
    for axes, dtype in zip(panels, dtypes, strict=True):
        of = [row for row in rows if row["dtype"] == dtype]
        place = np.arange(len(of))
        for i, (who, (color, _)) in enumerate(zip(WHO, STYLES, strict=False)):
            x = place + (i - 1) * 0.27
            whole = np.array([r["model"][who]["median"] for r in of]) / 1e3
            share = np.array([r["share"][who] for r in of])
            axes.bar(x, whole, 0.25, color=_REST)
            axes.bar(x, whole * share, 0.25, color=color, label=f"activation, {who}")
            for at, height, part in zip(x, whole, share, strict=True):
                axes.text(at, height, f"{100 * part:.0f}%", ha="center", va="bottom", fontsize=7)
        axes.set_xticks(place, [str(r["tokens"]) for r in of])
        axes.set(ylabel=f"ms, {dtype}", yscale="linear")
    panels[-1].set_xlabel("tokens")
    add_legend(figure, panels[0])


def _figure2(figure: Any, record: Record) -> None:
    rows = record["figure2"]
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    panels = figure.subplots(1, len(dtypes), sharey=True, squeeze=False)[0]
    for axes, dtype in zip(panels, dtypes, strict=True):
        of = [row for row in rows if row["dtype"] == dtype]
        models = dict.fromkeys(row["model"] for row in of)
        for model, (color, dashes) in zip(models, STYLES, strict=False):
            x = [row["batch"] for row in of if row["model"] == model]
            y, least, most = zip(*(row["gain"] for row in of if row["model"] == model), strict=True)
            axes.semilogx(x, y, color=color, dashes=dashes, marker="o", ms=4, label=model)
            axes.fill_between(x, least, most, color=color, alpha=0.12, lw=0)
        axes.axhline(1, color="0.5", lw=1)
        set_ticks(axes, {row["batch"] for row in of})
        axes.set_title(dtype, fontsize="medium")
        axes.set_xlabel("batch")
        axes.grid(color="0.8", lw=0.5)
    panels[0].set_ylabel("as written / cupylut")
    add_legend(figure, panels[0])


def demo_errors(
    path: str | os.PathLike[str], comparisons: Sequence[Comparison], inputs: Inputs
) -> None:
    """Draw the errors of the demo's tables into a PNG file.

    Raises ImportError without matplotlib, and OSError where the file cannot be written.
    """
    tables = {
        c.name: {"paper's Min, Max": c.paper.table, "optimal Min, Max": c.optimal.table}
        for c in comparisons
    }
    figure = new_figure(3.2 * len(tables))
    _error_curves(figure, tables, dict.fromkeys(tables, inputs.values))
    figure.savefig(path, format="png")


_PICTURES: Mapping[str, tuple[str, float, Callable[[Any, Record], None]]] = {
    "table1": ("errors", 8.5, _table1),
    "errors": ("errors", 8.0, _errors_by_size),
    "speed": ("speed", 3.6, _speed),
    "figure1": ("figure1", 3.8, _figure1),
    "figure2": ("figure2", 3.8, _figure2),
}
"""By the key of a section: the rows of the record it shows, its height in inches, who draws it."""


def keys(record: Record) -> list[str]:
    """The sections of a record that have a picture: those with anything to draw."""
    found = record | record.get("table1", {})
    return [key for key, (rows, _, _) in _PICTURES.items() if found.get(rows)]


def svg(record: Record, key: str) -> bytes:
    """The picture of one section. The same record gives the same bytes."""
    from matplotlib import rc_context  # noqa: TID251

    _, height, draw = _PICTURES[key]
    figure = new_figure(height)
    draw(figure, record)
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "cupylut"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def png(path: str | os.PathLike[str], record: Record) -> None:
    """Draw all the pictures below one another into a PNG file.

    Raises ImportError without matplotlib, and OSError where the file cannot be written.
    """
    found = [_PICTURES[key][1:] for key in keys(record)]
    heights = [height for height, _ in found]
    figure = new_figure(sum(heights))
    parts = figure.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (_, draw) in zip(parts, found, strict=True):
        draw(part, record)
    figure.savefig(path, format="png")
