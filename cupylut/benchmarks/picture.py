"""The bandwidth benchmark in a picture."""

import os
from collections.abc import Mapping
from itertools import cycle
from typing import Any

from ..measuring.figures import STYLES, add_legend, new_figure
from . import cells

# Every colour with one marker, then with the next.
_LINES = [
    {"color": color, "dashes": dashes, "marker": marker}
    for marker in "os^"
    for color, dashes in STYLES
]


def fractions(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Draw the fractions of copy bandwidth in a record of `bandwidth` into a PNG file.

    Raises ImportError without matplotlib, and OSError where the file cannot be written.
    """
    measured = cells.of(record)
    functions = list(dict.fromkeys(cell.function for cell in measured))
    dtypes = list(dict.fromkeys(cell.dtype for cell in measured))
    names = dict.fromkeys(w for cell in measured for w in cell.times if w not in cells.FLOORS)
    figure = new_figure(1 + 2.4 * len(functions))
    panels = figure.subplots(len(functions), len(dtypes), sharex=True, sharey=True, squeeze=False)
    for row, function in zip(panels, functions, strict=True):
        for axes, dtype in zip(row, dtypes, strict=True):
            here = [cell for cell in measured if (cell.function, cell.dtype) == (function, dtype)]
            here.sort(key=lambda cell: cell.elements)
            for who, style in zip(names, cycle(_LINES), strict=False):
                of = [cell for cell in here if who in cell.times]
                x = [cell.elements for cell in of]
                y = [cell.copy_fraction[who] for cell in of]
                axes.loglog(x, y, label=who, ms=3, lw=1.2, **style)
            axes.axhline(1, color="0.5", lw=1)
            axes.grid(color="0.8", lw=0.5)
            axes.set_title(f"{function} {dtype}", fontsize="medium")
        row[0].set_ylabel("copy's time / time")
    for axes in panels[-1]:
        axes.set_xlabel("elements")
    add_legend(figure, panels[0, 0])
    figure.savefig(path, format="png")
