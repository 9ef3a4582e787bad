"""tables/quantized.py and tables/grid.py: 8 bits in and out, exact once.

The oracle is the exact value: float64 from scipy's references where it is far enough from the
middle between two results, mpmath elsewhere. Results and middles are enumerated here, by ml_dtypes.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import jax  # noqa: TID251
import ml_dtypes
import numpy as np
import pytest
import torch  # noqa: TID251
from exact import EXACT, mp
from samples import bits

import cupylut
from cupylut import FUNCTIONS, QuantizedTable, memory, quantized
from cupylut.declaration import Function, Tail
from cupylut.dtypes import all_inputs, widened
from cupylut.tables.quantized import QUANTIZED

PAIRS = [(a, b) for a in QUANTIZED for b in QUANTIZED if a.itemsize + b.itemsize < 4]

by_pair = pytest.mark.parametrize(
    ("dtype", "out_dtype"), PAIRS, ids=lambda d: d.name.replace("float8_", "")
)

# Powers of two meet ties, the rest of the scales as they come; tiny ones meet the slope at zero.
SCALES = [(1.0, 1.0), (0.5, 1.0), (0.05, 0.02), (2.0**-100, 2.0**-100)]


def numbers(dtype: np.dtype) -> np.ndarray:
    """All numbers of a dtype, in ascending order; infinity stands where the next would be."""
    n = np.unique(widened(all_inputs(dtype)[~np.isnan(widened(all_inputs(dtype)))]))
    if dtype.itemsize == 1:
        return n[np.isfinite(n)]  # 8 bits saturate
    limit = 2.0 ** ml_dtypes.finfo(dtype).maxexp
    return np.clip(n, -limit, limit)


# f(x) = line + rest where digits do not suffice for the sum, as rest may be 10⁻⁴⁰⁰⁰⁰.
GATES = ("gelu", "gelu_tanh", "silu", "quick_gelu", "softplus", "hardswish")
SPLIT = {
    **{name: lambda x, name=name: (x, EXACT[name](-x)) for name in GATES},
    "mish": lambda x: (x, -2 * x / ((1 + mp.exp(x)) ** 2 + 1)),
    "gelu_10": lambda x: (min(x, 10), EXACT["gelu"](-x) if x <= 10 else 0),
    "sigmoid": lambda x: (1, -EXACT["sigmoid"](-x)),
    "tanh": lambda x: (1, -2 / (mp.exp(2 * x) + 1)),
}


def side(name: str, x: float, middle: float) -> int:
    """The sign of f(x) − middle."""
    x, middle = mp.mpf(x), mp.mpf(middle)
    if abs(x) < 8:
        line, rest = 0, EXACT[name](x)
    elif x > 0:
        line, rest = SPLIT.get(name, lambda x: (EXACT[name](x), 0))(x)
    elif name == "tanh":
        line, rest = -1, 2 / (mp.exp(-2 * x) + 1)
    else:
        line, rest = (-1, mp.exp(x)) if name == "elu" else (0, EXACT[name](x))
    gap = line - middle
    return int(mp.sign(rest) if gap == 0 else mp.sign(gap + rest))


def misrounded(table: QuantizedTable, name: str) -> int:
    """How many results are not the saturating nearest-even ones of f(scale·q) / out_scale."""
    with np.errstate(invalid="ignore"):
        x = widened(all_inputs(table.dtype)) * table.scale
    finite = np.isfinite(x)
    x, patterns = x[finite], table.results[finite]
    n = widened(patterns.view(table.out_dtype))
    values = numbers(table.out_dtype)
    n = np.clip(n, values[0], values[-1])
    i = np.searchsorted(values, n)
    assert (values[i] == n).all()
    middles = (values[1:] + values[:-1]) / 2 * table.out_scale
    edges = np.concatenate([[-np.inf], middles, [np.inf]])
    below, above, odd = edges[i], edges[i + 1], patterns % 2 == 1
    exact = FUNCTIONS[name](x)
    wrong = (exact < below) | (exact > above) | (odd & ((exact == below) | (exact == above)))
    if table.out_dtype != np.int8:
        wrong |= np.signbit(exact) != np.signbit(widened(patterns.view(table.out_dtype)))
    # float64 has the last word only where it is clear of both middles.
    gap = np.minimum(np.abs(exact - below), np.abs(exact - above))
    for k in np.flatnonzero(gap <= 2.0**-36 * np.abs(exact)):
        under, over = (
            side(name, x[k], middle[k]) if np.isfinite(middle[k]) else sign
            for middle, sign in ((below, 1), (above, -1))
        )
        wrong[k] = under < 0 or over > 0 or (odd[k] and (under == 0 or over == 0))
    return int(wrong.sum())


@pytest.mark.parametrize("name", [*SPLIT, "elu"])
@pytest.mark.parametrize(("scale", "out_scale"), SCALES)
def test_no_8_bit_input_is_misrounded(name: str, scale: float, out_scale: float) -> None:
    mp.dps = 120
    for dtype, out_dtype in PAIRS:
        if dtype.itemsize == 1:
            table = quantized(name, dtype, out_dtype, scale=scale, out_scale=out_scale)
            assert misrounded(table, name) == 0, table


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "gelu_10"])
@pytest.mark.parametrize(("scale", "out_scale"), SCALES[:3])
def test_no_16_bit_input_is_misrounded(name: str, scale: float, out_scale: float) -> None:
    mp.dps = 120
    for dtype, out_dtype in PAIRS:
        if dtype.itemsize == 2:
            table = quantized(name, dtype, out_dtype, scale=scale, out_scale=out_scale)
            assert misrounded(table, name) == 0, table


def test_the_count_of_misrounded_counts() -> None:
    mp.dps = 120
    table = quantized("gelu", "int8", "int8", scale=0.5, out_scale=1.0)
    results = table.results.copy()
    results[[19, 40, 200]] += 1  # 19: gelu(9.5) is a little less than 9.5
    assert misrounded(replace(table, results=results), "gelu") == 3


def test_what_is_a_little_beside_a_tie_is_no_tie() -> None:
    q = np.int8([19, 17, 5])
    table = quantized("gelu", "int8", "int8", scale=0.5)
    np.testing.assert_array_equal(table(q), [9, 8, 2])  # 9.5 − 10⁻²⁰, 8.5 − 10⁻¹⁶, 2.48
    np.testing.assert_array_equal(quantized("softplus", "int8", "int8", scale=0.5)(q), [10, 9, 3])
    np.testing.assert_array_equal(quantized("elu", "int8", "int8", scale=0.5)(q), [10, 8, 2])
    np.testing.assert_array_equal(quantized("hardswish", "int8", "int8", scale=0.5)(q[:2]), [10, 8])
    tiny = {"scale": 2.0**-100, "out_scale": 2.0**-100}
    # x/2 + x²/√(2π), a little above x/2
    np.testing.assert_array_equal(quantized("gelu", "int8", "int8", **tiny)(np.int8([1, 3, -1])),
                                  [1, 2, 0])  # fmt: skip
    # 1/2 + x/4, on either side of the middle between 0 and 1
    sigmoid = quantized("sigmoid", "int8", "int8", scale=2.0**-100)
    np.testing.assert_array_equal(sigmoid(np.int8([-1, 0, 1])), [0, 0, 1])


# ---- what the docstring promises ---------------------------------------------------------------


@by_pair
def test_special_values(dtype: np.dtype, out_dtype: np.dtype) -> None:
    table = quantized("gelu", dtype, out_dtype, scale=2.0)
    assert table.report.special_values
    assert table.report.misrounded == table.report.above_half_ulp == 0
    assert table.report.monotonicity_breaks == 0
    if dtype != np.int8:
        y = table(np.array([np.nan, 0.0, -0.0], dtype))
        assert np.isnan(y[0]) if out_dtype != np.int8 else y[0] == 0
        assert (widened(y[1:]) == 0).all()
        assert list(np.signbit(widened(y[1:]))) == [False, out_dtype != np.int8]
        nan = np.isnan(widened(all_inputs(dtype)))
        assert len(set(table.results[nan])) == 1  # one NaN, whichever goes in


@by_pair
def test_saturation(dtype: np.dtype, out_dtype: np.dtype) -> None:
    """ml_dtypes' own casts overflow to NaN or infinity."""
    most = {"int8": 127, "float8_e4m3fn": 448, "float8_e5m2": 57344}
    largest = most.get(out_dtype.name, np.inf)
    least = -128 if out_dtype == np.int8 else -largest
    line = Function("line", "x", lambda x: x, Tail(1.0, 0.0), Tail(1.0, 0.0))
    table = quantized(line, dtype, out_dtype, out_scale=2.0**-126)
    x = np.array([-100.0, 100.0], dtype)
    np.testing.assert_array_equal(widened(table(x)), [least, largest])
    if dtype.name not in ("int8", "float8_e4m3fn"):
        x = np.array([-np.inf, np.inf], dtype)
        np.testing.assert_array_equal(widened(table(x)), [least, largest])
    # The last number is not lost, nor what is nearest to it.
    table = quantized(line, dtype, out_dtype, scale=4.0, out_scale=4.0)
    last = np.array([-1.0, 1.0]) * min(numbers(dtype)[-1], 100.0)
    np.testing.assert_array_equal(
        widened(table(last.astype(dtype))), widened(last.astype(dtype).astype(out_dtype))
    )


