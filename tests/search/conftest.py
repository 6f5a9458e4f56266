"""Segments of random codes, with bucket tables too, and a slow oracle that shares no code with the search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from hashdb.search import kernel_scan, scan, segment_search
from hashdb.search.layouts import Layout
from hashdb.search.table_making import make_tables


def as_integers(codes):
    """Read each row of words as one Python integer, bit j of the code being bit j of the integer."""
    return [sum(int(word) << (64 * place) for place, word in enumerate(row)) for row in codes]


def oracle_lists(codes, queries, dead=()):
    """Every row that is alive with its distance, ordered by (distance, row), one list per query."""
    rows = [(row, code) for row, code in enumerate(as_integers(codes)) if row not in set(dead)]
    return [sorted(((code ^ query).bit_count(), row) for row, code in rows) for query in as_integers(queries)]


def bitmap(n, dead):
    """Mark rows in a bitmap of uint64 words."""
    words = [0] * -(-n // 64)
    for row in dead:
        words[row // 64] |= 1 << (row % 64)
    return np.array(words, np.uint64)


def nearest_rows(codes, queries, k, dead=()):
    """The k-lists as lists of (distance, row), by sorting all distances: for more rows than the oracle can take."""
    distances = np.bitwise_count(queries[:, None, :] ^ codes[None, :, :]).sum(axis=2, dtype=np.int64)
    alive = np.setdiff1d(np.arange(len(codes)), list(dead))
    order = np.argsort(distances[:, alive], axis=1, kind="stable")[:, :k]
    return [
        list(zip(far[alive][places].tolist(), alive[places].tolist(), strict=True))
        for far, places in zip(distances, order, strict=True)
    ]


def random_codes(rng, n, n_bits, density=0.5):
    """Codes of independent bits, made word by word from Python integers."""
    n_words = -(-n_bits // 64)
    bits = rng.random((n, n_bits)) < density
    codes = np.zeros((n, n_words), np.uint64)
    for bit in range(n_bits):
        codes[:, bit // 64] |= bits[:, bit].astype(np.uint64) << np.uint64(bit % 64)
    return codes


@pytest.fixture
def kernels_always(monkeypatch):
    """Let the kernels do even the smallest work, on as many threads as asked for and in short calls."""
    monkeypatch.setattr(scan, "_budget", scan._Budget())
    monkeypatch.setattr(scan, "NUMPY_BUDGET", -1)
    monkeypatch.setattr(kernel_scan, "_TASK_WORK", 1)
    monkeypatch.setattr(kernel_scan, "_CALL_WORK", 1 << 10)


@pytest.fixture
def numpy_always(monkeypatch):
    """Let NumPy do even the largest work."""
    monkeypatch.setattr(scan, "_budget", scan._Budget())
    monkeypatch.setattr(scan, "NUMPY_BUDGET", 1 << 62)


PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Table:
    """A sink of one bucket table that keeps what it is given, and is the table then."""

    def __init__(self):
        self.pieces, self.description, self.arrays = {}, None, {}

    def append(self, name, rows):
        assert self.description is None, "appended to a table that is complete"
        self.pieces.setdefault(name, []).append(rows.copy())

    def finish(self, description):
        assert self.description is None, "completed twice"
        self.description = description
        self.arrays = {name: np.concatenate(pieces) for name, pieces in self.pieces.items()}


class StoredTables:
    """The tables of a segment, and why they were disabled."""

    def __init__(self, tables):
        self.tables = tables
        self.problems = []

    def disable(self, reason):
        self.problems.append(reason)


class Segment:
    """A segment in memory whose ids are ``first_id`` + 3 rows; blocks but the last have as many rows, as on disk."""

    def __init__(self, codes, n_bits, *, n_blocks=1, dead=(), first_id=0):
        self.codes, self.n_bits, self.first_id = codes, n_bits, first_id
        step = max(1, -(-len(codes) // n_blocks))
        self.code_blocks = [codes[first : first + step].copy() for first in range(0, len(codes), step)]
        self.dead = sorted(dead)
        self.deleted = bitmap(len(codes), self.dead) if self.dead else None
        self.n_alive = len(codes) - len(self.dead)
        self.stored = None

    @property
    def tables(self):
        return None if self.stored is None or self.stored.problems else self.stored

    @property
    def tables_problem(self):
        return self.stored.problems[0] if self.stored is not None and self.stored.problems else None

    def ids_at(self, rows):
        return self.first_id + 3 * np.asarray(rows, np.int64)

    def with_tables(self, n_substrings, *, wide=True, **options):
        """Make the tables, of any size."""
        made = [Table() for _ in range(n_substrings)]
        make_tables(self.code_blocks, self.n_bits, Layout(n_substrings, wide), made.__getitem__, **options)
        self.stored = StoredTables(made)
        return self

    def oracle(self, queries):
        return oracle_lists(self.codes, queries, self.dead)

    def knn(self, queries, k, **options):
        """The k-lists as lists of (distance, row), and the report."""
        lists, report = segment_search.knn(self, queries, k, n_bits=self.n_bits, **{"path": "buckets", **options})
        assert (lists.rows.dtype, lists.distances.dtype, lists.counts.dtype) == (np.int64, np.int32, np.int64)
        assert lists.rows.shape == lists.distances.shape == (len(queries), lists.counts.max(initial=0))
        beyond = np.arange(lists.rows.shape[1]) >= lists.counts[:, None]
        assert (lists.rows[beyond] == -1).all()
        assert (lists.distances[beyond] == self.n_bits + 1).all()
        found = zip(lists.distances.tolist(), lists.rows.tolist(), lists.counts.tolist(), strict=True)
        return [list(zip(far[:n], rows[:n], strict=True)) for far, rows, n in found], report

    def radius(self, queries, radius, **options):
        """What is within the radius as lists of (distance, row), and the report."""
        lims, rows, distances, report = segment_search.radius(
            self, queries, radius, n_bits=self.n_bits, **{"path": "buckets", **options}
        )
        assert (lims.dtype, rows.dtype, distances.dtype) == (np.int64, np.int64, np.int32)
        assert lims.shape == (len(queries) + 1,)
        assert lims[0] == 0
        assert len(rows) == len(distances) == lims[-1]
        pairs = list(zip(distances.tolist(), rows.tolist(), strict=True))
        return [pairs[start:stop] for start, stop in zip(lims.tolist(), lims[1:].tolist(), strict=False)], report


@pytest.fixture
def set_budget(monkeypatch):
    """Let a test say how much each query may cost in buckets, in nanoseconds, whatever the planner thinks."""

    def set_to(budget):
        for name in ("plan_knn", "plan_radius"):
            plan = _PLANS[name]
            monkeypatch.setattr(
                segment_search,
                name,
                lambda *arguments, plan=plan: replace(plan(*arguments), path="buckets", budget=float(budget)),
            )

    return set_to


_PLANS = {name: getattr(segment_search, name) for name in ("plan_knn", "plan_radius")}


@pytest.fixture(scope="module")
def shared_segment():
    """A segment of clusters with 150 queries, half of them in none."""
    rng = np.random.default_rng(7)
    centres = random_codes(rng, 60, 64)
    codes = centres[rng.integers(0, 60, 4000)] ^ random_codes(rng, 4000, 64, 0.06)
    segment = Segment(codes, 64, n_blocks=3, dead=range(0, 4000, 9)).with_tables(5)
    return segment, np.concatenate([codes[:75], random_codes(rng, 75, 64)])
