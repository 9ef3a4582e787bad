"""calibration.py: what is counted, and that parts add up to the whole."""

import copy
import functools
import itertools
import pickle
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax  # noqa: TID251
import jax.numpy as jnp  # noqa: TID251
import ml_dtypes
import numpy as np
import pytest
import torch  # noqa: TID251
from gpu import cupy, fewer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import by_dtype

from cupylut import Calibration, calibration
from cupylut.dtypes import BFLOAT16

BIN = 2.0**-7  # the widest bin, relative to the numbers in it


def random_bits(dtype: Any, count: int = 100_000) -> Any:
    """Every kind of number: NaN, infinities, subnormals, numbers near the largest."""
    return np.frombuffer(np.random.default_rng(0).bytes(count * dtype.itemsize), dtype)


def wide(x: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(np.float64)


# ---- what is counted ----------------------------------------------------------------------------


@by_dtype
def test_every_input_is_counted(dtype: Any) -> None:
    x = random_bits(dtype)
    c = Calibration().update(x)
    exact = wide(x)
    finite = exact[np.isfinite(exact)]
    assert c.total == x.size
    assert c.count == finite.size
    assert c.nans == np.isnan(exact).sum() > 0
    assert c.infinities == ((exact == -np.inf).sum(), (exact == np.inf).sum())
    assert (c.min, c.max) == (finite.min(), finite.max())
    points, weights = c.weights
    assert weights.sum() == finite.size
    assert weights.min() > 0
    assert (np.diff(points) >= 0).all()
    assert (points[0], points[-1]) == (c.min, c.max)


@by_dtype
def test_an_input_counts_at_the_bfloat16_number_nearest_to_it(dtype: Any) -> None:
    big = float(ml_dtypes.finfo(dtype).max)
    for value in (1.0, -1.005, 3.1415926, -0.0078, 1e-5, 0.0, 60_000.0):
        x = np.array([value], dtype)
        points, weights = Calibration().update([-big, *x.tolist(), big]).weights
        nearest = float(x.astype(BFLOAT16)[0])
        spacing = max(abs(nearest) * BIN, 1e-40)
        inside = points[1:-1]
        assert weights[1:-1].sum() == 1
        assert np.abs(inside - nearest).max() <= spacing / 2
        assert np.ptp(inside) >= spacing / 3 or value == 0
        assert (inside.astype(BFLOAT16) == nearest).all()


def test_ties_go_away_from_zero() -> None:
    tie = 1 + 2.0**-8
    points, _ = Calibration([-9.0, -tie, tie, 9.0]).weights
    assert np.abs(points[1:-1]).min() > tie
    assert np.abs(points[1:-1]).max() < tie + BIN


def test_numbers_that_bfloat16_has_not_stay_finite() -> None:
    x = np.array([3.4e38, -1e300, 1e-320, 1e308])
    c = Calibration().update(x)
    assert (c.count, c.infinities, c.min, c.max) == (4, (0, 0), -1e300, 1e308)
    assert c.outside(-1e300, 1) == 0.5
    single = Calibration().update(np.float32([3.4e38, -3.4e38]))
    assert (single.count, single.infinities) == (2, (0, 0))


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, 0.0], [-0.0], [-1e-320, 1e-320]])
def test_zeros_of_either_sign(zeros: list[float]) -> None:
    for x in (zeros, [*zeros, 1.0], [-1.0, *zeros]):
        points, weights = Calibration(*x).weights
        assert weights.min() >= 0
        assert weights.sum() == len(x)
        assert points.min() == min(x)


def test_work_in_chunks_leaves_nothing_out() -> None:
    n = 2 * calibration._CHUNK + 3
    for dtype in ("float16", "float32", "float64"):
        x = (np.arange(n) % 60_000).astype(dtype)
        x[-1], x[0], x[1] = -7, np.nan, 65_000
        c = Calibration().update(x)
        assert (c.total, c.nans, c.min, c.max) == (n, 1, -7, x[1])
        assert (Calibration(x[::-1]).min, Calibration(x[::-1]).max) == (-7, x[1])
        assert c.outside(-1, 1000) == pytest.approx(np.mean((x[1:] < 0) | (x[1:] > 1000)), rel=0.01)


def base(dtype: Any = "float32") -> Any:
    return np.random.default_rng(1).normal(size=(4, 6, 10)).astype(dtype)


