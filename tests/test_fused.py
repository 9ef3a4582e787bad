"""fused.py and kernels/fused.cu: residual + scale·f(x + bias), rounded once.

The kernels are compiled as C++ and run on the CPU. The oracle is scipy's reference in float64.
"""

from itertools import product
from pathlib import Path
from typing import Any

import jax  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from cubin import GENERATIONS, compile_kernel, instructions, per_element, resources
from host_cuda import Program, mutated
from samples import assert_same_bits, by_dtype, same, values
from scipy import special

import cupylut
from cupylut import FUNCTIONS, defaults
from cupylut.compiler import SCALARS
from cupylut.dtypes import BFLOAT16, all_inputs, as_dtype, ulp, widened
from cupylut.fused import evaluate

SETS = [
    {
        name
        for name, there in zip(("bias", "scale", "number", "residual"), given, strict=True)
        if there
    }
    for given in product((False, True), repeat=4)
    if given[1:3] != (True, True)
]
by_set = pytest.mark.parametrize("names", SETS, ids=lambda names: "+".join(sorted(names)) or "none")

NUMBER = 0.22


def operands(names: set[str], shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """What `fused` takes beside x, of numbers that differ everywhere."""
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {
        "bias": rng.normal(size=shape[-1:]).astype(dtype),
        "scale": rng.normal(size=shape[-1:]).astype(dtype),
        "residual": rng.normal(scale=3, size=shape).astype(dtype),
        "factor": rng.normal(size=shape).astype(dtype),
    }
    chosen = {name: made[name] for name in names - {"number"}}
    return chosen | ({"scale": NUMBER} if "number" in names else {})


def exact(name: str, x: Any, bias: Any = 0.0, scale: Any = 1.0, residual: Any = 0.0) -> Any:
    """In float64: scale·f(x + bias), and the whole."""
    with np.errstate(all="ignore"):
        inner = widened(x) + np.float64(bias)
        term = np.float64(scale) * FUNCTIONS[name](inner)
        return term, np.float64(residual) + term


# ---- accuracy -----------------------------------------------------------------------------------

BIASES = [0.0, 1.0, -0.3, 7.5e-3, -2.5, 11.0]
SCALES = [1.5, -0.01, 3.0, 0.7, 1.0, 1e-3]


def errors(y: np.ndarray, want: np.ndarray) -> Any:
    """In ulp; none where both overflow."""
    with np.errstate(all="ignore"):
        error = np.abs(widened(y) - want) / ulp(want, y.dtype)
        return np.where(widened(y) == widened(want.astype(y.dtype)), 0, error)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish"])
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=lambda d: d.name)
def test_every_16_bit_input_with_some_biases(name: str, dtype: np.dtype) -> None:
    """Rounded once: to within 0.51 ulp, and with a residual what float32 makes of the rest."""
    x = all_inputs(dtype)
    x = np.repeat(x[np.isfinite(widened(x)), None], len(BIASES), axis=1)
    bias, residual = np.array(BIASES).astype(dtype), np.roll(x, 12345, axis=0)
    for scale in (None, np.array(SCALES).astype(dtype), NUMBER):
        wide = 1.0 if scale is None else np.asarray(scale).astype(float)
        y = cupylut.fused(name, x, bias=bias, scale=scale)
        term, want = exact(name, x, widened(bias), wide)
        assert errors(y, want).max() <= 0.51
        y = cupylut.fused(name, x, bias=bias, scale=scale, residual=residual)
        _, want = exact(name, x, widened(bias), wide, widened(residual))
        with np.errstate(all="ignore"):
            allowed = 0.51 * ulp(want, dtype) + 2.0**-22 * np.abs(term)
            right = np.abs(widened(y) - want) <= allowed
            assert (right | (widened(y) == widened(want.astype(dtype)))).all()


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_float32(name: str) -> None:
    """Within 2.5 ulp of scale·f of the float32 sum; a residual is added with one rounding more."""
    rng = np.random.default_rng(0)
    x, residual = (rng.normal(scale=4, size=(10_000, 6)).astype(np.float32) for _ in range(2))
    bias, scale = np.float32(BIASES), np.float32(SCALES)
    term = scale.astype(float) * FUNCTIONS[name](x + bias)
    y = cupylut.fused(name, x, bias=bias, scale=scale)
    assert errors(y, term).max() <= 2.5
    y = cupylut.fused(name, x, bias=bias, scale=scale, residual=residual)
    allowed = 2.5 * ulp(term, x.dtype) + 0.5 * ulp(residual + term, x.dtype)
    assert (np.abs(y - (residual + term)) <= allowed).all()


