"""functions.py: references, derivatives, tails and symmetry against mpmath."""

import math
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from exact import EXACT, mp
from hypothesis import given
from hypothesis import strategies as st

from cupylut import FUNCTIONS, tabulate
from cupylut.declaration import IDENTITY, Function, Tail
from cupylut.fitting.hard_cases import exact_functions
from cupylut.functions import CURVED
from cupylut.names import as_function, is_known, with_derivatives

POINTS = [*np.linspace(-36, 12, 193), -700.0, -100.0, -1e-3, 1e-3, -1e-300, 1e-300, 30.0, 1e4]

ALL = {**FUNCTIONS, **CURVED}

every_function = pytest.mark.parametrize("f", ALL.values(), ids=ALL)


@every_function
def test_reference_has_relative_accuracy_also_in_the_negative_tail(f: Function) -> None:
    for x in POINTS:
        exact = EXACT[f.name](mp.mpf(x))
        if abs(exact) < np.finfo(float).tiny:
            continue
        # Each rounding on the way to the argument of exp costs |log f| ulp, or half of it.
        bound = (8 + 8 * abs(mp.log(abs(exact)))) * 2.0**-53
        assert abs(mp.mpf(float(f(x))) / exact - 1) <= bound, x


@every_function
def test_derivative(f: Function) -> None:
    assert f.derivative is not None
    for x in set(np.linspace(-12, 12, 97)) - set(f.kinks):
        exact = mp.diff(EXACT[f.name], mp.mpf(float(x)))
        assert abs(mp.mpf(float(f.derivative(np.float64(x)))) - exact) < 1e-14, x


@every_function
def test_second_derivative(f: Function) -> None:
    second = with_derivatives()[f"{f.name}_second_derivative"]
    for x in set(np.linspace(-12, 12, 97)) - set(f.kinks):
        exact = mp.diff(EXACT[f.name], mp.mpf(float(x)), 2)
        assert abs(mp.mpf(float(second(np.float64(x)))) - exact) < 1e-13, x


@pytest.mark.parametrize("name", [name for name in with_derivatives() if "second" in name])
def test_second_derivatives_have_relative_accuracy_as_far_as_they_do_not_cross_zero(
    name: str,
) -> None:
    second, exact_one = with_derivatives()[name], exact_functions()[name]
    for x in (*POINTS, -37.9, 20.5, 37.9):
        exact = exact_one(x)
        if abs(exact) < 1e-306:  # an exponential of scipy is 0 there
            continue
        bound = (16 + 16 * abs(mp.log(abs(exact)))) * 2.0**-53
        gap = abs(mp.mpf(float(second(x))) - exact)
        near_zero = 2.0**-50 if -4 < x < 4 else 0
        assert gap <= max(bound * abs(exact), near_zero), x


@every_function
def test_derivatives_approach_the_slopes_of_the_tails(f: Function) -> None:
    for g, of_slope in zip(list(with_derivatives({"": f}).values())[1:], (1, 0), strict=True):
        for sign, tail in ((-1, f.left), (1, f.right)):
            if tail is not None:
                limit, far = g(sign * np.inf), g(sign * 800.0)
                assert limit == of_slope * tail.slope
                assert far == pytest.approx(of_slope * tail.slope, abs=1e-99)
                assert np.signbit(limit) == np.signbit(far)


@every_function
def test_tails_are_the_limits(f: Function) -> None:
    for sign, tail in ((-1, f.left), (1, f.right)):
        far, limit = f(sign * 800.0), f(sign * np.inf)
        assert np.signbit(limit) == np.signbit(far)
        if tail is None:
            assert np.isinf(limit)
        else:
            line = [tail(sign * 800.0), tail(sign * np.inf)]
            np.testing.assert_allclose([far, limit], line, rtol=1e-15)
    assert np.isnan(f(np.nan))


