"""Columns of ids against plain Python, and merging them window by window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.errors import DuplicateIdError
from hashdb.storage import ids as module
from hashdb.storage.ids import IntColumn, RangeColumn, StringColumn, from_keys, normalise, sorting_order, to_users
from hashdb.storage.layout import ArraySpec, rows_per_chunk
from hashdb.storage.merge import Source, merge_windows

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
KINDS = [("int64", INT64), ("string", WORDS)]


def order_of(kind):
    return str.encode if kind == "string" else None


@pytest.mark.parametrize(("kind", "ids"), KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_find_gives_the_row_of_each_id(kind, ids, data):
    stored = sorted(data.draw(st.lists(ids, unique=True, max_size=40)), key=order_of(kind))
    asked = data.draw(st.lists(ids | (st.sampled_from(stored) if stored else ids), max_size=40))
    column, wanted = normalise(stored, kind), normalise(asked, kind)
    rows = column.find(wanted.keys(0, wanted.n))
    assert rows.tolist() == [stored.index(id_) if id_ in stored else -1 for id_ in asked]


@given(first=INT64, n=st.integers(1, 50), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_range_behaves_like_its_ids(first, n, data):
    first = min(first, (1 << 63) - n)
    near = st.integers(max(first - 3, -(1 << 63)), min(first + n + 3, (1 << 63) - 1))
    asked = np.array(data.draw(st.lists(near | INT64, max_size=20)), np.int64)
    column, stored = RangeColumn(first, n), IntColumn(np.array(range(first, first + n), np.int64))
    assert column.find(asked).tolist() == stored.find(asked).tolist()
    assert column.keys(0, n).tolist() == stored.keys(0, n).tolist()
    assert column.take_keys(np.arange(n)[::-1]).tolist() == stored.values[::-1].tolist()


@pytest.mark.parametrize("narrow", [module.NARROW, 5, 0])
@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS, max_size=30))
def test_strings_survive_keys_and_back(words, narrow):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NARROW", narrow)
        check_strings(words)


def check_strings(words):
    column = normalise(words, "string")
    assert to_users(column.keys(0, column.n)).tolist() == words
    again = from_keys(column.keys(0, column.n)) if words else column
    assert isinstance(again, StringColumn)
    assert again.data.tobytes() == column.data.tobytes()
    assert again.offsets.tolist() == column.offsets.tolist()
    rows = np.arange(column.n)[::-1]
    assert to_users(column.take_keys(rows)).tolist() == words[::-1]


@pytest.mark.parametrize("limit", [1 << 30, 0])
@pytest.mark.parametrize(("kind", "ids"), KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_sorting_order_sorts_as_python_does(kind, ids, limit, data):
    given_ids = data.draw(st.lists(ids, unique=True, max_size=40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_SORT_BYTES", limit)
        patch.setattr(module, "BLOCK", 7)
        order = sorting_order(normalise(given_ids, kind))
    wanted = sorted(given_ids, key=order_of(kind))
    assert (given_ids if order is None else [given_ids[i] for i in order]) == wanted
    assert (order is None) == (given_ids == wanted)


@pytest.mark.parametrize(("kind", "ids"), KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_repeat_is_named_as_python_finds_it(kind, ids, data):
    given_ids = data.draw(st.lists(ids, min_size=1, max_size=20))
    given_ids += data.draw(st.lists(st.sampled_from(given_ids), min_size=1, max_size=3))
    later = next(i for i, id_ in enumerate(given_ids) if id_ in given_ids[:i])
    earlier = max(i for i in range(later) if given_ids[i] == given_ids[later])
    with pytest.raises(DuplicateIdError, match=f"in rows {earlier} and {later} of the input"):
        sorting_order(normalise(given_ids, kind))


@pytest.mark.parametrize("given_ids", [["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object)])
def test_strings_may_come_in_any_sequence(given_ids):
    assert to_users(normalise(given_ids, "string").keys(0, 2)).tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "given_ids", [[1, 2], (1, 2), range(1, 3), np.array([1, 2], np.uint8), np.array([1, 2], object), [np.int32(1), 2]]
)
def test_integers_may_come_in_any_sequence(given_ids):
    assert normalise(given_ids, "int64").keys(0, 2).tolist() == [1, 2]


def test_no_ids_give_an_empty_array_of_the_right_kind():
    assert to_users(normalise([], "string").keys(0, 0)).dtype.kind == "U"
    assert to_users(normalise([], "int64").keys(0, 0)).dtype == np.int64


@pytest.mark.parametrize(("kind", "ids"), KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_windows_merge_all_rows_that_are_alive_in_order(kind, ids, data):
    every = data.draw(st.lists(ids, unique=True, max_size=60))
    owners = [data.draw(st.integers(0, 3)) for _ in every]
    parts = [sorted((i for i, o in zip(every, owners, strict=True) if o == k), key=order_of(kind)) for k in range(4)]
    dead = {id_ for id_ in every if data.draw(st.integers(0, 4)) == 0}
    sources = []
    for part in filter(None, parts):
        alive = np.array([id_ not in dead for id_ in part])
        column = normalise(part, kind)
        sources.append(
            Source(lambda column=column: column, len(part), lambda start, stop, alive=alive: alive[start:stop])
        )
    batch = data.draw(st.integers(1, 30))
    windows = list(merge_windows(sources, batch))
    merged = [id_ for window in windows for id_ in to_users(window.keys).tolist()]
    assert merged == sorted(set(every) - dead, key=order_of(kind))
    assert all(0 < len(window.keys) <= max(batch, len(sources)) for window in windows)


@settings(max_examples=200, deadline=None)
@given(row_bytes=st.integers(1, 5000), n_rows=st.integers(1, 1 << 22), chunk_bytes=st.integers(1, 1 << 16))
def test_chunks_are_few_equal_and_not_too_large(row_bytes, n_rows, chunk_bytes):
    rows = rows_per_chunk(row_bytes, n_rows, chunk_bytes)
    assert rows >= 1
    assert rows * row_bytes <= max(chunk_bytes, row_bytes)
    most = max(1, chunk_bytes // row_bytes)
    assert n_rows <= rows or rows % 64 == 0 or most < 64
    chunks = ArraySpec((n_rows, row_bytes), "uint8", min(rows, n_rows)).chunks() if n_rows // rows < 1000 else None
    assert chunks is None or sum(n for _, n in chunks) == n_rows
