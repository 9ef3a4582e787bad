"""The CUDA kernels compiled as C++ and run on the CPU, one thread a CUDA thread.

`Program` builds a program, such as `elementwise.cpp`, around the sources in kernels/ (or a changed
copy of them) and runs it in a process of its own, plain or under a sanitizer.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cupylut import compiler, device, rows
from cupylut.build import build_defines
from cupylut.fused import launches
from cupylut.tables import LinearTable, Table
from cupylut.tuning import TUNINGS, Tuning

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

FLAGS = (
    *("-std=c++20", "-O1", "-g1", "-pthread"),
    *("-ffp-contract=off", "-frounding-math"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
    *("-Wno-maybe-uninitialized", "-Wno-unknown-warning-option"),  # the first is GCC's alone
)

SANITIZERS = ("address,undefined", "thread")


FINDINGS = {
    None: "differ",
    "undefined": "misaligned address",
    "address": "AddressSanitizer",
    "thread": "data race",
}


class HostError(AssertionError):
    """A program that ended with an error, such as a sanitizer's finding."""


def mutated(place: Path, file: str, old: str, new: str) -> Path:
    """A copy of the kernels with one change."""
    for source in KERNELS.iterdir():
        if source.suffix in (".cu", ".cuh"):
            text = source.read_text(encoding="utf-8")
            if source.name == file:
                assert text.count(old) >= 1, f"{old!r} is no longer in {file}: update this test"
                text = text.replace(old, new)
            (place / source.name).write_text(text, encoding="utf-8")
    return place


@cache
def folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="cupylut-host-")