def test_a_float32_scale_is_meant() -> None:
    table = quantized("gelu", "int8", "int8", scale=1 / 127, out_scale=np.float32(1 / 127))
    assert table.scale == table.out_scale == float(np.float32(1 / 127))
    assert misrounded(table, "gelu") == 0


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan, 1e-46, 1e39])
@pytest.mark.parametrize("name", ["scale", "out_scale"])
def test_scales_that_are_none(name: str, scale: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}=.*positive number that float32 can hold"):
        quantized("gelu", "int8", "int8", **{name: scale})


def test_other_errors() -> None:
    with pytest.raises(ValueError, match="one number for the whole array"):
        quantized("gelu", "int8", "int8", scale=np.ones(3))
    with pytest.raises(ValueError, match="neither float16 nor bfloat16 has 8 bits"):
        quantized("gelu", "float16", "bfloat16")
    with pytest.raises(ValueError, match="choose one of int8, float8_e4m3fn, float8_e5m2, float16"):
        quantized("gelu", "float32", "int8")
    with pytest.raises(ValueError, match="'uint8'"):
        quantized("gelu", "int8", "uint8")
    with pytest.raises(ValueError, match=r"not finite|is NaN"):
        quantized(np.sqrt, "int8", "int8", left=0.0, right="identity")
    with pytest.raises(ValueError, match="choose one of direct"):
        cupylut.tabulate("gelu", kind="quantized")
    for other in (np.float32, np.uint8):
        with pytest.raises(TypeError, match=f"for arrays of int8, not of {np.dtype(other)}: conv"):
            quantized("gelu", "int8", "int8")(np.zeros(3, other))
    with pytest.raises(TypeError, match="quantized"):
        cupylut.gelu(np.zeros(3, ml_dtypes.float8_e5m2))
    table = quantized("gelu", "int8", "float8_e4m3fn")
    with pytest.raises(ValueError, match="out has dtype int8, the result has float8_e4m3fn"):
        table(np.zeros(3, np.int8), out=np.zeros(3, np.int8))


