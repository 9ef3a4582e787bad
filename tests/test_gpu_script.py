""".ci/gpu: what can be said of it without a GPU. The rest is what it does where there is one."""

import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / ".ci" / "gpu"
STEPS = ("tests", "sanitizers", "bandwidth", "counters", "reproduce", "demo")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_syntax() -> None:
    done = run("-n", str(SCRIPT))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_step_that_there_is_not() -> None:
    done = run(str(SCRIPT), "tests", "dance")
    assert done.returncode == 2
    assert "no step dance" in done.stderr
    assert done.stdout == ""


def test_all_steps_end_within_14_minutes() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    limits = dict(re.findall(r"\b(?:step|run|tests) (\S+) (\d+) ", text))
    assert limits.keys() >= {"install", "timed", *STEPS, '"$tool"'} - {"sanitizers"}
    seconds = [int(limit) for limit in limits.values()]
    assert sum(seconds) + 2 * int(limits['"$tool"']) <= 14 * 60
    for name in STEPS:
        assert f"#     {name} " in text  # its head says what it does
