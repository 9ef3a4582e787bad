"""The sources of the kernels, compiled with cupy.RawModule."""

import os
import re
import threading
from functools import cache
from importlib import resources
from typing import Any

from .cuda import require_cupy

# CuPy appends -ftz=true to these; kernels/floating.cuh says why that does no harm.
OPTIONS = ("--std=c++17", "--fmad=false")

SCALARS = {"float16": "Float16", "bfloat16": "BFloat16", "float32": "float", "float64": "double"}

IN_MEMORY = "CUPY_CACHE_IN_MEMORY"  # what CuPy asks for whenever it compiles

_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)

# Guards the caches of compiled modules, of resident tables and of prepared launches; kernels are
# launched without it. Reentrant, as building a table compiles a module.
LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=LOCK._at_fork_reinit)  # type: ignore[attr-defined]


def source(name: str) -> str:
    """The text of a kernel file with its includes spliced in, each once.

    The compiler never sees an include path: CuPy's disk cache hashes the source but not what it
    includes. `#line` keeps file names and line numbers in the compiler's messages. Only ASCII:
    CuPy writes the source into a file in the encoding of the user's locale, which may lack what
    the comments are written in.
    """
    seen: set[str] = set()

    def splice(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (resources.files("cupylut.kernels") / name).read_text(encoding="utf-8")
        text = text.replace("#pragma once", "")

        def include(match: re.Match[str]) -> str:
            line = text.count("\n", 0, match.start()) + 2
            if match[1] == "host.h":  # the tests' own, when a C++ compiler reads the kernels
                return match[0]
            return f'{splice(match[1])}\n#line {line} "{name}"'

        return f'#line 1 "{name}"\n' + _INCLUDE.sub(include, text)

    return splice(name).encode("ascii", "ignore").decode()


def define(code: str, defines: dict[str, str]) -> str:
    """The code behind the macros, whose values may hold any character."""
    return "".join(f"#define {key} {value}\n" for key, value in defines.items()) + code


@cache
def _module(device: int, name: str, defines: tuple[tuple[str, str], ...]) -> Any:
    code = define(source(name), dict(defines))
    try:
        return _compiled(name, code)
    except OSError:  # an unwritable home: compile without CuPy's disk cache
        before = os.environ.get(IN_MEMORY)
        os.environ[IN_MEMORY] = "1"
        try:
            return _compiled(name, code)
        finally:  # the user's own kernels are none of this library's business
            del os.environ[IN_MEMORY]
            if before is not None:
                os.environ[IN_MEMORY] = before


def _compiled(name: str, code: str) -> Any:
    cupy = require_cupy()
    module = cupy.RawModule(code=code, options=OPTIONS)
    try:
        module.compile()
    except cupy.cuda.compiler.CompileException as error:
        raise RuntimeError(f"{name} does not compile:\n{error}") from error
    return module


def kernel(device: int, name: str, entry: str, defines: dict[str, str]) -> Any:
    """A compiled kernel of the current device, memoised."""
    with LOCK:
        return _module(device, name, tuple(defines.items())).get_function(entry)