def test_a_function_of_the_user() -> None:
    """Its float64 word counts; a wave never settles, so that its windows hold all numbers."""
    wave = Function("wave", "cos(x)", lambda x: np.cos(np.where(np.isinf(x), 0, x)), None, None)
    table = quantized(wave, "bfloat16", "int8", out_scale=1 / 127)
    x = widened(all_inputs(table.dtype))
    finite = np.isfinite(x)
    expected = np.rint(np.cos(x[finite]) / np.float64(np.float32(1 / 127)))
    np.testing.assert_array_equal(table.results.view(np.int8)[finite], expected)
    assert table.entries.nbytes > 16_000
    clipped = quantized(lambda x: np.clip(x, -1, 1), "int8", "int8", left=-1.0, right=1.0,
                        out_scale=2.0)  # fmt: skip
    np.testing.assert_array_equal(clipped(np.int8([-3, 1, 100])), [0, 0, 0])  # ties, to even


def test_report_and_representation() -> None:
    table = quantized("gelu", "int8", "int8", scale=0.05, out_scale=0.02)
    assert repr(table) == "QuantizedTable(gelu, int8 · 0.05 to int8 · 0.02, 256 bytes)"
    x = np.arange(-128, 128) * table.scale
    exact = FUNCTIONS["gelu"](x)
    inside = exact < 127.5 * table.out_scale
    error = np.abs(table(np.arange(-128, 128).astype(np.int8)) * table.out_scale - exact)
    assert table.report.points == inside.sum()
    assert table.report.max_abs == error[inside].max() < 0.01
    assert table.report.max_abs_at == x[inside][error[inside].argmax()]
    assert table.report.mean_abs == pytest.approx(error[inside].mean(), rel=1e-12)
    assert table.report.max_ulp == pytest.approx(table.report.max_abs / table.out_scale, rel=1e-12)
    one = Function("one", "1", np.ones_like, Tail(0.0, 1.0), Tail(0.0, 1.0))
    assert quantized(one, "int8", "int8", out_scale=1 / 128).report.points == 0
    assert quantized(one, "int8", "int8", out_scale=1 / 127).report.points == 256