# name -> an array, and the same values for NumPy
ARRAYS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "strided": lambda: (base()[::2, :, ::-3], base()[::2, :, ::-3]),
    "transposed": lambda: (base().T, base()),
    "broadcast": lambda: (np.broadcast_to(base()[0], (3, 6, 10)), np.stack([base()[0]] * 3)),
    "big-endian": lambda: (base().astype(">f4"), base()),
    "list": lambda: ([[1.0, 2.5], [-3.0, 4.0]], np.array([1.0, 2.5, -3.0, 4.0])),
    "number": lambda: (2.5, np.array([2.5])),
    "integers": lambda: (np.arange(-9, 9), np.arange(-9.0, 9.0)),
    "bools": lambda: (np.array([True, False]), np.array([1.0, 0.0])),
    "no elements": lambda: (np.zeros((0, 3), np.float32), np.zeros(0)),
    "no elements of 16 bits": lambda: (np.zeros((0, 3), np.float16), np.zeros(0)),
    "read-only": lambda: (np.broadcast_to(base(), (4, 6, 10)), base()),
    "torch": lambda: (torch.from_numpy(base()), base()),
    "torch bfloat16": lambda: (
        torch.from_numpy(base()).bfloat16(),
        base().astype(BFLOAT16),
    ),
    "torch strided": lambda: (torch.from_numpy(base())[:, ::2], base()[:, ::2]),
    "torch that requires grad": lambda: (torch.from_numpy(base()).requires_grad_(), base()),
    "torch with a history": lambda: (1 * torch.from_numpy(base()).requires_grad_(), base()),
    "torch parameter": lambda: (torch.nn.Parameter(torch.from_numpy(base())), base()),
    "jax": lambda: (jnp.asarray(base()), base()),
    "jax bfloat16": lambda: (jnp.asarray(base(), jnp.bfloat16), base(BFLOAT16)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_library_and_layout(name: str) -> None:
    x, plain = ARRAYS[name]()
    assert Calibration().update(x) == Calibration().update(np.ascontiguousarray(plain))


@pytest.mark.filterwarnings("ignore:.torch.jit")  # of forward_ad itself
def test_a_tangent_is_not_counted() -> None:
    x = torch.from_numpy(base())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x + 1)
        assert Calibration(dual) == Calibration(base())


def test_what_jax_traces_has_no_values() -> None:
    c = Calibration([1.0])
    for transform in (jax.jit, jax.vmap, jax.grad):
        with pytest.raises(TypeError, match="no values to count: call update outside of jit"):
            transform(lambda x: (c.update(x), x)[1])(1.0 if transform is jax.grad else jnp.ones(3))
    assert c == Calibration([1.0])


def test_update_does_not_write_to_its_input() -> None:
    for dtype in ("float16", "float32", "float64"):
        x = random_bits(np.dtype(dtype))
        before = x.tobytes()
        Calibration().update(x)
        assert x.tobytes() == before


def test_memory_is_fixed_and_below_a_megabyte() -> None:
    c = Calibration()
    empty = c.nbytes
    c.update(random_bits(np.dtype(np.float32), 300_000))
    assert c.nbytes == empty < 2**20
    assert not hasattr(c, "__dict__")
    assert len(pickle.dumps(c)) < 2**20 + 1000


# ---- parts and the whole ------------------------------------------------------------------------

floats = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.integers(0, 50),
    elements={"allow_subnormal": True},
)


@settings(max_examples=60, deadline=None)
@given(floats, floats, floats)
def test_merge_is_associative_and_commutative(x: Any, y: Any, z: Any) -> None:
    whole = Calibration(x).update(y).update(z)
    assert Calibration(x).merge(Calibration(y)).merge(Calibration(z)) == whole
    assert Calibration(x).merge(Calibration(y).merge(Calibration(z))) == whole
    for parts in itertools.permutations(
        [Calibration(x), Calibration(y), Calibration(z), Calibration()]
    ):
        assert functools.reduce(Calibration.merge, parts, Calibration()) == whole
        assert sum(parts, Calibration()) == whole
    assert whole.total == x.size + y.size + z.size


@settings(max_examples=60, deadline=None)
@given(floats, st.integers(0, 50), st.randoms(use_true_random=False))
def test_order_and_division_make_no_difference(x: Any, cut: int, random: Any) -> None:
    order = list(range(x.size))
    random.shuffle(order)
    assert Calibration(x[:cut]).update(x[cut:]) == Calibration(x)
    assert Calibration(x[order]) == Calibration(x)
    for one in x:
        assert Calibration(np.concatenate([x, [one]]).astype(x.dtype)) != Calibration(x)


def test_merge_leaves_the_other_alone_and_takes_itself() -> None:
    a, b = Calibration([1.0, 2.0]), Calibration([3.0])
    kept = copy.deepcopy(b)
    assert a.merge(b) is a
    assert b == kept
    assert a == Calibration([3.0, 1.0, 2.0])
    assert a.merge(a).count == 6
    assert (a + b).count == 7
    assert (a.count, b) == (6, kept)
    with pytest.raises(TypeError, match="unsupported operand"):
        a + 1


def test_equality() -> None:
    assert Calibration([1.0]) == Calibration([1.0])
    assert Calibration([1.0]) != Calibration([1.0, 1.0])
    assert Calibration([1.0]) != Calibration([1.0 + 2.0**-20])  # the same bin, another end
    assert Calibration() != 0
    with pytest.raises(TypeError, match="unhashable"):
        hash(Calibration())


