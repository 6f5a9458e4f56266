"""Commits: what each makes of the index, and what happens when several writers meet."""

import multiprocessing
import re
import shutil
import threading

import numpy as np
import pytest
from storage_kit import Unsynced, Watched, content, expected, make_codes, new_index, put, raw_content, tree, write

from hashdb.errors import (
    ArgumentError,
    ConflictError,
    CorruptIndexError,
    DuplicateIdError,
    IndexExistsError,
    IndexNotFoundError,
    ReadOnlyError,
    UnknownIdError,
    VersionGoneError,
)
from hashdb.storage import Sizes, Store, compaction, segments
from hashdb.storage import transaction as transactions

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


# ---- building


def test_an_existing_index_is_not_overwritten(tmp_path):
    new_index(tmp_path / "i", make_codes(3)).close()
    with pytest.raises(IndexExistsError, match="an index at"):
        new_index(tmp_path / "i")
    assert len(raw_content(tmp_path / "i")) == 3


@pytest.mark.parametrize("name", ["notes.txt", "segments"])
def test_a_folder_with_other_things_is_left_alone(tmp_path, name):
    (tmp_path / "i" / name).mkdir(parents=True)
    with pytest.raises(IndexExistsError, match="not empty"):
        new_index(tmp_path / "i")
    assert (tmp_path / "i" / name).is_dir()


def test_someone_elses_zarr_folder_is_left_alone(tmp_path):
    import zarr

    zarr.open_group(tmp_path / "i", mode="w").create_array("segments", shape=(3,), dtype="u1")
    with pytest.raises(IndexExistsError, match="not empty"):
        new_index(tmp_path / "i")
    assert zarr.open_group(tmp_path / "i", mode="r")["segments"].shape == (3,)


def test_a_file_is_left_alone(tmp_path):
    (tmp_path / "i").write_text("mine")
    with pytest.raises(IndexExistsError, match="is a file"):
        new_index(tmp_path / "i")


def test_an_unfinished_build_is_no_index_and_can_be_taken_over(tmp_path):
    files = Watched()
    store = Store.create(tmp_path / "i", id_kind="int64", n_bits=64, n_stored_bits=64, settings={}, files=files)
    write(store, make_codes(5))
    store._build.release()  # what the end of its process does
    with pytest.raises(IndexNotFoundError, match="not finished"):
        Store.open(tmp_path / "i")
    new_index(tmp_path / "i", make_codes(2))
    assert len(raw_content(tmp_path / "i")) == 2
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("manifests/000000000001.json.old", "manifests/000000000001.json.old"),
        ("deletes/x/delete.json", "a folder in deletes/"),
        ("segments/x/segment.json", "2 segments"),
    ],
)
def test_what_no_unfinished_build_has_is_not_taken_over(tmp_path, more, said):
    root = tmp_path / "i"
    store = new_index(root, make_codes(5))
    store.close()
    (root / "manifests" / "000000000001.json").unlink()
    (root / more).parent.mkdir(exist_ok=True)
    (root / more).write_text("{}")
    before = tree(root)
    with pytest.raises(IndexExistsError, match=re.escape(f"({said}): its manifests were removed; nothing was changed")):
        new_index(root)
    assert tree(root) == before


def test_a_build_under_way_is_not_taken_over(tmp_path):
    store = Store.create(tmp_path / "i", id_kind="int64", n_bits=64, n_stored_bits=64, settings={})
    with pytest.raises(IndexExistsError, match="another process is building"):
        new_index(tmp_path / "i")
    store.commit_build(None, write(store, make_codes(4)))
    assert len(raw_content(tmp_path / "i")) == 4


@pytest.mark.parametrize("exists", [True, False])
def test_closing_an_uncommitted_build_leaves_what_was_there(tmp_path, exists):
    if exists:
        (tmp_path / "i").mkdir()
    with Store.create(tmp_path / "i", id_kind="int64", n_bits=64, n_stored_bits=64, settings={}) as store:
        store.write_model({}, {"a": np.zeros(3)})
        write(store, make_codes(5))
    assert (tmp_path / "i").exists() == exists
    assert not exists or not list((tmp_path / "i").iterdir())


def test_a_built_index_cannot_be_built_again(tmp_path):
    store = new_index(tmp_path / "i")
    with pytest.raises(ArgumentError, match="already"):
        store.commit_build(None, None)


def test_a_segment_is_committed_once(tmp_path):
    store = new_index(tmp_path / "i")
    segment = write(store, make_codes(2))
    store.commit_add(segment)
    with pytest.raises(ArgumentError, match="committed already"):
        store.commit_add(segment)


@pytest.mark.parametrize(
    "wrong", [{"id_kind": "uuid"}, {"n_stored_bits": 0}, {"n_stored_bits": 4097}, {"settings": {"a": float("nan")}}]
)
def test_attributes_are_checked(tmp_path, wrong):
    with pytest.raises(ArgumentError):
        Store.create(tmp_path / "i", **{"id_kind": "int64", "n_bits": 8, "n_stored_bits": 8, "settings": {}, **wrong})
    assert not (tmp_path / "i").exists()


