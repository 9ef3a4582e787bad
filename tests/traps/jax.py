"""JAX's arrays on the CPU."""

import gc

import jax  # noqa: TID251
import jax.numpy as jnp  # noqa: TID251
import numpy as np
import pytest

import cupylut
from cupylut import arrays

from . import BFLOAT16, WANT, X, bits


def trap_jax_arrays_never_change() -> None:
    x = jnp.asarray(X)
    view = np.asarray(x)
    with pytest.raises(TypeError, match="JAX arrays are immutable"):
        cupylut.gelu(x, out=x)
    with pytest.raises(TypeError, match="it must be an array of x's kind"):
        cupylut.gelu(X, out=x)
    with pytest.raises(ValueError, match="out is read-only"):
        cupylut.gelu(view, out=view)
    assert bits(cupylut.gelu(x)) == bits(WANT)
    assert bits(x) == bits(X)


def trap_bfloat16_is_a_view() -> None:
    x = jnp.asarray(X, jnp.bfloat16)
    view = arrays.library_of(x).view(x)
    assert view.dtype == BFLOAT16
    assert view.ctypes.data == x.unsafe_buffer_pointer()
    assert bits(cupylut.gelu(x)) == bits(cupylut.gelu(X.astype(BFLOAT16)))


def trap_memory_that_was_freed() -> None:
    x = jnp.asarray(X)
    y = cupylut.gelu(x)
    x.delete()
    gc.collect()
    reused = [jnp.full(12, 7.0) for _ in range(100)]
    assert bits(y) == bits(WANT)
    del reused
    with pytest.raises(RuntimeError, match="deleted"):
        cupylut.gelu(x)


def trap_results_that_are_donated() -> None:
    y = cupylut.gelu(jnp.asarray(X))
    z = jax.jit(lambda x: x + 1, donate_argnums=0)(y)  # may take over memory that was NumPy's
    del y
    gc.collect()
    reused = [np.full_like(X, 7) for _ in range(100)]
    assert bits(z) == bits(WANT + 1)
    del reused


def trap_size_0_and_0_d() -> None:
    for shape in ((), (0,), (3, 0), (1, 1)):
        x, want = jnp.full(shape, 0.5), np.full(shape, cupylut.gelu(np.float32(0.5)))
        assert bits(cupylut.gelu(x)) == bits(want)
        assert bits(jax.jit(cupylut.gelu)(x)) == bits(want)


def trap_subnormal_numbers_that_xla_flushes() -> None:
    x = np.float32([1e-39, -1e-39, 1e-44, -13.5])
    want = cupylut.gelu(x)
    assert (np.abs(want) < 2.0**-126).all()
    assert want.all()
    assert bits(jax.jit(cupylut.gelu)(x)) == bits(want)
    assert bits(cupylut.gelu(jnp.asarray(x))) == bits(want)
