"""PyTorch tensors on the CPU: what is viewed, what comes back, what is refused."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID251
from samples import by_dtype, same, values
from torch._subclasses import FakeTensorMode  # noqa: TID251

import cupylut
from cupylut import arrays
from cupylut.dtypes import BFLOAT16, DTYPES

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


def test_no_grad_and_inference_mode_record_no_gradient() -> None:
    x = torch.linspace(-2, 2, 5).requires_grad_()
    parameter = torch.nn.Parameter(torch.linspace(-2, 2, 5))
    want = cupylut.gelu(x.detach())
    for context in (torch.no_grad, torch.inference_mode):
        for t in (x, parameter):
            for gelu in (cupylut.gelu, cupylut.tabulate("gelu")):
                with context():
                    y = gelu(t)
                assert type(y) is torch.Tensor
                assert not y.requires_grad
                assert torch.equal(y, want)
    with torch.inference_mode():
        made_there = torch.linspace(-2, 2, 5)
        assert torch.equal(cupylut.gelu(made_there, out=made_there), want)
    assert torch.equal(cupylut.gelu(made_there), cupylut.gelu(want))


def test_tables_refuse_a_tensor_that_requires_grad() -> None:
    table = cupylut.tabulate("gelu")
    x = torch.linspace(-2, 2, 5).requires_grad_()
    for t in (x, torch.nn.Parameter(torch.linspace(-2, 2, 5)), x * 2):
        with pytest.raises(ValueError, match=r"requires grad.*or pass the tensor's detach\(\)"):
            table(t)
        assert torch.equal(table(t.detach()), cupylut.gelu(t))


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
        (lambda: torch.eye(3).to_sparse(), "a torch.sparse_coo tensor of torch.float32 on cpu"),
        (lambda: torch.eye(3).to_sparse_csr(), "a torch.sparse_csr tensor of torch.float32 on cpu"),
        (
            lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.quint8),
            r"a quantized torch\.quint8 tensor.*pass its dequantize\(\)",
        ),
        (lambda: torch.eye(3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn.*bfloat16"),
        (lambda: torch.eye(3).to(torch.float8_e5m2), "torch.float8_e5m2.*bfloat16"),
        (lambda: torch.empty(4, dtype=torch.float4_e2m1fn_x2), "torch.float4_e2m1fn_x2.*bfloat16"),
        (lambda: torch.empty(3, dtype=torch.uint4), "torch.uint4.*bfloat16"),
        (lambda: torch.eye(3).to(torch.complex64), "complex64.*bfloat16"),
        (lambda: torch.eye(3).to(torch.complex64).conj(), "complex64.*bfloat16"),
        (lambda: torch.eye(3).to(torch.complex32), "omplex.*bfloat16"),
        (lambda: torch.nested.nested_tensor([torch.eye(2)]), "a nested tensor of torch.float32"),
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


def test_the_tensor_that_is_refused_is_named() -> None:
    x = torch.eye(3)
    with pytest.raises(TypeError, match=r"a torch\.sparse_coo tensor of torch\.float32"):
        cupylut.swiglu(x, x.to_sparse())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.eye(3, device="meta"), "a torch.strided tensor on meta is not supported"),
        (lambda: torch._efficientzerotensor((3,)), "ZeroTensor"),
        (lambda: torch.eye(3).as_subclass(Subclass), "Subclass has rules of its own"),
        (torch.nn.UninitializedParameter, "UninitializedParameter has rules"),
        (lambda: torch.eye(3).to_sparse(), "a torch.sparse_coo tensor on cpu is not supported"),
        (
            lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8),
            r"a quantized torch\.qint8 tensor: pass its int_repr\(\)",
        ),
    ],
)
def test_tables_and_out_need_plain_tensors(make: Callable[[], Any], message: str) -> None:
    table = cupylut.tabulate("gelu")
    with torch.no_grad():
        x = make()
        with pytest.raises(TypeError, match=message):
            table(x)
        with pytest.raises(TypeError, match=message):
            cupylut.gelu(x, out=torch.zeros(3, 3))


def test_a_tensor_whose_memory_was_freed_is_refused() -> None:
    x = torch.zeros(3)
    x.untyped_storage().resize_(0)
    with pytest.raises(TypeError, match="memory was freed"):
        cupylut.gelu(x)
    with pytest.raises(TypeError, match="its memory cannot be seen"):
        cupylut.gelu(x, out=x)


@pytest.mark.filterwarnings("ignore")
def test_tables_and_out_refuse_fake_tensors() -> None:
    table = cupylut.tabulate("gelu")
    real = torch.zeros(3)
    for convert in (False, True):
        with FakeTensorMode(allow_non_fake_inputs=convert):
            for x in (torch.zeros(3), real):
                with pytest.raises(TypeError, match=r"fake|FakeTensor"):
                    table(x)
                with pytest.raises(TypeError, match=r"fake|FakeTensor"):
                    cupylut.gelu(x, out=real)
    assert not real.any()


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tables_and_out_refuse_function_transforms(dtype: torch.dtype) -> None:
    table = cupylut.tabulate("gelu", str(dtype).removeprefix("torch."))
    x = torch.zeros(3, 2, dtype=dtype)
    for gelu in (table, lambda t: cupylut.gelu(t, out=t)):

        def quietly(t: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return gelu(t).sum()  # noqa: B023

        def loudly(t: torch.Tensor) -> torch.Tensor:
            return gelu(t).sum()  # noqa: B023

        for transformed in (torch.func.vmap(loudly), torch.func.functionalize(loudly)):
            with pytest.raises(TypeError, match=r"nor one inside a torch\.func transform"):
                transformed(x)
        with pytest.raises(TypeError, match=r"nor one inside a torch\.func transform"):
            torch.func.grad(quietly)(x)
        with pytest.raises(ValueError, match="requires grad"):
            torch.func.grad(loudly)(x)
        with pytest.raises(ValueError, match="has a tangent"):
            torch.func.jvp(loudly, (x,), (x,))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_tables_and_out_refuse_forward_mode_tangents() -> None:
    forward_ad = torch.autograd.forward_ad
    table = cupylut.tabulate("gelu")
    x = torch.zeros(3)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones(3))
        for context in (torch.enable_grad, torch.no_grad):
            for gelu in (table, lambda t: cupylut.gelu(t, out=torch.zeros(3))):
                with context(), pytest.raises(ValueError, match="a tensor has a tangent"):
                    gelu(dual)
        assert torch.equal(table(forward_ad.unpack_dual(dual).primal), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_compiled_functions_tables_and_out_break_the_graph_and_are_right(
    dtype: torch.dtype,
) -> None:
    table = cupylut.tabulate("silu", str(dtype).removeprefix("torch."))
    out = torch.zeros(3, 4, dtype=dtype)

    def function(x: torch.Tensor) -> torch.Tensor:
        return cupylut.gelu(x * 2, out=out) + table(x.T).T

    compiled = torch.compile(function, backend="eager")
    for scale in (1, 2):
        x = torch.linspace(-3, 3, 12, dtype=dtype).reshape(3, 4) * scale
        assert torch.equal(compiled(x), function(x))
        assert torch.equal(out, cupylut.gelu(x * 2))
    with pytest.raises(TypeError, match="complex64"):
        compiled(x.to(torch.complex64))


def test_an_unfinished_import_of_torch_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be in the middle of it, and sys.modules shows its torch."""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert cupylut.gelu(np.float32(0)) == 0
