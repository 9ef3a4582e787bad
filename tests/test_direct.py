"""tables/direct.py and kernels/direct.cuh: correctly rounded for every input of both 16-bit types.

The oracle is the exact value: float64 from scipy's references where it is far enough from the
middle between two results, mpmath elsewhere.
"""

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import mpmath
import numpy as np
import pytest
from exact import EXACT, mp
from host_cuda import SANITIZERS, HostError, Program, mutated
from samples import assert_same_bits

import cupylut
from cupylut import tabulate
from cupylut.declaration import Function
from cupylut.dtypes import DTYPES, all_inputs, round_to, widened
from cupylut.fitting import hard_cases
from cupylut.names import with_derivatives
from cupylut.tables import DirectTable

ALL = with_derivatives()  # the functions, their derivatives and second derivatives

every_function = pytest.mark.parametrize("name", ALL)
every_dtype = pytest.mark.parametrize("dtype", DTYPES[:2], ids=lambda d: d.name)


def truth(name: str, x: float) -> mpmath.mpf:
    """f(x) to many digits."""
    x = mp.mpf(x)
    if name == "hardswish_derivative" and abs(x) < 3:  # exact ties, which diff only comes near
        return (2 * x + 3) / 6
    if name in ("hardswish_second_derivative", "sigmoid_second_derivative"):
        return hard_cases.exact_functions()[name](x)
    first = name.removesuffix("_derivative")
    base = first.removesuffix("_second")
    order = (first != name) + (base != first)
    return mp.mpf(mp.diff(EXACT[base], x, order) if order else EXACT[base](x))


def misrounded(name: str, x: np.ndarray, y: np.ndarray) -> int:
    """How many results are not the neighbour of f(x) that rounding to nearest even gives."""
    number = np.isfinite(widened(x))
    x, y = x[number], y[number]
    exact = ALL[name](widened(x))
    pattern = y.view(np.uint16).astype(np.int64)
    magnitude = pattern & 0x7FFF

    def value(magnitudes: np.ndarray) -> np.ndarray:
        """Magnitudes as real numbers; infinity stands where the next binade would begin."""
        values = widened(magnitudes.astype(np.uint16).view(x.dtype))
        values = np.where(np.isinf(values), 2.0 ** ml_dtypes.finfo(x.dtype).maxexp, values)
        return np.where(np.isnan(values), np.inf, values)

    here = value(magnitude)
    above = (here + value(magnitude + 1)) / 2
    below = np.where(magnitude > 0, (here + value(np.maximum(magnitude - 1, 0))) / 2, -1.0)
    odd = (magnitude & 1).astype(bool)
    size = np.abs(exact)
    wrong = (size > above) | (size < below) | (odd & ((size == above) | (size == below)))
    wrong |= np.signbit(exact) != (pattern >= 0x8000)
    # float64 has the last word only where it is clear of both middles.
    gap = above - here
    unclear = np.minimum(np.abs(size - above), np.abs(size - below)) < gap * 2.0**-30
    for i in np.flatnonzero(unclear):
        magnitude = abs(truth(name, float(x[i])))
        tie = magnitude == above[i] or magnitude == below[i]
        wrong[i] = magnitude > above[i] or magnitude < below[i] or (tie and odd[i])
    return int(wrong.sum())


@every_function
@every_dtype
def test_no_input_is_misrounded(name: str, dtype: np.dtype) -> None:
    mp.dps = 100
    x = all_inputs(dtype)
    y = tabulate(ALL[name], dtype)(x)
    assert misrounded(name, x, y) == 0


def test_the_count_of_misrounded_counts() -> None:
    mp.dps = 100
    x = all_inputs(DTYPES[0])
    y = tabulate("gelu", DTYPES[0])(x).copy()
    for i in (0x0001, 0x3C00, 0x4200, 0x9000, 0xC000):
        y.view(np.uint16)[i] += 1
    assert misrounded("gelu", x, y) == 5


@every_function
@every_dtype
def test_kernel_gives_every_result(name: str, dtype: np.dtype, compiler: str) -> None:
    table = tabulate(ALL[name], dtype)
    x = all_inputs(dtype)
    assert_same_bits(Program().elementwise(table, x), table(x))
    assert_same_bits(Program(in_shared=False).elementwise(table, x), table(x))


@every_dtype
def test_windows_are_as_small_as_known(dtype: np.dtype) -> None:
    """The sizes published for these windows, in bytes, plus an entry for what is beyond each.

    Where f has different windows on both sides, they begin at the same magnitude here.
    """
    known = {
        "bfloat16": {"gelu": 5610, "gelu_tanh": 5504, "silu": 6188, "quick_gelu": 6274,
                     "mish": 7430, "softplus": 7938, "sigmoid": 6400, "tanh": 2708},
        "float16": {"gelu": 55270, "gelu_tanh": 54978, "silu": 58250},
    }  # fmt: skip
    for name, size in known[dtype.name].items():
        assert tabulate(name, dtype).entries.nbytes == size + 4


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@every_dtype
def test_under_sanitizers(sanitizer: str, dtype: np.dtype, compiler: str) -> None:
    table = tabulate("silu", dtype)
    x = all_inputs(dtype)[::37]
    for offsets in ((0, 0), (3, 3), (1, 2), (5, None)):
        y = Program(sanitizer).elementwise(
            table, x, grid=2, block=64, x_offset=offsets[0], y_offset=offsets[1]
        )
        assert_same_bits(y, table(x))


