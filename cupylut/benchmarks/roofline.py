"""What a kernel should cost on a GPU, predicted from its machine code; nothing here is measured.

Each resource of the GPU takes its own time for an element, and the slowest one bounds the kernel:

    memory    bytes / (bytes a second)
    issue     instructions / (SMs · clock · 4 schedulers · 32 lanes)
    units     instructions that a unit executes / (SMs · clock · lanes of the unit)
    shared    passes through shared memory / (SMs · clock), for 32 elements

Instructions are those of the vector loop (`counts.py`), passes those of the table's reads for
N(0, 1) inputs (`bank_conflicts.py`) and of the vectors themselves, since loads and stores of global
memory go through the same 128 bytes a clock. The fraction of copy bandwidth is the memory's time
divided by the slowest one's. 1.00 says that nothing but the memory stands in the way of a large
array, not that the kernel reaches it: latency, launch, filling the table, and a clock that sinks
under load are not in the model, and no copy reaches the published bytes a second.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeAlias

from ..defaults import product_table
from ..dtypes import as_dtype
from ..measuring import records
from ..measuring.records import RESULTS
from ..tables import Table
from ..tables.shared_memory import BANKS, WARP, WORD_BYTES
from ..tabulate import tabulate
from . import bank_conflicts, cells, formula
from .cells import Cell
from .counts import COUNTS, LOOP_BYTES, Case

SCHEDULERS = 4  # of an SM; each issues an instruction for 32 lanes a clock
ALU_LANES, SPECIAL_LANES = 64, 16  # of an SM
UNITS = "FMA", "ALU", "SFU", "FP64"
PASS_BYTES = BANKS * WORD_BYTES


@dataclass(frozen=True)
class Card:
    """What is published about a GPU; `device` is in the name that its driver reports."""

    name: str
    device: str
    architecture: int
    bytes_per_second: float
    processors: int
    clock: float
    fma_lanes: int
    double_lanes: int


# Bytes a second, SMs and boost clock: NVIDIA's data sheets of the RTX A6000, A100 (80 GB, SXM),
# H100 (SXM) and H200, whose TFLOPS are SMs · lanes · 2 · clock. That of the B200 gives neither SMs
# nor clock: these are the ones that others list, and they give its 75 TFLOPS. Lanes: "Throughput
# of Native Arithmetic Instructions" in the CUDA C++ Programming Guide, by compute capability.
CARDS = {
    "a6000": Card("RTX A6000", "A6000", 86, 768e9, 84, 1.80e9, 128, 2),
    "a100": Card("A100 80 GB SXM", "A100", 80, 2.039e12, 108, 1.41e9, 64, 32),
    "h100": Card("H100 SXM", "H100", 90, 3.35e12, 132, 1.98e9, 128, 64),
    "h200": Card("H200", "H200", 90, 4.8e12, 132, 1.98e9, 128, 64),
    "b200": Card("B200", "B200", 100, 7.7e12, 148, 1.98e9, 128, 64),
}

Seconds: TypeAlias = float


@dataclass(frozen=True)
class Prediction:
    """A case on a card: figures of one element, `seconds` by what takes them."""

    dtype: str
    kind: str
    function: str
    instructions: float
    reads: int
    read_bytes: int
    passes: float
    moved_bytes: int
    seconds: dict[str, Seconds]

    @cached_property
    def bound(self) -> str:
        """The slowest resource; the memory where it is as slow as another one."""
        return max(self.seconds, key=lambda resource: self.seconds[resource])

    @property
    def copy_fraction(self) -> float:
        """The time of a copy of the same bytes divided by the kernel's."""
        return self.seconds["memory"] / self.seconds[self.bound]

    @property
    def busiest(self) -> str:
        """The busiest resource but memory."""
        return max((r for r in self.seconds if r != "memory"), key=lambda r: self.seconds[r])

    @property
    def reads_in_words(self) -> str:
        """The reads of the table for an element: how many, and of how many bytes."""
        return f"{self.reads} × {self.read_bytes} B" if self.reads else "none"

    @property
    def load(self) -> float:
        """The time of the busiest resource but memory divided by that of a copy."""
        return self.seconds[self.busiest] / self.seconds["memory"]


@cache
def table_of(case: Case) -> Table | None:
    """The table that a case looks up in; None for a formula."""
    dtype, kind, function = case
    if kind in formula.NAMESPACES:
        return None
    if kind == "product":
        return product_table(function, as_dtype(dtype))
    return tabulate(function, dtype, kind=kind)


@cache
def simulated_passes(case: Case, inputs: str = "N(0, 1)") -> float:
    """The passes of a warp's lookups of one element each."""
    table = table_of(case)
    if table is None:
        return 0.0
    return bank_conflicts.simulate(table, bank_conflicts.inputs(inputs, as_dtype(case[0])))


def predict(card: Card, case: Case) -> Prediction:
    """One case on one card."""
    count, table = COUNTS[case][card.architecture], table_of(case)
    reads = [] if table is None else bank_conflicts.reads(table)
    item_bytes = as_dtype(case[0]).itemsize
    elements = LOOP_BYTES // item_bytes
    moved = item_bytes * (3 if case[1] == "product" else 2)
    passes = simulated_passes(case)
    clocks = card.processors * card.clock  # of all SMs, in a second
    seconds = {
        "memory": moved / card.bytes_per_second,
        "issue": count.instructions / elements / (clocks * SCHEDULERS * WARP),
        "FMA": count.fma / elements / (clocks * card.fma_lanes),
        "ALU": count.alu / elements / (clocks * ALU_LANES),
        "SFU": count.special / elements / (clocks * SPECIAL_LANES),
        "FP64": count.double / elements / (clocks * card.double_lanes),
        "shared": (passes / WARP + moved / PASS_BYTES) / clocks,
    }
    return Prediction(
        *case,
        instructions=count.instructions / elements,
        reads=len(reads),
        read_bytes=reads[0][1] if reads else 0,
        passes=passes,
        moved_bytes=moved,
        seconds=seconds,
    )


