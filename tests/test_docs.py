"""The Python in README.md and docs/ runs as it is printed there; sessions (>>>) run as doctests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(?!>>>)(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[object]:
    """Every block of Python with its place; those that import cupy need a GPU or its stand-in."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            marks = [pytest.mark.gpu(interpreted=True)] if "import cupy\n" in match[1] else []
            found.append(pytest.param(match[1], path, line, id=f"{path.name}:{line}", marks=marks))
    return found


@pytest.mark.parametrize(("code", "path", "line"), blocks())
def test_block(
    code: str, path: Path, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    padded = "\n" * (line - 1) + code  # errors name the line of the page
    exec(compile(padded, path, "exec"), {"__name__": "__main__"})


def test_there_are_blocks() -> None:
    assert len(blocks()) > 6
