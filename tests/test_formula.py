"""kernels/formula.cu: it compiles everywhere, and run on the CPU it is as wrong as it says.

The approximations of the hardware are stood in for by functions as wrong as its manual allows.
"""

import host_cuda
import numpy as np
import pytest
from cubin import ARCHITECTURES, compile_kernel, instructions, resources, vector_loop
from gpu import cupy, fewer
from samples import bits
from scipy import special

from cupylut.benchmarks import formula
from cupylut.dtypes import as_dtype

# The error in float32, in units of max(|x|, 1), that kernels/formula.cu states.
ERRORS = {name: 2.0**-21 for name in formula.NAMES if name.startswith("accurate")}
ERRORS |= {f"fast::{function}": 2.0**-19 for function in ("silu", "mish", "softplus")}
ERRORS |= {f"fast::{function}": 2.0**-11 for function in ("gelu", "gelu_tanh")}
ERRORS |= {formula.LOOP: 0.0}

EXACT = {
    "identity": lambda x: x,
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    "silu": lambda x: x * special.expit(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "softplus": lambda x: np.logaddexp(0, x),
}


def exact(name: str, x: np.ndarray) -> np.ndarray:
    return EXACT[name.rpartition("::")[2]](x.astype(np.float64))


by_formula = pytest.mark.parametrize("name", formula.NAMES)


def compiled(name: str, dtype: str, architecture: int) -> bytes:
    return compile_kernel("formula.cu", tuple(formula.defines(name, dtype).items()), architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_compiles(architecture: int, tmp_path) -> None:
    """Every formula on sm_90, in each dtype in turn; elsewhere one of either namespace."""
    names = formula.NAMES if architecture == 90 else ("accurate::gelu", "fast::mish")
    for i, name in enumerate(names):
        cubin = compiled(name, formula.DTYPES[i % len(formula.DTYPES)], architecture)
        for usage in resources(cubin, tmp_path).values():
            assert usage["STACK"] == usage["LOCAL"] == 0
            assert usage["REG"] <= 64


@pytest.mark.exhaustive
@by_formula
def test_every_formula_compiles_everywhere(name: str) -> None:
    for architecture in ARCHITECTURES:
        for dtype in formula.DTYPES:
            compiled(name, dtype, architecture)


def test_machine_code() -> None:
    """Whole vectors, no table, and the approximations that are meant: as tough as rivals get."""
    units = {
        ("elementwise", "fast::gelu"): ["TANH"],
        ("elementwise", "fast::softplus"): ["EX2", "LG2"],
        ("product", "fast::silu"): ["EX2", "RCP"],
    }
    for (kernel, name), expected in units.items():
        loop = vector_loop(instructions(compiled(name, "bfloat16", 90), kernel))
        code = "\n".join(loop)
        vectors = 1 if kernel == "product" else 2
        assert code.count("STG.E.128") == vectors
        assert "LDS" not in code
        assert "CALL" not in code
        found = sorted(line.split("MUFU.")[1].split()[0] for line in loop if "MUFU" in line)
        assert found == sorted(expected * 8 * vectors)


def run(
    name: str, x: np.ndarray, *z: np.ndarray, sanitizer: str | None = None, offsets=(0, 0)
) -> np.ndarray:
    defines = formula.defines(name, x.dtype.name)
    del defines["FORMULA"]  # one program has all
    program = host_cuda.build("formula", tuple(defines.items()), sanitizer, host_cuda.KERNELS)
    arguments = [name, x.size, 3, 32, *offsets, len(z)]
    return np.frombuffer(
        host_cuda.run(program, arguments, b"".join(a.tobytes() for a in (x, *z))), x.dtype
    )


@pytest.mark.usefixtures("compiler")
@by_formula
def test_as_wrong_as_it_says(name: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([
        np.linspace(-30, 30, 200_001), rng.normal(size=50_000), [0.0, 88.0, 100.0, -100.0, 1e4]
    ]).astype(np.float32)  # fmt: skip
    error = np.abs(run(name, x) - exact(name, x)) / np.maximum(np.abs(x), 1)
    assert error.max() <= ERRORS[name]
    assert error.max() >= ERRORS[name] / 8  # so that the figure says something


@pytest.mark.gpu(interpreted=True)
@by_formula
def test_a_device_computes_it(name: str) -> None:
    x = np.linspace(-30, 30, fewer(1_000_003, 3003), dtype=np.float32)
    y = cupy.empty(x.shape, x.dtype)
    formula.run(name, cupy.asarray(x), y)
    assert (np.abs(y.get() - exact(name, x)) / np.maximum(np.abs(x), 1)).max() <= ERRORS[name]


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("offsets", [(0, 0), (3, 3), (1, 2)], ids=str)
def test_every_element_once(offsets: tuple[int, int]) -> None:
    """In 16 bits, aligned or not, with a factor or without, under AddressSanitizer."""
    dtype = as_dtype("bfloat16")
    for count in (1, 7, 8, 1003):
        x, z = np.random.default_rng(count).normal(scale=2, size=(2, count)).astype(dtype)
        for name in ("identity", "fast::silu"):
            y = run(name, x, sanitizer="address", offsets=offsets)
            gated = run(name, x, z, sanitizer="address", offsets=offsets)
            wide = exact(name, x)
            for result, expected in ((y, wide), (gated, wide * z.astype(np.float64))):
                np.testing.assert_allclose(
                    result.astype(np.float64), expected, rtol=2.0**-8, atol=1e-5
                )
            if name == "identity":
                assert (bits(y) == bits(x)).all()
