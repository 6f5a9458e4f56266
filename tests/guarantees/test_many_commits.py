"""Thousands of commits of one id each: documents stay compact, and the index stays as quick to open and to ask."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
import pytest

import hashdb
from guarantees.limited import rows_of
from hashdb.storage.compaction import MAX_SEGMENTS
from hashdb.storage.manifest import MAX_DELETE_LISTS


def median_seconds(work, n=15):
    """Middle of several times of the processor, which others on the machine disturb little; one more goes before."""
    work()
    times = []
    for _ in range(n):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def open_once(path):
    hashdb.open(path).close()


def newest_manifest(path):
    return max((path / "manifests").glob("0*.json"))


@pytest.mark.parametrize("n", [120, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_commits_that_delete_one_id_each_leave_a_compact_manifest_and_few_lists(n, path, record_property):
    n_rows = 2 * n
    rows = rows_of(n_rows, 8)
    deleted = np.random.default_rng(1).permutation(n_rows)[:n]
    with hashdb.build(path, rows, method="lsh", n_bits=32) as index:
        first = newest_manifest(path).stat().st_size
        n_lists, sizes = 0, []
        for i, one in enumerate(deleted.tolist()):
            assert index.delete(one) == 1
            if i % 50 == 49 or i == n - 1:
                data = newest_manifest(path).read_bytes()
                lists = [entry["deletes"] for entry in json.loads(data)["segments"]]
                n_lists = max(n_lists, *map(len, lists))
                sizes.append(len(data))
        alive = sorted(set(range(n_rows)) - set(deleted.tolist()))
        assert np.concatenate([ids for ids, _ in index.codes()]).tolist() == alive
        assert index.version == n + 1
        assert n_lists <= MAX_DELETE_LISTS
        assert max(sizes) <= first + 120 * MAX_DELETE_LISTS
        # Lists are folded geometrically: all that the versions wrote is a few times what they say.
        written = sum(rows.stat().st_size for rows in path.glob("deletes/*/rows/c/0"))
        assert written <= 4 * n * (np.log2(n) + 2)
        with hashdb.open(path) as again:
            assert len(again) == n
        index.compact(prune=True)
        assert [entry.name for entry in (path / "deletes").iterdir()] == ["zarr.json"]
        assert len(list((path / "manifests").glob("0*.json"))) == 1
        assert index.verify(deep=True).problems == []
    record_property("commits of one id each", n)


@pytest.mark.parametrize("n", [80, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_commits_that_replace_one_id_each_leave_a_compact_manifest_and_few_segments(n, path, record_property):
    rows = rows_of(1000 + n, 8)
    targets = np.random.default_rng(2).integers(0, 1000, n)
    with hashdb.build(path, rows[:1000], method="lsh", n_bits=32) as index:
        largest = 0
        for i, one in enumerate(targets.tolist()):
            index.add(rows[1000 + i], ids=[one], upsert=True)
            if i % 20 == 0:
                largest = max(largest, newest_manifest(path).stat().st_size)
                assert index.info()["segments"] is not None
        newest = dict(zip(targets.tolist(), range(1000, 1000 + n), strict=True))
        expected = index.encode(rows[[newest.get(one, one) for one in range(1000)]])
        assert np.array_equal(index.get(list(range(1000))), expected)
        assert len(index) == 1000
        n_segments = len(json.loads(newest_manifest(path).read_bytes())["segments"])
        assert n_segments <= MAX_SEGMENTS
        assert largest < 64 << 10
        assert index.verify().problems == []
    record_property("commits of one id each", n)


@pytest.mark.parametrize("n", [150, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])])
def test_opening_and_asking_take_as_long_after_many_small_adds_as_before(n, path, record_property):
    rows = rows_of(5000 + n, 16)
    queries = rows_of(10, 16, seed=1)
    with hashdb.build(path, rows[:5000], method="lsh", n_bits=64) as index:
        pass
    # The yardstick: the same index after few adds, so that it has small segments as well.
    with hashdb.open(path) as index:
        for i in range(20):
            index.add(rows[5000 + i])
        before = median_seconds(lambda: open_once(path)), median_seconds(lambda: index.query(queries, k=10))
        for i in range(20, n):
            index.add(rows[5000 + i])
        n_segments = len(json.loads(newest_manifest(path).read_bytes())["segments"])
        after = median_seconds(lambda: open_once(path)), median_seconds(lambda: index.query(queries, k=10))
        codes = index.encode(rows)
        found = index.query(queries, k=10)
        asked = index.encode(queries)
    distances = np.bitwise_count(asked[:, None, :] ^ codes[None]).sum(2, dtype=np.int64)
    order = np.lexsort((np.broadcast_to(np.arange(len(rows)), distances.shape), distances))[:, :10]
    assert np.array_equal(found.ids, order)
    assert n_segments <= MAX_SEGMENTS
    # Three times as many rows at most; what is left to grow is the listing of the versions, a microsecond each.
    assert after[0] < 3 * before[0] + 0.01, (before, after)
    assert after[1] < 4 * before[1] + 0.01, (before, after)
    record_property("small adds", n)
