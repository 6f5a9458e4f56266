"""Cross-modality similarity-sensitive hashing: the contract, and boosting against slow sums over pairs."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins._cross_pairs import draw_pairs
from hashdb_plugins.crossmodal.cmssh import offset_search


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("cmssh", only=[check], params={"pairs": 3000})


@pytest.fixture(scope="module")
def task():
    """400 pairs of five classes, in 12 and in 7 dimensions, off the origin; a fifth have no label."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 400)
    rows = {
        name: (3 * rng.standard_normal((5, dim))[classes] + 2 * rng.standard_normal((400, dim)) + 4).astype(np.float32)
        for name, dim in (("image", 12), ("text", 7))
    }
    return rows, np.where(rng.random(400) < 0.2, -1, classes), classes


def signs(model, rows):
    """Give h of every row and bit, 1 or -1, by modality."""
    return [
        2.0 * hashdb.codes.unpack(model.encode(part, name), model.n_bits).astype(float) - 1
        for name, part in rows.items()
    ]


@pytest.mark.parametrize("with_labels", [False, True])
def test_the_exponential_loss_of_the_pairs_is_the_history_and_falls(task, with_labels):
    rows, labels, _ = task
    given = labels if with_labels else None
    model = hashdb.fit(rows, "cmssh", 30, params={"pairs": 2000}, labels=given, seed=3)
    pairs = draw_pairs("cmssh", rows["image"], given, 2000, np.random.default_rng(3))
    h, g = signs(model, rows)
    errors, history = model.state["errors"], model.state["history"]
    steps = np.log((1 - errors) / errors) / 2
    votes = pairs.signs * ((h[pairs.left] * g[pairs.right]) * steps).cumsum(axis=1).T
    first = pairs.even_weights
    np.testing.assert_allclose(history, np.log(np.exp(-votes) @ first), rtol=1e-9)
    assert (np.diff(history) < 0).all()
    falls = 2 * np.sqrt(errors * (1 - errors))
    np.testing.assert_allclose(np.diff(history), np.log(falls[1:]), rtol=1e-8)
    # The weights that a bit leaves behind are a distribution under which that bit is as good as none.
    for bit, vote in enumerate(votes):
        weights = first * np.exp(-vote)
        weights /= weights.sum()
        wrong = pairs.signs * h[pairs.left, bit] * g[pairs.right, bit] < 0
        assert weights[wrong].sum() == pytest.approx(0.5, abs=1e-9)


def test_unit_steps_change_the_loss_as_derived(task):
    rows, _, _ = task
    state = hashdb.fit(rows, "cmssh", 12, params={"pairs": 2000, "step": "unit"}).state
    factors = (1 - state["errors"]) / np.e + state["errors"] * np.e
    np.testing.assert_allclose(state["history"], np.log(factors).cumsum(), rtol=1e-9)
    falls = state["errors"] < 1 / (1 + np.e)
    assert np.array_equal(np.diff(state["history"], prepend=0) < 0, falls)
    assert not falls.all(), "with unit steps the loss need not fall"


def slow_first_bits(rows, pairs, model, n_bits):
    """Find directions by sums over single pairs and a full decomposition, under weights that the bits before left."""
    x, y = (part.astype(float) - part.mean(axis=0, dtype=float) for part in rows.values())
    h, g = signs(model, rows)
    weights = pairs.even_weights
    for bit in range(n_bits):
        mean_x = sum(w * x[i] for w, i in zip(weights, pairs.left, strict=True))
        mean_y = sum(w * y[j] for w, j in zip(weights, pairs.right, strict=True))
        matrix = np.zeros((x.shape[1], y.shape[1]))
        for w, s, i, j in zip(weights, pairs.signs, pairs.left, pairs.right, strict=True):
            matrix += w * s * np.outer(x[i] - mean_x, y[j] - mean_y)
        u, _, v = np.linalg.svd(matrix)
        yield u[:, 0], v[0], weights
        products = h[pairs.left, bit] * g[pairs.right, bit]
        error = weights[products != pairs.signs].sum()
        weights = weights * np.exp(-np.log((1 - error) / error) / 2 * pairs.signs * products)
        weights /= weights.sum()