def measured_on(card: Card, folder: Path = RESULTS) -> list[Cell]:
    """The cells that `bench bandwidth` measured on a card, in the results of a folder."""
    return [
        cell
        for record in records.find(cells.FORMAT, folder).values()
        if card.device in record["environment"]["name"]
        for cell in cells.of(record)
    ]


def measured(case: Case, on_card: Sequence[Cell]) -> float | None:
    """The fraction of copy bandwidth that a case reaches in the largest array, if measured."""
    dtype, kind, function = case
    found = [
        (cell.elements, cell.copy_fraction[who])
        for cell in on_card
        for name, who in [(cells.GATED, cell.default) if kind == "product" else (function, kind)]
        if (cell.function, cell.dtype) == (name, dtype) and who in cell.copy_fraction
    ]
    return max(found)[1] if found else None


def report(card: Card, folder: Path = RESULTS) -> Iterator[str]:
    """The lines that the command prints."""
    yield f"{card.name}, sm_{card.architecture}; published: {describe(card)}"
    yield "Predicted, every figure but those in the last column; times are picoseconds an element."
    yield (
        f"{'dtype':<9}{'table':<11}{'function':<10}{'instr.':>6}  {'reads':<9}{'passes':>6}"
        f"{'bytes':>6}{'memory':>8}{'issue':>7}{'shared':>7}{'busiest unit':>13}  {'bound':<7}"
        f"{'of copy':>7}  measured"
    )
    on_card = measured_on(card, folder)
    for case in COUNTS:
        p, fraction = predict(card, case), measured(case, on_card)
        memory, issue, shared = (p.seconds[name] * 1e12 for name in ("memory", "issue", "shared"))
        unit = max(UNITS, key=lambda unit: p.seconds[unit])
        yield (
            f"{p.dtype:<9}{p.kind:<11}{p.function:<10}{p.instructions:6.2f}  {p.reads_in_words:<9}"
            f"{p.passes:6.2f}{p.moved_bytes:6}{memory:8.2f}{issue:7.2f}{shared:7.2f}"
            f"{unit:>7}{p.seconds[unit] * 1e12:6.2f}  {p.bound:<7}{p.copy_fraction:7.2f}  "
            + ("not measured" if fraction is None else f"{fraction:.2f}")
        )
    yield ""
    yield f"The paper's NewGELU on its {PAPER_CARD.name}, float32, predicted:"
    for step in paper():
        yield (
            f"  {step.name:<35}{step.moved_bytes:3} bytes{step.seconds * 1e12:7.2f} ps an element"
            f"{step.gain:6.2f}x"
        )
    yield f"The paper measured {PAPER_GAIN}x in all."


def describe(card: Card) -> str:
    """The published figures in words."""
    return (
        f"{card.bytes_per_second / 1e12:.4g} TB/s, {card.processors} SMs at "
        f"{card.clock / 1e9:.2f} GHz"
    )


def as_json(card: Card, folder: Path = RESULTS) -> str:
    """What `report` says, for programs."""
    on_card = measured_on(card, folder)
    predictions = []
    for case in COUNTS:
        p = predict(card, case)
        derived = {"bound": p.bound, "copy_fraction": p.copy_fraction}
        fraction = {"measured_copy_fraction": measured(case, on_card)}
        predictions.append(asdict(p) | derived | fraction)
    record = {
        "model": "predicted from static instruction counts and simulated bank passes",
        "card": asdict(card),
        "predicted": predictions,
        "predicted_newgelu": [asdict(step) for step in paper()],
    }
    return json.dumps(record, indent=1) + "\n"


# --- the paper's situation ---

PAPER_CARD = CARDS["a6000"]
PAPER_GAIN = 8.93  # of its Table 1, 892.87 %

# 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) in PyTorch, one kernel each: what it computes, and how
# many arrays it reads. Each writes one.
NEW_GELU_KERNELS = (
    ("0.5 · x", 1),
    ("x³", 1),
    ("0.044715 · x³", 1),
    ("x + …", 2),
    ("√(2/π) · …", 1),
    ("tanh", 1),
    ("1 + …", 1),
    ("0.5 · x · …", 2),
)


@dataclass(frozen=True)
class Step:
    """One way to compute NewGELU: bytes and seconds an element, and how much faster than before."""

    name: str
    moved_bytes: int
    seconds: Seconds
    gain: float


def paper(dtype: str = "float32") -> Iterable[Step]:
    """From the chain of kernels over one kernel with the formula to one with the paper's table.

    The chain is taken to be bound by memory, as its fused form is, which executes as much in fewer
    bytes.
    """
    chain_bytes = sum(arrays + 1 for _, arrays in NEW_GELU_KERNELS) * as_dtype(dtype).itemsize
    chain = chain_bytes / PAPER_CARD.bytes_per_second
    fused = predict(PAPER_CARD, (dtype, "formula", "gelu_tanh"))
    table = predict(PAPER_CARD, (dtype, "linear", "gelu"))
    one, looked_up = fused.seconds[fused.bound], table.seconds[table.bound]
    return (
        Step(f"{len(NEW_GELU_KERNELS)} kernels, as the model runs it", chain_bytes, chain, 1.0),
        Step("fused: 1 kernel, the same formula", fused.moved_bytes, one, chain / one),
        Step("tabulated: 1 kernel, 1024 nodes", table.moved_bytes, looked_up, one / looked_up),
    )
