"""What an activation makes of NumPy arrays: dtypes, layouts, `out=`, positions, copies."""

import array
import copy
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch  # noqa: TID251
from samples import bits, by_dtype, same

import cupylut
from cupylut import defaults
from cupylut.dtypes import DTYPES
from cupylut.functions import FUNCTIONS
from cupylut.tables.chunks import CHUNK

NAMES = tuple(FUNCTIONS)

by_name = pytest.mark.parametrize("name", NAMES)


def values(shape: Any, dtype: Any, seed: int = 0) -> Any:
    """Inputs of all regions: ordinary, far out, tiny and special."""
    rng = np.random.default_rng(seed)
    x = rng.normal(scale=4.0, size=shape)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 6e4, -6e4])
    chosen = rng.random(shape) < 0.1
    return np.where(chosen, rng.choice(special, size=shape), x).astype(dtype)


# ---- layouts: how to see a buffer of some size as an array of one shape -----------------------

SHAPE = (4, 6, 10)
SIZE = 4 * 6 * 10


def _misaligned(buffer: Any) -> Any:
    return np.frombuffer(buffer.view(np.uint8)[1:].data, buffer.dtype, SIZE).reshape(SHAPE)


# name -> (length of the buffer in elements, the view of it)
LAYOUTS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "c": (SIZE, lambda b: b.reshape(SHAPE)),
    "fortran": (SIZE, lambda b: b.reshape(SHAPE[::-1]).T),
    "permuted": (SIZE, lambda b: b.reshape(10, 4, 6).transpose(1, 2, 0)),
    "channels last": (SIZE, lambda b: b.reshape(4, 10, 6).transpose(0, 2, 1)),
    "sliced": (8 * SIZE, lambda b: b.reshape(8, 12, 20)[1::2, ::2, 1::2]),
    "outer rows": (2 * SIZE, lambda b: b.reshape(8, 6, 10)[::2]),
    "part of rows": (2 * SIZE, lambda b: b.reshape(4, 6, 20)[:, :, 3:13]),
    "reversed": (SIZE, lambda b: b.reshape(SHAPE)[::-1, ::-1, ::-1]),
    "one axis reversed": (SIZE, lambda b: b.reshape(SHAPE[::-1]).T[:, ::-1]),
    "misaligned": (SIZE + 1, _misaligned),
}
DENSE = ("c", "fortran", "permuted", "channels last")

by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def laid_out(content: Any, layout: str) -> Any:
    """A copy of the content in this layout."""
    size, view = LAYOUTS[layout]
    x = view(np.zeros(size, content.dtype))
    x[...] = content
    return x


@by_layout
@by_dtype
def test_the_layout_changes_neither_values_nor_input(layout: str, dtype: Any) -> None:
    content = values(SHAPE, dtype)
    x = laid_out(content, layout)
    x.flags.writeable = False
    y = cupylut.gelu(x)
    assert type(y) is np.ndarray
    assert same(y, cupylut.gelu(content))
    assert same(x, content)
    assert y.strides == np.positive(x).strides
    if layout in DENSE:
        assert y.strides == x.strides


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (1, 5), (5, 1, 1), (2, 1, 3)])
@by_dtype
def test_small_and_empty_shapes(shape: tuple[int, ...], dtype: Any) -> None:
    x = values(shape, dtype)
    y = cupylut.silu(x)
    assert type(y) is np.ndarray
    assert y.shape == shape
    assert y.strides == x.strides
    assert same(y.ravel(), cupylut.silu(x.ravel()))


def relevant_strides(x: Any) -> list[int]:
    """The strides of the axes that are longer than 1."""
    return [stride for n, stride in zip(x.shape, x.strides, strict=True) if n > 1]


