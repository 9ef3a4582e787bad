"""JAX arrays on the CPU: what is viewed, what comes back, what is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax  # noqa: TID251
import jax.numpy as jnp  # noqa: TID251
import numpy as np
import pytest
from samples import same, values

import cupylut
from cupylut import arrays, ops, tabulate
from cupylut.dtypes import BFLOAT16


def on_cpu(x: Any) -> jax.Array:
    """The array as JAX's on the CPU, where JAX may have a GPU too."""
    return jax.device_put(x, jax.devices("cpu")[0])


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32])
@pytest.mark.parametrize("shape", [(4, 6), (), (0, 3), (1, 5)])
def test_jax_arrays_keep_kind_dtype_device_and_values(dtype: Any, shape: tuple[int, ...]) -> None:
    content = values(shape, dtype)
    x = on_cpu(content)
    y = cupylut.gelu(x)
    assert isinstance(y, jax.Array)
    assert y.dtype == dtype
    assert y.devices() == x.devices()
    assert same(np.asarray(y), cupylut.gelu(content))
    assert same(np.asarray(x), content)
    if shape == (4, 6):
        assert same(np.asarray(cupylut.gelu(x.T[::2])), cupylut.gelu(content.T[::2].copy()))


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16, np.float32])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (100, 1000)])
def test_neither_the_input_nor_the_result_is_copied(
    dtype: Any, shape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = on_cpu(values(shape, dtype))
    view = arrays.library_of(x).view(x)
    assert view.ctypes.data == x.unsafe_buffer_pointer()
    assert not view.flags.writeable
    filled = []
    evaluate = ops._evaluate
    monkeypatch.setattr(
        ops, "_evaluate", lambda *a: (filled.append([v.ctypes.data for v in a[1:]]), evaluate(*a))
    )
    y = cupylut.gelu(x)
    assert filled == [[x.unsafe_buffer_pointer(), y.unsafe_buffer_pointer()]]


def test_jax_results_are_not_overwritten_by_later_ones() -> None:
    first = cupylut.gelu(on_cpu(np.full(1000, 2, np.float32)))
    before = np.array(first)
    for _ in range(10):
        cupylut.gelu(on_cpu(np.full(1000, 3, np.float32)))
    assert same(np.asarray(first), before)


@pytest.mark.parametrize(
    ("dtype", "want", "wide"),
    [
        (jnp.bool, jnp.float16, jnp.float16),
        (jnp.uint8, jnp.float16, jnp.float16),
        (jnp.int16, jnp.float32, jnp.float32),
        (jnp.int32, jnp.float32, jnp.float64),
    ],
)
def test_jax_integers_promote_as_far_as_x64_allows(dtype: Any, want: Any, wide: Any) -> None:
    numbers = np.arange(100).astype(dtype)
    x = on_cpu(numbers)
    y = cupylut.sigmoid(x)
    assert y.dtype == want
    assert same(np.asarray(y), cupylut.sigmoid(numbers.astype(want)))
    with jax.enable_x64(True):
        assert cupylut.sigmoid(x).dtype == wide
        double = jnp.array([1.0], jnp.float64)
        assert same(np.asarray(cupylut.gelu(double)), cupylut.gelu(np.array([1.0])))


def test_float64_arrays_stay_float64_where_they_are_used_outside_of_x64() -> None:
    content = np.linspace(-4, 4, 24).reshape(2, 12)
    with jax.enable_x64(True):
        x = on_cpu(content)
    for call in (
        cupylut.gelu,
        cupylut.swiglu,
        lambda x: cupylut.swiglu(x, x),
        lambda x: cupylut.fused("gelu", x, bias=x[0], scale=x[1], residual=x),
        tabulate("silu", "float64"),
    ):
        for y in (call(x), jax.jit(call)(x)):
            assert y.dtype == np.float64
            np.testing.assert_allclose(np.asarray(y), call(content), rtol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jnp.ones(3, jnp.complex64), "an array of complex64 is not supported"),
        (lambda: jnp.ones(3, jnp.float8_e4m3fn), "an array of float8_e4m3fn is not supported"),
        (lambda: jnp.ones(3, jnp.int4), "an array of int4 is not supported"),
        (lambda: jax.random.key(0), "dtype"),
        (lambda: jax.ShapeDtypeStruct((3,), jnp.float32), "ShapeDtypeStruct is not a JAX array"),
    ],
)
def test_other_jax_objects_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cupylut.gelu(make())


