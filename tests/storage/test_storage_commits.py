"""Commits: what each makes of the index, and what a store sees of it."""

import numpy as np
import pytest
from storage_kit import Unsynced, content, expected, make_codes, new_index, put, raw_content

from hashdb.errors import (
    ArgumentError,
    DuplicateIdError,
    IndexNotFoundError,
    ReadOnlyError,
    UnknownIdError,
    VersionGoneError,
)
from hashdb.storage import Sizes, Store

INT64_MAX = (1 << 63) - 1


def test_build_makes_version_1_and_each_commit_the_next(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3))
    assert store.snapshot.version == 1
    put(store, make_codes(2))
    store.commit_delete([0])
    assert [info.version for info in store.versions()] == [1, 2, 3]
    assert [info.n_rows for info in store.versions()] == [3, 5, 4]
    assert [info.n_segments for info in store.versions()] == [1, 2, 2]


def test_an_index_may_have_no_rows(tmp_path):
    store = new_index(tmp_path / "i")
    assert store.snapshot.n_rows == 0
    assert store.snapshot.segments == ()
    assert content(store) == {}
    assert put(store, make_codes(2)).tolist() == [0, 1]


def test_building_zero_rows_through_a_writer_leaves_no_segment(tmp_path):
    store = new_index(tmp_path / "i", make_codes(0))
    assert store.snapshot.segments == ()
    assert [path.name for path in (tmp_path / "i" / "segments").iterdir()] == ["zarr.json"]


@pytest.mark.parametrize("id_kind", ["int64", "string"])
def test_what_changes_nothing_makes_no_version(tmp_path, id_kind):
    ids = [1, 2] if id_kind == "int64" else ["a", "b"]
    store = new_index(tmp_path / "i", make_codes(2), ids, id_kind=id_kind)
    assert len(put(store, make_codes(0), ids[:0])) == 0
    assert store.commit_delete([]) == 0
    assert store.commit_delete([77] if id_kind == "int64" else ["zz"], ignore_missing=True) == 0
    assert not store.compact().committed
    assert store.snapshot.version == 1


def test_merging_windows_of_one_row_gives_the_same(tmp_path):
    store = new_index(tmp_path / "i", make_codes(9), list(range(0, 18, 2)), sizes=Sizes(merge_rows=1))
    put(store, make_codes(9, seed=1), list(range(1, 19, 2)))
    before = content(store)
    store.compact()
    assert content(store) == raw_content(tmp_path / "i") == before
    assert store.snapshot.manifest.segments[0].first_id == 0


# ---- ids


def test_automatic_ids_go_on_and_are_never_used_again(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3))
    store.commit_delete([2])
    assert put(store, make_codes(2)).tolist() == [3, 4]
    store.commit_delete([0, 1, 3, 4])
    assert store.snapshot.n_rows == 0
    store.compact(prune=True)
    assert put(Store.open(tmp_path / "i"), make_codes(1)).tolist() == [5]


def test_explicit_ids_raise_the_next_automatic_one(tmp_path):
    store = new_index(tmp_path / "i", make_codes(2), [100, 7])
    assert put(store, make_codes(1)).tolist() == [101]
    put(store, make_codes(2), [-50, 50])
    assert put(store, make_codes(1)).tolist() == [102]


def test_automatic_ids_after_negative_ones_begin_at_zero(tmp_path):
    store = new_index(tmp_path / "i", make_codes(2), [-10, -20])
    assert put(store, make_codes(2)).tolist() == [0, 1]


def test_automatic_ids_end_at_the_largest_integer(tmp_path):
    store = new_index(tmp_path / "i", make_codes(1), [INT64_MAX - 2])
    assert put(store, make_codes(2)).tolist() == [INT64_MAX - 1, INT64_MAX]
    with pytest.raises(ArgumentError, match="only 0 automatic ids are left"):
        put(store, make_codes(1))
    assert sorted(content(store)) == [INT64_MAX - 2, INT64_MAX - 1, INT64_MAX]
    store.compact()
    assert sorted(content(store)) == [INT64_MAX - 2, INT64_MAX - 1, INT64_MAX]
    put(store, make_codes(1), [5])


@pytest.mark.parametrize(
    ("id_kind", "old", "new"), [("int64", [1, 5, 9], [7, 5, 9]), ("string", ["a", "b"], ["z", "b"])]
)
def test_an_id_that_is_there_already_is_refused_and_named(tmp_path, id_kind, old, new):
    store = new_index(tmp_path / "i", make_codes(len(old)), old, id_kind=id_kind)
    before = raw_content(tmp_path / "i")
    with pytest.raises(DuplicateIdError, match=f"id {new[1]!r} is in the index already.*--upsert"):
        put(store, make_codes(len(new)), new)
    assert raw_content(tmp_path / "i") == before
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 2


@pytest.mark.parametrize("id_kind", ["int64", "string"])
def test_upsert_replaces_rows_in_one_version(tmp_path, id_kind):
    ids = [1, 2, 3, 4] if id_kind == "int64" else ["a", "b", "c", "d"]
    codes, newer = make_codes(4, seed=1), make_codes(3, seed=2)
    store = new_index(tmp_path / "i", codes, ids, id_kind=id_kind)
    given = [ids[3], ids[1], ids[0] * 50]
    assert put(store, newer, given, upsert=True).tolist() == given
    assert store.snapshot.version == 2
    wanted = {**expected(ids, codes), **expected(given, newer)}
    assert content(store) == raw_content(tmp_path / "i") == wanted


