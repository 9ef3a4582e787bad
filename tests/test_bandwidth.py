"""The bandwidth benchmark: what is concluded from made-up times, and the path that takes real ones.

Real ones are taken on the CPU; with a GPU (marker gpu) of every contestant there.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import H100, made_cell, made_record

from cupylut import FUNCTIONS, cli
from cupylut.benchmarks import bandwidth, cells, contestants, hosttime, picture, targets
from cupylut.benchmarks.cells import Cell
from cupylut.measuring import records, rivals, timing
from cupylut.paper import activation

LARGE = 1 << 28

# --- verdicts ---


@pytest.mark.parametrize(
    ("ours", "outcome", "rival", "gain"),
    [
        (2.0, "won", "fast", 1.5),
        (2.9, "equal", "fast", 3 / 2.9),
        (3.1, "equal", "fast", 3 / 3.1),
        (4.0, "lost", "fast", 0.75),
    ],
)
def test_verdicts(ours: float, outcome: str, rival: str, gain: float) -> None:
    """Against the fastest rival; a copy and an empty loop are none, nor is another kind of ours."""
    cell = made_cell(
        "gelu", "float16", 1024, copy=1.0, loop=1.1, direct=ours, compact=1.2, fast=3.0, PyTorch=5.0
    )
    assert cell.verdict == cells.Verdict(outcome, rival, pytest.approx(gain))
    assert cell.rivals == ["fast", "PyTorch"]
    assert cell.better_kind == "compact"
    assert cell.gain("PyTorch") == pytest.approx(5 / ours)
    assert cell.gain("CuPy") is None
    assert cell.copy_fraction["direct"] == pytest.approx(1 / ours)
    assert "copy" not in cell.copy_fraction


def test_a_cell_without_rivals_has_no_verdict() -> None:
    cell = made_cell("gelu", "float32", 1024, copy=1.0, gate=2.0, linear=1.95)
    assert cell.verdict is None
    assert cell.better_kind is None  # within 5 %
    assert bandwidth.in_words(cell) == "no rival"


def test_cells_are_read_as_they_are_written(tmp_path: Path) -> None:
    cell = made_cell("mish", "bfloat16", 1 << 25, copy=1.0, direct=2.0, CuPy=3.0)
    record = made_record([cell])
    (tmp_path / "h100.json").write_text(json.dumps(record))
    (tmp_path / "other.json").write_text('{"format": "something else"}')
    (found,) = records.find(cells.FORMAT, tmp_path).values()
    assert list(cells.of(found)) == [cell]
    assert found["cells"][0]["verdict"]["outcome"] == "won"
    assert found["cells"][0]["copy_fraction"] == {"direct": 0.5, "CuPy": pytest.approx(1 / 3)}


# --- targets ---


def good_cells() -> list[Cell]:
    """Every target but that of figure 2, reached with nothing to spare."""
    found = [
        made_cell(f, d, LARGE, copy=0.95 if d == "float32" else 0.9, loop=0.96,
                  **{"gate" if d == "float32" else "direct": 1.0}, PyTorch=1.15)
        for f in targets.UNARY for d in bandwidth.DTYPES
    ]  # fmt: skip
    found += [made_cell("swiglu", d, LARGE, copy=1.0, gate=1.0, PyTorch=1.6)
              for d in bandwidth.DTYPES]  # fmt: skip
    found.append(
        made_cell("gelu_tanh", "float32", 2048 * 3072, copy=0.5, gate=1.0, PyTorch=1.0, chain=8.9)
    )
    return found


FIGURE2 = [{"model": "BERT", "dtype": "float16", "batch": 8, "gain": [1.0, 0.9, 1.1]}]


def states(*arguments: Any) -> list[str]:
    return [outcome.state for outcome in targets.judge(*arguments)]


def test_targets_that_are_reached() -> None:
    assert states(good_cells(), H100, FIGURE2) == ["reached"] * 7
    assert states(good_cells(), H100) == ["reached"] * 6 + ["not measured"]
    assert states([], H100) == ["not measured"] * 7


@pytest.mark.parametrize(
    ("cell", "missed"),
    [
        (made_cell("softplus", "float32", LARGE, copy=0.94, gate=1.0), {0}),
        (made_cell("mish", "bfloat16", LARGE, copy=0.89, direct=1.0), {1}),
        (made_cell("mish", "bfloat16", 1 << 24, copy=0.1, direct=1.0), set()),  # 32 MB
        (made_cell("swiglu", "float32", LARGE, copy=0.1, gate=1.0), set()),
        (made_cell("silu", "float16", 1024, copy=0.1, direct=1.0, PyTorch=0.99), {2}),
        (made_cell("gelu", "float16", LARGE, copy=1.0, direct=1.0, PyTorch=1.14), {3}),
        (made_cell("gelu", "float16", 1024, copy=1.0, direct=1.0, PyTorch=1.14), set()),
        (made_cell("gelu_tanh", "float16", 6291456, copy=1.0, direct=1.0, chain=8.8), {4}),
        (made_cell("gelu_tanh", "float16", 1 << 20, copy=1.0, direct=1.0, chain=2.0), set()),
        (made_cell("swiglu", "float32", LARGE, copy=1.0, gate=1.0, PyTorch=1.5), {5}),
    ],
    ids=str,
)
def test_targets_that_are_missed(cell: Cell, missed: set[int]) -> None:
    outcomes = targets.judge([*good_cells(), cell], H100, FIGURE2)
    assert {i for i, o in enumerate(outcomes) if o.state == "missed"} == missed
    for i in missed:
        ((where, figure, why),) = outcomes[i].misses
        assert where == outcomes[i].where == str(cell)
        assert figure == outcomes[i].smallest < outcomes[i].least
        assert why


def test_a_model_that_got_slower_is_missed() -> None:
    rows = [*FIGURE2, {"model": "OLMo", "dtype": "float32", "batch": 1, "gain": [0.99, 0.9, 1.1]}]
    *_, outcome = targets.judge([], H100, rows)
    assert (outcome.state, outcome.smallest) == ("missed", 0.99)
    assert outcome.where == "OLMo, float32, batch 1"


def test_large_are_64_megabytes_whatever_an_element_has() -> None:
    for dtype, elements in (("float32", 1 << 24), ("bfloat16", 1 << 25)):
        assert made_cell("silu", dtype, elements, copy=1.0, direct=1.0).is_large
        assert not made_cell("silu", dtype, elements - 1, copy=1.0, direct=1.0).is_large


def test_reasons() -> None:
    """The empty loop's fraction, and the bound that the model names for the device."""
    cell = made_cell("silu", "bfloat16", LARGE, copy=0.8, loop=0.9, direct=1.0)
    assert "the loop alone reaches 0.89 of the copy" in targets.reason(cell, H100)
    assert "predicted 1.00 of the copy, bound by memory; next is" in targets.reason(cell, H100)
    mish = made_cell("mish", "float32", LARGE, copy=0.8, polynomial=1.0)
    assert "bound by issue" in targets.reason(mish, "NVIDIA B200")
    assert "the model knows no" in targets.reason(cell, "GeForce")
    small = made_cell("silu", "bfloat16", 1024, copy=0.8, direct=1.0)
    assert "launch and table fill" in targets.reason(small, H100)
    gated = made_cell("swiglu", "bfloat16", LARGE, copy=0.8, gate=1.0)
    assert targets.predicted(gated, H100).kind == "product"


