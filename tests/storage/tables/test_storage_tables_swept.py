"""Bucket tables stay as long as a version names them, and are pruned and swept after that."""

import os
import shutil
import time

import pytest
from storage_kit import SortingMaker, Unsynced, check_tables, content, make_codes, new_index, put
from tables_kit import folders, named, names_of, opened, segment_of

from hashdb.errors import ConflictError
from hashdb.storage import Store, verify
from hashdb.storage.commit import remove_tree
from hashdb.storage.documents import group_json


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


@pytest.mark.parametrize("what", ["tables", "their group"])
def test_tables_that_a_sweep_took_from_a_commit_that_slept_are_not_committed(tmp_path, what):
    path = tmp_path / "i"
    new_index(path, make_codes(40), files=Unsynced()).close()

    class Slept(Unsynced):
        def lock_folder(self, place, shared=False):
            if shared:
                if what == "tables":
                    for table in path.glob("segments/*/buckets/[0-9]*"):
                        remove_tree(Unsynced(), table)
                else:
                    next(path.glob("segments/*/buckets/zarr.json")).unlink()
            return super().lock_folder(place, shared)

    with (
        Store.open(path, files=Slept(), tables=SortingMaker()) as store,
        pytest.raises(ConflictError, match="sweep took what it had written"),
    ):
        store.compact()
    with opened(path) as store:
        assert (store.snapshot.version, names_of(store)) == (1, [[]])
    assert verify(path, deep=True).ok