@pytest.mark.parametrize("index", [(None,), (slice(None), None), (slice(None, None, 2), None)])
def test_axes_of_length_one_keep_a_dense_array_dense(index: Any) -> None:
    x = values((3, 4), np.float32).T[index]
    assert relevant_strides(cupylut.gelu(x)) == relevant_strides(np.positive(x))
    y = np.full(x.shape, 7, np.float32)
    assert same(cupylut.gelu(x), cupylut.gelu(x.copy()))
    assert cupylut.gelu(x, out=y) is y
    assert same(y, cupylut.gelu(x))
    assert same(cupylut.gelu(x, out=x), y)


def test_the_stride_of_an_axis_of_length_one_makes_no_other_memory() -> None:
    memory = values(5, np.float32)
    want = cupylut.gelu(memory)
    x, out = memory[None], memory.reshape(1, 5)
    assert x.strides != out.strides
    assert cupylut.gelu(x, out=out) is out
    assert same(memory, want)


@pytest.mark.parametrize(
    ("shape", "broadcast"), [((1,), (5,)), ((4,), (3, 4)), ((3, 1), (3, 4)), ((1, 4, 1), (2, 4, 3))]
)
def test_a_broadcast_view_gives_a_full_array(shape: Any, broadcast: Any) -> None:
    x = np.broadcast_to(values(shape, np.float32), broadcast)
    y = cupylut.gelu(x)
    assert y.flags.writeable
    assert y.flags.c_contiguous
    assert same(y, cupylut.gelu(x.copy()))


def test_overlapping_windows_are_read_as_they_are() -> None:
    x = np.lib.stride_tricks.sliding_window_view(values(20, np.float32), 5)
    assert same(cupylut.gelu(x), cupylut.gelu(x.copy()))


@by_dtype
def test_other_byte_orders_give_native_results(dtype: Any) -> None:
    content = values((3, 5), dtype)
    swapped = content.astype(dtype.newbyteorder())
    assert not swapped.dtype.isnative
    for x in (swapped, swapped.T, swapped[::-1]):
        y = cupylut.gelu(x)
        assert y.dtype == dtype
        assert y.dtype.isnative
        assert same(y, cupylut.gelu(x.astype(dtype)))


def test_subclasses_are_wrapped_as_by_a_ufunc(tmp_path: Any) -> None:
    class Named(np.ndarray):
        name = "none"

        def __array_finalize__(self, other: Any) -> None:
            self.name = getattr(other, "name", "none")

    named = values((2, 3), np.float32).view(Named)
    named.name = "a"
    y = cupylut.gelu(named)
    assert type(y) is Named
    assert y.name == "a"
    mapped = np.memmap(tmp_path / "map", np.float32, "w+", shape=(4,))
    for x in (np.array([[1.0, -1.0]]).view(np.matrix), mapped, mapped[::2]):
        y = cupylut.gelu(x)
        assert type(y) is type(np.positive(x))
        assert same(np.asarray(y), cupylut.gelu(np.array(x)))
    assert cupylut.gelu(mapped, out=mapped) is mapped


# ---- dtypes -----------------------------------------------------------------------------------


@by_dtype
@by_name
def test_every_function_keeps_the_dtype_and_is_itself(name: str, dtype: Any) -> None:
    x = np.linspace(-12, 12, 301).astype(dtype)
    y = getattr(cupylut, name)(x)
    exact = FUNCTIONS[name](x)
    assert y.dtype == dtype
    assert np.abs(y.astype(np.float64) - exact).max() <= (0.05 if dtype.itemsize == 2 else 1e-4)
    assert same(y, defaults.default_table(name, dtype)(x))


@pytest.mark.parametrize("code", "?bBhHiIlLqQ")
@pytest.mark.parametrize("order", "=S")
def test_integers_and_bools_promote_as_in_a_ufunc(code: str, order: Any) -> None:
    limits: list[int] = (
        [False, True] if code == "?" else [0, 3, np.iinfo(code).min, np.iinfo(code).max]
    )
    x = np.array(limits, code).astype(np.dtype(code).newbyteorder(order))
    want = np.exp(np.zeros(1, code)).dtype  # a ufunc with the loops e, f and d
    y = cupylut.gelu(x)
    assert y.dtype == want
    assert same(y, cupylut.gelu(x.astype(want)))
    out = np.empty_like(y)
    assert same(cupylut.gelu(x, out=out), y)