class Spread:
    """A JAX array's answers about where it is, for devices that are not here."""

    def __init__(self, *platforms: str) -> None:
        self.platforms = platforms

    def devices(self) -> set[Any]:
        return {type("Device", (), {"platform": platform})() for platform in self.platforms}


@pytest.mark.parametrize(
    ("platforms", "message"),
    [
        (("cpu", "cpu"), "spread over several devices: call cupylut under jax.jit"),
        (("tpu",), "a JAX array on .*: call cupylut under jax.jit"),
    ],
)
def test_jax_arrays_elsewhere_are_refused(
    platforms: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "Array", Spread)
    monkeypatch.setattr(Spread, "__module__", "jax.array")
    arrays._library.cache_clear()
    with pytest.raises(TypeError, match=message):
        cupylut.gelu(Spread(*platforms))


# ---- several arrays -----------------------------------------------------------------------------

eagerly_and_compiled = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit])


@eagerly_and_compiled
def test_arrays_of_numpy_are_taken_beside_jaxs(compiled: Any) -> None:
    content, row = values((3, 4), np.float32), values(4, np.float32)
    x, in_jax = on_cpu(content), on_cpu(row)

    def fused(x: Any, row: Any) -> Any:
        return cupylut.fused("gelu", x, bias=row, scale=row, residual=content)

    y = compiled(lambda x: fused(x, row))(x)
    assert isinstance(y, jax.Array)
    assert same(np.asarray(y), np.asarray(compiled(fused)(x, in_jax)))
    y = compiled(lambda x: cupylut.swiglu(x, content))(x)
    assert same(np.asarray(y), np.asarray(compiled(cupylut.swiglu)(x, x)))
    with pytest.raises(TypeError, match=r"x is a numpy\.ndarray, bias a jax\.Array: give one kind"):
        compiled(lambda row: cupylut.fused("gelu", content, bias=row))(in_jax)


@eagerly_and_compiled
def test_numbers_of_no_dtype_in_particular_take_that_of_the_others(compiled: Any) -> None:
    x, row = on_cpu(values((3, 4), BFLOAT16)), jnp.full(4, 0.1)
    assert row.weak_type

    def fused(x: Any, row: Any) -> Any:
        return cupylut.fused("gelu", x, bias=row, scale=row, residual=row + jnp.zeros_like(x))

    y = compiled(fused)(x, row)
    assert y.dtype == BFLOAT16
    assert same(np.asarray(y), np.asarray(compiled(fused)(x, row.astype(BFLOAT16))))
    for gate, up in ((row, x[0]), (x[0], row)):
        y = compiled(cupylut.swiglu)(gate, up)
        want = compiled(cupylut.swiglu)(gate.astype(BFLOAT16), up.astype(BFLOAT16))
        assert same(np.asarray(y), np.asarray(want))


# ---- several devices ----------------------------------------------------------------------------


def on_four_devices(program: str) -> None:
    """Run a program in a process of its own, whose CPU is four devices to JAX."""
    start = "import jax, jax.numpy as jnp, numpy as np, cupylut, pytest\ndevices = jax.devices()\n"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", start + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | flags,
    )
    assert done.returncode == 0, done.stderr


