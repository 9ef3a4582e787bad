"""tables/shipped.py, data/ and fitting/: what the library comes with can be made again."""

from dataclasses import replace
from importlib import resources

import host_cuda
import numpy as np
import ptx
import pytest
from exhaustive import FINITE, JUMPS, POLYNOMIALS, Found, compare, shipped_polynomial
from hypothesis import given
from hypothesis import strategies as st
from samples import assert_same_bits, evaluate

from cupylut import FUNCTIONS, PolynomialTable, tabulate
from cupylut.dtypes import FLOAT32, FLOAT64, ulp
from cupylut.fitting.__main__ import makers
from cupylut.names import with_derivatives
from cupylut.tables.shipped import parse, shipped, unparse

DATA = resources.files("cupylut.data")


def test_every_file_has_its_maker() -> None:
    files = {
        f"{folder.name}/{file.name}"
        for folder in DATA.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".txt")
    }
    assert files | {"hard_cases.json"} == makers().keys()


@given(
    words=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1),
    wide=st.booleans(),
    number=st.floats(allow_nan=False),
)
def test_text_round_trip(words: list[tuple[int, int]], wide: bool, number: float) -> None:
    rows = np.array(words, np.uint64 if wide else np.uint32)
    fields = {"number": number, "none": None, "side": {"slope": -0.0, "bits": [3]}, "name": "f_2"}
    found, again = parse(unparse("What it is.\nA second line.", fields, rows))
    assert found == fields
    assert np.signbit(found["side"]["slope"])
    assert again.dtype == rows.dtype
    np.testing.assert_array_equal(again, rows)


@pytest.mark.parametrize("name", ["tanh", "hardswish", "gelu_tanh_derivative"])
def test_float32_polynomials_are_remade(name: str) -> None:
    """In the same segments, to the last bits of their coefficients, which BLAS may round."""
    kept, words = parse((DATA / "polynomial" / f"{name}_float32.txt").read_text(encoding="utf-8"))
    made, again = parse(makers()[f"polynomial/{name}_float32.txt"]())
    assert {key: made[key] for key in ("left", "right", "domain", "product", "floor")} == {
        key: kept[key] for key in ("left", "right", "domain", "product", "floor")
    }
    rows, remade = (w.view(np.float32).astype(np.float64) for w in (words, again))
    c0, remade_c0 = (r[:, 0] + r[:, 1] for r in (rows, remade))
    np.testing.assert_allclose(remade_c0, c0, rtol=2.0**-40)
    np.testing.assert_allclose(remade[:, 2:], rows[:, 2:], rtol=1e-3, atol=1e-6 * np.abs(c0).max())
    assert made["worst_ulp"] == pytest.approx(kept["worst_ulp"], abs=0.3)


def test_a_table_is_what_its_file_says() -> None:
    found = shipped("polynomial", FUNCTIONS["mish"], FLOAT32)
    assert found is not None
    fields, words = found
    table = PolynomialTable.build(FUNCTIONS["mish"], FLOAT32)
    assert_same_bits(table.rows.astype(np.float32), words.view(np.float32))
    assert (table.worst_ulp, table.name) == (fields["worst_ulp"], "mish")
    assert vars(table.report) == fields["report"]


def test_a_namesake_gets_a_table_of_its_own() -> None:
    other = replace(FUNCTIONS["tanh"], reference=lambda x: np.tanh(x / 2))
    assert shipped("polynomial", other, FLOAT32) is None
    x = np.float32([-1, 0.5, 3])
    y = evaluate(PolynomialTable.build(other, FLOAT32), x)
    np.testing.assert_allclose(y, np.tanh(x.astype(np.float64) / 2), rtol=2e-7)


@pytest.mark.parametrize("name", sorted(with_derivatives()))
def test_the_defaults_of_float32_are_shipped(name: str) -> None:
    """But for one function that has none."""
    kinds = [
        kind for kind in ("gate", "polynomial") if shipped(kind, with_derivatives()[name], FLOAT32)
    ]
    assert len(kinds) == (0 if name.startswith("sqrtsoftplus") else 1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_defaults_of_float64_are_shipped(name: str) -> None:
    f = FUNCTIONS[name]
    assert all(shipped("polynomial", each, FLOAT64) for each in (f, f.derivative))


def check_special_values(name: str, found: Found) -> None:
    """±0 gives ±0, or what is within 2 ulp of f(0), and ±∞ the limit."""
    limits = with_derivatives()[name]([0.0, -0.0, np.inf, -np.inf]).astype(np.float32)
    special = np.array(found.special, np.uint32).view(np.float32)
    exactly = (limits == 0) | [False, False, True, True]
    assert_same_bits(special[exactly], limits[exactly])
    np.testing.assert_allclose(special[~exactly], limits[~exactly], rtol=2.0**-22)
    assert found.nans == 4


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_kernels_are_within_what_their_files_say(name: str, compiler: str) -> None:
    table = shipped_polynomial(name)
    layouts = table.left.layout, table.right.layout
    starts = np.concatenate([layout.starts() for layout in layouts]).astype(np.float32)
    found = compare(table, starts[starts < np.inf].view(np.uint32), stride=4099)
    assert found.tried > 1_000_000
    assert found.worst <= table.worst_ulp
    check_special_values(name, found)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_numpy_halves_keep_the_promise(name: str) -> None:
    """At every 40,009th number, and around the places where segments meet."""
    table, f = shipped_polynomial(name), with_derivatives()[name]
    layouts = table.left.layout, table.right.layout
    starts = np.concatenate([layout.starts() for layout in layouts]).astype(np.float32)
    around = starts[starts < np.inf].view(np.int32)[:, None] + np.arange(-3, 3)
    bits = np.concatenate([np.arange(0, 0x7F800000, 40_009), around.ravel()])
    a = bits[(bits >= 0) & (bits < 0x7F800000)].astype(np.int32).view(np.float32)
    if name in JUMPS:
        a = a[np.abs(a - JUMPS[name]) > 1e-6]
    for x in (a, -a):
        y, exact = evaluate(table, x), f(x)
        with np.errstate(over="ignore"):
            infinite = np.isinf(y) & (y == exact.astype(np.float32))
        error = (
            np.abs(y - exact)[~infinite] / np.maximum(ulp(exact, FLOAT32), table.floor)[~infinite]
        )
        assert error.max() <= 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_kernels_are_within_two_ulp_of_every_input(name: str, compiler: str) -> None:
    table = shipped_polynomial(name)
    found = compare(table, stride=1)
    check_special_values(name, found)
    assert found.tried > FINITE - 100
    assert found.worst == pytest.approx(table.worst_ulp, abs=1e-4)
    assert table.worst_ulp <= 2


@pytest.mark.exhaustive
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "quick_gelu", *POLYNOMIALS])
def test_ptx_has_the_bits_of_the_kernel_that_was_compared(name: str) -> None:
    """At four million numbers of every size: all of them would take hours."""
    table = shipped_polynomial(name) if name in POLYNOMIALS else tabulate(name)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, 1 << 22, np.uint32).view(np.float32)
    x[::2] = rng.normal(scale=4, size=x.size // 2)
    y = ptx.Program().elementwise(table, x, grid=64, block=256)
    assert_same_bits(y, host_cuda.Program().elementwise(table, x))
