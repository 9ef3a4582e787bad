"""Where and with what something was measured: for the head of a file of results."""

import importlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..cuda import require_cupy

PACKAGES = ("cupylut", "numpy", "scipy", "ml_dtypes", "torch", "transformers", "cupy")

# Processes that wanted to run, per CPU and on average, from which on a machine counts as busy.
BUSY = 0.25


def describe(device: str) -> dict[str, Any]:
    """Device, processor, versions, commit, date, and how busy the machine is at the moment."""
    load = max(os.getloadavg()) if hasattr(os, "getloadavg") else None
    cpus = os.cpu_count() or 1
    return {
        "device": device,
        **({"name": processor()} if device == "cpu" else _gpu()),
        "processor": processor(),
        "cpus": cpus,
        "load": None if load is None else round(load, 2),
        "busy": load is None or load > BUSY * cpus,
        "platform": platform.platform(),
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def installed(module: str) -> Any:
    """The module, or None. The library imports neither torch nor cupy; to compare, one must."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError):  # OSError: installed, and a shared library of it is missing
        return None


def _gpu() -> dict[str, Any]:
    """The current CUDA device, and the version of CUDA that its driver supports."""
    cupy = require_cupy()
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "name": properties["name"].decode(),
        "memory": properties["totalGlobalMem"],
        "driver": cupy.cuda.runtime.driverGetVersion(),
    }


def _versions() -> dict[str, str]:
    found, torch = {}, installed("torch")
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # CuPy's distributions are named after a version of CUDA
            module = installed(package)
            if module is not None:
                found[package] = module.__version__
    if torch is not None and torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def processor() -> str:
    """The model of the CPU, which `platform.processor` does not know on Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the checkout that this file belongs to, "-dirty" if changed.

    Without one it is what the environment variable CUPYLUT_COMMIT says, if anything, or None.
    """
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("CUPYLUT_COMMIT") or None
