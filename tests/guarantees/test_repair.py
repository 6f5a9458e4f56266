"""`hashdb repair` puts back what is proven, and however it is stopped or shared no harm is done."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from storage_kit import Crash, Unsynced, Watched, tree

import hashdb
from guarantees.damage_kit import answers, content, files_of, flip, is_derived, is_metadata, manifest_of, rows
from guarantees.repair_fixtures import fixture_bare, fixture_chunked, fixture_master, fixture_path, fixture_right  # noqa: F401
from guarantees.repair_kit import all_kinds_of_damage, damage, read, segment
from hashdb.errors import StorageError
from hashdb.repairing import Knowledge
from hashdb.storage import mending
from hashdb.storage.repair import repair
from hashdb.storage.salvage import Salvage

# ---- what is proven is put back


def can_be_put_back(file: Path, how: str) -> bool:
    """What the documentation promises to put back, without bucket tables."""
    if file.parent.name == "manifests" and file.name != "zarr.json":
        return how == "flipped"  # nothing else says what a version held
    return file.name != "model.json" or how == "flipped"


@pytest.mark.parametrize("how", ["flipped", "emptied", "deleted", "another's"])
def test_metadata_are_put_back_byte_for_byte(path, right, how, record_property):
    before, n = tree(path), 0
    for number, file in enumerate(filter(is_metadata, files_of(path))):
        if is_derived(file) or not can_be_put_back(file, how):
            continue
        if how == "flipped":
            flip(file, (7 * number + 3) % file.stat().st_size, 0x11)
        elif how == "deleted":
            file.unlink()
        else:
            file.write_bytes(b"" if how == "emptied" else b'{"another":1}')
        n += 1
    report = hashdb.repair(path)
    assert (report.ok, report.losses, report.problems, report.committed) == (True, [], [], False)
    assert tree(path) == before
    assert len(report.restored) == n
    with hashdb.open(path, check="full") as index:
        assert answers(index) == right
    record_property("damaged files repaired", n)


@pytest.mark.parametrize("stride", [1201, pytest.param(41, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_flipped_byte_of_a_document_is_put_back_wherever_it_is(path, stride, record_property):
    n = 0
    for file in (
        path / "zarr.json",
        *path.glob("manifests/0*.json"),
        *path.glob("m*/*/model.json"),
        *path.glob("*/*/segment.json"),
    ):
        before = file.read_bytes()
        for at in range(n % stride, len(before), stride):
            flip(file, at, 1 + n % 0x7F)
            assert hashdb.repair(path).ok
            assert file.read_bytes() == before
            n += 1
    record_property("flipped bytes", n)


def test_swapped_documents_are_put_back(path, right):
    first, second = segment(path, 0) / "segment.json", segment(path, 1) / "segment.json"
    before = tree(path)
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert hashdb.repair(path).ok
    assert tree(path) == before


@pytest.mark.parametrize("how", ["flipped", "emptied", "deleted"])
def test_codes_are_taken_from_the_bucket_tables(path, how):
    before = tree(path)
    for number in (0, 1):
        damage(segment(path, number) / "codes" / "c" / "0" / "0", how)
        damage(segment(path, number) / "vectors" / "c" / "0" / "0", how)
    report = hashdb.repair(path)
    assert [how for _, how in report.restored] == ["taken from the bucket tables; it fits its checksum"] * 2
    assert {loss.what for loss in report.losses} == {"vectors", "versions"}
    for name, data in tree(path).items():
        assert data == before[name] or "vectors" in name


@pytest.mark.parametrize("how", ["flipped", "emptied", "deleted"])
def test_codes_are_encoded_again_from_stored_vectors(chunked, how):
    before = tree(chunked)
    files = [
        file
        for file in files_of(chunked)
        if "codes" in file.parts and "segments" in file.parts and not is_metadata(file)
    ]
    assert len(files) > 2
    for file in files:
        damage(file, how)
    report = hashdb.repair(chunked)
    assert report.ok
    assert [how for _, how in report.restored] == ["encoded again from the stored vectors; it fits its checksum"] * len(
        files
    )
    assert tree(chunked) == before


def test_damaged_bucket_tables_are_made_anew_in_a_new_version(path, right):
    flip(segment(path, 0) / "buckets" / "0" / "rows" / "c" / "0", 9)
    shutil.rmtree(segment(path, 1) / "buckets")
    report = hashdb.repair(path)
    assert (report.ok, report.committed, report.version, len(report.renewed)) == (True, True, 4, 2)
    with hashdb.open(path, check="full") as index:
        assert answers(index) == right
    # So small a segment gets none: the answers are the scan's, and nothing names what was damaged.
    assert all(entry["tables"] == [] for entry in manifest_of(path)["segments"])


def test_a_sound_index_is_left_alone(path):
    before = tree(path)
    report = hashdb.repair(path)
    assert (report.ok, report.restored, report.renewed, report.losses) == (True, [], [], [])
    assert tree(path) == before


# ---- how it writes


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(path):
    all_kinds_of_damage(path)
    before = tree(path)
    report = hashdb.repair(path, drop=True, dry_run=True)
    assert tree(path) == before
    assert (report.ok, report.dropped, len(report.restored), len(report.losses)) == (True, True, 3, 2)
    assert (report.version, report.committed) == (4, True)
    assert not hashdb.repair(path, dry_run=True).ok
    real = hashdb.repair(path, drop=True)
    assert (real.restored, real.version, real.committed) == (report.restored, 4, True)
    assert [loss.message for loss in real.losses] == [loss.message for loss in report.losses]


def test_a_medium_that_is_read_only_is_said(path):
    class ReadOnly(Unsynced):
        def create(self, path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    all_kinds_of_damage(path)
    before = tree(path)
    with pytest.raises(StorageError, match=r"cannot repair .*read-only"):
        repair(path, Knowledge(), files=ReadOnly())
    assert tree(path) == before


@pytest.mark.parametrize("share", [4, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_crash_at_any_moment_of_a_repair_does_no_harm(path, tmp_path, share, record_property):
    all_kinds_of_damage(path)
    counted = Path(shutil.copytree(path, tmp_path / "counted"))
    files = Watched()
    repair(counted, Knowledge(), drop=True, files=files)
    wanted = read(counted)
    points = range(0, len(files.log), share)
    for at in points:
        copy = Path(shutil.copytree(path, tmp_path / f"crash{at}"))
        with pytest.raises(Crash):
            repair(copy, Knowledge(), drop=True, files=Watched(at, Crash, after=at % 2 == 1))
        report = hashdb.repair(copy, drop=True)
        assert report.ok
        assert read(copy) == wanted
        shutil.rmtree(copy)
    record_property("fault points", len(points))


def test_a_reader_that_has_mapped_a_damaged_file_goes_on(path, monkeypatch):
    monkeypatch.setattr("hashdb.storage.mapping.SMALL_BYTES", 0)
    flip(segment(path, 0) / "codes" / "c" / "0" / "0", 0, 0x01)
    with hashdb.open(path) as index:
        before = content(index)
        assert hashdb.repair(path).ok
        assert content(index) == before
        with hashdb.open(path) as fresh:
            assert content(fresh) != before


def test_rows_added_while_a_repair_is_at_work_stay(path):
    all_kinds_of_damage(path)

    class Interrupted(Unsynced):
        done = False

        def link(self, source, target):
            if not self.done:
                self.done = True
                # The others had the index open before, or see it repaired as far as it is.
                with hashdb.open(path) as other:
                    other.add(rows()["image"][680:684], ids=list("abcd"), modality="image", auto_compact=False)
            super().link(source, target)

    report = repair(path, Knowledge(), drop=True, files=Interrupted())
    assert report.ok
    assert {"a", "b", "c", "d"} <= set(read(path))
    assert len(read(path)) == 274


def test_a_manifest_that_is_pruned_while_it_is_mended_stays_away(path, monkeypatch):
    older = path / "manifests" / "000000000002.json"
    flip(older, older.stat().st_size // 2, 0x01)
    mend = mending.mended_manifest

    def mended(*what):
        found = mend(*what)
        with hashdb.open(path) as other:
            other.compact(prune=True)
        return found

    monkeypatch.setattr("hashdb.storage.repair.mended_manifest", mended)
    report = hashdb.repair(path)
    assert (report.ok, report.restored) == (True, [])
    assert not older.exists()
    assert hashdb.verify(path, deep=True).ok


@pytest.mark.parametrize("drop", [False, True])
def test_a_newest_manifest_that_is_damaged_meanwhile_is_given_up_only_when_told(path, monkeypatch, drop):
    damage(segment(path, 0) / "buckets" / "0" / "rows" / "c" / "0", "emptied")
    newest, renew = path / "manifests" / "000000000003.json", Salvage.__init__

    def begin(self, *how):
        renew(self, *how)
        newest.write_bytes(b"{}")

    monkeypatch.setattr(Salvage, "__init__", begin)
    report = hashdb.repair(path, drop=drop)
    assert (report.committed, report.ok, report.dropped) == (drop, drop, drop)
    assert [loss.file for loss in report.losses if loss.what == "versions"] == [str(newest)]
    if not drop:
        assert report.renewed == []
        assert max(path.glob("manifests/0*.json")) == newest
        assert newest.read_bytes() == b"{}"
