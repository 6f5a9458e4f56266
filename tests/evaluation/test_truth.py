"""Ground truth by labels, by lists, by epsilon and by neighbours, and what is kept of it in files."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError, StorageError
from hashdb.evaluation import (
    EpsilonTruth,
    LabelTruth,
    ListTruth,
    NearestTruth,
    cache_key,
    cached,
    choose_epsilon,
    make_split,
    neighbour_truth,
    radius,
    within,
)

from .conftest import PROPERTY


def grades_of(truth):
    blocks = [truth.grades(start, min(start + 2, truth.n_queries)) for start in range(0, truth.n_queries, 2)]
    return np.concatenate(blocks)


@given(st.lists(st.integers(-2, 3), min_size=1, max_size=8), st.lists(st.integers(-2, 3), min_size=1, max_size=8))
@PROPERTY
def test_rows_of_the_class_of_the_query_are_relevant_and_unlabelled_ones_never(asked, stored):
    truth = LabelTruth(asked, stored)
    assert (truth.n_queries, truth.n_database, truth.n_grades) == (len(asked), len(stored), 1)
    assert grades_of(truth).tolist() == [[int(a == b and a >= 0) for b in stored] for a in asked]


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 5))
@PROPERTY
def test_rows_that_share_a_label_are_relevant_and_the_more_the_better(seed, n_queries, n, n_labels):
    rng = np.random.default_rng(seed)
    asked, stored = rng.random((n_queries, n_labels)) < 0.4, rng.random((n, n_labels)) < 0.4
    shared = [[int((a & b).sum()) for b in stored] for a in asked]
    assert grades_of(LabelTruth(asked, stored)).tolist() == np.minimum(shared, 1).tolist()
    graded = LabelTruth(asked.astype(int), stored, graded=True)
    assert grades_of(graded).tolist() == shared
    assert graded.n_grades >= np.max(shared)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="expected the same number of columns"):
        LabelTruth([1, 2], [[1, 0], [0, 1]])
    with pytest.raises(ArgumentError, match="expected the same number of columns"):
        LabelTruth([[1, 0, 0]], [[1, 0], [0, 1]])
    with pytest.raises(ArgumentError, match="graded is True, but a row has one label"):
        LabelTruth([1, 2], [1], graded=True)
    with pytest.raises(ArgumentError, match="labels are float64"):
        LabelTruth([0.5], [1])


def test_lists_name_the_relevant_rows():
    truth = ListTruth.of_lists([[4, 0], [], [2]], 5)
    assert grades_of(truth).tolist() == [[1, 0, 0, 0, 1], [0] * 5, [0, 0, 1, 0, 0]]
    assert grades_of(ListTruth.of_lists(np.array([[1, 2], [0, 3]], np.int32), 4)).tolist() == [
        [0, 1, 1, 0],
        [1, 0, 0, 1],
    ]
    for starts, rows, message in (
        ([0, 2], [1, 5], "listed rows range from 1 to 5, expected 0 to 4"),
        ([0, 1, 3], [1, 2, 2], "query 1 lists a row twice"),
        ([0, 2, 1], [1, 2], "do not ascend from 0"),
        ([0, 3], [1, 2], "expected 3 row numbers"),
    ):
        with pytest.raises(ArgumentError, match=message):
            ListTruth(starts, rows, 5)
    assert grades_of(ListTruth([0, 2, 4], [1, 2, 2, 1], 3)).tolist() == [[0, 1, 1]] * 2


def distances_of(queries, database):
    return np.sqrt(((queries.astype(np.float64)[:, None] - database.astype(np.float64)[None]) ** 2).sum(axis=2))


@given(
    st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 60), st.integers(1, 9), st.sampled_from([-60, 0, 30, 100])
)
@PROPERTY
def test_rows_nearer_than_epsilon_are_relevant_and_those_at_epsilon_not(seed, n_queries, n, dim, exponent):
    rng = np.random.default_rng(seed)
    # Small whole numbers: many pairs lie at one distance, and some at exactly epsilon.
    queries, database = (
        np.ldexp(rng.integers(-3, 4, (rows, dim)), exponent).astype(np.float32) for rows in (n_queries, n)
    )
    exact = distances_of(queries, database)
    for epsilon in (0.0, float(rng.choice(exact.reshape(-1))), 1e300):
        truth = EpsilonTruth(queries, database, epsilon)
        assert grades_of(truth).tolist() == (exact < epsilon).astype(int).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8])
def test_epsilon_of_many_rows_whatever_blocks_and_threads(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    queries, database = (100 + 20 * rng.standard_normal((rows, 12)) for rows in (30, 900))
    queries, database = queries.astype(dtype), database.astype(dtype)
    exact = distances_of(queries, database)
    epsilon = float(np.quantile(exact, 0.05))
    wanted = [np.flatnonzero(row < epsilon).tolist() for row in exact]
    for n_threads, n_queries, n_rows in ((1, 256, 4096), (3, 7, 100)):
        monkeypatch.setattr(radius, "_QUERIES", n_queries)
        monkeypatch.setattr(radius, "_ROWS", n_rows)
        starts, rows = within(queries, database, epsilon, n_threads=n_threads)
        assert [rows[a:b].tolist() for a, b in itertools.pairwise(starts)] == wanted


def test_epsilon_is_the_mean_distance_to_the_nth_row_with_the_row_itself_as_the_first():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((300, 7)).astype(np.float32)
    exact = np.sort(distances_of(vectors, vectors), axis=1)
    assert choose_epsilon(vectors, n_sample=300) == pytest.approx(exact[:, 49].mean(), rel=1e-12)
    assert choose_epsilon(vectors, seed=None) == pytest.approx(exact[:100, 49].mean(), rel=1e-12)
    assert choose_epsilon(vectors, n_neighbour=1) == 0
    assert choose_epsilon(vectors, seed=5) == choose_epsilon(vectors, seed=5) != choose_epsilon(vectors, seed=6)
    with pytest.raises(ArgumentError, match="n_neighbour is 50, expected 1 to the number of rows, 40"):
        choose_epsilon(vectors[:40])


def test_an_epsilon_without_sense_is_refused(monkeypatch):
    vectors = np.zeros((100, 2), np.float32)
    for epsilon in (-1.0, np.nan, np.inf, "far"):
        with pytest.raises(ArgumentError, match="expected a finite distance from 0"):
            within(vectors, vectors, epsilon)
    monkeypatch.setattr(radius, "_MOST_PAIRS", 500)
    with pytest.raises(ArgumentError, match="more than 500 pairs are less than epsilon"):
        EpsilonTruth(vectors, vectors, 1.0)


def test_the_nearest_rows_are_relevant():
    vectors = np.array([[0.0], [1.0], [1.0], [5.0]], np.float32)
    truth = NearestTruth(vectors[:2], vectors, 2)
    assert truth.neighbours.tolist() == [[0, 1], [1, 2]]
    assert truth.distances.tolist() == [[0, 1], [0, 0]]
    assert grades_of(truth).tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


def test_truth_by_vectors_is_computed_once_and_found_again(tmp_path, monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    made = []

    def counted(name):
        compute = getattr(neighbour_truth, name)
        monkeypatch.setattr(
            neighbour_truth, name, lambda *args, **options: made.append(name) or compute(*args, **options)
        )

    counted("nearest")
    counted("within")
    options = {"n_test_queries": 5, "n_validation_queries": 5, "n_training": 5, "n_validation_database": 5}
    splits = [make_split(50, seed=seed, **options) for seed in (0, 1)]
    calls = [
        lambda: NearestTruth(vectors[:5], vectors, 3, folder=tmp_path),
        lambda: NearestTruth(vectors[:5], vectors, 4, folder=tmp_path),
        lambda: NearestTruth(vectors[:5], vectors, 3, metric="ip", folder=tmp_path),
        lambda: NearestTruth(vectors[:5], vectors[:40], 3, folder=tmp_path),
        lambda: NearestTruth(vectors[:5], vectors, 3, folder=tmp_path, split=splits[0]),
        lambda: NearestTruth(vectors[:5], vectors, 3, folder=tmp_path, split=splits[1]),
        lambda: EpsilonTruth(vectors[:5], vectors, 1.0, folder=tmp_path),
        lambda: EpsilonTruth(vectors[:5], vectors, 1.5, folder=tmp_path),
    ]
    first = [call() for call in calls]
    assert len(made) == len(calls) == len(list(tmp_path.iterdir()))
    again = [call() for call in calls]
    assert len(made) == len(calls)
    for one, two in zip(first, again, strict=True):
        assert (grades_of(one) == grades_of(two)).all()
    assert (first[0].distances == again[0].distances).all()


def test_a_damaged_file_is_made_anew_and_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    key = cache_key(np.arange(3))
    made = {"answer": np.arange(4)}
    cached(tmp_path, key, lambda: made)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK" + whole[2:100]):
        file.write_bytes(content)
        assert cached(tmp_path, key, lambda: made)["answer"].tolist() == [0, 1, 2, 3]
        assert file.read_bytes()[:2] == b"PK"
    (tmp_path / f"{'0' * 64}.npz").write_bytes(file.read_bytes())
    assert cached(tmp_path, "0" * 64, lambda: {"answer": np.array(1)})["answer"] == 1
    with pytest.raises(StorageError, match="cannot be written"):
        cached(file, key, lambda: made)


def test_keys_tell_data_and_facts_apart():
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    changed = array.copy()
    changed[2, 3] = 0
    others = [
        cache_key(array.astype(np.int64), metric="l2"),
        cache_key(array.reshape(4, 3), metric="l2"),
        cache_key(changed, metric="l2"),
        cache_key(array, metric="ip"),
        cache_key(array, metric="l2", k=3),
        cache_key(array, array, metric="l2"),
        cache_key(array, metric=array),
        cache_key(array, metric=None),
        cache_key(array[:0], metric="l2"),
    ]
    key = cache_key(array, metric="l2")
    assert len({key, *others}) == 10
    assert key == cache_key(np.asfortranarray(array), metric="l2") == cache_key(np.tile(array, 2)[:, :4], metric="l2")
    assert len(key) == 64
