"""tests/ptx: its arithmetic by exact fractions, its memory by what CUDA forbids.

Then the kernels that it executes, for each generation of GPUs.
"""

from fractions import Fraction
from typing import Any

import cubin
import host_cuda
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ptx import AccessError, DeadlockError, GlobalMemory, Machine, Program, kernels
from ptx.arithmetic import operation
from ptx.types import dtype_of
from samples import assert_same_bits

from cupylut import compiler
from cupylut.benchmarks import bank_conflicts, roofline
from cupylut.benchmarks.counts import COUNTS, Case
from cupylut.dtypes import all_inputs, as_dtype
from cupylut.tables.shared_memory import WARP, passes

# ---- arithmetic ---------------------------------------------------------------------------------


def computed(opcode: str, *operands: Any) -> Any:
    """The result of one instruction for one thread."""
    op = operation(opcode)
    arrays = [np.array([x]).astype(dtype_of(k)) for x, k in zip(operands, op.sources, strict=True)]
    with np.errstate(all="ignore"):
        return np.asarray(op.compute(*arrays)).astype(dtype_of(op.result))[0]


def rounded(exact: Fraction, dtype: Any, rounding: str) -> float:
    """The number of a dtype that an exact value is rounded to."""
    dtype = np.dtype(dtype)
    near = dtype.type(float(exact))
    below, above = (np.nextafter(near, dtype.type(sign * np.inf)) for sign in (-1, 1))
    assume(np.isfinite([below, above]).all())
    candidates = [below, near, above]
    if rounding == "rm":
        return max(c for c in candidates if Fraction(float(c)) <= exact)
    if rounding == "rp":
        return min(c for c in candidates if Fraction(float(c)) >= exact)
    bits = np.dtype(f"u{dtype.itemsize}")
    return min(candidates, key=lambda c: (abs(Fraction(float(c)) - exact), c.view(bits) % 2))


def floats(width: int) -> Any:
    """Finite numbers, many of which are of one size."""
    near = st.floats(-4, 4, width=width)
    return near | st.floats(width=width, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(["rn", "rm", "rp"]), floats(32), floats(32), floats(32), st.booleans())
def test_single_precision(rounding: str, a: float, b: float, c: float, cancel: bool) -> None:
    if cancel:
        assume(abs(a * b) < 2**127)
        c = float(np.float32(-a * b))
    a_, b_, c_ = map(Fraction, (a, b, c))
    for opcode, operands, exact in (
        ("fma", (a, b, c), a_ * b_ + c_), ("add", (a, b), a_ + b_), ("sub", (a, b), a_ - b_),
        ("mul", (a, b), a_ * b_),
    ):  # fmt: skip
        assume(abs(exact) < Fraction(2) ** 127)
        y = computed(f"{opcode}.{rounding}.f32", *operands)
        assert y == rounded(exact, np.float32, rounding)
        if exact == 0 and opcode != "mul":  # of what cancels, or of zeros of one sign
            terms = (np.copysign(1, a) * np.copysign(1, b), c) if opcode == "fma" else operands
            minus = [np.signbit(terms[0]), np.signbit(terms[1]) != (opcode == "sub")]
            assert np.signbit(y) == (all(minus) or (any(minus) and rounding == "rm"))


@settings(deadline=None, max_examples=500)
@given(floats(64), floats(64), floats(64), st.booleans())
def test_double_precision(a: float, b: float, c: float, cancel: bool) -> None:
    if cancel:
        c = -a * b
    assume(np.isfinite(a * b) and np.isfinite(c))
    a_, b_, c_ = map(Fraction, (a, b, c))
    for opcode, operands, exact in (
        ("fma.rn", (a, b, c), a_ * b_ + c_),
        ("add.rm", (a, c), a_ + c_),
        ("add.rp", (a, c), a_ + c_),
    ):
        assume(abs(exact) < Fraction(2) ** 1023)
        assert computed(f"{opcode}.f64", *operands) == rounded(exact, np.float64, opcode[-2:])


