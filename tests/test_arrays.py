"""The array libraries: NumPy arrays of any layout, DLPack producers, GPUs that are not there."""

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import jax  # noqa: TID251
import jax.numpy as jnp  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import same

import cupylut
from cupylut import arrays, ops
from cupylut.dtypes import BFLOAT16, DTYPES
from cupylut.functions import FUNCTIONS

# ---- any NumPy array, at random -----------------------------------------------------------------


@st.composite
def views(draw: st.DrawFn, dtype: Any) -> Any:
    """Random bits seen through random slices, permutations and broadcasts."""
    shape = draw(st.lists(st.integers(0, 6), max_size=4))
    content = np.random.default_rng(draw(st.integers(0, 99))).bytes(
        int(np.prod(shape)) * dtype.itemsize
    )
    x = np.frombuffer(bytearray(content), dtype).reshape(shape)
    for axis in range(x.ndim):
        start, step = draw(st.integers(0, 2)), draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        x = x[(slice(None),) * axis + (slice(None, None, step),)]
        x = x[(slice(None),) * axis + (slice(start, None),)]
    x = x.transpose(draw(st.permutations(range(x.ndim))))
    if draw(st.booleans()):
        x = x[..., None]
        if draw(st.booleans()):
            x = np.broadcast_to(x, (*x.shape[:-1], 3))
    return x


@settings(deadline=None, database=None, max_examples=150)
@given(data=st.data())
def test_the_layout_never_matters(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([*DTYPES, np.dtype(np.int16), np.dtype(np.bool)]))
    function = getattr(cupylut, data.draw(st.sampled_from(list(FUNCTIONS))))
    x = data.draw(views(dtype))
    before = x.copy()
    with np.errstate(invalid="ignore"):  # signalling NaN among the bits
        y = function(x)
        want = function(before.reshape(-1)).reshape(x.shape)
    assert same(y, want)
    assert same(x, before)
    out = np.zeros((*x.shape, 2), y.dtype)[..., 0].T.copy(data.draw(st.sampled_from("CF"))).T
    assert function(x, out=out) is out
    assert same(out, y)


# ---- any other array with DLPack ----------------------------------------------------------------


class Foreign:
    """Nothing but the protocol, around a NumPy array."""

    def __init__(self, array: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)


class OldForeign(Foreign):
    """The protocol before it had versions, and with them a flag for read-only memory."""

    def __dlpack__(self, stream: Any = None) -> Any:  # type: ignore[override]
        return self.array.__dlpack__(stream=stream)


class StrictForeign(Foreign):
    """The same, where keywords that are not known are wrong values."""

    def __dlpack__(self, **options: Any) -> Any:
        if options:
            raise ValueError(f"{', '.join(options)}: unknown")
        return self.array.__dlpack__()


class StandardForeign(Foreign):
    """With the namespace of the array API standard, where arrays are made on device (1, 0)."""

    def __array_namespace__(self) -> Any:
        def from_dlpack(array: Any) -> Any:
            return StandardForeign(np.from_dlpack(array))

        return SimpleNamespace(from_dlpack=from_dlpack, **self.dtypes)

    dtypes: ClassVar[dict[str, Any]] = {
        "float16": np.float16
    }  # which the standard does not ask for

    def to_device(self, device: tuple[int, int]) -> Any:
        return type(self)(self.array, device)


@pytest.mark.parametrize("kind", [Foreign, OldForeign, StrictForeign, StandardForeign])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_any_array_with_dlpack_is_taken(kind: type[Foreign], dtype: Any) -> None:
    content = np.random.default_rng(0).normal(scale=4, size=(4, 6)).astype(dtype)
    before = content.copy()
    for x in (content, content.T, content[::-1, ::2], content[:0], content[0, 0]):
        foreign = kind(np.asarray(x))
        y = cupylut.gelu(foreign)
        if kind is StandardForeign:
            assert type(y) is StandardForeign
            y = y.array
        assert type(y) is np.ndarray
        assert same(y, cupylut.gelu(np.array(x)))
    assert same(content, before)


def test_a_result_lies_on_the_device_of_the_input() -> None:
    x = StandardForeign(np.ones(3))
    assert cupylut.gelu(x).device == (1, 0)
    assert cupylut.gelu(x.to_device((1, 7))).device == (1, 7)


