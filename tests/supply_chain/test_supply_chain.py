"""What is declared is what is imported, with a lowest version and no highest one."""

from __future__ import annotations

import ast
import sys

import pytest

from supply_chain.dependencies import ROOT, declared, lowest, requirements

# Distributions whose modules have other names.
MODULES = {"scikit-learn": "sklearn", "google-crc32c": "google_crc32c", "faiss-cpu": "faiss"}
# What another of them brings and needs itself.
COMES_WITH = {"llvmlite": "numba", "PIL": "matplotlib"}


def imported():
    """Name what hashdb and its plugins import, wherever in a module that stands."""
    found = {}
    for path in [*(ROOT / "hashdb").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            found.update((name.split(".")[0], path) for name in names)
    return {
        name: path
        for name, path in found.items()
        if name not in sys.stdlib_module_names and name not in ("hashdb", "hashdb_plugins")
    }


def test_everything_that_is_imported_is_declared():
    names = {MODULES.get(name, name) for name in requirements("report", "formats")}
    missing = {COMES_WITH.get(name, name): path for name, path in imported().items()}
    assert {name: path for name, path in missing.items() if name not in names} == {}


def test_everything_that_is_declared_for_all_is_imported():
    assert {MODULES.get(name, name) for name in requirements()} <= set(imported())


@pytest.mark.parametrize("extra", list(declared()))
def test_every_dependency_has_a_lowest_version_and_only_zarr_a_highest(extra):
    found = requirements(*[extra] if extra else [])
    assert len(lowest(*[extra] if extra else [])) == len(found) > 0
    capped = {name: bounds for name, bounds in found.items() if "<" in bounds or "==" in bounds or "~" in bounds}
    assert capped == {"zarr": found["zarr"]}
    assert found["zarr"].endswith(",<4")
