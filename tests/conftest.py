"""What the tests share: where they run, and what is skipped where and why."""

import os

import gpu
import host_cuda
import pytest
from ptx.cupy import stand_in  # noqa: F401  (a fixture)

pytest.register_assert_rewrite("samples")

# JAX would take most of a GPU's memory at its first use, and leave too little for the others.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("gpu")
        if marker and not marker.kwargs.get("interpreted") and (reason := gpu.missing()):
            item.add_marker(pytest.mark.skip(reason=f"gpu: {reason}"))


@pytest.fixture(autouse=True)
def _interpreter(request: pytest.FixtureRequest) -> None:
    """A device for the tests that the interpreter does for, where there is none."""
    marker = request.node.get_closest_marker("gpu")
    if marker and marker.kwargs.get("interpreted") and gpu.missing():
        request.getfixturevalue("stand_in")


@pytest.fixture(scope="session")
def compiler() -> str:
    """A C++ compiler; CI must have one, elsewhere the tests that need it are skipped."""
    if host_cuda.COMPILER is None:
        if os.environ.get("CI"):
            pytest.fail("no C++ compiler: CI must run the kernels on the CPU")
        pytest.skip("no C++ compiler (c++, g++ or clang++) to run the kernels on the CPU")
    return host_cuda.COMPILER
