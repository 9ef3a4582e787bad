"""A CUDA device for the tests: a real one, or in its place the interpreter of tests/ptx."""

import sys
from functools import cache
from typing import Any


@cache
def missing() -> str:
    """Why there is no CUDA device, or "" if there is one."""
    try:
        import cupy  # noqa: TID251
    except ImportError as error:
        return f"CuPy is not installed: {error}"
    return "" if cupy.cuda.is_available() else "no CUDA device"


def fewer(on_a_device: Any, interpreted: Any) -> Any:
    """A number of elements or the like: the interpreter executes some 100,000 a second."""
    return interpreted if missing() else on_a_device


class _Cupy:
    """CuPy, or what stands in for it while a test runs."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what pytest looks for while it collects
            raise AttributeError(name)
        return getattr(sys.modules["cupy"], name)


cupy = _Cupy()