@by_set
def test_float64_and_every_set_of_operands(names: set[str]) -> None:
    for shape in ((50, 7), (2, 70_000)):  # in the second a row takes two blocks
        x = np.random.default_rng(0).normal(scale=3, size=shape)
        given = operands(names, shape, x.dtype)
        _, want = exact("silu", x, **given)
        np.testing.assert_allclose(cupylut.fused("silu", x, **given), want, rtol=1e-13, atol=1e-14)


@by_dtype
def test_without_operands_it_is_the_function(dtype: np.dtype) -> None:
    x = values(1000, dtype)
    assert same(cupylut.fused("gelu", x), cupylut.gelu(x))


def test_special_values() -> None:
    x = np.float32([[np.nan, 0, -np.inf, np.inf, -0.0, 1]])
    bias = np.float32([1, np.nan, 1, 1, -0.0, np.inf])
    y = cupylut.fused("gelu", x, bias=bias, scale=2.0)
    assert np.isnan(y[0, :2]).all()
    assert same(y[0, 2:], np.float32([-0.0, np.inf, -0.0, np.inf]))


# ---- the kernels --------------------------------------------------------------------------------


def check(
    program: Program, names: set[str], dtype: np.dtype, shapes: list[tuple[int, int]]
) -> None:
    """Kernel and NumPy half agree to the last bit for a linear table, whose two halves do."""
    table = cupylut.tabulate("silu", defaults.compute_dtype(dtype), size=77)
    for shape in shapes:
        x, given = values(shape, dtype), operands(names, shape, dtype)
        want = np.empty_like(x)
        evaluate(table, x, want, **given)
        for offset, place in ((0, 0), (0, 1), (1, 0), (0, None)):
            made = program.fused(
                table, x, given, grid=3, block=32, offset=offset, out_offset=place,
            )  # fmt: skip
            assert_same_bits(made, want.ravel())


@pytest.mark.parametrize(
    ("dtype", "names", "sanitizer"),
    [
        ("bfloat16", {"bias", "scale", "residual"}, "address,undefined"),
        ("float16", {"bias", "factor", "scale", "residual"}, "thread"),
        ("float32", {"bias", "factor", "number"}, None),
        ("float64", {"residual"}, None),
    ],
)
def test_kernels_give_the_numpy_halves_results(
    dtype: str, names: set[str], sanitizer: str | None, compiler: str
) -> None:
    """In rows of whole vectors, of none, one row, one column, and misaligned."""
    real_dtype = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    lanes = 16 // real_dtype.itemsize
    shapes = [(1, 1), (40, 3 * lanes), (20, lanes + 1), (100, 1)]
    if dtype == "float64":
        check(Program(sanitizer, in_shared=False), names, real_dtype, shapes[1:2])
    check(Program(sanitizer), names, real_dtype, shapes[1:3] if sanitizer == "thread" else shapes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("words(scale, parts)[column]", "words(scale, parts)[0]"),
        ("SCALE ? scale[column]", "SCALE ? scale[0]"),
    ],
)
def test_a_changed_kernel_fails(tmp_path: Path, compiler: str, old: str, new: str) -> None:
    program = Program(None, mutated(tmp_path, "fused.cu", old, new))
    with pytest.raises(AssertionError, match="differ"):
        check(program, {"bias", "scale"}, np.dtype(np.float32), [(7, 12), (7, 5)])


