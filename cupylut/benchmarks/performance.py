"""docs/performance.md: what was measured, what the model says, and which table to use when."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from ..measuring.markdown import table
from ..measuring.records import RESULTS
from . import bank_conflicts, formula, measured, roofline
from .counts import COUNTS, Case

Rows: TypeAlias = Iterator[Sequence[str]]

# Instructions an element on sm_90 that the kernels are meant to come down to, and the cases with
# the most and the fewest that stand for them; none where there is no such table.
BUDGETS: tuple[tuple[str, float, tuple[Case, ...]], ...] = (
    ("full, all 65,536 results", 5, (("float16", "full", "gelu"),)),
    ("direct, windows, bfloat16", 12, (("bfloat16", "direct", "gelu"),)),
    ("compact, float16", 19, (("float16", "compact", "gelu"), ("float16", "compact", "silu"))),
    ("compact, bfloat16", 22, (("bfloat16", "compact", "gelu"), ("bfloat16", "compact", "silu"))),
    (
        "gate, float32 on every input",
        22,
        (("float32", "gate", "silu"), ("float32", "gate", "gelu")),
    ),
    ("linear, one read", 10, (("float32", "linear", "gelu"), ("bfloat16", "linear", "gelu"))),
    ("swiglu, bfloat16", 20, (("bfloat16", "product", "silu"),)),
)

TITLE = """\
# Performance

Written by `python -m cupylut model --markdown docs/performance.md`; not by hand.
"""

NOTHING_MEASURED = "**Nothing on this page was measured on a GPU.** Every figure about one is"
MEASURED = "What was measured on GPUs comes first. Every figure behind that is"

INTRODUCTION = """\
{so_far} *predicted*, from the
instructions in the compiled kernels, from simulated passes through shared memory and from what is
published about the card. `python -m cupylut bench bandwidth` measures; [gpu.md](gpu.md) says how.
`python -m cupylut model --gpu h100` prints a card's predictions in full, with the measurement
beside each where there is one in `docs/results/`. What NumPy takes, `make bench` tells.
"""

ADVICE = """\
## Which table to use

- Leave the choice to the library, `cupylut.gelu(x)`, where accuracy counts: "direct" in 16 bits,
  "gate" or "polynomial" in float32 and float64. Direct tables are *predicted* to run at the memory
  limit of large arrays on all five cards, and on an A6000, A100 or H100 so are all 16-bit and
  float32 tables, so that a less accurate one gains nothing.
- `tabulate(name, dtype, kind="compact")` has the same results as "direct", for four functions, from
  384 or 512 bytes. It has no bank conflicts whatever the inputs are, takes more instructions, and
  is *predicted* to be as fast: on a B200 within 3 %. In float16 it is worth a try, where a direct
  table has 55 KB to fill in every block.
- `kind="full"` has the fewest instructions of all tables, but as many passes through shared memory
  as "direct", which bound both where the memory is fast. Nothing is *predicted* to be won by it.
- `kind="linear"` is what the paper does. In float32 it needs less than half of the instructions
  that "gate" does, and is off by 1e-5 instead of 1 ulp. It pays, if at all, where memory is fast.
- In float64 the A6000 has 2 lanes an SM for double precision, which bounds every table; the
  polynomials read 11 or 13 words of 8 bytes, so that shared memory is *predicted* to bound gelu on
  an H200 or a B200.
- A formula in one kernel is *predicted* to be at the memory limit too: in float32 on all five
  cards, in 16 bits on an A6000, an A100 or an H100. There a table is the more accurate one, not the
  faster one. On an H200 some formulas in 16 bits take longer than a copy, on a B200 all of them do.
  So expect speed of a table where it replaces *several* kernels, or in 16 bits on a fast memory.
- A formula of the hardware's approximations is *predicted* to be at the limit everywhere, and needs
  fewer instructions than "direct", "compact" or "gate". Where 2⁻¹¹ is near enough and one kernel of
  your own is no trouble, write `tanh.approx`; a table is for results that are as near as the dtype
  allows.
- For small arrays none of this counts: launch and table fill do, which the model leaves out.
"""

LOADS = """\
## Fraction of copy bandwidth, *predicted*

In parentheses the busiest resource but memory, and its time divided by that of a copy: below 1.00
there is room, above it the kernel takes as much longer than a copy. "formula" is f computed in
float32, as PyTorch does, in this library's loop; "fast" the same with the approximations that the
hardware has, off by up to 2⁻¹¹ in the gelus; "product" is z·f(x), as in swiglu.
"""

PASSES = """\
## Passes through shared memory, simulated

For one lookup of a warp, all reads together; the fewest possible are one for each read of 4 bytes
or less, two for 8 bytes, four for 16. Compact tables take one pass a read whatever the inputs are:
a coefficient's 32 values lie in 32 banks. "Half zeros" is N(0, 1) with every other value 0 on
average, "smooth" a wave of amplitude 2 and 4,096 elements, "sorted" N(0, 1) in order, "by warp" in
each 256 elements.
"""

INSTRUCTIONS = """\
## Instructions an element

