"""The first moments of a process: importing, first calls, forks, and places one cannot write to.

Each test runs fresh interpreters, in which nothing is imported, built or cached yet.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PRELUDE = """
import numpy as np
import cupylut
x = np.linspace(-9, 9, 100_001)
"""


def run(code: str, *flags: str, cwd: Path | None = None, **environment: str) -> str:
    """What the code prints in a fresh interpreter, which must succeed and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_helper_notices_failures_and_complaints() -> None:
    assert run("print(1)") == "1"
    for bad in (
        "assert False",
        "import sys; sys.stderr.write('!')",
        "import warnings as w; w.warn('')",
    ):
        with pytest.raises(AssertionError):
            run(bad)


def test_import_is_quiet_and_loads_no_more_than_it_needs() -> None:
    unwanted = [
        "cupy",
        "torch",
        "jax",
        "jaxlib",
        "transformers",
        "matplotlib",
        "scipy.optimize",
        "tqdm",
    ]
    code = f"import sys, cupylut; print([name for name in {unwanted} if name in sys.modules])"
    assert run(code) == "[]"


def test_first_calls_fit_nothing() -> None:
    """What they need is in files."""
    code = (
        PRELUDE
        + """
import sys
for name in cupylut.FUNCTIONS:
    for dtype in (np.float16, np.float32, np.float64):
        getattr(cupylut, name)(x.astype(dtype))
cupylut.mish(x)
print("cupylut.fitting" in sys.modules)
"""
    )
    assert run(code) == "False"


def test_modules_for_a_library_are_there_when_they_are_asked_for() -> None:
    code = """
import sys, cupylut
assert not {"torch", "jax", "transformers"} & sys.modules.keys()
print(cupylut.torch.GELU(), cupylut.jax.lookup.__name__, cupylut.transformers.patched.__name__)
"""
    assert run(code) == "GELU(approximate='none') lookup patched"
    code = "import cupylut; print(hasattr(cupylut, 'tensorflow'), hasattr(cupylut, '__path__'))"
    assert run(code) == "False True"


def test_import_where_processes_do_not_fork() -> None:
    """As on Windows."""
    code = "import os; del os.fork, os.register_at_fork; import cupylut; print(cupylut.tanh(0.0))"
    assert run(code) == "0.0"
    assert run("import cupylut") == ""


def test_a_call_on_a_numpy_array_loads_no_array_library() -> None:
    unwanted = ["cupy", "torch", "jax", "jaxlib"]
    code = f"import sys; cupylut.gelu(x); print([n for n in {unwanted} if n in sys.modules])"
    assert run(PRELUDE + code) == "[]"


def test_import_takes_less_than_twice_as_long_as_that_of_scipys_functions() -> None:
    """Which it includes. Seconds differ from machine to machine."""
    clock = (
        "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    )
    times: dict[str, list[float]] = {"scipy.special": [], "cupylut": []}
    for _ in range(5):
        for name, seconds in times.items():
            seconds.append(float(run(clock.format(name))))
    assert min(times["cupylut"]) < 2 * min(times["scipy.special"])


def test_sixteen_threads_may_make_the_first_call_at_once() -> None:
    assert (
        run(
            PRELUDE
            + """
import threading
from cupylut.dtypes import DTYPES
inputs = [x.astype(dtype) for dtype in DTYPES] * 4
barrier, results = threading.Barrier(16), [None] * 16
def first_call(i):
    barrier.wait()
    results[i] = cupylut.mish(inputs[i])
threads = [threading.Thread(target=first_call, args=(i,)) for i in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert all(y.tobytes() == cupylut.mish(x).tobytes() for x, y in zip(inputs, results))
print("right")
"""
        )
        == "right"
    )


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(
            "fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
        ),
        "spawn",
    ],
)
def test_child_processes_compute_the_same_bits(method: str) -> None:
    """Functions and a table that the parent has used, and a function that it has not."""
    code = f"""
import multiprocessing
table = cupylut.tabulate(np.tanh, "float32", size=64, domain=(-4, 4), left=-1.0, right=1.0)
inputs = [x, x.astype("f4"), x.astype("f2")]
warm = [cupylut.silu(x) for x in inputs] + [table(inputs[1])]
with multiprocessing.get_context("{method}").Pool(1) as pool:
    cold = pool.apply(cupylut.softplus, (x,))
    there = [pool.apply(cupylut.silu, (x,)) for x in inputs] + [pool.apply(table, (inputs[1],))]
assert [y.tobytes() for y in there] == [y.tobytes() for y in warm]
assert cold.tobytes() == cupylut.softplus(x).tobytes()
print("right")
"""
    # A process with OpenBLAS's threads is warned about forking; a fork has none of them.
    assert run(PRELUDE + code, "-W", "ignore::DeprecationWarning") == "right"


WATCH = """
import os, sys
written = []
def watch(event, args):
    if event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(args[0])
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "shutil.copyfile"):
        written.append((event, args[0]))
sys.addaudithook(watch)
"""


def test_nothing_is_written_and_no_place_need_be_writable(tmp_path: Path) -> None:
    cwd, temporary = tmp_path / "cwd", tmp_path / "tmp"
    cwd.mkdir(mode=0o555)
    temporary.mkdir()
    environment: dict[str, Any] = {"HOME": "/proc/nonexistent", "TMPDIR": str(temporary)}
    use = "\nfor f in cupylut.FUNCTIONS: getattr(cupylut, f)(x)\nprint(written)"
    # -B: whether Python keeps bytecode beside its modules is not this library's affair.
    assert run(WATCH + PRELUDE + use, "-B", cwd=cwd, **environment) == "[]"
    assert sorted(tmp_path.rglob("*")) == [cwd, temporary]


def test_the_watch_sees_what_is_written(tmp_path: Path) -> None:
    code = "open('a', 'w').close(); os.mkdir('b'); os.rename('a', 'c'); print(len(written))"
    assert run(WATCH + code, cwd=tmp_path) == "3"