# Instructions of the vector loop on sm_90 divided by elements, as measured.
BUDGETS = {
    ("float32", "BIAS"): 27.25,
    ("bfloat16", "BIAS"): 28.5625,
    ("float16", "BIAS"): 27.5625,
    ("bfloat16", "NUMBER", "RESIDUAL"): 18.625,
    ("bfloat16", "SCALE", "RESIDUAL"): 20.375,
    ("float32", "BIAS", "SCALE", "RESIDUAL"): 31.5,
    ("bfloat16", "BIAS", "SCALE", "RESIDUAL"): 35.375,
    ("float16", "BIAS", "SCALE", "RESIDUAL"): 32.875,
    ("bfloat16", "BIAS", "FACTOR", "SCALE"): 35.375,
}


def defines(dtype: str, macros: tuple[str, ...], table: str = "GateTable<false>") -> Any:
    common = {"SCALAR": SCALARS[dtype], "TABLE": table}
    return tuple((common | dict.fromkeys(macros, "true")).items())


@pytest.mark.parametrize("case", BUDGETS, ids="-".join)
def test_instruction_budgets(case: tuple[str, ...]) -> None:
    dtype, *macros = case
    with_pairs = dtype == "bfloat16" and "BIAS" not in macros
    table = "UnroundedTable<BFloat16>" if with_pairs else "GateTable<false>"
    cubin = compile_kernel("fused.cu", defines(dtype, tuple(macros), table), 90)
    code = instructions(cubin, "fused_activation")
    assert per_element(code, as_dtype(dtype)) <= BUDGETS[case] + 1


@pytest.mark.parametrize("architecture", GENERATIONS)
@by_dtype
def test_compiles_without_spills(dtype: np.dtype, architecture: int, tmp_path: Path) -> None:
    """With a bias within 64 registers, so that an SM holds 4 blocks; with everything within 96."""
    table = defaults.default_table("gelu", defaults.compute_dtype(dtype)).struct
    for macros, most in (
        (("BIAS",), 64),
        (("BIAS", "FACTOR", "SCALE", "RESIDUAL"), 96),
    ):
        cubin = compile_kernel("fused.cu", defines(dtype.name, macros, table), architecture)
        used = resources(cubin, tmp_path)
        assert {usage[kind] for usage in used.values() for kind in ("LOCAL", "STACK")} == {0}
        assert max(usage["REG"] for usage in used.values()) <= 96
        assert used["fused_activation"]["REG"] <= (most if dtype.itemsize < 8 else 96)


# ---- the array function -------------------------------------------------------------------------

ALL = {"bias", "scale", "residual"}


@by_dtype
@by_set
def test_layouts_and_out(names: set[str], dtype: np.dtype) -> None:
    x = values((3, 4, 5), dtype)
    given = operands(names, x.shape, dtype)
    want = cupylut.fused("mish", x, **given)
    assert want.dtype == dtype
    for layout in (lambda a: a.transpose(2, 0, 1).copy().transpose(1, 2, 0),
                   lambda a: np.stack([a, a], -1)[..., 0]):  # fmt: skip
        other = {key: layout(v) if np.ndim(v) == 3 else v for key, v in given.items()}
        assert same(np.ascontiguousarray(cupylut.fused("mish", layout(x), **other)), want)
        assert same(np.ascontiguousarray(cupylut.fused("mish", layout(x), **given)), want)
        out = layout(np.empty_like(x))
        assert cupylut.fused("mish", x, **given, out=out) is out
        assert same(np.ascontiguousarray(out), want)
    for name in ("x", "residual"):
        arrays = {"x": x.copy(), **given, "residual": given.get("residual", x).copy()}
        if name == "residual" and name not in names:
            continue
        chosen = {key: arrays[key] for key in given}
        y = cupylut.fused("mish", arrays["x"], **chosen, out=arrays[name])
        assert y is arrays[name]
        assert same(y, want)
    if np.ndim(given.get("bias")) == 1:
        stretched = np.repeat(given["bias"], 2)[::2]
        assert same(cupylut.fused("mish", x, **given | {"bias": stretched}), want)