@pytest.mark.parametrize("swapped", [False, True])
def test_directions_are_leading_singular_vectors_of_the_weighted_pairs(task, swapped):
    rows = dict(reversed(task[0].items())) if swapped else task[0]
    model = hashdb.fit(rows, "cmssh", 6, params={"pairs": 600}, labels=task[1], seed=1)
    pairs = draw_pairs("cmssh", next(iter(rows.values())), task[1], 600, np.random.default_rng(1))
    first, second = (model.state[f"weights_{name}"].astype(float) for name in rows)
    for bit, (u, v, _) in enumerate(slow_first_bits(rows, pairs, model, 6)):
        assert np.outer(u, v).ravel() @ np.outer(first[:, bit], second[:, bit]).ravel() == pytest.approx(1, abs=1e-5)


def test_no_offset_of_either_view_does_better(task):
    rows, labels, _ = task
    model = hashdb.fit(rows, "cmssh", 6, params={"pairs": 600}, labels=labels, seed=1)
    pairs = draw_pairs("cmssh", rows["image"], labels, 600, np.random.default_rng(1))
    h, g = signs(model, rows)
    z = [
        (rows[name] - model.state[f"mean_{name}"]).astype(float) @ model.state[f"weights_{name}"].astype(float)
        for name in rows
    ]
    for bit, (_, _, weights) in enumerate(slow_first_bits(rows, pairs, model, 6)):

        def error(h, g, weights=weights):
            return weights[h[pairs.left] * g[pairs.right] != pairs.signs].sum()

        own = error(h[:, bit], g[:, bit])
        assert model.state["errors"][bit] == pytest.approx(own, abs=1e-9)
        for side, values in enumerate(z):
            for cut in np.sort(values[:, bit])[:-1]:
                other = np.where(values[:, bit] > cut, 1.0, -1.0)
                assert own <= error(*((other, g[:, bit]) if side == 0 else (h[:, bit], other))) + 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_offset_search_finds_what_trying_all_finds(seed):
    rng = np.random.default_rng(seed)
    values = np.round(rng.standard_normal(30), 1 if seed % 2 else 6) * 10.0 ** rng.integers(-12, 12)
    gains = rng.standard_normal(30)
    offset, best = offset_search(values)(gains)
    sums = [gains @ np.where(values > cut, 1, -1) for cut in np.unique(values)[:-1]]
    assert best == pytest.approx(max(sums))
    assert gains @ np.where(values > offset, 1, -1) == pytest.approx(best)


def test_offset_search_leaves_equal_values_together():
    assert offset_search(np.full(5, 3.0))(np.ones(5)) == (0.0, -np.inf)
    nearly = np.array([1.0, 1.0 + 2e-16, 2.0])
    assert offset_search(nearly)(np.array([-5.0, 9.0, 1.0]))[0] == pytest.approx(1.5)


def test_bits_are_in_use_and_do_not_repeat(task):
    rows, _, _ = task
    model = hashdb.fit(rows, "cmssh", 40)
    for part in signs(model, rows):
        assert (np.abs(part.mean(axis=0)) < 1).all()
        assert (np.abs(np.corrcoef(part.T)[np.triu_indices(40, 1)]) < 1).mean() > 0.99


@pytest.mark.parametrize("hot", [False, True])
def test_pairs_with_labels_are_of_one_class_or_of_none_in_common(task, hot):
    rows, labels, _ = task
    if hot:
        labels = np.random.default_rng(1).random((400, 6)) < 0.2
    shares = labels.astype(int) @ labels.T.astype(int) > 0 if hot else labels[:, None] == labels
    known = labels.any(axis=1) if hot else labels >= 0
    pairs = draw_pairs("cmssh", rows["image"], labels, 3000, np.random.default_rng(0))
    left, right, similar = pairs.left, pairs.right, pairs.signs > 0
    assert np.count_nonzero(similar) == np.count_nonzero(~similar) == 3000
    own = left == right
    assert (shares[left, right] | own)[similar].all()
    assert not shares[left, right][~similar].any()
    assert known[left][~own].all()
    assert known[right][~own].all()
    assert set(left[own]) == set(range(400)), "every pair given is a similar pair"
    assert pairs.even_weights[similar].sum() == pytest.approx(0.5)
    assert pairs.even_weights.sum() == pytest.approx(1)


