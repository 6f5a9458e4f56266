"""Thousands of commits of one id each: documents stay compact, and the index stays as quick to open and to ask."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time

import numpy as np
import pytest

import hashdb
from guarantees.limited import rows_of
from hashdb.storage.compaction import MAX_SEGMENTS
from hashdb.storage.manifest import MAX_DELETE_LISTS, list_versions


def median_seconds(*works, n=25):
    """Middles of the times of the processor, of works done in turn: what disturbs one disturbs the others as well."""
    times = [[] for _ in works]
    for _ in range(n + 1):
        for work, kept in zip(works, times, strict=True):
            start = time.process_time()
            work()
            kept.append(time.process_time() - start)
    return [statistics.median(kept[1:]) for kept in times]


def open_once(path):
    hashdb.open(path).close()


def newest_manifest(path):
    return max((path / "manifests").glob("0*.json"))


def count_segments(path):
    """Tell of how many segments the newest version is, which are never too many."""
    n_segments = len(json.loads(newest_manifest(path).read_bytes())["segments"])
    assert n_segments <= MAX_SEGMENTS
    return n_segments


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
                count_segments(path)
        newest = dict(zip(targets.tolist(), range(1000, 1000 + n), strict=True))
        expected = index.encode(rows[[newest.get(one, one) for one in range(1000)]])
        assert np.array_equal(index.get(list(range(1000))), expected)
        assert len(index) == 1000
        count_segments(path)
        assert largest < 64 << 10
        assert index.verify().problems == []
    record_property("commits of one id each", n)


# Eight segments of a size are merged to one: before the next add would merge those of every size there are most.
@pytest.mark.parametrize(
    ("n", "most"), [(127, 2), pytest.param(12_287, 3, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])]
)
def test_opening_and_asking_take_as_long_after_many_small_adds_as_before(n, most, path, record_property):
    rows = rows_of(5000 + n, 16)
    queries = rows_of(10, 16, seed=1)
    # The yardstick: the same index after few adds, so that it has small segments as well.
    few = path.with_name("few")
    with hashdb.build(path, rows[:5000], method="lsh", n_bits=64) as index:
        for i in range(n):
            index.add(rows[5000 + i])
            if i == 19:
                shutil.copytree(path, few)
            if i % 64 == 63:
                count_segments(path)
        assert count_segments(path) > 2 * count_segments(few)
        with hashdb.open(few) as yardstick:
            few_opened, opened, few_asked, asked, listed, listing = median_seconds(
                lambda: open_once(few),
                lambda: open_once(path),
                lambda: yardstick.query(queries, k=10),
                lambda: index.query(queries, k=10),
                lambda: list_versions(path),
                lambda: sorted(os.listdir(path / "manifests")),
            )
        codes = index.encode(rows)
        found = index.query(queries, k=10)
        asked_codes = index.encode(queries)
    distances = np.bitwise_count(asked_codes[:, None, :] ^ codes[None]).sum(2, dtype=np.int64)
    order = np.lexsort((np.broadcast_to(np.arange(len(rows)), distances.shape), distances))[:, :10]
    assert np.array_equal(found.ids, order)
    # A millisecond for what is shorter than the noise.
    assert asked < most * few_asked + 0.001, (few_asked, asked)
    # What else grows is the listing of the versions: each open does it once, and it takes little more than the system.
    assert opened < most * few_opened + listed + 0.001, (few_opened, opened, listed)
    assert listed < 3 * listing + 0.001, (listing, listed)
    record_property("small adds", n)