@pytest.mark.parametrize(
    "dtype",
    [
        *("c8", "c16", "G", "g", "O", "S3", "U3", "V4", "M8[s]", "m8[s]", [("a", "f4")]),
        *(np.dtypes.StringDType(), ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4),
    ],
    ids=str,
)
def test_other_dtypes_raise_an_error_that_names_them(dtype: Any) -> None:
    x = np.zeros((2, 3), dtype)
    for bad in (x, x.T, x[0, :1], x[:0]):
        with pytest.raises(TypeError, match="float16, bfloat16, float32 or float64") as caught:
            cupylut.gelu(bad)
        assert str(x.dtype) in str(caught.value)


@pytest.mark.parametrize("x", [None, "1.0", b"1.0", 1j, {1.0}, {}, object(), 10**40, np.float32])
def test_objects_that_are_no_numbers_raise(x: Any) -> None:
    with pytest.raises(TypeError, match="not supported: convert it to"):
        cupylut.gelu(x)


def test_masked_arrays_raise() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for x in (masked, masked.astype(np.float16), np.ma.masked):
        with pytest.raises(TypeError, match=r"masked arrays are not supported: pass x\.data"):
            cupylut.gelu(x)
    with pytest.raises(TypeError, match="masked arrays are not supported"):
        cupylut.gelu(np.zeros(2), out=masked)


@pytest.mark.parametrize(
    ("x", "want"),
    [
        (1.0, np.float64),
        (2, np.float64),
        (True, np.float16),
        (np.float16(1), np.float16),
        (np.float32(1), np.float32),
        (np.float64(1), np.float64),
        (ml_dtypes.bfloat16(1), ml_dtypes.bfloat16),
        (np.int16(1), np.float32),
        (np.bool(1), np.float16),
    ],
)
def test_a_scalar_gives_a_scalar(x: Any, want: type) -> None:
    y = cupylut.gelu(x)
    assert type(y) is want
    assert y == cupylut.gelu(np.array([x], np.result_type(want)))[0]


@pytest.mark.parametrize(
    "x",
    [
        [],
        [1, 2],
        (1.0, -2.0),
        range(3),
        [[1.0], [np.inf]],
        [np.float32(1), np.float32(2)],
        array.array("f", [1, 2]),
        np.arange(6.0).reshape(2, 3).data,
    ],
)
def test_what_asarray_takes_gives_an_array(x: Any) -> None:
    y = cupylut.gelu(x)
    assert type(y) is np.ndarray
    assert same(y, cupylut.gelu(np.asarray(x)))


def test_ragged_lists_raise_numpys_own_error() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        cupylut.gelu([[1.0], [1.0, 2.0]])


# ---- positions and chunks -------------------------------------------------------------------


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
@by_dtype
@by_name
def test_a_result_depends_on_its_input_alone(name: str, dtype: Any, size: int) -> None:
    function = getattr(cupylut, name)
    x = values(size, dtype)
    y = function(x)
    order = np.random.default_rng(1).permutation(size)
    assert same(function(x[order]), y[order])
    assert same(function(x[5:]), y[5:])
    ordinary = np.flatnonzero(np.isfinite(x.astype(np.float64)) & (x != 0))
    assert same(function(x[ordinary]), y[ordinary])  # without the special values beside them
    for i in np.random.default_rng(2).integers(size, size=20):
        assert same(function(x[i : i + 1]), y[i : i + 1])


