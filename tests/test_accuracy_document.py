"""benchmarks/accuracy.py: docs/accuracy.md is what the command writes."""

from pathlib import Path

import pytest

from cupylut.benchmarks import accuracy
from cupylut.measuring import markdown

DOCUMENT = Path(__file__).parents[1] / "docs" / "accuracy.md"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("function", ["gelu", "mish"])
def test_the_document_is_up_to_date(function: str, dtype: str) -> None:
    """Our own rows; PyTorch's depend on its version and the processor."""
    written = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [row for row in accuracy.measure(function, dtype) if "PyTorch" not in row.table]
    assert rows
    for row in rows:
        line = markdown.row(accuracy.cells(row))
        assert line in written, "run python -m cupylut accuracy --output ..."