All instructions of the vector loop on sm_90, counted in the machine code, against what was aimed
at. What the loop itself needs is shared by 8 elements in float32 and by 16 in 16 bits. float32
tables were to keep their promise on every input in 32 instructions, or in 22 above a cut; they keep
it on every input in fewer than 22, so that none has a cut. swiglu in bfloat16 looks f up
by the pattern of x, with float32 results, so that the product is rounded from a value 2¹⁴ times as
near as bfloat16 asks. Nor has a copy of the window for each lane been built, 180 KB that would take
one pass: as direct tables are *predicted* to be at the memory limit, it has nothing to win.
"""

PAPER = f"""\
## The paper's 8.9×

The paper's largest gain, {roofline.PAPER_GAIN}×, is that of OpenAI's GELU on an A6000. GPT-2
computes 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) with a kernel for each operation, all bound by
memory:
"""

PAPER_END = """\
So the bytes moved account for 9.0×, which is what the paper measured within 1 %. One kernel with
the same formula would be as fast: the table's part of the gain is *predicted* to be none on this
card, for large arrays. What the model does not explain is the paper's 1.95× for GELU and 1.97× for
SiLU: PyTorch computes each with one kernel already, and the model puts such a kernel at the memory
limit of an A6000, where no table can help.
"""

MODEL = """\
## The model

For every element, each resource takes its own time, and the slowest one bounds the kernel: memory
(published bytes a second), instruction issue (four a clock and SM), the units that execute float32
multiply-adds (FMA), integers and comparisons (ALU), special functions (SFU) and double precision
(FP64), and shared memory (one pass a clock and SM, for the vectors of global memory too).

It leaves out latency, launches, the filling of tables, caches, and the clock, which sinks under
load. No copy reaches the published bytes a second, so that there is a little more room than shown.
1.00 says that nothing but memory stands in the way, not that it is reached.

Where a formula branches, both ways are counted, so formulas may be a little faster than shown.
"""


def loads() -> Rows:
    """The predicted fractions of copy bandwidth, a row a case."""
    yield "dtype", "table", "function", *(card.name for card in roofline.CARDS.values())
    for case in COUNTS:
        yield *case, *(load(roofline.predict(card, case)) for card in roofline.CARDS.values())


def load(p: roofline.Prediction) -> str:
    """One cell: the fraction, and the busiest resource but memory."""
    return f"{p.copy_fraction:.2f} ({p.busiest} {p.load:.2f})"


def passes() -> Rows:
    """The simulated passes, a row a table."""
    yield "dtype", "table", "function", "reads", *bank_conflicts.INPUTS
    for case in COUNTS:
        if case[1] not in (*formula.NAMESPACES, "product"):
            yield passes_of(case)


def passes_of(case: Case) -> Sequence[str]:
    """One of these rows."""
    reads = roofline.predict(roofline.CARDS["h100"], case).reads_in_words
    simulated = (roofline.simulated_passes(case, inputs) for inputs in bank_conflicts.INPUTS)
    return *case, str(reads), *(f"{passes:.1f}" for passes in simulated)


def budgets() -> Rows:
    """What was aimed at and what was reached."""
    yield "", "aim", "reached"
    for what, aim, cases in BUDGETS:
        reached = [roofline.predict(roofline.CARDS["h100"], case).instructions for case in cases]
        figures = "–".join(f"{figure:.1f}" for figure in reached)
        missed = " (missed)" if max(reached) > aim else ""
        yield what, f"{aim:g}", f"{figures}{missed}"


def chain() -> Rows:
    """The paper's chain of kernels."""
    yield "kernel", "bytes an element, float32", "*predicted* ps"
    for name, arrays in roofline.NEW_GELU_KERNELS:
        moved = 4 * (arrays + 1)
        picoseconds = moved / roofline.PAPER_CARD.bytes_per_second * 1e12
        yield name, str(moved), f"{picoseconds:.2f}"


def steps() -> Rows:
    """What replaces it."""
    yield "", "bytes an element", "*predicted* ps", "*predicted* gain"
    for step in roofline.paper():
        yield step.name, str(step.moved_bytes), f"{step.seconds * 1e12:.2f}", f"{step.gain:.2f}×"


def cards() -> Rows:
    """What is published."""
    yield "*published*", "memory", "SMs", "clock", "FMA lanes an SM", "FP64 lanes an SM"
    for c in roofline.CARDS.values():
        memory, clock = f"{c.bytes_per_second / 1e12:.4g} TB/s", f"{c.clock / 1e9:.2f} GHz"
        yield c.name, memory, str(c.processors), clock, str(c.fma_lanes), str(c.double_lanes)


def document(folder: Path = RESULTS) -> str:
    """The Markdown page, with what was measured in the results of a folder."""
    found = list(measured.document(folder))
    sections = (
        (TITLE,),
        (INTRODUCTION.format(so_far=MEASURED if found else NOTHING_MEASURED),),
        *([found] if found else []),
        (ADVICE,),
        (LOADS, *table(loads(), left=3)),
        (PASSES, *table(passes(), left=3)),
        (INSTRUCTIONS, *table(budgets())),
        (PAPER, *table(chain()), "", *table(steps())),
        (PAPER_END,),
        (MODEL, *table(cards())),
    )
    return "\n".join("\n".join(section).rstrip("\n") + "\n" for section in sections)
