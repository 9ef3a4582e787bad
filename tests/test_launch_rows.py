"""The launches of kernels that know of rows, as in test_launch.py."""

import importlib
from typing import Any

import numpy as np
import pytest
from ptx.cupy import LAUNCHES, asarray, empty

from cupylut import FUNCTIONS, gated, rows, tabulate

pytestmark = pytest.mark.usefixtures("stand_in")

fused = importlib.import_module("cupylut.fused")  # which the function of that name hides


def random(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def launches() -> list[Any]:
    """The name and grid of those of a table, once it is there."""
    return [(name, *grid) for name, grid, *_ in LAUNCHES if name not in ("nodes", "lines_float32")]


@pytest.mark.parametrize("gate_first", [True, False])
@pytest.mark.parametrize(("largest", "times"), [(1000, 1), (20, 3)])
def test_packed_halves(
    gate_first: bool, largest: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More elements than fit a launch in several."""
    monkeypatch.setattr(rows, "LARGEST", largest)
    table, packed = tabulate("silu", size=50), random(6, 16)
    y, there = np.empty((6, 8), np.float32), empty((6, 8), np.float32)
    gated.product(table, *gated.halves(packed, gate_first), y)
    gated.product(table, *gated.halves(asarray(packed), gate_first), there)
    np.testing.assert_allclose(there.get(), y, rtol=1e-6, atol=1e-7)
    assert launches() == times * [("packed_product", 1)]


def test_gradients_of_packed_halves() -> None:
    value, slope = tabulate("silu", size=50), tabulate(FUNCTIONS["silu"].derivative, size=50)
    packed, g = random(6, 16), random(6, 8)
    here, there = np.empty_like(packed), empty((6, 16), np.float32)
    for x, incoming, out in ((packed, g, here), (asarray(packed), asarray(g), there)):
        operands = *gated.halves(x, True), incoming, *gated.halves(out, True)
        gated.product_gradient(value, slope, *operands)
    np.testing.assert_allclose(there.get(), here, rtol=1e-6, atol=1e-7)
    assert launches() == [("packed_product_gradient", 1)]


@pytest.mark.parametrize("name", ["x", "bias", "factor", "scale", "residual"])
def test_an_operand_off_the_boundary_of_a_vector(name: str) -> None:
    table, x, row = tabulate("silu", size=50), random(6, 8), random(8)
    here = {"x": x, "bias": row, "factor": x, "scale": row, "residual": x}
    there = {key: asarray(value) for key, value in here.items()}
    there[name] = asarray(np.append(0, here[name]).astype(np.float32))[1:].reshape(here[name].shape)
    want, y = np.empty_like(x), empty((6, 8), np.float32)
    fused.evaluate(table, here.pop("x"), want, **here)
    fused.evaluate(table, there.pop("x"), y, **there)
    np.testing.assert_allclose(y.get(), want, rtol=1e-6, atol=1e-7)


def test_operands_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place, in several launches, with the kernel that has what is there."""
    monkeypatch.setattr(rows, "LARGEST", 20)
    table, x, bias = tabulate("silu", size=50), random(6, 8), random(8)
    there = asarray(x)
    fused.evaluate(table, there, there, bias=asarray(bias), scale=0.5)
    fused.evaluate(table, x, x, bias=bias, scale=0.5)
    np.testing.assert_allclose(there.get(), x, rtol=1e-6, atol=1e-7)
    assert launches() == 3 * [("fused_activation", 1)]


@pytest.mark.parametrize("scale", [-0.0, 1e300, 2.0, np.nan])
def test_a_number_is_passed_as_it_is_used_on_the_cpu(scale: float) -> None:
    table, x = tabulate("silu", size=50), np.zeros(8, np.float32)
    ((_, _, (number, _)),) = fused.launches(table, x, None, None, scale, None, x)
    with np.errstate(over="ignore"):
        assert number.tobytes() == np.float32(scale).tobytes()
