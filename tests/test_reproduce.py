"""paper/: the paper's experiments, redone; their figures, and the command."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, ndtr

import cupylut
from cupylut import cli
from cupylut.measuring import environment, timing
from cupylut.paper import (
    activation,
    figure1,
    figure2,
    losses,
    models,
    pictures,
    reproduce,
    summary,
    table1,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TINY = replace(
    reproduce.CPU,
    sizes=(32,),
    tokens=(1, 3),
    model_tokens=(2, 4),
    batches=(1,),
    reduction=models.Reduction(layers=1, vocabulary=50),
    training_steps=2,
    runs=3,
    seconds=0.0,
)
WHO = {"copy", "as written", "cupylut"}


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activation, "why_not_compiled", lambda device: "no compiler in this test")
        patch.setattr(figure2, "LENGTH", 2)
        patch.setattr(reproduce, "ARCHITECTURES", ("BERT", "GPT-2"))
        patch.setattr(losses, "SIZE", 64)
        patch.setattr(losses, "MODELS", ("silu",))
        patch.setattr(losses, "measure", partial(losses.measure, characters=640))
        return reproduce.run(reproduce.PARTS, TINY)


# ---- errors and losses --------------------------------------------------------------------------


EXACT: dict[str, Any] = {
    "gelu_tanh": lambda x: x * expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x * expit(x),
}


@pytest.mark.parametrize("function", EXACT)
def test_errors_are_those_of_interpolation_and_calibration_wins_the_mean(function: str) -> None:
    """On inputs that no table has seen, at the paper's size."""
    exact = EXACT[function]
    x = table1.inputs(function).held_out.astype(np.float64)
    rows = {row.domain: row for row in table1.measure(function, 1024)}
    assert tuple(rows) == table1.DOMAINS
    for row in rows.values():
        nodes = np.linspace(row.lo, row.hi, 1024)
        y = np.interp(x, nodes, exact(nodes))
        y[x < row.lo] = 0
        y[x > row.hi] = x[x > row.hi]
        error = np.abs(y - exact(x))
        found = row.held_out
        assert found.mean_abs == pytest.approx(error.mean(), rel=2e-2)
        assert found.rms == pytest.approx(np.sqrt((error**2).mean()), rel=2e-2)
        assert found.max_abs == pytest.approx(error.max(), rel=2e-2)
        assert found.relative == pytest.approx(error.mean() / np.abs(exact(x)).mean(), rel=2e-2)
        assert row.worst >= found.max_abs * 0.999
        assert row.outside == ((x < row.lo) | (x > row.hi)).mean()
    mean = {domain: row.held_out.mean_abs for domain, row in rows.items()}
    assert mean["calibrated"] < 0.9 * mean["worst case"]
    assert mean["calibrated"] < mean["paper"] / 20
    assert min(rows, key=lambda d: rows[d].held_out.max_abs) == "worst case"
    assert min(rows, key=lambda d: rows[d].normal.mean_abs) == "N(0, 1)"


def test_no_input_is_both_fitted_and_held_out() -> None:
    whole = cupylut.data.minilm_gelu_inputs()
    found = table1.inputs("gelu")
    assert found.fitted.size == found.held_out.size == whole.size // 2
    both = np.concatenate([found.fitted, found.held_out])
    np.testing.assert_array_equal(np.sort(both), np.sort(whole.ravel()))
    training, held_out = cupylut.data.character_inputs("silu")
    np.testing.assert_array_equal(table1.inputs("silu").fitted, training.ravel())
    np.testing.assert_array_equal(table1.inputs("silu").held_out, held_out.ravel())


def test_losses(record: dict[str, Any]) -> None:
    rows = record["table1"]["losses"]
    found = {row["activation"]: row for row in rows}
    exact = found["exact"]
    assert exact["change"] == exact["per_character"] == 0
    for row in rows:
        assert row["model"] == "silu"
        assert row["change"] == pytest.approx(row["loss"] - exact["loss"], abs=1e-9)
        assert abs(row["change"]) <= row["per_character"]
    assert found["PyTorch float32"]["per_character"] < 2e-6
    assert found["cupylut float32, within one ulp"]["per_character"] < 2e-6
    assert found["cupylut bfloat16"]["per_character"] > 1e-5  # it is the 16-bit table
    assert len(found) == len(rows) == 7 + len(table1.DOMAINS)


def test_nats_are_those_of_the_model() -> None:
    train = pytest.importorskip("cupylut.data.train")
    text = train.corpus()
    model = train.Model(len(text.alphabet), "silu")
    part = text.held_out[:1000]
    nats = losses.nats(model, part, torch.relu)
    assert nats.size == 1000 // train.CONTEXT * (train.CONTEXT - 1)
    assert nats.mean() == pytest.approx(model.loss(part, torch.relu), rel=1e-5)


