"""pyproject.toml: what is built holds all that a checkout has."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]


def test_every_package_is_listed() -> None:
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "cupylut").rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == found | {"cupylut.kernels"}
    assert SETUPTOOLS["package-dir"]["cupylut.kernels"] == "kernels"


def test_every_file_beside_the_code_is_listed() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        place = SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))
        files = [path.relative_to(ROOT / place) for path in (ROOT / place).rglob("*")]
        files = [file for file in files if (ROOT / place / file).is_file()]
        if package == "cupylut":
            files = [file for file in files if len(file.parts) == 1]
        for file in files:
            if file.suffix not in (".py", ".pyc"):
                assert any(fnmatch(str(file), pattern) for pattern in patterns), file