def test_repr() -> None:
    assert repr(Calibration()) == "Calibration(no inputs)"
    assert repr(Calibration([1.0, -2.5])) == "Calibration(2 inputs in [-2.5, 1])"
    assert repr(Calibration([np.nan, np.inf])) == "Calibration(0 inputs, 1 NaN, 1 infinite)"


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_interrupted_update_keeps_what_was_there(
    where: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = Calibration([1.0, 2.0])
    before, bincount, calls = copy.deepcopy(c), np.bincount, itertools.count()

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == where:
            raise KeyboardInterrupt
        return bincount(*args, **kwargs)

    monkeypatch.setattr(np, "bincount", interrupted)
    with pytest.raises(KeyboardInterrupt):
        c.update(np.arange(3.0 * calibration._CHUNK))
    assert c == before


@pytest.mark.parametrize(
    "x", [np.zeros(3, complex), ["a"], np.array([object()]), np.zeros(2, np.longdouble)]
)
def test_what_is_no_array_of_numbers_is_refused(x: Any) -> None:
    c = Calibration([1.0])
    with pytest.raises(TypeError):
        c.update(x)
    assert c == Calibration([1.0])


@pytest.mark.parametrize("other", [None, 1.0, np.zeros(3), {"counts": 1}])
def test_merging_something_else_is_refused(other: Any) -> None:
    c = Calibration([1.0])
    with pytest.raises(TypeError, match="merge takes a Calibration"):
        c.merge(other)
    assert c == Calibration([1.0])


# ---- on a device --------------------------------------------------------------------------------


class OnDevice:
    """A CuPy array's face around host memory, which no one may turn into a NumPy array unseen."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getattr__(self, name: str) -> Any:
        return outward(getattr(self.array, name))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __getitem__(self, key: Any) -> Any:
        return outward(self.array[inward(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.array[inward(key)] = inward(value)

    def __add__(self, other: Any) -> Any:
        return OnDevice(self.array + inward(other))

    def __irshift__(self, other: Any) -> Any:
        self.array >>= inward(other)
        return self

    def __iadd__(self, other: Any) -> Any:
        self.array += inward(other)
        return self

    def __mul__(self, other: Any) -> Any:
        return OnDevice(self.array * inward(other))

    def __le__(self, other: Any) -> Any:
        return OnDevice(self.array <= inward(other))

    def __or__(self, other: Any) -> Any:
        return OnDevice(self.array | inward(other))

    def __lshift__(self, other: Any) -> Any:
        return OnDevice(self.array << inward(other))

    def astype(self, dtype: Any, **options: Any) -> Any:
        """As CuPy makes float32 of float64: flushing, and with one NaN, whose sign bit is off."""
        converted = self.array.astype(dtype, **options)
        if converted.dtype == np.float32 and self.array.dtype == np.float64:
            converted[np.abs(self.array) < np.finfo(np.float32).tiny] *= 0
            converted.view(np.uint32)[np.isnan(converted)] = 0x7FFFFFFF
        return OnDevice(converted)

    def __float__(self) -> float:
        return float(self.array)

    def get(self) -> Any:
        FETCHED.append(self.array.size)
        return self.array


FETCHED: list[int] = []


def inward(x: Any) -> Any:
    return x.array if isinstance(x, OnDevice) else x


def outward(x: Any) -> Any:
    if callable(x):
        return lambda *args, **kwargs: outward(x(*map(inward, args), **kwargs))
    return OnDevice(x) if isinstance(x, np.ndarray | np.generic) else x


@by_dtype
def test_on_a_device_only_the_counts_are_fetched(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("zeros", "empty", "bincount", "isfinite", "isnan", "where", "rint", "abs", "signbit")
    stand_in = SimpleNamespace(**{name: outward(getattr(np, name)) for name in names})
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.setattr(calibration, "require_cupy", lambda: stand_in)
    x = random_bits(dtype)
    FETCHED.clear()
    counts, lowest, highest = calibration._tally(OnDevice(x.copy()), dtype)
    assert FETCHED == [calibration.BINS]
    expected = calibration._tally(x, dtype)
    assert (counts == expected[0]).all()
    assert (lowest, highest) == expected[1:]


@pytest.mark.gpu(interpreted=True)
@by_dtype
@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_a_gpu_counts_what_the_host_counts(library: str, dtype: Any) -> None:
    x = random_bits(dtype, fewer(1_000_003, 10_003))
    on_device = cupy.asarray(x.view(f"u{dtype.itemsize}")).view(dtype)
    if library == "torch":
        if not torch.cuda.is_available():
            pytest.skip("PyTorch without CUDA")
        signed = cupy.asarray(x.view(f"i{dtype.itemsize}"))
        on_device = torch.from_dlpack(signed).view(getattr(torch, dtype.name))
    c = Calibration().update(on_device).update(on_device[::7])
    assert c == Calibration().update(x).update(x[::7])


@pytest.mark.gpu(interpreted=True)
def test_a_gpu_counts_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_GPU_CHUNK", 1000)
    x = random_bits(np.dtype(np.float32), 10_007)
    assert Calibration().update(cupy.asarray(x)) == Calibration().update(x)