# ---- contestants -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("function", activation.USES)
def test_contestants_compute_the_same(function: str, dtype: str) -> None:
    x = torch.linspace(-6, 6, 1001).to(getattr(torch, dtype))
    exact = cupylut.FUNCTIONS[function](x.double().numpy())
    found = activation.contestants(function, dtype)
    assert torch.equal(found.pop("copy")(x), x)
    assert ("fused" in found) == (function == "gelu_tanh")
    for evaluate in found.values():
        y = evaluate(x).double().numpy()
        np.testing.assert_allclose(y, exact, atol=0.05 if dtype == "bfloat16" else 1e-4)


# ---- the record, and the command ----------------------------------------------------------------


def test_the_record(record: dict[str, Any]) -> None:
    assert record == reproduce.read(json.dumps(record))
    where = record["environment"]
    assert where["device"] == "cpu"
    assert where["versions"].keys() >= {"python", "cupylut", "numpy", "torch", "transformers"}
    assert record["left_out"] == ["torch.compile: no compiler in this test"]
    errors = record["table1"]["errors"]
    assert len(errors) == 3 * len(TINY.sizes) * len(table1.DOMAINS)
    speed = record["table1"]["speed"]
    assert [(r["function"], r["tokens"]) for r in speed] == [
        (f, n) for f in activation.USES for n in (1, 3)
    ]
    for row in speed:
        assert row["times"].keys() - {"fused"} == WHO | {"linear table"}
        times = {who: timing.Time(**taken) for who, taken in row["times"].items()}
        assert row["fastest"] == timing.fastest(times)
    assert [row["tokens"] for row in record["figure1"]] == [2, 4]
    for row in record["figure1"]:
        for who in ("as written", "fused", "cupylut"):
            share = row["activation"][who]["median"] / row["model"][who]["median"]
            assert row["share"][who] == pytest.approx(share * row["layers"])
    assert [row["model"] for row in record["figure2"]] == ["BERT", "GPT-2"]
    assert figure2.GAINS.keys() == models.ARCHITECTURES.keys()
    for row in record["figure2"]:
        assert row["times"].keys() - {"fused"} == WHO
        ratio = row["times"]["as written"]["median"] / row["times"]["cupylut"]["median"]
        assert row["gain"][0] == pytest.approx(ratio)
        assert row["gain"][1] <= ratio <= row["gain"][2]


def test_the_summary_says_what_is_so(record: dict[str, Any]) -> None:
    text = " ".join(summary.as_text(record).split())
    for said in (
        "not reproducible as defined",
        "Reduced for the CPU: models have 1 of their layers and a vocabulary of 50",
        "say nothing about a GPU",
        "Left out: torch.compile: no compiler in this test.",
        "OpenAI GeLU, published -2.567 2.538 0.1026 %",
        "SiLU, published -3.844 3.612 0.7595 % 1.97x",
        "and are clipped",
        "GPT-2",
    ):
        assert said in text
    busy = {**record, "environment": {**record["environment"], "busy": True}}
    quiet = {**record, "environment": {**record["environment"], "busy": False}}
    assert "shared machine" in summary.as_text(busy)
    assert "shared machine" not in summary.as_text(quiet)


def test_the_environment_names_the_commit_of_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment.commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUPYLUT_COMMIT", raising=False)
    assert environment.commit() is None
    monkeypatch.setenv("CUPYLUT_COMMIT", "abc")
    assert environment.commit() == "abc"


