"""Find a small polynomial table of a function: what `PolynomialTable.build` calls.

For each degree and for each side, layouts are tried from the one with the fewest segments on. In
each segment P goes through the function at Chebyshev points, which is within a few per cent of the
best polynomial; its coefficients are rounded to the dtype; then the kernel's steps are taken, with
their roundings, at points that fill each segment, and compared with the reference. The first layout
that is good enough is kept, else the first that keeps the promise where it is searched. Of the
degrees, unless a table grows much larger by it, the one is taken whose lookups take the fewest
passes through shared memory for inputs of N(0, 1).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import NamedTuple, TypeVar

import numpy as np

from ..accuracy import UNMEASURED
from ..declaration import Float64Array, Function
from ..dtypes import DType, ulp
from ..tables.polynomial import PolynomialTable, Side
from ..tables.shared_memory import BLOCK_BYTES, WARP, passes
from ..tables.shipped import unparse
from .branches import (
    GROWTH,
    PROMISE,
    STRICTER,
    TARGET,
    Branch,
    Goal,
    branches_of,
    cancels,
    divides_by_x,
    ended,
    float64_error,
    is_closed,
    magnitudes,
    values,
    zero_floor,
)
from .kinks import at_kink
from .segments import Fitted, Quality, checked, fit_branch

# Odd ones by itemsize, so that entries of an odd number of words begin in different banks of shared
# memory; the last need the most room.
DEGREES = {4: (7, 5, 3), 8: (11, 9, 7)}

Item = TypeVar("Item")


class Design(NamedTuple):
    """Segments of one degree for all of a function."""

    branches: tuple[Branch, ...]
    parts: tuple[Fitted, ...]

    @property
    def words(self) -> int:
        return sum(part.rows.size for part in self.parts)

    @property
    def quality(self) -> Quality:
        """That of the worst part; checked and good if all of them are."""
        qualities = [part.quality for part in self.parts]
        return max(qualities)._replace(
            checked=all(quality.checked for quality in qualities),
            good=all(quality.good for quality in qualities),
        )


def fit(f: Function, dtype: DType, error: float | None) -> PolynomialTable:
    """A small table within the promise, or within `error`; see `PolynomialTable.build`."""
    with np.errstate(all="ignore"):
        table = _fit(f, dtype, error)
        if error is not None and table.worst_ulp > 1:
            raise ValueError(
                f"no polynomial table is within an error of {error:g} of {f.name} in {dtype.name}: "
                f"the tails are off by {table.worst_ulp * error:.3g}"
            )
        return table.measured(f, beyond=True)


def _fit(f: Function, dtype: DType, error: float | None) -> PolynomialTable:
    growth = GROWTH if error is None else 1
    if error is None and dtype.itemsize == 8:
        error = float64_error(f)
    floor = zero_floor(f, dtype) if error is None else 0.0
    target = STRICTER if error or floor else TARGET
    product = divides_by_x(f)
    closed = not product and is_closed(f)
    goal = Goal(f, dtype, error, product, floor, target, growth=growth, closed=closed)
    if error is None and any(cancels(goal, branch) for branch in branches_of(goal, 0.0)):
        goal = replace(goal, lines=False)
    if floor and not zero_floor(f, dtype, ends=False):
        exact = replace(goal, floor=0.0, target=TARGET)
        found = best(exact, [ended(branch, dtype) for branch in branches_of(exact, 0.0)])
        if found and found.quality.good:
            return assemble(exact, found)
    return assemble(goal, within_promise(goal))


def within_promise(goal: Goal) -> Design:
    """The design to take; ValueError where none is good enough."""
    f, dtype, error = goal.f, goal.dtype, goal.error
    # What the tail may be off by: nothing in float32, if the table has room for that.
    allowed = [0.9 * error] if error else [0.0, 2.0**-26] if dtype.itemsize == 4 else [2.0**-53]
    designs = []
    for off in allowed:
        branches: list[Branch] | None = branches_of(goal, off)
        while branches and (design := best(goal, branches)):
            if design.quality.keeps(goal.promise):
                return design
            designs.append(design)
            branches = at_kink(f, dtype, branches, design.parts, design.quality.at)
    nearest = min(designs, key=lambda design: design.quality, default=None)
    if nearest is None:
        raise ValueError(f"no polynomial table of {f.name} fits in {BLOCK_BYTES:,} bytes")
    bound = f"an error of {error:g}" if error else f"{PROMISE:g} ulp"
    worst, at, *_ = nearest.quality
    reached = f"{worst * error:.3g}" if error else f"{worst:.3g} ulp"
    count, columns = sum(len(part.rows) for part in nearest.parts), nearest.parts[0].rows.shape[1]
    raise ValueError(
        f"no polynomial table of at most {BLOCK_BYTES:,} bytes is within {bound} of {f.name} in "
        f"{dtype.name}: the best, {count} segments of degree {columns - 2}, is off by {reached} at "
        f'{at:.6g}. A larger absolute error= may be in reach, or kind="linear"'
    )


def best(goal: Goal, branches: list[Branch]) -> Design | None:
    """The best design that is good enough, or else the one that comes nearest to that."""
    designs: list[Design] = []
    for degree in progress(DEGREES[goal.dtype.itemsize]):
        smallest = min((design.words for design in designs if design.quality.good), default=None)
        words = goal.room(smallest) if smallest else BLOCK_BYTES // goal.dtype.itemsize
        parts: list[Fitted] = []
        for branch in branches:
            room = words // (degree + 2) - sum(part.layout.count for part in parts)
            part = fit_branch(goal, branch, degree, room)
            if part is None:
                break
            parts.append(part)
        else:
            designs.append(Design(tuple(branches), tuple(parts)))
    good = [design for design in designs if design.quality.good]
    kept = [design for design in designs if design.quality.keeps(goal.promise)]
    if good or kept:
        return fastest(goal, good or kept)
    if not designs:
        return None
    nearest = min(designs, key=lambda design: design.quality)
    pairs = zip(branches, nearest.parts, strict=True)
    return nearest._replace(parts=tuple(checked(goal, branch, part) for branch, part in pairs))


def fastest(goal: Goal, designs: list[Design]) -> Design:
    """Of the designs that are not much larger than the smallest, the one with the fewest passes."""
    dtype, most = goal.dtype, goal.room(min(design.words for design in designs))
    x = np.random.default_rng(0).standard_normal((256, WARP)).astype(dtype)

    def cost(design: Design) -> tuple[float, int]:
        rows, entries = apart_in_banks(dtype, design.parts)
        places = np.empty(x.shape, np.int64)
        for branch, part, entry in zip(design.branches, design.parts, entries, strict=True):
            for member in branch.members:
                on = np.signbit(x) == (member.sign < 0)
                places[on] = entry + part.layout.place(np.abs(x[on]))
        columns = rows.shape[1]
        reads = passes(places * columns * dtype.itemsize, dtype.itemsize)
        return float(columns * reads.mean()), design.words

    return min((design for design in designs if design.words <= most), key=cost)


def progress(degrees: Iterable[Item]) -> Iterable[Item]:
    """The degrees, with a progress bar after one second where tqdm is installed."""
    if not find_spec("tqdm"):
        return degrees
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(degrees, "fitting", delay=1, leave=False, disable=None)
    return bar


def assemble(goal: Goal, design: Design) -> PolynomialTable:
    """The table of a design."""
    sides: dict[float, Side] = {}
    ends, tail_error = [], 0.0
    rows, entries = apart_in_banks(goal.dtype, design.parts)
    for branch, part, entry in zip(design.branches, design.parts, entries, strict=True):
        for member in branch.members:
            scale = member.factor * 2.0**-part.k
            sides[member.sign] = Side(part.layout, scale, member.slope, member.intercept, entry)
    for sign, tail in ((-1, goal.f.left), (1, goal.f.right)):
        layout, x = sides[sign].layout, magnitudes(goal.dtype)
        # Within a spacing of the limit, a + offset already rounds to where the tail begins.
        spacings = np.abs(np.spacing(goal.dtype.type([layout.limit, layout.limit + layout.offset])))
        end = layout.limit - 2 * spacings.max()
        x = sign * np.array([end, layout.limit, *x[x > layout.limit]])
        exact = values(goal.f, x)
        gap = np.abs(exact - tail(x)) if tail else np.zeros_like(x)
        near = goal.error is not None or (gap <= goal.target * goal.tolerance(exact))[1:].all()
        ends.append(np.inf if near else float(end))
        tail_error = tail_error if near else max(tail_error, float(gap.max()))
    table = PolynomialTable(
        name=goal.f.name,
        dtype=goal.dtype,
        product=goal.product,
        closed=goal.closed,
        left=sides[-1],
        right=sides[1],
        rows=rows,
        domain=(-ends[0], ends[1]),
        tail_error=tail_error,
        floor=goal.floor,
        error=goal.error,
        worst_ulp=design.quality.worst,
        report=UNMEASURED,
    )
    # In the tails, where the slope of the line is rounded too.
    a = np.append(magnitudes(goal.dtype), [sides[-1].layout.limit, sides[1].layout.limit])
    x = np.concatenate([-a[a >= sides[-1].layout.limit], a[a >= sides[1].layout.limit]])
    x = x[(x >= table.domain[0]) & (x <= table.domain[1])].astype(goal.dtype)
    if x.size:
        y, exact = np.empty_like(x), values(goal.f, x.astype(np.float64))
        table.evaluate(x, y)
        error = np.abs(y - exact)
        if goal.error is not None:  # however large x is: an ulp for the slope, a half for the line
            error = np.maximum(error - ulp(exact, goal.dtype) - goal.nearly(exact), 0)
        error /= goal.tolerance(exact)
        error[np.isinf(y) & (y == exact.astype(goal.dtype))] = 0
        table = table.annotated(worst_ulp=max(table.worst_ulp, float(error.max())))
    return table.measured(goal.f)


def apart_in_banks(dtype: DType, parts: Sequence[Fitted]) -> tuple[Float64Array, list[int]]:
    """The entries of one or two parts in one table, by segments' numbers, and where each begins.

    Entries of an odd number of words begin in different banks of shared memory, as many in turn as
    128 bytes have words. Most inputs are near 0, so most reads hit one end of each part. Unused
    rows shift the second part by half a turn: its busiest entries then lie in the banks that those
    of the first one leave free, for a warp that reads both.
    """
    turn = 128 // dtype.itemsize
    rows = [part.rows[::-1] if part.layout.falling else part.rows for part in parts]
    if len(parts) == 1 or sum(map(len, rows)) <= turn:
        return np.concatenate(rows), [0, len(rows[0])][: len(parts)]
    near = [
        len(r) - turn // 2 if part.layout.falling else 0
        for r, part in zip(rows, parts, strict=True)
    ]
    unused = (turn // 2 + near[0] - len(rows[0]) - near[1]) % turn
    if (sum(map(len, rows)) + unused) * rows[0].shape[1] * dtype.itemsize > BLOCK_BYTES:
        unused = 0
    between = np.zeros((unused, rows[0].shape[1]))
    return np.concatenate([rows[0], between, rows[1]]), [0, len(rows[0]) + unused]


def text(table: PolynomialTable) -> str:
    """The data file of a table."""
    fields, rows = table._state()
    words = rows.astype(table.dtype).view(f"u{table.dtype.itemsize}")
    comment = COMMENT.format(name=table.name, dtype=table.dtype.name)
    return unparse(comment, fields | {"report": asdict(table.report)}, words)


COMMENT = """\
The {dtype} table of {name}: made by python -m cupylut.fitting. One segment a line: c0, its rest,
c1, c2, …; see cupylut/tables/polynomial.py.
"""