def test_pairs_without_labels_are_those_given_and_others(task):
    rows = task[0]["text"]
    pairs = draw_pairs("cmssh", rows, None, 1000, np.random.default_rng(0))
    own = pairs.left == pairs.right
    assert np.array_equal(own, pairs.signs > 0)
    assert np.array_equal(pairs.left[own], np.arange(400))
    assert np.count_nonzero(~own) == 1000
    few = draw_pairs("cmssh", rows, None, 50, np.random.default_rng(0))
    assert len(np.unique(few.left[few.signs > 0])) == 50


def test_labels_find_more_of_a_class_than_what_pairs_share():
    rng = np.random.default_rng(0)
    classes, shared = rng.integers(0, 5, 600), rng.standard_normal((600, 6))
    rows = {
        name: (
            3 * shared @ rng.standard_normal((6, dim))
            + 2 * rng.standard_normal((5, dim))[classes]
            + rng.standard_normal((600, dim))
        ).astype(np.float32)
        for name, dim in (("image", 14), ("text", 11))
    }

    def precision(given):
        image, text = signs(hashdb.fit(rows, "cmssh", 16, labels=given), rows)
        nearest = np.argsort(-image[:200] @ text.T, axis=1, kind="stable")[:, :20]
        return (classes[nearest] == classes[:200, None]).mean()

    assert precision(classes) > precision(None) + 0.05


def test_the_first_bits_are_those_of_a_shorter_code(task):
    long, short = (hashdb.fit(task[0], "cmssh", n_bits).state["weights_text"] for n_bits in (12, 5))
    assert np.array_equal(long[:, :5], short)


def test_the_scale_of_a_view_changes_no_code(task):
    rows, labels, _ = task
    codes = signs(hashdb.fit(rows, "cmssh", 12, labels=labels), rows)
    scaled = {"image": np.ldexp(rows["image"], 50), "text": np.ldexp(rows["text"], -60)}
    for before, after in zip(codes, signs(hashdb.fit(scaled, "cmssh", 12, labels=labels), scaled), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(400, int), "the labels have 1 class, expected 2 or more for cmssh"),
        (np.ones((400, 3), bool), "cmssh learns from rows that share no class: found none"),
    ],
)
def test_labels_that_set_nothing_apart_are_refused(task, labels, message):
    with pytest.raises(ArgumentError, match=message):
        hashdb.fit(task[0], "cmssh", 8, labels=labels)


def test_a_single_pair_and_three_modalities_are_refused(task):
    with pytest.raises(ArgumentError, match="cmssh tells pairs from other pairs: got 1 row, expected 2 or more"):
        hashdb.fit({name: part[:1] for name, part in task[0].items()}, "cmssh", 8)
    with pytest.raises(ArgumentError, match="cmssh takes two modalities, got 3: image, text, sound"):
        hashdb.fit(task[0] | {"sound": task[0]["text"]}, "cmssh", 8)


def test_equal_rows_give_finite_states():
    state = hashdb.fit({"image": np.ones((6, 4), np.float32), "text": np.ones((6, 3), np.float32)}, "cmssh", 9).state
    assert all(np.isfinite(array).all() for array in state.values())


def test_wiki_texts_and_images_find_their_category(data):
    """Well above chance, .111, at every length; above canonical correlations, which fall to .15 and .13 at 64 bits."""
    from scipy.io import loadmat

    wiki = loadmat(data / "wiki" / "wikiData.mat")
    train = {"image": wiki["I_tr"].astype(np.float32), "text": wiki["T_tr"].astype(np.float32)}
    test = {"image": wiki["I_te"].astype(np.float32), "text": wiki["T_te"].astype(np.float32)}
    asked, labels = wiki["L_te"].ravel(), wiki["L_tr"].ravel().astype(np.int64)
    for given, n_bits, low in ((None, 16, 0.16), (None, 64, 0.18), (labels, 64, 0.21)):
        model = hashdb.fit(train, "cmssh", n_bits, labels=given)
        for queries, stored in (("image", "text"), ("text", "image")):
            codes, scores = model.encode(train[stored], stored), []
            for query, label in zip(model.encode(test[queries], queries), asked, strict=True):
                hits = labels[np.argsort(np.bitwise_count(codes ^ query).sum(axis=1), kind="stable")] == label
                scores.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
            assert low < np.mean(scores) < 0.3
