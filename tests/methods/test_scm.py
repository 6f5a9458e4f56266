"""Semantic correlation maximisation: the contract, and what the paper promises."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.evaluation import LabelTruth, evaluate
from hashdb.testing import METHOD_CHECKS, check_method

ORTHOGONAL = {"solution": "orthogonal"}
VIEWS = ("image", "text")


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("scm", only=[check])


@pytest.mark.parametrize("check", ["degenerate", "row_independence", "better_than_chance"])
def test_contract_of_the_orthogonal_solution(check):
    check_method("scm", params=ORTHOGONAL, only=[check])


@pytest.fixture(scope="module")
def task():
    """500 pairs, each with some of six labels that both views show."""
    rng = np.random.default_rng(0)
    labels = rng.random((500, 6)) < 0.3
    labels[np.arange(500), rng.integers(0, 6, 500)] = True
    image = labels @ rng.standard_normal((6, 16)) + rng.standard_normal((500, 16)) + 4
    text = labels @ rng.standard_normal((6, 9)) + rng.standard_normal((500, 9))
    return {"image": image.astype(np.float32), "text": text.astype(np.float32)}, labels


class Dense:
    """Everything the paper writes, with S in full."""

    def __init__(self, pairs, labels, regularisation):
        self.n = len(labels)
        self.views = [part.astype(np.float64) - part.mean(axis=0, dtype=np.float64) for part in pairs.values()]
        self.inner = []
        for view in self.views:
            covariance = view.T @ view / self.n
            self.inner.append(covariance + regularisation * np.diag(covariance).mean() * np.eye(len(covariance)))
        unit = labels / np.linalg.norm(labels, axis=1, keepdims=True)
        self.similarity = 2 * unit @ unit.T - 1

    def check_pairs(self, left, weights, sigma):
        """Hold weights (dim, m) of both views to equation (2) for what is left of S."""
        x, y = self.views
        c_x, c_y = self.inner
        d = x.T @ left @ y / self.n**2
        w_x, w_y = weights
        residual = d @ np.linalg.solve(c_y, d.T @ w_x) - c_x @ w_x * sigma**2
        np.testing.assert_allclose(residual, 0, atol=1e-5 * np.abs(c_x @ w_x * sigma**2).max())
        np.testing.assert_allclose(np.linalg.solve(c_y, d.T @ w_x) / sigma, w_y, atol=1e-4 * np.abs(w_y).max())
        np.testing.assert_allclose(w_x.T @ c_x @ w_x, np.eye(len(sigma)), atol=1e-5)
        np.testing.assert_allclose(w_y.T @ c_y @ w_y, np.eye(len(sigma)), atol=1e-5)
        squares = np.linalg.eigvals(np.linalg.solve(c_x, d @ np.linalg.solve(c_y, d.T))).real
        np.testing.assert_allclose(sigma**2, np.sort(squares)[::-1][: len(sigma)], rtol=1e-4)


def weights_of(model):
    return [model.state[f"weights_{view}"].astype(np.float64) for view in VIEWS]


def codes_of(model, pairs):
    return [np.where(hashdb.codes.unpack(model.encode(pairs[v], v), model.n_bits), 1.0, -1.0) for v in VIEWS]


def test_the_orthogonal_solution_solves_the_eigenproblem(task):
    pairs, labels = task
    model = hashdb.fit(pairs, "scm", 5, labels=labels, params=ORTHOGONAL | {"regularisation": 1e-3})
    dense = Dense(pairs, labels, 1e-3)
    dense.check_pairs(dense.similarity, weights_of(model), model.state["correlations"])


def test_each_bit_of_the_sequence_solves_it_for_what_is_left(task):
    pairs, labels = task
    model = hashdb.fit(pairs, "scm", 12, labels=labels, params={"regularisation": 1e-3})
    dense = Dense(pairs, labels, 1e-3)
    w_x, w_y = weights_of(model)
    h_x, h_y = codes_of(model, pairs)
    left = dense.similarity.copy()
    for bit in range(12):
        one = slice(bit, bit + 1)
        dense.check_pairs(left, (w_x[:, one], w_y[:, one]), model.state["correlations"][one])
        left -= np.outer(h_x[:, bit], h_y[:, bit]) / 12


@pytest.mark.parametrize("params", [{}, ORTHOGONAL])
def test_the_history_is_how_far_codes_are_from_the_similarity(task, params):
    pairs, labels = task
    model = hashdb.fit(pairs, "scm", 8, labels=labels, params=params)
    similarity = Dense(pairs, labels, 1.0).similarity
    h_x, h_y = codes_of(model, pairs)
    expected = [((similarity - h_x[:, :k] @ h_y[:, :k].T / 8) ** 2).mean() for k in range(9)]
    np.testing.assert_allclose(model.state["history"], expected, rtol=1e-9)


def test_the_sequence_comes_nearer_to_the_similarity_than_bits_that_may_not_correlate(task):
    pairs, labels = task
    ends = [hashdb.fit(pairs, "scm", 24, labels=labels, params=p).state["history"] for p in ({}, ORTHOGONAL)]
    assert ends[0][-1] < 0.9 * ends[0][0]
    assert ends[0][-1] < 0.9 * ends[1][-1]


def test_classes_and_their_indicators_are_the_same_labels(task):
    pairs, labels = task
    classes = labels.argmax(axis=1)
    first = hashdb.fit(pairs, "scm", 8, labels=classes).state
    second = hashdb.fit(pairs, "scm", 8, labels=classes[:, None] == np.arange(9)).state
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("params", [{}, ORTHOGONAL])
def test_rows_without_a_label_are_left_out(task, params):
    pairs, labels = task
    labels = labels & (np.arange(500) % 3 > 0)[:, None]
    kept = labels.any(axis=1)
    first = hashdb.fit(pairs, "scm", 12, labels=labels, params=params)
    second = hashdb.fit({v: part[kept] for v, part in pairs.items()}, "scm", 12, labels=labels[kept], params=params)
    for name, array in first.state.items():
        assert np.array_equal(second.state[name], array), name


@pytest.mark.parametrize("params", [{}, ORTHOGONAL])
def test_the_scale_of_a_view_changes_nothing(task, params):
    pairs, labels = task
    scaled = {"image": pairs["image"] * 1024, "text": pairs["text"] / 4096}
    model, again = (hashdb.fit(rows, "scm", 8, labels=labels, params=params) for rows in (pairs, scaled))
    for view in VIEWS:
        assert np.array_equal(again.encode(scaled[view], view), model.encode(pairs[view], view))


def test_orthogonal_bits_beyond_the_labels_do_not_correlate(task):
    pairs, labels = task
    model = hashdb.fit(pairs, "scm", 20, labels=labels.argmax(axis=1), params=ORTHOGONAL, seed=1)
    assert (model.state["correlations"][:5] > 1e-3).all()
    assert (model.state["correlations"][5:] < 1e-6).all(), "classes have one direction less than there are"
    for view, codes in zip(VIEWS, codes_of(model, pairs), strict=True):
        assert (np.abs(codes.mean(axis=0)) < 0.6).all(), f"no bit of {view} is constant"


def test_signs_find_the_pairs_that_share_labels_beyond_the_training_rows(task):
    pairs, labels = task
    model = hashdb.fit({v: part[:350] for v, part in pairs.items()}, "scm", 32, labels=labels[:350])
    unseen = {v: part[350:] for v, part in pairs.items()}
    h_x, h_y = codes_of(model, unseen)
    agreement = (h_x @ h_y.T / 32).ravel()
    similarity = Dense(unseen, labels[350:], 1.0).similarity.ravel()
    assert np.corrcoef(agreement, similarity)[0, 1] > 0.4


def test_memory_is_far_from_that_of_all_pairs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 8000)
    pairs = {v: (np.eye(8)[labels][:, :6] + rng.standard_normal((8000, 6))).astype(np.float32) for v in VIEWS}
    hashdb.fit({v: part[:300] for v, part in pairs.items()}, "scm", 2, labels=labels[:300])
    tracemalloc.start()
    hashdb.fit(pairs, "scm", 16, labels=labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8000**2 / 4


def test_three_modalities_are_refused(task):
    pairs, labels = task
    with pytest.raises(ArgumentError, match="scm takes two modalities, got 3: image, text, sound"):
        hashdb.fit(pairs | {"sound": pairs["text"]}, "scm", 8, labels=labels)


def test_labels_of_one_class_are_refused(task):
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for scm"):
        hashdb.fit(task[0], "scm", 8, labels=np.zeros(500, int))


def test_views_that_are_constant_give_finite_codes(task):
    pairs, labels = task
    for params in ({}, ORTHOGONAL):
        still = pairs | {"text": np.full((500, 9), 3, np.float32)}
        state = hashdb.fit(still, "scm", 12, labels=labels, params=params).state
        assert all(np.isfinite(array).all() for array in state.values())


@pytest.mark.parametrize(
    ("params", "low", "high"), [({}, (0.21, 0.225, 0.235), 0.27), (ORTHOGONAL, (0.14, 0.13, 0.12), 0.18)]
)
def test_wiki_texts_and_images_find_their_category(data, params, low, high):
    """An independent run of the sequence: .223 .239 .246 image to text, .216 .240 .249 back; chance is .111."""
    from scipy.io import loadmat

    wiki = loadmat(data / "wiki" / "wikiData.mat")
    train = {"image": wiki["I_tr"].astype(np.float32), "text": wiki["T_tr"].astype(np.float32)}
    test = {"image": wiki["I_te"].astype(np.float32), "text": wiki["T_te"].astype(np.float32)}
    labels = wiki["L_tr"].ravel().astype(int)
    truth = LabelTruth(wiki["L_te"].ravel().astype(int), labels)
    for n_bits, least in zip((16, 32, 64), low, strict=True):
        model = hashdb.fit(train, "scm", n_bits, labels=labels, params=params)
        for asked, stored in (VIEWS, VIEWS[::-1]):
            codes = model.encode(train[stored], stored), model.encode(test[asked], asked)
            assert least < evaluate(*codes, truth, n_bits=n_bits)["map_by_order"] < high