def test_names_with_parameters_and_derivatives() -> None:
    f = as_function("xielu(0.7, 0.6, 0.25)")
    assert f.parameters == (0.7, 0.6, 0.25)
    for name in (*ALL, f.name, "elu(0.3)", "leaky_relu(0.25)"):
        g = as_function(name)
        assert g.name == name
        assert as_function(f"{name}_derivative") == g.derivative
        assert g.derivative is not None
        assert as_function(f"{name}_second_derivative") == g.derivative.derivative
        assert is_known(as_function(f"{name}_second_derivative"))
    assert as_function("elu(1.0)") == FUNCTIONS["elu"]
    for wrong in ("gelu(1.0)", "elu(1.0", "gelu_derivative_derivative", "gelu_second"):
        with pytest.raises(ValueError, match="unknown function"):
            as_function(wrong)
    for order in ("second_second", "derivative_second"):
        with pytest.raises(ValueError, match=r"unknown function|was not declared"):
            as_function(f"gelu_{order}_derivative")


@pytest.mark.parametrize("given", ["", "x", "1, 2", "nan", "inf", "1e999", "1,"])
def test_parameters_that_are_none_say_what_would_be(given: str) -> None:
    for name in (f"elu({given})", f"elu({given})_derivative"):
        with pytest.raises(ValueError, match=r"elu\(.*\): write it elu\(alpha\), with a finite"):
            as_function(name)
    with pytest.raises(ValueError, match=r"write it xielu\(alpha_p, alpha_n, beta\)"):
        as_function("xielu(1, 2, 3, 4)")


@every_function
def test_symmetry(f: Function) -> None:
    x = np.linspace(0.01, 20, 301)
    sums = {"gate": f(x) - f(-x) - x, "odd": f(x) + f(-x), "complement": f(x) + f(-x) - 1}
    if f.symmetry == "none":
        assert all(np.abs(s).max() > 1e-3 for s in sums.values())
    else:
        np.testing.assert_allclose(sums[f.symmetry], 0, atol=4e-15)
    assert f.derivative is not None
    second = f.derivative.derivative
    assert second is not None
    odd = {"gate": 0, "none": 0}.get(f.symmetry, 1)
    assert second.symmetry == {"gate": "even", "none": "none"}.get(f.symmetry, "odd")
    if f.symmetry != "none":
        np.testing.assert_allclose(second(-x), (1 - 2 * odd) * second(x), atol=4e-15)


@every_function
def test_pickles(f: Function) -> None:
    assert pickle.loads(pickle.dumps(f)) == f


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_line_tail(x: float) -> None:
    assert Tail(0.0, 3.0)(x) == 3
    assert IDENTITY(x) == x
    assert Tail(0.0, 3.0)(np.inf) == 3


def test_unknown_names_suggest_a_known_one() -> None:
    with pytest.raises(ValueError, match=r"'gleu': did you mean 'gelu'\? The known ones are gelu,"):
        as_function("gleu")
    with pytest.raises(ValueError, match=r"'foo'\. The known ones are gelu,"):
        as_function("foo")


def test_a_callable_needs_tails() -> None:
    f = as_function(np.arctan, left=-np.pi / 2, right=np.pi / 2)
    assert (f.name, f.left.slope, f(np.inf)) == ("arctan", 0.0, np.pi / 2)
    with pytest.raises(ValueError, match=r"both tails.* cupylut.Function with None"):
        as_function(np.arctan, left=0.0)
    for tail in ("flat", np.nan, np.inf, np.zeros(2), [1.0], (0.0, 1.0)):
        with pytest.raises(ValueError, match=r"not a tail.* or a cupylut.Tail"):
            as_function(np.arctan, left=tail, right=0.0)
    with pytest.raises(ValueError, match="brings its own tails"):
        as_function("gelu", left=0.0)
    with pytest.raises(TypeError, match="a name or a callable"):
        as_function(3)


def test_a_function_makes_its_tails_of_what_it_is_given() -> None:
    f = Function("f", "", np.arctan, -1, "identity")
    assert (f.left, f.right) == (Tail(0.0, -1.0), IDENTITY)
    assert replace(f, left=None).left is None
    with pytest.raises(ValueError, match=r"^right='flat' is not a tail"):
        replace(f, right="flat")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'right'"):
        Function("f", "", np.arctan, -1)
    with pytest.raises(FrozenInstanceError):
        f.left = IDENTITY


