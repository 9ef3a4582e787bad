"""The command line, end to end, and the experiments behind it."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest

import cupylut
from cupylut import cli
from cupylut.dtypes import BFLOAT16
from cupylut.measuring import rivals
from cupylut.paper import demo

OPTIMA = {"gelu": (4.64, 8.2e-6), "gelu_tanh": (4.43, 7.5e-6), "silu": (12.71, 3.9e-5)}


def run_demo(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "cupylut", "demo", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows(output: str, label: str) -> dict[str, list[float]]:
    """The figures of the rows with this label, by function."""
    found: dict[str, list[float]] = {}
    function = ""
    for line in output.splitlines():
        if match := re.match(r"(\w+) \(the paper's", line):
            function = match[1]
        elif line.startswith(f"  {label} "):
            found[function] = [
                float(word.rstrip("x")) for word in line.replace(",", "").split()[1:]
            ]
    return found


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The demo without most of its timing, in a directory of its own."""
    monkeypatch.setattr(demo, "ELEMENTS", 1000)
    monkeypatch.setattr(demo, "ROUNDS", 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_demo_finds_the_optima_and_draws_them(tmp_path: Path) -> None:
    done = run_demo(tmp_path)
    assert done.returncode == 0, done.stderr
    optimal, paper, gain = (rows(done.stdout, label) for label in ("optimal", "paper's", "gain"))
    assert optimal.keys() == paper.keys() == gain.keys() == OPTIMA.keys()
    for function, (end, error) in OPTIMA.items():
        lo, hi, largest, *_ = optimal[function]
        assert [lo, hi] == pytest.approx([-end, end], rel=0.03)
        assert largest == pytest.approx(error, rel=0.05)
        assert 1700 < gain[function][0] < 2600
        assert gain[function] == pytest.approx(
            [p / o for p, o in zip(paper[function][2:], optimal[function][2:], strict=True)],
            rel=0.03,
        )
        assert re.search(rf"^  {function}( +\d+\.\d\d){{2,3}} +\w+", done.stdout, re.MULTILINE)
    picture = tmp_path / "cupylut-demo.png"
    assert is_png(picture)
    assert str(picture) in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100 + len(str(tmp_path))


def test_demo_measures_the_users_inputs(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(1).normal(-1, 2, (3, 500)).astype(np.float32)
    np.save("mine.npy", np.append(x, [np.nan, np.inf]))
    assert cli.main(["demo", "--input", "mine.npy", "--size", "256", "--plot", "mine.PNG"]) == 0
    output = capsys.readouterr().out
    assert "1,500 values of mine.npy (2 not finite left out)" in output
    assert "256 nodes" in output
    assert is_png(quick / "mine.PNG")
    for function, (*_, mean) in rows(output, "optimal").items():
        table = cupylut.tabulate(function, size=256)
        exact = cupylut.FUNCTIONS[function](x)
        assert mean == pytest.approx(np.abs(table(x).astype(float) - exact).mean(), rel=0.01)


def test_demo_averages_more_inputs_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    function, x = cupylut.FUNCTIONS["silu"], rivals.normal(np, 1000)
    table = cupylut.LinearTable.build(function, x.dtype, -8, 8, 1024)
    whole = demo._mean_error(table, function, x)
    monkeypatch.setattr(demo, "_CHUNK", 64)
    assert demo._mean_error(table, function, x) == pytest.approx(whole)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "uint8"])
def test_inputs_of_any_real_dtype(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", np.arange(6).reshape(2, 3).astype(dtype))
    values = cli._inputs(str(tmp_path / "x.npy")).values
    assert values.dtype == np.float32
    assert values.tolist() == [0, 1, 2, 3, 4, 5]


def bad_inputs() -> dict[str, Any]:
    return {
        "empty": np.zeros((0, 3)),
        "nan": np.full(5, np.nan),
        "huge": np.full(5, 1e300),
        "complex": np.ones(3, complex),
        "text": np.array(["a", "b"]),
        "objects": np.array([{}, None]),
        "bfloat16": np.ones(3, BFLOAT16),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.npy", "no finite number"),
        ("nan.npy", "no finite number"),
        ("huge.npy", "no finite number"),
        ("complex.npy", "complex128, not real numbers"),
        ("text.npy", "not real numbers"),
        ("bfloat16.npy", "such as bfloat16; save what .astype('float32') makes of it"),
        ("objects.npy", "no intact .npy file"),
        ("notes.txt", "no intact .npy file"),
        ("nothing.npy", "no intact .npy file"),
        ("half.npy", "no intact .npy file"),
        ("archive.npz", "is an archive"),
        ("missing.npy", "No such file"),
        (".", "Is a directory"),
    ],
)
def test_bad_inputs_end_in_one_line(
    quick: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    for stem, array in bad_inputs().items():
        np.save(stem, array)
    np.savez("archive", x=np.ones(3))
    Path("notes.txt").write_text("not an array\n")
    Path("nothing.npy").touch()
    np.save("half", np.ones(100))
    os.truncate("half.npy", 200)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo", "--input", name])
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert repr(name) in captured.err
    assert message in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["dance"], "invalid choice"),
        (["demo", "--size", "1"], "2 to 65,536"),
        (["demo", "--size", "many"], "invalid literal"),
        (["demo", "--plot", "picture.jpg"], ".png"),
    ],
)
def test_bad_arguments_end_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert error.count("\n") == 1
    assert message in error


