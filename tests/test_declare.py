"""declare: functions of the user by name, with their derivatives."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from samples import assert_same_bits

import cupylut
from cupylut import Function, Tail, declare, names, tabulate
from cupylut.declaration import IDENTITY
from cupylut.defaults import default_table, derivative_table, product_table
from cupylut.dtypes import BFLOAT16, FLOAT32, all_inputs, round_to, ulp, widened
from cupylut.functions import FUNCTIONS
from cupylut.names import as_function, is_declared, is_known, with_derivatives


def sech2(x: np.ndarray) -> np.ndarray:
    return 1 / np.cosh(np.clip(x, -300, 300)) ** 2


LISHT = declare(
    Function(
        "own_lisht",
        "x·tanh(x)",
        lambda x: x * np.tanh(x),
        left=Tail(-1.0, 0.0),
        right=IDENTITY,
        gradient=lambda x: np.tanh(x) + x * sech2(x),
        curvature=lambda x: 2 * sech2(x) * (1 - x * np.tanh(x)),
    )
)
BARE = declare(Function("own_bare", "", np.arctan, Tail(0, -np.pi / 2), Tail(0, np.pi / 2)))
X = np.linspace(-9, 9, 1001)


def test_a_declared_function_goes_by_its_name() -> None:
    assert declare(LISHT) is as_function("own_lisht") is LISHT
    assert as_function("own_lisht_derivative") == LISHT.derivative
    assert as_function("own_lisht_second_derivative")(0.0) == 2
    assert not is_known(LISHT)
    assert not is_declared(LISHT)  # which would ask the library's data for it
    assert "own_lisht" not in FUNCTIONS
    x, z = X.astype(np.float32), np.float32(3)
    exact = LISHT(x) + 3
    y = cupylut.fused("own_lisht", x, residual=np.full_like(x, z))
    assert (np.abs(y - exact) <= 1.01 * ulp(exact, FLOAT32)).all()
    for dtype in ("float16", BFLOAT16):
        numbers = all_inputs(dtype)
        numbers = numbers[np.isfinite(widened(numbers))]
        y = tabulate("own_lisht", dtype)(numbers)
        assert_same_bits(y, round_to(LISHT(widened(numbers)), dtype))


def test_what_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match=r"takes a cupylut\.Function, not a str"):
        declare("gelu")  # type: ignore[arg-type]
    # gelu_second would take gelu's second derivative for its first.
    refused = "gelu", "elu", "elu(0.5)", "two words", "", "own_derivative", "relu2", "gelu_second"
    for name in refused:
        with pytest.raises(ValueError, match="cannot be declared: give one as of a variable"):
            declare(replace(LISHT, name=name))
    assert as_function("own_lisht") is LISHT
    for unknown in ("own_lish", "own_bare_derivative"):
        with pytest.raises(ValueError, match=r"own_lisht|derivative of own_bare was not declared"):
            tabulate(unknown)
    with pytest.raises(ValueError, match=r"did you mean 'own_lisht'.*cupylut\.declare makes it"):
        tabulate("own_lish")


def steep(k: float) -> Function:
    """tanh(k·x), by callables that are never equal, as in a cell of a notebook that runs again."""
    gradient = lambda x: k * sech2(k * x)  # noqa: E731
    return Function("own_steep", "tanh(k·x)", lambda x: np.tanh(k * x), -1, 1, gradient=gradient)


def test_a_name_that_is_declared_again_means_the_new_function() -> None:
    gelu, x = default_table("gelu", FLOAT32), X.astype(np.float32)
    tables = {}
    for k in (1, 2):
        f = declare(steep(k))
        assert as_function("own_steep") is f
        assert as_function("own_steep_derivative") == f.derivative
        tables[k] = tabulate("own_steep"), default_table("own_steep", FLOAT32)
        for y in (tables[k][0](x), cupylut.fused("own_steep", x)):
            np.testing.assert_allclose(y, np.tanh(k * X), atol=1e-6)
        wide = product_table("own_steep", BFLOAT16)
        slope = derivative_table(wide)(x.astype(BFLOAT16))
        assert slope.max() == default_table("own_steep_derivative", FLOAT32)(np.float32(0)) == k
    for table in tables[1]:  # what was made before stays what it is
        np.testing.assert_allclose(table(x), np.tanh(X), atol=1e-6)
        assert table.report.max_abs < 1e-6
    assert derivative_table(tables[1][1])(np.float32(0)) == 1
    assert default_table("gelu", FLOAT32) is gelu  # and nothing is made again for other names
    with pytest.raises(ValueError, match="differences of own_steep"):
        declare(replace(steep(3), gradient=np.cosh))
    assert as_function("own_steep") is f
    declare(replace(f, gradient=None))
    with pytest.raises(ValueError, match="derivative of own_steep was not declared"):
        tabulate("own_steep_derivative")


def test_pytorch_takes_the_function_declared_last() -> None:
    torch = pytest.importorskip("torch")
    declare(steep(1))
    act = cupylut.torch.Activation("own_steep")
    compiled = torch.compile(
        lambda x: act(x) + cupylut.fused("own_steep", x, scale=2.0),
        backend="aot_eager",
        fullgraph=True,
    )
    for k in (1, 2, 3):
        declare(steep(k))
        x = torch.from_numpy(X).requires_grad_()
        for y, factor in ((act(x), 1), (compiled(x), 3)):
            assert torch.allclose(y, factor * torch.tanh(k * x), atol=1e-9)
            (dx,) = torch.autograd.grad(y.sum(), x)
            assert torch.allclose(dx, factor * torch.from_numpy(k * sech2(k * X)), atol=1e-9)


def test_jax_keeps_the_function_that_it_compiled() -> None:
    jax = pytest.importorskip("jax")
    x = X.astype(np.float32)
    declare(steep(1))
    compiled = jax.jit(partial(cupylut.fused, "own_steep"))
    compiled(x)
    declare(steep(2))
    np.testing.assert_allclose(compiled(x), np.tanh(X), atol=1e-6)
    f = partial(cupylut.fused, "own_steep")
    np.testing.assert_allclose(jax.jit(f)(x), np.tanh(2 * X), atol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(f))(x), 2 * sech2(2 * X), atol=1e-6)


def test_gradients_are_functions_of_arrays_as_references_are() -> None:
    def step(x: np.ndarray) -> np.ndarray:
        x[x >= 0] = 1
        x[x < 0] = 0
        return x

    f = Function("own_relu", "", lambda x: np.maximum(x, 0), Tail(0, 0), IDENTITY, gradient=step)
    assert f.derivative is not None
    assert f.derivative.tails == (Tail(0, 0), Tail(0, 1))
    np.testing.assert_array_equal(tabulate(f.derivative)(np.float32([-2, 2])), [0, 1])


@pytest.mark.parametrize("name", with_derivatives())
def test_the_librarys_derivatives_are_what_differences_come_to(name: str) -> None:
    names._check_derivative(with_derivatives()[name])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"gradient": np.tanh},
            r"own_off_derivative\(.*\) is .* where differences of own_off come",
        ),
        ({"gradient": lambda x: 1.001 * LISHT.gradient(x)}, "own_off_derivative"),
        ({"curvature": np.zeros_like}, r"own_off_second_derivative\(.*\) is 0"),
    ],
)
def test_derivatives_that_are_none_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declare(replace(LISHT, name="own_off", **changed))
    with pytest.raises(ValueError, match="unknown function"):
        as_function("own_off")


def test_a_declared_function_is_checked_as_others_are() -> None:
    declare(Function("own_wrong", "", np.tanh, Tail(0, -2), Tail(0, 1)))
    for dtype in ("float16", "float32"):
        with pytest.raises(ValueError, match=r"own_wrong\(-.*beside the left tail"):
            tabulate("own_wrong", dtype)


def test_pytorch() -> None:
    torch = pytest.importorskip("torch")
    act, gated = cupylut.torch.Activation("own_lisht"), cupylut.torch.Gated("own_lisht")
    x = torch.from_numpy(X).requires_grad_()
    z = torch.cos(x.detach()).requires_grad_()
    own = lambda x: x * torch.tanh(x)  # noqa: E731
    assert torch.allclose(act(x), own(x), atol=1e-12)
    for ours, theirs, given in (
        (act(x).pow(2).sum(), own(x).pow(2).sum(), (x,)),
        (gated(x, z).pow(2).sum(), (own(x) * z).pow(2).sum(), (x, z)),
    ):
        for first, second in zip(
            torch.autograd.grad(ours, given, create_graph=True),
            torch.autograd.grad(theirs, given, create_graph=True),
            strict=True,
        ):
            assert torch.allclose(first, second, atol=1e-10)
            again = (torch.autograd.grad(d.sum(), x, retain_graph=True)[0] for d in (first, second))
            assert torch.allclose(*again, atol=1e-9)
    compiled = torch.compile(act, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x.detach()), act(x.detach()))
    with pytest.raises(ValueError, match="the derivative of own_bare was not declared"):
        cupylut.torch.Activation("own_bare")(x).sum().backward()


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    f = jax.jit(lambda x: cupylut.fused("own_lisht", x))
    x = X.astype(np.float32)
    assert LISHT.derivative is not None
    assert LISHT.derivative.derivative is not None
    slope, bend = LISHT.derivative(x), LISHT.derivative.derivative(x)
    np.testing.assert_allclose(jax.vmap(jax.grad(f))(x), slope, atol=3e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(f)))(x), bend, atol=5e-7)
    with pytest.raises(TypeError, match=r"derivative of own_bare was not declared: see cupylut\.d"):
        jax.grad(lambda x: cupylut.fused("own_bare", x))(1.0)