# --- in words and pictures ---


def test_report() -> None:
    measured = [
        *good_cells(),
        made_cell("mish", "float32", 1 << 20, copy=1.0, polynomial=4.0, linear=2.0, fast=1.5),
    ]
    record = made_record(measured)
    record["targets"] = bandwidth.judged(record)
    lines = list(bandwidth.report(record))
    assert lines[0].startswith(H100)
    mish = lines[lines.index(next(line for line in lines if line.startswith("mish float32"))) + 1]
    assert "0.25*" in mish
    assert mish.endswith("lost to fast (0.38x); linear is faster")
    assert any(line.startswith(f"Of {len(measured)} cells: ") for line in lines)
    assert any("1 lost (to fast in 1)" in line for line in lines)
    assert any("figure 2" in line and "not measured" in line for line in lines)
    assert any("12.50" in line and "1.25" in line for line in lines)
    assert lines[-1] == "Left out: gelu, float32, 1,024, torch.compile: no compiler"


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture.fractions(tmp_path / "x.png", made_record(good_cells()[:3]))
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


# --- the path that measures ---


def test_cases_are_in_order_of_worth() -> None:
    """Should time run out, the large arrays and the paper's have been measured."""
    found = bandwidth.cases(bandwidth.CUDA)
    assert len(found) == len(set(found))
    assert {n for _, _, n in found} == {1 << n for n in range(10, 31, 2)} | {2048 * 3072}
    first = found[: found.index(("gelu_tanh", "bfloat16", 2048 * 3072)) + 1]
    assert {(f, d) for f, d, n in first if n == LARGE} == {
        (f, d) for f in contestants.FUNCTIONS for d in bandwidth.DTYPES
    }