def test_a_picture_that_cannot_be_written_does_not_fail(
    quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (quick / "cupylut-demo.png").mkdir()
    assert cli.main(["demo"]) == 0
    captured = capsys.readouterr()
    assert rows(captured.out, "optimal").keys() == OPTIMA.keys()
    assert "cupylut-demo.png cannot be written: Is a directory" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("demo --plot no/such/place.png", "there is no folder 'no/such'"),
        ("reproduce table1 --seconds -1", "-1: give a positive number"),
        ("bench bandwidth --seconds soon", "--seconds: soon: give a positive number"),
        ("bench counters --plot place.png", "--plot is for bench bandwidth: leave it out"),
        ("bench counters --seconds 5", "--seconds is for bench bandwidth: leave it out"),
    ],
)
def test_what_will_not_be_done_is_said_at_once(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        sys.exit(cli.main(arguments.split()))
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_demo_in_an_unwritable_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write to read-only directories")
    done = run_demo(tmp_path)
    assert done.returncode == 0
    assert "cupylut-demo.png cannot be written: Permission denied" in done.stderr


def test_demo_with_the_base_dependencies_alone(tmp_path: Path) -> None:
    absent = "import sys\nsys.modules |= dict.fromkeys(['cupy', 'matplotlib', 'torch', 'tqdm'])\n"
    (tmp_path / "sitecustomize.py").write_text(absent)
    done = run_demo(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0
    assert done.stderr == "No progress bar and no picture: pip install 'cupylut[plot]'\n"
    assert rows(done.stdout, "optimal").keys() == OPTIMA.keys()
    assert "PyTorch is not installed" in done.stdout
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", rivals.EXPRESSIONS)
def test_the_expressions_compute_the_functions(name: str, dtype: str) -> None:
    x = rivals.normal(np, 1000, dtype)
    y = rivals.scipy_expression(name, x)
    assert y.dtype == x.dtype
    tolerance = {"float16": 1e-3, "bfloat16": 1e-2}.get(dtype, 1e-6)
    exact = cupylut.FUNCTIONS[name](x)
    np.testing.assert_allclose(y.astype(float), exact, rtol=tolerance, atol=tolerance)


def test_torch_gets_its_threads_back(quick: Path) -> None:
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        times = demo.times("gelu_tanh", cupylut.tabulate("gelu_tanh"), "cpu")
        assert torch.get_num_threads() == 2
        assert list(times) == ["SciPy", "cupylut", "PyTorch"]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.gpu
def test_times_on_a_device() -> None:
    times = demo.times("gelu", cupylut.tabulate("gelu"), "cuda")
    assert list(times) == ["CuPy", "cupylut"]
    assert min(times.values()) > 0


@pytest.mark.parametrize(
    "command", ["bench --json", "accuracy --output", "model --json", "model --markdown"]
)
def test_what_cannot_be_written_is_said_before_it_is_measured(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "kept").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "kept")
    for name, message in (
        ("no/such/place", "there is no folder 'no/such'"),
        (str(tmp_path), "is a folder; give the name of a file"),
        (str(tmp_path / "kept"), "may not be written; try another file"),
    ):
        with pytest.raises(SystemExit):
            cli.main([*command.split(), name])
        assert message in capsys.readouterr().err


def test_the_version_also_of_a_checkout_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def not_found(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    for expected in (metadata.version("cupylut"), "unknown"):
        assert cupylut.__version__ == expected
        with pytest.raises(SystemExit):
            cli.main(["--version"])
        assert capsys.readouterr().out == f"cupylut {expected}\n"
        monkeypatch.setattr(metadata, "version", not_found)


def run_main(main: Callable[[], int], stdout: TextIO, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The exit status of `python -m cupylut`, if the command does this."""
    monkeypatch.setattr(cli, "main", main)
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as end:
        runpy.run_module("cupylut", run_name="__main__")
    return end.value.code


def test_an_interrupt_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_main(interrupted, sys.stdout, monkeypatch) == 130


def test_a_terminal_that_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    stdout = TextIOWrapper(written, encoding="ascii")
    assert run_main(lambda: print("1 × 8 B") or 0, stdout, monkeypatch) == 0
    assert written.getvalue() == b"1 ? 8 B\n"


def test_output_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        assert run_main(lambda: print("figures") or 0, stdout, monkeypatch) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("end", [lambda: 0, sys.exit])  # as of a command, and of --version
def test_output_to_a_full_disk_ends_in_one_line(
    end: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for buffering in (1, -1):  # fails in the middle, and at the end
        with open("/dev/full", "w", buffering) as stdout:
            assert run_main(lambda: print("figures") or end(), stdout, monkeypatch) == 1
        assert capsys.readouterr().err == "python -m cupylut: [Errno 28] No space left on device\n"
