"""Bucket tables: written with segments, read lazily, never an error when damaged, rebuilt by compact."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import zarr
from storage_kit import (
    Crash,
    SortingMaker,
    Unsynced,
    Watched,
    check_table,
    check_tables,
    content,
    expected,
    make_codes,
    new_index,
    put,
    raw_content,
    write,
)

from hashdb.errors import ArgumentError, CorruptIndexError, HashDBError, IndexNotFoundError, StorageError
from hashdb.storage import Sizes, Store, mapping, table_writing, verify
from hashdb.storage.documents import canonical, digest, group_json
from hashdb.storage.tables import REMEDY

IDS = list(range(0, 80, 2))


def opened(path, maker=None, **options):
    return Store.open(path, tables=maker, files=options.pop("files", Unsynced()), **options)


def entries_of(store):
    return [entry.tables for entry in store.snapshot.manifest.segments]


def names_of(store):
    return [[table["name"] for table in tables] for tables in entries_of(store)]


def folders(path):
    """What stands in the ``buckets`` of segments, as (segment, name)."""
    found = [folder for folder in path.glob("segments/*/buckets/*") if folder.name != "zarr.json"]
    return {(folder.parent.parent.name, folder.name) for folder in found}


def named(path):
    """What the manifests name."""
    manifests = [json.loads(file.read_text()) for file in sorted((path / "manifests").glob("0*.json"))]
    return {
        (entry["uuid"], table["name"])
        for manifest in manifests
        for entry in manifest["segments"]
        for table in entry["tables"]
    }


def files_of(path):
    return sorted(file for file in path.glob("segments/*/buckets/**/*") if file.is_file())


def listing(path):
    return sorted(str(file) for file in path.rglob("*"))


# ---- written and read


@pytest.mark.parametrize("layout", ["wide", "lean"])
@pytest.mark.parametrize("directory", ["direct", "sparse"])
@pytest.mark.parametrize("n_threads", [0, 2])
def test_a_build_has_tables_that_come_back(tmp_path, layout, directory, n_threads):
    maker = SortingMaker(4, layout=layout, directory=directory, n_threads=n_threads)
    codes = make_codes(40, 100)
    store = new_index(tmp_path / "i", codes, IDS, n_bits=100, tables=maker, sizes=Sizes(chunk_bytes=64 * 16))
    assert maker.asked == [(40, 100, None)]
    assert names_of(store) == [["0", "1", "2", "3"]]
    check_tables(store, maker)
    with opened(tmp_path / "i", check="full") as again:
        check_tables(again, maker)
        (segment,) = again.snapshot.segments
        assert segment.tables is segment.tables
        sizes = [sum(file.stat().st_size for file in files_of(tmp_path / "i")) - len(group_json())]
        assert [segment.sizes()["tables"]] == [segment.tables.n_bytes] == sizes
        for table in segment.tables.tables:
            for array in table.arrays.values():
                assert array.flags.c_contiguous
                assert not array.flags.writeable
    assert verify(tmp_path / "i", deep=True).ok
    assert content(store) == raw_content(tmp_path / "i") == expected(IDS, codes)


def test_zarr_alone_reads_tables(tmp_path):
    codes = make_codes(40)
    store = new_index(tmp_path / "i", codes, IDS, tables=SortingMaker())
    buckets = zarr.open_group(tmp_path / "i", mode="r")[f"segments/{store.snapshot.segments[0].uuid}/buckets"]
    order = np.argsort(IDS)
    assert sorted(name for name, _ in buckets.groups()) == ["0", "1"]
    for name in "01":
        document = json.loads((tmp_path / "i" / buckets.path / name / "table.json").read_text())
        arrays = {key: buckets[name][key][:] for key in document["arrays"]}
        check_table(document["description"], arrays, codes[order])


@pytest.mark.parametrize(("mmap", "tracked"), [(True, False), (True, True), (False, False)])
def test_large_tables_come_back_with_and_without_mapping(tmp_path, mmap, tracked, monkeypatch):
    if tracked:  # where each mapping holds a descriptor
        monkeypatch.setattr(mapping, "untracked_map", lambda: None)
    maker = SortingMaker(2, n_key_bits=12)
    new_index(tmp_path / "i", make_codes(200_000), tables=maker, files=Unsynced()).close()
    with opened(tmp_path / "i", mmap=mmap) as store:
        check_tables(store, maker)
        arrays = store.snapshot.segments[0].tables.tables[0].arrays
        store.close()
        assert len(arrays["codes"]) == 200_000


def test_adds_and_their_merges_have_tables(tmp_path):
    maker = SortingMaker()
    store = new_index(tmp_path / "i", make_codes(4, seed=0), tables=maker, files=Unsynced())
    for i in range(1, 7):
        put(store, make_codes(4, seed=i))
    assert names_of(store) == [["0", "1"]] * 7
    check_tables(store, maker)
    store.commit_delete([1, 9])
    assert names_of(store) == [["0", "1"]] * 7
    put(store, make_codes(4, seed=7))
    assert names_of(store) == [["0", "1"]]
    assert store.snapshot.segments[0].n == 30
    check_tables(store, maker)
    assert content(store) == raw_content(tmp_path / "i")
    assert {uuid for uuid, _ in folders(tmp_path / "i")} == {uuid for uuid, _ in named(tmp_path / "i")}


def test_only_segments_that_the_maker_wants_get_tables(tmp_path):
    store = new_index(tmp_path / "i", make_codes(40), tables=SortingMaker(least=10))
    put(store, make_codes(3))
    assert names_of(store) == [["0", "1"], []]
    assert [segment.tables is None for segment in store.snapshot.segments] == [False, True]
    assert [segment.tables_problem for segment in store.snapshot.segments] == [None, None]
    assert ["tables" in segment.sizes() for segment in store.snapshot.segments] == [True, False]


def test_without_a_maker_nothing_changes(tmp_path):
    store = new_index(tmp_path / "i", make_codes(40))
    assert entries_of(store) == [()]
    assert not store.compact().committed
    assert not folders(tmp_path / "i")


def test_progress_of_making_tables(tmp_path):
    store = new_index(tmp_path / "i", make_codes(5), tables=SortingMaker())
    writer = store.new_segment()
    writer.append(make_codes(4))
    seen = []
    store.commit_add(writer.finish(progress=lambda done, total: seen.append((done, total))))
    assert seen == [(1, 2), (2, 2)]


# ---- compact


def test_compact_makes_tables_for_what_it_merges_and_for_what_stays(tmp_path):
    path, maker = tmp_path / "i", SortingMaker()
    store = new_index(path, make_codes(9), list(range(9)), modality="a")
    put(store, make_codes(5, seed=1), modality="b")
    put(store, make_codes(5, seed=2), modality="b")
    before = content(store)
    stays = store.snapshot.segments[0].uuid
    kept = {file: file.read_bytes() for file in sorted((path / "segments" / stays).rglob("*")) if file.is_file()}
    with opened(path, maker) as again:
        seen = []
        report = again.compact(progress=lambda done, total: seen.append((done, total)))
        assert (report.committed, report.n_segments) == (True, 2)
        assert again.snapshot.segments[0].uuid == stays
        check_tables(again, maker)
        assert content(again) == raw_content(path) == before
        assert seen[-1] == (2, 2)
        assert maker.made == 2
        assert not again.compact().committed
        assert maker.made == 2
    assert {file: file.read_bytes() for file in kept} == kept
    assert verify(path, deep=True).ok
    with opened(path, version=3) as old:
        assert entries_of(old) == [(), (), ()]
    # without a maker they stay
    with opened(path) as plain:
        assert not plain.compact().committed
        plain.commit_delete([0])
        check_tables(plain, maker)


def test_compact_replaces_tables_that_are_not_what_the_maker_wants(tmp_path):
    path = tmp_path / "i"
    new_index(path, make_codes(9), tables=SortingMaker(2), files=Unsynced()).close()
    other = SortingMaker(3, n_key_bits=3)
    with opened(path, other) as store:
        old = store.snapshot
        assert store.compact().committed
        assert names_of(store) == [["2", "3", "4"]]
        assert other.asked == [(9, 64, [SortingMaker(2).describe(s) for s in range(2)])]
        check_tables(store, other)
        assert len(old.segments[0].tables.tables) == 2
    with opened(path, version=1) as old:
        check_tables(old, SortingMaker(2))
    assert {name for _, name in folders(path)} == set("01234")


def test_compact_checks_codes_before_it_makes_tables_of_them(tmp_path):
    path = tmp_path / "i"
    new_index(path, make_codes(9)).close()
    (file,) = path.glob("segments/*/codes/c/0/0")
    file.write_bytes(bytes(len(file.read_bytes())))
    before = listing(path)
    with opened(path, SortingMaker()) as store, pytest.raises(CorruptIndexError) as caught:
        store.compact()
    assert caught.value.path == file
    assert listing(path) == before


def test_tables_of_kinds_that_we_do_not_know_are_kept(tmp_path):
    path = tmp_path / "i"
    unknown = {"kind": "graph", "name": "7", "links": [1, {"é": None}]}
    new_index(path, make_codes(9)).close()
    rewrite(path, lambda manifest: manifest["segments"][0]["tables"].append(unknown))
    (path / "segments" / segment_of(path) / "buckets" / "7").mkdir(parents=True)
    maker = SortingMaker()
    with opened(path, maker) as store:
        assert store.snapshot.segments[0].tables is None
        assert store.snapshot.segments[0].tables_problem is None
        assert "tables" not in store.snapshot.segments[0].sizes()
        store.commit_delete([3])
        assert entries_of(store) == [(unknown,)]
        put(store, make_codes(3))
        assert store.compact().committed  # rewritten: theirs are gone, as a writer that does not know them must do
        assert names_of(store) == [["0", "1"]]
    new_index(tmp_path / "j", make_codes(9)).close()
    rewrite(tmp_path / "j", lambda manifest: manifest["segments"][0]["tables"].append(unknown))
    with opened(tmp_path / "j", maker) as store:
        assert store.compact(grace=0).committed
        assert names_of(store) == [["7", "8", "9"]]
        assert entries_of(store)[0][0] == unknown
        check_tables(store, maker)


def segment_of(path):
    (entry,) = json.loads(sorted((path / "manifests").glob("0*.json"))[-1].read_text())["segments"]
    return entry["uuid"]


def rewrite(path, change):
    """Change the newest manifest and seal it again."""
    file = sorted((path / "manifests").glob("0*.json"))[-1]
    document = json.loads(file.read_text())
    del document["checksum"]
    change(document)
    body = canonical(document)
    file.write_bytes(b'{"checksum":"' + digest(body).encode() + b'",' + body[1:])


# ---- damage


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    path = tmp_path_factory.mktemp("master") / "i"
    new_index(path, make_codes(40), IDS, tables=SortingMaker(), files=Unsynced()).close()
    return path


@pytest.fixture
def path(master, tmp_path):
    shutil.copytree(master, tmp_path / "i")
    return tmp_path / "i"


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def delete(file):
    file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def extend(file):
    file.write_bytes(file.read_bytes() + b"\0")


def link(file):
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def fold(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [flip, delete, truncate, extend, link, fold])
def test_damage_of_any_file_is_a_reason_and_never_an_error(master, tmp_path, harm, caplog):
    for number, file in enumerate(files_of(master)):
        path = tmp_path / f"{number}"
        shutil.copytree(master, path)
        file = path / file.relative_to(master)
        harm(file)
        whole = file.parent.name == "buckets"  # the group above: only verify looks at it
        seen_at_once = not whole and (harm is not flip or file.name == "table.json")
        caplog.clear()
        with opened(path) as store:
            (segment,) = store.snapshot.segments
            assert not caplog.records  # opening does not look
            assert (segment.tables is None) == (segment.tables_problem is not None) == seen_at_once, file
            assert content(store) == raw_content(path)
            assert segment.tables is segment.tables
            assert len(caplog.records) == seen_at_once
        with opened(path, check="full") as store:
            assert (store.snapshot.segments[0].tables is None) == (not whole), file
        report = verify(path, deep=True)
        assert report.problems, file
        assert all(REMEDY in text and "\n" not in text for _, text in report.problems)
        quick = verify(path)
        assert bool(quick.problems) == (harm is not flip or file.suffix == ".json"), file
        maker = SortingMaker()
        with opened(path, maker) as store:
            assert store.compact(grace=0).committed != whole
            check_tables(store, maker)
            assert content(store) == raw_content(path)
        if not whole:
            assert verify(path, deep=True).ok, file


def test_a_warning_tells_what_to_do_once(path, caplog):
    delete(next(path.glob("segments/*/buckets/1/table.json")))
    with opened(path) as store, caplog.at_level(logging.DEBUG):
        for _ in range(3):
            assert store.snapshot.segments[0].tables is None
        store.commit_delete([0])
        assert store.snapshot.segments[0].tables is None
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "table.json is missing" in record.getMessage()
    assert REMEDY in record.getMessage()


def test_opening_does_not_look_at_tables(path, monkeypatch):
    shutil.rmtree(next(path.glob("segments/*/buckets")))
    looked = []
    monkeypatch.setattr(table_writing.Segment, "tables", property(lambda self: looked.append(self)))
    with opened(path) as store:
        assert len(content(store)) == 40
        store.commit_delete([0])
        store.refresh()
        put(store, make_codes(3))
        assert store.versions()
    assert not looked


def test_a_table_of_another_segment_is_refused(path, tmp_path):
    """Whole folders exchanged, with documents that are right in themselves."""
    other = tmp_path / "other"
    new_index(other, make_codes(40, seed=5), IDS, tables=SortingMaker(), files=Unsynced()).close()
    mine, theirs = (next(place.glob("segments/*/buckets/0")) for place in (path, other))
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    with opened(path) as store:
        assert "was altered or replaced" in store.snapshot.segments[0].tables_problem
    # even where the manifest names it
    (entry,) = json.loads((other / "manifests" / "000000000001.json").read_text())["segments"]

    def name_it(manifest):
        manifest["segments"][0]["tables"][0] = entry["tables"][0]

    rewrite(path, name_it)
    with opened(path) as store:
        assert "uuid" in store.snapshot.segments[0].tables_problem
        assert store.snapshot.segments[0].tables is None
    assert not verify(path).ok


def test_a_table_under_another_name_is_refused(path):
    first, second = (next(path.glob(f"segments/*/buckets/{s}")) for s in "01")
    shutil.rmtree(first)
    shutil.copytree(second, first)

    def name_it(manifest):
        tables = manifest["segments"][0]["tables"]
        tables[0]["digest"] = tables[1]["digest"]

    rewrite(path, name_it)
    with opened(path) as store:
        assert "name is '1'" in store.snapshot.segments[0].tables_problem


HOSTILE = {
    "format": lambda document: document.update(format=2),
    "old format": lambda document: document.update(format=0),
    "more": lambda document: document.update(more=1),
    "less": lambda document: document.pop("n_bits"),
    "n": lambda document: document.update(n=41),
    "n_bits": lambda document: document.update(n_bits=65),
    "name": lambda document: document.update(name="00"),
    "uuid": lambda document: document.update(uuid="0" * 32),
    "description": lambda document: document.update(description=[]),
    "no arrays": lambda document: document.update(arrays={}, files={"zarr.json": document["files"]["zarr.json"]}),
    "array name": lambda document: document["arrays"].update({"../x": document["arrays"]["rows"]}),
    "capital": lambda document: document["arrays"].update(Rows=document["arrays"].pop("rows")),
    "dtype": lambda document: document["arrays"]["rows"].update(dtype="object"),
    "shape": lambda document: document["arrays"]["rows"].update(shape=[41]),
    "chunks": lambda document: document["arrays"]["rows"].update(chunk_rows=20),
    "scalar": lambda document: document["arrays"]["rows"].update(shape=[]),
    "file": lambda document: document["files"].update({"../../codes/c/0/0": document["files"]["rows/c/0"]}),
    "size": lambda document: document["files"]["rows/c/0"].update(size=1 << 50),
    "crc": lambda document: document["files"]["rows/c/0"].update(crc32c="x"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_a_reason(path, name):
    file = next(path.glob("segments/*/buckets/0/table.json"))
    document = json.loads(file.read_text())
    HOSTILE[name](document)
    file.write_bytes(canonical(document))

    def name_it(manifest):
        manifest["segments"][0]["tables"][0]["digest"] = digest(canonical(document))

    rewrite(path, name_it)
    with opened(path, check="full") as store:
        (segment,) = store.snapshot.segments
        assert segment.tables is None
        assert str(path) in segment.tables_problem
    assert not verify(path, deep=True).ok
    maker = SortingMaker()
    with opened(path, maker) as store:
        store.compact()
        check_tables(store, maker)


def test_a_document_that_is_not_canonical_is_a_reason(path):
    file = next(path.glob("segments/*/buckets/0/table.json"))
    data = file.read_bytes().replace(b",", b", ", 1)
    file.write_bytes(data)
    rewrite(path, lambda manifest: manifest["segments"][0]["tables"][0].update(digest=digest(data)))
    with opened(path) as store:
        assert "canonical" in store.snapshot.segments[0].tables_problem


@pytest.mark.parametrize(
    "described",
    [
        {"name": "../0"},
        {"name": "01"},
        {"name": 0},
        {"name": "1"},
        {"digest": "0"},
        {"more": 1},
        {"name": None},
    ],
)
def test_a_hostile_entry_is_a_reason(path, described):
    rewrite(path, lambda manifest: manifest["segments"][0]["tables"][0].update(described))
    with opened(path) as store:
        assert store.snapshot.segments[0].tables is None
        assert store.snapshot.segments[0].tables_problem
        assert store.snapshot.segments[0].sizes()["tables"] == 0
    report = verify(path)
    assert report.problems
    assert all(REMEDY in text for _, text in report.problems)
    maker = SortingMaker()
    with opened(path, maker) as store:
        assert store.compact().committed
        check_tables(store, maker)
    assert verify(path, deep=True).ok


def test_what_the_search_disables_stays_so(path, caplog):
    with opened(path) as store:
        (segment,) = store.snapshot.segments
        tables = segment.tables
        tables.disable("row 99 of table 0 is out of range")
        tables.disable("something else")
        assert segment.tables is None
        assert segment.tables_problem == "row 99 of table 0 is out of range"
        assert len(caplog.records) == 1
        store.commit_delete([0])
        assert store.snapshot.segments[0].tables is None
        assert store.snapshot.segments[0].sizes()["tables"] == tables.n_bytes
        assert len(tables.tables[0].arrays["rows"]) == 40  # searches under way are not disturbed
    with opened(path) as store:
        assert store.snapshot.segments[0].tables is not None


def test_snapshots_of_a_store_share_tables(path):
    with opened(path) as store:
        found = store.snapshot.segments[0].tables
        store.commit_delete([0])
        assert store.snapshot.segments[0].tables is found


def test_several_threads_may_be_the_first(path, caplog):
    flip(next(path.glob("segments/*/buckets/1/table.json")))
    with opened(path) as store:
        segment, start, found = store.snapshot.segments[0], threading.Barrier(8), []

        def look():
            start.wait()
            found.append((segment.tables, segment.tables_problem))

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(found)) == 1
    assert len(caplog.records) == 1


def test_tables_that_are_damaged_and_not_wanted_any_more_are_dropped(path):
    delete(next(path.glob("segments/*/buckets/1/table.json")))
    with opened(path, SortingMaker(least=1000)) as store:
        assert store.compact().committed
        assert entries_of(store) == [()]
        assert not store.compact().committed
    assert verify(path, deep=True).ok


# ---- prune and sweep


def age(path, seconds=7200):
    then = time.time() - seconds
    for file in [path, *path.rglob("*")]:
        os.utime(file, (then, then))


def test_old_versions_keep_their_tables_until_they_are_pruned(path):
    other = SortingMaker(3)
    with opened(path, other) as store:
        store.compact(grace=0)
        assert {name for _, name in folders(path)} == set("01234")
        with opened(path, version=1, check="full") as old:
            check_tables(old, SortingMaker())
        report = store.compact(prune=True)
        assert (report.committed, report.n_versions_removed, report.n_folders_removed) == (False, 1, 2)
        assert report.n_bytes_freed > 0
        assert {name for _, name in folders(path)} == set("234")
        check_tables(store, other)
    assert verify(path, deep=True).ok
    with opened(path, SortingMaker()) as store:
        store.compact(prune=True)
        assert names_of(store) == [["5", "6"]]
        check_tables(store, SortingMaker())


def test_a_reader_of_pruned_tables_scans(path):
    with opened(path) as reader:
        (segment,) = reader.snapshot.segments
        with opened(path, SortingMaker(3)) as store:
            store.compact(prune=True)
        assert segment.tables is None
        assert "missing" in segment.tables_problem
        assert len(content(reader)) == 40
        reader.refresh()
        check_tables(reader, SortingMaker(3))


def test_a_reader_that_has_opened_tables_goes_on_after_a_prune(tmp_path):
    maker = SortingMaker(2, n_key_bits=12)
    new_index(tmp_path / "i", make_codes(200_000), tables=maker, files=Unsynced()).close()
    with opened(tmp_path / "i") as reader:
        assert reader.snapshot.segments[0].tables is not None
        with opened(tmp_path / "i", SortingMaker(3)) as store:
            store.compact(prune=True)
        check_tables(reader, maker)


def test_tables_left_over_in_a_live_segment_are_swept_after_the_grace_time(path):
    buckets = next(path.glob("segments/*/buckets"))
    for name in ("2", "3", "zarr.json.12345678.tmp"):
        shutil.copytree(buckets / "0", buckets / name)
    with opened(path) as store:
        assert store.compact().n_folders_removed == 0
        age(buckets)
        age(buckets / "3" / "rows", 10)
        notes = store.verify(deep=True).notes
        assert [note.split()[0].rsplit("/", 1)[1] for note in notes] == ["2", "zarr.json.12345678.tmp"]
        report = store.compact()
        assert report.n_folders_removed == 2
        assert {name for _, name in folders(path)} == {"0", "1", "3"}
        check_tables(store, SortingMaker())
    assert verify(path, deep=True).ok


def test_an_empty_folder_of_tables_is_swept(tmp_path):
    path = tmp_path / "i"
    new_index(path, make_codes(9)).close()
    buckets = path / "segments" / segment_of(path) / "buckets"
    buckets.mkdir()
    (buckets / "zarr.json").write_bytes(group_json())
    with opened(path) as store:
        store.compact()
        assert buckets.exists()
        age(buckets)
        store.compact()
        assert not buckets.exists()


def test_tables_of_a_segment_that_goes_go_with_it(path):
    with opened(path, SortingMaker()) as store:
        put(store, make_codes(3))
        report = store.compact(prune=True)
        assert report.n_folders_removed == 2
        assert folders(path) == named(path)


# ---- faults


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """An index with two segments of different modalities and no tables, one of them with deletes."""
    master = tmp_path_factory.mktemp("start") / "i"
    with new_index(master, make_codes(10), list(range(10)), modality="a", files=Unsynced()) as store:
        put(store, make_codes(3, seed=1), [101, 103, 105], modality="b")
        store.commit_delete([103])
    return lambda path: shutil.copytree(master, path)


ERRORS = {
    "error": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "interrupt": KeyboardInterrupt,
    "crash": Crash,
}
OPERATIONS = {
    "compact": lambda store: store.compact(),
    "prune": lambda store: store.compact(prune=True),
    "add": lambda store: put(store, make_codes(2, seed=7)),
}


def check_after(path, maker):
    """The index is sound, takes commits, and has nothing left over after a sweep."""
    with opened(path, maker, check="full") as store:
        assert content(store) == raw_content(path)
        put(store, make_codes(1, seed=99))
        store.compact(grace=0)
        check_tables(store, maker)
        assert content(store) == raw_content(path)
    assert folders(path) == named(path)
    assert verify(path, deep=True).ok


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ["error", "interrupt", "crash"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_fault_leaves_the_old_version_or_the_new_one(start, tmp_path, name, error, after):
    path = tmp_path / "count"
    start(path)
    before, files = raw_content(path), Watched()
    with opened(path, SortingMaker(), files=files) as store:
        OPERATIONS[name](store)
        versions = (3, store.snapshot.version)
    new, log, at = raw_content(path), files.log, files.log.index("link")
    for point in sorted({*range(1 + after, len(log), 11), *range(at - 2, at + 3)}):
        path = tmp_path / f"{point}"
        start(path)
        try:
            with opened(path, SortingMaker(), files=Watched(point, ERRORS[error], after)) as store:
                OPERATIONS[name](store)
        except (StorageError, KeyboardInterrupt, Crash):
            linked = point > at or (after and point == at)
            newest = sorted((path / "manifests").glob("0*.json"))[-1]
            assert int(newest.stem) == versions[linked], (point, log[point])
            assert raw_content(path) == (new if linked else before), (point, log[point])
        else:
            assert log[point] in ("unlink", "rmdir", "close"), (point, log[point])
            assert raw_content(path) == new
        check_after(path, SortingMaker())


@pytest.mark.parametrize("name", ["compact", "add"])
def test_what_a_failed_commit_wrote_is_removed(start, tmp_path, name):
    start(tmp_path / "count")
    files = Watched()
    with opened(tmp_path / "count", SortingMaker(), files=files) as store:
        OPERATIONS[name](store)
    for point, effect in enumerate(files.log[: files.log.index("link") + 1]):
        if effect not in ("write", "fsync", "fsync_folder", "rename", "link") or (point % 3 and effect != "rename"):
            continue
        path = tmp_path / f"{point}"
        start(path)
        before = listing(path)
        watched = Watched(point, ERRORS["full"])
        with opened(path, SortingMaker(), files=watched) as store, pytest.raises(StorageError, match="full"):
            OPERATIONS[name](store)
        assert listing(path) == before, (point, effect)
        assert no_handle_below(path)


def no_handle_below(path):
    """Whether this process has no file of a folder open, where that can be told."""
    if not os.path.isdir("/proc/self/fd"):
        return True
    for handle in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{handle}").startswith(str(path)):
                return False
        except FileNotFoundError:
            continue
    return True


@pytest.mark.parametrize("error", ["full", "interrupt"])
@pytest.mark.parametrize("n_threads", [0, 2])
def test_a_failed_build_leaves_no_index_and_can_be_repeated(tmp_path, error, n_threads):
    def build(path, files):
        return new_index(path, make_codes(5), [3, 1, 4, 2, 9], files=files, tables=SortingMaker(n_threads=n_threads))

    files = Watched()
    build(tmp_path / "count", files).close()
    linked = files.log.index("link")
    # Each of the four runs takes points of its own; those around the tables and the link are what matters.
    for point in range(3 + n_threads + (error == "full"), linked + 1, 4):
        path = tmp_path / f"{point}"
        watched = Watched(point, ERRORS[error])
        with pytest.raises((StorageError, KeyboardInterrupt)):
            build(path, watched)
        assert not path.exists() or not list(path.iterdir())
        assert watched.log[point] == "close" or no_handle_below(path)
        with pytest.raises(IndexNotFoundError):
            Store.open(path)
        with build(path, Unsynced()) as store:
            check_tables(store, SortingMaker())


@pytest.mark.parametrize("n_threads", [0, 3])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_maker_that_fails_leaves_nothing(start, tmp_path, n_threads, error):
    def fail(pieces):
        if pieces == 9:
            raise error("stop")

    path = tmp_path / "i"
    start(path)
    before = listing(path)
    for operation in (OPERATIONS["compact"], lambda store: put(store, make_codes(4))):
        maker = SortingMaker(3, n_threads=n_threads, during=fail)
        with opened(path, maker) as store, pytest.raises(error):
            operation(store)
        assert listing(path) == before
        assert no_handle_below(path)
    maker = SortingMaker(3, n_threads=n_threads, during=fail)
    with pytest.raises(error):
        new_index(tmp_path / "new", make_codes(9), tables=maker)
    assert not (tmp_path / "new").exists()


def test_a_thread_that_writes_on_after_a_failure_gets_an_error(tmp_path):
    class Leaky(SortingMaker):
        def make(self, blocks, n_bits, begin, progress=None):
            self.sink, self.begin = begin(0), begin
            self.sink.append("rows", np.arange(9, dtype=np.uint32))
            raise RuntimeError("stop")

    maker = Leaky()
    with pytest.raises(RuntimeError):
        new_index(tmp_path / "i", make_codes(9), tables=maker)
    with pytest.raises(StorageError, match="given up"):
        maker.sink.append("rows", np.arange(9, dtype=np.uint32))
    with pytest.raises(StorageError, match="given up"):
        maker.sink.finish({})
    with pytest.raises(StorageError, match="given up"):
        maker.begin(1)


ROWS = np.arange(9, dtype=np.uint32)
WRONG = {
    "unfinished": lambda begin: begin(0).append("rows", ROWS),
    "nothing": lambda begin: begin(0).finish({}),
    "twice": lambda begin: [begin(0), begin(0)],
    "too many": lambda begin: begin(64),
    "negative": lambda begin: begin(-1),
    "name": lambda begin: begin(0).append("Rows", ROWS),
    "reserved": lambda begin: begin(0).append("c", ROWS),
    "dtype": lambda begin: begin(0).append("rows", ROWS.astype("datetime64[s]")),
    "scalar": lambda begin: begin(0).append("rows", np.uint32(1)),
    "mixed": lambda begin: [(sink := begin(0)).append("rows", ROWS), sink.append("rows", ROWS.astype(np.uint64))],
    "shapes": lambda begin: [(sink := begin(0)).append("rows", ROWS), sink.append("rows", ROWS.reshape(-1, 1))],
    "description": lambda begin: [(sink := begin(0)).append("rows", ROWS), sink.finish({"x": float("nan")})],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_maker_that_errs_is_told(tmp_path, name):
    class Wrong(SortingMaker):
        def make(self, blocks, n_bits, begin, progress=None):
            WRONG[name](begin)

    with pytest.raises(ArgumentError):
        new_index(tmp_path / "i", make_codes(9), tables=Wrong())
    assert not (tmp_path / "i").exists()


def test_an_empty_array_and_no_table_at_all(tmp_path):
    class Sparse(SortingMaker):
        def make(self, blocks, n_bits, begin, progress=None):
            if len(blocks[0]) == 9:
                sink = begin(0)
                sink.append("keys", np.empty((0, 3), np.uint64))
                sink.finish({})

    store = new_index(tmp_path / "i", make_codes(9), tables=Sparse())
    assert store.snapshot.segments[0].tables.tables[0].arrays["keys"].shape == (0, 3)
    put(store, make_codes(8))
    assert names_of(store) == [["0"], []]
    assert verify(tmp_path / "i", deep=True).ok


# ---- conflicts


def interfere(path, action, *, times=1):
    """Return a hook for a maker that commits through another store while tables are made."""
    done = []

    def during(pieces):
        if len(done) < times:
            done.append(pieces)
            with opened(path) as other:
                action(other)

    return during


def add(store):
    put(store, make_codes(2, seed=50), modality="a")


INTERFERENCES = {
    "add": (add, 1),
    "delete": (lambda store: store.commit_delete([5]), 1),
    "delete a segment": (lambda store: store.commit_delete([101, 105]), 1),
    "upsert": (lambda store: put(store, make_codes(2, seed=51), [5, 105], upsert=True, modality="a"), 1),
}


@pytest.mark.parametrize("name", INTERFERENCES)
def test_tables_are_kept_over_a_conflict(start, tmp_path, name):
    path = tmp_path / "i"
    start(path)
    action, _ = INTERFERENCES[name]
    maker = SortingMaker(during=interfere(path, action))
    with opened(path, maker) as store:
        stays = store.snapshot.segments[0].uuid
        assert store.compact().committed
        assert store.snapshot.version == 5
        found = {segment.uuid: segment.tables for segment in store.snapshot.segments}
        assert found[stays] is not None
        with opened(path, version=4) as theirs:
            assert content(store) == content(theirs) == raw_content(path)
    # one table of the segment that stays, one of the merge, and one for what the other added
    assert maker.made <= 3
    check_after(path, SortingMaker())


def test_another_compacts_meanwhile(start, tmp_path):
    path = tmp_path / "i"
    start(path)

    def compact(_):
        with opened(path, SortingMaker()) as other:
            other.compact()

    maker = SortingMaker(during=interfere(path, compact))
    with opened(path, maker) as store:
        before = content(store)
        assert not store.compact(grace=0).committed
        assert store.snapshot.version == 4
        assert content(store) == raw_content(path) == before
        check_tables(store, maker)
    assert folders(path) == named(path)
    assert {int(name) for _, name in folders(path)} <= {0, 1, 2, 3}
    check_after(path, SortingMaker())


def test_another_compacts_and_prunes_meanwhile(start, tmp_path):
    path = tmp_path / "i"
    start(path)

    def replace_all(_):
        with opened(path) as other:
            put(other, make_codes(2, seed=50), modality="a")
            other.compact(prune=True)

    maker = SortingMaker(during=interfere(path, replace_all))
    with opened(path, maker) as store:
        store.compact()
        assert len(content(store)) == 14
        check_tables(store, maker)
    check_after(path, SortingMaker())


def test_two_writers_make_tables_of_one_segment_at_once(start, tmp_path):
    path = tmp_path / "i"
    start(path)
    results = []

    def compact(seed):
        with opened(path, SortingMaker(4, n_key_bits=2 + seed % 2, n_threads=seed)) as store:
            results.append(store.compact(grace=3600).version)

    threads = [threading.Thread(target=compact, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    with opened(path) as store:
        assert all(segment.tables is not None for segment in store.snapshot.segments)
    check_after(path, SortingMaker())


def test_tables_that_were_swept_before_the_commit_are_noticed(start, tmp_path):
    path = tmp_path / "i"
    start(path)
    with opened(path, SortingMaker()) as store:
        segment = write(store, make_codes(4))
        shutil.rmtree(path / "segments" / segment.uuid / "buckets" / "1")
        with pytest.raises(HashDBError, match=r"table\.json was removed"):
            store.commit_add(segment)
        assert store.snapshot.version == 3
        assert not (path / "segments" / segment.uuid).exists()
    check_after(path, SortingMaker())


# ---- descriptors


def test_many_chunks_and_tables_work_with_few_open_files(tmp_path):
    path = tmp_path / "i"
    n, sizes = 70 * 16_448, Sizes(chunk_bytes=16_448 * 64)  # chunks of more than 1 MiB: each is mapped
    with Store.create(
        path, id_kind="int64", n_bits=512, n_stored_bits=512, sizes=sizes, files=Unsynced(), tables=SortingMaker()
    ) as store:
        writer = store.new_segment()
        for seed in range(70):
            writer.append(make_codes(n // 70, 512, seed))
        store.commit_build(None, writer.finish())
    program = textwrap.dedent(
        f"""
        import resource, sys
        sys.path.insert(0, {str(os.path.dirname(__file__))!r})
        import numpy as np
        from storage_kit import SortingMaker, Unsynced
        from hashdb.storage import Store
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        with Store.open({str(path)!r}, files=Unsynced(), tables=SortingMaker(3, layout="lean")) as store:
            (segment,) = store.snapshot.segments
            blocks = segment.code_blocks
            arrays = [table.arrays for table in segment.tables.tables]
            print(len(blocks) > 60, len(arrays), sum(map(len, blocks)) == {n})
            print(all(np.array_equal(a["codes"][5], blocks[0][a["rows"][5]]) for a in arrays if a["rows"][5] < 16448))
            store.compact()
            print(len(store.snapshot.segments[0].tables.tables), store.verify(deep=True).ok)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["True", "2", "True", "True", "3", "True"], done.stderr
