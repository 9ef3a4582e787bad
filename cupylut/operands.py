"""The operands of one call, such as gate and up: what brings them together, and what cannot be."""

import sys
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .arrays import JaxArrays, NumpyArrays, library_of
from .dlpack import name_of


def together(given: dict[str, Any]) -> tuple[NumpyArrays, dict[str, Any]]:
    """The library of the first operand, and all of them, by name.

    JAX's become what its own operations would make of them: NumPy's arrays are taken, numbers of no
    dtype in particular get that of the others, and arrays that are not bound to a device are moved
    to those that are.

    Raises TypeError for operands of several libraries, and ValueError for JAX's on several devices.
    """
    (first, x), *_ = given.items()
    library = library_of(x)
    if isinstance(library, JaxArrays):
        given = _from_numpy(given)
    for name, other in given.items():
        if type(library_of(other)) is not type(library):
            raise TypeError(f"{first} is a {name_of(x)}, {name} a {name_of(other)}: give one kind")
    if isinstance(library, JaxArrays):
        given = _on_one_device(library, _of_one_dtype(library, given))
    return library, given


def context_of(library: NumpyArrays, *given: Any) -> AbstractContextManager[Any]:
    """Where to work on arrays of one library: the first one's device and stream.

    A library looks at an array when it is asked for that, and may refuse it, so all of them are.
    """
    first, *_ = [library.context(x) for x in given]
    return first


def is_weak(x: Any) -> bool:
    """Whether this is what JAX makes of Python's numbers: of no dtype in particular."""
    return bool(getattr(x, "weak_type", False))


def _from_numpy(given: dict[str, Any]) -> dict[str, Any]:
    numpys = {name: x for name, x in given.items() if isinstance(x, np.ndarray)}
    if not numpys:
        return given
    jax = sys.modules["jax"]
    # JAX's arrays of float64 are used outside of x64 mode too, and NumPy's beside them then.
    doubles = any(x.dtype == np.float64 for name, x in given.items() if name not in numpys)
    with jax.enable_x64(doubles or jax.config.jax_enable_x64):
        return given | {name: jax.numpy.asarray(x) for name, x in numpys.items()}


def _of_one_dtype(library: JaxArrays, given: dict[str, Any]) -> dict[str, Any]:
    numbers = {name for name, x in given.items() if is_weak(x) and x.dtype.kind in "biuf"}
    strong = [x for name, x in given.items() if name not in numbers]
    if not numbers or not strong:
        return given
    dtype = library.result_dtype(strong[0])
    with sys.modules["jax"].enable_x64(dtype == np.float64):
        return {name: x.astype(dtype) if name in numbers else x for name, x in given.items()}


def _on_one_device(library: JaxArrays, given: dict[str, Any]) -> dict[str, Any]:
    if any(map(library.is_traced, given.values())):
        return given  # XLA finds a place
    devices = {name: library.device_of(x) for name, x in given.items()}
    bound = [name for name, x in given.items() if x.committed]
    for name in bound:
        if devices[name] != devices[bound[0]]:
            raise ValueError(
                f"{bound[0]} lies on {devices[bound[0]]}, {name} on {devices[name]}: move one"
            )
    if not bound:
        return given
    put, device = sys.modules["jax"].device_put, devices[bound[0]]
    return {name: x if x.committed else put(x, device) for name, x in given.items()}
