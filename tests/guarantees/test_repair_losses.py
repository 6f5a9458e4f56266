"""`hashdb repair` loses nothing unless told to, then only what is damaged, and says by id what was lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from storage_kit import raw_content, tree

import hashdb
from guarantees.damage_kit import N_IMAGES, answers, cli, content, flip, ids_of, manifest_of, rows
from guarantees.repair_fixtures import fixture_bare, fixture_chunked, fixture_master, fixture_path, fixture_right  # noqa: F401
from guarantees.repair_kit import damage, read, segment
from hashdb.errors import CorruptIndexError, IndexNotFoundError, StorageError

IMAGES = ids_of("string", range(N_IMAGES))


def expect_loss(path: Path, lost: set, *, kept: dict) -> None:
    """Without `drop` nothing changes; with it exactly `lost` is lost, and what is left is sound."""
    before = tree(path)
    report = hashdb.repair(path)
    assert not report.ok
    assert not report.dropped
    assert tree(path) == before
    report = hashdb.repair(path, drop=True)
    assert (report.ok, report.dropped, report.problems) == (True, True, [])
    assert [int(file.stem) for file in path.glob("manifests/0*")] == [report.version]
    rows = [loss for loss in report.losses if loss.what == "rows"]
    assert set(np.concatenate([loss.ids for loss in rows]).tolist() if rows else []) == lost
    assert read(path) == kept == raw_content(path)


@pytest.mark.parametrize("name", ["ids", "codes"])
def test_only_what_a_damaged_file_holds_is_lost(chunked, name):
    """Codes are lost by chunks, where the vectors are damaged as well; ids take their segment along."""
    kept = read(chunked)
    first = segment(chunked, 0)
    if name == "ids":
        damage(first / "ids" / "c" / "0", "flipped")
        gone = {3 * i for i in range(N_IMAGES)} - {3 * i for i in range(10, 20)}
        before = tree(chunked)
        report = hashdb.repair(chunked)
        assert tree(chunked) == before
        loss, _ = report.losses
        assert (loss.what, loss.n_rows, loss.certain) == ("rows", len(gone), False)
        assert len(set(loss.ids.tolist()) - gone) == 1  # the damaged one
        assert hashdb.repair(chunked, drop=True).ok
        assert read(chunked) == {one: code for one, code in kept.items() if one not in gone}
        return
    chunk_rows = json.loads((first / "segment.json").read_text())["arrays"]["codes"]["chunk_rows"]
    damage(first / "codes" / "c" / "1" / "0", "deleted")
    shutil.rmtree(first / "vectors" / "c")
    lost = {3 * i for i in range(chunk_rows, 2 * chunk_rows)} & set(kept)
    expect_loss(chunked, lost, kept={one: code for one, code in kept.items() if one not in lost})


def test_rows_whose_vectors_are_damaged_keep_codes_and_ids(chunked):
    before = read(chunked)
    file = segment(chunked, 0) / "vectors" / "c" / "3" / "0"
    shape = json.loads((segment(chunked, 0) / "segment.json").read_text())["arrays"]["vectors"]
    damage(file, "flipped")
    report = hashdb.repair(chunked, drop=True)
    loss, _ = report.losses
    start = 3 * shape["chunk_rows"]
    wanted = {3 * i for i in range(start, start + shape["chunk_rows"])} & set(before)
    assert (loss.what, set(loss.ids.tolist()), loss.certain) == ("vectors", wanted, True)
    assert report.ok
    assert read(chunked) == before
    with hashdb.open(chunked) as index:
        data = rows()["image"]
        index.add(data[[one // 3 for one in loss.ids]], ids=loss.ids, upsert=True, modality="image")
        assert index.query(data[:2], k=3, rescore=2, modality="image").measure


def test_a_segment_whose_document_cannot_be_rebuilt_is_lost_as_a_whole(path):
    kept = read(path)
    first = segment(path, 0)
    (first / "segment.json").write_bytes(b"")
    damage(first / "vectors" / "c" / "0" / "0", "flipped")
    gone = set(IMAGES) - set(IMAGES[10:20])
    expect_loss(path, gone, kept={one: code for one, code in kept.items() if one not in gone})


def test_a_lost_list_of_deletes_brings_rows_back_and_says_so(path):
    kept = read(path)
    deleted = manifest_of(path)["segments"][0]["deletes"][0]["uuid"]
    with hashdb.open(path) as index:  # one of the deleted ids is in the index again, and must be so once only
        index.add(rows()["image"][600:601], ids=[IMAGES[12]], modality="image")
        again = index.get([IMAGES[12]])
    flip(path / "deletes" / deleted / "rows" / "c" / "0", 0, 0x40)
    before = tree(path)
    report = hashdb.repair(path)
    assert not report.ok
    assert tree(path) == before
    report = hashdb.repair(path, drop=True)
    assert report.ok
    loss, old = report.losses
    assert "giving it up removes versions 1 to 4; only the version without it is left" in old.message
    assert (loss.what, loss.n_rows, loss.certain) == ("deletes", 10, False)
    assert len(set(IMAGES[10:20]) - set(loss.ids.tolist())) == 1
    found = read(path)
    assert raw_content(path) == found  # which sees to it that no id is there twice
    assert set(found) == set(kept) | set(IMAGES[10:20])
    assert found[IMAGES[12]] == tuple(again[0].tolist())


@pytest.mark.parametrize("how", ["emptied", "another's"])
def test_a_damaged_newest_manifest_goes_back_to_the_version_before_only_when_told(path, how):
    newest = path / "manifests" / "000000000003.json"
    with hashdb.open(path, version=2) as index:
        wanted = content(index)
    newest.write_bytes(b"" if how == "emptied" else b"{}" * 300)
    with pytest.raises(CorruptIndexError, match="version 2 opens"):
        hashdb.open(path)
    expect_loss(path, set(), kept=wanted)
    assert manifest_of(path)["version"] == 4
    assert sorted(file.name for file in path.glob("manifests/0*")) == ["000000000004.json"]
    with hashdb.open(path) as index:
        index.add(rows()["image"][650:652], ids=["x", "y"], modality="image")
    assert hashdb.verify(path, deep=True).ok


def test_rows_that_a_damaged_manifest_added_are_named(chunked):
    with hashdb.open(chunked) as index:
        index.add(rows()["text"][500:510], ids=list(range(5000, 5030, 3)), modality="text", auto_compact=False)
        newest = chunked / "manifests" / f"{index.version:012d}.json"
    data = newest.read_bytes()
    newest.write_bytes(data[:-10] + b"0123456789")
    report = hashdb.repair(chunked, dry_run=True)
    assert not report.ok
    found = [loss for loss in report.losses if loss.what == "rows"]
    assert [loss.ids.tolist() for loss in found] == [list(range(5000, 5030, 3))]
    assert "makes a new version of version 3" in report.losses[0].message


def test_a_damaged_older_manifest_costs_the_newest_version_nothing(path, right):
    (path / "manifests" / "000000000002.json").write_bytes(b"")
    assert not hashdb.repair(path).ok
    said = cli("repair", path, "--drop", "--dry-run").stdout
    assert "giving it up removes versions 1 to 2" in said
    assert said.endswith(f"{path}: would be repaired, versions given up; version 3\n")
    report = hashdb.repair(path, drop=True)
    assert (report.ok, report.version, report.committed) == (True, 3, False)
    assert {loss.what for loss in report.losses} == {"versions"}
    with hashdb.open(path) as index:
        assert answers(index) == right
        assert [one.version for one in index.versions()] == [3]


@pytest.mark.parametrize("name", ["model.json", "state.weights_image/c/0/0"])
def test_a_lost_model_is_said_and_nothing_is_touched(path, name):
    (model,) = (file for file in (path / "models").iterdir() if file.is_dir())
    os.truncate(model / name, 5)
    before = tree(path)
    report = hashdb.repair(path, drop=True)
    assert (report.ok, report.dropped) == (False, False)
    assert "any Zarr reader" in report.losses[0].message
    assert tree(path) == before
    assert len(raw_content(path)) == 466


def test_an_index_of_which_no_version_can_be_read_is_said(path):
    for file in path.glob("manifests/0*.json"):
        file.write_bytes(b"")
    before = tree(path)
    report = hashdb.repair(path, drop=True)
    assert (report.ok, report.version, report.losses[0].what) == (False, None, "index")
    assert tree(path) == before
    shutil.rmtree(path / "manifests")
    with pytest.raises(IndexNotFoundError):
        hashdb.repair(path)


# ---- rows of a newest version whose manifest is lost


def spoil(path: Path, how: str) -> None:
    """Damage the newest manifest so that it cannot be mended."""
    newest = max(path.glob("manifests/0*.json"))
    if how == "emptied":
        newest.write_bytes(b"")
    else:
        flip(newest, 120, 0x01)
        flip(newest, 160, 0x01)


@pytest.mark.parametrize("how", ["two bytes", "emptied"])
def test_rows_of_automatic_ids_that_a_damaged_manifest_added_are_counted_and_their_ids_not_given_again(tmp_path, how):
    path, data = tmp_path / "a.hashdb", rows()["image"][:320]
    with hashdb.build(path, data[:100], n_bits=16) as index:
        index.add(data[100:300], auto_compact=False)
    spoil(path, how)
    found = [loss for loss in hashdb.repair(path, drop=True, dry_run=True).losses if loss.what == "rows"]
    assert [(loss.n_rows, loss.certain) for loss in found] == [(200, False)]
    ids = found[0].ids
    assert ids is None if how == "emptied" else ids.tolist() == list(range(100, 300))
    report = hashdb.repair(path, drop=True)
    assert [loss.n_rows for loss in report.losses if loss.what == "rows"] == [200]
    with hashdb.open(path, check="full") as index:
        assert len(index) == 100
        assert index.add(data[300:302]).tolist() == [300, 301]


def test_ids_that_were_given_in_a_lost_version_are_not_given_again(tmp_path):
    path, data = tmp_path / "a.hashdb", rows()["image"][:320]
    with hashdb.build(path, data[:100], n_bits=16) as index:
        index.add(data[100:103], ids=[500, 700, 600], auto_compact=False)
        index.add(data[103:113], auto_compact=False)
        index.delete(range(701, 711))
    for file in sorted(path.glob("manifests/0*.json"))[1:]:
        file.write_bytes(b"")
    assert hashdb.repair(path, drop=True).ok
    with hashdb.open(path) as index:
        assert min(index.add(data[113:115])) >= 711


@pytest.mark.parametrize("kind", ["int64", "string"])
def test_rows_whose_ids_are_gone_with_their_manifest_are_counted(tmp_path, kind):
    path, data = tmp_path / "a.hashdb", rows()["image"][:320]
    ids = [3 * i if kind == "int64" else f"row-{i}" for i in range(320)]
    with hashdb.build(path, data[:100], n_bits=16, ids=ids[:100]) as index:
        index.add(data[100:300], ids=ids[100:300], auto_compact=False)
    (segment(path, 1) / ("ids" if kind == "int64" else "id_offsets") / "c" / "0").unlink()
    spoil(path, "two bytes")
    report = hashdb.repair(path, drop=True)
    assert report.ok
    found = [(loss.n_rows, loss.ids, loss.certain) for loss in report.losses if loss.what == "rows"]
    assert found == [(200, None, False)]


def test_rows_whose_segment_json_is_gone_with_their_manifest_are_counted(tmp_path):
    path, data = tmp_path / "a.hashdb", rows()["image"][:320]
    with hashdb.build(path, data[:100], n_bits=16) as index:
        index.add(data[100:300], auto_compact=False)
    (segment(path, 1) / "segment.json").write_bytes(b"")
    spoil(path, "two bytes")
    report = hashdb.repair(path, drop=True)
    assert report.ok
    assert [loss.n_rows for loss in report.losses if loss.what == "rows"] == [200]
    with hashdb.open(path) as index:
        assert index.add(data[300:302]).tolist() == [300, 301]


# ---- a repair that cannot look at what it did


def test_what_was_dropped_is_reported_where_the_index_cannot_be_verified_then(chunked, monkeypatch):
    damage(segment(chunked, 0) / "ids" / "c" / "0", "flipped")

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("cannot read the index: too many open files")

    monkeypatch.setattr("hashdb.storage.maintain.verify", refuse)
    report = hashdb.repair(chunked, drop=True)
    assert (report.ok, report.dropped, report.committed, report.verified) == (False, True, True, False)
    assert report.losses[0].n_rows == N_IMAGES - 10
    assert report.problems == [
        (str(chunked), "it was repaired and cannot be verified: cannot read the index: too many open files")
    ]
