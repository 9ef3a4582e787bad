"""docs/performance.md with measurements, made up here: the page says what they do."""

import json
from pathlib import Path

from made_up import H100, made_cell, made_record
from test_bandwidth import FIGURE2, LARGE, good_cells

from cupylut.benchmarks import counters, measured, performance
from cupylut.benchmarks.cells import Cell
from cupylut.paper import reproduce

SLOW = [
    made_cell("gelu", "float32", LARGE, copy=9.0, loop=9.5, gate=20.0, linear=10.0, fast=16.0),
    made_cell("gelu", "float32", 1 << 10, copy=2.0, gate=3.0, PyTorch=2.0),
]


def written(
    folder: Path, cells: list[Cell], figure2: list[object] | None = None, name: str = H100
) -> str:
    (folder / "h100.json").write_text(json.dumps(made_record(cells)))
    if figure2 is not None:
        other = {"format": reproduce.FORMAT, "environment": {"name": name}, "figure2": figure2}
        (folder / "reproduce.json").write_text(json.dumps(other))
    return performance.document(folder)


def test_nothing_measured(tmp_path: Path) -> None:
    page = performance.document(tmp_path)
    assert "**Nothing on this page was measured on a GPU.**" in page
    assert "Measured on" not in page


def test_what_is_measured_comes_first(tmp_path: Path) -> None:
    page = written(tmp_path, good_cells())
    assert "Nothing on this page was measured" not in page
    assert page.index(f"## Measured on {H100}") < page.index("## Which table to use")
    assert f"`docs/results/h100.json`: 2026-01-02T03:04:05+00:00, commit {'f' * 40}" in page
    assert "python 3.12, cupy 14" in page
    assert "What missed its target" not in page
    assert "something else than the default" not in page
    lines = page.splitlines()
    (row,) = (line for line in lines if line.startswith("| mish bfloat16 | 268,435,456 |"))
    assert "**0.90**" in row
    assert row.endswith("won against PyTorch (1.15x) |")
    assert "| PyTorch | cupylut | float32 | 12.50 | 13.50 | 1.25 |" in lines


def test_what_is_lost_and_missed_is_said(tmp_path: Path) -> None:
    cells = [c for c in good_cells() if (c.function, c.dtype) != ("gelu", "float32")]
    lines = written(tmp_path, cells + SLOW).splitlines()
    assert "- gelu float32: lost to fast (0.80x); linear is faster." in lines
    assert "| gelu float32 | 0.67 PyTorch |  | 0.80 fast |" in lines
    start = lines.index("What missed its target, and why:")
    misses = "\n".join(lines[start : start + 8])
    assert "gelu, float32, 268,435,456 elements: 0.45. the loop alone reaches 0.95" in misses
    assert "bound by memory" in misses
    assert "gelu, float32, 1,024 elements: 0.67. a small array" in misses


def test_a_long_list_of_misses_is_cut(tmp_path: Path) -> None:
    many = [
        made_cell("silu", "float32", 1 << n, copy=1.0, gate=1.0, PyTorch=0.5 + n / 100)
        for n in range(10, 23)
    ]
    page = written(tmp_path, many)
    assert "silu, float32, 1,024 elements: 0.60" in page
    assert f"  - {len(many) - measured.MOST} more, nearer to it." in page
    assert "silu, float32, 4,194,304 elements: 0.72" not in page


def test_figure_2_of_the_same_device(tmp_path: Path) -> None:
    slower = [*FIGURE2, {**FIGURE2[0], "gain": [0.97, 0.9, 1.0]}]
    page = written(tmp_path, good_cells(), slower)
    assert "BERT, float16, batch 8: 0.97" in page
    assert "| not measured |" in written(tmp_path, good_cells(), slower, name="another GPU")


def test_counters_of_the_same_device(tmp_path: Path) -> None:
    figures = dict.fromkeys(counters.METRICS.values(), 12.5)
    row = {"what": "gelu float16", "figures": figures, "units": dict.fromkeys(figures, "")}
    record = {"format": counters.FORMAT, "environment": {"name": H100}, "elements": 8}
    (tmp_path / "counters.json").write_text(json.dumps({**record, "rows": [row]}))
    page = written(tmp_path, good_cells())
    assert "| gelu float16 | 12.5 | 12.5 | 12.5 | 12.5 | 12.5 | 12.5 |" in page


def test_a_cpu_is_no_gpu(tmp_path: Path) -> None:
    record = made_record(good_cells())
    record["environment"]["device"] = "cpu"
    (tmp_path / "cpu.json").write_text(json.dumps(record))
    assert "**Nothing on this page was measured on a GPU.**" in performance.document(tmp_path)
