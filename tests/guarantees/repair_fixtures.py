"""Indexes to be damaged and repaired, as fixtures that a module of tests imports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import hashdb
from guarantees.damage_kit import answers, make

# Not in a conftest.py: to the neighbours `path` is a place without an index.


@pytest.fixture(scope="module", name="master")
def fixture_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("master") / "a.hashdb"
    make(path)
    return path


@pytest.fixture(scope="module", name="bare")
def fixture_bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without bucket tables, integer ids, several chunks."""
    path = tmp_path_factory.mktemp("bare") / "a.hashdb"
    make(path, "int64", chunk_bytes=512, tables=False)
    return path


@pytest.fixture(name="path")
def fixture_path(master: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "a.hashdb"))


@pytest.fixture(name="chunked")
def fixture_chunked(bare: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare, tmp_path / "b.hashdb"))


@pytest.fixture(scope="module", name="right")
def fixture_right(master: Path) -> list:
    with hashdb.open(master) as index:
        return answers(index)