@pytest.fixture
def quick(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The command with results that are there already."""
    monkeypatch.chdir(tmp_path)

    def run(parts: Any, settings: Any, progress: Any) -> dict[str, Any]:
        assert settings == replace(reproduce.CPU, tokens=settings.tokens)
        head = ("format", "environment", "settings", "left_out")
        found = {key: record[key] for key in (*head, *parts)}
        if not settings.tokens:
            found["table1"] = {**record["table1"], "speed": []}
        return found

    monkeypatch.setattr(reproduce, "run", run)
    return record


def test_the_command(quick: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "all", "--json", "r.json", "--plot", "r.png"]) == 0
    output = capsys.readouterr().out
    assert summary.as_text(quick) in output
    assert json.loads(Path("r.json").read_text()) == quick
    assert Path("r.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert cli.main(["reproduce", "figure1"]) == 0
    output = capsys.readouterr().out
    assert "Figure 1" in output
    assert "Figure 2" not in output


def test_errors_without_times(quick: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "all", "--errors-only", "--plot", "r.png"]) == 0
    output = capsys.readouterr().out
    assert "no times were taken" in output
    assert "Table 1" in output
    for absent in ("shared machine", "Speed of the activation", "Figure", "cupylut, float32"):
        assert absent not in output
    assert cli.main(["reproduce", "figure1", "--errors-only"]) == 2
    assert "figure1 has no errors, only times" in capsys.readouterr().err


def test_times_without_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As on a GPU; what fails or is interrupted loses nothing that was measured before."""
    time = activation.time

    def timed(function: str, dtype: str, tokens: int, *rest: Any) -> Any:
        if function == "gelu":
            raise KeyboardInterrupt
        if tokens == 8:
            raise TypeError("no such thing")
        return time(function, dtype, tokens, *rest)

    monkeypatch.setattr(activation, "time", timed)
    monkeypatch.setattr(activation, "why_not_compiled", lambda device: "no compiler")
    monkeypatch.setitem(reproduce.SETTINGS, "cpu", replace(TINY, tokens=(8, 16)))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", "all", "--times-only", "--json", "t.json"]) == 1
    record = json.loads(Path("t.json").read_text())
    assert [(row["function"], row["tokens"]) for row in record["table1"]["speed"]] == [
        ("gelu_tanh", 16)
    ]
    assert record["table1"]["errors"] == record["table1"]["losses"] == []
    assert record.keys().isdisjoint({"figure1", "figure2"})
    assert record["left_out"] == [
        "torch.compile: no compiler",
        "speed of gelu_tanh, float32, tokens 8: TypeError: no such thing",
        "all that follows: interrupted",
    ]
    output = capsys.readouterr().out
    assert "Speed of the activation" in output
    assert "Errors by number of nodes" not in output
    assert pictures.keys(record) == ["speed"]


@pytest.mark.parametrize("rows", [figure1.rows, partial(figure2.rows, "BERT")])
def test_without_time_no_model_is_built(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for figure in (figure1, figure2):
        monkeypatch.delattr(figure, "build")
    assert list(rows([], "float32", None, "cpu", 1, 0.0)) == []


def test_results_are_written_before_they_are_shown(
    quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(summary, "as_text")
    with pytest.raises(AttributeError):
        cli.main(["reproduce", "all", "--json", "r.json"])
    assert json.loads(Path("r.json").read_text()) == quick


def test_an_interrupt_among_the_errors(record: dict[str, Any]) -> None:
    errors = [row for row in record["table1"]["errors"] if row["function"] == "gelu_tanh"]
    rest = {"errors": errors, "losses": [], "speed": []}
    text = summary.as_text(record | {"table1": record["table1"] | rest})
    assert "gelu_tanh, calibrated" in text
    assert "gelu, calibrated" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce"], "part"),
        (["reproduce", "table2"], "invalid choice"),
        (["reproduce", "all", "--device", "tpu"], "invalid choice"),
        (["reproduce", "all", "--json", "no/such/r.json"], "there is no folder 'no/such'"),
        (["reproduce", "all", "--plot", "no/such/r.png"], "there is no folder 'no/such'"),
        (["reproduce", "all", "--plot", "r.jpg"], ".png"),
        (["report"], "FILE.json"),
        (["report", "missing.json"], "No such file"),
        (["report", "notes.txt"], "no results of"),
        (["report", "list.json"], "no results of"),
        (["report", "picture.png"], "no results of"),
        (["report", "other.json"], "format 'other'"),
        (["report", "empty.json"], "without any of table1, figure1, figure2"),
    ],
)
def test_mistakes_end_in_one_line(
    quick: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    Path("notes.txt").write_text("not JSON")
    Path("list.json").write_text("[1, 2]")
    Path("picture.png").write_bytes(b"\x89PNG\r\n")
    Path("other.json").write_text('{"format": "other"}')
    Path("empty.json").write_text(json.dumps({"format": reproduce.FORMAT}))
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_part_that_fails_does_not_lose_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access\nmore of it")

    row = {"tokens": 2, "dtype": "float32", "layers": 1, "fastest": ["fused"]}
    times = {who: {"median": 1.0} for who in ("as written", "fused", "cupylut")}
    row |= {"model": times, "activation": times, "share": dict.fromkeys(times, 0.5)}
    monkeypatch.setattr(reproduce, "_table1", fail)
    monkeypatch.setattr(reproduce, "_figure1", lambda *of: of[-1].update(figure1=[row]))
    monkeypatch.setattr(reproduce, "_figure2", fail)
    assert cli.main(["reproduce", "all"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "Left out: table1: RuntimeError: CUDA error: an illegal memory access." in output
    assert "Figure 1: share" in output
    assert cli.main(["reproduce", "figure2"]) == 2
    assert "nothing could be measured: figure2: RuntimeError" in capsys.readouterr().err


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert cli.main(["reproduce", "all", "--device", "cuda"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "CUDA" in captured.err


def test_without_transformers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        reproduce, "installed", lambda name: None if name == "transformers" else torch
    )
    assert cli.main(["reproduce", "table1"]) == 2
    assert "need transformers: pip install" in capsys.readouterr().err


def test_seconds_are_shared_out_as_the_limits_are() -> None:
    assert reproduce.CUDA.within(None) is reproduce.CUDA
    assert reproduce.CUDA.within(190).limits == (60, 30, 100)
    assert reproduce.CUDA.within(190).seconds == reproduce.CUDA.seconds / 2


@pytest.mark.gpu
def test_on_a_device() -> None:
    settings = replace(TINY, device="cuda", dtypes=("float32", "float16"))
    found = reproduce.run(["figure1", "figure2"], settings)
    assert {row["dtype"] for row in found["figure1"]} == {"float32", "float16"}
    row = activation.time("gelu", "float16", 64, "cuda", 5, 5.0)
    assert min(taken.median for taken in row.times.values()) > 0
