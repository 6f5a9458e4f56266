"""Plugins on sys.path without an installation, and one that notes what it is given."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashdb import registry

THIRD_PARTY = Path(__file__).parent.parent / "third_party"

Use = Callable[..., None]
Install = Callable[..., str]


@pytest.fixture
def use_folder() -> Iterator[Use]:
    """Put folders at the front of sys.path for the length of a test; a module loaded from them is forgotten after."""
    path, modules = list(sys.path), set(sys.modules)

    def use(*folders: Path) -> None:
        sys.path[:] = [*map(str, folders), *path]
        for name in [
            name for name in sys.modules if name.startswith(("hashdb_example", "hashdb_broken", "plugin_under_"))
        ]:
            del sys.modules[name]
        registry.refresh()

    yield use
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("hashdb_example", "hashdb_broken", "plugin_under_")):
            del sys.modules[name]
    registry.refresh()


@pytest.fixture
def third_party(use_folder: Use) -> None:
    """The complete third-party plugin."""
    use_folder(THIRD_PARTY)


@pytest.fixture
def install(tmp_path: Path, use_folder: Use) -> Install:
    """Write a plugin and its dist-info into a folder of their own: ``install(name, source) -> name``."""
    folders: list[Path] = []

    def write(name: str, source: str, distribution: str = "", version: str = "1.0", value: str = "") -> str:
        module = f"plugin_under_test_{len(folders)}"
        folder = tmp_path / f"site{len(folders)}"
        distribution = distribution or f"dist-of-{name}"
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text("import hashdb\nimport numpy as np\n" + textwrap.dedent(source))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[hashdb]\n{name} = {value or module}\n")
        folders.append(folder)
        use_folder(*folders)
        return name

    return write


NOSY = """
seen = []

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="nosy", title="Nosy", paper="", year=0, supervision={supervision!r},
                             min_bits=2, max_bits=6)

@hashdb.hookimpl
def fit(vectors, n_bits, labels):
    seen.append((vectors, labels))
    first = next(iter(vectors.values())) if isinstance(vectors, dict) else vectors
    return {{"n": np.array(n_bits), "history": np.arange(3.0), "training_codes": first[:, :n_bits] > 1}}

@hashdb.hookimpl
def project(state, vectors, modality):
    seen.append((len(vectors), modality))
    return vectors[:, : int(state["n"])].copy()
"""


@pytest.fixture
def nosy(install: Install) -> Callable[..., list]:
    """Install a method that notes what it is given: ``nosy(supervision)`` gives the list of that."""

    def make(supervision: str = "none") -> list:
        install("nosy", NOSY.format(supervision=supervision))
        registry.get("nosy")
        return sys.modules[registry.claims_of("nosy")[0].value].seen

    return make
