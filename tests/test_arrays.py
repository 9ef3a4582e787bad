"""The array libraries: what is viewed, what comes back, and what is refused with which words."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode  # noqa: TID251

import cupylut
from cupylut import arrays
from cupylut.accuracy import DTYPES
from cupylut.functions import FUNCTIONS

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)


def bits(x: Any) -> Any:
    """The bit patterns, so that NaN equals itself and −0 differs from 0."""
    x = np.ascontiguousarray(x)
    return x.view(f"u{x.dtype.itemsize}")


def same(x: Any, y: Any) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape and bool((bits(x) == bits(y)).all())


def values(shape: Any, dtype: Any) -> Any:
    x = np.random.default_rng(0).normal(scale=4.0, size=shape).astype(dtype)
    if x.size > 3:
        x.flat[:3] = np.nan, -np.inf, -0.0
    return x


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


# ---- PyTorch ------------------------------------------------------------------------------------

TORCH_DTYPES = {dtype: getattr(torch, dtype.name) for dtype in DTYPES}


def to_torch(x: Any) -> torch.Tensor:
    if x.dtype == BFLOAT16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def to_numpy(x: torch.Tensor) -> Any:
    x = x.detach()
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(BFLOAT16)
    return x.numpy()


# name -> (the view, whether it is dense)
TENSORS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], bool]] = {
    "contiguous": (lambda t: t, True),
    "transposed": (lambda t: t.transpose(1, 3), True),
    "permuted": (lambda t: t.permute(2, 0, 3, 1), True),
    "channels last": (lambda t: t.to(memory_format=torch.channels_last), True),
    "strided": (lambda t: t[:, ::2, 1:, ::3], False),
    "offset": (lambda t: t[1:, 1:], False),
    "expanded": (lambda t: t[:1, :, :, :1].expand(3, 3, 4, 7), False),
    "diagonal": (lambda t: torch.diagonal(t, dim1=1, dim2=2), False),
    "axes of one": (lambda t: t[:1, None].transpose(0, 1), True),
    "no dimension": (lambda t: t[0, 0, 0, 1], True),
    "empty": (lambda t: t[:, :0], True),
    "tail": (lambda t: t.flatten()[1:], True),
}


@pytest.mark.parametrize("layout", TENSORS)
@by_dtype
def test_tensors_keep_kind_dtype_layout_and_values(layout: str, dtype: Any) -> None:
    view, is_dense = TENSORS[layout]
    x = view(to_torch(values((2, 3, 4, 5), dtype)))
    before = x.clone()
    y = cupylut.gelu(x)
    assert type(y) is torch.Tensor
    assert y.dtype == x.dtype
    assert y.device == x.device
    assert y.stride() == (x.stride() if is_dense else torch.positive(x).clone().stride())
    assert same(to_numpy(y), cupylut.gelu(np.array(to_numpy(x))))
    assert same(to_numpy(x), to_numpy(before))


@by_dtype
def test_the_view_is_the_tensors_memory(dtype: Any) -> None:
    t = to_torch(values((2, 3, 4, 5), dtype))
    library = arrays.library_of(t)
    for x in (t, t[1:, ::2], t.permute(3, 0, 2, 1), torch.nn.Parameter(t), t[0, 0, 0, 0]):
        view = library.view(x)
        assert view.ctypes.data == x.data_ptr()
        assert view.dtype == dtype
        assert view.shape == tuple(x.shape)
        assert view.strides == tuple(stride * dtype.itemsize for stride in x.stride())
        assert view.flags.writeable


@pytest.mark.parametrize("layout", ["contiguous", "permuted", "channels last", "strided", "tail"])
@pytest.mark.parametrize("out_layout", ["like x", "contiguous", "reversed axes", "strided"])
@by_dtype
def test_out_takes_a_tensor_of_every_layout(layout: str, out_layout: str, dtype: Any) -> None:
    x = TENSORS[layout][0](to_torch(values((2, 3, 4, 5), dtype)))
    want = cupylut.gelu(x)
    shape = tuple(x.shape)
    out = {
        "like x": lambda: torch.empty_like(x),
        "contiguous": lambda: torch.empty(shape, dtype=x.dtype),
        "reversed axes": lambda: torch.empty(shape[::-1], dtype=x.dtype).permute(
            *range(x.ndim)[::-1]
        ),
        "strided": lambda: torch.empty((*shape, 2), dtype=x.dtype)[..., 1],
    }[out_layout]()
    assert cupylut.gelu(x, out=out) is out
    assert same(to_numpy(out), to_numpy(want))
    assert cupylut.gelu(x, out=x) is x
    assert same(to_numpy(x), to_numpy(want))


@pytest.mark.parametrize(
    ("dtype", "want"),
    [
        (torch.bool, torch.float16),
        (torch.uint8, torch.float16),
        (torch.int8, torch.float16),
        (torch.int16, torch.float32),
        (torch.uint16, torch.float32),
        (torch.int32, torch.float64),
        (torch.int64, torch.float64),
    ],
)
def test_tensors_of_integers_promote_as_in_numpy(dtype: torch.dtype, want: torch.dtype) -> None:
    x = torch.tensor([[0, 1], [1, 0]]).to(dtype).T
    y = cupylut.gelu(x)
    assert y.dtype == want
    assert torch.equal(y, cupylut.gelu(x.to(want)))


def test_a_tensor_that_requires_grad_needs_no_grad() -> None:
    x = torch.linspace(-2, 2, 5).requires_grad_()
    parameter = torch.nn.Parameter(torch.linspace(-2, 2, 5))
    want = cupylut.gelu(x.detach())
    for t in (x, parameter, x * 2):
        with pytest.raises(
            ValueError, match=r"requires grad.*torch\.no_grad\(\) or pass its detach"
        ):
            cupylut.gelu(t)
    for context in (torch.no_grad, torch.inference_mode):
        for t in (x, parameter):
            with context():
                y = cupylut.gelu(t)
            assert type(y) is torch.Tensor
            assert not y.requires_grad
            assert torch.equal(y, want)
    with torch.inference_mode():
        made_there = torch.linspace(-2, 2, 5)
        assert torch.equal(cupylut.gelu(made_there, out=made_there), want)
    assert torch.equal(cupylut.gelu(made_there), cupylut.gelu(want))


def test_out_may_require_grad_where_no_grad_is_recorded() -> None:
    x = torch.linspace(-2, 2, 5)
    for out in (x.clone().requires_grad_(), torch.nn.Parameter(x.clone())):
        before = out.detach().clone()
        for source in (x, out):
            with pytest.raises(ValueError, match="a tensor requires grad"):
                cupylut.gelu(source, out=out)
        assert torch.equal(out, before)
        with torch.no_grad():
            assert cupylut.gelu(out, out=out) is out
        assert torch.equal(out, cupylut.gelu(x))
        assert out.requires_grad


def test_autograd_notices_that_out_changed() -> None:
    weight = torch.ones(3, requires_grad=True)
    saved = torch.full((3,), 2.0)
    loss = (weight * saved).sum()
    cupylut.gelu(torch.zeros(3), out=saved.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_negative_bit_is_heeded() -> None:
    plain = torch.linspace(-2, 2, 5)
    negative = torch._neg_view(plain.clone())
    assert negative.is_neg()
    assert torch.equal(cupylut.gelu(negative), cupylut.gelu(-plain))
    imaginary = torch.tensor([1 + 2j]).conj().imag
    assert imaginary.is_neg()
    assert torch.equal(cupylut.gelu(imaginary), cupylut.gelu(torch.tensor([-2.0])))
    for x in (plain, negative):
        with pytest.raises(ValueError, match="out has its negative bit set"):
            cupylut.gelu(x, out=negative)
    assert torch.equal(negative, -plain)


class Subclass(torch.Tensor):  # type: ignore[misc]
    pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.eye(3).to_sparse(), "a torch.sparse_coo tensor on cpu is not supported"),
        (lambda: torch.eye(3).to_sparse_csr(), "a torch.sparse_csr tensor on cpu"),
        (lambda: torch.eye(3, device="meta"), "a torch.strided tensor on meta is not supported"),
        (lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), "torch.qint8"),
        (lambda: torch.eye(3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn.*bfloat16"),
        (lambda: torch.eye(3).to(torch.float8_e5m2), "torch.float8_e5m2.*bfloat16"),
        (lambda: torch.empty(3, dtype=torch.uint4), "torch.uint4.*bfloat16"),
        (lambda: torch.eye(3).to(torch.complex64), "complex64.*bfloat16"),
        (lambda: torch.eye(3).to(torch.complex64).conj(), "complex64.*bfloat16"),
        (lambda: torch.eye(3).to(torch.complex32), "omplex.*bfloat16"),
        (lambda: torch._efficientzerotensor((3,)), "ZeroTensor"),
        (lambda: torch.eye(3).as_subclass(Subclass), "Subclass has rules of its own"),
        (torch.nn.UninitializedParameter, "UninitializedParameter has rules"),
        (lambda: torch.nested.nested_tensor([torch.eye(2)]), "is not supported|no array of"),
        (lambda: torch.Size([2, 3]), r"torch\.Size has rules of its own"),
    ],
)
def test_other_tensors_are_refused(make: Callable[[], Any], message: str) -> None:
    with torch.no_grad():
        x = make()
        with pytest.raises(TypeError, match=message):
            cupylut.gelu(x)
        with pytest.raises((TypeError, ValueError)):
            cupylut.gelu(torch.ones(3, 3), out=x)


def test_a_tensor_whose_memory_was_freed_is_refused() -> None:
    x = torch.zeros(3)
    x.untyped_storage().resize_(0)
    with pytest.raises(TypeError, match="its memory cannot be seen"):
        cupylut.gelu(x)


@pytest.mark.filterwarnings("ignore")
def test_fake_tensors_are_refused() -> None:
    real = torch.zeros(3)
    for convert in (False, True):
        with FakeTensorMode(allow_non_fake_inputs=convert):
            fake = torch.zeros(3)
            for dtype in (torch.float32, torch.bfloat16):
                for x in (fake.to(dtype), real):
                    with pytest.raises(TypeError, match=r"fake|FakeTensor"):
                        cupylut.gelu(x)
                    with pytest.raises(TypeError, match=r"fake|FakeTensor"):
                        cupylut.gelu(x, out=real)
    with pytest.raises(TypeError, match="FakeTensor has rules of its own"):
        cupylut.gelu(fake)
    assert not real.any()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_function_transforms_are_refused(dtype: torch.dtype) -> None:
    x = torch.zeros(3, 2, dtype=dtype)

    def quietly(t: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return cupylut.gelu(t).sum()

    def loudly(t: torch.Tensor) -> torch.Tensor:
        return cupylut.gelu(t).sum()

    for transformed in (torch.func.vmap(loudly), torch.func.functionalize(loudly)):
        with pytest.raises(TypeError, match=r"nor one inside a torch\.func transform"):
            transformed(x)
    with pytest.raises(TypeError, match=r"nor one inside a torch\.func transform"):
        torch.func.grad(quietly)(x)
    with pytest.raises(ValueError, match="requires grad"):
        torch.func.grad(loudly)(x)
    with pytest.raises(ValueError, match="has a tangent"):
        torch.func.jvp(loudly, (x,), (x,))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_forward_mode_tangents_are_not_dropped() -> None:
    forward_ad = torch.autograd.forward_ad
    x = torch.zeros(3)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones(3))
        for context in (torch.enable_grad, torch.no_grad):
            with context(), pytest.raises(ValueError, match="a tensor has a tangent"):
                cupylut.gelu(dual)
        assert torch.equal(cupylut.gelu(forward_ad.unpack_dual(dual).primal), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_functions_break_their_graph_and_are_right(dtype: torch.dtype) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return cupylut.gelu(x * 2) + cupylut.silu(x.T).T

    compiled = torch.compile(function, backend="eager")
    for scale in (1, 2):
        x = torch.linspace(-3, 3, 12, dtype=dtype).reshape(3, 4) * scale
        assert torch.equal(compiled(x), function(x))
    out = torch.zeros(3, 4, dtype=dtype)
    torch.compile(lambda x: cupylut.gelu(x, out=out), backend="eager")(x)
    assert torch.equal(out, cupylut.gelu(x))
    with pytest.raises(TypeError, match="complex64"):
        compiled(x.to(torch.complex64))


def test_an_unfinished_import_of_torch_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be in the middle of it, and sys.modules shows its torch."""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert cupylut.gelu(np.float32(0)) == 0


