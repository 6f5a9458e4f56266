"""Bucket tables are stable sorts of the rows by substring, however they are made; their shape keeps to its budget."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.search import layouts, table_making
from hashdb.search.layouts import Layout, bytes_per_code, check_budget, choose_layout, directory_bits, widths_of
from hashdb.search.table_making import TableMaker, make_tables

from .conftest import PROPERTY, Segment, Table, as_integers, random_codes

HASH_FACTOR = 0x9E3779B97F4A7C15  # docs/format.md, section 7


def buckets_of(codes, description):
    """The bucket of every code by docs/format.md, in Python integers."""
    bits, d = description["bits"], description["directory_bits"]
    keys = [sum((code >> bit & 1) << place for place, bit in enumerate(bits)) for code in as_integers(codes)]
    if description["directory"] == "direct":
        assert d == len(bits)
        return np.array(keys, np.int64)
    assert description["directory"] == "hashed"
    return np.array([key * HASH_FACTOR % 2**64 >> (64 - d) for key in keys], np.int64)


def check_tables(tables, codes, n_bits, layout):
    """Every table is what NumPy's stable sort by bucket gives."""
    n = len(codes)
    assert sorted(bit for table in tables for bit in table.description["bits"]) == list(range(n_bits))
    assert [len(table.description["bits"]) for table in tables] == widths_of(n_bits, layout.n_substrings)
    for table in tables:
        description, arrays = table.description, table.arrays
        assert description["bits"] == sorted(description["bits"])
        assert description["layout"] == layout.name
        assert description["directory_bits"] == directory_bits(len(description["bits"]), n)
        assert list(description["occupancy"]) == [one for one in description["occupancy"] if 0 <= one <= n]
        assert set(arrays) == {"offsets", "rows"} | ({"codes"} if layout.wide else set())
        assert {name: array.dtype for name, array in arrays.items()} == {
            name: np.uint64 if name == "codes" else np.uint32 for name in arrays
        }
        buckets = buckets_of(codes, description)
        order = np.argsort(buckets, kind="stable")
        np.testing.assert_array_equal(arrays["rows"], order)
        if layout.wide:
            np.testing.assert_array_equal(arrays["codes"], codes[order])
        counts = np.bincount(buckets, minlength=1 << description["directory_bits"])
        np.testing.assert_array_equal(arrays["offsets"], np.concatenate([[0], np.cumsum(counts)]))


def made(blocks, n_bits, layout, **options):
    tables = [Table() for _ in range(layout.n_substrings)]
    make_tables(blocks, n_bits, layout, tables.__getitem__, **options)
    return tables