def test_upsert_of_every_row_drops_the_old_segment(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3))
    put(store, make_codes(3, seed=1), [0, 1, 2], upsert=True)
    assert len(store.snapshot.segments) == 1
    assert content(store) == expected([0, 1, 2], make_codes(3, seed=1))


def test_a_deleted_id_can_be_added_again(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3), ["a", "b", "c"], id_kind="string")
    assert store.commit_delete(["b"]) == 1
    put(store, make_codes(1, seed=5), ["b"])
    assert content(store)["b"] == tuple(make_codes(1, seed=5)[0].tolist())
    assert store.snapshot.n_rows == 3


def test_delete_names_the_first_unknown_id_and_changes_nothing(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3))
    with pytest.raises(UnknownIdError, match=r"id 8 is not in the index \(and 1 more.*ignore-missing"):
        store.commit_delete([1, 8, 9])
    assert store.snapshot.version == 1
    assert store.commit_delete([1, 8, 9, 1], ignore_missing=True) == 1


def test_deleting_everything_leaves_an_index_that_works(tmp_path):
    store = new_index(tmp_path / "i", make_codes(5))
    assert store.commit_delete(range(5)) == 5
    assert store.snapshot.segments == ()
    with Store.open(tmp_path / "i") as again:
        assert content(again) == {}
        assert again.snapshot.rows_of([1])[0].tolist() == [-1]
        assert put(again, make_codes(1)).tolist() == [5]


def test_deletes_of_one_segment_stay_few_and_disjoint(tmp_path):
    store = new_index(tmp_path / "i", make_codes(300), files=Unsynced())
    for id_ in np.random.default_rng(0).permutation(300)[:120].tolist():
        store.commit_delete([id_])
        (entry,) = store.snapshot.manifest.segments
        assert len(entry.deletes) <= 8
    assert len(raw_content(tmp_path / "i")) == 180
    assert content(store) == raw_content(tmp_path / "i")
    assert store.snapshot.segments[0].n_alive == 180


def test_the_bitmap_marks_deleted_rows(tmp_path):
    store = new_index(tmp_path / "i", make_codes(130))
    assert store.snapshot.segments[0].deleted is None
    store.commit_delete([0, 63, 64, 129])
    store.commit_delete([65])
    bitmap = store.snapshot.segments[0].deleted
    assert bitmap.dtype == np.uint64
    bits = np.unpackbits(bitmap.view(np.uint8), bitorder="little")
    assert np.flatnonzero(bits).tolist() == [0, 63, 64, 65, 129]
    assert store.snapshot.segments[0].rows_of([63, 66]).tolist() == [-1, 66]


@pytest.mark.parametrize(("id_kind", "wrong"), [("int64", ["a"]), ("string", [1])])
def test_ids_of_the_other_kind_are_refused(tmp_path, id_kind, wrong):
    store = new_index(tmp_path / "i", id_kind=id_kind)
    for act in (store.commit_delete, store.snapshot.rows_of, lambda ids: store.new_segment(ids=ids)):
        with pytest.raises(ArgumentError, match="this index has"):
            act(wrong)


# ---- opening


def test_a_store_sees_its_snapshot_until_refreshed(tmp_path):
    writer = new_index(tmp_path / "i", make_codes(3))
    with Store.open(tmp_path / "i") as reader:
        put(writer, make_codes(1))
        writer.commit_delete([0])
        assert len(content(reader)) == 3
        assert reader.refresh()
        assert sorted(content(reader)) == [1, 2, 3]
        assert not reader.refresh()


def test_an_old_version_opens_read_only(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3), model=({}, {}))
    put(store, make_codes(1))
    with Store.open(tmp_path / "i", version=1) as old:
        assert len(content(old)) == 3
        acts = [
            lambda: old.commit_delete([0]),
            lambda: old.new_segment(),
            lambda: old.compact(),
            lambda: old.write_model({}, {}),
            lambda: old.refresh(),
        ]
        for act in acts:
            with pytest.raises(ReadOnlyError, match="opened at version 1"):
                act()


def test_a_version_that_never_was_is_gone(tmp_path):
    new_index(tmp_path / "i", make_codes(3))
    for version in (0, 2, -1):
        with pytest.raises(VersionGoneError, match=f"no version {version}: only version 1"):
            Store.open(tmp_path / "i", version=version)


def test_what_is_no_index_says_what_is_there(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zarr").mkdir()
    (tmp_path / "zarr" / "zarr.json").write_text('{"zarr_format":3,"node_type":"group","attributes":{}}')
    for name, what in [
        ("none", "nothing at that path"),
        ("file", "is a file"),
        ("folder", "no zarr.json"),
        ("zarr", "Zarr"),
    ]:
        with pytest.raises(IndexNotFoundError, match=f"no index at .*{what}"):
            Store.open(tmp_path / name)


def test_a_closed_store_refuses_to_write(tmp_path):
    store = new_index(tmp_path / "i", make_codes(3))
    store.close()
    with pytest.raises(ArgumentError, match="was closed"):
        store.commit_delete([0])
