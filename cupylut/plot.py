"""Pictures of tables, with matplotlib (the extra `plot`), which is imported when one is drawn."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .declaration import Float64Array
from .functions import FUNCTIONS
from .tables import LinearTable

# Okabe and Ito's colours, told apart by colour-blind readers too, and in grey by their dashes.
STYLES = (
    ("#D55E00", (4, 1.5)),
    ("#0072B2", (1, 0)),
    ("#009E73", (1.5, 1.5)),
    ("#CC79A7", (6, 1.5, 1.5, 1.5)),
    ("#000000", (3, 3)),
)
_BACKGROUND = "#DDDDDD"

_COLUMNS, _PER_COLUMN = 500, 64
_FLOOR = 1e-10


def error_curves(
    path: str | os.PathLike[str],
    tables: Mapping[str, Mapping[str, LinearTable]],
    inputs: NDArray[Any],
) -> None:
    """Draw |table − f| against x on a log scale into a PNG, a panel for each function.

    tables: by function and by what the legend calls them. inputs: values whose density is shaded
    behind the curves.

    Raises ImportError without matplotlib, and OSError where the file cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: TID251

    figure = Figure(figsize=(9, 3.2 * len(tables)), dpi=120, layout="constrained")
    draw_error_curves(figure, tables, dict.fromkeys(tables, inputs))
    figure.savefig(path, format="png")


def draw_error_curves(
    figure: Any,
    tables: Mapping[str, Mapping[str, LinearTable]],
    inputs: Mapping[str, NDArray[Any]],
) -> None:
    """The same on a figure of matplotlib, or a part of one, with inputs by function."""
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
        axes.set(xlim=(-reach, reach), ylim=(_FLOOR, 1), ylabel="|table − f|")
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
