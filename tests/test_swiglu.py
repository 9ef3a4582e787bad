"""swiglu and geglu as they are called: layouts, packed arrays, libraries, and what is refused."""

import tracemalloc
from functools import partial
from typing import Any

import jax  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import by_dtype, same, values
from test_gated import GATES, by_gate, pack_rows

import cupylut
from cupylut import FUNCTIONS, gated


@by_dtype
def test_layouts_and_out(dtype: np.dtype) -> None:
    a, b = values((3, 4, 5), dtype), values((5, 4, 3), dtype).T
    want = cupylut.swiglu(np.ascontiguousarray(a), np.ascontiguousarray(b))
    y = cupylut.swiglu(a, b)
    assert same(y, want)
    assert y.strides == a.strides
    assert cupylut.swiglu(a.T, b.T).strides == a.T.strides
    assert same(cupylut.swiglu(a[:, ::2], b[:, ::2]), want[:, ::2])
    for out in (np.empty_like(a), np.empty((3, 4, 10), dtype)[..., ::2], a.copy()):
        assert cupylut.swiglu(a, b, out=out) is out
        assert same(np.ascontiguousarray(out), want)
    for which in (0, 1):
        pair = [a.copy(), b.copy()]
        assert same(np.ascontiguousarray(cupylut.swiglu(*pair, out=pair[which])), want)


ORDERS = ("gate_up", "up_gate")


@by_gate
@by_dtype
def test_packed_arrays(name: str, dtype: np.dtype) -> None:
    function, options = GATES[name]
    for shape in ((3, 4, 10), (1, 6), (8,), (0, 4), (3, 0)):
        packed = values(shape, dtype)
        for order in ORDERS:
            gate, up = (half.copy() for half in gated.halves(packed, order == "gate_up"))
            want = function(gate, up, **options)
            assert same(function(packed, order=order, **options), want)
            wide = np.repeat(packed, 2, axis=-1)[..., ::2]
            assert same(function(wide, order=order, **options), want)
            y = function(np.asfortranarray(packed), order=order, **options)
            assert y.strides == np.asfortranarray(gate).strides
            assert same(np.ascontiguousarray(y), want)
            for out in (np.empty_like(gate), np.repeat(gate, 2, axis=-1)[..., ::2]):
                assert function(packed, order=order, out=out, **options) is out
                assert same(np.ascontiguousarray(out), want)


@pytest.mark.parametrize("order", ORDERS)
def test_the_result_may_take_the_place_of_either_half(order: Any) -> None:
    for shape in ((5, 8), (8,)):
        content = values(shape, np.dtype(np.float32))
        want = cupylut.swiglu(content, order=order)
        for half in (np.s_[..., :4], np.s_[..., 4:]):
            packed = content.copy()
            cupylut.swiglu(packed, order=order, out=packed[half])
            assert same(np.ascontiguousarray(packed[half]), want)
    with pytest.raises(ValueError, match="overlaps"):
        cupylut.swiglu(content, order=order, out=content[2:6])


@pytest.mark.parametrize("shape", [(5000, 400), (2_000_000,)])
def test_packed_arrays_are_read_where_they_lie(shape: tuple[int, ...]) -> None:
    packed = np.zeros(shape, np.float32)
    out = np.empty((*shape[:-1], shape[-1] // 2), np.float32)
    cupylut.swiglu(np.float32([1, 2]))  # which makes the table
    tracemalloc.start()
    try:
        cupylut.swiglu(packed, out=out)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ORDERS)
def test_packed_arrays_of_jax(order: Any) -> None:
    packed = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
    want = cupylut.swiglu(packed, order=order)
    f = partial(cupylut.swiglu, order=order)
    assert same(np.asarray(f(jax.numpy.asarray(packed))), want)
    np.testing.assert_allclose(jax.jit(f)(packed), want, rtol=2.0**-22)
    gate, up = gated.halves(packed, order == "gate_up")
    both = jax.grad(lambda *halves: cupylut.swiglu(*halves).sum(), (0, 1))(gate, up)
    found = jax.grad(lambda packed: f(packed).sum())(packed)
    assert same(np.asarray(found), pack_rows(*map(np.asarray, both), order == "gate_up", up.shape))


@by_gate
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_libraries(name: str, dtype: Any) -> None:
    function, options = GATES[name]
    a, b = (values((2, 33), dtype)[i] for i in (0, 1))
    want = function(a, b, **options)
    with torch.no_grad():
        y = function(torch.from_numpy(a), torch.from_numpy(b), **options)
    assert type(y) is torch.Tensor
    assert same(y.numpy(), want)
    y = function(jax.numpy.asarray(a), jax.numpy.asarray(b), **options)
    assert isinstance(y, jax.Array)
    assert same(np.asarray(y), want)


@settings(max_examples=50, deadline=None)
@given(st.floats(width=16), st.floats(width=16))
def test_special_values_are_those_of_the_two_steps(x: float, z: float) -> None:
    a, b = np.float16([x]), np.float16([z])
    with np.errstate(all="ignore"):
        want = FUNCTIONS["gelu"](a) * b.astype(np.float64)
    y = cupylut.geglu(a, b)
    assert np.isnan(y[0]) == np.isnan(want[0])
    if not np.isnan(want[0]):
        assert np.signbit(y[0]) == np.signbit(want[0])
        with np.errstate(over="ignore"):
            assert y[0] == want.astype(np.float16)[0] or np.isfinite(y[0])


def test_integers_scalars_and_nothing() -> None:
    assert cupylut.swiglu(1.0, 2.0) == pytest.approx(2 * FUNCTIONS["silu"](1.0), abs=1e-4)
    assert cupylut.swiglu(np.int8([1]), np.int8([2])).dtype == np.float16
    assert cupylut.swiglu(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)


def test_what_does_not_fit_is_refused() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="equal shapes"):
        cupylut.swiglu(x, x[:2])
    with pytest.raises(TypeError, match="convert one"):
        cupylut.swiglu(x, x.astype(np.float16))
    with pytest.raises(TypeError, match="give one kind"):
        cupylut.swiglu(x, torch.zeros(3))
    with pytest.raises(ValueError, match="approximate"):
        cupylut.geglu(x, x, "erf")  # type: ignore[arg-type]
    memory = np.zeros(6, np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        cupylut.swiglu(x, memory[:3], out=memory[1:4])
    with pytest.raises(ValueError, match="shape"):
        cupylut.swiglu(x, x, out=memory)
    for odd in (x, np.zeros((2, 5)), np.float32(1)):
        with pytest.raises(ValueError, match="its last axis has to be even, to hold gate and up"):
            cupylut.swiglu(odd)
    with pytest.raises(ValueError, match='choose "gate_up" or "up_gate"'):
        cupylut.swiglu(memory, order="gate")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is that of a packed array"):
        cupylut.swiglu(x, x, order="up_gate")
