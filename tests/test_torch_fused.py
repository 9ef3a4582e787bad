"""Packed gated forms and fused activations of tensors: layouts, derivatives, batches, compilers.

The oracle is PyTorch's autograd of its own functions in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID251
from samples import by_dtype, same, values
from test_fused import ALL, by_set, operands
from test_torch_arrays import to_numpy, to_torch
from test_torch_operators import LAYOUTS, OTHER_LAYOUTS
from torch import Tensor  # noqa: TID251
from torch._dynamo.testing import CompileCounter  # noqa: TID251
from torch.nn import functional  # noqa: TID251
from torch_samples import close, numbers

import cupylut
import cupylut.torch
from cupylut import device, rows
from cupylut.torch import fused_activation as torch_fused
from cupylut.torch import packed as torch_packed

# Of torch.jit inside torch.func.jvp: a DeprecationWarning, since PyTorch 2.14 a FutureWarning.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")

OPERATORS = torch.ops.cupylut
GRADCHECK = {
    "check_forward_ad": True,
    "check_batched_grad": True,
    "check_batched_forward_grad": True,
}

# ---- packed -------------------------------------------------------------------------------------

by_order = pytest.mark.parametrize("order", ["gate_up", "up_gate"])


def apart(packed: Tensor, order: str = "gate_up") -> Tensor:
    """What `swiglu` of a packed tensor is, by PyTorch."""
    gate, up = packed.chunk(2, -1) if order == "gate_up" else reversed(packed.chunk(2, -1))
    return functional.silu(gate) * up


@by_order
@by_dtype
def test_packed_tensors_are_their_arrays(order: Any, dtype: np.dtype) -> None:
    packed = values((3, 7, 20), dtype)
    y = cupylut.swiglu(to_torch(packed), order=order)
    assert same(to_numpy(y), cupylut.swiglu(packed, order=order))


@by_order
@pytest.mark.parametrize("other", OTHER_LAYOUTS)
@pytest.mark.parametrize("layout", [key for key in LAYOUTS if key != "no dimension"])
def test_layouts_of_packed_tensors(layout: str, other: str, order: Any) -> None:
    packed = LAYOUTS[layout](numbers(6, 8)).requires_grad_()
    ours, want = cupylut.swiglu(packed, order=order), apart(packed, order)
    assert close(ours, want, 1e-11)
    upstream = OTHER_LAYOUTS[other](want.detach())
    found, exact = (torch.autograd.grad(y, packed, upstream)[0] for y in (ours, want))
    assert close(found, exact, 1e-6)


@by_order
def test_packed_gradcheck(order: Any) -> None:
    packed = numbers(3, 2, 10, grad=True)
    assert torch.autograd.gradcheck(lambda x: cupylut.swiglu(x, order=order), packed, **GRADCHECK)


@pytest.mark.parametrize(
    ("dtype", "layouts"),
    [
        (torch.float32, ("contiguous", "transposed", "strided", "empty")),
        (torch.bfloat16, ("contiguous",)),
    ],
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of opcheck, on copies
def test_opcheck(dtype: torch.dtype, layouts: tuple[str, ...]) -> None:
    for layout in layouts:
        x = LAYOUTS[layout](numbers(4, 4, dtype=dtype))
        row = numbers(x.shape[-1], dtype=dtype)
        for grad in (False, True):
            x, row = (t.detach().requires_grad_(grad) for t in (x, row))
            torch.library.opcheck(OPERATORS.packed_product.default, (x, "gelu", True))
            given = row, x, row, None, x
            torch.library.opcheck(OPERATORS.fused.default, (x, "silu", *given))
        half = x.detach()[..., : x.shape[-1] // 2]
        arguments = (x.detach(), half, "mish", False)
        torch.library.opcheck(OPERATORS.packed_product_gradient.default, arguments)


def test_second_derivatives_of_packed_forms() -> None:
    packed = numbers(2, 6, grad=True)
    assert torch.autograd.gradgradcheck(cupylut.swiglu, packed, check_fwd_over_rev=True)


# ---- fused --------------------------------------------------------------------------------------


def unfused(x: Tensor, bias: Any = 0, scale: Any = 1, residual: Any = 0) -> Tensor:
    """What `fused` is, by PyTorch."""
    return residual + scale * functional.gelu(x + bias)


def tensors(names: set[str], shape: tuple[int, ...]) -> dict[str, Any]:
    given = operands(names, shape, np.dtype(np.float64))
    return {
        key: torch.from_numpy(value).requires_grad_() if isinstance(value, np.ndarray) else value
        for key, value in given.items()
    }


@by_dtype
@by_set
def test_fused_tensors_are_their_arrays(names: set[str], dtype: np.dtype) -> None:
    for shape in ((4, 5), (5,), (0, 5)):
        x = values(shape, dtype)
        given = operands(names, shape, dtype)
        there = {k: to_torch(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
        y = cupylut.fused("gelu", to_torch(x), **there)
        assert same(to_numpy(y), cupylut.fused("gelu", x, **given))


@pytest.mark.parametrize("layout", [key for key in LAYOUTS if key != "no dimension"])
@pytest.mark.parametrize("other", OTHER_LAYOUTS)
def test_layouts_of_fused_tensors(layout: str, other: str) -> None:
    x = LAYOUTS[layout](numbers(4, 8)).requires_grad_()
    given = tensors(ALL - {"residual"}, tuple(x.shape))
    given["residual"] = OTHER_LAYOUTS[other](x.detach() + 1).requires_grad_()
    y, want = cupylut.fused("gelu", x, **given), unfused(x, **given)
    assert close(y, want, 1e-11)
    assert y.stride() == torch.empty_like(x).stride()
    upstream = OTHER_LAYOUTS[other](want.detach())
    found, exact = (torch.autograd.grad(t, (x, *given.values()), upstream) for t in (y, want))
    assert all(close(a, b, 1e-5) for a, b in zip(found, exact, strict=True))


def test_a_scale_without_dimensions_is_learnt() -> None:
    x = numbers(3, 4, 6)
    scale = torch.tensor(0.3, dtype=x.dtype, requires_grad=True)
    y = cupylut.fused("gelu", x, scale=scale, residual=x)
    want = x + 0.3 * torch.nn.functional.gelu(x)
    assert close(y.detach(), want.detach(), 1e-11)
    y.sum().backward()
    assert close(scale.grad, torch.nn.functional.gelu(x).sum(), 1e-11)
    batch = torch.func.vmap(lambda s: cupylut.fused("gelu", x, scale=s))(
        torch.tensor([0.1, 0.2], dtype=x.dtype)
    )
    assert close(batch[1] / 2, batch[0], 1e-11)


def test_numbers_as_a_scale_are_compiled_at_most_twice() -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    f = torch.compile(lambda x, scale: cupylut.fused("gelu", x, scale=scale), backend=counter)
    x = numbers(3)
    for scale in (0.1, 0.2, 0.3, 0.4):
        assert torch.equal(f(x, scale), cupylut.fused("gelu", x, scale=scale))
    assert counter.frame_count <= 2


@pytest.mark.parametrize(
    "names",
    [set(), {"bias"}, {"number", "residual"}, ALL],
    ids=lambda names: "+".join(sorted(names)) or "none",
)
def test_fused_gradcheck(names: set[str]) -> None:
    x, given = numbers(2, 3, grad=True), tensors(names, (2, 3))
    number = {"scale": given.pop("scale")} if "number" in names else {}

    def f(x: Tensor, *others: Tensor) -> Tensor:
        return cupylut.fused("gelu", x, **dict(zip(given, others, strict=True)), **number)

    assert torch.autograd.gradcheck(f, (x, *given.values()), **GRADCHECK)
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
    for a, b in zip(*(torch.autograd.grad(h(x, *given.values()).sum(), (x, *given.values()))
                      for h in (f, compiled)), strict=True):  # fmt: skip
        assert torch.equal(a, b)


def test_the_derivative_by_a_factor_is_that_of_the_gradient() -> None:
    """As it is taken where a gradient is differentiated by the one above."""
    x, factor = numbers(4, 3), numbers(3, 4, grad=True).T
    given = tensors({"bias", "scale"}, (4, 3))

    def f(factor: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        return OPERATORS.fused(x, "silu", bias, factor, scale, None, None)

    arguments = (factor, given["bias"], given["scale"])
    want = factor * given["scale"] * functional.silu(x + given["bias"])
    assert close(f(*arguments), want, 1e-11)
    assert torch.autograd.gradcheck(f, arguments, **GRADCHECK)


@pytest.mark.parametrize("dims", [(0, None, None), (0, 1, None), (None, 0, 1), (None, None, 1)])
def test_vmap(dims: tuple[int | None, ...]) -> None:
    made = []
    for dim, shape in zip(dims, ((4, 3), (3,), (4, 3)), strict=True):
        made.append(numbers(5, *shape).movedim(0, dim) if dim is not None else numbers(*shape))

    def ours(x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return cupylut.fused("gelu", x, bias=bias, scale=0.5, residual=residual)

    def theirs(x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return unfused(x, bias, 0.5, residual)

    assert close(*(torch.func.vmap(f, dims)(*made) for f in (ours, theirs)), 1e-11)
    none = [t if dim is None else t.narrow(dim, 0, 0) for t, dim in zip(made, dims, strict=True)]
    assert torch.func.vmap(ours, dims)(*none).shape == (0, 4, 3)


def test_wrong_operands_are_named() -> None:
    x = numbers(2, 3)
    calls: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: cupylut.swiglu(x), ValueError, r"\(2, 3\): its last axis has to be even"),
        (lambda: cupylut.swiglu(x.sum()), ValueError, "has to be even"),
        (lambda: cupylut.fused("gelu", x, bias=x), ValueError, "one dimension, as long as x's"),
        (lambda: cupylut.fused("gelu", x, scale=x[0, :2]), ValueError, "as long as x's last axis"),
        (lambda: cupylut.fused("gelu", x, bias=x[0].float()), TypeError, "convert one"),
        (lambda: cupylut.fused("gelu", x, residual=x[0]), ValueError, "give equal shapes"),
        (lambda: cupylut.fused("gelu", x, bias=x[0].to("meta")), ValueError, "move one"),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            call()


class OnDevice(torch.Tensor):  # type: ignore[misc]
    """A tensor on the CPU that says otherwise."""

    is_cuda = property(lambda _: True)


def test_kernels_get_rows_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CUDA half, as far as it goes without a device."""
    launched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda _: 7, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: -1, raising=False)
    monkeypatch.setattr(device, "run_at", lambda *args: launched.append(args[2:3] + args[5:]))
    x, bias = numbers(4, 3, 8, dtype=torch.float32), numbers(8, dtype=torch.float32)
    at, there = x.data_ptr(), x.as_subclass(OnDevice)
    width = device.as_bytes(np.uint32([8, 1 << 31, 34]))

    y = torch_fused._run(there, "gelu", bias, None, None, 0.5, there)
    arguments = 96, at, bias.data_ptr(), 0, 0, at, y.data_ptr(), np.float32(0.5), width
    assert launched.pop() == ("fused_activation+BIAS+RESIDUAL+NUMBER", *arguments)

    y = torch_packed._run_packed_product(there, "silu", False)
    arguments = 48, at + 16, at, y.data_ptr(), rows.divisor(4)
    assert launched.pop() == ("packed_product", *arguments)

    monkeypatch.setattr(rows, "LARGEST", 20)
    y = torch_fused._run(there, "gelu", bias, None, None, 0.5, None)
    assert [(call[1], call[2] - at, call[3], call[7] - y.data_ptr()) for call in launched] == [
        (16, offset, bias.data_ptr(), offset) for offset in range(0, 384, 64)
    ]
