"""out=: where results may be written, and where not."""

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from samples import by_dtype, same
from test_ops import LAYOUTS, SHAPE, by_layout, laid_out, values

import cupylut
from cupylut.dtypes import DTYPES


@by_layout
@pytest.mark.parametrize("out_layout", LAYOUTS)
def test_out_takes_every_layout_and_nothing_beside_it_is_written(
    layout: str, out_layout: str
) -> None:
    for dtype in DTYPES:
        content = values(SHAPE, dtype)
        x = laid_out(content, layout)
        size, view = LAYOUTS[out_layout]
        buffer, want = np.full(size, 7, dtype), np.full(size, 7, dtype)
        view(want)[...] = cupylut.gelu(content)
        out = view(buffer)
        assert cupylut.gelu(x, out=out) is out
        assert same(buffer, want)
        assert same(x, content)


@by_layout
@by_dtype
def test_out_may_be_the_input(layout: str, dtype: Any) -> None:
    content = values(SHAPE, dtype)
    x = laid_out(content, layout)
    assert cupylut.mish(x, out=x) is x
    assert same(x, cupylut.mish(content))
    x = laid_out(content, layout)
    again = x[...]
    assert again is not x
    assert cupylut.mish(x, out=again) is again
    assert same(x, cupylut.mish(content))


def test_out_with_a_scalar_a_list_and_a_table() -> None:
    out: Any = np.empty(())
    assert cupylut.gelu(1.0, out=out) is out
    assert out == cupylut.gelu(1.0)
    out = np.empty(2)
    assert cupylut.gelu([1.0, 2.0], out=out) is out
    assert same(out, cupylut.gelu([1.0, 2.0]))
    table = cupylut.tabulate("gelu", "float64")
    assert table([2.0, 1.0], out=out) is out
    assert same(out, table([2.0, 1.0]))


def test_out_may_lie_between_the_elements_of_the_input() -> None:
    buffer = values(200, np.float32)
    want = cupylut.gelu(buffer[::2].copy())
    assert same(cupylut.gelu(buffer[::2], out=buffer[1::2]), want)
    grid = values((20, 20), np.float32)
    want = cupylut.gelu(grid[::2, ::2].copy())
    assert same(cupylut.gelu(grid[::2, ::2], out=grid[1::2, ::2]), want)
    assert same(cupylut.gelu(grid[::2, ::2], out=grid[1::2, 1::2].T), want)
    assert same(cupylut.gelu(grid[:10], out=grid[10:]), cupylut.gelu(grid[:10]))


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (np.s_[0:50], np.s_[1:51]),
        (np.s_[0:50], np.s_[49:99]),
        (np.s_[0:50], np.s_[49::-1]),
        (np.s_[0:100:2], np.s_[1:51]),
        (np.s_[0:90:3], np.s_[0:60:2]),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_out_must_not_overlap_the_input(x: Any, out: Any, swap: bool) -> None:
    buffer = values(100, np.float32)
    before = buffer.copy()
    source, target = (buffer[out], buffer[x]) if swap else (buffer[x], buffer[out])
    with pytest.raises(
        ValueError, match="out overlaps an input, or may, without being it: pass x itself"
    ):
        cupylut.gelu(source, out=target)
    assert same(buffer, before)


def test_out_must_not_overlap_an_input_of_another_dtype() -> None:
    raw = np.zeros(100, np.uint8)
    floats = raw.view(np.float32)
    for x, out in [
        (floats.view(">f4"), floats),
        (raw.view(np.int16)[:25], floats),
        (raw.view(np.int16)[25:], floats),
        (raw[:50], raw.view(np.float16)),
    ]:
        with pytest.raises(ValueError, match="out overlaps an input"):
            cupylut.gelu(x, out=out)
    assert not raw.any()


def test_elements_may_overlap_though_none_begin_at_the_same_byte() -> None:
    raw = np.zeros(800, np.uint8)
    x, half, beside = (np.ndarray(90, np.float32, raw, byte, 8) for byte in (0, 2, 4))
    with pytest.raises(ValueError, match="out overlaps an input"):
        cupylut.gelu(x, out=half)
    assert cupylut.sigmoid(x, out=beside) is beside
    assert not x.any()


def test_an_overlap_too_hard_to_rule_out_counts_as_one() -> None:
    buffer = np.empty(1 << 26, np.float32)  # never touched, so it costs no memory
    steps = 4 * np.random.default_rng(0).integers(1, (1 << 26) // 12, size=10)
    x = as_strided(buffer, (2,) * 10, tuple(steps))
    nested = 4 * (3 ** np.arange(10) * 1117 + 1)
    out = as_strided(buffer[1:], (2,) * 10, tuple(nested))
    with pytest.raises(np.exceptions.TooHardError):
        np.shares_memory(x, out, max_work=10_000)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out overlaps an input, or may"):
        cupylut.gelu(x, out=out)


@pytest.mark.parametrize("strides", [(4, 4), (0, 4), (4, 0), (-12, 4), (16, 4), (10, 2), (4, -4)])
def test_out_must_not_overlap_itself(strides: tuple[int, int]) -> None:
    out = np.ndarray((4, 5), np.float32, np.zeros(200, np.uint8), 100, strides)
    with pytest.raises(ValueError, match="out refers to the same memory more than once"):
        cupylut.gelu(np.ones((4, 5), np.float32), out=out)
    assert not out.any()


def test_out_must_fit() -> None:
    x = np.zeros((4, 5), np.float32)
    read_only = np.zeros((4, 5), np.float32)
    read_only.flags.writeable = False
    cases: list[tuple[Any, str]] = [
        (np.zeros((5, 4), np.float32), r"out has shape \(5, 4\), the result has \(4, 5\)"),
        (np.zeros((1, 4, 5), np.float32), r"out has shape \(1, 4, 5\), the result has \(4, 5\)"),
        (np.zeros((4, 5)), "out has dtype float64, the result has float32"),
        (np.zeros((4, 5), ">f4"), "out has dtype >f4, the result has float32"),
        (np.zeros((4, 5), np.int32), "out has dtype int32, the result has float32"),
        (read_only, "out is read-only"),
        (np.broadcast_to(np.zeros(5, np.float32), (4, 5)), "out is read-only"),
    ]
    for out, message in cases:
        before = out.copy()
        with pytest.raises(ValueError, match=message):
            cupylut.gelu(x, out=out)
        assert (out == before).all()
    with pytest.raises(ValueError, match="out has dtype int64, the result has float64"):
        cupylut.gelu(np.zeros(3, np.int64), out=np.zeros(3, np.int64))


@pytest.mark.parametrize("x", [1.0, np.float32(1), [1.0], np.ones(1).view(np.recarray)])
@pytest.mark.parametrize("out", [np.float32(0), [1.0], 2.0])
def test_the_kind_that_out_has_to_be_is_an_array(x: Any, out: Any) -> None:
    with pytest.raises(TypeError, match=r"it must be an array of x's kind, numpy\.ndarray"):
        cupylut.gelu(x, out=out)


@pytest.mark.parametrize("out", [[0.0], (0.0,), 1.0, np.float32(0), "out", memoryview(b"1234")])
def test_out_must_be_an_array(out: Any) -> None:
    kind = f"{type(out).__module__}.{type(out).__name__}"
    with pytest.raises(TypeError, match=f"out is a {kind}: it must be an array of x's kind"):
        cupylut.gelu(np.zeros(1, np.float32), out=out)
