"""The operators: what they compute, on which tensors, and their gradients.

The oracle of derivatives is PyTorch's autograd of its own functions in float64.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID251
from samples import by_dtype, same, values
from test_torch_arrays import Subclass, to_numpy, to_torch
from torch import Tensor  # noqa: TID251
from torch._subclasses import FakeTensorMode  # noqa: TID251
from torch.nn import functional  # noqa: TID251
from torch_samples import (
    FOUR,
    GATED,
    ORACLES,
    TOLERANCE,
    activation,
    close,
    gate_of,
    numbers,
    product,
    product_gradient,
)

import cupylut
import cupylut.torch
from cupylut import device
from cupylut.declaration import Function
from cupylut.defaults import default_table
from cupylut.dtypes import BFLOAT16, DTYPES, all_inputs, ulp
from cupylut.functions import FUNCTIONS
from cupylut.names import as_function
from cupylut.torch import operators as torch_operators

# Of torch.jit inside torch.func.jvp: a DeprecationWarning, since PyTorch 2.14 a FutureWarning.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")

# ---- values and the operators' contract ---------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
@by_dtype
def test_every_function_of_a_tensor_is_that_of_its_array(name: str, dtype: Any) -> None:
    x = values((3, 5), dtype)
    y = getattr(cupylut, name)(to_torch(x))
    assert type(y) is Tensor
    assert same(to_numpy(y), getattr(cupylut, name)(x))


def test_parameters_of_functions_reach_the_operator() -> None:
    x = numbers(9, grad=True)
    for ours, theirs in (
        (cupylut.elu(x, 0.3), functional.elu(x, 0.3)),
        (cupylut.leaky_relu(x, 0.1234567890123), functional.leaky_relu(x, 0.1234567890123)),
        (cupylut.gelu(x, "tanh"), functional.gelu(x, approximate="tanh")),
    ):
        assert close(ours, theirs)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.T,
    "strided": lambda t: t[:, ::2],
    "expanded": lambda t: t[:, :1].expand(-1, 4),
    "no dimension": lambda t: t[0, 0],
    "empty": lambda t: t[:0],
}


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [*((layout, torch.float32) for layout in LAYOUTS), ("contiguous", torch.bfloat16)],
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of opcheck, on copies
def test_opcheck(layout: str, dtype: torch.dtype) -> None:
    x, z = (LAYOUTS[layout](numbers(3, n, dtype=dtype)) for n in (4, 4))
    for grad in (False, True):
        x, z = (t.detach().requires_grad_(grad) for t in (x, z))
        torch.library.opcheck(activation, (x, "gelu"))
        torch.library.opcheck(product, (x, z.detach(), "silu"))
        torch.library.opcheck(product, (x, z, "gelu_tanh"))
    torch.library.opcheck(product_gradient, (x.detach(), z.detach(), z.detach(), "mish"))


OTHER_LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "like": lambda t: t.clone(),
    "contiguous": lambda t: t.clone(memory_format=torch.contiguous_format),
    "reversed": lambda t: t.mT.contiguous().mT if t.ndim else t.clone(),
    "strided": lambda t: torch.stack([t, t], -1)[..., 1],
    "broadcast": lambda t: t.mean().expand_as(t),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", OTHER_LAYOUTS)
def test_layouts_of_results_and_gradients(layout: str, other: str) -> None:
    x = LAYOUTS[layout](numbers(3, 4)).requires_grad_()
    z = OTHER_LAYOUTS[other](x.detach() + 1).requires_grad_()
    y, want = product(x, z, "gelu"), functional.gelu(x) * z
    assert close(y, want)
    assert y.stride() == torch.empty_like(x).stride()
    for upstream in (OTHER_LAYOUTS[other](want.detach()), torch.ones(()).expand_as(y).double()):
        ours, theirs = (torch.autograd.grad(t, (x, z), upstream, True) for t in (y, want))
        assert all(close(a, b, 1e-2) for a, b in zip(ours, theirs, strict=True))


def test_fake_and_meta_tensors() -> None:
    real = numbers(2, 3, 4, 5, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    for x in (real, real.to(torch.int32), real[:, :, ::2], real.permute(2, 0, 3, 1)):
        y = cupylut.gelu(x)
        for fake in (x.to("meta"), FakeTensorMode().from_tensor(x)):
            z = cupylut.gelu(fake)
            assert (z.shape, z.dtype, z.device) == (y.shape, y.dtype, fake.device)
            assert z.stride() == y.stride() or fake.device.type == "meta"


def test_wrong_operands_are_named() -> None:
    x = numbers(3)
    for make in (lambda t: t, lambda t: t.to("meta")):
        t = make(x)
        for other, error, message in (
            (t.float(), TypeError, r"torch\.float64 and torch\.float32: convert one"),
            (t[:2], ValueError, r"\(3,\) and \(2,\): give equal shapes"),
        ):
            with pytest.raises(error, match=message):
                product(t, other, "gelu")
        with pytest.raises(TypeError, match=r"floats, not of torch\.int64"):
            product(t.long(), t.long(), "gelu")
        with pytest.raises(TypeError, match=r"torch\.complex128.*convert it to"):
            activation(t.to(torch.complex128), "gelu")
    with pytest.raises(ValueError, match="on cpu and meta: move one"):
        product(x, x.to("meta"), "gelu")
    for key in ("gelo", "elu(", "gelu_derivative_derivative", "sin(1.0)"):
        with pytest.raises(ValueError, match="unknown function"):
            activation(x, key)


def test_dtypes_in_which_a_function_has_no_table_are_named() -> None:
    for call, message in (
        (
            lambda: activation(numbers(3), "relu2"),
            "^relu2 has no default table in float64: convert",
        ),
        (
            lambda: cupylut.torch.Gated("sqrtsoftplus")(numbers(4, dtype=torch.bfloat16)),
            "^sqrtsoftplus has no default table in float32, which products and gradients take",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_other_kinds_of_tensors() -> None:
    subclass = numbers(3).as_subclass(Subclass)
    assert type(cupylut.gelu(subclass)) is Subclass
    assert torch.equal(cupylut.gelu(torch._efficientzerotensor((3,))), torch.zeros(3))
    with pytest.raises(ValueError, match="uninitialized parameter"):
        cupylut.gelu(torch.nn.UninitializedParameter())


def test_ragged_tensors() -> None:
    ragged = torch.nested.nested_tensor(
        [numbers(2, 4), numbers(3, 4)], layout=torch.jagged, requires_grad=True
    )
    other = (ragged + 1).detach().requires_grad_()
    for ours, theirs in (
        (cupylut.silu(ragged), functional.silu(ragged)),
        (cupylut.swiglu(ragged, ragged * 2), functional.silu(ragged) * (ragged * 2)),
        (cupylut.swiglu(ragged, other), functional.silu(ragged) * other),
    ):
        assert close(ours.values(), theirs.values())
        a, b = (torch.autograd.grad(y.values().sum(), ragged)[0] for y in (ours, theirs))
        assert close(a.values(), b.values(), 1e-6)
    for call in (cupylut.swiglu, partial(cupylut.fused, "gelu"), cupylut.torch.SwiGLU()):
        with pytest.raises(TypeError, match=r"a nested tensor of torch\.float64.*pass a dense"):
            call(ragged)


# ---- reverse mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=lambda d: d.name)
def test_sixteen_bit_gradients_are_rounded_once(name: str, dtype: Any) -> None:
    """Every number: half an ulp, plus what the table of f′ is off times the gradient above."""
    x = all_inputs(dtype)
    x = x[np.isfinite(x.astype(np.float32))]
    grad = np.random.default_rng(0).normal(size=x.size).astype(dtype)
    t = to_torch(x).requires_grad_()
    getattr(cupylut, name)(t).backward(to_torch(grad))
    wide = t.detach().double().requires_grad_()
    ORACLES[name](wide).sum().backward()
    exact = to_numpy(wide.grad) * grad.astype(np.float64)
    allowed = 0.5001 * ulp(exact, dtype) + 1e-7 * np.abs(grad.astype(np.float64))
    assert t.grad.dtype == t.dtype
    assert (np.abs(to_numpy(t.grad).astype(np.float64) - exact) <= allowed)[
        wide.detach() != 0
    ].all()


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients(name: str, dtype: torch.dtype) -> None:
    x, z, grad = (numbers(n, dtype=dtype, grad=True) for n in (1000, 1000, 1000))
    z, grad = (z + 1).detach().requires_grad_(), (grad / 2 - 1).detach()
    tolerance = TOLERANCE[dtype]
    # PyTorch's own float32 results are farther off than ours.
    ours, theirs = getattr(cupylut, name)(x), ORACLES[name](x.double()).to(dtype)
    assert close(ours, theirs, tolerance)
    assert close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)), tolerance)
    for arguments in ((x, z), (x,), (z,)):
        gate, up = (t if any(t is a for a in arguments) else t.detach() for t in (x, z))
        ours, theirs = product(gate, up, name), ORACLES[name](gate.double()) * up.double()
        assert close(ours, theirs.to(dtype), tolerance)
        first = torch.autograd.grad(ours, arguments, grad)
        second = torch.autograd.grad(theirs, arguments, grad.double())
        assert all(close(a, b, tolerance) for a, b in zip(first, second, strict=True))


def check_gradients(key: str) -> None:
    check = partial(
        torch.autograd.gradcheck,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    x, z = numbers(7, 3, grad=True), numbers(3, 7, grad=True).T
    if key in GATED:
        assert check(gate_of(key), (x, z))
        assert check(lambda x: gate_of(key)(x, z.detach()), (x,))
        assert check(lambda z: gate_of(key)(x.detach(), z), (z,))
    else:
        assert check(getattr(cupylut, key), (x,))


@pytest.mark.parametrize("key", [*FOUR, *GATED])
def test_gradcheck(key: str) -> None:
    check_gradients(key)


@dataclass(frozen=True)
class Exact:
    """A table in name only."""

    function: Function
    dtype: Any = DTYPES[3]
    result_dtype: Any = DTYPES[3]

    def evaluate(self, x: Any, out: Any) -> None:
        out[...] = self.function(x)


@pytest.mark.parametrize("key", [*FOUR, *GATED])
def test_gradcheck_with_exact_tables(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules by themselves, whatever the tables are off."""
    exact = lambda key, _: Exact(as_function(key))  # noqa: E731
    for name in ("default_table", "product_table"):
        monkeypatch.setattr(torch_operators, name, exact)
    slope = lambda table: Exact(table.function.derivative)  # noqa: E731
    monkeypatch.setattr(torch_operators, "derivative_table", slope)
    check_gradients(key)


