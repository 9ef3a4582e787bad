"""CuPy, imported here alone and when a GPU array has arrived; devices, other libraries' streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any


def require_cupy() -> ModuleType:
    """CuPy with a usable device, or a RuntimeError that says what to install."""
    try:
        import cupy  # noqa: TID251
    except ImportError as error:
        raise RuntimeError(
            "a GPU array needs CuPy: pip install 'cupylut[cuda13]' (or 'cupylut[cuda12]', by the "
            f"driver's CUDA version). Importing it said: {error}"
        ) from error
    except OSError as error:
        raise RuntimeError(
            f"CuPy cannot be imported: {error}. It makes a folder for compiled kernels when it is: "
            "name one that can be written to in the environment variable CUPY_CACHE_DIR"
        ) from error
    if not cupy.cuda.is_available():
        raise RuntimeError(
            "CuPy finds no CUDA device: a GPU array needs an NVIDIA driver that supports the "
            "installed extra, cupylut[cuda13] or cupylut[cuda12]"
        )
    module: ModuleType = cupy
    return module


def external_stream(stream: int) -> Any:
    """Another library's stream of the current device, by its handle, as CuPy's."""
    protocol = SimpleNamespace(__cuda_stream__=lambda: (0, stream))
    return require_cupy().cuda.Stream.from_external(protocol)


@contextmanager
def on_device_and_stream(device: int, stream: int) -> Iterator[None]:
    """Work on a device and a stream of another library."""
    with require_cupy().cuda.Device(device), external_stream(stream):
        yield


@contextmanager
def on_device_until_done(device: int) -> Iterator[None]:
    """Work on a device for arrays whose library does not say on which stream it goes on.

    The library may write to or free x, and read `out`, as soon as the call returns.
    """
    cupy = require_cupy()
    with cupy.cuda.Device(device):
        try:
            yield
        finally:
            cupy.cuda.get_current_stream().synchronize()
