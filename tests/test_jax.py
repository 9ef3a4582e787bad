"""Lookups inside JAX's transformations: the bits of the coefficients, and the right derivatives.

NumPy's own float32 results come from cubics, and here and there differ in the last bit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax  # noqa: TID251
import jax.numpy as jnp  # noqa: TID251
import numpy as np
import pytest
from jax import lax  # noqa: TID251
from samples import bits, same, values

import cupylut
from cupylut import FUNCTIONS, Function, PolynomialTable, tabulate
from cupylut.accuracy import correctly_rounded
from cupylut.defaults import default_table
from cupylut.dtypes import BFLOAT16, FLOAT32, all_inputs, widened
from cupylut.names import with_derivatives

HALVES = [np.dtype(np.float16), BFLOAT16]

by_function = pytest.mark.parametrize("name", FUNCTIONS)
by_half = pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)


def patterns(size: int = 50_000) -> Any:
    """float32 numbers of every magnitude and of that where functions bend, and the special ones."""
    random = np.random.default_rng(0)
    anything = random.integers(0, 1 << 32, size, dtype=np.uint32).view(np.float32)
    subnormal = random.integers(0, 1 << 24, size, dtype=np.uint32).view(np.float32)
    near = random.normal(scale=5, size=size).astype(np.float32)
    special = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 2.0**-126, -(2.0**-126), 2.0**-149])
    return np.concatenate([special, anything[~np.isnan(anything)], subnormal, -subnormal, near])


def by_coefficients(table: Any, x: Any) -> Any:
    """The values of a float32 polynomial in float64, rounded once: what JAX computes."""
    y = np.empty_like(x)
    table.exactly(x.ravel(), y.ravel())
    return y


def steps_apart(y: Any, z: Any) -> Any:
    """How many float32 numbers y is from z, which must agree in sign and in what is NaN."""
    assert (np.signbit(y) == np.signbit(z))[~np.isnan(y)].all()
    assert (np.isnan(y) == np.isnan(z)).all()
    steps = np.abs(bits(y).astype(np.int64) - bits(z))
    return np.where(np.isnan(y), 0, steps)


def derivative(name: str) -> Function:
    found = FUNCTIONS[name].derivative
    assert found is not None
    return found


# ---- values -------------------------------------------------------------------------------------


@by_half
@by_function
def test_16_bit_results_are_the_correctly_rounded_ones(name: str, dtype: Any) -> None:
    function = getattr(cupylut, name)
    y = np.asarray(jax.jit(function)(all_inputs(dtype)))
    assert same(y, function(all_inputs(dtype)))
    numbers = ~np.isnan(widened(y))
    assert same(y[numbers], correctly_rounded(FUNCTIONS[name], dtype)[numbers])


@by_function
def test_float32_results_are_those_of_the_coefficients_subnormal_ones_included(name: str) -> None:
    function, x = getattr(cupylut, name), patterns()
    want = by_coefficients(default_table(name, FLOAT32), x)
    assert steps_apart(function(x), want).max() <= 1
    assert same(np.asarray(jax.jit(function)(x)), want)
    if name == "gelu":
        tiny = (want != 0) & (np.abs(want) < 2.0**-126)
        assert tiny.sum() > 1000
    with jax.enable_x64(True):
        assert same(np.asarray(jax.jit(function)(x)), want)


@pytest.mark.parametrize("name", ["tanh", "mish", "selu", "leaky_relu"])
def test_tables_of_the_other_kinds_give_their_results(name: str) -> None:
    x = patterns(20_000)
    linear = tabulate(name, kind="linear", nodes="balanced")
    assert same(np.asarray(jax.jit(linear)(x)), linear(x))
    polynomial = PolynomialTable.build(FUNCTIONS[name], FLOAT32)
    assert same(np.asarray(jax.jit(polynomial)(x)), by_coefficients(polynomial, x))


def test_subnormal_numbers_are_on_their_side_of_a_jump_at_zero() -> None:
    sign = tabulate(np.sign, "float32", left=-1.0, right=1.0)
    x = np.float32([-(2.0**-149), -(2.0**-130), -0.0, 0.0, 2.0**-149, 2.0**-130])
    assert same(np.asarray(jax.jit(sign)(x)), sign(x))


@by_function
def test_float64_results_are_as_accurate_as_numpys(name: str) -> None:
    function, x = getattr(cupylut, name), patterns(5000).astype(np.float64) * 1.1
    with jax.enable_x64(True):
        y = np.asarray(jax.jit(function)(x))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, function(x), rtol=1e-15, atol=1e-15)


TRANSFORMED: dict[str, Callable[[Any, Any], Any]] = {
    "vmap": lambda f, x: jax.vmap(f)(x),
    "vmap of vmap": lambda f, x: jax.vmap(jax.vmap(f, in_axes=1, out_axes=1))(x[None])[0],
    "vmap in jit": lambda f, x: jax.jit(jax.vmap(f))(x),
    "jit in vmap": lambda f, x: jax.vmap(jax.jit(f))(x),
    "scan": lambda f, x: lax.scan(lambda carry, row: (carry, f(row)), 0, x)[1],
    "map": lax.map,
    "cond": lambda f, x: lax.cond(x[0, 1] < 0, f, lambda x: x, x),
    "while": lambda f, x: lax.while_loop(lambda y: y[0, 1] < -1, f, x),
    "checkpoint": lambda f, x: jax.checkpoint(f)(x),
    "jvp": lambda f, x: jax.jvp(f, (x,), (x,))[0],
    "vjp": lambda f, x: jax.vjp(f, x)[0],
    "linearize": lambda f, x: jax.linearize(f, x)[0],
    "export": lambda f, x: jax.export.export(jax.jit(f))(jax.typeof(x)).call(x),
}


@pytest.mark.parametrize("dtype", [*HALVES, FLOAT32], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("transform", TRANSFORMED)
def test_transformations_keep_the_bits(transform: str, dtype: Any) -> None:
    x = values((4, 6), dtype)
    y = TRANSFORMED[transform](cupylut.gelu, jnp.asarray(x))
    assert same(np.asarray(y), cupylut.gelu(x))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_shapes_stay(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.5, np.float32)
    y = jax.jit(cupylut.silu)(x)
    assert same(np.asarray(y), np.asarray(cupylut.silu(x)))
    assert jax.eval_shape(cupylut.silu, jnp.asarray(x)) == jax.ShapeDtypeStruct(shape, np.float32)
    assert jax.grad(lambda x: cupylut.silu(x).sum())(x).shape == shape


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int16, np.int32])
def test_integers_promote_as_they_do_eagerly(dtype: Any) -> None:
    x = jnp.asarray(np.arange(10).astype(dtype))
    for wide in (False, True):
        with jax.enable_x64(wide):
            assert same(np.asarray(jax.jit(cupylut.gelu)(x)), np.asarray(cupylut.gelu(x)))


def test_arrays_that_are_not_traced_are_evaluated_at_once() -> None:
    constant, x = jnp.linspace(-3, 3, 5), jnp.ones(5)
    got = jax.jit(lambda x: x * cupylut.gelu(constant))(x)
    assert same(np.asarray(got), np.asarray(cupylut.gelu(constant)))
    assert same(np.asarray(jax.grad(lambda x: x @ cupylut.gelu(constant))(x)), np.asarray(got))


def test_nothing_goes_through_the_host() -> None:
    for dtype in ("float16", "bfloat16", "float32"):
        program = jax.jit(jax.value_and_grad(lambda x: cupylut.gelu(x).sum()))
        text = program.lower(jax.ShapeDtypeStruct((8,), dtype)).as_text()
        assert "gather" in text
        assert "custom_call" not in text


def test_many_lookups_share_a_table() -> None:
    def model(x: Any) -> Any:
        for _ in range(10):
            x = cupylut.gelu(x)
        return x

    text = jax.jit(model).lower(jax.ShapeDtypeStruct((8,), jnp.bfloat16)).as_text()
    assert text.count('"stablehlo.gather"') == 1


# ---- derivatives --------------------------------------------------------------------------------


def slope(function: Callable[[Any], Any], x: Any) -> Any:
    return np.asarray(jax.jit(jax.grad(lambda x: function(x).sum()))(x))


@by_half
@by_function
def test_16_bit_derivatives_are_correctly_rounded(name: str, dtype: Any) -> None:
    numbers = ~np.isnan(widened(all_inputs(dtype)))
    got = slope(getattr(cupylut, name), all_inputs(dtype)[numbers])
    want = correctly_rounded(derivative(name), dtype)[numbers]
    np.testing.assert_array_equal(got.astype(float), want.astype(float))
    assert np.isnan(slope(getattr(cupylut, name), np.array([np.nan], dtype))).all()


@by_function
def test_float32_derivatives_are_right(name: str) -> None:
    x = patterns(5000)
    x = x[~np.isnan(x)]
    want = derivative(name)(x)
    assert np.abs(slope(getattr(cupylut, name), x) - want).max() < 1e-7


@by_function
def test_float64_derivatives_are_right(name: str) -> None:
    x = patterns(5000)
    x = x[~np.isnan(x)].astype(float)
    with jax.enable_x64(True):
        assert np.abs(slope(getattr(cupylut, name), x) - derivative(name)(x)).max() < 1e-12


def test_parametric_functions_bring_their_derivatives_too() -> None:
    x = jnp.asarray([-2.0, -1.0, 1.0], jnp.bfloat16)
    for function, want in (
        (lambda x: cupylut.leaky_relu(x, 0.25), [0.25, 0.25, 1.0]),
        (lambda x: cupylut.elu(x, 0.5), np.exp([-2.0, -1.0, 0.0]) * [0.5, 0.5, 1.0]),
    ):
        np.testing.assert_allclose(slope(function, x).astype(float), want, rtol=2.0**-8)


def test_every_way_to_differentiate_agrees() -> None:
    x = jnp.linspace(-4, 4, 7)
    want = jax.vmap(jax.grad(cupylut.gelu))(x)
    assert not np.array_equal(want, np.ones(7))
    ones = jnp.ones_like(x)
    for got in (
        jax.jvp(cupylut.gelu, (x,), (ones,))[1],
        jax.vjp(cupylut.gelu, x)[1](ones)[0],
        jax.linearize(cupylut.gelu, x)[1](ones),
        np.diag(jax.jacfwd(cupylut.gelu)(x)),
        np.diag(jax.jacrev(cupylut.gelu)(x)),
        jax.grad(lambda x: jax.checkpoint(cupylut.gelu)(x).sum())(x),
        jax.grad(lambda x: lax.scan(lambda c, a: (c + cupylut.gelu(a), 0), 0.0, x)[0])(x),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_chain_rule() -> None:
    w = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)) / 3

    def loss(gelu: Callable[[Any], Any], w: Any) -> Any:
        return gelu(w @ gelu(w @ jnp.ones(8))).sum()

    got = jax.jit(jax.grad(lambda w: loss(cupylut.gelu, w)))(w)
    want = jax.grad(lambda w: loss(lambda x: jax.nn.gelu(x, approximate=False), w))(w)
    np.testing.assert_allclose(got, want, atol=1e-4)


@by_function
def test_second_derivatives(name: str) -> None:
    x = jnp.linspace(-5, 5, 201)
    second = with_derivatives()[f"{name}_second_derivative"](x)
    by_grad = jax.grad(jax.grad(getattr(cupylut, name)))
    by_forward = jax.jacfwd(jax.jacfwd(getattr(cupylut, name)))
    for d in (by_grad, by_forward) if name == "gelu" else (by_grad,):
        np.testing.assert_allclose(jax.jit(jax.vmap(d))(x), second, rtol=3e-7, atol=3e-7)


def test_third_derivatives_and_those_of_unknown_tables_are_refused() -> None:
    with pytest.raises(TypeError, match=r"gelu_second_derivative.*is not known.*no higher"):
        jax.grad(jax.grad(jax.grad(cupylut.gelu)))(1.0)
    table = tabulate("gelu", size=64, domain=(-4, 4))
    another = tabulate(np.tanh, domain=(-5, 5), left=-1.0, right=1.0)
    for t in (table, another):
        x = patterns(100)
        assert same(np.asarray(jax.jit(t)(x)), t(x))
        with pytest.raises(
            TypeError,
            match=r"is not known: give it one, by torch\.",
        ):
            jax.grad(t)(1.0)


# ---- gated layers -------------------------------------------------------------------------------

GATED = {
    "silu": cupylut.swiglu,
    "gelu": cupylut.geglu,
    "gelu_tanh": partial(cupylut.geglu, approximate="tanh"),
}


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("dtype", [*HALVES, FLOAT32], ids=lambda dtype: dtype.name)
def test_gated_layers_are_numpys(name: str, dtype: Any) -> None:
    gate, up = values((40, 50), dtype), values((50, 40), dtype).T.copy()
    function = GATED[name]
    want = function(gate, up)
    flushed = np.abs(widened(want)) < 2.0**-126
    assert (flushed & (want != 0)).mean() < 0.02
    there = jnp.asarray(gate), jnp.asarray(up)
    for y in (
        jax.jit(function)(*there),
        jax.jit(lambda up: function(there[0], up))(there[1]),
        jax.vmap(function)(*there),
    ):
        assert y.dtype == dtype
        if dtype == FLOAT32:  # one step in the function's result is up to two in the product
            np.testing.assert_allclose(np.asarray(y)[~flushed], want[~flushed], rtol=2.0**-22)
        else:
            assert same(np.asarray(y)[~flushed], want[~flushed])
        assert np.abs(widened(np.asarray(y)[flushed])).max(initial=0) < 2.0**-126


@pytest.mark.parametrize("name", GATED)
def test_gated_layers_have_gradients(name: str) -> None:
    gate, up = np.random.default_rng(0).normal(scale=2, size=(2, 100)).astype(np.float32)
    found = jax.grad(lambda *both: GATED[name](*both).sum(), (0, 1))(gate, up)
    assert np.abs(found[0] - up * derivative(name)(gate)).max() < 5e-5 * np.abs(up).max()
    np.testing.assert_allclose(found[1], FUNCTIONS[name](gate), rtol=1e-6)


def test_gated_layers_that_do_not_fit_are_refused_when_traced() -> None:
    x = jnp.ones(3)
    for up, message in ((jnp.ones(4), "equal shapes"), (jnp.ones(3, jnp.bfloat16), "convert one")):
        with pytest.raises((TypeError, ValueError), match=message):
            jax.jit(cupylut.swiglu)(x, up)
    with pytest.raises(TypeError, match="JAX arrays are immutable"):
        jax.jit(lambda x: cupylut.swiglu(x, x, out=x))(x)


# ---- where JAX is told not to promote by itself ------------------------------------------------


@pytest.mark.parametrize("dtype", [*HALVES, FLOAT32], ids=lambda dtype: dtype.name)
def test_nothing_is_promoted_implicitly(dtype: Any) -> None:
    x = jnp.asarray(values((2, 3, 4), dtype))
    row = x[0, 0]
    linear = tabulate("gelu", dtype, kind="linear")

    def fused(x: Any, row: Any, number: Any) -> Any:
        y = cupylut.fused("gelu", x, bias=row, scale=row, residual=x)
        return cupylut.fused("silu", y, scale=number)

    calls = [(f, (x,)) for f in (cupylut.gelu, cupylut.mish, cupylut.elu)]  # tables of all kinds
    calls += [(cupylut.swiglu, (x, x)), (cupylut.geglu, (x,)), (fused, (x, row, row[0]))]
    want = [slopes(*call) for call in calls], lowered(linear, (x,))
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        assert [slopes(*call) for call in calls] == want[0]
        assert lowered(linear, (x,)) == want[1]
        assert same(np.asarray(jax.jit(linear)(x)), linear(np.asarray(x)))


def lowered(function: Callable[..., Any], operands: tuple[Any, ...]) -> str:
    """What is left to XLA, which promotes nothing."""
    return jax.jit(function).lower(*operands).as_text()


def slopes(function: Callable[..., Any], operands: tuple[Any, ...]) -> str:
    by = tuple(range(len(operands)))
    return lowered(jax.grad(lambda *operands: function(*operands).sum(), by), operands)


# ---- what is refused, and several devices -------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jnp.ones(3, jnp.complex64), "an array of complex64 is not supported"),
        (lambda: jnp.ones(3, jnp.float8_e4m3fn), "an array of float8_e4m3fn is not supported"),
        (lambda: jax.random.split(jax.random.key(0)), "is not supported"),
    ],
)
def test_what_no_table_is_for_is_refused_when_traced(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        jax.jit(cupylut.gelu)(make())


def test_out_and_tables_of_another_dtype_are_refused_when_traced() -> None:
    x = jnp.ones(3)
    with pytest.raises(TypeError, match="JAX arrays are immutable"):
        jax.jit(lambda x: cupylut.gelu(x, out=x))(x)
    with pytest.raises(TypeError, match="it must be an array of x's kind"):
        jax.jit(lambda x: cupylut.gelu(x, out=np.zeros(3, np.float32)))(x)
    with pytest.raises(TypeError, match="this table is for bfloat16 and the input gives float32"):
        jax.jit(tabulate("gelu", "bfloat16"))(x)


def test_the_sample_has_every_kind_of_number() -> None:
    x = patterns()
    magnitudes = bits(x) & 0x7FFFFFFF
    assert ((magnitudes > 0) & (magnitudes < 0x800000)).sum() > 10_000
    assert (magnitudes == 0x7F800000).sum() >= 2
    assert np.isnan(x).any()