SHARDED = """
from jax.sharding import Mesh, NamedSharding, PartitionSpec
mesh = Mesh(np.array(devices), ("rows",))
sharding = NamedSharding(mesh, PartitionSpec("rows"))
x = np.linspace(-5, 5, 64, dtype=np.float32).reshape(8, 8)
there = jax.device_put(x, sharding)
assert len(there.devices()) == 4
with pytest.raises(TypeError, match="over several devices: call cupylut under jax.jit"):
    cupylut.gelu(there)
y = jax.jit(cupylut.gelu)(there)
assert y.sharding.is_equivalent_to(sharding, 2)
assert np.asarray(y).tobytes() == cupylut.gelu(x).tobytes()
z = jax.shard_map(cupylut.gelu, mesh=mesh, in_specs=PartitionSpec("rows"),
                  out_specs=PartitionSpec("rows"))(there)
assert np.asarray(z).tobytes() == cupylut.gelu(x).tobytes()
"""


def test_sharded_arrays_stay_where_they_are() -> None:
    on_four_devices(SHARDED)


RESULTS = """
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P, SingleDeviceSharding
calls = [cupylut.gelu, cupylut.swiglu, lambda x: cupylut.swiglu(x, x),
         lambda x: cupylut.fused("gelu", x, bias=x[0], scale=2.0)]
spread = NamedSharding(Mesh(np.array(devices), ("rows",)), P("rows"))
x = jnp.linspace(-4, 4, 32).reshape(4, 8)
with jax.default_device(devices[3]):
    elsewhere = x + 0
for call in calls:
    y = call(x)
    assert not y.committed
    assert (y + jax.device_put(y, spread)).sharding == spread
    assert (y + jax.device_put(y, devices[2])).devices() == {devices[2]}
    assert call(elsewhere).devices() == elsewhere.devices() == {devices[3]}
    for sharding in (
        SingleDeviceSharding(devices[1]),
        SingleDeviceSharding(devices[1], memory_kind="unpinned_host"),
        NamedSharding(Mesh(np.array(devices[1:2]), ("rows",)), P("rows", None)),
    ):
        y = call(jax.device_put(x, sharding))
        assert y.committed and y.sharding == sharding, y.sharding
"""


def test_results_are_as_bound_to_a_device_as_the_input() -> None:
    on_four_devices(RESULTS)


OPERANDS = """
x = jnp.linspace(-4, 4, 8)
one, other = (jax.device_put(x, device) for device in devices[1:3])
fused = lambda x, bias: cupylut.fused("gelu", x, bias=bias)
for call, first, second in ((cupylut.swiglu, "gate", "up"), (fused, "x", "bias")):
    for operands in ((x, one), (one, x), (one, one)):
        y = call(*operands)
        assert y.devices() == {devices[1]} and y.committed
        assert (y == call(x, x)).all()
    with pytest.raises(ValueError, match=f"{first} lies on .*1.*, {second} on .*2.*: move one"):
        call(one, other)
"""


def test_operands_that_may_be_moved_go_to_those_that_may_not() -> None:
    on_four_devices(OPERANDS)


def test_float64_from_elsewhere_takes_operands_of_no_dtype_and_numpys() -> None:
    """Made under enable_x64 and used outside, where JAX would narrow what joins it."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.linspace(-4, 4, 4))
    weak = jnp.full(4, 0.5)
    assert weak.weak_type
    row, y = np.linspace(1, 2, 4), np.full(4, 0.5)
    for result, want in (
        (cupylut.swiglu(x, weak), cupylut.swiglu(np.asarray(x), y)),
        (cupylut.fused("gelu", x, residual=weak), cupylut.fused("gelu", np.asarray(x), residual=y)),
        (cupylut.fused("gelu", x, bias=row), cupylut.fused("gelu", np.asarray(x), bias=row)),
    ):
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, want)


def test_complex_operands_of_no_dtype_are_refused() -> None:
    with pytest.raises(TypeError, match="complex64 is not supported"):
        cupylut.swiglu(jnp.ones(4), jnp.full(4, 2 + 1j))
