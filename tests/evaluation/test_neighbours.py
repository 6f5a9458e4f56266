"""The nearest rows by vectors, equal to brute force in float64 to the last row."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.evaluation import nearest, neighbours
from hashdb.evaluation.comparing import Comparison

from .conftest import PROPERTY

METRICS = ("l2", "cosine", "ip")


def brute_force(queries, database, k, metric):
    """All distances one query at a time, then a stable sort."""
    rows, distances = [], []
    wide = database.astype(np.float64)
    for query in queries.astype(np.float64):
        if metric == "l2":
            values = ((wide - query) ** 2).sum(axis=1)
        else:
            values = (wide * query).sum(axis=1)
            if metric == "cosine":
                squares = (wide**2).sum(axis=1) * (query**2).sum()
                values = np.where(squares > 0, values / np.sqrt(np.where(squares > 0, squares, 1)), 0)
                values = 1 - np.clip(values, -1, 1)
            else:
                values = 0 - values
        order = np.argsort(values, kind="stable")[:k]
        rows.append(order)
        distances.append(np.sqrt(values[order]) if metric == "l2" else values[order])
    return np.array(rows), np.array(distances)


def assert_nearest(queries, database, k, metric, **options):
    rows, distances = nearest(queries, database, k, metric=metric, **options)
    wanted_rows, wanted_distances = brute_force(np.asarray(queries), np.asarray(database), k, metric)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(distances, wanted_distances)
    np.testing.assert_array_equal(rows, wanted_rows)


@given(
    st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 80), st.integers(1, 9), st.integers(1, 90),
    st.sampled_from(METRICS), st.sampled_from([-120, -60, 0, 60, 100]),
)  # fmt: skip
@PROPERTY
def test_ties_duplicates_and_zeros_go_by_row(seed, n_queries, n, dim, k, metric, exponent):
    rng = np.random.default_rng(seed)
    queries, database = (
        np.ldexp(rng.integers(-1, 2, (rows, dim)), exponent).astype(np.float32) for rows in (n_queries, n)
    )
    assert_nearest(queries, database, k, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8])
def test_rows_of_any_kind_are_found(metric, dtype):
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((16, 16))
    queries, database = (120 + 10 * rng.standard_normal((rows, 16)) @ mixed for rows in (20, 4000))
    queries, database = np.clip(queries, 0, 255).astype(dtype), np.clip(database, 0, 255).astype(dtype)
    assert_nearest(queries, database, 25, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("order", ["nearest first", "nearest last", "random"])
def test_the_order_of_rows_and_small_blocks_change_nothing(metric, order, monkeypatch):
    monkeypatch.setattr(neighbours, "_QUERIES", 7)
    monkeypatch.setattr(neighbours, "_ROWS", 50)
    monkeypatch.setattr(neighbours, "_SAMPLE", 60)
    monkeypatch.setattr(neighbours, "_STATE_BYTES", 16 * 90 * 10)
    rng = np.random.default_rng(1)
    database = rng.standard_normal((2000, 5)).astype(np.float32)
    database[::7] = database[3]
    if order != "random":
        sizes = (database**2).sum(axis=1)
        database = database[np.argsort(sizes if order == "nearest first" else -sizes)]
    queries = np.concatenate([database[[0, 50, 1999]], 0.1 * rng.standard_normal((40, 5))]).astype(np.float32)
    for n_threads in (1, 3):
        assert_nearest(queries, database, 20, metric, n_threads=n_threads)


@pytest.mark.parametrize("metric", METRICS)
def test_thousands_of_equal_rows_are_decided_by_row(metric, monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS", 256)
    rng = np.random.default_rng(2)
    database = np.concatenate([np.ones((3000, 6)), rng.standard_normal((200, 6)), np.ones((500, 6))]).astype(np.float32)
    queries = np.concatenate([np.ones((2, 6)), rng.standard_normal((3, 6)), np.zeros((1, 6))]).astype(np.float32)
    assert_nearest(queries, database, 15, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["outlier", "far", "far queries", "tiny", "one row", "constant", "mixed scales"])
def test_data_that_products_round_badly(metric, kind):
    rng = np.random.default_rng(3)
    queries, database = (rng.standard_normal((rows, 8)) for rows in (6, 700))
    if kind == "outlier":
        database[5] *= 1e25
    elif kind == "far":
        queries, database = queries + 1e5, database + 1e5
    elif kind == "far queries":
        queries *= np.geomspace(1e-30, 1e25, 6)[:, None]
    elif kind == "tiny":
        queries, database = queries * 1e-38, database * 1e-38
    elif kind == "one row":
        database = database[:1]
    elif kind == "constant":
        database[:] = 3.7
    else:
        database *= np.geomspace(1e-30, 1e30, 700)[:, None]
    assert_nearest(queries.astype(np.float32), database.astype(np.float32), 12, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_hold_for_every_pair(metric):
    """P - 2e - c <= S <= P + c, with S in extended precision, for data of all sizes."""
    rng = np.random.default_rng(4)
    for dim in (1, 3, 40, 300):
        scales = np.ldexp(1.0, rng.integers(-40, 40, (90, 1)))
        database = (rng.standard_normal((90, dim)) * scales + rng.choice([0, 1e6])).astype(np.float32)
        queries = (rng.standard_normal((40, dim)) * scales[:40] + database[:40]).astype(np.float32)
        pair = Comparison(queries, database, metric)
        asked, stored = pair.ask(slice(0, 40)), pair.store(slice(0, 90))
        upper = (asked.augmented @ stored.augmented.T).astype(np.longdouble)
        owners, rows = (grid.reshape(-1) for grid in np.indices((40, 90)))
        gaps = pair.gaps(asked, owners, stored.lengths[rows]).reshape(40, 90)
        a, b = queries.astype(np.longdouble), database.astype(np.longdouble)
        if metric == "cosine":
            a, b = (one / np.sqrt((one**2).sum(axis=1, keepdims=True)) for one in (a, b))
        else:
            centre = pair._centre.astype(np.longdouble)
            a, b = (np.ldexp(one, -pair.exponent) - centre for one in (a, b))
        scores = a @ b.T - ((b**2).sum(axis=1) / 2 if metric == "l2" else 0)
        scores = scores * asked.scales[:, None]
        constant = asked.constant[:, None]
        assert (scores <= upper + constant).all()
        assert (scores >= upper - gaps - constant).all()
        if metric != "cosine":
            assert np.linalg.norm(b.astype(float), axis=1).max() <= 1


def test_memory_is_bounded_by_the_state_not_by_the_pairs():
    rng = np.random.default_rng(5)
    queries, database = (rng.standard_normal((rows, 8)).astype(np.float32) for rows in (1500, 30_000))
    tracemalloc.start()
    try:
        nearest(queries, database, 10, n_threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All products in float32 would take 180 MB.
    assert peak < 90e6


def test_a_memory_map_is_read_as_any_array(tmp_path):
    rng = np.random.default_rng(6)
    np.save(tmp_path / "rows.npy", rng.standard_normal((3000, 5)).astype(np.float16))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert_nearest(mapped[:10], mapped, 9, "l2")


def test_neighbours_of_real_descriptors_are_those_that_come_with_them(data):
    folder = data / "sift_bigann10k"
    base, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    rows, distances = nearest(queries, base, 100)
    assert_nearest(queries[:20], base, 100, "l2")
    known = np.load(folder / "groundtruth.npy")[:, :100].astype(np.int64)
    squares = ((base[known].astype(int) - queries[:, None].astype(int)) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances**2, squares, rtol=1e-12)
    assert (rows == known).mean() > 0.99


@pytest.mark.parametrize(
    ("queries", "database", "options", "message"),
    [
        ([[1.0]], [[1.0]], {"k": 0}, "k is 0, expected a whole number from 1"),
        ([[1.0]], [[1.0]], {"k": True}, "k is True, expected a whole number from 1"),
        ([[1.0, 2.0]], [[1.0]], {}, "queries have dim 2 and the database 1, expected the same"),
        ([1.0], [[1.0]], {}, "queries are float64 of shape \\(1,\\), expected numbers \\(n, dim\\)"),
        ([[1.0]], np.empty((0, 1)), {}, "database are float64 of shape \\(0, 1\\)"),
        ([["a"]], [[1.0]], {}, "expected numbers"),
        ([[1.0]], [[1.0], [np.nan]], {}, "row 1 of the database has a value that is not finite or beyond float32"),
        ([[np.inf]], [[1.0]], {}, "row 0 of the queries has a value that is not finite"),
        ([[1.0]], [[1e39]], {}, "row 0 of the database has a value that is not finite or beyond float32"),
        ([[1.0]], [[1.0]], {"metric": "cityblock"}, "metric 'cityblock' is unknown"),
        ([[1.0]], [[1.0]], {"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_bad_input_is_refused(queries, database, options, message):
    with pytest.raises(ArgumentError, match=message):
        nearest(queries, database, **{"k": 1, **options})