@settings(deadline=None)
@given(floats(64))
def test_narrower_numbers(x: float) -> None:
    assume(abs(x) < 60_000)
    exact = Fraction(x)
    assert computed("cvt.rn.f32.f64", x) == rounded(exact, np.float32, "rn")
    single = np.float32(x)
    half = computed("cvt.rn.f16.f32", single)
    assert half == rounded(Fraction(float(single)), np.float16, "rn")
    pair = computed("cvt.rn.f16x2.f32", 1.0, single)
    assert pair == 0x3C00 << 16 | int(half.view(np.uint16))
    below = int(single.view(np.uint32)) >> 16
    candidates = np.array([below, below + 1], np.uint32) << 16  # the one nearer to 0 first

    def distance(pattern: Any) -> tuple[Fraction, int]:
        return abs(
            Fraction(float(pattern.view(np.float32))) - Fraction(float(single))
        ), pattern >> 16 & 1

    brain = computed("cvt.rn.bf16.f32", single)
    assert int(brain.view(np.uint16)) == int(min(candidates, key=distance)) >> 16


NAN, INF = np.nan, np.inf
SPECIAL = [
    ("fma.rn.f32", (INF, 0, 1), NAN), ("fma.rn.f32", (INF, 1, -INF), NAN),
    ("fma.rp.f32", (3e38, 2, 0), INF), ("fma.rm.f32", (3e38, 2, 0), 3.4028235e38),
    ("fma.rn.sat.f32", (2, 2, 0), 1), ("fma.rn.sat.f32", (NAN, 2, 0), 0.0),
    ("fma.rn.sat.f32", (-1, 2, 0), 0.0), ("mul.rn.f32", (-0.0, 1), -0.0),
    ("mul.rn.ftz.f32", (1e-40, -1), -0.0), ("mul.rn.f32", (2.0**-149, 1), 2.0**-149),
    ("min.f32", (0.0, -0.0), -0.0), ("max.f32", (-0.0, 0.0), 0.0), ("min.f32", (NAN, 3), 3),
    ("max.f32", (3, NAN), 3), ("min.f32", (NAN, NAN), NAN), ("max.NaN.f32", (3, NAN), NAN),
    ("max.NaN.f32", (-1, -0.0), -0.0), ("abs.f32", (-0.0,), 0.0), ("neg.f64", (0.0,), -0.0),
    ("cvt.sat.f64.f64", (NAN,), 0.0), ("cvt.sat.f64.f64", (2,), 1), ("cvt.rni.f32.f32", (2.5,), 2),
    ("cvt.rn.f32.f64", (2.0**-150,), 0.0), ("cvt.f64.f32", (2.0**-149,), 2.0**-149),
    ("add.rm.f64", (1e308, 1e308), 1.7976931348623157e308), ("add.rp.f64", (1e308, 1e308), INF),
    ("rcp.approx.ftz.f64", (-1e-310,), -INF), ("rcp.approx.ftz.f64", (1e308,), 0.0),
    ("cvt.rn.ftz.f32.f64", (-1e-40,), -0.0), ("cvt.ftz.f64.f32", (-1e-40,), -0.0),
    ("copysign.f64", (-1, 2), -2), ("selp.f32", (1, 2, True), 1), ("rcp.rn.f64", (4,), 0.25),
    ("setp.gt.f32", (NAN, 1), False), ("setp.gtu.f32", (NAN, 1), True),
    ("setp.ne.f32", (NAN, 1), False), ("setp.neu.f32", (NAN, 1), True),
    ("setp.lt.ftz.f32", (1e-40, 2e-38), True), ("setp.lt.ftz.f32", (0, 1e-40), False),
    ("set.gtu.u32.f32", (NAN, 1), 0xFFFFFFFF),
    ("set.gtu.u32.f16x2", (0x7E003C00, 0x3C003C00), 0xFFFF0000),
    ("cvt.s32.s16", (-2,), -2), ("cvt.u16.u32", (0x12345,), 0x2345), ("cvt.rn.f64.s32", (-7,), -7),
]  # fmt: skip


@pytest.mark.parametrize(("opcode", "operands", "result"), SPECIAL, ids=str)
def test_special_values(opcode: str, operands: tuple, result: Any) -> None:
    y = computed(opcode, *operands)
    np.testing.assert_array_equal(y, np.asarray(result).astype(y.dtype))
    if result == 0:
        assert np.signbit(y) == np.signbit(result)


word = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(word, word, word)
def test_integers(a: int, b: int, c: int) -> None:
    low, signed = c % 64, a - (a >> 31 << 32)
    both = b << 32 | a
    taken = [both >> 8 * (c >> 4 * i & 7) & 255 for i in range(4)]
    signs = [c >> 4 * i & 8 for i in range(4)]
    taken = [255 * (x >> 7) if s else x for x, s in zip(taken, signs, strict=True)]
    mask = (1 << b % 32) - 1 << c % 32
    for opcode, operands, expected in (
        ("add.s32", (a, b), a + b), ("sub.s32", (a, b), a - b), ("mul.lo.s32", (a, b), a * b),
        ("mad.lo.s32", (a, b, c), a * b + c), ("neg.s32", (a,), -a), ("not.b32", (a,), ~a),
        ("and.b32", (a, b), a & b), ("or.b32", (a, b), a | b), ("xor.b32", (a, b), a ^ b),
        ("shl.b32", (a, low), a << low), ("shr.u32", (a, low), a >> low),
        ("shr.s32", (a, low), signed >> low), ("max.u32", (a, b), max(a, b)),
        ("shf.l.wrap.b32", (a, b, c), (b << 32 | a) << c % 32 >> 32),
        ("prmt.b32", (a, b, c), sum(x << 8 * i for i, x in enumerate(taken))),
        ("bfi.b32", (a, b, c % 32, b % 32), b & ~mask | a << c % 32 & mask),
        ("div.u32", (a, b | 1), a // (b | 1)),
    ):  # fmt: skip
        patterns = np.array(operands, np.uint32)
        result = computed(opcode, *(patterns.view(np.int32) if "s32" in opcode else patterns))
        assert int(result) % 2**32 == expected % 2**32, opcode
    assert int(computed("mul.wide.u32", a, b)) == a * b


def test_what_is_not_known_is_refused() -> None:
    for opcode in (
        "sin.approx.f32", "mul.hi.u32", "vote.sync.all.pred", "fma.rm.f64", "add.f32",
        "fma.rn.bf16", "fma.rn.relu.f32", "add.cc.u32", "cvt.rzi.f32.f32", "cvt.sat.u8.u32",
        "cvt.rn.f32.s64", "set.gtu.f32.f32", "setp.gt.and.f32",
    ):  # fmt: skip
        with pytest.raises(NotImplementedError):
            operation(opcode).compute(*np.ones((3, 1)))


# ---- threads and memory -------------------------------------------------------------------------


def execute(body: str, *, grid: int = 1, block: int = 64, shared: int = 256) -> np.ndarray:
    """y of a kernel with this body, for x and y of 64 words for each block."""
    code = f"""
    extern "C" __global__ void kernel(const unsigned* x, unsigned* y) {{
        extern __shared__ unsigned shared[];
        const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
        {body}
    }}"""
    kernel = kernels(cubin.compile_source(code, "kernel.cu", 90).ptx)["kernel"]
    memory = GlobalMemory(1 << 16)
    x, y = memory.put(np.arange(64 * grid, dtype=np.uint32)), memory.empty(256 * grid)
    arguments = [np.uint64(array.ctypes.data).tobytes() for array in (x, y)]
    Machine(kernel, grid, block, arguments, memory, shared).run()
    return y.view(np.uint32)


FAULTS = [
    ("misaligned: 8 bytes of global memory are written", "*(double*)(y + 2 * i + 1) = 0;"),
    ("global memory is written that is nobody's", "y[i + 1] = 0;"),
    ("global memory is read that is nobody's", "y[i] = x[i + 64];"),
    ("global memory is read that nobody wrote", "y[i] = *(volatile unsigned*)(y + i);"),
    ("race: a thread writes what another one writes in global", "y[i / 2] = i;"),
    ("race: a thread writes what another one wrote in global", "y[i] = 0; y[i ^ 1] = i;"),
    ("race: a thread reads what another one wrote in global",
     "y[i] = x[i]; y[i] = ((volatile unsigned*)y)[i ^ 1];"),
    ("race: a thread writes what another one read in global",
     "y[i] = x[i / 2 * 2]; ((unsigned*)x)[i] = 0;"),
    ("race: a thread writes what another one read in global",  # as did the writer, after it
     "y[i] = x[i | 1]; if (i & 1) ((unsigned*)x)[i] = 0;"),
    ("race: a thread reads what another one wrote in shared",
     "shared[threadIdx.x] = i; y[i] = ((volatile unsigned*)shared)[threadIdx.x ^ 1];"),
    ("shared memory is used that the launch did not ask for", "shared[threadIdx.x + 1] = i;"),
    ("shared memory is used that the launch did not ask for",
     "shared[static_cast<int>(threadIdx.x) - 1] = i;"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "body"), FAULTS)
def test_faults(fault: str, body: str) -> None:
    with pytest.raises(AccessError, match=fault):
        execute(body, grid=2)


def test_a_barrier_orders_threads() -> None:
    body = "shared[threadIdx.x] = i; __syncthreads(); y[i] = shared[threadIdx.x ^ 1];"
    np.testing.assert_array_equal(execute(body, grid=3), np.arange(192) ^ 1)


@pytest.mark.parametrize("other", ["", "else { y[i] = 1; __syncthreads(); }"])
def test_a_barrier_that_not_all_threads_reach(other: str) -> None:
    with pytest.raises(DeadlockError, match="barrier"):
        execute(f"if (i < 32) {{ shared[i] = i; __syncthreads(); }} {other} y[i] = 0;")


def test_paths_part_and_meet_again() -> None:
    body = """
    unsigned steps = 0;
    for (unsigned n = x[i] + 1; n != 1; ++steps) {
        if (n % 2) n = 3 * n + 1; else n /= 2;
    }
    y[i] = steps;"""

    def collatz(n: int) -> int:
        return 0 if n == 1 else 1 + collatz(3 * n + 1 if n % 2 else n // 2)

    assert execute(body).tolist() == [collatz(n + 1) for n in range(64)]


def test_arguments_must_fit() -> None:
    kernel = kernels(cubin.compile_source(
        'extern "C" __global__ void f(float x, double y, int* z) {}', "f.cu", 90
    ).ptx)["f"]  # fmt: skip
    assert [(p.offset, p.size) for p in kernel.parameters.values()] == [(0, 4), (8, 8), (16, 8)]
    with pytest.raises(TypeError, match=r"parameters of \[4, 8, 8\] bytes, not \[8, 8, 8\]"):
        Machine(kernel, 1, 1, 3 * [bytes(8)], GlobalMemory(1 << 12))


# ---- kernels ------------------------------------------------------------------------------------

LOOKUPS = [case for case in COUNTS if case[1] not in ("product", "formula", "fast")]


def sample(dtype: Any) -> np.ndarray:
    if dtype.itemsize == 2:
        return all_inputs(dtype)
    special = [0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-310, 1e38, -1e38, 3.0, -3.0]
    random = np.random.default_rng(0).normal(scale=4, size=3000)
    with np.errstate(over="ignore"):
        return np.concatenate([special, random, -np.exp(8 * random[:1000])]).astype(dtype)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("architecture", cubin.GENERATIONS)
@pytest.mark.parametrize("case", LOOKUPS, ids="-".join)
def test_every_table_on_every_generation(case: Case, architecture: int) -> None:
    """The bits of the C++, which for 16 bits are those of the correctly rounded results."""
    if architecture == 80 and as_dtype(case[0]).itemsize > 2:
        pytest.skip("as 90")
    table = roofline.table_of(case)
    x = sample(table.dtype)
    want = table(x) if table.dtype.itemsize == 2 else host_cuda.Program().elementwise(table, x)
    assert_same_bits(Program(architecture).elementwise(table, x, block=512), want)


@pytest.mark.parametrize("case", LOOKUPS, ids="-".join)
def test_simulated_passes_are_those_that_are_executed(case: Case) -> None:
    table = roofline.table_of(case)
    x = bank_conflicts.inputs("N(0, 1)", table.dtype, 1 << 13)
    _, machine = Program().run(table, x, grid=1, block=256)
    total = 0
    for size, threads, addresses in machine.shared_loads:
        assert threads.size % WARP == 0  # whole warps: nothing diverges
        total += passes(addresses.reshape(-1, WARP), size).sum()
    warps = x.size // WARP
    assert total / warps == pytest.approx(bank_conflicts.simulate(table, x))


@pytest.mark.parametrize(
    ("genuine", "wrong"), [("fma.rp.f32", "fma.rn.f32"), ("max.NaN.f32", "max.f32")]
)
def test_mutations_are_noticed(genuine: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What C++ cannot see: a wrong instruction in the half of floating.cuh that is PTX."""
    table = roofline.table_of(("bfloat16", "compact", "gelu"))
    x, source = sample(table.dtype), compiler.source
    monkeypatch.setattr(compiler, "source", lambda name: source(name).replace(genuine, wrong))
    with pytest.raises(AssertionError, match="differ"):
        assert_same_bits(Program().elementwise(table, x), table(x))
