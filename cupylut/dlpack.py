"""Arrays of other libraries as NumPy or CuPy arrays by DLPack, and what they are called."""

import sys
from types import ModuleType
from typing import Any

from . import memory


def exchanged(module: ModuleType, x: Any) -> Any:
    """x as an array of NumPy or CuPy over the same memory."""
    try:
        try:
            return module.from_dlpack(x)
        except ValueError:  # of a version that it does not know, where others raise TypeError
            return module.from_dlpack(_WithoutVersions(x))
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name_of(x)} cannot be exchanged by DLPack ({error}): where its dtype is the reason, "
            "convert it to float16, float32 or float64, or pass bfloat16 as an array of NumPy, "
            "PyTorch or JAX"
        ) from error


class _WithoutVersions:
    """An array whose DLPack takes no keywords of later versions: NumPy and CuPy do without them."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.__dlpack_device__ = x.__dlpack_device__

    def __dlpack__(self, stream: Any = None) -> Any:
        return self.x.__dlpack__() if stream is None else self.x.__dlpack__(stream=stream)


def aligned(view: Any, x: Any) -> Any:
    """The view of an x on a GPU, which does not cope with what NumPy copes with."""
    if view.size and memory.address(view) % view.itemsize:
        raise TypeError(f"{name_of(x)} at an address that is no multiple of its item size: copy it")
    return view


def namespace_of(x: Any) -> Any:
    """The library of an x that follows the array API standard, or None."""
    return x.__array_namespace__() if hasattr(x, "__array_namespace__") else None


def name_of(x: Any) -> str:
    """What kind of array x is, for messages."""
    if isinstance(x, getattr(sys.modules.get("jax"), "Array", ())):  # what it traces has odd names
        return "jax.Array"
    return f"{type(x).__module__}.{type(x).__qualname__}"