@pytest.mark.parametrize(
    ("sanitizer", "file", "old", "new"),
    [
        (None, "windows.cuh", ".bits + origin", ".bits + origin + 1"),
        ("address", "windows.cuh", "clamped(x, near, high)", "clamped(x, near, x)"),
        (None, "direct.cuh", "windows.near.bits", "0x3000u * 0x10001u"),
        (None, "direct.cuh", "exceeds(x, identity)", "exceeds(x, windows.near)"),
        (
            None,
            "direct.cuh",
            "multiply_add_up(slope, widen(x.second())",
            "multiply_add(slope, widen(x.second())",
        ),
        (None, "direct.cuh", "select(sign, x.bits, tangent.bits)", "tangent.bits"),
        (None, "items.cuh", "word >> 8 * SIZE * k", "word"),
        ("address", "windows.cuh", "clamped(x, minus_high, minus_near)", "x"),
    ],
)
def test_a_changed_kernel_fails(
    tmp_path: Path, compiler: str, sanitizer: str | None, file: str, old: str, new: str
) -> None:
    program = Program(sanitizer, mutated(tmp_path, file, old, new))
    with pytest.raises((AssertionError, HostError)):
        check(program)


def check(program: Program) -> None:
    for dtype in DTYPES[:2]:
        table = tabulate("gelu", dtype)
        x = all_inputs(dtype)
        assert_same_bits(program.elementwise(table, x), table(x))


@every_function
@every_dtype
def test_hard_cases_are_remade(name: str, dtype: np.dtype) -> None:
    kept = cupylut.accuracy.hard_cases()[name].get(dtype.name, [])
    assert [list(pair) for pair in hard_cases.hard_cases(name, dtype.name)] == kept


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=lambda d: d.name)
def test_round_to_rounds_once(dtype: np.dtype) -> None:
    x = all_inputs(dtype)
    x = widened(x[np.isfinite(widened(x))])
    np.testing.assert_array_equal(widened(round_to(x, dtype)), x)
    x = np.sort(np.unique(x))
    middle = (x[1:] + x[:-1]) / 2
    for offset, expected in ((1, x[1:]), (-1, x[:-1])):
        beside = np.nextafter(middle, offset * np.inf)
        np.testing.assert_array_equal(widened(round_to(beside, dtype)), expected)
    even = round_to(middle, dtype).view(np.uint16) % 2
    assert not even.any()


def test_a_function_of_the_user_without_rules() -> None:
    """A wave never settles: it has no tails, so the windows hold all large numbers."""
    wave = Function("wave", "cos(x)", lambda x: np.cos(np.where(np.isinf(x), 0, x)), None, None)
    table = tabulate(wave, "float16")
    x = all_inputs(table.dtype)
    finite = np.isfinite(widened(x))
    expected = round_to(np.cos(widened(x[finite])), table.dtype)
    assert_same_bits(table(x[finite]), expected)
    assert table.entries.nbytes > 80_000


AROUND_ZERO = {
    "falls": (lambda x: -np.tanh(x), 1.0, -1.0),  # −0 at 0, 0 at −0
    "below": (lambda x: -(np.tanh(x) ** 2), -1.0, -1.0),  # −0 at both
    "above": (lambda x: np.tanh(x) ** 2, 1.0, 1.0),
    "falling cube": (lambda x: -(np.tanh(x) ** 9), 1.0, -1.0),  # whose slope is none in float32
    "jumps": (lambda x: np.copysign(0.5, x), -0.5, 0.5),
    "steps": (lambda x: np.where(x < 0, -1.0, 2.0), -1.0, 2.0),
    "constant": (lambda x: np.full_like(x, -3.0), -3.0, -3.0),
}


@pytest.mark.parametrize("name", AROUND_ZERO)
@every_dtype
def test_kernel_around_zero(name: str, dtype: np.dtype, compiler: str) -> None:
    f, left, right = AROUND_ZERO[name]
    table = tabulate(f, dtype, left=left, right=right)
    x = all_inputs(dtype)
    numbers = x[~np.isnan(widened(x))]
    assert_same_bits(Program().elementwise(table, numbers), round_to(f(widened(numbers)), dtype))


def test_a_function_of_two_values_at_zero_has_a_full_table() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.where(np.signbit(x), 0.25, 1.0)

    with pytest.raises(ValueError, match=r"f\(0\) is 1.0, f\(-0\) is 0.25: .* take kind="):
        tabulate(f, "float16", left=0.25, right=1.0)
    table = tabulate(f, "float16", kind="full", left=0.25, right=1.0)
    assert_same_bits(table(np.float16([0.0, -0.0])), np.float16([1, 0.25]))


def test_a_function_that_fails_is_named() -> None:
    with pytest.raises(ValueError, match=r"sqrt\(-.*\) is not finite"):
        tabulate(np.sqrt, "float16", left=0.0, right="identity")


def test_choices() -> None:
    assert isinstance(tabulate("gelu", "float16"), DirectTable)
    assert not isinstance(tabulate("gelu", "float16", size=1024), DirectTable)
    assert not isinstance(tabulate("gelu", "float16", kind="linear"), DirectTable)
    assert repr(tabulate("gelu", "bfloat16")) == "DirectTable(gelu, bfloat16, 5,614 bytes)"
    with pytest.raises(ValueError, match="takes no size, nodes"):
        tabulate("gelu", "float16", kind="direct", size=5, nodes="plain")
    with pytest.raises(ValueError, match="float16 or bfloat16, not for float32"):
        tabulate("gelu", "float32", kind="direct")


def test_a_changed_result_is_no_longer_correct() -> None:
    mp.dps = 100
    table = tabulate("silu", "bfloat16")
    results = table.results.copy()
    results[0x3F80] ^= 1
    changed = replace(table, results=results)
    x = all_inputs(table.dtype)
    assert misrounded("silu", x, changed(x)) == 1
