"""Kernels compiled without a GPU by NVRTC, and what their machine code says.

`cupy.cuda.compiler` asks for a device even to compile, so NVRTC is called directly, with the
options of cupylut/compiler.py and those that CuPy adds, but for its folders of headers.
"""

import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest

from cupylut import compiler, device
from cupylut.tables import Table
from cupylut.tuning import tuning

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
GENERATIONS = (75, 80, 90, 100)  # those whose instructions differ


@cache
def nvrtc():
    """CuPy's binding of NVRTC, which looks for the library when it is first used."""
    binding = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="no CuPy to compile with")
    try:
        binding.getVersion()
    except Exception as error:  # the library itself is missing
        pytest.skip(f"no NVRTC: {error}")
    return binding


def lookup_defines(table: Table) -> tuple[tuple[str, str], ...]:
    """What the table's entry point is compiled with."""
    return tuple(device.defines((table,), table.dtype).items())


@cache
def compile_kernel(name: str, defines: tuple[tuple[str, str], ...], architecture: int) -> bytes:
    """The cubin; raises AssertionError with the compiler's log for any error or warning."""
    macros = tuning(architecture).defines() | dict(defines)
    return compile_source(compiler.define(compiler.source(name), macros), name, architecture).cubin


class Compiled(NamedTuple):
    """A module as machine code, and as the PTX that this was made from."""

    cubin: bytes
    ptx: str


@cache
def compile_source(code: str, name: str, architecture: int) -> Compiled:
    """The same for the text of a file of that name."""
    program = nvrtc().createProgram(code, name, (), ())
    options = (*compiler.OPTIONS, "-ftz=true", f"-arch=sm_{architecture}")
    options = (*options, "--device-as-default-execution-space")
    try:
        nvrtc().compileProgram(program, options)
    except nvrtc().NVRTCError as error:
        raise AssertionError(nvrtc().getProgramLog(program)) from error
    log = nvrtc().getProgramLog(program).strip("\0\n ")
    assert not log, log
    # CuPy cuts the last byte off, as it does, rightly, for PTX.
    return Compiled(nvrtc().getCUBIN(program) + b"\0", nvrtc().getPTX(program).decode())


def _tool(name: str) -> str:
    spec = find_spec("nvidia")
    folders = [Path(p) for p in spec.submodule_search_locations] if spec else []
    found = [p for folder in folders for p in folder.glob(f"*/bin/{name}")]
    path = str(found[0]) if found else shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: pip install nvidia-cuda-{name}")
    return path


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run(
        [_tool(tool), *arguments], capture_output=True, text=True, check=True
    ).stdout


def resources(cubin: bytes, folder: Path) -> dict[str, dict[str, int]]:
    """Registers (REG), stack, local and static shared memory of each kernel."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    usage = _run("cuobjdump", "--dump-resource-usage", str(path))
    found = re.findall(r"Function (\S+):\s+(.*)", usage)
    return {
        name: {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
        for name, line in found
    }


def parameters(cubin: bytes, kernel: str, folder: Path) -> list[int]:
    """The sizes of a kernel's parameters in bytes."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    sections = _run("cuobjdump", "--dump-elf", str(path)).split(".nv.info.")
    text = "".join(section for section in sections if section.split()[0] == kernel)
    found = re.findall(r"Ordinal\s*:\s*0x(\w+)\s+Offset\s*:\s*\w+\s+Size\s*:\s*0x(\w+)", text)
    return [size for _, size in sorted((int(n, 16), int(size, 16)) for n, size in found)]


@cache
def _disassembled(cubin: bytes) -> str:
    """By nvdisasm, which takes longer to start than a kernel to compile."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return _run("nvdisasm", "-c", str(path))


def instructions(cubin: bytes, kernel: str) -> list[str]:
    """The machine instructions of a kernel, labels included as lines that end in a colon."""
    body = _disassembled(cubin).split(f".text.{kernel}:", 1)[1].split(".section", 1)[0]
    lines = (re.sub(r"/\*.*?\*/", "", line).strip() for line in body.splitlines())
    return [line for line in lines if line.endswith((";", ":"))]


def vector_loop(code: list[str], bits: str = "128|256") -> list[str]:
    """The innermost loop around vector stores of so many bits."""
    labels = {line[:-1]: i for i, line in enumerate(code) if line.endswith(":")}
    loops = []
    for end, line in enumerate(code):
        if "BRA" in line:
            start = labels.get(line.split("(")[-1].rstrip(") ;"), end)
            loop = code[start : end + 1]
            if stored_bytes(loop, bits):
                loops.append(loop)
    if not loops:
        raise AssertionError("no loop around the vector store")
    return min(loops, key=len)


def stored_bytes(code: list[str], bits: str = "128|256") -> int:
    """The bytes that a thread stores in vectors of so many bits."""
    stores = (re.search(rf"\bSTG\.E\S*\.({bits})\b", line) for line in code)
    return sum(int(store[1]) // 8 for store in stores if store)


def per_element(code: list[str], dtype: np.dtype, outputs: int = 1) -> float:
    """The instructions of the vector loop, all of them, divided by the elements it handles."""
    loop = vector_loop(code)
    count = sum(not line.endswith(":") for line in loop)
    return count * outputs * dtype.itemsize / stored_bytes(loop)
