"""Proof: whatever is done to an index in whatever order, it answers as a dict of rows and brute force would."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import hashdb
from hashdb.errors import DuplicateIdError, ReadOnlyError, UnknownIdError, VersionGoneError
from hashdb.search import costs, layouts, scan
from hashdb.storage import Files

DIM, N_BITS = 6, 16
INTS = st.integers(-3, 30) | st.sampled_from([-(1 << 63), 1 << 62, (1 << 62) + 1])
STRINGS = st.text(st.sampled_from("ab\u00e9\U0001f600"), min_size=1, max_size=3)
POOL = np.random.default_rng(3).standard_normal((400, DIM)).astype(np.float32)
N_SEEN = Counter()


class IndexMachine(RuleBasedStateMachine):
    """Every rule does one thing to an index and to a dict of id -> row of POOL, which is assumed to be right."""

    id_kind = "int64"
    ids = INTS

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.at = 0

    def teardown(self):
        self.index.close()
        shutil.rmtree(self.folder)

    def order(self, ids):
        return sorted(ids, key=str.encode if self.id_kind == "string" else None)

    def rows(self, n):
        """Take the next rows of the pool, some of which have equal codes."""
        self.at = (self.at + n) % (len(POOL) - 64)
        return np.arange(self.at, self.at + n)

    @initialize(data=st.data(), n=st.integers(1, 12), stored=st.sampled_from([None, "float32"]))
    def build(self, data, n, stored):
        ids = data.draw(st.lists(self.ids, min_size=n, max_size=n, unique=True))
        rows = self.rows(n)
        self.index = hashdb.build(
            self.folder / "i", POOL[rows], "lsh", N_BITS, ids=ids, store_vectors=stored, metric="l2"
        )
        self.stored = stored
        self.pool_codes = self.index.encode(POOL)[:, 0]
        self.model = dict(zip(ids, rows.tolist(), strict=True))
        self.next_id = max(-1, *ids) + 1 if self.id_kind == "int64" else None
        self.history = {1: dict(self.model)}

    def record(self):
        N_SEEN["steps"] += 1
        self.history.setdefault(self.index.version, dict(self.model))

    @rule(data=st.data(), upsert=st.booleans(), auto_compact=st.booleans())
    def add(self, data, upsert, auto_compact):
        ids = data.draw(st.lists(self.ids, max_size=12, unique=True))
        rows = self.rows(len(ids))
        if not upsert and set(ids) & set(self.model):
            with pytest.raises(DuplicateIdError):
                self.index.add(POOL[rows], ids)
        else:
            assert self.index.add(POOL[rows], ids, upsert=upsert, auto_compact=auto_compact).tolist() == ids
            self.model.update(zip(ids, rows.tolist(), strict=True))
            if self.id_kind == "int64":
                self.next_id = max([self.next_id - 1, *ids]) + 1
        self.record()

    @precondition(lambda self: self.id_kind == "int64")
    @rule(n=st.integers(1, 40))
    def add_without_ids(self, n):
        rows = self.rows(n)
        ids = self.index.add(POOL[rows]).tolist()
        assert ids == list(range(self.next_id, self.next_id + n))
        self.next_id += n
        self.model.update(zip(ids, rows.tolist(), strict=True))
        self.record()

    @rule(data=st.data(), ignore_missing=st.booleans())
    def delete(self, data, ignore_missing):
        known = st.sampled_from(self.order(self.model)) if self.model else self.ids
        ids = data.draw(st.lists(known | self.ids, min_size=1, max_size=8))
        present = set(ids) & set(self.model)
        if present != set(ids) and not ignore_missing:
            with pytest.raises(UnknownIdError):
                self.index.delete(ids)
        else:
            assert self.index.delete(ids, ignore_missing=ignore_missing) == len(present)
            for one in present:
                del self.model[one]
        self.record()

    @rule(table_budget=st.sampled_from([None, None, 0, 30, 200]))
    def compact(self, table_budget):
        self.index.compact(table_budget=table_budget)
        self.record()

    @rule(keep=st.integers(1, 3))
    def prune(self, keep):
        self.index.compact(prune=True, keep=keep)
        self.record()
        kept = sorted(self.history)[-keep:]
        self.history = {version: self.history[version] for version in kept}
        assert [one.version for one in self.index.versions()] == kept

    @rule(mmap=st.booleans(), check=st.sampled_from(["quick", "full"]))
    def reopen(self, mmap, check):
        self.index.close()
        self.index = hashdb.open(self.folder / "i", mmap=mmap, check=check)
        self.record()

    @rule(data=st.data())
    def look_at_an_old_version(self, data):
        version = data.draw(st.sampled_from(sorted(self.history)))
        with hashdb.open(self.folder / "i", version=version) as old:
            self.same(old, self.history[version])
            self.answers(old, self.history[version], data)
            with pytest.raises(ReadOnlyError):
                old.delete(self.order(self.history[version])[:1] or ["a" if self.id_kind == "string" else 1])
        if min(self.history) > 1:
            with pytest.raises(VersionGoneError):
                hashdb.open(self.folder / "i", version=min(self.history) - 1)
        self.record()

    @rule(data=st.data())
    def query(self, data):
        self.answers(self.index, self.model, data)
        self.record()

    @rule(deep=st.booleans())
    def verify(self, deep):
        assert self.index.verify(deep=deep).problems == []
        self.record()

    @invariant()
    def same_rows(self):
        self.same(self.index, self.model)

    def same(self, index, model):
        ids, codes = self.listed(model)
        batches = list(index.codes(7))
        assert [one for batch, _ in batches for one in batch.tolist()] == ids
        assert [code for _, batch in batches for code in batch[:, 0].tolist()] == codes.tolist()
        assert len(index) == len(model)
        assert index.get(ids)[:, 0].tolist() == codes.tolist()

    def listed(self, model):
        """Give the ids of a dict in the order of an index, and their codes."""
        ids = self.order(model)
        return ids, self.pool_codes[[model[one] for one in ids]]

    def answers(self, index, model, data):
        """Compare every kind of query with brute force, whichever way the segments are searched."""
        ids, codes = self.listed(model)
        n_queries, k = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 60))
        radius = data.draw(st.integers(0, N_BITS + 1))
        queries = data.draw(st.lists(st.integers(0, len(POOL) - 1), min_size=n_queries, max_size=n_queries))
        # The larger a scan is taken to cost at least, the more the planner prefers buckets.
        costs.SCAN = data.draw(st.sampled_from([0.0, 65e3, 1e5, 1e9]))
        found = index.query(POOL[queries], k=k, n_threads=data.draw(st.integers(1, 3)))
        around = index.query_radius(POOL[queries], radius)
        N_SEEN.update(queries=2 * n_queries, **{found.stats["path"]: n_queries, around.stats["path"]: n_queries})
        for number, row in enumerate(queries):
            nearest, within = self.oracle(ids, codes, self.pool_codes[row], k, radius)
            assert pairs(found.ids[number], found.distances[number]) == nearest
            part = slice(around.lims[number], around.lims[number + 1])
            assert pairs(around.ids[part], around.distances[part]) == within
        if ids:
            self.answers_of_ids(index, model, data.draw(st.sampled_from(ids)), k, radius)
            self.rescored(index, model, queries, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)))

    def answers_of_ids(self, index, model, one, k, radius):
        ids, codes = self.listed(model)
        nearest, within = self.oracle(ids, codes, self.pool_codes[model[one]], k, radius)
        found = index.query_ids([one], k=k)
        assert pairs(found.ids[0], found.distances[0]) == nearest
        around = index.query_ids([one], radius=radius)
        assert pairs(around.ids, around.distances) == within

    def rescored(self, index, model, queries, k, rescore):
        """Take the first rescore * k of the order by (distance, id), and order them by (score, id)."""
        ids, codes = self.listed(model)
        found = index.query(POOL[queries], k=k, rescore=rescore)
        assert found.measure == ("l2" if self.stored else "asymmetric")
        place = {one: at for at, one in enumerate(ids)}
        margins = index.model.project(POOL[queries])
        for number, row in enumerate(queries):
            first, _ = self.oracle(ids, codes, self.pool_codes[row], rescore * k, 0)
            scores = [self.score(row, margins[number], model[one]) for one, _ in first]
            order = sorted(range(len(first)), key=lambda at: (scores[at], place[first[at][0]]))[:k]
            got = [place[one] for one in found.ids[number].tolist()]
            right = [place[first[at][0]] for at in order]
            # Sums in another order may swap what is all but equal, never more.
            near = {place[one]: score for (one, _), score in zip(first, scores, strict=True)}
            assert np.allclose([near[one] for one in got], [near[one] for one in right], rtol=1e-5, atol=1e-5)
            assert np.allclose(found.distances[number], [near[one] for one in got], rtol=1e-5, atol=1e-5)
            assert len(set(got)) == len(got)

    def score(self, row, margins, other):
        if self.stored:
            return float(np.sqrt(((POOL[row].astype(float) - POOL[other].astype(float)) ** 2).sum()))
        differ = int(self.pool_codes[row] ^ self.pool_codes[other])
        return float(sum(abs(float(margins[bit])) for bit in range(N_BITS) if differ >> bit & 1))

    def oracle(self, ids, codes, query, k, radius):
        distances = np.bitwise_count(query ^ codes).tolist()
        # Ids stand in order, and sorting is stable.
        every = sorted(zip(ids, distances, strict=True), key=lambda pair: pair[1])
        return every[:k], [pair for pair in every if pair[1] <= radius]


class StringMachine(IndexMachine):
    id_kind = "string"
    ids = STRINGS


def pairs(ids, distances):
    return list(zip(ids.tolist(), distances.tolist(), strict=True))


@pytest.fixture
def small_tables(monkeypatch):
    """Let segments of a few rows have bucket tables, the kernels do all the work, and nothing wait for the disk."""
    monkeypatch.setattr(Files, "fsync", lambda self, handle: None)
    monkeypatch.setattr(Files, "fsync_folder", lambda self, path: None)
    monkeypatch.setattr(layouts, "MIN_ROWS", 4)
    monkeypatch.setattr(scan, "NUMPY_BUDGET", -1)
    monkeypatch.setattr(costs, "SCAN", costs.SCAN)
    N_SEEN.clear()


@pytest.mark.parametrize("machine", [IndexMachine, StringMachine])
@pytest.mark.parametrize(
    ("examples", "steps"),
    [(5, 14), pytest.param(200, 60, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_an_index_behaves_like_a_dict(small_tables, record_property, machine, examples, steps):
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # CI tries the same cases every time, the long run new ones.
        derandomize=examples < 100,
        database=None,
        print_blob=True,
    )
    check_machine = run_state_machine_as_test
    check_machine(machine, settings=limits)
    assert N_SEEN["buckets"] + N_SEEN["buckets and scan"] > 0
    assert N_SEEN["scan"] > 0
    record_property("steps of the state machine", N_SEEN["steps"])
    record_property("queries of the state machine", N_SEEN["queries"])
