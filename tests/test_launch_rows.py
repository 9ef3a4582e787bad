"""The launches of kernels that know of rows, with the stand-in for CuPy of test_launch.py."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from stand_in import ROWS, as_array, cupy  # noqa: F401  (a fixture)

from cupylut import gated, rows, tabulate

pytestmark = pytest.mark.usefixtures("cupy")

fused = importlib.import_module("cupylut.fused")  # which the function of that name hides


def test_packed_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each half by its address; more elements than fit a launch in several."""
    table = tabulate("silu", size=50)
    packed, y = (as_array(np.zeros((6, n), np.float32)) for n in (16, 8))
    x, z = gated.halves(packed, False)
    monkeypatch.setattr(gated, "np", SimpleNamespace(ndarray=()))  # as if of a device
    gated.product(table, x, z, y)
    name, _, grid, block, shared, args = ROWS.pop()
    assert (name, grid, block, shared) == ("packed_product", 1, 256, table.entries.nbytes)
    where = packed.ctypes.data
    assert [a.ctypes.data for a in args[:3]] == [where + 32, where, y.ctypes.data]
    assert args[3].tobytes() == np.uint32([8, 1 << 31, 34]).tobytes()
    assert args[4] == 48
    assert type(args[4]) is np.uint32
    monkeypatch.setattr(rows, "LARGEST", 20)
    gated.product(table, x, z, y)
    assert [(int(args[4]), args[2].ctypes.data - y.ctypes.data) for *_, args in ROWS] == [
        (16, 0), (16, 64), (16, 128)
    ]  # fmt: skip


def test_operands_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    table = tabulate("silu", size=50)
    y = as_array(np.zeros((6, 8), np.float32))
    monkeypatch.setattr(rows, "LARGEST", 20)
    monkeypatch.setattr(fused, "np", SimpleNamespace(ndarray=(), errstate=np.errstate))
    bias = as_array(np.zeros(8, np.float32))
    fused.evaluate(table, y, y, bias=bias, scale=0.5)
    (name, macros, *_, args), *others = ROWS
    assert len(others) == 2
    assert name == "fused_activation"
    assert macros["BIAS"] == macros["NUMBER"] == "true"
    assert not {"SCALE", "FACTOR", "RESIDUAL"} & set(macros)
    assert [a.ctypes.data for a in (args[0], args[1], args[5])] == [
        y.ctypes.data, bias.ctypes.data, y.ctypes.data
    ]  # fmt: skip
    assert args[2:5] == (0, 0, 0)
    assert (type(args[6]), float(args[6]), int(args[8])) == (np.float32, 0.5, 16)
    assert args[7].tobytes() == np.uint32([8, 1 << 31, 34]).tobytes()


@pytest.mark.parametrize("scale", [-0.0, 1e300, 2.0, np.nan])
def test_a_number_is_passed_as_it_is_used_on_the_cpu(scale: float) -> None:
    table, x = tabulate("silu", size=50), np.zeros(8, np.float32)
    ((_, _, (number, _)),) = fused.launches(table, x, None, None, scale, None, x)
    with np.errstate(over="ignore"):
        assert number.tobytes() == np.float32(scale).tobytes()
