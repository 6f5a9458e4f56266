"""One search over many segments equals a slow one over a table: any split, ids of both kinds, deletes, bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.search import engine

from .conftest import as_integers, bitmap, random_codes


class Segment:
    """Rows in ascending id order, in one or two blocks, without tables."""

    tables = tables_problem = None

    def __init__(self, ids, codes, dead):
        order = sorted(range(len(ids)), key=lambda row: ids[row])
        self.ids = [ids[row] for row in order]
        codes = codes[order]
        self.code_blocks = [codes[: len(codes) // 2], codes[len(codes) // 2 :]]
        rows = [row for row, one in enumerate(self.ids) if one in dead]
        self.deleted = bitmap(len(ids), rows) if rows else None
        self.n_alive = len(ids) - len(rows)

    def ids_at(self, rows):
        chosen = [self.ids[row] for row in np.asarray(rows).tolist()]
        if self.ids and isinstance(self.ids[0], str):
            return np.array(chosen, f"<U{max(map(len, chosen), default=1)}")
        return np.array(chosen, np.int64)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 60),
    n_bits=st.sampled_from([1, 3, 64, 70]),
    n_segments=st.integers(1, 6),
    k=st.integers(0, 70),
    strings=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_split_into_segments_equals_the_slow_definition(n, n_bits, n_segments, k, strings, seed):
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, n, n_bits, 0.2)  # few bits set: ties everywhere
    numbers = (rng.permutation(1000)[:n] - 500).tolist()
    ids = [f"é{number:x}" if number % 2 else f"z{number}😀" for number in numbers] if strings else numbers
    dead = {one for one in ids if rng.random() < 0.2}
    owner = rng.integers(0, n_segments, n)
    segments = [
        Segment([ids[row] for row in np.flatnonzero(owner == number)], codes[owner == number], dead)
        for number in range(n_segments)
    ]
    queries = np.concatenate([codes[:2], random_codes(rng, 3, n_bits)])
    table = [(one, code) for one, code in zip(ids, as_integers(codes), strict=True) if one not in dead]
    expected = [sorted(((code ^ query).bit_count(), one) for one, code in table) for query in as_integers(queries)]

    found = engine.knn(segments, queries, k, n_bits=n_bits, id_dtype="<U1" if strings else np.int64)
    assert [
        list(zip(d, i, strict=True)) for d, i in zip(found.distances.tolist(), found.ids.tolist(), strict=True)
    ] == [row[:k] for row in expected]
    for query, (owners, rows) in enumerate(zip(found.segments.tolist(), found.rows.tolist(), strict=True)):
        placed = [segments[number].ids[row] for number, row in zip(owners, rows, strict=True)]
        assert placed == found.ids[query].tolist()

    radius = n_bits // 3
    found = engine.radius(segments, queries, radius, n_bits=n_bits)
    lims, near, distances = found.lims, found.ids, found.distances
    inside = [[pair for pair in row if pair[0] <= radius] for row in expected]
    assert np.diff(lims).tolist() == [len(row) for row in inside]
    assert list(zip(distances.tolist(), near.tolist(), strict=True)) == [pair for row in inside for pair in row]


def test_many_queries_over_many_segments_go_in_parts():
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 90, 16)
    segments = [Segment(list(range(first, 90, 3)), codes[first::3], set()) for first in range(3)]
    queries = random_codes(rng, 2500, 16)
    found = engine.knn(segments, queries, 4, n_bits=16)
    distances = np.bitwise_count(queries[:, None, 0] ^ codes[None, :, 0])
    assert (found.ids == np.argsort(distances, axis=1, kind="stable")[:, :4]).all()
