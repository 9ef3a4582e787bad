"""docs/architecture.md: the list of modules is complete, and imports point down it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cupylut"


def rows() -> dict[str, int]:
    """Module or package -> its place in the table."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    names = [re.findall(r"`(\w+)(?:\.py|/)`", cell) for cell in cells]
    return {name: place for place, row in enumerate(names) for name in row}


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports when it is imported."""
    here = ("cupylut", *path.relative_to(PACKAGE).parts)
    for node in outside_functions(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("cupylut.")]
        if isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            for alias in node.names:
                whole = (*module, alias.name)
                if whole[0] == "cupylut" and len(whole) > 1:
                    yield whole[1]


def test_every_module_is_listed() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rows().keys() == modules | packages


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_down(path: Path) -> None:
    place = rows()
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path):
        assert name not in place or place[name] >= place[own], f"{own} imports {name}, above it"


def test_the_reading_of_imports_itself() -> None:
    assert {"dtypes", "tables", "fitting"} <= set(imported(PACKAGE / "fitting" / "__main__.py"))
    assert set(imported(PACKAGE / "ties.py")) == {"declaration", "names"}