@by_pair
def test_save_load_and_pickle(dtype: np.dtype, out_dtype: np.dtype, tmp_path: Path) -> None:
    table = quantized("silu", dtype, out_dtype, scale=0.1, out_scale=0.07)
    table.save(tmp_path / "table.npz")
    for again in (cupylut.load(tmp_path / "table.npz"), pickle.loads(pickle.dumps(table))):
        assert type(again) is QuantizedTable
        assert (again.results == table.results).all()
        assert again.results.dtype == table.results.dtype
        assert repr(again) == repr(table)
        assert again.report == table.report
        assert (again.dtype, again.result_dtype) == (dtype, out_dtype)


# ---- arrays ------------------------------------------------------------------------------------


@by_pair
def test_numpy_arrays(dtype: np.dtype, out_dtype: np.dtype) -> None:
    table = quantized("gelu", dtype, out_dtype, scale=0.05, out_scale=0.02)
    x = all_inputs(dtype)
    for view in (np.s_[:], np.s_[1:], np.s_[1:-2], np.s_[::2], np.s_[::-1], np.s_[:1], np.s_[:0]):
        y = table(x[view])
        assert y.dtype == out_dtype
        np.testing.assert_array_equal(bits(y), table.results[view])
    memory = np.zeros(x.nbytes + 1, np.uint8)  # at an odd address
    memory[1:] = x.view(np.uint8)
    np.testing.assert_array_equal(bits(table(memory[1:].view(dtype))), table.results)
    fortran = x[:240].reshape(12, 20).T
    assert table(fortran).flags.f_contiguous
    out = np.zeros((20, 24), out_dtype)[:, ::2]
    assert table(fortran, out=out) is out
    np.testing.assert_array_equal(bits(table(fortran)), table.results[:240].reshape(12, 20).T)
    np.testing.assert_array_equal(bits(np.ascontiguousarray(out)), bits(table(fortran)))
    assert type(table(x[5])) is type(out[0, 0])
    large = np.resize(x, 400_000)
    with cupylut.set_workers(2):
        np.testing.assert_array_equal(bits(table(large)), np.resize(table.results, 400_000))
    if dtype == out_dtype:
        assert table(large, out=large) is large
        np.testing.assert_array_equal(bits(large), np.resize(table.results, 400_000))
    elif dtype.itemsize == out_dtype.itemsize:
        with pytest.raises(ValueError, match="overlaps"):
            table(large, out=large.view(out_dtype))


