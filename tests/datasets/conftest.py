"""A folder of data sets for a test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that HASHDB_DATA names."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("HASHDB_DATA", str(folder))
    return folder


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch):
    """Let the sets be smaller than the published ones: forget the sizes of some files."""
    from dataclasses import replace

    from hashdb.datasets import catalogue

    def forget(name: str) -> None:
        info = catalogue.get(name)
        layouts = tuple(
            replace(layout, files=tuple(replace(file, size=None, sha256=None) for file in layout.files))
            for layout in info.layouts
        )
        monkeypatch.setitem(catalogue._ALL, name, replace(info, layouts=layouts))

    return forget
