"""Quantised tables on a CUDA device: CuPy, PyTorch and JAX, all inputs, the host's bits."""

from typing import Any

import jax  # noqa: TID251
import numpy as np
import pytest
import torch  # noqa: TID251
from gpu import cupy, fewer
from samples import bits
from test_quantized import as_bits, as_tensor, by_pair

from cupylut import QuantizedTable, quantized
from cupylut.dtypes import all_inputs

pytestmark = pytest.mark.gpu(interpreted=True)


def table_for(dtype: np.dtype, out_dtype: np.dtype) -> QuantizedTable:
    return quantized("gelu", dtype, out_dtype, scale=0.05, out_scale=0.02)


def to_cupy(x: np.ndarray) -> Any:
    """CuPy keeps 8-bit floats under their dtype, but does not copy them to the device."""
    return cupy.asarray(bits(x)).view(x.dtype)


def from_cupy(x: Any) -> np.ndarray:
    return x.view(f"u{x.itemsize}").get()


@by_pair
def test_cupy(dtype: np.dtype, out_dtype: np.dtype) -> None:
    table, x = table_for(dtype, out_dtype), all_inputs(dtype)
    there = to_cupy(x)
    for view in (np.s_[:], np.s_[1:], np.s_[1:-2], np.s_[::3], np.s_[:1], np.s_[:0]):
        y = table(there[view])
        assert y.dtype == out_dtype
        np.testing.assert_array_equal(from_cupy(y), table.results[view])
    large = to_cupy(np.resize(x, fewer(1_000_003, 1003)))
    out = to_cupy(np.zeros(2 * large.size, out_dtype))
    for place in (np.s_[: large.size], np.s_[5 : large.size + 5], np.s_[::2]):
        target = out[place]
        assert table(large, out=target) is target
        np.testing.assert_array_equal(from_cupy(target), np.resize(table.results, large.size))
    table(large[3:], out=out[3 : large.size])  # both as far from the boundary of a vector
    np.testing.assert_array_equal(
        from_cupy(out[3 : large.size]), np.resize(table.results, large.size)[3:]
    )
    if dtype == out_dtype:
        table(large, out=large)
        np.testing.assert_array_equal(from_cupy(large), np.resize(table.results, large.size))
    np.testing.assert_array_equal(from_cupy(there), bits(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch without CUDA")
@by_pair
def test_torch(dtype: np.dtype, out_dtype: np.dtype) -> None:
    table = table_for(dtype, out_dtype)
    x = as_tensor(all_inputs(dtype)[:240]).cuda().reshape(12, 20)
    want = table.results[:240].reshape(12, 20)
    for tensor, result in ((x, want), (x.T, want.T), (x[::2], want[::2]), (x[0, 0], want[0, 0])):
        y = table(tensor)
        assert y.dtype == getattr(torch, out_dtype.name)
        assert y.device == x.device
        np.testing.assert_array_equal(as_bits(y), result)
    out = torch.empty_like(table(x)).T
    assert table(x.T, out=out) is out
    np.testing.assert_array_equal(as_bits(out), want.T)


@by_pair
def test_jax(dtype: np.dtype, out_dtype: np.dtype) -> None:
    try:
        gpu = jax.devices("cuda")[0]
    except RuntimeError as error:
        pytest.skip(f"JAX without CUDA: {error}")
    table = table_for(dtype, out_dtype)
    x = jax.device_put(all_inputs(dtype), gpu)
    for y in (table(x), jax.jit(table)(x)):
        assert y.devices() == x.devices()
        assert y.dtype == out_dtype
        np.testing.assert_array_equal(bits(np.asarray(y)), table.results)
