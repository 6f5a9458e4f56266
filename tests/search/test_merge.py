"""Merging the lists of segments: as if all rows had been in one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.search import merge


@st.composite
def segments(draw):
    """The rows of some segments for some queries: per query and segment a list of (distance, id)."""
    kind = draw(st.sampled_from(["int", "text"]))
    n_queries = draw(st.integers(0, 4))
    names = draw(st.lists(st.integers(-50, 50), unique=True, max_size=30))
    ids = names if kind == "int" else [f"é{name:x}\U0001f600"[: 2 + abs(name) % 4] + str(name) for name in names]
    owners = [draw(st.integers(0, 3)) for _ in ids]
    near = [[draw(st.integers(0, 4)) for _ in ids] for _ in range(n_queries)]
    lists = [
        [sorted((d, i) for d, i, owner in zip(row, ids, owners, strict=True) if owner == number) for row in near]
        for number in range(4)
    ]
    return kind, n_queries, lists


def as_ids(kind, values, shape=None):
    dtype = np.int64 if kind == "int" else f"<U{max((len(value) for value in values), default=1)}"
    return np.array(values, dtype).reshape(shape or (len(values),))


@settings(deadline=None)
@given(found=segments(), k=st.integers(0, 40), extra=st.integers(0, 3))
def test_merged_k_lists_equal_those_of_one_list(found, k, extra):
    kind, n_queries, lists = found
    filler = 99 if kind == "int" else "zz"
    parts = []
    for rows in lists:
        width = (len(rows[0]) if rows else 0) + extra
        padded = [row + [(0, filler)] * extra for row in rows]
        parts.append(
            (
                as_ids(kind, [i for row in padded for _, i in row], (n_queries, width)),
                np.array([d for row in padded for d, _ in row], np.int32).reshape(n_queries, width),
                np.full(n_queries, width - extra),
            )
        )
    ids, distances = merge.merge_knn(parts, k)
    expected = [sorted(pair for rows in lists for pair in rows[query])[:k] for query in range(n_queries)]
    assert [list(zip(d, i, strict=True)) for d, i in zip(distances.tolist(), ids.tolist(), strict=True)] == expected
    assert distances.dtype == np.int32
    assert ids.dtype.kind == ("i" if kind == "int" else "U")


@settings(deadline=None)
@given(found=segments())
def test_merged_radius_results_equal_those_of_one_list(found):
    kind, n_queries, lists = found
    parts = [
        (
            np.cumsum([0, *map(len, rows)]),
            as_ids(kind, [i for row in rows for _, i in row]),
            np.array([d for row in rows for d, _ in row], np.int32),
        )
        for rows in lists
    ]
    lims, ids, distances = merge.merge_radius(parts)
    expected = [sorted(pair for rows in lists for pair in rows[query]) for query in range(n_queries)]
    assert np.diff(lims).tolist() == [len(row) for row in expected]
    assert list(zip(distances.tolist(), ids.tolist(), strict=True)) == [pair for row in expected for pair in row]


def test_one_part_is_only_cut_to_width():
    part = (np.array([[5, 2, 9]]), np.array([[1, 1, 3]], np.int32), np.array([2]))
    ids, distances = merge.merge_knn([part], 3)
    assert (ids.tolist(), distances.tolist()) == ([[5, 2]], [[1, 1]])


@pytest.mark.parametrize("texts", [["b", "a", "é", "z", "\U0001f600", "￿", "aa", ""]])
def test_strings_order_as_their_utf8_bytes(texts):
    order = np.argsort(merge.sortable(np.array(texts)))
    assert [texts[place] for place in order] == sorted(texts, key=lambda text: text.encode())
