"""No array ends the process or gives wrong values silently: traps/, sprung in subprocesses."""

import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from traps import traps_of

LIBRARIES = ("dlpack", "torch", "jax")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parent,
    )


@lru_cache
def sprung(library: str) -> subprocess.CompletedProcess[str]:
    """A library's traps one after the other, in a process of their own."""
    return run("-m", "traps", library)


@pytest.mark.parametrize(
    ("library", "trap"), [(library, trap) for library in LIBRARIES for trap in traps_of(library)]
)
def test_trap(library: str, trap: str) -> None:
    done = sprung(library)
    assert f"{trap}: done" in done.stdout.splitlines(), done.stdout + done.stderr


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_process_lives_on_and_complains_of_nothing(library: str) -> None:
    done = sprung(library)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_arrays_that_kill() -> None:
    """NumPy's negative strides, given to PyTorch directly: why traps get a process of their own."""
    done = run("-c", "import numpy, torch; torch.from_dlpack(numpy.arange(3.0)[::-1])")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr.splitlines()[0]