def test_a_result_whose_dtype_the_library_lacks_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StandardForeign, "dtypes", {})
    monkeypatch.setattr(ops, "_evaluate", pytest.fail)
    with pytest.raises(TypeError, match=r"for int8 is of float16, .*convert x to float32 first"):
        cupylut.gelu(StandardForeign(np.zeros(3, np.int8)))


def test_read_only_memory_is_taken_as_input_only() -> None:
    x = np.linspace(-2, 2, 5)
    x.flags.writeable = False
    want = cupylut.gelu(x)
    assert same(cupylut.gelu(Foreign(x)), want)
    for out in (Foreign(x), OldForeign(np.zeros(5))):
        with pytest.raises(ValueError, match="out is read-only"):
            cupylut.gelu(type(out)(np.zeros(5)), out=out)
    writable = np.zeros(5)
    out = Foreign(writable)
    assert cupylut.gelu(Foreign(x), out=out) is out
    assert same(writable, want)
    assert cupylut.gelu(out, out=out) is out
    assert same(writable, cupylut.gelu(want))


@pytest.mark.parametrize("device", [4, 7, 8, 10, 14])  # OpenCL, Vulkan, Metal, ROCm, oneAPI
def test_other_devices_are_refused(device: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    there, here = Foreign(np.zeros(3), (device, 0)), Foreign(np.zeros(3))
    for x, out in ((there, None), (there, here), (here, there)):
        with pytest.raises(TypeError, match=f"DLPack device type {device}: use the CPU or CUDA"):
            cupylut.gelu(x, out=out)


@pytest.mark.parametrize("error", [BufferError, RuntimeError, TypeError, ValueError])
def test_what_a_producer_refuses_to_export_is_refused(error: type[Exception]) -> None:
    class Refusing(Foreign):
        def __dlpack__(self, **options: Any) -> Any:
            raise error("not today")

    with pytest.raises(TypeError, match=r"Refusing cannot be exchanged by DLPack \(not today\)"):
        cupylut.gelu(Refusing(np.zeros(3)))


def test_what_dlpack_cannot_carry_is_refused() -> None:
    for content in (np.zeros(3, object), np.zeros(3, BFLOAT16), np.zeros(3, np.longdouble)):
        with pytest.raises(TypeError, match="float16, float32 or float64, or pass bfloat16"):
            cupylut.gelu(Foreign(content))


def test_an_array_with_another_protocol_of_gpus_is_told_how_to_come_in() -> None:
    class OfNumba:
        __cuda_array_interface__ = property(lambda self: {})

    with pytest.raises(
        TypeError, match=r"OfNumba is on a GPU and has no DLPack: pass cupy\.asarray"
    ):
        cupylut.gelu(OfNumba())


# ---- out= of another kind, and GPUs that are not there ------------------------------------------


def test_out_must_be_of_the_inputs_kind() -> None:
    zeros = np.zeros(3, np.float32)
    kinds = [zeros, torch.zeros(3), Foreign(zeros), StandardForeign(zeros), [0.0, 0.0, 0.0]]
    for x in [*kinds, jnp.zeros(3)]:
        for out in kinds:
            if type(x) is type(out) or (type(x) is list and out is zeros):
                continue
            with pytest.raises(TypeError, match="it must be an array of x's kind"):
                cupylut.gelu(x, out=out)
    with pytest.raises(TypeError, match="JAX arrays are immutable"):
        cupylut.gelu(jnp.zeros(3), out=jnp.zeros(3))
    with pytest.raises(TypeError, match="it must be an array of x's kind"):
        cupylut.gelu(zeros, out=jnp.zeros(3))


@pytest.fixture(params=["no CuPy", "no device"])
def no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    without_device = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    cupy = None if request.param == "no CuPy" else without_device
    monkeypatch.setitem(sys.modules, "cupy", cupy)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", [2, 13])
def test_a_gpu_array_without_cupy_or_driver_names_what_to_install(device: int) -> None:
    on_gpu = Foreign(np.zeros(3), (device, 0))
    with pytest.raises(RuntimeError, match=r"cupylut\[cuda13\].*cupylut\[cuda12\]"):
        cupylut.gelu(on_gpu)
    with pytest.raises(RuntimeError, match=r"cupylut\[cuda13\].*cupylut\[cuda12\]"):
        cupylut.gelu(Foreign(np.zeros(3)), out=on_gpu)
    assert cupylut.gelu(np.float32(0)) == 0  # the CPU needs neither


def test_a_folder_that_cupy_cannot_make_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text("raise PermissionError(13, 'no', '/home/me/.cupy')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(RuntimeError, match=r"/home/me/\.cupy.*CUPY_CACHE_DIR"):
        cupylut.gelu(Foreign(np.zeros(3), (2, 0)))


# ---- what passes between a producer on a GPU and CuPy, which is stood in for ---------------------


class OnGpu(Foreign):
    """Host memory that claims to be device 1's, and tells what happens to it."""

    def __init__(self, array: Any, events: list[Any]) -> None:
        super().__init__(array, (2, 1))
        self.events = events

    def __dlpack__(self, **options: Any) -> Any:
        self.events.append(("export", options.pop("stream")))
        exported = self.array[:]
        weakref.finalize(exported, self.events.append, "free")
        return exported.__dlpack__(**options)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happens to the CuPy stand-in, whose current stream is 7, and to its producers."""
    happened: list[Any] = []

    @contextmanager
    def device(index: int) -> Iterator[None]:
        happened.append(("enter", index))
        yield
        happened.append("leave")

    def from_dlpack(x: Any) -> Any:
        memory = SimpleNamespace(__dlpack_device__=lambda: (1, 0))
        memory.__dlpack__ = lambda **options: x.__dlpack__(stream=7, **options)
        return np.from_dlpack(memory)

    def synchronize() -> None:
        happened.append("synchronize")

    cuda = SimpleNamespace(
        is_available=lambda: True,
        Device=device,
        get_current_stream=lambda: SimpleNamespace(synchronize=synchronize),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda, from_dlpack=from_dlpack))
    evaluate = ops._evaluate
    monkeypatch.setattr(
        ops, "_evaluate", lambda *views: (happened.append("evaluate"), evaluate(*views))
    )
    return happened


def test_a_producer_on_a_gpu_is_kept_until_the_work_is_done(events: list[Any]) -> None:
    x = np.linspace(-2, 2, 5)
    assert same(cupylut.gelu(OnGpu(x, events)), cupylut.gelu(x))
    assert events[:-1] == [
        ("enter", 1),
        ("export", 7),  # the producer's pending work is done before the current stream goes on
        "evaluate",
        "synchronize",
        "leave",
        "free",
    ]


def test_out_on_a_gpu_is_ready_when_the_call_returns(events: list[Any]) -> None:
    x, out = np.linspace(-2, 2, 5), np.zeros(5)
    cupylut.gelu(OnGpu(x, events), out=OnGpu(out, events))
    assert events.index("evaluate") < events.index("synchronize") < events.index("leave")
    assert same(out, cupylut.gelu(x))


def test_work_is_waited_for_after_an_error_too(events: list[Any]) -> None:
    with pytest.raises(ValueError, match="out has shape"):
        cupylut.gelu(OnGpu(np.zeros(5), events), out=OnGpu(np.zeros(6), events))
    assert "synchronize" in events


def test_misaligned_memory_on_a_gpu_is_refused(events: list[Any]) -> None:
    x = np.zeros(17, np.uint8)[1:].view(np.float32)
    with pytest.raises(TypeError, match="at an address that is no multiple of its item size"):
        cupylut.gelu(OnGpu(x, events))
    assert "evaluate" not in events


class JaxOnGpu(OnGpu):
    """The same for an array that claims to be JAX's."""

    __module__ = "jax.array"

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def devices(self) -> set[Any]:
        return {type("Device", (), {"platform": "gpu", "local_hardware_id": 1})()}


def test_a_jax_array_on_a_gpu_is_kept_until_the_work_is_done(
    events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "Array", JaxOnGpu)
    monkeypatch.setattr(arrays.JaxArrays, "finish", lambda self, result, x: result)
    x = np.linspace(-2, 2, 5, dtype=np.float32)
    assert same(cupylut.gelu(JaxOnGpu(x, events)), cupylut.gelu(x))
    assert events[:-1] == [
        ("enter", 1), ("export", 7), "evaluate", "synchronize", "leave", "free"
    ]  # fmt: skip
