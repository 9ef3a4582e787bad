"""tables/full.py and kernels/full.cuh: the results of all inputs, in the order of their patterns.

That they are correctly rounded is test_direct.py's business: the results are the same.
"""

from pathlib import Path

import numpy as np
import pytest
from gpu import cupy
from host_cuda import SANITIZERS, Program
from samples import assert_same_bits

import cupylut
from cupylut import FullTable, tabulate
from cupylut.dtypes import DTYPES, all_inputs

every_dtype = pytest.mark.parametrize("dtype", DTYPES[:2], ids=lambda d: d.name)


@every_dtype
def test_every_result_is_the_direct_table_s(dtype: np.dtype, tmp_path: Path) -> None:
    x = all_inputs(dtype)
    direct, table = (tabulate("mish", dtype, kind=kind) for kind in ("direct", "full"))
    assert_same_bits(table(x), direct(x))
    assert table.report == direct.report
    table.save(tmp_path / "table.npz")
    again = cupylut.load(tmp_path / "table.npz")
    assert isinstance(again, FullTable)
    assert_same_bits(again(x), direct(x))
    assert repr(again) == f"FullTable(mish, {dtype.name}, 131,072 bytes)"


@every_dtype
def test_kernel_gives_every_result(dtype: np.dtype, compiler: str) -> None:
    table = tabulate("selu", dtype, kind="full")
    x = all_inputs(dtype)
    assert_same_bits(Program().elementwise(table, x, block=128), table(x))
    assert_same_bits(Program(in_shared=False).elementwise(table, x[1:], x_offset=1), table(x[1:]))


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_under_sanitizers(sanitizer: str, compiler: str) -> None:
    table = tabulate("silu", "bfloat16", kind="full")
    x = all_inputs(table.dtype)[::61]
    y = Program(sanitizer).elementwise(table, x, grid=2, block=96, x_offset=1, y_offset=3)
    assert_same_bits(y, table(x))


def test_only_for_16_bits() -> None:
    with pytest.raises(ValueError, match="float16 or bfloat16, not for float32"):
        tabulate("gelu", "float32", kind="full")


@pytest.mark.gpu(interpreted=True)
@every_dtype
def test_device_gives_every_result(dtype: np.dtype) -> None:
    table = tabulate("mish", dtype, kind="full")
    x = all_inputs(dtype)
    assert_same_bits(cupy.asnumpy(table(cupy.asarray(x))), table(x))
