"""pyproject.toml: what is built holds all that a checkout has."""

import tomllib
from pathlib import Path

import cupylut

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_every_module_for_a_library_has_an_extra() -> None:
    assert set(cupylut._MODULES) <= PROJECT["project"]["optional-dependencies"].keys()


def test_every_package_is_listed() -> None:
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "cupylut").rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == found | {"cupylut.kernels"}
    assert SETUPTOOLS["package-dir"]["cupylut.kernels"] == "kernels"


def test_every_file_beside_the_code_is_listed() -> None:
    for package in SETUPTOOLS["packages"]:
        place = ROOT / SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))
        patterns = SETUPTOOLS["package-data"].get(package, [])
        listed = {file for pattern in patterns for file in place.glob(pattern)}
        inner = [p.parent for p in place.rglob("__init__.py") if p.parent != place]
        for file in place.rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                assert file in listed or any(file.is_relative_to(i) for i in inner), file
