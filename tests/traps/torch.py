"""PyTorch's tensors on the CPU."""

import warnings
from typing import Any

import numpy as np
import torch  # noqa: TID251
from torch._subclasses import FakeTensor, FakeTensorMode  # noqa: TID251
from torch.autograd import forward_ad  # noqa: TID251

import cupylut
from cupylut import arrays

from . import BFLOAT16, SLOPES, WANT, X, bits, right_or_refused


def tensor(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(X).to(dtype)


def is_want(y: Any) -> bool:
    return torch.equal(y, torch.tensor(WANT))


def never(y: Any) -> bool:
    return False


def trap_numpys_negative_strides() -> None:
    y = cupylut.gelu(X[::-1])
    assert is_want(torch.from_dlpack(y).flip(0))


def trap_the_negative_bit() -> None:
    imaginary = torch.complex(torch.zeros(12), -tensor()).conj().imag
    for x in (torch._neg_view(-tensor()), imaginary):
        assert x.is_neg()
        right_or_refused(lambda x=x: cupylut.gelu(x), is_want)
    out = torch._neg_view(torch.zeros(12))
    right_or_refused(lambda: cupylut.gelu(tensor(), out=out), is_want)


def trap_conjugates() -> None:
    x = torch.complex(tensor(), tensor()).conj()
    assert x.is_conj()
    right_or_refused(lambda: cupylut.gelu(x), never)
    assert is_want(cupylut.gelu(x.real))


def trap_fake_tensors() -> None:
    with FakeTensorMode():
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.zeros(12, dtype=dtype)
            right_or_refused(
                lambda x=x: cupylut.gelu(x),
                lambda y, x=x: type(y) is FakeTensor and (y.shape, y.dtype) == (x.shape, x.dtype),
            )


def trap_meta_tensors() -> None:
    right_or_refused(lambda: cupylut.gelu(torch.zeros(12, device="meta")), lambda y: y.is_meta)


def trap_read_only_memory_that_torch_forgets() -> None:
    memory = X.copy()
    memory.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.from_numpy(memory)
    assert is_want(cupylut.gelu(x))
    assert bits(memory) == bits(X)


def close(gradient: torch.Tensor) -> bool:
    return bool(np.abs(gradient.numpy() - SLOPES).max() < 1e-4)


def trap_a_gradient_flows_or_is_refused() -> None:
    for leaf in (tensor().requires_grad_(), torch.nn.Parameter(tensor())):
        for x in (leaf, leaf * 1):
            right_or_refused(
                lambda x=x: cupylut.gelu(x),
                lambda y, leaf=leaf: (
                    is_want(y) and y.requires_grad and close(torch.autograd.grad(y.sum(), leaf)[0])
                ),
            )
        right_or_refused(
            lambda leaf=leaf: cupylut.gelu(leaf, out=torch.zeros(12)), lambda y: y.requires_grad
        )


def trap_a_tangent_flows_or_is_refused() -> None:
    with forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, about torch.jit
        x = forward_ad.make_dual(tensor(), torch.ones(12))
        right_or_refused(
            lambda: cupylut.gelu(x), lambda y: close(forward_ad.unpack_dual(y).tangent)
        )


def trap_stride_0_size_0_and_0_d() -> None:
    x = tensor()
    for view in (x.expand(3, 12), x[:1].expand(5), x[:0], x[None, :0], x[5]):
        assert bits(cupylut.gelu(view)) == bits(cupylut.gelu(view.numpy().copy()))
    right_or_refused(lambda: cupylut.gelu(x, out=torch.zeros(1).expand(12)), never)


def trap_misaligned_addresses() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.frombuffer(bytearray(12 * dtype.itemsize + 1), dtype=dtype, offset=1)
        assert x.data_ptr() % dtype.itemsize
        x[:] = tensor()
        want = cupylut.gelu(tensor(dtype))
        assert torch.equal(cupylut.gelu(x), want)
        assert torch.equal(cupylut.gelu(x, out=x), want)


def trap_bfloat16_is_a_view() -> None:
    x = tensor(torch.bfloat16)
    view = arrays.library_of(x).view(x)
    assert view.dtype == BFLOAT16
    assert view.ctypes.data == x.data_ptr()
    assert bits(cupylut.gelu(x).view(torch.int16)) == bits(cupylut.gelu(view).view(np.int16))


def trap_memory_that_was_freed() -> None:
    y = cupylut.gelu(tensor())
    reused = [torch.full((12,), 7.0) for _ in range(100)]
    assert is_want(y)
    del reused
    x = tensor()
    x.untyped_storage().resize_(0)
    right_or_refused(lambda: cupylut.gelu(x), never)