def test_a_callable_may_work_in_place() -> None:
    def softsign(x: np.ndarray) -> np.ndarray:
        divisor = 1 + np.abs(x)
        x /= divisor
        return x

    f = as_function(softsign, left=-1.0, right=1.0)
    x = np.array([-3.0, 1.0, np.inf])
    np.testing.assert_array_equal(f(x), [-0.75, 0.5, 1.0])
    np.testing.assert_array_equal(x, [-3.0, 1.0, np.inf])
    assert f(1.0) == 0.5


@pytest.mark.parametrize(
    ("result", "described"),
    [
        (None, "None"),
        (0.5, "one number"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.zeros(3, complex), "complex128"),
        (["a", "b", "c"], "<U1"),
    ],
)
def test_a_callable_returns_a_number_for_each_element(result: object, described: str) -> None:
    f = as_function(lambda _: result, left=0.0, right=0.0)
    with pytest.raises(TypeError, match=rf"<lambda> returned .*{described}.* for .*shape \(3,\)"):
        f(np.zeros(3))


def test_a_callable_may_return_other_real_numbers() -> None:
    for returned in (np.longdouble, int, object, bool):
        f = as_function(lambda x, to=returned: (x > 0).astype(to), left=0.0, right=1.0)
        np.testing.assert_array_equal(f([-1.0, np.inf, 2.0]), [0.0, 1.0, 1.0])
        assert f(1.0).dtype == np.float64


def test_what_a_callable_may_not_do() -> None:
    def of_a_number(x: float) -> float:
        return math.tanh(x)

    for wrong, message in (
        (of_a_number, r"of_a_number raised TypeError .*: give a function of every float64 array"),
        (lambda x: 1 / 0, "raised ZeroDivisionError"),
    ):
        with pytest.raises(ValueError, match=message):
            tabulate(wrong, left=-1.0, right=1.0)
    with pytest.raises(TypeError, match="returned float32 for float64: compute in float64"):
        tabulate(lambda x: np.tanh(x.astype(np.float32)), left=-1.0, right=1.0)


def test_hardswish_has_pytorchs_slope_where_its_branches_meet() -> None:
    derivative = FUNCTIONS["hardswish"].derivative
    assert derivative is not None
    np.testing.assert_array_equal(derivative([-3.0, 3.0]), [0.0, 1.0])
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        table = tabulate("hardswish_derivative", dtype)
        np.testing.assert_array_equal(table(np.array([-3, 3], table.dtype)), [0, 1])


def test_tails_are_lines_and_must_be_those_of_the_function() -> None:
    def shrunk(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) > 0.5, x - np.copysign(0.5, x), 0.0)

    for tail in ("identity", 0.0):
        with pytest.raises(ValueError, match="give the tail that the function approaches"):
            tabulate(shrunk, left=tail, right=tail)
        with pytest.raises(ValueError, match="give the tail that the function approaches"):
            tabulate(Function("shrunk", "", shrunk, IDENTITY, IDENTITY), size=64, domain=(-4, 4))
    table = tabulate(shrunk, left=Tail(1.0, 0.5), right=Tail(1.0, -0.5))
    x = np.float32([-np.inf, -1e7, -2, 0.25, 0.75, 3, 1e30])
    np.testing.assert_array_equal(table(x), shrunk(x.astype(float)).astype(np.float32))


@pytest.mark.parametrize("name", ["GELU", "gelus"])
def test_unknown_names_are_told_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match="did you mean 'gelu'"):
        as_function(name)


def test_equal_functions_have_the_tables_of_the_library() -> None:
    copy = pickle.loads(pickle.dumps(FUNCTIONS["gelu"]))
    assert copy is not FUNCTIONS["gelu"]
    assert tabulate(copy).kind == "gate"
    assert tabulate(copy, "bfloat16", kind="compact").kind == "compact"