@pytest.mark.parametrize(
    ("function", "dtype"),
    [*((f, "bfloat16") for f in contestants.FUNCTIONS), ("silu", "float32"), ("swiglu", "float32")],
)
def test_all_contestants_compute_the_function(function: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    left_out: list[str] = []
    with torch.inference_mode():
        runs = contestants.contestants(function, dtype, 1000, "cpu", left_out.append)
        results = {who: run() for who, run in runs.items()}
    assert left_out == []
    assert {"copy", contestants.default_kind(function, dtype), "SciPy", "PyTorch"} <= runs.keys()
    assert ("NewGELU chain" in runs) == (function == "gelu_tanh")
    x = rivals.normal(np, 2000 if function == "swiglu" else 1000, dtype).astype(float)
    exact = FUNCTIONS["silu" if function == "swiglu" else function](x[:1000])
    if function == "swiglu":
        exact = exact * x[1000:]
    for who, y in results.items():
        if who != "copy":
            values = np.asarray(y.float() if who in ("PyTorch", "NewGELU chain") else y, float)
            tolerance = 0.02 if dtype == "bfloat16" else 1e-4
            np.testing.assert_allclose(
                values.ravel(), exact, rtol=tolerance, atol=tolerance, err_msg=who
            )


def test_the_copy_moves_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    copyto = np.copyto
    monkeypatch.setattr(np, "copyto", lambda y, x: (moved.append(x.nbytes), copyto(y, x)))
    for function in ("gelu", "swiglu"):
        contestants.contestants(function, "float32", 1000, "cpu", [].append)
    assert moved == [4 * 1000, 4 * 1500]


def test_a_contestant_that_fails_is_left_out() -> None:
    def fail() -> None:
        raise MemoryError("no more\nof it")

    left_out: list[str] = []
    assert not contestants._runs("CuPy", fail, "cpu", left_out.append)
    assert left_out == ["CuPy: MemoryError: no more"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    settings = replace(bandwidth.CPU, sizes=(1000,), dtypes=("bfloat16",), runs=1, seconds=0.0)
    monkeypatch.setitem(bandwidth.SETTINGS, "cpu", settings)
    monkeypatch.setattr(targets, "PAPER_ELEMENTS", 500)
    monkeypatch.setattr(hosttime, "CALLS", 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("without_torch", [False, True])
def test_command(
    quick: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    without_torch: bool,
) -> None:
    if without_torch:
        monkeypatch.setitem(sys.modules, "torch", None)
    else:
        pytest.importorskip("torch")
    command = ["bench", "bandwidth", "--device", "cpu", "--json", "x.json", "--plot", "x.png"]
    assert cli.main(command) == 0
    record = json.loads((quick / "x.json").read_text())
    assert record["format"] == cells.FORMAT
    assert {"date", "platform", "processor", "commit"} <= record["environment"].keys()
    assert record["targets"] == []  # they are a GPU's
    found = cells.of(record)
    assert {cell.function for cell in found} == set(contestants.FUNCTIONS)
    assert {cell.elements for cell in found} == {1000, 500}
    for cell in found:
        assert min(taken.median for taken in cell.times.values()) > 0
        assert ("PyTorch" in cell.times) != without_torch
    rows = [(row["library"], row["who"]) for row in record["host"] if row["dtype"] == "float16"]
    assert ("NumPy", "cupylut") in rows
    assert (("PyTorch", "PyTorch") in rows) != without_torch
    output = capsys.readouterr().out
    assert "gelu bfloat16" in output
    assert (quick / "x.png").exists()


def test_cells_beyond_the_limit_are_left_out(quick: Path) -> None:
    record = bandwidth.run(bandwidth.SETTINGS["cpu"].within(0.0))
    assert record["cells"] == []
    assert len(record["left_out"]) == len(bandwidth.cases(bandwidth.SETTINGS["cpu"]))
    assert record["left_out"][0].endswith("out of time")
    command = "bench bandwidth --device cpu --seconds 1e-9 --plot x.png"
    assert cli.main(command.split()) == 1
    assert not (quick / "x.png").exists()


def test_pools_are_emptied_before_each_cell(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after one without a result, whose arrays would leave less room for the next."""
    released: list[str] = []
    monkeypatch.setattr(bandwidth, "release", released.append)
    monkeypatch.setattr(contestants, "contestants", lambda *_: {})
    settings = bandwidth.SETTINGS["cpu"]
    assert bandwidth.run(settings)["cells"] == []
    assert released == ["cpu"] * len(bandwidth.cases(settings))


def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "free_bytes", lambda device: 1000.0)
    left_out: list[str] = []
    cell = bandwidth.measure_cell("gelu", "float32", 1 << 20, bandwidth.CPU, left_out)
    assert cell is None
    assert left_out == ["gelu, float32, 1,048,576: needs 0.5 GiB of memory"]


def test_what_fails_or_is_interrupted_does_not_lose_the_rest(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_cell = bandwidth.measure_cell

    def measured(function: str, *rest: Any) -> Any:
        if function == "gelu_tanh":
            raise ValueError("an illegal memory access\nmore of it")
        if function == "silu":
            raise KeyboardInterrupt
        return measure_cell(function, *rest)

    monkeypatch.setattr(bandwidth, "measure_cell", measured)
    monkeypatch.setattr(hosttime, "measure", measured)
    record = bandwidth.run(bandwidth.SETTINGS["cpu"])
    assert [cell["function"] for cell in record["cells"]] == ["gelu"]
    host, failed, interrupted = record["left_out"]
    assert host.startswith("host time: ")
    assert failed == "gelu_tanh, bfloat16, 1,000: ValueError: an illegal memory access"
    assert interrupted == "all that follows: interrupted"


def test_without_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a CUDA device")
    for what in ("bandwidth", "counters"):
        assert cli.main(["bench", what]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "no CUDA device" in captured.err
        assert ("--device cpu needs no GPU" in captured.err) == (what == "bandwidth")


# --- with a GPU ---


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", bandwidth.DTYPES)
def test_all_contestants_on_a_device(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy  # noqa: TID251

    # test_on_a_device has it; it takes seconds for each function and dtype.
    monkeypatch.setattr(activation, "why_not_compiled", lambda device: "left out in this test")
    for function in ("gelu_tanh", "softplus", "swiglu"):
        left_out: list[str] = []
        runs = contestants.contestants(function, dtype, 1 << 16, "cuda", left_out.append)
        assert {"copy", "loop", "formula", "fast"} <= runs.keys(), left_out
        assert "CuPy" in runs or dtype == "bfloat16", left_out
        out = next(iter(runs.values())).args[0][: 1 << 16]
        x = rivals.normal(cupy, (2 if function == "swiglu" else 1) << 16, dtype)
        x = cupy.asnumpy(x.astype(cupy.float64))
        exact = FUNCTIONS["silu" if function == "swiglu" else function](x[: 1 << 16])
        exact = exact * x[1 << 16 :] if function == "swiglu" else exact
        for who in ("formula", "fast", contestants.default_kind(function, dtype)):
            out.view("u1").fill(0xFF)  # NaN, whatever the dtype
            runs[who]()
            error = np.abs(cupy.asnumpy(out.astype(cupy.float64)) - exact)
            spacing = 2.0 ** -{"float16": 10, "bfloat16": 7, "float32": 23}[dtype]
            assert (
                error <= 2.0**-8 * (who == "fast") + 8 * spacing * np.maximum(1, abs(exact))
            ).all()


@pytest.mark.gpu
def test_on_a_device() -> None:
    settings = replace(bandwidth.CUDA, dtypes=("bfloat16",), sizes=(1 << 16,), runs=3, limit=120)
    record = bandwidth.run(settings)
    found = cells.of(record)
    assert {cell.function for cell in found} == set(contestants.FUNCTIONS)
    assert all({"copy", "loop", "formula", "fast"} <= cell.times.keys() for cell in found)
    assert all(t.median > 0 for cell in found for t in cell.times.values())
    assert [t["state"] for t in record["targets"]].count("not measured") < 7
    graphs = [
        row for row in record["host"] if row["who"] == "cupylut" and row["library"] != "NumPy"
    ]
    assert graphs
    assert all(row["graph"] is not None for row in graphs), record["left_out"]


@pytest.mark.gpu
def test_what_is_queued_before_a_call_is_not_in_its_time() -> None:
    import cupy  # noqa: TID251

    x = cupy.ones(1 << 10)
    run = {"copy": lambda: cupy.copyto(x, x)}
    alone = timing.measure(run, "cuda", 20, 1.0)["copy"]
    after = timing.measure(run, "cuda", 20, 1.0, bandwidth.flush("cuda"))["copy"]
    assert after.median < alone.median + 50
