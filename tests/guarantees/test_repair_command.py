"""The command `hashdb repair` says what it puts back and what is lost, and writes the ids of that first."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from storage_kit import raw_content, tree

import hashdb
from guarantees.damage_kit import N_IMAGES, cli, rows
from guarantees.repair_fixtures import fixture_bare, fixture_chunked, fixture_master, fixture_path, fixture_right  # noqa: F401
from guarantees.repair_kit import damage, segment
from hashdb.errors import IndexExistsError, StorageError


def test_the_command_repairs_and_says_how(path, right):
    (path / "segments" / "zarr.json").unlink()
    said = cli("repair", path, "--dry-run")
    assert (said.returncode, said.stderr) == (0, "")
    assert f"would be restored: {path / 'segments' / 'zarr.json'}" in said.stdout
    said = cli("repair", path)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[-1] == f"{path}: repaired, nothing lost"
    assert cli("repair", path).stdout == f"{path}: nothing to repair; version 3\n"


def test_the_command_loses_only_when_told_and_says_which_ids(chunked, tmp_path):
    (segment(chunked, 0) / "vectors" / "c" / "0" / "0").unlink()
    damage(segment(chunked, 0) / "codes" / "c" / "0" / "0", "flipped")
    before, kept = tree(chunked), read_raw(chunked)
    said = cli("repair", chunked, "--lost", tmp_path / "lost.txt")
    assert said.returncode == 1
    assert "has 2 things that cannot be saved; --drop gives them up and keeps the rest" in said.stderr
    assert said.stdout.startswith("cannot be saved: ")
    assert "ids 0, 3, 6" in said.stdout
    assert "cannot be saved: version 3 needs what is lost: giving it up removes versions 1 to 3" in said.stdout
    assert tree(chunked) == before
    lost = [int(line) for line in (tmp_path / "lost.txt").read_text().split()]
    assert lost == [one for one in range(0, 3 * 64, 3) if one in kept]
    said = cli("repair", chunked, "--drop")
    assert (said.returncode, said.stdout) == (1, "")
    assert "--lost FILE; nothing was changed" in said.stderr
    assert tree(chunked) == before
    said = cli("repair", chunked, "--drop", "--dry-run", "--lost", tmp_path / "again.txt")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("would be lost: ")
    assert said.stdout.endswith(f"{chunked}: would be repaired, {len(lost)} rows lost, versions given up; version 4\n")
    assert (tmp_path / "again.txt").read_text() == (tmp_path / "lost.txt").read_text()
    assert tree(chunked) == before
    said = cli("repair", chunked, "--drop", "--json")
    assert said.returncode == 0
    report = json.loads(said.stdout)
    assert (report["ok"], report["dropped"], report["losses"][0]["ids"][0]) == (True, True, [0, 0])
    assert set(raw_content(chunked)) == set(kept) - set(lost)


def test_ids_are_in_their_file_before_they_are_dropped(chunked, tmp_path, monkeypatch):
    damage(segment(chunked, 0) / "ids" / "c" / "0", "flipped")
    before, file = tree(chunked), tmp_path / "lost.txt"
    monkeypatch.setattr("hashdb.cli.saving.replacing", refuse)
    said = cli("repair", chunked, "--drop", "--lost", file)
    assert (said.returncode, said.stderr) == (1, "hashdb: cannot write\n")
    assert tree(chunked) == before
    monkeypatch.undo()
    said = cli("repair", chunked, "--drop", "--lost", file)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"more; all are in {file})" in said.stdout
    assert said.stdout.endswith(f"{chunked}: repaired, up to {N_IMAGES - 10} rows lost, versions given up; version 4\n")
    assert len(file.read_text().split()) == N_IMAGES - 10


def test_ids_are_flushed_before_they_are_dropped(chunked, tmp_path, monkeypatch):
    damage(segment(chunked, 0) / "ids" / "c" / "0", "flipped")
    done, fsync, link = [], os.fsync, os.link

    def flushed(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def linked(*names):
        done.append("linked")
        link(*names)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "link", linked)
    assert cli("repair", chunked, "--drop", "--lost", tmp_path / "lost.txt").returncode == 0
    before = done[: done.index("linked")]
    (file,) = (number for number, name in enumerate(before) if "lost.txt" in name)
    assert str(tmp_path) in before[file:]


def refuse(*_: object, **__: object) -> None:
    raise StorageError("cannot write")


def test_a_file_of_ids_is_written_only_where_ids_are_lost(path, chunked, tmp_path):
    file = tmp_path / "lost.txt"
    file.write_text("mine")
    for flags in ([], ["--drop"]):
        assert cli("repair", path, "--lost", file, *flags).returncode == 0
        assert file.read_text() == "mine"
    (segment(chunked, 0) / "ids" / "c" / "0").unlink()
    said = cli("repair", chunked, "--drop", "--lost", file)
    assert said.stderr == f"note: the ids of up to {N_IMAGES - 10} rows cannot be read; {file} does not have them\n"
    assert file.read_text() == "mine"


def test_damaged_tables_are_told_once(path, caplog):
    damage(segment(path, 0) / "buckets" / "0" / "rows" / "c" / "0", "emptied")
    said = cli("repair", path)
    assert (said.returncode, said.stderr, caplog.messages) == (0, "", [])
    assert said.stdout.count("buckets") == 2  # the folder, and the file in the reason
    assert said.stdout.endswith("repaired, nothing lost; version 4\n")


def test_an_index_whose_manifests_are_gone_is_not_built_over(path):
    for file in path.glob("manifests/0*.json"):
        file.unlink()
    before = tree(path)
    said = cli("info", path)
    assert "it has no manifest: a build was not finished, or its manifests were removed" in said.stderr
    assert "restore manifests/ from a copy" in cli("repair", path).stderr
    with pytest.raises(IndexExistsError, match=r"\(a folder in deletes/\).*restore manifests/ from a copy"):
        hashdb.build(path, rows()["image"], method="lsh", n_bits=16)
    assert tree(path) == before


def read_raw(path: Path) -> list:
    """Ids by json and zarr, whatever the codes are."""
    return sorted(raw_content(path))


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_given_up_is_told_before_it_is(chunked, tmp_path, monkeypatch, as_json):
    damage(segment(chunked, 0) / "codes" / "c" / "0" / "0", "flipped")
    damage(segment(chunked, 0) / "vectors" / "c" / "0" / "0", "flipped")
    flags = ["--json"] if as_json else ["--lost", tmp_path / "lost.txt"]

    def stopped(*_: object, **__: object) -> None:
        raise StorageError("stopped after it")

    monkeypatch.setattr("hashdb.storage.repair.forget_versions", stopped)
    said = cli("repair", chunked, "--drop", *flags)
    assert said.returncode == 1
    assert said.stderr.endswith("hashdb: stopped after it\n")
    told = (said.stderr if as_json else said.stdout).splitlines()
    told = [line.removeprefix("giving up: ") for line in told if line.startswith("giving up: ")]
    assert len(told) == 2
    if as_json:
        assert said.stdout == ""
        assert [json.loads(line)["what"] for line in told] == ["rows", "versions"]
        assert json.loads(told[0])["ids"][0] == [0, 0]
    else:
        assert "its rows are lost (" in told[0]
        assert "giving it up removes versions 1 to 3" in told[1]


def test_what_was_told_before_it_is_given_up_is_not_told_twice(chunked, tmp_path):
    damage(segment(chunked, 0) / "ids" / "c" / "0", "flipped")
    said = cli("repair", chunked, "--drop", "--lost", tmp_path / "lost.txt")
    assert (said.returncode, said.stderr) == (0, "")
    assert [line.split(":")[0] for line in said.stdout.splitlines()] == ["giving up", "giving up", str(chunked)]


def test_a_repair_that_cannot_be_verified_is_not_called_damage(chunked, tmp_path, monkeypatch):
    damage(segment(chunked, 0) / "ids" / "c" / "0", "flipped")
    monkeypatch.setattr("hashdb.storage.maintain.verify", refuse)
    said = cli("repair", chunked, "--drop", "--lost", tmp_path / "lost.txt")
    assert said.returncode == 1
    assert said.stdout.endswith(f"{chunked}: repaired, up to {N_IMAGES - 10} rows lost, versions given up; version 4\n")
    assert said.stderr == f"hashdb: {chunked}: it was repaired and cannot be verified: cannot write\n"
