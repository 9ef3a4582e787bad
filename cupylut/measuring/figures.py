"""What the pictures have in common. matplotlib (the extra `plot`) is imported when one is drawn."""

from collections.abc import Iterable
from typing import Any

WIDTH = 8.0
"""Inches."""

# Okabe and Ito's colours, told apart by colour-blind readers too, and in grey by their dashes.
STYLES = (
    ("#D55E00", (4, 1.5)),
    ("#0072B2", (1, 0)),
    ("#009E73", (1.5, 1.5)),
    ("#CC79A7", (6, 1.5, 1.5, 1.5)),
    ("#000000", (3, 3)),
)


def new_figure(height: float) -> Any:
    """A figure of so many inches."""
    from matplotlib.figure import Figure  # noqa: TID251

    return Figure(figsize=(WIDTH, height), dpi=120, layout="constrained")


def set_ticks(axes: Any, values: Iterable[int]) -> None:
    """These and no others, on a logarithmic axis."""
    places = sorted(values)
    axes.set_xticks(places, [str(value) for value in places])
    axes.xaxis.minorticks_off()


def add_legend(figure: Any, axes: Any) -> None:
    """What is in these axes, above the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False
    )