@pytest.mark.parametrize("workers", [1, 2])
def test_large_arrays_in_parts(workers: int) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 101)).astype(np.float32)
    given = operands(ALL, x.shape, x.dtype)
    want = [cupylut.fused("silu", x[i], **given | {"residual": given["residual"][i]})
            for i in range(0, 3000, 500)]  # fmt: skip
    with cupylut.set_workers(workers):
        assert same(cupylut.fused("silu", x, **given)[::500], np.stack(want))
        flat = cupylut.fused("silu", x.ravel(), residual=given["residual"].ravel())
        assert same(flat.reshape(x.shape), cupylut.fused("silu", x, residual=given["residual"]))


@by_set
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), np.dtype(np.float32)])
def test_jax(names: set[str], dtype: np.dtype) -> None:
    x = values((4, 6), dtype)
    given = operands(names, x.shape, dtype)
    want = cupylut.fused("gelu", x, **given)
    there = {key: v if key == "scale" and v is NUMBER else jax.numpy.asarray(v)
             for key, v in given.items()}  # fmt: skip
    y = cupylut.fused("gelu", jax.numpy.asarray(x), **there)
    assert isinstance(y, jax.Array)
    assert same(np.asarray(y), want)
    arrays = {key: v for key, v in there.items() if v is not NUMBER}
    numbers = {key: v for key, v in there.items() if v is NUMBER}
    traced = jax.jit(lambda x, arrays: cupylut.fused("gelu", x, **arrays, **numbers))
    tolerance = 2.0**-10 if dtype.itemsize == 2 else 1e-6
    np.testing.assert_allclose(traced(x, arrays), want, rtol=tolerance, atol=tolerance)


def test_jax_gradients() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    given = operands(ALL, x.shape, x.dtype)
    slope = FUNCTIONS["gelu"].derivative

    def loss(x: Any, given: Any) -> Any:
        return cupylut.fused("gelu", x, **given).sum()

    dx, found = jax.grad(loss, (0, 1))(x, given)
    assert slope is not None
    want = given["scale"] * slope(x + given["bias"])
    np.testing.assert_allclose(dx, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["bias"], want.sum(0), rtol=1e-5, atol=1e-5)
    values_sum = FUNCTIONS["gelu"](x + given["bias"]).sum(0)
    np.testing.assert_allclose(found["scale"], values_sum, rtol=1e-5, atol=1e-5)
    assert (np.asarray(found["residual"]) == 1).all()


def test_a_scale_without_dimensions() -> None:
    """One number for all, that can be learnt; the oracle is the formula."""
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    scale = np.array(0.3, np.float32)
    want = x + 0.3 * special.ndtr(x.astype(np.float64)) * x
    np.testing.assert_allclose(cupylut.fused("gelu", x, scale=scale, residual=x), want, rtol=1e-5)
    out = np.empty_like(x)
    cupylut.fused("gelu", x, scale=scale, residual=x, out=out)
    np.testing.assert_allclose(out, want, rtol=1e-5)

    def loss(scale: Any) -> Any:
        return cupylut.fused("gelu", jax.numpy.asarray(x), scale=scale).sum()

    total = float((special.ndtr(x.astype(np.float64)) * x).sum())
    assert jax.grad(loss)(jax.numpy.float32(0.3)) == pytest.approx(total, rel=1e-5)
    number, out = x[0, 0, ...], np.empty((), np.float32)
    assert cupylut.fused("gelu", number, scale=scale, residual=number) == want.astype("f4")[0, 0]
    cupylut.fused("gelu", number, scale=scale, residual=number, out=out)
    assert out == want.astype("f4")[0, 0]
    there = jax.numpy.asarray(scale)
    batch = jax.vmap(jax.vmap(lambda x: cupylut.fused("gelu", x, scale=there, residual=x)))(x)
    np.testing.assert_allclose(batch, want, rtol=1e-5)
    with pytest.raises(ValueError, match=r"x has shape \(\), bias \(\)"):
        cupylut.fused("gelu", number, bias=scale)


