"""PyTorch's streams, graphs and compiler and JAX's lifetimes on a CUDA device."""

from typing import Any

import jax  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from samples import by_dtype, values
from test_gpu_arrays import CYCLES, Torch, needs_torch, same

import cupylut
from cupylut import arrays

cupy = pytest.importorskip("cupy")
pytestmark = pytest.mark.gpu

# ---- PyTorch ------------------------------------------------------------------------------------


def from_host(size: int = 10_000) -> Any:
    return torch.from_numpy(values(size, np.float32)).cuda()


def every_path(x: Any) -> list[tuple[Any, slice]]:
    """Results by way of dense and strided memory, and the part of x that they belong to."""
    everything, half = slice(None), slice(None, None, 2)
    strided = torch.zeros(2 * len(x), device=x.device)[::2]
    return [
        (cupylut.gelu(x), everything),
        (cupylut.gelu(x, out=torch.zeros_like(x)), everything),
        (cupylut.gelu(x, out=strided), everything),
        (cupylut.gelu(x[half]), half),
    ]


def no_memory(size: int) -> Any:
    raise AssertionError("for a tensor's work PyTorch allocates: its memory pool knows the stream")


@needs_torch
def test_torch_work_is_ordered_on_the_current_stream() -> None:
    ready = from_host()
    x = torch.zeros_like(ready)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for cycles in (1, CYCLES):  # first to warm tables, kernels and memory pools
            torch.cuda._sleep(cycles)
            x.copy_(ready)
            results = every_path(x)
            finished = stream.query()
            x.zero_()
            stream.synchronize()
    assert not finished  # so nothing has waited for the device
    want = cupylut.gelu(ready.cpu().numpy())
    for y, part in results:
        assert same(y.cpu().numpy(), want[part])


@needs_torch
def test_torch_graphs_capture_and_replay() -> None:
    ready = from_host()
    x = torch.zeros_like(ready)
    every_path(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), cupy.cuda.using_allocator(no_memory):
        results = every_path(x)
    for content in (ready, -ready):
        x.copy_(content)
        graph.replay()
        torch.cuda.synchronize()
        want = cupylut.gelu(content.cpu().numpy())
        for y, part in results:
            assert same(y.cpu().numpy(), want[part])


@needs_torch
@by_dtype
def test_torch_tensors_at_odd_addresses_and_sizes(dtype: Any) -> None:
    content = values(4099, dtype)
    for start in (1, 2, 3, 5):
        for stop in (4099, 4098, start + 1):
            memory = Torch().make(content)
            x = memory[start:stop]
            want = cupylut.gelu(content[start:stop])
            assert same(Torch().read(cupylut.gelu(x)), want)
            assert cupylut.gelu(x, out=x) is x
            assert same(Torch().read(x), want)
            rest = np.concatenate([Torch().read(memory[:start]), Torch().read(memory[stop:])])
            assert same(rest, np.concatenate([content[:start], content[stop:]]))


@needs_torch
def test_torch_memory_formats_and_parameters() -> None:
    content = values((2, 3, 4, 5), np.float32)
    x = Torch().make(content).to(memory_format=torch.channels_last)
    y = cupylut.gelu(x)
    assert y.stride() == x.stride()
    assert same(y.cpu().numpy(), cupylut.gelu(content))
    parameter = torch.nn.Parameter(x)
    assert cupylut.gelu(parameter).requires_grad
    with torch.no_grad():
        y = cupylut.gelu(parameter)
    assert type(y) is torch.Tensor
    assert same(y.cpu().numpy(), cupylut.gelu(content))
    with torch.inference_mode():
        assert same(cupylut.gelu(x).cpu().numpy(), cupylut.gelu(content))
    negative = torch._neg_view(x)
    assert same(cupylut.gelu(negative).cpu().numpy(), cupylut.gelu(-x).cpu().numpy())


@needs_torch
def test_torch_tensors_need_no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels get addresses: no DLPack, and no memory but PyTorch's."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("not on this path")

    x = from_host()
    want = cupylut.gelu(x), cupylut.swiglu(x, x)
    monkeypatch.setattr(arrays.TorchArrays, "view", refuse)
    with cupy.cuda.using_allocator(refuse):
        assert same(cupylut.gelu(x).cpu().numpy(), want[0].cpu().numpy())
        assert same(cupylut.swiglu(x, x).cpu().numpy(), want[1].cpu().numpy())


def forward_and_backward(x: Any, z: Any) -> tuple[Any, ...]:
    x, z = (t.detach().requires_grad_() for t in (x, z))
    y = cupylut.swiglu(cupylut.gelu(x), z)
    return y.detach(), *torch.autograd.grad(y, (x, z), torch.ones_like(y))


@needs_torch
@by_dtype
def test_torch_gradients_are_those_of_the_host(dtype: Any) -> None:
    x, z = (torch.randn(4099).to(getattr(torch, dtype.name)) for _ in range(2))
    tolerance = {"rtol": 2.0**-6 if dtype.itemsize == 2 else 1e-5, "atol": 1e-5}
    there, here = (forward_and_backward(*tensors) for tensors in ((x.cuda(), z.cuda()), (x, z)))
    for a, b in zip(there, here, strict=True):
        assert a.is_cuda
        assert a.dtype == b.dtype
        torch.testing.assert_close(a.cpu(), b, **tolerance)


