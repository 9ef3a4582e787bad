"""Files whose checksum is right for contents that are no table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cupylut
from cupylut.functions import FUNCTIONS
from cupylut.tables import UnroundedTable
from cupylut.tables.table import Table, read, write

MAKE: dict[str, Callable[[], Table]] = {
    "compact": lambda: cupylut.tabulate("gelu", "float16", kind="compact"),
    "compact in bfloat16": lambda: cupylut.tabulate("silu", "bfloat16", kind="compact"),
    "direct": lambda: cupylut.tabulate("mish", "float16"),
    "full": lambda: cupylut.tabulate("mish", "bfloat16", kind="full"),
    "gate": lambda: cupylut.tabulate("gelu"),
    "polynomial": lambda: cupylut.tabulate("mish"),
    "polynomial with an error": lambda: cupylut.tabulate("tanh", "float64", error=1e-3),
    "linear": lambda: cupylut.tabulate("gelu", size=64),
    "quantized": lambda: cupylut.quantized("gelu", "int8", "int8", scale=0.1, out_scale=0.1),
    "unrounded": lambda: UnroundedTable.build(FUNCTIONS["mish"]),
}


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Table:
    return MAKE[request.param]()


def bits(table: Table) -> bytes:
    return table.entries.tobytes() + table.parameters.tobytes() + table.struct.encode()


@pytest.mark.parametrize("table", MAKE, indirect=True)
def test_what_was_written_is_read_back(table: Table, tmp_path: Path) -> None:
    table.save(tmp_path / "table")
    assert bits(cupylut.load(tmp_path / "table")) == bits(table)


Contents = tuple[dict[str, Any], np.ndarray]
Forge = Callable[[dict[str, Any], np.ndarray], Contents]


def fields(**changes: Any) -> Forge:
    return lambda fields, values: (fields | changes, values)


def of_left(**changes: Any) -> Forge:
    return lambda fields, values: (fields | {"left": fields["left"] | changes}, values)


def values(change: Callable[[np.ndarray], np.ndarray]) -> Forge:
    return lambda fields, values: (fields, change(values))


# A table, what becomes of its file, and what is said of that
FORGED: list[tuple[str, Forge, str]] = [
    ("compact", values(lambda v: v[:20]), "32 segments laid out, 20 given"),
    ("compact", values(lambda v: np.vstack([v, v])), "32 segments laid out, 64 given"),
    ("compact", values(lambda v: v[:, :3]), "polynomials are not those of gelu in float16"),
    ("compact", values(lambda v: v[:, :0]), "not enough values"),
    ("compact", values(lambda v: v.astype(float)), "numbers of float32 expected"),
    ("compact", values(lambda v: v * v), "polynomials are not those of gelu in float16"),
    ("compact", fields(scale=-1.0), "are not those of gelu|segments laid out"),
    ("compact", fields(limit=np.nan), "segments laid out, 32 given"),
    ("compact", fields(limit=np.inf), "segments laid out, 32 given"),
    ("compact", fields(shift=40), "1 segments laid out, 32 given"),
    ("compact", fields(shift=-1), "-1 out of bounds"),
    ("compact", fields(squarings=10**9), "1000000000 squarings"),
    ("compact", fields(squarings=0), "polynomials are not those of gelu in float16"),
    ("compact", fields(name="silu"), "polynomials are not those of silu in float16"),
    ("compact", fields(name="foo"), "foo"),
    ("compact", fields(dtype="float32"), "for float16 or bfloat16, not for float32"),
    ("compact in bfloat16", fields(dtype="float16"), "are not those of silu in float16"),
    ("compact in bfloat16", values(lambda v: v[:-1]), "32 segments laid out, 31 given"),
    ("direct", fields(dtype="float32"), "for dtype 'float32': choose one of float16, bfloat16"),
    ("full", fields(dtype="float64"), "for dtype 'float64': choose one of float16, bfloat16"),
    ("full", values(lambda v: v[:-1]), r"\(65,536\) numbers of uint16 expected"),
    ("gate", fields(dtype="float64"), "for dtype 'float64': choose one of float32"),
    ("gate", fields(limit=1.0), "numbers of uint32 expected"),
    ("gate", fields(limit=np.inf), "limit=inf.*give positive numbers"),
    ("gate", fields(split=np.nan), "split=nan.*give positive numbers"),
    ("gate", fields(limit=14.375 + 1e-12), "limit=14.37.*give positive numbers of float32"),
    ("gate", fields(step=0.3), "step=0.3.*a power of 2"),
    ("polynomial", values(lambda v: v[:-1]), "segments of the right side are not among 253 rows"),
    ("polynomial", values(lambda v: v[:, :2]), "2 numbers a row are no polynomial"),
    ("polynomial", of_left(entry=-1), "segments of the left side are not among"),
    ("polynomial", of_left(limit=np.nan), "left side cannot be laid out"),
    ("polynomial", of_left(offset=np.inf), "left side cannot be laid out"),
    ("polynomial", of_left(offset=-1.0), "left side cannot be laid out"),
    ("polynomial", of_left(bits=40), "left side cannot be laid out"),
    ("polynomial", of_left(bits=-20), "left side cannot be laid out"),
    ("polynomial", of_left(scale="one"), "could not convert"),
    ("polynomial", of_left(more=1.0), "no table of a known kind"),
    ("polynomial with an error", of_left(bits=20), "left side cannot be laid out"),
    ("polynomial with an error", fields(dtype="float16"), "choose one of float32, float64"),
    ("linear", fields(left=[np.nan, 0.0]), "left=.* is not a tail"),
    ("linear", fields(right=[1.0]), "no table of a known kind"),
    ("linear", values(lambda v: v[:1]), "2 to 65,536 nodes"),
    ("quantized", fields(scale=-1.0), "scale=-1.0: give a positive number"),
    ("quantized", fields(out_scale=np.nan), "scale=nan: give a positive number"),
    ("quantized", fields(dtype="float16"), r"\(65,536\) numbers of uint8 expected"),
    ("unrounded", fields(windows=[0, 100, 100]), "not those of its parabola and windows"),
    ("unrounded", fields(windows=[-1, 20000, 20000]), "are no magnitudes"),
    ("unrounded", fields(windows=[1, 2]), "no table of a known kind"),
    ("unrounded", fields(identity=70000), "are no magnitudes"),
    ("unrounded", fields(identity=-1), "are no magnitudes"),
    ("unrounded", fields(identity=np.inf), "no table of a known kind"),
    ("unrounded", fields(parabola=[0.0, 0.0, 0.0]), "not those of its parabola and windows"),
    ("unrounded", values(lambda v: v + np.float32(1)), "not those of its parabola and windows"),
]


@pytest.mark.parametrize(("table", "forge", "message"), FORGED, indirect=["table"])
def test_forged_files_are_refused(table: Table, forge: Forge, message: str, tmp_path: Path) -> None:
    table.save(tmp_path / "table")
    write(tmp_path / "table", *forge(*read(tmp_path / "table")))
    with pytest.raises(ValueError, match=message):
        cupylut.load(tmp_path / "table")