# ---- JAX ----------------------------------------------------------------------------------------


def on_cpu(x: Any) -> jax.Array:
    """The array as JAX's on the CPU, where JAX may have a GPU too."""
    return jax.device_put(x, jax.devices("cpu")[0])


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32])
@pytest.mark.parametrize("shape", [(4, 6), (), (0, 3), (1, 5)])
def test_jax_arrays_keep_kind_dtype_device_and_values(dtype: Any, shape: tuple[int, ...]) -> None:
    content = values(shape, dtype)
    x = on_cpu(content)
    y = cupylut.gelu(x)
    assert isinstance(y, jax.Array)
    assert y.dtype == dtype
    assert y.devices() == x.devices()
    assert same(np.asarray(y), cupylut.gelu(content))
    assert same(np.asarray(x), content)
    if shape == (4, 6):
        assert same(np.asarray(cupylut.gelu(x.T[::2])), cupylut.gelu(content.T[::2].copy()))


def test_the_view_is_the_jax_arrays_memory() -> None:
    x = on_cpu(np.arange(1000, dtype=np.float32))
    view = arrays.library_of(x).view(x)
    assert view.ctypes.data == x.unsafe_buffer_pointer()
    assert not view.flags.writeable


def test_jax_results_are_not_overwritten_by_later_ones() -> None:
    first = cupylut.gelu(on_cpu(np.full(1000, 2, np.float32)))
    before = np.array(first)
    for _ in range(10):
        cupylut.gelu(on_cpu(np.full(1000, 3, np.float32)))
    assert same(np.asarray(first), before)