@needs_torch
def test_torch_operators_pass_opcheck() -> None:
    operators = torch.ops.cupylut
    for dtype in (torch.float32, torch.bfloat16):
        x, z = (torch.randn(3, 5, device="cuda", dtype=dtype).T for _ in range(2))
        torch.library.opcheck(operators.product_gradient.default, (x, z, z, "gelu"))
        for grad in (False, True):
            x, z = (t.detach().requires_grad_(grad) for t in (x, z))
            torch.library.opcheck(operators.activation.default, (x, "gelu"))
            torch.library.opcheck(operators.product.default, (x, z, "silu"))


@needs_torch
def test_torch_graphs_capture_the_backward_pass() -> None:
    x, z = torch.randn(2, 10_000, device="cuda")
    forward_and_backward(x, z)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), cupy.cuda.using_allocator(no_memory):
        results = forward_and_backward(x, z)
    for _ in range(2):
        x.normal_()
        graph.replay()
        torch.cuda.synchronize()
        for a, b in zip(results, forward_and_backward(x, z), strict=True):
            assert torch.equal(a, b)


@needs_torch
def test_a_table_that_is_not_there_yet_is_named_in_a_capture() -> None:
    x = from_host()
    graph = torch.cuda.CUDAGraph()
    with (
        pytest.raises(RuntimeError, match=r"table of elu\(0\.875\).*evaluate it once beforehand"),
        torch.cuda.graph(graph),
    ):
        cupylut.elu(x + 1, 0.875)  # the sum is captured: PyTorch warns of empty graphs
    assert cupylut.elu(x, 0.875).is_cuda


@needs_torch
@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
def test_torch_compile_keeps_one_graph_and_the_bits(mode: str | None) -> None:
    x, z = torch.randn(2, 1000, device="cuda")
    backend = {"backend": "aot_eager"} if mode is None else {"mode": mode}
    compiled = torch.compile(
        lambda x, z: cupylut.swiglu(cupylut.gelu(x), z), fullgraph=True, **backend
    )
    for _ in range(3):
        x, z = (t.detach().normal_().requires_grad_() for t in (x, z))
        y = compiled(x, z).clone()
        gradients = torch.autograd.grad(y, (x, z), torch.ones_like(y))
        for a, b in zip((y, *gradients), forward_and_backward(x, z), strict=True):
            assert torch.equal(a, b)


@needs_torch
def test_other_devices_than_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    content = values(1000, np.float32)
    first, second = (torch.from_numpy(content).to(f"cuda:{i}") for i in (0, 1))
    y = cupylut.gelu(second)
    assert y.device == second.device
    assert torch.cuda.current_device() == cupy.cuda.runtime.getDevice() == 0
    assert same(y.cpu().numpy(), cupylut.gelu(content))
    with pytest.raises(ValueError, match="out lies on cuda:1, x on cuda:0"):
        cupylut.gelu(first, out=second)


# ---- JAX ----------------------------------------------------------------------------------------


def test_jax_results_survive_their_inputs() -> None:
    try:
        device = jax.devices("cuda")[0]
    except RuntimeError as error:
        pytest.skip(f"JAX without CUDA: {error}")
    content = values(100_000, np.float32)
    want = cupylut.gelu(content)
    results = []
    for _ in range(20):
        x = jax.device_put(content, device) * 1
        results.append(cupylut.gelu(x))
        del x
        jax.device_put(np.full_like(content, 5), device).block_until_ready()
    for y in results:
        assert same(np.asarray(y), want)
    with pytest.raises(TypeError, match="JAX arrays are immutable"):
        cupylut.gelu(results[0], out=results[1])


def test_jax_results_are_as_bound_to_the_device_as_the_input() -> None:
    try:
        device = jax.devices("cuda")[0]
    except RuntimeError as error:
        pytest.skip(f"JAX without CUDA: {error}")
    with jax.default_device(device):
        loose = jax.numpy.ones((4, 8))
    bound = jax.device_put(loose, device)
    for call in (cupylut.gelu, cupylut.swiglu, lambda x: cupylut.fused("gelu", x, bias=x[0])):
        for x in (loose, bound):
            y = call(x)
            assert y.committed == x.committed
            assert y.devices() == {device}
    assert cupylut.swiglu(loose, bound).committed


def test_jax_results_are_kept_while_xla_reads_them() -> None:
    """XLA lets go of an array when the work that reads it is queued, not when it is done."""
    try:
        device = jax.devices("cuda")[0]
    except RuntimeError as error:
        pytest.skip(f"JAX without CUDA: {error}")
    x = jax.device_put(np.full((2048, 2048), 0.01, np.float32), device)
    other = jax.device_put(np.full((2048, 2048), 5, np.float32), device)
    slowly = jax.jit(lambda a: jax.lax.fori_loop(0, 200, lambda _, b: 0.05 * (a @ b) + a, a))
    want = np.asarray(slowly(jax.block_until_ready(cupylut.gelu(x))))
    for _ in range(5):
        y = slowly(cupylut.gelu(x))
        overwriting = [cupylut.gelu(other) for _ in range(4)]
        assert np.array_equal(np.asarray(y), want)
        del overwriting
