"""`hashdb repair` writes inside of its index only, and what stands in the way of a file is named before it writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from storage_kit import tree

import hashdb
from guarantees.damage_kit import cli, flip, manifest_of
from guarantees.repair_fixtures import fixture_bare, fixture_chunked, fixture_master, fixture_path, fixture_right  # noqa: F401
from guarantees.repair_kit import segment
from hashdb.errors import StorageError

FOLDERS = {
    "segments": lambda path: path / "segments",
    "segments/*": lambda path: segment(path, 0),
    "segments/*/buckets": lambda path: segment(path, 0) / "buckets",
    "segments/*/codes": lambda path: segment(path, 0) / "codes",
    "models": lambda path: path / "models",
    "models/*": lambda path: path / "models" / manifest_of(path)["model"]["uuid"],
    "models/*/*": lambda path: path / "models" / manifest_of(path)["model"]["uuid"] / "state.weights_image",
    "deletes": lambda path: path / "deletes",
    "deletes/*": lambda path: path / "deletes" / a_list(path),
    "deletes/*/rows": lambda path: path / "deletes" / a_list(path) / "rows",
    "manifests": lambda path: path / "manifests",
}


def a_list(path: Path) -> str:
    return manifest_of(path)["segments"][0]["deletes"][0]["uuid"]


@pytest.mark.parametrize("holds", ["its own", "others' data", "nothing", "not there"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_repair_writes_nothing_through_a_linked_folder_and_names_it(path, tmp_path, name, holds):
    folder, away = FOLDERS[name](path), tmp_path / "away" / "somebody.zarr"
    away.parent.mkdir()
    flip(segment(path, 1) / "codes" / "c" / "0" / "0", 4)
    flip(segment(path, 1) / "vectors" / "c" / "0" / "0", 4)
    shutil.move(folder, away)
    if holds != "its own":
        shutil.rmtree(away)
    if holds not in ("its own", "not there"):
        away.mkdir()
        if holds != "nothing":
            (away / "zarr.json").write_text("PRECIOUS")
    folder.symlink_to(away)
    before, inside = everything(away.parent), tree(path)
    for flags in ({}, {"drop": True, "dry_run": True}, {"dry_run": True}, {"drop": True}):
        try:
            hashdb.repair(path, **flags)
        except hashdb.HashDBError as error:
            assert f"{folder} is a symbolic link" in str(error)  # noqa: PT017
            assert tree(path) == inside
        else:
            assert holds == "not there"  # then it is the same as a folder that is missing
        assert everything(away.parent) == before


def everything(top: Path) -> dict[str, bytes | None]:
    return {str(one): one.read_bytes() if one.is_file() else None for one in sorted(top.rglob("*"))}


@pytest.mark.parametrize("drop", [False, True])
def test_a_link_in_the_place_of_a_document_is_replaced_by_the_document(path, tmp_path, drop):
    before, away = tree(path), tmp_path / "away"
    away.mkdir()
    (tmp_path / "mine.json").write_text("PRECIOUS")
    for file, target in ((segment(path, 0) / "segment.json", tmp_path / "mine.json"), (path / "zarr.json", away)):
        file.unlink()
        file.symlink_to(target)
    assert hashdb.repair(path, drop=drop).ok
    assert tree(path) == before
    assert not (path / "zarr.json").is_symlink()
    assert ((tmp_path / "mine.json").read_text(), list(away.iterdir())) == ("PRECIOUS", [])


PLACES = {
    "zarr.json": lambda path: path / "zarr.json",
    "segments/zarr.json": lambda path: path / "segments" / "zarr.json",
    "segment.json": lambda path: segment(path, 0) / "segment.json",
    "codes": lambda path: segment(path, 0) / "codes" / "c" / "0" / "0",
}


@pytest.mark.parametrize("name", PLACES)
def test_an_empty_folder_in_the_place_of_a_file_gives_way_to_it(path, name):
    before, file = tree(path), PLACES[name](path)
    file.unlink()
    file.mkdir()
    assert hashdb.repair(path, dry_run=True).ok
    assert hashdb.repair(path).ok
    assert tree(path) == before


@pytest.mark.parametrize("name", PLACES)
def test_a_full_folder_in_the_place_of_a_file_is_named_and_stays(path, name):
    file = PLACES[name](path)
    file.unlink()
    file.mkdir()
    (file / "mine.txt").write_text("PRECIOUS")
    before = tree(path)
    for flags in ({"dry_run": True}, {}, {"drop": True}):
        with pytest.raises(
            StorageError, match=r"is a folder that is not empty; a file belongs there.* move it"
        ) as info:
            hashdb.repair(path, **flags)
        assert str(info.value).startswith(str(file))
        assert tree(path) == before
    shutil.move(file, path.parent / "moved")
    assert hashdb.repair(path).ok


@pytest.mark.parametrize("name", ["segments", "deletes"])
def test_a_file_in_the_place_of_a_folder_is_named_and_stays(path, name):
    shutil.move(path / name, path.parent / "moved")
    (path / name).write_text("PRECIOUS")
    before = tree(path)
    for flags in ({"dry_run": True}, {}, {"drop": True}):
        with pytest.raises(StorageError, match=r"is not a folder; one belongs there.* move it") as info:
            hashdb.repair(path, **flags)
        assert str(info.value).startswith(str(path / name))
        assert tree(path) == before
    said = cli("repair", path)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1)