def test_a_segment_takes_no_more_rows_than_a_delete_list_can_name(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MAX_ROWS", 5)
    store = new_index(tmp_path / "i", make_codes(5))
    with pytest.raises(ArgumentError, match="at most 5 rows; add the rows in several calls"):
        put(store, make_codes(6))
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 2


def test_a_segment_that_was_swept_before_its_commit_is_not_committed(tmp_path):
    store = new_index(tmp_path / "i", make_codes(5))
    segment = write(store, make_codes(2))
    shutil.rmtree(tmp_path / "i" / "segments" / segment.uuid / "codes", ignore_errors=True)
    with pytest.raises((CorruptIndexError, VersionGoneError)):
        store.commit_add(segment)
    assert len(raw_content(tmp_path / "i")) == 5


def test_aborting_a_segment_leaves_nothing(tmp_path):
    store = new_index(tmp_path / "i")
    writer = store.new_segment(ids=[2, 1])
    writer.append(make_codes(1))
    writer.abort()
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 1


# ---- several writers


def two_stores(path, **options):
    return new_index(path, make_codes(10), **options), Store.open(path)


def test_two_stores_adding_both_keep_their_rows(tmp_path):
    first, second = two_stores(tmp_path / "i")
    one, two = write(first, make_codes(3, seed=1)), write(second, make_codes(2, seed=2))
    assert first.commit_add(one).tolist() == [10, 11, 12]
    assert second.commit_add(two).tolist() == [13, 14]
    wanted = {
        **expected(range(10), make_codes(10)),
        **expected([10, 11, 12], make_codes(3, seed=1)),
        **expected([13, 14], make_codes(2, seed=2)),
    }
    assert content(second) == raw_content(tmp_path / "i") == wanted


def test_two_stores_adding_one_id_the_second_is_refused(tmp_path):
    first, second = two_stores(tmp_path / "i")
    one, two = write(first, make_codes(1, seed=1), [55]), write(second, make_codes(1, seed=2), [55])
    first.commit_add(one)
    with pytest.raises(DuplicateIdError, match="id 55"):
        second.commit_add(two)
    assert raw_content(tmp_path / "i")[55] == tuple(make_codes(1, seed=1)[0].tolist())


class Meanwhile(Watched):
    """Runs something just before a link: what another process may do at that moment."""

    def __init__(self, *acts):
        super().__init__()
        self.acts = list(acts)

    def link(self, source, target):
        if self.acts:
            self.acts.pop(0)()
        super().link(source, target)


def test_an_add_decides_again_when_another_was_first(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(lambda: put(other, make_codes(2)), lambda: other.commit_delete([3]))
    with Store.open(path, files=files) as store:
        assert put(store, make_codes(1, seed=9)).tolist() == [12]
        assert store.snapshot.version == 4
        assert content(store) == raw_content(path)
        assert 3 not in content(store)


def test_a_delete_follows_the_row_that_now_holds_the_id(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(lambda: put(other, make_codes(1, seed=4), [3], upsert=True), other.compact)
    with Store.open(path, files=files) as store:
        assert store.commit_delete([3]) == 1
    assert sorted(raw_content(path)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_delete_of_what_another_has_deleted_is_refused(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    with (
        Store.open(path, files=Meanwhile(lambda: other.commit_delete([3]))) as store,
        pytest.raises(UnknownIdError, match="id 3"),
    ):
        store.commit_delete([3, 4])
    assert sorted(raw_content(path)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("id_kind", ["int64", "string"])
def test_a_compaction_takes_up_deletes_and_adds_made_meanwhile(tmp_path, id_kind):
    path = tmp_path / "i"
    ids = [f"w{i:02}" for i in range(20)] if id_kind == "string" else list(range(0, 40, 2))
    other = new_index(path, make_codes(10), ids[:10], id_kind=id_kind)
    put(other, make_codes(5, seed=1), ids[10:15])
    other.commit_delete([ids[1]])
    acts = (
        lambda: other.commit_delete([ids[3], ids[11]]),
        lambda: put(other, make_codes(2, seed=2), [ids[15], ids[4]], upsert=True),
    )
    files = Meanwhile(*acts)
    with Store.open(path, files=files) as store:
        report = store.compact()
        assert report.committed
        assert len(store.snapshot.segments) == 2
        # The merge itself was not done again.
        assert files.log.count("create") < 40
    wanted = {**expected(ids[:10], make_codes(10)), **expected(ids[10:15], make_codes(5, seed=1))}
    wanted.update(expected([ids[15], ids[4]], make_codes(2, seed=2)))
    for gone in (1, 3, 11):
        del wanted[ids[gone]]
    assert raw_content(path) == wanted


def test_a_compaction_decides_again_when_another_compacted(tmp_path):
    path = tmp_path / "i"
    other, _ = two_stores(path)
    put(other, make_codes(3))
    with Store.open(path, files=Meanwhile(lambda: other.compact(prune=True))) as store:
        assert not store.compact().committed
        assert store.snapshot.version == 3
    assert len(raw_content(path)) == 13


def test_a_compaction_leaves_what_others_merge_all_the_while_and_comes_to_an_end(tmp_path, monkeypatch):
    written = []
    write = compaction.Merges._write
    monkeypatch.setattr(
        compaction.Merges, "_write", lambda self, work, inputs: written.append(len(inputs)) or write(self, work, inputs)
    )
    path = tmp_path / "i"
    other = new_index(path, make_codes(100))
    other.commit_delete([5])
    for number in range(3):
        put(other, make_codes(1, seed=number))

    def merge_small_ones():
        before = len(written)
        for number in range(8):
            put(other, make_codes(1, seed=number))
        del written[before:]

    with Store.open(path, files=Meanwhile(*[merge_small_ones] * 5)) as store:
        assert store.compact().committed
    # Once with the small segments, once without: the others took them away before the first could be committed.
    assert written == [4, 1]
    assert sorted(raw_content(path)) == [row for row in range(143) if row != 5]


def test_an_add_survives_commits_and_a_prune_past_its_number(tmp_path):
    """The number it links is free again, but past: the link must not count."""
    path = tmp_path / "i"
    other, _ = two_stores(path)

    def overtake():
        put(other, make_codes(2))
        put(other, make_codes(1))
        other.compact(prune=True)

    with Store.open(path, files=Meanwhile(overtake)) as store:
        assert put(store, make_codes(1, seed=9)).tolist() == [13]
        assert store.snapshot.version == 5
        assert len(content(store)) == 14
    assert [int(file.stem) for file in sorted((path / "manifests").glob("0*.json"))] == [4, 5]
    assert len(raw_content(path)) == 14


def test_conflicts_without_end_are_given_up_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(transactions, "MAX_RETRIES", 4)
    monkeypatch.setattr(transactions, "LONGEST_WAIT", 0.001)
    path = tmp_path / "i"
    other, _ = two_stores(path)
    files = Meanwhile(*[lambda: other.commit_delete([int(min(content(other)))]) for _ in range(4)])
    with Store.open(path, files=files) as store, pytest.raises(ConflictError, match="committed first 4 times"):
        put(store, make_codes(1))
    assert sorted(raw_content(path)) == [4, 5, 6, 7, 8, 9]
    assert len(list((path / "segments").iterdir())) == 2


def test_threads_share_one_store(tmp_path):
    store = new_index(tmp_path / "i", make_codes(10))
    failures = []

    def work(number):
        try:
            for i in range(8):
                (id_,) = put(store, make_codes(1, seed=100 * number + i)).tolist()
                assert id_ in content(store)
                if i % 2:
                    store.commit_delete([id_])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(raw_content(tmp_path / "i")) == 10 + 16


def _add_in_process(path, seed, gate, results):
    with Store.open(path) as store:
        gate.wait()
        for i in range(6):
            codes = make_codes(2, seed=seed + i)
            results.put((put(store, codes).tolist(), codes.tolist()))


def test_processes_adding_at_once_lose_nothing(tmp_path):
    path = tmp_path / "i"
    new_index(path).close()
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_add_in_process, args=(path, seed, gate, results)) for seed in (100, 200)]
    for worker in workers:
        worker.start()
    acknowledged = [results.get(timeout=60) for _ in range(12)]
    for worker in workers:
        worker.join()
    results.close()
    results.join_thread()
    wanted = {id_: tuple(code) for ids, codes in acknowledged for id_, code in zip(ids, codes, strict=True)}
    assert len(wanted) == 24
    assert raw_content(path) == wanted
    assert [info.version for info in Store.open(path).versions()] == list(range(1, 14))


def test_merging_windows_of_one_row_gives_the_same(tmp_path):
    store = new_index(tmp_path / "i", make_codes(9), list(range(0, 18, 2)), sizes=Sizes(merge_rows=1))
    put(store, make_codes(9, seed=1), list(range(1, 19, 2)))
    before = content(store)
    store.compact()
    assert content(store) == raw_content(tmp_path / "i") == before
    assert store.snapshot.manifest.segments[0].first_id == 0


def test_a_write_that_fails_or_changes_nothing_does_not_move_the_snapshot(tmp_path):
    one = new_index(tmp_path / "i", make_codes(3))
    with Store.open(tmp_path / "i") as other:
        other.commit_delete([0])
    assert one.commit_delete([99], ignore_missing=True) == 0
    with pytest.raises(UnknownIdError):
        one.commit_delete([99])
    assert one.snapshot.version == 1
    assert one.refresh()
    assert one.snapshot.version == 2