@pytest.mark.parametrize(
    ("dtype", "want", "wide"),
    [
        (jnp.bool, jnp.float16, jnp.float16),
        (jnp.uint8, jnp.float16, jnp.float16),
        (jnp.int16, jnp.float32, jnp.float32),
        (jnp.int32, jnp.float32, jnp.float64),
    ],
)
def test_jax_integers_promote_as_far_as_x64_allows(dtype: Any, want: Any, wide: Any) -> None:
    numbers = np.arange(100).astype(dtype)
    x = on_cpu(numbers)
    y = cupylut.sigmoid(x)
    assert y.dtype == want
    assert same(np.asarray(y), cupylut.sigmoid(numbers.astype(want)))
    with jax.enable_x64(True):
        assert cupylut.sigmoid(x).dtype == wide
        double = jnp.array([1.0], jnp.float64)
        assert same(np.asarray(cupylut.gelu(double)), cupylut.gelu(np.array([1.0])))


@pytest.mark.parametrize(
    "transform", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())], ids=str
)
def test_traced_jax_arrays_are_refused(transform: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="a traced JAX array has no values yet: call cupylut outs"):
        transform(cupylut.gelu)(jnp.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jnp.ones(3, jnp.complex64), "an array of complex64 is not supported"),
        (lambda: jnp.ones(3, jnp.float8_e4m3fn), "an array of float8_e4m3fn is not supported"),
        (lambda: jnp.ones(3, jnp.int4), "an array of int4 is not supported"),
        (lambda: jax.random.key(0), "dtype"),
        (lambda: jax.ShapeDtypeStruct((3,), jnp.float32), "ShapeDtypeStruct is not a JAX array"),
    ],
)
def test_other_jax_objects_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cupylut.gelu(make())