def test_a_chunk_of_special_values_beside_one_without() -> None:
    x = values(3 * CHUNK, np.float32)
    x[CHUNK : 2 * CHUNK] = 1.25
    y = cupylut.sigmoid(x)
    assert len(np.unique(bits(y[CHUNK : 2 * CHUNK]))) == 1
    x[CHUNK] = np.nan
    assert same(cupylut.sigmoid(x)[CHUNK + 1 :], y[CHUNK + 1 :])


# ---- the functions themselves -----------------------------------------------------------------


def test_every_declaration_has_its_function() -> None:
    for name, declared in FUNCTIONS.items():
        function = getattr(cupylut, name)
        assert function.__name__ == name
        assert function.__doc__.startswith("y = ")
        if name not in PARAMETRIC:
            assert declared.formula.partition(" =")[0] in function.__doc__


PARAMETRIC = {
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    "leaky_relu": lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
}


@pytest.mark.parametrize("name", PARAMETRIC)
def test_parameters_make_other_functions(name: str) -> None:
    x = np.linspace(-6, 6, 1001).astype(np.float16)
    wide = x.astype(np.float64)
    for parameter in (0.25, 0.75, 1.5):
        y = getattr(cupylut, name)(x, parameter)
        expected = PARAMETRIC[name](wide, parameter)
        assert not same(y, getattr(cupylut, name)(x))
        np.testing.assert_array_equal(y, expected.astype(np.float16))


@pytest.mark.parametrize("name", PARAMETRIC)
def test_a_parameter_is_a_number(name: str) -> None:
    x = torch.ones(3)
    for parameter in (torch.nn.Parameter(torch.tensor(0.5)), np.array(0.5), "0.5", None):
        with pytest.raises(TypeError, match=f"is a {type(parameter).__name__}: give a number"):
            getattr(cupylut, name)(x, parameter)
    for number in (np.float32(0.5), Fraction(1, 2)):
        assert torch.equal(getattr(cupylut, name)(-x, number), getattr(cupylut, name)(-x, 0.5))
    with pytest.raises(ValueError, match=r"too large for float64: give a smaller number"):
        getattr(cupylut, name)(x, 10**400)
    with pytest.raises(ValueError, match=r"1e\+308\) has no default table in float32, .*tabulate"):
        getattr(cupylut, name)(x, 1e308)


def test_approximate_chooses_the_form_of_gelu() -> None:
    x = values(1000, np.float32)
    assert same(cupylut.gelu(x, approximate="none"), cupylut.gelu(x))
    assert same(cupylut.gelu(x, "tanh"), cupylut.gelu_tanh(x))
    assert not same(cupylut.gelu(x, "tanh"), cupylut.gelu(x))
    with pytest.raises(ValueError, match='approximate=\'erf\': choose "none" or "tanh"'):
        cupylut.gelu(x, approximate="erf")  # type: ignore[arg-type]
    for call in (lambda: cupylut.gelu(x, x), lambda: cupylut.geglu(x, x, x)):
        with pytest.raises(TypeError, match=r"approximate is a ndarray: .*to write to is out="):
            call()


@by_dtype
def test_a_table_takes_its_own_dtype_only(dtype: Any) -> None:
    table = cupylut.tabulate("silu", dtype)
    x = values(SHAPE, dtype)
    assert same(table(x.T), cupylut.silu(x.T))
    for other in DTYPES:
        if other != dtype:
            with pytest.raises(TypeError, match=f"for {dtype} and the input gives {other}"):
                table(x.astype(other))


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@by_name
def test_functions_declarations_and_tables_can_be_copied(
    name: str, duplicate: Callable[[Any], Any]
) -> None:
    function = getattr(cupylut, name)
    assert duplicate(function) is function
    declared = duplicate(FUNCTIONS[name])
    assert declared == FUNCTIONS[name]
    for dtype in DTYPES:
        x = values(1000, dtype)
        assert same(declared(x), FUNCTIONS[name](x))
        table = duplicate(defaults.default_table(name, dtype))
        assert same(table(x), function(x))
        assert table.report == defaults.default_table(name, dtype).report
