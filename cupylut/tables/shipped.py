"""The coefficients that the library comes with: files `data/KIND/FUNCTION_DTYPE.txt`.

Lines "# name = value" are fields, the values in JSON, and all others with a # are comments. Each
line without one is a row of numbers: the bits that they have in memory, in hexadecimal, so that
nothing is rounded on the way. `python -m cupylut.fitting` writes the files.
"""

import json
import re
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..declaration import Function
from ..dtypes import DType
from ..names import is_declared

Words: TypeAlias = NDArray[np.unsignedinteger]

_FIELD = re.compile(r"# (\w+) = (.+)")


def file_name(kind: str, name: str, dtype: DType) -> str:
    """Where the coefficients of a function, by its name, are in `data/`."""
    return f"{kind}/{name}_{dtype.name}.txt"


def _file(kind: str, function: Function, dtype: DType) -> Traversable | None:
    """The file of a function; None where there is none, or just its namesake's."""
    file = resources.files("cupylut.data") / file_name(kind, function.name, dtype)
    return file if is_declared(function) and file.is_file() else None


def is_shipped(kind: str, function: Function, dtype: DType) -> bool:
    """Whether the library comes with coefficients for this."""
    return _file(kind, function, dtype) is not None


def shipped(kind: str, function: Function, dtype: DType) -> tuple[dict[str, Any], Words] | None:
    """The fields and rows that the library comes with, if it does."""
    file = _file(kind, function, dtype)
    return parse(file.read_text(encoding="utf-8")) if file else None


def parse(text: str) -> tuple[dict[str, Any], Words]:
    """The fields, and the rows as words of 32 or 64 bits."""
    lines = text.splitlines()
    fields = {str(m[1]): json.loads(m[2]) for line in lines if (m := _FIELD.fullmatch(line))}
    rows = [line.split() for line in lines if not line.startswith("#")]
    words = [[int(word, 16) for word in row] for row in rows]
    return fields, np.array(words, np.uint32 if len(rows[0][0]) == 8 else np.uint64)


def unparse(comment: str, fields: dict[str, Any], words: Words) -> str:
    """The text that `parse` reads, beginning with a comment of some lines."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"# {name} = {json.dumps(value)}" for name, value in fields.items()]
    digits = 2 * words.itemsize
    lines += [" ".join(f"{word:0{digits}x}" for word in row) for row in words.tolist()]
    return "\n".join(lines) + "\n"
