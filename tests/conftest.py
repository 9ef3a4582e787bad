"""What the tests share: where they run, and what is skipped where and why."""

import os

import host_cuda
import pytest

pytest.register_assert_rewrite("samples")

# JAX would take most of a GPU's memory at its first use, and leave too little for the others.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def cuda_device_missing() -> str:
    """Why there is no CUDA device, or "" if there is one."""
    try:
        import cupy  # noqa: TID251
    except ImportError as error:
        return f"CuPy is not installed: {error}"
    return "" if cupy.cuda.is_available() else "no CUDA device"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := cuda_device_missing()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"gpu: {reason}"))


@pytest.fixture(scope="session")
def compiler() -> str:
    """A C++ compiler; CI must have one, elsewhere the tests that need it are skipped."""
    if host_cuda.COMPILER is None:
        if os.environ.get("CI"):
            pytest.fail("no C++ compiler: CI must run the kernels on the CPU")
        pytest.skip("no C++ compiler (c++, g++ or clang++) to run the kernels on the CPU")
    return host_cuda.COMPILER
