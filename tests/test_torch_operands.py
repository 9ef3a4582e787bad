"""Which tensors go together: gradients that would be lost, dtypes, autocast, elements of a batch.

The oracle is PyTorch's own functions in float64, under autocast its own linear layer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch  # noqa: TID251
from torch import Tensor  # noqa: TID251
from torch.autograd import forward_ad  # noqa: TID251
from torch.nn import functional  # noqa: TID251
from torch_samples import close, numbers

import cupylut
import cupylut.torch

# Of torch.jit inside torch.func.jvp: a DeprecationWarning, since PyTorch 2.14 a FutureWarning.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")

# name -> a call with another operand, of one dimension or none
WITH: dict[str, Callable[..., Tensor]] = {
    "bias": lambda x, b, **out: cupylut.fused("gelu", x, bias=b, **out),
    "scale": lambda x, b, **out: cupylut.fused("gelu", x, scale=b, **out),
    "scale without dimensions": lambda x, b, **out: cupylut.fused("gelu", x, scale=b[0], **out),
    "residual": lambda x, b, **out: cupylut.fused("gelu", x, residual=b, **out),
    "up": cupylut.swiglu,
}
# name -> the same by PyTorch
OWN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bias": lambda x, b: functional.gelu(x + b),
    "scale": lambda x, b: functional.gelu(x) * b,
    "scale without dimensions": lambda x, b: functional.gelu(x) * b[0],
    "residual": lambda x, b: functional.gelu(x) + b,
    "up": lambda x, b: functional.silu(x) * b,
}
by_operand = pytest.mark.parametrize("name", WITH)


# ---- gradients ----------------------------------------------------------------------------------


@by_operand
def test_out_refuses_an_operand_whose_gradient_would_be_lost(name: str) -> None:
    x, b, out = numbers(3), numbers(3, grad=True), torch.empty(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="requires grad"):
        WITH[name](x, b, out=out)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="has a tangent"):
        WITH[name](x, forward_ad.make_dual(b.detach(), x), out=out)
    with torch.no_grad():
        assert close(WITH[name](x, b, out=out), OWN[name](x, b), 1e-11)


@by_operand
def test_integers_beside_a_tensor_that_requires_grad(name: str) -> None:
    x, b = torch.arange(3), numbers(3, grad=True)
    ours, theirs = (of[name](x.to(to), b) for of, to in ((WITH, x.dtype), (OWN, b.dtype)))
    assert close(ours, theirs, 1e-11)
    assert close(*(torch.autograd.grad(y.sum(), b)[0] for y in (ours, theirs)), 1e-11)


def test_integers_are_the_floats_that_they_are_in_numpy() -> None:
    for dtype in (torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64):
        x = torch.tensor([0, 1, 1, 0]).to(dtype)
        for f in (
            cupylut.swiglu,
            lambda x: cupylut.swiglu(x, x),
            lambda x: cupylut.fused("silu", x, bias=x, scale=x, residual=x),
        ):
            y, want = f(x), f(x.numpy())
            assert torch.equal(y, torch.from_numpy(want))
            assert y.dtype == torch.from_numpy(want).dtype


# ---- kinds, dtypes and autocast ------------------------------------------------------------------


def test_the_tensor_comes_first_in_calls_of_an_operator() -> None:
    x: Any = numbers(4)
    of = cupylut.torch
    for function in (of.fused, of.packed_product, lambda x, name: of.product(x, x, name)):
        function(x, "gelu")
        with pytest.raises(TypeError, match=r"a str in the place of a tensor: here it comes first"):
            function("gelu", x)
        with pytest.raises(TypeError, match="a ndarray in the place of a tensor"):
            function(x.numpy(), "gelu")
    with pytest.raises(TypeError, match="x is a Tensor, z a ndarray: give one kind"):
        of.product(x, x.numpy(), "gelu")


@by_operand
def test_outside_of_autocast_dtypes_have_to_agree(name: str) -> None:
    for autocast in (torch.no_grad(), torch.autocast("cpu", enabled=False)):
        with autocast, pytest.raises(TypeError, match="convert one"):
            WITH[name](numbers(3, dtype=torch.bfloat16), numbers(3, dtype=torch.float32))
    complex_numbers = numbers(3).to(torch.complex64)
    with torch.autocast("cpu"), pytest.raises(TypeError, match="convert one"):
        WITH[name](numbers(3), complex_numbers)
    meta = numbers(3, dtype=torch.bfloat16).to("meta")
    with torch.autocast("cpu"), pytest.raises(TypeError, match="convert one"):
        WITH[name](meta, meta.float())


@by_operand
@pytest.mark.parametrize("compiled", [False, True])
def test_autocast_converts_what_stands_beside_x(name: str, compiled: bool) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 3)
    x, b = numbers(3, 3, dtype=torch.float32), torch.nn.Parameter(numbers(3).float())
    if name in ("residual", "up"):
        b = torch.nn.Parameter(numbers(3, 3).float())

    def f(x: Tensor, b: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return WITH[name](linear(x), b)

    if compiled:
        f = torch.compile(f, backend="aot_eager", fullgraph=True)
    y = f(x, b)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = linear(x).detach()
    wide = name == "residual"  # which is not converted
    rounded = b.detach().to(b.dtype if wide else hidden.dtype).double().requires_grad_()
    want = OWN[name](hidden.double(), rounded)
    assert y.dtype == (b.dtype if wide else hidden.dtype)
    assert close(y.double(), want, 2.0**-8)
    grads = torch.autograd.grad(y.float().sum(), [b, *linear.parameters()])
    assert {grad.dtype for grad in grads} == {torch.float32}
    (exact,) = torch.autograd.grad(want.sum(), rounded)
    assert close(grads[0].double(), exact, 2.0**-6)


def test_autocast_converts_a_residual_that_is_no_wider() -> None:
    """bfloat16 beside float16 is another dtype, of as many bits."""
    x, residual = numbers(2, 3, dtype=torch.float16), numbers(2, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.float16):
        assert cupylut.fused("gelu", x, residual=residual).dtype == torch.float16


def test_autocast_keeps_a_residual_as_precise_as_it_is() -> None:
    x, residual = numbers(2, 3, dtype=torch.bfloat16), 1000 + numbers(2, 3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = cupylut.fused("gelu", x, scale=0.5, residual=residual)
        narrow = cupylut.fused("gelu", x.float(), residual=x)
        with pytest.raises(ValueError, match="give equal shapes"):
            cupylut.fused("gelu", x, residual=residual[0])
    assert torch.equal(y, residual + cupylut.fused("gelu", x, scale=0.5))
    assert narrow.dtype == torch.float32


def test_autocast_and_modules() -> None:
    gate, up = numbers(3, dtype=torch.bfloat16), numbers(3, dtype=torch.float32)
    module = cupylut.torch.SwiGLU()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(gate, up), module(gate, up.bfloat16()))


# ---- elements of a batch ------------------------------------------------------------------------


def test_what_does_not_fit_alone_does_not_fit_in_a_batch() -> None:
    vmap, x, row = torch.func.vmap, torch.arange(4.0), torch.arange(4.0)
    for call, message in (
        (lambda: vmap(cupylut.swiglu)(x), r"of shape \(\): its last axis has to be even"),
        (lambda: vmap(partial(WITH["bias"], b=row))(x), r"x has shape \(\), bias \(4,\)"),
        (lambda: vmap(partial(WITH["scale"], b=row))(x), r"x has shape \(\), scale \(4,\)"),
        (lambda: vmap(WITH["bias"])(x, row), r"x has shape \(\), bias \(\)"),
        (lambda: vmap(vmap(cupylut.swiglu))(x.reshape(2, 2)), r"of shape \(\): its last axis"),
        (lambda: vmap(partial(WITH["residual"], b=row))(x), r"\(\) and \(4,\): give equal shapes"),
        (lambda: vmap(partial(WITH["bias"], b=row))(x[:0]), r"x has shape \(\), bias \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_scale_without_dimensions_for_numbers() -> None:
    x, scale = numbers(4), numbers(4) + 1

    def ours(x: Tensor, scale: Tensor) -> Tensor:
        return cupylut.fused("gelu", x, scale=scale)

    def theirs(x: Tensor, scale: Tensor) -> Tensor:
        return scale * functional.gelu(x)

    for dims in ((0, None), (None, 0), (0, 0)):
        given: list[Any] = [t[0] if d is None else t for t, d in zip((x, scale), dims, strict=True)]
        for transform in (
            lambda f, dims=dims: torch.func.vmap(f, dims),
            lambda f, dims=dims: torch.func.vmap(torch.func.grad(f, (0, 1)), dims),
            lambda f, dims=dims: (
                lambda *args: torch.func.jvp(
                    torch.func.vmap(f, dims), args, tuple(torch.ones_like(t) for t in args)
                )
            ),
        ):
            for a, b in zip(transform(ours)(*given), transform(theirs)(*given), strict=True):
                assert close(a, b, 1e-6)
    leaves = [t.requires_grad_() for t in (x[0].detach(), scale[0].detach())]
    assert torch.autograd.gradcheck(ours, leaves, check_forward_ad=True, check_batched_grad=True)
