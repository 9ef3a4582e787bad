"""benchmarks/roofline.py and performance.py: the model's arithmetic by hand, and its page."""

import json
from pathlib import Path

import pytest
from made_up import made_cell, made_record

from cupylut import cli
from cupylut.benchmarks import performance, roofline
from cupylut.benchmarks.counts import COUNTS, Case
from cupylut.measuring import records


def test_prediction_by_hand() -> None:
    """bfloat16 direct on an H100: the slowest of memory, issue, units and shared memory."""
    case = ("bfloat16", "direct", "gelu")
    p = roofline.predict(roofline.CARDS["h100"], case)
    count = COUNTS[case][90]
    clocks = 132 * 1.98e9
    assert p.instructions == count.instructions / 16
    assert (p.reads, p.read_bytes, p.moved_bytes) == (1, 2, 4)
    passes_of_vectors = 32 * 4 / 128
    expected = {
        "memory": 4 / 3.35e12,
        "issue": count.instructions / 16 / (clocks * 128),
        "FMA": count.fma / 16 / (clocks * 128),
        "ALU": count.alu / 16 / (clocks * 64),
        "SFU": count.special / 16 / (clocks * 16),
        "FP64": 0,
        "shared": (p.passes + passes_of_vectors) / 32 / clocks,
    }
    assert p.seconds == pytest.approx(expected, rel=1e-12, abs=0)
    assert 3 < p.passes < 4
    assert p.bound == "memory"
    assert p.copy_fraction == 1
    assert p.load == pytest.approx(p.seconds["shared"] / p.seconds["memory"])


def test_bounds() -> None:
    """A card with slow double precision is bound by that; one with fast memory by the kernel."""
    slow = roofline.predict(roofline.CARDS["a6000"], ("float64", "linear", "gelu"))
    assert slow.bound == "FP64"
    assert slow.copy_fraction == slow.seconds["memory"] / slow.seconds["FP64"] < 1
    fast = roofline.predict(roofline.CARDS["b200"], ("float16", "linear", "gelu"))
    assert fast.bound == "shared"
    every_case = [
        roofline.predict(card, case) for card in roofline.CARDS.values() for case in COUNTS
    ]
    assert all(0 < p.copy_fraction <= 1 for p in every_case)
    assert all((p.copy_fraction == 1) == (p.load <= 1) for p in every_case)


def test_the_papers_gain_is_the_fusion() -> None:
    chain, fused, tabulated = roofline.paper()
    assert chain.moved_bytes == 4 * (6 * 2 + 2 * 3)
    assert fused.gain == pytest.approx(chain.moved_bytes / fused.moved_bytes) == 9
    assert tabulated.gain == 1
    assert abs(fused.gain * tabulated.gain / roofline.PAPER_GAIN - 1) < 0.01


def test_measurements_stand_beside(tmp_path: Path) -> None:
    """Of the largest array, on the same card."""
    case, card = ("bfloat16", "direct", "gelu"), roofline.CARDS["h100"]
    measured = [
        made_cell("gelu", "bfloat16", 1 << 28, copy=2.0, direct=2.5),
        made_cell("gelu", "bfloat16", 1 << 10, copy=2.0, direct=4.0),
        made_cell("swiglu", "float32", 1 << 28, copy=2.0, gate=3.2),
    ]
    (tmp_path / "h100.json").write_text(json.dumps(made_record(measured)))
    (tmp_path / "another.json").write_text(json.dumps([1]))
    on_card = roofline.measured_on(card, tmp_path)
    assert on_card == measured
    assert roofline.measured(case, on_card) == 0.8
    assert roofline.measured(("float32", "product", "silu"), on_card) == 0.625
    assert roofline.measured(("float16", "direct", "gelu"), on_card) is None
    assert roofline.measured_on(roofline.CARDS["h200"], tmp_path) == []
    lines = "\n".join(roofline.report(card, tmp_path))
    assert lines.count("not measured") == len(COUNTS) - 2
    assert lines.count("0.80\n") == 1


@pytest.mark.parametrize("gpu", roofline.CARDS)
def test_command(
    gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["model", "--gpu", gpu, "--json", "model.json"]) == 0
    printed = capsys.readouterr().out
    assert roofline.CARDS[gpu].name in printed
    assert "Predicted" in printed
    on_card = roofline.measured_on(roofline.CARDS[gpu])
    fractions = [roofline.measured(case, on_card) for case in COUNTS]
    assert printed.count("not measured") == fractions.count(None)
    record = json.loads(Path("model.json").read_text(encoding="utf-8"))
    assert record["model"].startswith("predicted")
    assert [p["measured_copy_fraction"] for p in record["predicted"]] == fractions


# --- docs/performance.md ---

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def test_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert performance.document() == written, "run python -m cupylut model --markdown ..."


def test_results_are_found_from_any_folder() -> None:
    assert DOCUMENT.parent / "results" == records.RESULTS


def test_what_the_document_says() -> None:
    """The claims in its prose."""

    def fraction(gpu: str, case: Case) -> float:
        return roofline.predict(roofline.CARDS[gpu], case).copy_fraction

    at_the_limit = [case for case in COUNTS if case[0] != "float64"]
    assert all(fraction(g, c) == 1 for g in ("a6000", "a100", "h100") for c in at_the_limit)
    formulas = [case for case in COUNTS if case[1] == "formula"]
    wide = [case for case in formulas if case[0] == "float32"]
    narrow = [case for case in formulas if case[0] != "float32"]
    assert all(fraction(gpu, case) == 1 for gpu in roofline.CARDS for case in wide)
    assert any(fraction("h200", case) < 1 for case in narrow)
    fast = [case for case in COUNTS if case[1] == "fast"]
    assert all(fraction(gpu, case) == 1 for gpu in roofline.CARDS for case in fast)
    for gpu, card in roofline.CARDS.items():
        for dtype, _, function in fast:
            tables = (c for c in COUNTS if c[0] == dtype and c[1] in ("direct", "compact", "gate"))
            most = roofline.predict(card, (dtype, "fast", function)).instructions
            assert all(roofline.predict(card, c).instructions > most for c in tables), gpu
    assert all(fraction("b200", case) < 1 for case in narrow)
    for gpu, card in roofline.CARDS.items():
        for dtype, kind, function in (case for case in COUNTS if case[1] == "compact"):
            direct, full = ((dtype, other, "gelu") for other in ("direct", "full"))
            assert fraction(gpu, direct) == fraction(gpu, full) == 1
            assert round(fraction(gpu, (dtype, kind, function)), 2) >= 0.97
            assert roofline.predict(card, full).load > 0.8 * roofline.predict(card, direct).load
    polynomial = ("float64", "polynomial", "gelu")
    bounds = {gpu: roofline.predict(card, polynomial).bound for gpu, card in roofline.CARDS.items()}
    assert [gpu for gpu, bound in bounds.items() if bound == "FP64"] == ["a6000"]
    assert [gpu for gpu, bound in bounds.items() if bound == "shared"] == ["h200", "b200"]


def test_the_document_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["model", "--markdown", "page.md"]) == 0
    assert Path("page.md").read_text(encoding="utf-8") == performance.document()
