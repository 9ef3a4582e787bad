"""Arrays that are known to end processes or to give wrong values: a module for each library.

A trap, a function `trap_…`, passes where cupylut gives the right values or refuses with an error of
its own: never other values, and the process goes on. test_traps.py runs them in subprocesses.
"""

import importlib
import traceback
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import cupylut

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
X = np.linspace(-4, 4, 12, dtype=np.float32)
WANT = cupylut.gelu(X)
SLOPES = cupylut.FUNCTIONS["gelu"].derivative(X)  # type: ignore[misc]


def traps_of(library: str) -> dict[str, Callable[[], None]]:
    """The traps of a module of this package by name."""
    found = vars(importlib.import_module(f"{__name__}.{library}"))
    return {name: trap for name, trap in found.items() if name.startswith("trap_")}


def right_or_refused(call: Callable[[], Any], right: Callable[[Any], bool]) -> None:
    """The call's result is right, or it is refused by cupylut itself."""
    try:
        result = call()
    except (TypeError, ValueError) as error:
        raised_in = list(traceback.walk_tb(error.__traceback__))[-1][0].f_globals["__name__"]
        if not raised_in.startswith("cupylut"):
            raise
    else:
        assert right(result), result


def bits(x: Any) -> tuple[Any, ...]:
    """What two equal arrays have in common, if NumPy can see both."""
    x = np.asarray(x)
    return x.shape, x.dtype, x.tobytes()
