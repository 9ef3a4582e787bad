"""What the library is meant to reach on a GPU, and whether a record of measurements reaches it.

A target that is missed is named with its reason, as far as the measurement and the model know one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import roofline
from .cells import EAGER, EMPTY_LOOP, GATED, NEW_GELU, Cell
from .counts import COUNTS

Figure: TypeAlias = tuple[Cell | str, float]
"""What was measured, and where."""

REACHED, MISSED, NOT_MEASURED = "reached", "missed", "not measured"

UNARY = ("gelu", "gelu_tanh", "silu", "mish", "softplus")
NARROW = ("float16", "bfloat16")

# GPT-2's MLP at 2048 tokens, where the paper measured the chain.
PAPER_ELEMENTS = 2048 * 3072


@dataclass(frozen=True)
class Target:
    """A claim: each figure must be at least this."""

    claim: str
    least: float
    figures: Callable[[Sequence[Cell], Sequence[Mapping[str, Any]]], Iterable[Figure]]


@dataclass(frozen=True)
class Outcome:
    """What became of a target: the smallest figure, where, and every miss with its reason."""

    claim: str
    least: float
    state: str
    smallest: float | None
    where: str
    misses: Sequence[tuple[str, float, str]]


def _fractions(dtypes: Sequence[str]) -> Any:
    def figures(cells: Sequence[Cell], _: Any) -> Iterable[Figure]:
        for cell in cells:
            if cell.is_large and cell.dtype in dtypes and cell.function in UNARY:
                yield cell, cell.copy_fraction[cell.default]

    return figures


def _gains(rival: str, where: Callable[[Cell], bool]) -> Any:
    def figures(cells: Sequence[Cell], _: Any) -> Iterable[Figure]:
        for cell in filter(where, cells):
            gain = cell.gain(rival)
            if gain is not None:
                yield cell, gain

    return figures


def _figure2(_: Any, rows: Sequence[Mapping[str, Any]]) -> Iterable[Figure]:
    for row in rows:
        yield f"{row['model']}, {row['dtype']}, batch {row['batch']}", row["gain"][0]


TARGETS = (
    Target("float32, tensors of 64 MB or more: of copy bandwidth", 0.95, _fractions(["float32"])),
    Target("16 bits, tensors of 64 MB or more: of copy bandwidth", 0.90, _fractions(NARROW)),
    Target("every cell: times as fast as PyTorch eager", 1.0, _gains(EAGER, lambda cell: True)),
    Target(
        "gelu in 16 bits, tensors of 64 MB or more: times as fast as PyTorch eager",
        1.15,
        _gains(EAGER, lambda c: c.function == "gelu" and c.dtype in NARROW and c.is_large),
    ),
    Target(
        "gelu_tanh of 2048 tokens, 3072 wide: times as fast as the NewGELU chain",
        8.9,
        _gains(NEW_GELU, lambda cell: cell.elements == PAPER_ELEMENTS),
    ),
    Target(
        "swiglu, tensors of 64 MB or more: times as fast as F.silu(gate)·up",
        1.6,
        _gains(EAGER, lambda cell: cell.function == GATED and cell.is_large),
    ),
    Target("figure 2: times as fast as the model as it is", 1.0, _figure2),
)


def judge(
    cells: Sequence[Cell], device: str, figure2: Sequence[Mapping[str, Any]] = ()
) -> list[Outcome]:
    """Every target, by the cells measured on a device and the rows of `reproduce figure2` there."""
    return [_outcome(target, list(target.figures(cells, figure2)), device) for target in TARGETS]


def _outcome(target: Target, figures: Sequence[Figure], device: str) -> Outcome:
    if not figures:
        return Outcome(target.claim, target.least, NOT_MEASURED, None, "", ())
    where, smallest = min(figures, key=lambda figure: figure[1])
    misses = [
        (str(at), figure, reason(at, device)) for at, figure in figures if figure < target.least
    ]
    state = MISSED if misses else REACHED
    return Outcome(target.claim, target.least, state, smallest, str(where), misses)


def reason(where: Cell | str, device: str) -> str:
    """Why the default table is not faster: what its loop takes, and the bound that is predicted."""
    if isinstance(where, str):
        return "a whole model: see the times beside it"
    if not where.is_large:
        return "a small array: launch and table fill, which the model leaves out"
    said = []
    loop = where.copy_fraction.get(EMPTY_LOOP)
    if loop is not None:
        said.append(f"the loop alone reaches {loop:.2f} of the copy")
    prediction = predicted(where, device)
    if prediction is None:
        said.append("the model knows no such kernel or device")
    else:
        said.append(
            f"predicted {prediction.copy_fraction:.2f} of the copy, bound by {prediction.bound}"
            + (f"; next is {prediction.busiest}" if prediction.bound == "memory" else "")
        )
    return "; ".join(said)


def predicted(cell: Cell, device: str) -> roofline.Prediction | None:
    """What the model says of the default table on this device, of another function if need be."""
    card = next((c for c in roofline.CARDS.values() if c.device in device), None)
    kind, function = cell.default, cell.function
    if function == GATED:
        kind, function = "product", "silu"
    cases = [case for case in COUNTS if case[:2] == (cell.dtype, kind)]
    if card is None or not cases:
        return None
    own = (cell.dtype, kind, function)
    return roofline.predict(card, own if own in cases else cases[0])
