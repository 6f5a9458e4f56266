"""Bucket tables that are made while others commit are kept, or noticed to be gone."""

import shutil
import threading

import pytest
from storage_kit import SortingMaker, check_tables, content, make_codes, put, raw_content, write
from tables_kit import check_after, folders, named, opened

from hashdb.errors import HashDBError


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