def of_penalty(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of the squares of f's gradient."""
    (gradient,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    return torch.autograd.grad(gradient.pow(2).sum(), x)[0]


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_second_derivatives(name: str, dtype: torch.dtype) -> None:
    x, z = numbers(500, dtype=dtype, grad=True), numbers(500, dtype=dtype)
    wide = x.detach().double().requires_grad_()
    tolerance = {torch.bfloat16: 0.02, torch.float32: 2e-5, torch.float64: 1e-10}[dtype]
    for ours, theirs in (
        (getattr(cupylut, name), ORACLES[name]),
        (lambda x: product(x, z, name), lambda x: ORACLES[name](x) * z),
    ):
        assert close(of_penalty(ours, x), of_penalty(theirs, wide).to(dtype), tolerance)


@pytest.mark.parametrize("key", ["gelu", "silu gate"])
def test_gradgradcheck(key: str) -> None:
    x, z = numbers(4, 2, grad=True), numbers(2, 4, grad=True).T
    f, given = (gate_of(key), (x, z)) if key in GATED else (getattr(cupylut, key), (x,))
    assert torch.autograd.gradgradcheck(f, given, check_fwd_over_rev=True, check_batched_grad=True)


def test_hessians_and_what_is_no_longer_known() -> None:
    x = numbers(5)
    ours, theirs = (lambda x, f=f: f(x).sum() for f in (cupylut.gelu, functional.gelu))
    assert close(torch.func.hessian(ours)(x), torch.func.hessian(theirs)(x))
    assert close(*(torch.autograd.functional.hessian(f, x) for f in (ours, theirs)))
    second = torch.func.grad(torch.func.grad(cupylut.gelu))
    with pytest.raises(TypeError, match=r"^third derivatives of gelu are not there.*no higher"):
        torch.func.grad(second)(x[0])


def test_a_tensor_may_be_used_twice_and_gradients_accumulate() -> None:
    weight = torch.nn.Parameter(numbers(4, 4))
    for _ in range(2):
        y = cupylut.gelu(weight)
        (cupylut.gelu(y) * y + cupylut.silu(weight)).sum().backward()
    reference = torch.nn.Parameter(weight.detach().clone())
    y = functional.gelu(reference)
    (functional.gelu(y) * y + functional.silu(reference)).sum().backward()
    assert close(weight.grad, 2 * reference.grad, 1e-2)


def test_inputs_changed_before_the_backward_pass_are_noticed() -> None:
    leaf = numbers(3, grad=True)
    x = leaf * 1
    y = cupylut.gelu(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_checkpointing_and_negative_bits() -> None:
    x = numbers(5, grad=True)
    y = torch.utils.checkpoint.checkpoint(cupylut.gelu, x, use_reentrant=False)
    want = torch.autograd.grad(functional.gelu(x).sum(), x)[0]
    assert close(torch.autograd.grad(y.sum(), x)[0], want, 1e-2)
    negative = torch._neg_view(x)
    assert close(cupylut.gelu(negative), functional.gelu(-x))
    assert close(product(negative, negative, "gelu"), functional.gelu(-x) * -x)


def test_integers_have_values_and_no_gradient() -> None:
    y = cupylut.gelu(torch.arange(3))
    assert y.dtype == torch.float64
    assert not y.requires_grad


# ---- CUDA, as far as it goes without a device ----------------------------------------------------


def test_kernels_get_addresses_and_the_stream_of_the_tensors_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launched: list[tuple[Any, ...]] = []
    devices = [0]

    @contextmanager
    def on_device(index: int) -> Iterator[None]:
        devices.append(index)
        yield
        devices.pop()

    def tensor(address: int) -> Any:
        return SimpleNamespace(
            is_cuda=True,
            dtype=torch.bfloat16,
            get_device=lambda: 1,
            data_ptr=lambda: address,
            element_size=lambda: 2,
            numel=lambda: 5,
        )

    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: devices[-1], raising=False)
    monkeypatch.setattr(torch.cuda, "device", on_device)
    stream_of = lambda index: 70 + index  # noqa: E731
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", stream_of, raising=False)
    monkeypatch.setattr(device, "run_at", lambda *args: launched.append((devices[-1], *args)))
    tables = (default_table("gelu", DTYPES[1]),)
    torch_operators._run("elementwise", tables, tensor(32), tensor(64))
    assert launched == [(1, 1, 71, "elementwise", tables, BFLOAT16, 5, 32, 64)]
    for bad in (0, 33):
        with pytest.raises(TypeError, match="freed, or begins at no multiple of its item size"):
            torch_operators._run("elementwise", tables, tensor(32), tensor(bad))
    assert devices == [0]
    assert len(launched) == 1
