"""Splits: disjoint, complete, balanced, repeatable, kept in files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError, InputFileError
from hashdb.evaluation import Split, make_split
from hashdb.evaluation.splits import PARTS

from .conftest import PROPERTY

SMALL = {"n_test_queries": 10, "n_validation_queries": 7, "n_training": 20, "n_validation_database": 30}


@given(st.integers(0, 1000), st.integers(68, 300), st.booleans())
@PROPERTY
def test_the_parts_of_an_improved_split_are_disjoint_and_complete(seed, n, with_labels):
    labels = np.random.default_rng(seed).integers(0, 3, n) if with_labels else None
    parts = make_split(n, labels, seed=seed, **SMALL).parts
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(n))
    assert [len(parts[name]) for name in PARTS] == [10, 7, 20, 30, n - 67]
    assert all(rows.dtype == np.int64 for rows in parts.values())


def test_a_standard_split_is_the_same_draw_and_searches_all_but_the_test_queries():
    improved, standard = (make_split(200, kind=kind, seed=4, **SMALL).parts for kind in ("improved", "standard"))
    for name in PARTS[:4]:
        assert (improved[name] == standard[name]).all()
    assert standard["test_database"].tolist() == sorted(set(range(200)) - set(standard["test_queries"].tolist()))


def test_the_split_of_most_papers():
    options = {"kind": "standard", "n_validation_queries": 0, "n_validation_database": 0}
    split = make_split(300, np.arange(300) % 10, n_test_queries=50, n_training=60, **options)
    assert np.bincount(split.test_queries % 10).tolist() == [5] * 10
    assert set(split.training.tolist()) < set(split.test_database.tolist())
    assert len(split.test_database) == 250
    everything = make_split(300, n_test_queries=50, n_training=None, **options)
    assert sorted(everything.training.tolist()) == everything.test_database.tolist()


def test_defaults_are_those_of_the_survey():
    split = make_split(60_000, np.repeat(np.arange(10), 6000))
    assert [len(rows) for rows in split.parts.values()] == [1000, 1000, 2000, 10_000, 46_000]
    for rows in (split.test_queries, split.validation_queries):
        assert np.bincount(rows // 6000).tolist() == [100] * 10
        # The first queries are a sample of all classes, although the data come class by class.
        assert len(np.unique(rows[:50] // 6000)) == 10
    assert (np.diff(split.test_database) > 0).all()
    assert (np.diff(split.validation_database) > 0).all()


def test_a_seed_gives_its_split_again_and_another_another():
    one, again, other = (make_split(200, seed=seed, **SMALL) for seed in (1, 1, 2))
    assert all((one.parts[name] == again.parts[name]).all() for name in PARTS)
    assert one.test_queries.tolist() != other.test_queries.tolist()


def test_more_training_leaves_queries_and_validation_as_they_were():
    few, many = (make_split(200, seed=1, **{**SMALL, "n_training": n}) for n in (10, 50))
    for name in ("test_queries", "validation_queries", "validation_database"):
        assert (few.parts[name] == many.parts[name]).all()
    assert set(few.training.tolist()) < set(many.training.tolist())


def test_what_does_not_divide_is_spread_and_small_classes_give_at_most_half():
    labels = np.repeat([3, 5, 9, 11], [100, 100, 6, 1])
    split = make_split(207, labels, **{**SMALL, "n_test_queries": 20, "n_validation_queries": 0})
    drawn = labels[split.test_queries]
    assert [(drawn == one).sum() for one in (9, 11)] == [3, 0]
    assert sorted((drawn == one).sum() for one in (3, 5)) == [8, 9]


def test_rows_without_a_label_are_never_queries():
    labels = np.where(np.arange(200) < 100, -1, np.arange(200) % 2)
    split = make_split(200, labels, **SMALL)
    assert (np.concatenate([split.test_queries, split.validation_queries]) >= 100).all()
    multi = np.stack([labels == 0, labels == 1], axis=1)
    split = make_split(200, multi, **SMALL)
    assert (np.concatenate([split.test_queries, split.validation_queries]) >= 100).all()


def test_queries_of_several_labels_have_every_label_about_as_often():
    rng = np.random.default_rng(0)
    labels = rng.random((2000, 8)) < np.geomspace(0.4, 0.02, 8)
    split = make_split(2000, labels, **{**SMALL, "n_test_queries": 100})
    balanced, usual = labels[split.test_queries].sum(axis=0), labels[:100].sum(axis=0)
    assert balanced.min() >= 10 > usual.min()
    # A label with few rows keeps half of them for the database.
    assert (balanced[-1] <= labels[:, -1].sum() / 2).all()
    at_random = make_split(2000, labels, balanced=False, **SMALL)
    assert (at_random.test_queries == make_split(2000, **SMALL).test_queries).all()


@pytest.mark.parametrize("seed", [None, 3])
def test_a_split_survives_its_file(tmp_path, seed):
    made = make_split(100, seed=3, **SMALL)
    split = Split(n=100, kind="improved", seed=seed, **made.parts)
    path = tmp_path / "folder" / "split.of.data"
    split.save(path)
    split.save(path)
    loaded = Split.load(path)
    assert (loaded.n, loaded.kind, loaded.seed) == (100, "improved", seed)
    assert all(
        (loaded.parts[name] == rows).all() and loaded.parts[name].dtype == np.int64
        for name, rows in split.parts.items()
    )
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_files_that_are_no_splits_are_refused(tmp_path):
    path = tmp_path / "split.npz"
    with pytest.raises(InputFileError, match="there is no such file"):
        Split.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputFileError, match="is not a split"):
        Split.load(path)
    np.savez(path, a=np.arange(3))
    with pytest.raises(InputFileError, match="its format is 'None', expected 'hashdb split 1'"):
        Split.load(path)
    np.save(tmp_path / "plain.npy", np.arange(3))
    with pytest.raises(InputFileError, match="is not a split"):
        Split.load(tmp_path / "plain.npy")
    make_split(100, **SMALL).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["training"][0] = 100
    np.savez(path, **arrays)
    with pytest.raises(InputFileError, match="training has row 100, expected 0 to 99"):
        Split.load(path)
    np.savez(path, **{**arrays, "training": np.array([object()])})
    with pytest.raises(InputFileError, match="is not a split"):
        Split.load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputFileError, match="is not a split"):
        Split.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "training asks for 2,000 of 3,000 rows, but 1,000 are left after the parts before it"),
        ({"n_training": 0, "n_validation_database": 1000}, "test_database asks for at least 1 of 3,000 rows, but 0"),
        ({"n_training": -1}, "n_training is -1, expected a whole number from 0"),
        ({"n_test_queries": 2.0}, "n_test_queries is 2.0, expected a whole number from 0"),
        ({"kind": "usual"}, "kind is 'usual', expected improved or standard"),
        ({"n_training": None}, "n_training is None, which leaves no test database in an improved split"),
        ({"kind": "standard", "n_test_queries": 3000, "n_validation_queries": 0, "n_training": 0,
          "n_validation_database": 0}, "test_queries asks for all 3,000 rows"),
        ({"labels": np.zeros(5, int)}, "labels are int64 of shape \\(5,\\), expected whole numbers \\(3000,\\)"),
        ({"labels": np.full((3000, 2), 2)}, "range from 2 to 2, expected 0 and 1"),
        ({"labels": np.arange(3000)}, "test_queries asks for 1,000 rows balanced over the labels, but these give 0"),
        ({"labels": np.eye(3000, dtype=bool)[:, :7]}, "balanced over the labels, but these give 0"),
    ],
)  # fmt: skip
def test_sizes_and_labels_that_do_not_fit_are_refused(options, message):
    enough = {"n_training": 500, "n_validation_database": 100} if "labels" in options else {}
    with pytest.raises(ArgumentError, match=message):
        make_split(3000, **{**enough, **options})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0], [1], [2], [3], [3]), "row 3 is in validation_database and in test_database"),
        (([0], [1], [0], [3], [4]), "row 0 is in test_queries and in training"),
        (([0], [1, 1], [2], [3], [4]), "validation_queries has a row twice"),
        (([0], [1], [2], [3], [5]), "test_database has row 5, expected 0 to 4"),
        (([0], [1], [[2]], [3], [4]), "training is int64 of shape \\(1, 1\\)"),
        (([0.5], [1], [2], [3], [4]), "test_queries is float64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ArgumentError, match=message):
        Split(5, *parts)


def test_kinds_differ_in_what_they_keep_apart():
    parts = ([0], [1], [2], [3], [1, 2, 3, 4])
    assert Split(5, *parts, kind="standard").test_database.tolist() == [1, 2, 3, 4]
    with pytest.raises(ArgumentError, match="row 0 is in test_queries and in test_database"):
        Split(5, *parts[:4], [0, 4], kind="standard")
    assert Split(5, [0], [], [], [], [0, 1], kind="given").validation_queries.dtype == np.int64
    with pytest.raises(ArgumentError, match="kind of split 'other' is unknown"):
        Split(5, *parts, kind="other")