class Spread:
    """A JAX array's answers about where it is, for devices that are not here."""

    def __init__(self, *platforms: str) -> None:
        self.platforms = platforms

    def devices(self) -> set[Any]:
        return {type("Device", (), {"platform": platform})() for platform in self.platforms}


@pytest.mark.parametrize(
    ("platforms", "message"),
    [
        (("cpu", "cpu"), "spread over several devices: pass its shards"),
        (("tpu",), "a JAX array on"),
    ],
)
def test_jax_arrays_elsewhere_are_refused(
    platforms: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "Array", Spread)
    monkeypatch.setattr(Spread, "__module__", "jax.array")
    arrays._library.cache_clear()
    with pytest.raises(TypeError, match=message):
        cupylut.gelu(Spread(*platforms))


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


class StandardForeign(Foreign):
    """With the namespace of the array API standard."""

    def __array_namespace__(self) -> Any:
        return SimpleNamespace(from_dlpack=lambda array: StandardForeign(np.from_dlpack(array)))


@pytest.mark.parametrize("kind", [Foreign, OldForeign, StandardForeign])
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

    with pytest.raises(TypeError, match=r"Refusing of no supported dtype \(not today\)"):
        cupylut.gelu(Refusing(np.zeros(3)))


def test_what_dlpack_cannot_carry_is_refused() -> None:
    for content in (np.zeros(3, object), np.zeros(3, BFLOAT16), np.zeros(3, np.longdouble)):
        with pytest.raises(TypeError, match="bfloat16, float32 or float64"):
            cupylut.gelu(Foreign(content))


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
