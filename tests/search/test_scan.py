"""The scan against an oracle in plain Python, and its independence of blocks, batches, threads and path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.search import kernel_scan, scan

from .conftest import bitmap, oracle_lists, random_codes

WIDTHS = (1, 7, 63, 64, 65, 100, 128, 192, 256, 300, 1000, 4096)
PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@st.composite
def searches(draw):
    """A segment in blocks with deletes, and queries in and out of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bits = draw(st.sampled_from(WIDTHS))
    n = draw(st.sampled_from((0, 1, 2, 63, 64, 65, 130, 300, 2100 if n_bits <= 65 else 300)))
    codes = random_codes(rng, n, n_bits, draw(st.sampled_from((0.01, 0.5))))
    if n and draw(st.booleans()):
        codes = codes[rng.integers(0, draw(st.integers(1, min(n, 4))), n)]
    queries = random_codes(rng, draw(st.sampled_from((0, 1, 2, 5))), n_bits)
    if n:
        queries = np.concatenate([queries, codes[rng.integers(0, n, 2)]])
    dead = np.flatnonzero(rng.random(n) < draw(st.sampled_from((0.0, 0.1, 0.9, 1.0)))).tolist()
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return {
        "codes": codes,
        "blocks": [np.ascontiguousarray(block) for block in np.split(codes, cuts)],
        "queries": queries,
        "dead": dead,
        "deleted": bitmap(n, dead) if dead or draw(st.booleans()) else None,
        "n_bits": n_bits,
        "k": draw(st.sampled_from((0, 1, 2, 10, n, n + 5))),
        "radius": draw(st.sampled_from((0, 1, n_bits // 3, n_bits // 2, n_bits, n_bits + 9))),
        "n_threads": draw(st.integers(1, 4)),
    }


def check_knn(case):
    found = scan.knn(
        case["blocks"],
        case["queries"],
        case["k"],
        n_bits=case["n_bits"],
        deleted=case["deleted"],
        n_threads=case["n_threads"],
    )
    expected = [every[: case["k"]] for every in oracle_lists(case["codes"], case["queries"], case["dead"])]
    assert [
        list(zip(d, r, strict=True)) for d, r in zip(found.distances.tolist(), found.rows.tolist(), strict=True)
    ] == (expected)
    assert found.counts.tolist() == [len(one) for one in expected]
    assert (found.rows.dtype, found.distances.dtype, found.counts.dtype) == (np.int64, np.int32, np.int64)


def check_radius(case):
    lims, rows, distances = scan.radius(
        case["blocks"],
        case["queries"],
        case["radius"],
        n_bits=case["n_bits"],
        deleted=case["deleted"],
        n_threads=case["n_threads"],
    )
    every = oracle_lists(case["codes"], case["queries"], case["dead"])
    expected = [[pair for pair in one if pair[0] <= case["radius"]] for one in every]
    assert lims.tolist() == [sum(map(len, expected[:query])) for query in range(len(expected) + 1)]
    assert list(zip(distances.tolist(), rows.tolist(), strict=True)) == [pair for one in expected for pair in one]
    assert (lims.dtype, rows.dtype, distances.dtype) == (np.int64, np.int64, np.int32)


@PROPERTY
@given(case=searches())
def test_knn_of_kernels_equals_oracle(kernels_always, case):
    check_knn(case)


@PROPERTY
@given(case=searches())
def test_knn_of_numpy_equals_oracle(numpy_always, case):
    check_knn(case)


@PROPERTY
@given(case=searches())
def test_radius_of_kernels_equals_oracle(kernels_always, case):
    check_radius(case)


@PROPERTY
@given(case=searches())
def test_radius_of_numpy_equals_oracle(numpy_always, case):
    check_radius(case)


@PROPERTY
@given(case=searches(), seed=st.integers(0, 99))
def test_flipping_the_same_bits_everywhere_changes_nothing(kernels_always, case, seed):
    mask = random_codes(np.random.default_rng(seed), 1, case["n_bits"])[0]
    options = {"n_bits": case["n_bits"], "deleted": case["deleted"]}
    plain = scan.knn(case["blocks"], case["queries"], case["k"], **options)
    flipped = scan.knn([block ^ mask for block in case["blocks"]], case["queries"] ^ mask, case["k"], **options)
    for one, other in zip(plain, flipped, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n_bits", [64, 100, 256])
def test_answers_do_not_depend_on_threads_blocks_or_batches(kernels_always, n_bits):
    rng = np.random.default_rng(n_bits)
    codes, queries = random_codes(rng, 9000, n_bits, 0.2), random_codes(rng, 300, n_bits, 0.2)
    reference = scan.knn([codes], queries, 20, n_bits=n_bits, n_threads=1)
    lims, *within = scan.radius([codes], queries, n_bits // 4, n_bits=n_bits, n_threads=1)
    blocks = np.split(codes, [1, 64, 1000, 5003])
    for n_threads in (2, 3, 7):
        again = scan.knn(blocks, queries, 20, n_bits=n_bits, n_threads=n_threads)
        for one, other in zip(reference, again, strict=True):
            np.testing.assert_array_equal(one, other)
        again_within = scan.radius(blocks, queries, n_bits // 4, n_bits=n_bits, n_threads=n_threads)
        for one, other in zip((lims, *within), again_within, strict=True):
            np.testing.assert_array_equal(one, other)
    for first in range(0, 300, 7):
        part = scan.knn(blocks, queries[first : first + 7], 20, n_bits=n_bits, n_threads=2)
        np.testing.assert_array_equal(part.rows, reference.rows[first : first + 7])


def test_a_million_identical_codes_give_the_first_rows(kernels_always, monkeypatch):
    monkeypatch.setattr(kernel_scan, "_CALL_WORK", 1 << 28)
    codes = np.full((1_000_000, 1), 12345, np.uint64)
    queries = np.array([[12345], [12344], [2**64 - 1]], np.uint64)
    for n_threads in (1, 2):
        found = scan.knn([codes], queries, 1000, n_bits=64, n_threads=n_threads)
        assert (found.rows == np.arange(1000)).all()
        assert [set(row) for row in found.distances.tolist()] == [{0}, {1}, {58}]
        lims, rows, _ = scan.radius([codes], queries, 1, n_bits=64, n_threads=n_threads)
        assert lims.tolist() == [0, 1_000_000, 2_000_000, 2_000_000]
        assert (rows.reshape(2, -1) == np.arange(1_000_000)).all()


def test_codes_that_come_nearer_row_by_row_are_all_considered(kernels_always):
    codes = np.array([[(1 << (64 - row // 50)) - 1] for row in range(64 * 50)], np.uint64)
    found = scan.knn([codes], np.zeros((1, 1), np.uint64), 120, n_bits=64)
    expected = oracle_lists(codes, np.zeros((1, 1), np.uint64))[0][:120]
    assert list(zip(found.distances[0].tolist(), found.rows[0].tolist(), strict=True)) == expected


def test_queries_as_far_as_can_be_still_find_k_rows(kernels_always):
    codes = np.zeros((500, 2), np.uint64)
    found = scan.knn([codes], np.full((2, 2), 2**64 - 1, np.uint64), 7, n_bits=128)
    assert found.rows.tolist() == [list(range(7))] * 2
    assert (found.distances == 128).all()


@pytest.mark.parametrize("path", ["kernels_always", "numpy_always"])
def test_bound_leaves_out_exactly_what_is_farther(request, path):
    request.getfixturevalue(path)
    rng = np.random.default_rng(5)
    codes, queries = random_codes(rng, 700, 64), random_codes(rng, 4, 64)
    bound = np.array([-1, 20, 25, 2**30], np.int32)
    found = scan.knn([codes], queries, 30, n_bits=64, bound=bound)
    for query, every in enumerate(oracle_lists(codes, queries)):
        expected = [pair for pair in every[:30] if pair[0] <= bound[query]]
        count = found.counts[query]
        assert list(zip(found.distances[query, :count].tolist(), found.rows[query, :count].tolist(), strict=True)) == (
            expected
        )
        assert (found.rows[query, count:] == -1).all()
        assert (found.distances[query, count:] == 65).all()
    assert found.rows.shape[1] == found.counts.max()


def test_read_only_maps_are_searched_where_they_are(kernels_always, tmp_path):
    rng = np.random.default_rng(6)
    codes = random_codes(rng, 1000, 65)
    codes.tofile(tmp_path / "codes")
    mapped = np.memmap(tmp_path / "codes", np.uint64, "r", shape=codes.shape)
    found = scan.knn([mapped], codes[:3], 5, n_bits=65)
    np.testing.assert_array_equal(found.rows, scan.knn([codes], codes[:3], 5, n_bits=65).rows)


def test_a_small_room_for_found_rows_is_emptied_in_time(kernels_always, monkeypatch):
    monkeypatch.setattr(kernel_scan, "_ROOM", 1)
    rng = np.random.default_rng(7)
    codes = random_codes(rng, 10_000, 64)
    lims, rows, _ = scan.radius([codes], codes[:3], 64, n_bits=64)
    assert lims.tolist() == [0, 10_000, 20_000, 30_000]
    assert (np.sort(rows.reshape(3, -1), axis=1) == np.arange(10_000)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": -1}, "k is -1"),
        ({"k": 2.5}, "k is 2.5"),
        ({"k": True}, "k is True"),
        ({"n_bits": 0}, "n_bits is 0"),
        ({"n_bits": 65}, "block 0"),
        ({"queries": np.zeros((1, 2), np.uint64)}, "codes have shape"),
        ({"n_bits": 3}, "past its width"),
        ({"blocks": [np.zeros((3, 1), np.int64)]}, "block 0 is int64"),
        ({"deleted": np.zeros(9, np.uint64)}, "deleted is"),
        ({"bound": np.zeros(3, np.int32)}, "bound has shape"),
        ({"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    arguments = {
        "blocks": [np.zeros((3, 1), np.uint64)],
        "queries": np.full((1, 1), 8, np.uint64),
        "k": 1,
        "n_bits": 64,
        **change,
    }
    with pytest.raises(ArgumentError, match=words):
        scan.knn(**arguments)


def test_negative_radius_is_refused():
    with pytest.raises(ArgumentError, match="radius is -1"):
        scan.radius([np.zeros((3, 1), np.uint64)], np.zeros((1, 1), np.uint64), -1, n_bits=64)