def _compile(flags: tuple[str, ...], source: Path, output: Path) -> None:
    command = [COMPILER, *FLAGS, *flags, str(source), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cache
def _shared(sanitizer: tuple[str, ...]) -> tuple[str, ...]:
    """What all programs share, compiled once: host.cpp, and the headers that host.h includes."""
    place = Path(tempfile.mkdtemp(dir=folder().name))
    header = place / "precompiled.h"
    header.write_text('#include "host.h"\n', encoding="utf-8")
    flags = (*sanitizer, f"-I{HERE}")
    _compile((*flags, "-x", "c++-header"), header, place / "precompiled.h.gch")
    _compile((*flags, "-include", str(header), "-c"), HERE / "host.cpp", place / "host.o")
    return ("-include", str(header), str(place / "host.o"))


@cache
def build(
    name: str, defines: tuple[tuple[str, str], ...], sanitizer: str | None, kernels: Path
) -> Path:
    """Compile tests/host_cuda/<name>.cpp with these macros."""
    place = Path(tempfile.mkdtemp(dir=folder().name))
    source = place / f"{name}.cpp"
    text = (HERE / f"{name}.cpp").read_text(encoding="utf-8")
    source.write_text(compiler.define(text, dict(defines)), encoding="utf-8")
    program = place / name
    flags = (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all") if sanitizer else ()
    _compile((*flags, f"-I{kernels}", f"-I{HERE}", *_shared(flags)), source, program)
    return program


def run(program: Path, arguments: list[object], stdin: bytes) -> bytes:
    """What a program writes for what it reads."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
    if done.returncode == 3:
        raise HostError("memory beside the arrays was written")
    if done.returncode != 0:
        raise HostError(f"exit status {done.returncode}: {done.stderr.decode()[:2000]}")
    return done.stdout


@dataclass(frozen=True)
class Program:
    """How to build: with a sanitizer or not, from which kernels, for which GPUs, tables where."""

    sanitizer: str | None = None
    kernels: Path = KERNELS
    tuning: Tuning = TUNINGS[75]
    long_index: bool = False
    in_shared: bool = True

    def _build(self, name: str, defines: dict[str, str]) -> Path:
        defines = defines | self.tuning.defines(self.long_index)
        if not self.in_shared:
            defines["IN_SHARED"] = "false"
        return build(name, tuple(defines.items()), self.sanitizer, self.kernels)

    def elementwise(
        self,
        table: Table,
        x: np.ndarray,
        *,
        grid: int = 3,
        block: int = 64,
        x_offset: int = 0,
        y_offset: int | None = 0,
    ) -> np.ndarray:
        """table(x) by kernels/elementwise.cu or quantized.cu; y_offset None works in place."""
        program = self._build(table.entry_point, device.defines((table,), table.dtype))
        y_place = -1 if y_offset is None else y_offset
        arguments = [x.size, len(table.entries), grid, block, x_offset, y_place]
        stdin = table.parameters.tobytes() + table.entries.tobytes() + x.tobytes()
        return np.frombuffer(run(program, arguments, stdin), table.result_dtype)

    def product(
        self,
        tables: tuple[Table, ...],
        *arrays: np.ndarray,
        grid: int = 3,
        block: int = 64,
        offset: int = 0,
        out_offset: int | None = 0,
        gate_first: bool = True,
    ) -> np.ndarray:
        """By kernels/gated.cu: z·f(x) of x, z and one table, or of x, z, g and two its gradient.

        The gradient has a row for x and one for z. out_offset None works in place. With x and z
        packed in one array of two dimensions, in either order, results are flat.
        """
        first = arrays[0]
        # Without a slope it is of the type that most slopes are, so that one build serves both.
        slope = {
            "SLOPE": f"LinearTable<{'double' if first.dtype.itemsize == 8 else 'float'}, true>"
        }
        program = self._build("gated", slope | device.defines(tables, first.dtype))
        lengths = [len(table.entries) for table in tables]
        place = -1 if out_offset is None else out_offset
        lengths = [*lengths, 0][:2]
        stdin = [table.parameters.tobytes() + table.entries.tobytes() for table in tables]
        width = 0
        if packed := first.ndim == 2:
            width = first.shape[1] // 2
            stdin.append(rows.divisor(width).tobytes())
        count = first.size // 2 if packed else first.size
        arguments = [count, *lengths, grid, block, offset, place]
        arguments.append(width if gate_first else -width)
        stdin += [array.tobytes() for array in arrays]
        out = np.frombuffer(run(program, arguments, b"".join(stdin)), first.dtype)
        return out if packed or len(tables) == 1 else out.reshape(2, -1)

    def fused(
        self,
        table: Table,
        x: np.ndarray,
        operands: dict[str, np.ndarray | float | None],
        *,
        grid: int = 3,
        block: int = 64,
        offset: int = 0,
        out_offset: int | None = 0,
    ) -> np.ndarray:
        """By kernels/fused.cu, for the operands of `fused.evaluate` and x of two dimensions."""
        names = ("bias", "factor", "scale", "residual")
        out = np.empty_like(x)
        (launch,) = launches(table, x, *(operands.get(name) for name in names), out)
        entry, (_, *arrays, _), by_value = launch
        macros = dict.fromkeys(entry.split("+")[1:], "true")
        program = self._build("fused", device.defines((table,), x.dtype) | macros)
        place = -1 if out_offset is None else out_offset
        arguments = [x.size, len(table.entries), grid, block, offset, place]
        stdin = [table.parameters, table.entries, *by_value, x]
        stdin += [array for array in arrays if array is not None]
        stdin = b"".join(value.tobytes() for value in stdin)
        return np.frombuffer(run(program, [*arguments, x.shape[1]], stdin), x.dtype)

    def build(self, table: LinearTable) -> tuple[np.ndarray, np.ndarray]:
        """Node values and lines by kernels/build.cu."""
        defines = tuple(build_defines(table.name).items())
        program = build("build", defines, self.sanitizer, self.kernels)
        balanced = int(table.nodes == "balanced")
        geometry = (f"{x:.17g}" for x in (table.centre, table.step))
        arguments = [table.size, *geometry, balanced, table.real.itemsize]
        tails = np.array([table.left, table.right], np.float64)
        out = run(program, arguments, tails.tobytes())
        values = np.frombuffer(out[: table.size * 8])
        return values, np.frombuffer(out[table.size * 8 :], table.real).reshape(-1, 2)
