"""PyTorch's streams, graphs and compiler and JAX's lifetimes on a CUDA device."""

from typing import Any

import jax  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from samples import by_dtype, values
from test_gpu_arrays import CYCLES, Torch, needs_torch, same

import cupylut

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
    with pytest.raises(ValueError, match="a tensor requires grad"):
        cupylut.gelu(parameter)
    with torch.no_grad():
        y = cupylut.gelu(parameter)
    assert type(y) is torch.Tensor
    assert same(y.cpu().numpy(), cupylut.gelu(content))
    with torch.inference_mode():
        assert same(cupylut.gelu(x).cpu().numpy(), cupylut.gelu(content))
    negative = torch._neg_view(x)
    assert torch.equal(cupylut.gelu(negative), cupylut.gelu(-x))


@needs_torch
def test_torch_compile_breaks_its_graph_and_is_right() -> None:
    x = from_host().nan_to_num()
    compiled = torch.compile(lambda x: cupylut.gelu(x * 2) + 1, backend="eager")
    assert torch.equal(compiled(x), cupylut.gelu(x * 2) + 1)


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
        x = jax.device_put(content, device) + 0
        results.append(cupylut.gelu(x))
        del x
        jax.device_put(np.full_like(content, 5), device).block_until_ready()
    for y in results:
        assert same(np.asarray(y), want)
    with pytest.raises(TypeError, match="JAX arrays are immutable"):
        cupylut.gelu(results[0], out=results[1])
