"""tables/segments.py: where the segments of polynomial tables lie."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cupylut import FUNCTIONS
from cupylut.dtypes import FLOAT32
from cupylut.fitting import layouts
from cupylut.fitting.branches import Goal, branches_of


@settings(max_examples=50, deadline=None)
@given(cut=st.floats(2.0**-9, 1e3, width=32), pick=st.floats(0, 1), share=st.floats(0, 1))
def test_segments_are_where_their_numbers_say(cut: float, pick: float, share: float) -> None:
    goal = Goal(FUNCTIONS["gelu"], FLOAT32, None, product=True, floor=0.0)
    (branch,) = branches_of(goal, 0.0)
    members = tuple(member._replace(cut=cut) for member in branch.members)
    found = layouts.layouts(FLOAT32, replace(branch, members=members), 2000)
    kinds = {(layout.falling, layout.middles()[0] == 0) for layout in found}
    assert kinds == {(False, False), (False, True), (True, True)}
    layout = found[int(pick * (len(found) - 1))]

    starts, middles = layout.starts(extra=1), layout.middles()
    assert starts[0] == 0 <= middles[0] < starts[1]
    assert (np.diff(starts) > 0).all()
    assert (starts[1:-1] < middles[1:]).all()
    assert (middles < starts[1:]).all()

    a = np.float32(share * layout.limit)
    segment, place = int(layout.segment(a)), int(layout.place(a))
    spacing = np.abs(np.spacing(a + np.float32(layout.offset)))
    assert starts[segment] - spacing <= a <= starts[segment + 1] + spacing
    assert place == (layout.count - 1 - segment if layout.falling else segment)
    # The tail's segment is met at the limit, and not much below it.
    assert layout.segment(layout.limit) == layout.count - 1
    below = np.float32(layout.limit) - 2 * max(spacing, np.spacing(np.float32(layout.limit)))
    assert layout.segment(below) < layout.count - 1
