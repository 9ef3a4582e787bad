"""benchmarks/counters.py: what ncu is asked for, and what is made of what it prints."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cupylut import cli
from cupylut.benchmarks import counters

HEADER = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size",'
    '"Grid Size","Device","CC",' + ",".join(f'"{metric}"' for metric in counters.METRICS)
)
UNITS = '"","","","","","","","","","","","ns","%","%","","%","register/thread"'
# As it is printed: lines of ncu and of the program, then the CSV.
OUTPUT = f"""\
==PROF== Connected to process 17 (/usr/bin/python3)
launched: gelu float32 gate
==PROF== Profiling "elementwise" - 0: 0%....50%....100% - 9 passes
launched: swiglu float32
==PROF== Profiling "product" - 1: 0%....50%....100% - 9 passes
==PROF== Disconnected from process 17
{HEADER}
{UNITS}
"0","17","python3","127.0.0.1","elementwise(float *, long)","1","7","(256, 1, 1)","(528, 1, 1)",\
"0","9.0","181,504","91.23","33.5","1,048,576","87.1","40"
"1","17","python3","127.0.0.1","product","1","7","(256, 1, 1)","(528, 1, 1)",\
"0","9.0","271504","92","n/a","0","80.0","48"
"""


def test_rows() -> None:
    first, second = counters.parse(OUTPUT)
    assert (first.what, first.kernel) == ("gelu float32 gate", "elementwise")
    assert first.figures == {
        "duration": 181504,
        "dram_percent": 91.23,
        "issue_percent": 33.5,
        "bank_conflicts": 1048576,
        "occupancy_percent": 87.1,
        "registers": 40,
    }
    assert first.units["duration"] == "ns"
    assert (second.what, second.kernel) == ("swiglu float32", "product")
    assert second.figures["issue_percent"] is None


@pytest.mark.parametrize("output", ["", "launched: x\n", HEADER, f"{HEADER}\n{UNITS}\n"])
def test_nothing_counted(output: str) -> None:
    assert counters.parse(output) == []


def test_every_reason_is_named() -> None:
    denied = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access"
    assert "may not read the GPU's counters" in counters.why(denied, 1)
    assert counters.why("x\n==ERROR== LibraryNotLoaded\n", 1) == "==ERROR== LibraryNotLoaded"
    assert counters.why("", 9) == "ncu counted nothing and ended with 9"


def made(monkeypatch: pytest.MonkeyPatch, ncu: str | None) -> None:
    monkeypatch.setattr(counters, "require_cupy", lambda: None)
    monkeypatch.setattr(counters.environment, "describe", lambda device: {"name": "a GPU"})
    monkeypatch.setattr(counters.shutil, "which", lambda name: ncu)


def test_without_ncu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made(monkeypatch, None)
    assert cli.main(["bench", "counters"]) == 0
    assert "No counters: there is no ncu" in capsys.readouterr().out


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a program in ncu's place."""
    stand_in = tmp_path / "ncu"
    stand_in.write_text(f"#!/bin/sh\ncat <<'END'\n{OUTPUT}\nEND\n")
    stand_in.chmod(0o755)
    made(monkeypatch, str(stand_in))
    assert cli.main(["bench", "counters", "--json", str(tmp_path / "x.json")]) == 0
    printed = capsys.readouterr().out
    assert "a GPU, 67,108,864 elements" in printed
    assert "181,504 ns" in printed
    assert "91.23" in printed


def test_what_takes_too_long_is_stopped_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in, ended = tmp_path / "ncu", tmp_path / "ended"
    stand_in.write_text(f"#!/bin/sh\n(sleep 1; touch {ended}) &\nwait\n")
    stand_in.chmod(0o755)
    made(monkeypatch, str(stand_in))
    monkeypatch.setattr(counters, "SECONDS", 0.2)
    assert cli.main(["bench", "counters"]) == 0
    assert "No counters: ncu took more than 0.2 s" in capsys.readouterr().out
    time.sleep(1.2)
    assert not ended.exists()


def test_what_ncu_runs_is_python() -> None:
    """The program is the last argument; without a device it says that there is none."""
    *_, python, isolated, flag, code = counters.command("ncu")
    assert (python, isolated, flag) == (sys.executable, "-P", "-c")
    done = subprocess.run([python, flag, code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "CuPy" in done.stderr.splitlines()[-1]