def test_a_number_that_jax_traces_is_still_a_number() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6))
    for dtype in ("bfloat16", "float16", "float32"):
        there = jax.numpy.asarray(x, dtype)
        exact = special.ndtr(widened(np.asarray(there))) * widened(np.asarray(there))

        def scaled(scale: Any, there: Any = there) -> Any:
            return cupylut.fused("gelu", there, scale=scale)

        for number in (NUMBER, 3):
            at_once = scaled(number)
            assert at_once.dtype == dtype
            # A number counts in float32: 0.22 rounded to bfloat16 is off by a third of an ulp.
            np.testing.assert_allclose(
                widened(np.asarray(at_once)), number * exact, rtol=1e-6 + ulp(1.0, dtype) / 1.9
            )
            for call in (jax.jit(scaled), lambda s, f=scaled: f(jax.numpy.asarray(s))):
                assert same(np.asarray(call(number)), np.asarray(at_once))
        loss = lambda s, f=scaled: f(s).astype("float32").sum()  # noqa: E731
        for grad in (jax.grad(loss), jax.jit(jax.grad(loss))):
            assert grad(NUMBER) == pytest.approx(exact.sum(), rel=24 * 2.0**-8)
        other = jax.numpy.asarray(0.5, "float16" if dtype == "float32" else "float32")
        with pytest.raises(TypeError, match=f"x gives {dtype}, scale {other.dtype}: convert one"):
            jax.jit(scaled)(other)


def test_integers_scalars_lists_and_nothing() -> None:
    assert cupylut.fused("gelu", 1.0, scale=2, residual=1.0) == pytest.approx(2.682689, abs=1e-5)
    assert cupylut.fused("gelu", 1.0, scale=np.float32(2)) == pytest.approx(1.682689, abs=1e-5)
    y = cupylut.fused("silu", np.int8([1, 2]), bias=np.int8([1, 0]))
    assert y.dtype == np.float16
    assert y[0] == y[1]
    assert cupylut.fused("silu", [1.0, 2.0], bias=[1.0, 0.0])[0] == cupylut.silu(2.0)
    for shape in ((0, 3), (3, 0)):
        given = operands(ALL, shape, np.dtype(float))
        assert cupylut.fused("silu", np.empty(shape), **given).shape == shape


def test_what_does_not_fit_is_refused() -> None:
    x, row = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="did you mean 'gelu'") as refusal:
        cupylut.fused("gellu", x)
    assert "left=" not in str(refusal.value)
    with pytest.raises(TypeError, match="function is a function: give a name"):
        cupylut.fused(cupylut.gelu, x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no default table in float32, .* of f alone, made"):
        cupylut.fused("sqrtsoftplus", x.astype(np.float16))
    with pytest.raises(ValueError, match="scale is too large for float64"):
        cupylut.fused("gelu", x, scale=10**400)
    for name in ("bias", "scale"):
        for wrong in (row[:2], x, x[:, 0]):
            with pytest.raises(ValueError, match=rf"{name} \(.*as long as x's last axis"):
                cupylut.fused("gelu", x, **{name: wrong})
    with pytest.raises(ValueError, match=r"residual \(3,\): give equal shapes"):
        cupylut.fused("gelu", x, residual=row)
    with pytest.raises(TypeError, match="x gives float32, bias float64: convert one"):
        cupylut.fused("gelu", x, bias=row.astype(float))
    with pytest.raises(TypeError, match=r"x is a numpy\.ndarray, bias a torch\.Tensor: give one"):
        cupylut.fused("gelu", x, bias=torch.zeros(3))
    with pytest.raises(TypeError, match="x is a Tensor, residual a ndarray: give one kind"):
        cupylut.fused("gelu", torch.zeros(2, 3), residual=x)
    memory = np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        cupylut.fused("gelu", x, residual=memory[:2], out=memory[1:])
    with pytest.raises(ValueError, match="overlaps"):
        cupylut.fused("gelu", x, bias=memory[0], out=memory[:2])
