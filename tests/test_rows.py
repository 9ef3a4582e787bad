"""rows.py: division by a width as the kernels do it, and the parts that arrays are worked on in."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupylut import rows

LARGEST = 2**31 - 1


def quotient(i: int, width: int) -> int:
    found, reciprocal, shift = map(int, rows.divisor(width).view(np.uint32))
    assert found == width
    assert i * reciprocal < 2**64
    return i * reciprocal >> shift


@given(st.integers(0, LARGEST), st.integers(1, LARGEST))
def test_every_number_is_divided_exactly(i: int, width: int) -> None:
    multiple = i // width * width
    for number in (i, multiple, max(0, multiple - 1), LARGEST, LARGEST // width * width - 1):
        if number >= 0:
            assert quotient(number, width) == number // width


@pytest.mark.parametrize("width", [1, 2, 3, 7, 2**16 - 1, 2**16 + 1, 2**30 + 1, LARGEST])
def test_widths_at_the_ends(width: int) -> None:
    for i in (0, 1, width - 1, width, LARGEST - 1, LARGEST):
        if i <= LARGEST:
            assert quotient(i, width) == i // width


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=2).map(tuple), st.integers(1, 100)
)  # fmt: skip
def test_blocks_are_every_element_once(shape: tuple[int, ...], size: int) -> None:
    seen = np.zeros(shape, int)
    for block in rows.blocks(shape, size):
        assert seen[block].size <= size
        seen[block] += 1
    assert (seen == 1).all()


def test_parts_of_what_is_too_large_for_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, bias = np.arange(35).reshape(5, 7), np.arange(7)
    assert [list(map(id, part)) for part in rows.parts(x, bias)] == [[id(x), id(bias)]]
    for largest, count in ((34, 2), (14, 3), (7, 5), (4, 10)):
        monkeypatch.setattr(rows, "LARGEST", largest)
        total: Any = np.zeros_like(x)
        parts = list(rows.parts(x, bias, None, total))
        assert len(parts) == count
        for a, b, nothing, out in parts:
            assert a.size <= largest
            assert nothing is None
            out[...] += a + b
        assert (total == x + bias).all()