@pytest.mark.parametrize("order", "<>")
def test_other_byte_orders(order: str) -> None:
    table = quantized("gelu", "float16", "int8", out_scale=0.02)
    x = all_inputs(np.dtype(np.float16))
    swapped = x.astype(x.dtype.newbyteorder(order))
    np.testing.assert_array_equal(bits(table(swapped)), table.results)
    for other in (x.astype(np.float32), np.ones(3, np.int8), jax.numpy.ones(3, bool)):
        with pytest.raises(TypeError, match=f"for arrays of float16, not of {other.dtype}"):
            table(other)


def test_dense_arrays_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    table = quantized("gelu", "int8", "float16")
    x = np.zeros((4, 5, 6), np.int8).transpose(2, 0, 1)
    monkeypatch.setattr(memory, "copy", None)
    assert table(x, out=table(x)).strides == tuple(2 * stride for stride in x.strides)
    assert table(as_tensor(x.T), out=table(as_tensor(x.T))).dtype == torch.float16
    with pytest.raises(TypeError):
        table(x[::2])


def as_tensor(x: np.ndarray) -> torch.Tensor:
    integers = torch.from_numpy(x.view(f"i{x.itemsize}").copy())
    return integers.view(getattr(torch, x.dtype.name))


def as_bits(x: torch.Tensor) -> np.ndarray:
    return bits(x.contiguous().cpu().view({1: torch.int8, 2: torch.int16}[x.itemsize]).numpy())


@by_pair
def test_torch_tensors(dtype: np.dtype, out_dtype: np.dtype) -> None:
    table = quantized("gelu", dtype, out_dtype, scale=0.05, out_scale=0.02)
    x = as_tensor(all_inputs(dtype)[:240]).reshape(12, 20)
    want = table.results[:240].reshape(12, 20)
    for tensor, result in ((x, want), (x.T, want.T), (x[::2], want[::2]), (x[0, 0], want[0, 0])):
        y = table(tensor)
        assert y.dtype == getattr(torch, out_dtype.name)
        np.testing.assert_array_equal(as_bits(y), result)
    out = torch.empty_like(y := table(x)).T
    assert table(x.T, out=out) is out
    np.testing.assert_array_equal(as_bits(out), as_bits(y).T)
    np.testing.assert_array_equal(as_bits(x), bits(all_inputs(dtype)[:240].reshape(12, 20)))


def test_tensors_of_other_dtypes() -> None:
    table = quantized("gelu", "float8_e4m3fn", "int8")
    for dtype in (torch.float8_e5m2, torch.float8_e4m3fnuz, torch.uint8, torch.int8):
        with pytest.raises(TypeError, match=r"not supported|for arrays of float8_e4m3fn"):
            table(torch.zeros(3).to(dtype))


@by_pair
def test_jax_arrays(dtype: np.dtype, out_dtype: np.dtype) -> None:
    table = quantized("gelu", dtype, out_dtype, scale=0.05, out_scale=0.02)
    x = jax.numpy.asarray(all_inputs(dtype))
    for y in (table(x), jax.jit(table)(x)):
        assert isinstance(y, jax.Array)
        assert y.dtype == out_dtype
        np.testing.assert_array_equal(bits(np.asarray(y)), table.results)


def test_a_zero_that_is_reached_keeps_the_sign_of_its_side() -> None:
    """Far out mish′ is a subnormal number and then −0, which says nothing about the side of 0."""
    table = cupylut.quantized("mish_derivative", "float16", "float8_e4m3fn")
    assert np.signbit(table(np.float16([-100, -1000, -np.inf])).astype(np.float32)).all()