@st.composite
def makings(draw):
    """Codes, cut anywhere, and a way to make tables of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bits = draw(st.sampled_from((1, 8, 30, 64, 70, 128, 200)))
    n = draw(st.sampled_from((1, 2, 3, 63, 257, 1000)))
    codes = random_codes(rng, n, n_bits, draw(st.sampled_from((0.0, 0.02, 0.5, 1.0))))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    fewest = -(-n_bits // 64)
    return {
        "codes": codes,
        "blocks": np.split(codes, cuts),
        "n_bits": n_bits,
        "layout": Layout(draw(st.integers(fewest, min(n_bits, fewest + 9))), draw(st.booleans())),
        "n_threads": draw(st.sampled_from((1, 3))),
        "pass_bytes": draw(st.sampled_from((1, 1000, 1 << 30))),
    }


@PROPERTY
@given(case=makings())
def test_tables_are_stable_sorts_by_bucket(case):
    codes = case.pop("codes")
    check_tables(made(**case), codes, case["n_bits"], case["layout"])


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("pass_bytes", [1, 100_000, 1 << 30], ids=["passes of a partition", "passes", "one pass"])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(("n_bits", "n_substrings"), [(28, 2), (40, 2)], ids=["direct", "hashed"])
def test_directories_of_several_partitions_come_out_whole(n_bits, n_substrings, n_threads, pass_bytes, wide):
    codes = random_codes(np.random.default_rng(0), 20_011, n_bits, 0.3)  # 14 bits number the buckets: 8 a partition
    layout = Layout(n_substrings, wide)
    blocks = np.split(codes, [1, 7000, 7000, 19_999])
    tables = made(blocks, n_bits, layout, n_threads=n_threads, pass_bytes=pass_bytes)
    check_tables(tables, codes, n_bits, layout)
    assert {table.description["directory"] for table in tables} == {"direct" if n_bits == 28 else "hashed"}


@pytest.mark.parametrize("pass_bytes", [1, 1 << 30])
@pytest.mark.parametrize("key", [0, 1, 2**14 - 2, 2**14 - 1, 8191, 8192])
def test_offsets_are_right_before_and_behind_the_only_bucket_with_codes(key, pass_bytes):
    codes = np.full((20_000, 1), key, np.uint64)
    (table,) = made([codes], 14, Layout(1, True), pass_bytes=pass_bytes)
    assert table.arrays["offsets"].tolist() == [0] * (key + 1) + [20_000] * (2**14 - key)
    assert table.arrays["rows"].tolist() == list(range(20_000))


def test_short_kernel_calls_make_the_same_tables(monkeypatch):
    monkeypatch.setattr(table_making, "_CALL_ROWS", 37)
    codes = random_codes(np.random.default_rng(1), 1000, 70)
    check_tables(made(np.split(codes, [500]), 70, Layout(6, True), n_threads=3), codes, 70, Layout(6, True))


def test_a_segment_gets_the_same_tables_every_time():
    codes = random_codes(np.random.default_rng(2), 3000, 64)
    first = made([codes], 64, Layout(5, True), n_threads=1)
    again = made(np.split(codes, [999]), 64, Layout(5, True), n_threads=3, pass_bytes=5000)
    for one, other in zip(first, again, strict=True):
        assert one.description == other.description
        for name in one.arrays:
            np.testing.assert_array_equal(one.arrays[name], other.arrays[name])


def test_blocks_may_be_read_only_and_strided():
    codes = random_codes(np.random.default_rng(3), 900, 70)
    strided = np.repeat(codes, 2, axis=0)[::2]
    strided.flags.writeable = False
    check_tables(made([strided], 70, Layout(7, True)), codes, 70, Layout(7, True))


def test_occupancy_is_what_buckets_usually_hold_around_the_codes():
    rng = np.random.default_rng(4)
    codes = random_codes(rng, 50, 27, 0.3)  # so few that each of them is looked at
    for table in made([codes], 27, Layout(9, False)):
        offsets = table.arrays["offsets"].astype(int)
        held = np.diff(offsets)
        buckets = buckets_of(codes, table.description)
        far = np.bitwise_count(buckets[:, None] ^ np.arange(8))
        # Of each code the mean over the buckets at that distance, of all codes the median.
        each = [[held[row == radius].mean() for radius in range(4)] for row in far]
        expected = np.median(each, axis=0)
        np.testing.assert_allclose(table.description["occupancy"], expected, atol=6e-4)


def test_progress_counts_every_pass_to_the_end():
    calls = []
    lock = threading.Lock()

    def progress(done, total):
        with lock:
            calls.append((done, total))

    codes = random_codes(np.random.default_rng(5), 1000, 30)
    made([codes], 30, Layout(3, True), n_threads=3, pass_bytes=4000, progress=progress)
    total = calls[-1][1]
    assert total > 3
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_a_sink_that_fails_ends_the_making():
    class Full(Table):
        def append(self, name, rows):
            raise OSError("no space left")

    codes = random_codes(np.random.default_rng(6), 1000, 30)
    for n_threads in (1, 3):
        with pytest.raises(OSError, match="no space left"):
            make_tables([codes], 30, Layout(3, True), lambda t: Full(), n_threads=n_threads)


# The maker, as the storage asks it.


@pytest.fixture
def small_segments_too(monkeypatch):
    monkeypatch.setattr(layouts, "MIN_ROWS", 500)


def test_small_segments_get_no_tables():
    maker = TableMaker()
    assert not maker.wants(layouts.MIN_ROWS - 1, 64, None)
    assert maker.wants(layouts.MIN_ROWS, 64, None)
    begun = []
    maker.make([random_codes(np.random.default_rng(7), 100, 64)], 64, begun.append)
    assert begun == []


def test_a_maker_makes_what_it_wants(small_segments_too):
    codes = random_codes(np.random.default_rng(8), 700, 40)
    for budget in (None, 30.0, 200.0):
        maker, tables = TableMaker(budget), {}
        assert maker.wants(700, 40, None)
        maker.make([codes], 40, lambda t, tables=tables: tables.setdefault(t, Table()))
        layout = choose_layout(700, 40, layouts.DEFAULT_BUDGET if budget is None else budget)
        assert list(tables) == list(range(layout.n_substrings))
        check_tables(list(tables.values()), codes, 40, layout)


def test_tables_that_are_there_are_kept_unless_they_are_to_be_replaced(small_segments_too):
    best = choose_layout(700, 40, 60.0)
    other = Layout(best.n_substrings + 1, best.wide)
    lean = Layout(best.n_substrings, not best.wide)

    def described(layout):
        bits = np.array_split(np.arange(40), layout.n_substrings)
        return [{"layout": layout.name, "bits": some.tolist()} for some in bits]

    for present in (best, other, lean):
        assert not TableMaker(60.0).wants(700, 40, described(present))
        assert TableMaker(60.0, replace=True).wants(700, 40, described(present)) == (present != best)
    for nothing in (None, []):
        assert TableMaker(60.0).wants(700, 40, nothing)
        assert TableMaker(60.0, replace=True).wants(700, 40, nothing)
    for unsound in (described(best)[1:], [{"layout": "lean"}], [{**described(best)[0], "layout": "odd"}] * 2):
        assert TableMaker(60.0).wants(700, 40, unsound)


def test_tables_go_where_none_fit_the_budget_and_they_are_to_be_replaced(small_segments_too):
    assert TableMaker(0.0, replace=True).drops(700, 40)
    assert not TableMaker(60.0, replace=True).drops(700, 40)
    assert not TableMaker(0.0).drops(700, 40)


def test_a_budget_of_nothing_makes_nothing(small_segments_too):
    maker = TableMaker(0)
    assert not maker.wants(700, 40, None)
    assert not maker.wants(10**7, 64, [])
    begun = []
    maker.make([random_codes(np.random.default_rng(9), 700, 40)], 40, begun.append)
    assert begun == []


# Layouts.


@settings(deadline=None, max_examples=150)
@given(
    n=st.one_of(st.integers(1, 10**4), st.integers(layouts.MIN_ROWS, 2**32 - 1)),
    n_bits=st.sampled_from((1, 8, 30, 64, 65, 128, 256, 1024, 4096)),
    budget=st.sampled_from((0.0, 5.0, 12.0, 48.0, 96.0, 500.0, 1e5)),
    memory=st.sampled_from((2**20, 2**30, 2**36, 2**50)),
)
def test_a_layout_keeps_to_its_budget_and_to_half_of_memory(n, n_bits, budget, memory):
    layout = choose_layout(n, n_bits, budget, memory)
    if n < layouts.MIN_ROWS or budget == 0:
        assert layout is None
    if layout is not None:
        size = bytes_per_code(layout, n, n_bits)
        assert size <= budget
        assert size * n <= memory / 2
        widths = widths_of(n_bits, layout.n_substrings)
        assert sum(widths) == n_bits
        assert widths == sorted(widths, reverse=True)
        assert 1 <= min(widths) <= max(widths) <= min(64, min(widths) + 1)
        assert 1 <= layout.n_substrings <= 64
        for width in widths:
            assert 1 <= directory_bits(width, n) <= width
            assert 2 ** directory_bits(width, n) <= 2 * n


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(500, 3000),
    n_bits=st.sampled_from((8, 30, 64, 128, 1024)),
    budget=st.floats(5, 2000),
    seed=st.integers(0, 99),
)
def test_arrays_of_a_chosen_layout_are_within_its_budget(n, n_bits, budget, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "MIN_ROWS", 500)
        layout = choose_layout(n, n_bits, budget)
    if layout is None:
        assert all(
            bytes_per_code(Layout(m, False), n, n_bits) > budget for m in range(-(-n_bits // 64), min(64, n_bits) + 1)
        )
        return
    segment = Segment(random_codes(np.random.default_rng(seed), n, n_bits), n_bits)
    tables = segment.with_tables(layout.n_substrings, wide=layout.wide).stored.tables
    size = sum(array.nbytes for table in tables for array in table.arrays.values())
    assert size / n <= budget
    assert size / n == pytest.approx(bytes_per_code(layout, n, n_bits))


def test_a_larger_budget_is_never_used_worse():
    for n_bits in (64, 128, 256):
        sizes = [choose_layout(10**6, n_bits, budget, 2**40) for budget in (10.0, 20.0, 48.0, 96.0, 1000.0)]
        costs = [layouts._typical_cost(layout, 10**6, n_bits) for layout in sizes if layout is not None]
        assert costs == sorted(costs, reverse=True)
        assert costs[0] > costs[-1]


@pytest.mark.parametrize("budget", [-1, "96", True, None, float("nan"), float("inf")])
def test_a_budget_that_is_no_number_of_bytes_is_refused(budget):
    with pytest.raises(ArgumentError, match="table_budget is"):
        check_budget(budget)
    if budget is not None:
        with pytest.raises(ArgumentError, match="table_budget is"):
            TableMaker(budget)
