"""Packed gated forms and fused activations on a CUDA device: the host is the reference."""

from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID251
from gpu import fewer
from samples import by_dtype, values
from test_fused import ALL, by_set, operands
from test_gpu_arrays import Cupy, Torch, needs_torch

import cupylut
from cupylut import rows

pytestmark = pytest.mark.gpu(interpreted=True)

LIBRARIES = [Cupy, pytest.param(Torch, marks=needs_torch)]
by_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)

# Rows of whole vectors, of none, a single one, more than blocks, none.
SHAPES = fewer(
    [(300, 4096), (37, 1030), (1, 50_000), (100_000, 2), (3, 0)],
    [(3, 128), (5, 70), (1, 300), (40, 2), (3, 0)],
)


def assert_near(y: Any, want: Any) -> None:
    """Within a step of the dtype: a last bit of the float32 result may turn a rounding."""
    assert y.dtype == want.dtype
    assert y.shape == want.shape
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 1e-6, "float64": 1e-13}
    rtol = step[want.dtype.name]
    wide = (np.asarray(array, np.float64) for array in (y, want))
    np.testing.assert_allclose(*wide, rtol=rtol, atol=min(rtol, 1e-5))


@by_library
@by_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_packed(library: Any, shape: tuple[int, ...], dtype: Any) -> None:
    here = library()
    packed = values(shape, dtype)
    for order in ("gate_up", "up_gate"):
        want = cupylut.swiglu(packed, order=order)
        assert_near(here.read(cupylut.swiglu(here.make(packed), order=order)), want)
        there = here.make(packed)[:, 2:]  # not in C order, or misaligned
        want = cupylut.swiglu(packed[:, 2:], order=order)
        assert_near(here.read(cupylut.swiglu(there, order=order)), want)
    out = here.make(np.zeros_like(want))
    assert cupylut.swiglu(there, order=order, out=out) is out
    assert_near(here.read(out), want)


@by_library
@by_dtype
@by_set
def test_fused(library: Any, names: set[str], dtype: Any) -> None:
    here = library()
    for shape in SHAPES[:4]:
        x = values(shape, dtype)
        given = operands(names, shape, dtype)
        there = {k: here.make(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
        want = cupylut.fused("gelu", x, **given)
        on_device = here.make(x)
        assert_near(here.read(cupylut.fused("gelu", on_device, **there)), want)
        assert cupylut.fused("gelu", on_device, **there, out=on_device) is on_device
        assert_near(here.read(on_device), want)


@by_library
def test_several_launches(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = library()
    x = values(fewer((64, 512), (8, 512)), np.dtype(np.float32))
    given = operands(ALL, x.shape, x.dtype)
    want = cupylut.swiglu(x), cupylut.fused("silu", x, **given)
    there = {key: here.make(value) for key, value in given.items()}
    for largest in (fewer(10_000, 2000), 100):  # some rows, and less than one
        monkeypatch.setattr(rows, "LARGEST", largest)
        assert_near(here.read(cupylut.swiglu(here.make(x))), want[0])
        assert_near(here.read(cupylut.fused("silu", here.make(x), **there)), want[1])


@needs_torch
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_gradients_are_those_of_the_host(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, residual, upstream = torch.randn(3, 40, 64, generator=generator).to(dtype)
    bias, scale = torch.randn(2, 64, generator=generator).to(dtype)

    def gradients(*tensors: torch.Tensor) -> Any:
        x, bias, scale, residual, upstream = (t.detach() for t in tensors)
        leaves = [t.requires_grad_() for t in (x, bias, scale, residual)]
        y = cupylut.fused("gelu", x, bias=bias, scale=scale, residual=residual)
        z = cupylut.geglu(y, order="up_gate")
        return z.detach(), *torch.autograd.grad(z, leaves, upstream[:, :32])

    arguments = x, bias, scale, residual, upstream
    there, here = gradients(*(t.cuda() for t in arguments)), gradients(*arguments)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    for a, b in zip(there, here, strict=True):
        assert a.is_cuda
        torch.testing.assert_close(a.cpu(), b, rtol=tolerance, atol=tolerance)


@needs_torch
def test_torch_graphs_capture_them() -> None:
    x, bias = torch.randn(64, 128, device="cuda"), torch.randn(64, device="cuda")

    def run() -> torch.Tensor:
        return cupylut.fused("silu", cupylut.swiglu(x), bias=bias, scale=0.5)

    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run()
    for _ in range(2):
        x.normal_()
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(y, run())
