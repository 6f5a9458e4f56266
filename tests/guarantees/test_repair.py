"""`hashdb repair`: puts back what is proven, loses nothing unless told to, and says by id what was lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from storage_kit import Crash, Unsynced, Watched, raw_content, tree

import hashdb
from guarantees.damage_kit import (
    N_IMAGES,
    answers,
    cli,
    content,
    files_of,
    flip,
    ids_of,
    is_derived,
    is_metadata,
    make,
    manifest_of,
    rows,
)
from hashdb.errors import CorruptIndexError, IndexExistsError, IndexNotFoundError, StorageError
from hashdb.repairing import Knowledge
from hashdb.storage.repair import repair

IMAGES = ids_of("string", range(N_IMAGES))


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("master") / "a.hashdb"
    make(path)
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without bucket tables, integer ids, several chunks."""
    path = tmp_path_factory.mktemp("bare") / "a.hashdb"
    make(path, "int64", chunk_bytes=512, tables=False)
    return path


@pytest.fixture
def path(master: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "a.hashdb"))


@pytest.fixture
def chunked(bare: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare, tmp_path / "b.hashdb"))


@pytest.fixture(scope="module")
def right(master: Path) -> list:
    with hashdb.open(master) as index:
        return answers(index)


def segment(path: Path, number: int) -> Path:
    return path / "segments" / manifest_of(path)["segments"][number]["uuid"]


def read(path: Path) -> dict:
    with hashdb.open(path, check="full") as index:
        return content(index)


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
    assert {loss.what for loss in report.losses} == {"vectors"}
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


def damage(file: Path, how: str) -> None:
    if how == "flipped":
        flip(file, file.stat().st_size // 2)
    elif how == "emptied":
        os.truncate(file, 0)
    else:
        file.unlink()


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


# ---- what cannot be saved


def expect_loss(path: Path, lost: set, *, kept: dict) -> None:
    """Without `drop` nothing changes; with it exactly `lost` is lost, and what is left is sound."""
    before = tree(path)
    report = hashdb.repair(path)
    assert not report.ok
    assert not report.dropped
    assert tree(path) == before
    report = hashdb.repair(path, drop=True)
    assert (report.ok, report.dropped, report.problems) == (True, True, [])
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
        (loss,) = report.losses
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
    (loss,) = report.losses
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
    (loss,) = report.losses
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


# ---- how it writes


def all_kinds_of_damage(path: Path) -> None:
    """What needs documents put back, tables made anew and rows given up."""
    (path / "segments" / "zarr.json").unlink()
    flip(segment(path, 0) / "codes" / "c" / "0" / "0", 4)
    flip(segment(path, 0) / "segment.json", 70)
    flip(segment(path, 1) / "id_bytes" / "c" / "0", 8)


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(path):
    all_kinds_of_damage(path)
    before = tree(path)
    report = hashdb.repair(path, drop=True, dry_run=True)
    assert tree(path) == before
    assert (report.ok, report.dropped, len(report.restored), len(report.losses)) == (True, True, 3, 1)
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


# ---- the command line


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
    assert "has 1 thing that cannot be saved; --drop gives it up and keeps the rest" in said.stderr
    assert said.stdout.startswith("cannot be saved: ")
    assert "ids 0, 3, 6" in said.stdout
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
    assert said.stdout.endswith(f"{chunked}: would be repaired, {len(lost)} rows lost; version 4\n")
    assert (tmp_path / "again.txt").read_text() == (tmp_path / "lost.txt").read_text()
    assert tree(chunked) == before
    said = cli("repair", chunked, "--drop", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    report = json.loads(said.stdout)
    assert (report["ok"], report["dropped"], report["losses"][0]["ids"][0]) == (True, True, [0, 0])
    assert set(raw_content(chunked)) == set(kept) - set(lost)


def test_ids_are_in_their_file_before_they_are_dropped(chunked, tmp_path, monkeypatch):
    damage(segment(chunked, 0) / "ids" / "c" / "0", "flipped")
    before, file = tree(chunked), tmp_path / "lost.txt"
    monkeypatch.setattr("hashdb.cli.saving._replace", refuse)
    said = cli("repair", chunked, "--drop", "--lost", file)
    assert (said.returncode, said.stderr) == (1, "hashdb: cannot write\n")
    assert tree(chunked) == before
    monkeypatch.undo()
    said = cli("repair", chunked, "--drop", "--lost", file)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"more; all are in {file})" in said.stdout
    assert said.stdout.endswith(f"{chunked}: repaired, up to {N_IMAGES - 10} rows lost; version 4\n")
    assert len(file.read_text().split()) == N_IMAGES - 10


def refuse(*_: object) -> None:
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
