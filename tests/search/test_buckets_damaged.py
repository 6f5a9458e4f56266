"""Damaged tables: what can be told is told, the scan answers, and nothing crashes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .buckets_kit import FOREVER, n_threads_wanted, queries_of
from .conftest import PROPERTY, Segment, StoredTables, nearest_rows, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")


def change(kind, name, value):
    """Damage an array or the description of a table."""

    def damage(table, n):
        if kind == "array":
            table.arrays[name] = np.ascontiguousarray(value(table.arrays[name], n))
        elif kind == "layout of array":
            table.arrays[name] = value(table.arrays[name], n)
        elif kind == "field":
            table.description = {**table.description, name: value}
        else:
            del (table.arrays if kind == "without array" else table.description)[name]

    return damage


def put(at, value):
    def changed(array, n):
        array = array.copy()
        array[at] = value(array, n)
        return array

    return changed


SEEN_AT_ONCE = {
    "offsets begin late": change("array", "offsets", put(0, lambda a, n: 1)),
    "offsets end early": change("array", "offsets", put(-1, lambda a, n: n - 1)),
    "offsets end late": change("array", "offsets", put(-1, lambda a, n: n + 1)),
    "offsets too short": change("array", "offsets", lambda a, n: np.r_[a[:-2], a[-1:]]),
    "offsets too long": change("array", "offsets", lambda a, n: np.r_[a, a[-1:]]),
    "offsets in columns": change("array", "offsets", lambda a, n: a[:, None]),
    "offsets of int64": change("array", "offsets", lambda a, n: a.astype(np.int64)),
    "offsets of int32": change("array", "offsets", lambda a, n: a.astype(np.int32)),
    "offsets of big endian": change("array", "offsets", lambda a, n: a.astype(">u4")),
    "offsets in steps": change("layout of array", "offsets", lambda a, n: np.repeat(a, 2)[::2]),
    "no offsets": change("without array", "offsets", None),
    "rows too few": change("array", "rows", lambda a, n: a[:-1]),
    "rows too many": change("array", "rows", lambda a, n: np.r_[a, a[:1]]),
    "rows of uint64": change("array", "rows", lambda a, n: a.astype(np.uint64)),
    "no rows": change("without array", "rows", None),
    "codes too few": change("array", "codes", lambda a, n: a[:-1]),
    "codes of another width": change("array", "codes", lambda a, n: np.hstack([a, a])),
    "codes in one dimension": change("array", "codes", lambda a, n: a[:, 0]),
    "codes of int64": change("array", "codes", lambda a, n: a.view(np.int64)),
    "no codes": change("without array", "codes", None),
    "no bits": change("without field", "bits", None),
    "bits of none": change("field", "bits", []),
    "bits twice": change("field", "bits", [0, 0, 1]),
    "bits past the width": change("field", "bits", [0, 1, 30]),
    "bits below zero": change("field", "bits", [-1, 0, 1]),
    "bits beyond integers": change("field", "bits", [10**30]),
    "bits that are words": change("field", "bits", ["a"]),
    "bits that are nothing": change("field", "bits", None),
    "bits of lists": change("field", "bits", [[0, 1], [2]]),
    "no layout": change("without field", "layout", None),
    "an unknown layout": change("field", "layout", "high"),
    "a layout of another kind": change("field", "layout", ["wide"]),
    "another layout than the others": change("field", "layout", "lean"),
    "no directory": change("without field", "directory", None),
    "an unknown directory": change("field", "directory", "tree"),
    "a direct directory of fewer bits": change("field", "directory_bits", 3),
    "a directory of no bits": change("field", "directory_bits", 0),
    "a directory of too many bits": change("field", "directory_bits", 1000),
    "a directory of infinitely many bits": change("field", "directory_bits", math.inf),
    "a directory of some bits": change("field", "directory_bits", "some"),
    "a directory of unknown bits": change("field", "directory_bits", None),
    "occupancy of nothing": change("field", "occupancy", []),
    "occupancy that is a number": change("field", "occupancy", 3.0),
    "occupancy that is not a number": change("field", "occupancy", [1.0, math.nan]),
    "occupancy that is infinite": change("field", "occupancy", [math.inf]),
    "occupancy below zero": change("field", "occupancy", [1.0, -1.0]),
    "occupancy of lists": change("field", "occupancy", [[1.0]]),
    "occupancy that is a word": change("field", "occupancy", ["much"]),
    "occupancy of far too many": change("field", "occupancy", [1.0] * 65),
}
# Of the first table: the others say the same of the segment, which is not read again.
SEEN_IN_THE_FIRST = {
    "distances of neighbours without number": change("field", "near", [[1, 2], [3]]),
    "distances of neighbours in one list": change("field", "near", [1, 2, 3]),
    "distances of neighbours that descend": change("field", "near", [[1, 9], [10, 8]]),
    "distances of the zeroth neighbour": change("field", "near", [[0, 9]]),
    "distances of neighbours beyond the width": change("field", "near", [[1, 31]]),
    "distances of neighbours that are no numbers": change("field", "near", [[1, math.nan]]),
    "distances of neighbours that are words": change("field", "near", [["a", "b"]]),
}
SEEN_BY_PROBES = {
    "offsets descend": change("array", "offsets", put(slice(1, -1), lambda a, n: a[-2:0:-1])),
    "offsets beyond the rows": change("array", "offsets", put(slice(1, -1), lambda a, n: n + 1)),
    "offsets far beyond the rows": change("array", "offsets", put(slice(1, -1), lambda a, n: 2**32 - 1)),
    "rows beyond the segment": change("array", "rows", lambda a, n: a + np.uint32(n)),
    "rows far beyond the segment": change("array", "rows", put(slice(None), lambda a, n: 2**32 - 1)),
}


def damaged_segment(wide=True, seed=13):
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, 1000, 30)
    segment = Segment(codes, 30, dead=range(0, 1000, 50)).with_tables(3, wide=wide)
    return segment, queries_of(rng, codes, 30)


def check_that_the_scan_answers(segment, queries, search):
    """Search by buckets, then again; give the reasons why tables were disabled."""
    for _ in range(2):
        if search == "radius":
            found, report = segment.radius(queries, 10)
            assert found == [[pair for pair in every if pair[0] <= 10] for every in segment.oracle(queries)]
        else:
            found, report = segment.knn(queries, 10)
            assert found == [every[:10] for every in segment.oracle(queries)]
        assert report.n_scanned == len(queries)
    (reason,) = segment.stored.problems
    assert isinstance(reason, str)
    assert reason in report.plan.reason
    assert (report.path, report.tables) == ("scan", "none")


@pytest.mark.parametrize("search", ["knn", "radius"])
@pytest.mark.parametrize(
    ("damage", "number"),
    [
        *((damage, number) for damage in SEEN_AT_ONCE for number in (0, 2)),
        *((damage, 0) for damage in SEEN_IN_THE_FIRST),
    ],
)
def test_tables_that_do_not_describe_the_segment_are_not_used(damage, number, search):
    segment, queries = damaged_segment()
    {**SEEN_AT_ONCE, **SEEN_IN_THE_FIRST}[damage](segment.stored.tables[number], 1000)
    check_that_the_scan_answers(segment, queries, search)


@pytest.mark.parametrize("search", ["knn", "radius"])
@pytest.mark.parametrize("tables", [slice(0), slice(2), slice(1, None), [0, 0, 1], [0, 1, 2, 2]])
def test_tables_that_are_not_one_for_each_substring_are_not_used(tables, search):
    segment, queries = damaged_segment()
    numbers = tables if isinstance(tables, list) else range(3)[tables]
    segment.stored.tables = [segment.stored.tables[number] for number in numbers]
    check_that_the_scan_answers(segment, queries, search)


@pytest.mark.parametrize("search", ["knn", "radius"])
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("damage", SEEN_BY_PROBES)
def test_tables_found_damaged_on_the_way_are_left_to_the_scan(set_budget, damage, wide, number, search):
    set_budget(FOREVER)
    for n_queries in (1, 5):
        segment, queries = damaged_segment(wide)
        SEEN_BY_PROBES[damage](segment.stored.tables[number], 1000)
        check_that_the_scan_answers(segment, queries[:n_queries], search)


@PROPERTY
@given(
    seed=st.integers(0, 99),
    wide=st.booleans(),
    name=st.sampled_from(("offsets", "rows")),
    number=st.integers(0, 2),
    places=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40),
    beyond=st.sampled_from((0, 1, 1000, 2**31)),
    n_threads=n_threads_wanted,
)
def test_places_beyond_the_rows_never_change_an_answer(set_budget, seed, wide, name, number, places, beyond, n_threads):
    set_budget(FOREVER)
    for search in ("knn", "radius"):
        segment, queries = damaged_segment(wide, seed)
        array = segment.stored.tables[number].arrays[name]
        array[[1 + place % (len(array) - 2) for place in places]] = 1000 + beyond + (name == "offsets")
        if search == "radius":
            found, report = segment.radius(queries, 4, n_threads=n_threads)
            assert found == [[pair for pair in every if pair[0] <= 4] for every in segment.oracle(queries)]
        else:
            found, report = segment.knn(queries, 10, n_threads=n_threads)
            assert found == [every[:10] for every in segment.oracle(queries)]
        assert report.n_scanned == (len(queries) if segment.stored.problems else 0)


def segments_with_a_bucket_too_large():
    """One bucket reaches over many that follow, whose rows are met twice; the next one ends before it begins."""
    for seed in range(60):
        for wide in (True, False):
            segment, queries = damaged_segment(wide, seed)
            table = segment.stored.tables[0]
            table.arrays["offsets"][7] = table.arrays["offsets"][1000]
            mine = sum(1 << bit for bit in table.description["bits"])
            yield segment, queries[3:4] & ~np.uint64(mine)  # looks into buckets 0; 1, 2, 4 …; 3, 5, 6, 9 …; 7 …


@pytest.mark.parametrize("search", ["knn", "radius"])
def test_what_damaged_tables_led_to_is_forgotten(set_budget, search):
    set_budget(FOREVER)
    n_seen = 0
    for segment, query in segments_with_a_bucket_too_large():
        oracle = segment.oracle(query)[0]
        found = segment.knn(query, 20, n_threads=1)[0] if search == "knn" else segment.radius(query, 9)[0]
        if segment.stored.problems:
            assert found == [oracle[:20] if search == "knn" else [pair for pair in oracle if pair[0] <= 9]]
            n_seen += 1
    assert n_seen > 20


def test_offsets_that_descend_where_no_probe_looks_make_no_row_count_twice(set_budget):
    set_budget(FOREVER)
    for segment, query in segments_with_a_bucket_too_large():
        found = segment.radius(query, 6)[0]
        assert found == [[pair for pair in segment.oracle(query)[0] if pair[0] <= 6]]


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_damage_that_one_of_several_threads_meets_is_known_to_all(set_budget, n_threads, wide):
    set_budget(FOREVER)
    rng = np.random.default_rng(15)
    codes = random_codes(rng, 3000, 64)
    query = random_codes(rng, 1, 64)
    expected = nearest_rows(codes, query, 3000)
    segment = Segment(codes, 64).with_tables(4, wide=wide)
    for number in range(8):
        table = segment.stored.tables[number % 4]
        offsets, rows = table.arrays["offsets"].copy(), table.arrays["rows"].copy()
        if number < 4:
            table.arrays["offsets"][rng.integers(1, len(offsets) - 1)] = 3001
        else:
            table.arrays["rows"][:] = 3000  # each is met in some table first
        damaged = Segment(codes, 64)
        damaged.stored = StoredTables(segment.stored.tables)
        assert damaged.knn(query, 3000, n_threads=n_threads)[0] == expected  # through every bucket there is
        assert len(damaged.stored.problems) == 1
        table.arrays.update(offsets=offsets, rows=rows)
