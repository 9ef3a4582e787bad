"""Dask arrays: lazy, mapped block by block, by each block's own library."""

import pickle
from typing import Any

import numpy as np
import pytest
from samples import by_dtype, same, values

import cupylut
from cupylut import Calibration, tabulate

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")


@by_dtype
def test_results_are_those_of_the_blocks(dtype: Any) -> None:
    content = values((7, 10), dtype)
    x = da.from_array(content, chunks=(3, 4))
    y = cupylut.gelu(x)
    assert type(y) is da.Array
    assert (y.dtype, y.shape, y.chunks) == (dtype, x.shape, x.chunks)
    assert same(y.compute(scheduler="threads"), cupylut.gelu(content))


def test_a_layer_is_named_after_the_function() -> None:
    x = da.zeros((6, 6), chunks=3, dtype=np.float32)
    linear, gate = tabulate("gelu", kind="linear"), tabulate("gelu")
    names = [f(x).name for f in (cupylut.gelu, cupylut.silu, linear, gate)]
    assert [name.partition("-")[0] for name in names] == ["gelu", "silu", "gelu", "gelu"]
    assert len(set(names)) == 4
    assert names == [f(x).name for f in (cupylut.gelu, cupylut.silu, linear, gate)]
    assert cupylut.elu(x, 0.5).name.startswith("elu(0.5)-")


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    read: list[int] = []

    def block(x: Any) -> Any:
        read.append(x.size)
        return x

    x = da.zeros((6, 6), chunks=3, dtype=np.float32).map_blocks(
        block, dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )
    y = cupylut.silu(cupylut.gelu(x))
    assert read == []
    y[:3].compute(scheduler="synchronous")
    assert read == [9, 9]


def test_dtypes_promote_as_in_numpy() -> None:
    for dtype in (bool, np.int8, np.int16, np.int64):
        content = np.arange(-4, 4).astype(dtype)
        y = cupylut.tanh(da.from_array(content, chunks=3))
        assert y.dtype == cupylut.tanh(content).dtype
        assert same(y.compute(scheduler="threads"), cupylut.tanh(content))


def test_shapes_that_are_not_known_yet() -> None:
    content = np.linspace(-4, 4, 20)
    x = da.from_array(content, chunks=6)
    assert same(
        cupylut.gelu(x[x > 0]).compute(scheduler="threads"), cupylut.gelu(content[content > 0])
    )
    none = da.zeros((0, 3), dtype=np.float32)
    assert cupylut.gelu(none).compute(scheduler="threads").shape == (0, 3)
    assert float(cupylut.gelu(x.max()).compute(scheduler="threads")) == cupylut.gelu(content.max())


def test_tables_and_workers() -> None:
    content = np.linspace(-4, 4, 1000, dtype=np.float32)
    x = da.from_array(content, chunks=300)
    table = tabulate("gelu", domain=(-3, 3))
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        assert same(table(x).compute(), table(content))
        assert same(cupylut.mish(x).compute(), cupylut.mish(content))
    assert same(pickle.loads(pickle.dumps(table(x))).compute(scheduler="threads"), table(content))


def test_what_does_not_work_says_so_at_once() -> None:
    x = da.zeros(10, chunks=5, dtype=np.float32)
    with pytest.raises(TypeError, match="use the returned array"):
        cupylut.gelu(x, out=np.zeros(10, np.float32))
    with pytest.raises(TypeError, match="complex128 is not supported"):
        cupylut.gelu(x.astype(complex))
    with pytest.raises(TypeError, match="this table is for float64 and the input gives float32"):
        tabulate("gelu", "float64")(x)
    with pytest.raises(TypeError, match="out is a dask"):
        cupylut.gelu(np.zeros(10, np.float32), out=x)
    with pytest.raises(TypeError, match="has no values yet"):
        Calibration(x)
    with pytest.raises(TypeError, match="is not a Dask array"):
        cupylut.gelu(x.to_delayed()[0])
