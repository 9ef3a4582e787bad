"""A kernel's lookup compared with the C library at millions of float32 numbers, or at all.

`compare` runs tests/host_cuda/exhaustive.cpp. `python tests/exhaustive.py` does so at all numbers
for the polynomial tables in cupylut/data/, or those that are named, and writes the largest error
into their files.
"""

import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import host_cuda
import numpy as np

from cupylut import data
from cupylut.dtypes import FLOAT32
from cupylut.names import with_derivatives
from cupylut.tables import GateTable, PolynomialTable
from cupylut.tables.shipped import file_name, shipped

STRIDE = 509  # prime, so that all low bits of the patterns occur
FINITE = 2 * 0x7F800000  # how many float32 numbers are

# Where either value will do, and as near to it as the kernel's sums are rounded.
JUMPS = {
    "hardswish_derivative": 3.0,
    "gelu_10_derivative": 10.0,
    "hardswish_second_derivative": 3.0,
}

POLYNOMIALS = [
    name
    for name, f in with_derivatives().items()
    if shipped(PolynomialTable.kind, f, FLOAT32) is not None
]


class Found(NamedTuple):
    """What the program prints."""

    worst: float
    at: float
    above_half: int
    above_one: int
    tried: int
    special: tuple[int, int, int, int]
    nans: int


def _compile(*arguments: str | Path) -> None:
    """With hardware multiply-adds where there are any: without, it takes hours."""
    cpuinfo = Path("/proc/cpuinfo")
    fma = cpuinfo.is_file() and " fma " in cpuinfo.read_text(encoding="utf-8")
    command = [
        *(host_cuda.COMPILER, "-std=c++20", "-O2", "-ffp-contract=off", "-pthread"),
        *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *(["-mfma"] if fma else [])),
        *map(str, arguments),
    ]
    subprocess.run(command, check=True)


@cache
def _references() -> Path:
    path = Path(tempfile.mkdtemp(dir=host_cuda.folder().name)) / "references.o"
    _compile("-c", host_cuda.HERE / "references.cpp", "-o", path)
    return path


@cache
def comparison(struct: str, kernels: Path = host_cuda.KERNELS) -> Path:
    """The program for tables of a struct."""
    path = Path(tempfile.mkdtemp(dir=host_cuda.folder().name)) / "exhaustive"
    flags = (f"-I{kernels}", f"-I{host_cuda.HERE}", f"-DTABLE={struct}")
    _compile(*flags, host_cuda.HERE / "exhaustive.cpp", _references(), "-o", path)
    return path


def compare(
    table: GateTable | PolynomialTable,
    boundaries: Iterable[int] = (),
    stride: int = STRIDE,
    *,
    kernels: Path = host_cuda.KERNELS,
) -> Found:
    """At both signs of every `stride`-th magnitude and of 4000 around each boundary's pattern."""
    around = np.asarray(boundaries, np.int64)
    ranges = np.stack([around - 2000, around + 2000], axis=1).ravel().clip(0, FINITE // 2)
    floor, jump = getattr(table, "floor", 0.0), JUMPS.get(table.name, 0.0)
    arguments = [table.name, len(table.entries), stride, floor, jump, *ranges]
    done = subprocess.run(
        [str(comparison(table.struct, kernels)), *map(str, arguments)],
        input=table.parameters.tobytes() + table.entries.tobytes(),
        capture_output=True,
        check=True,
    )
    worst, at, *counts = done.stdout.split()
    above_half, above_one, tried, *special, nans = map(int, counts)
    return Found(float(worst), float(at), above_half, above_one, tried, tuple(special), nans)


def shipped_polynomial(name: str) -> PolynomialTable:
    return PolynomialTable.build(with_derivatives()[name], FLOAT32)


def main(names: list[str]) -> None:
    for name in names:
        found = compare(shipped_polynomial(name), stride=1)
        print(f"{name}: {found.worst:.4f} ulp at {found.at!r}, {found.tried:,} inputs", flush=True)
        file = Path(data.__file__).parent / file_name(PolynomialTable.kind, name, FLOAT32)
        worst = math.ceil(found.worst * 1e4) / 1e4
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^(# worst_ulp = ).*$", rf"\g<1>{worst}", text)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or POLYNOMIALS)
