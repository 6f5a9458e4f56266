"""Ids: a million deleted in one call, kinds that are mixed, and a clock that goes backwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import hashdb
from guarantees.limited import check_one_line, hashdb_command, rows_of
from hashdb.errors import ArgumentError, HashDBError
from hashdb.storage import manifest, sweeping


@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_one_call_deletes_a_million_ids(n, path, record_property):
    """Half of the rows, every second one, as one list of deletes; and all the rest as none."""
    codes = np.random.default_rng(0).integers(0, 1 << 64, (2 * n, 1), dtype=np.uint64)
    with hashdb.build(path, codes, method="codes", n_bits=64) as index:
        assert index.delete(np.arange(0, 2 * n, 2)) == n
        assert (len(index), index.version) == (n, 2)
        ids, left = (np.concatenate(part) for part in zip(*index.codes(), strict=True))
        assert np.array_equal(ids, np.arange(1, 2 * n, 2))
        assert np.array_equal(left, codes[1::2])
        found = index.query_codes(codes[:20], k=1)
        distances = np.bitwise_count(codes[:20] ^ codes[1::2, 0])
        assert found.distances[:, 0].tolist() == distances.min(1).tolist()
        assert found.ids[:, 0].tolist() == (2 * distances.argmin(1) + 1).tolist()
    newest = path / "manifests" / f"{2:012d}.json"
    assert newest.stat().st_size < 4096
    (lists,) = [entry["deletes"] for entry in json.loads(newest.read_text())["segments"]]
    assert [entry["n"] for entry in lists] == [n]
    (rows,) = path.glob("deletes/*/rows/c/0")
    assert rows.stat().st_size == 4 * n
    with hashdb.open(path) as index:
        assert index.delete(range(1, 2 * n, 2)) == n
        assert len(index) == 0
        index.compact(prune=True)
        assert index.verify(deep=True).problems == []
    record_property("ids deleted in one call", n)


MIXED = [
    ([1, 2, "three", 4], "three"),
    (["one", "two", 3], "3"),
    ([1, 2.5, 3], "2.5"),
    ([1, None, 3], "None"),
    ([1, True, 3], "True"),
    ([1, [2], 3], "[2]"),
]


@pytest.mark.parametrize(("ids", "odd"), MIXED, ids=[odd for _, odd in MIXED])
def test_ids_of_mixed_kinds_are_refused_with_the_row(ids, odd, path, tmp_path, record_property):
    rows = rows_of(len(ids), 8)
    with pytest.raises(ArgumentError, match=r"\b(id|row|line) ?\d") as caught:
        hashdb.build(path, rows, method="lsh", n_bits=8, ids=ids)
    assert odd in str(caught.value)
    assert not path.exists()
    with hashdb.build(path, rows_of(9, 8, seed=1), method="lsh", n_bits=8, ids=range(100, 109)) as index:
        for work in (lambda: index.add(rows, ids=ids), lambda: index.delete(ids), lambda: index.get(ids)):
            with pytest.raises(ArgumentError) as caught:
                work()
            assert odd in str(caught.value)
        assert (index.version, len(index)) == (1, 9)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "ids.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ids))
    ended = hashdb_command("add", path, tmp_path / "rows.npy", "--ids", tmp_path / "ids.jsonl")
    check_one_line(ended, "ids.jsonl")
    record_property("resource limits tried", 5)


@pytest.mark.parametrize(("kind", "ids"), [("int64", ["a", "b"]), ("string", [1, 2])])
def test_ids_of_the_other_kind_than_the_index_has_are_refused(kind, ids, path, record_property):
    own = range(9) if kind == "int64" else list("rstuvwxyz")
    with hashdb.build(path, rows_of(9, 8), method="lsh", n_bits=8, ids=own) as index:
        for work in (lambda: index.add(rows_of(2, 8), ids=ids), lambda: index.delete(ids)):
            with pytest.raises(ArgumentError, match=r"integer|string") as caught:
                work()
            assert "\n" not in str(caught.value)
        assert index.version == 1
    record_property("resource limits tried", 2)


# ---- the clock


class Clock:
    """What the time is: the real one and a shift."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift = 0.0
        real = time.time
        monkeypatch.setattr(sweeping.time, "time", lambda: real() + self.shift)
        real_datetime = manifest.datetime

        class Shifted(real_datetime):
            @classmethod
            def now(cls, tz=None):
                return real_datetime.fromtimestamp(real() + self.shift, tz)

        monkeypatch.setattr(manifest, "datetime", Shifted)


def test_a_clock_that_goes_backwards_changes_no_answer_and_loses_nothing(path, monkeypatch, record_property):
    """The number of a version decides, never its time; and what seems to come from the future is not swept."""
    clock = Clock(monkeypatch)
    rows = rows_of(60, 8)
    with hashdb.build(path, rows[:10], method="lsh", n_bits=16) as index:
        for step in range(1, 6):
            clock.shift = -step * 86_400.0 * 365 * (1 if step % 2 else 0.1)  # back by years, and forward again
            index.add(rows[10 * step : 10 * step + 10], auto_compact=False)
        index.delete([3])
    times = [version.time for version in index_versions(path)]
    assert times != sorted(times)
    clock.shift = -86_400.0 * 3650
    with hashdb.open(path) as index:
        assert (index.version, len(index)) == (7, 59)
        assert np.concatenate([ids for ids, _ in index.codes()]).tolist() == [i for i in range(60) if i != 3]
        # A leftover that a crash left: from the future by this clock, so it stays until the clock has passed it.
        leftover = path / "segments" / ("0" * 32)
        leftover.mkdir()
        index.compact()
        assert leftover.exists()
        clock.shift = 7200.0
        index.compact(prune=True)
        assert not leftover.exists()
        assert len(index) == 59
        assert index.verify(deep=True).problems == []
        assert len(index_versions(path)) == 1
    record_property("resource limits tried", 1)


def index_versions(path: Path):
    with hashdb.open(path) as index:
        return index.versions()


def test_a_clock_that_jumps_ahead_while_one_writes_costs_that_write_and_nothing_else(
    path, monkeypatch, record_property
):
    """To another's `compact` the half-written segment looks old: the writer is told, and the index is whole."""
    clock = Clock(monkeypatch)
    rows = rows_of(40, 8)
    with hashdb.build(path, rows[:20], method="lsh", n_bits=16) as index, hashdb.open(path) as other:
        commit = index._store.commit_add

        def swept_before(*arguments, **options):
            clock.shift = 7200.0
            other.compact()
            return commit(*arguments, **options)

        monkeypatch.setattr(index._store, "commit_add", swept_before)
        with pytest.raises(HashDBError) as caught:
            index.add(rows[20:])
        assert "\n" not in str(caught.value)
        monkeypatch.undo()
        assert index.add(rows[20:]).tolist() == list(range(20, 40))
        assert index.verify(deep=True).problems == []
    record_property("resource limits tried", 1)
