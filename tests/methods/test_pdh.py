"""Predictable dual-view hashing: the contract, and the parts of its objective."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins.crossmodal import pdh


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("pdh", params={"iterations": 1}, only=[check])


@pytest.fixture(scope="module")
def pairs():
    """800 pairs that share six directions of 20 and of 8, among others of their own."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((800, 6))
    image = shared @ rng.standard_normal((6, 20)) + rng.standard_normal((800, 20))
    text = shared @ rng.standard_normal((6, 8)) + rng.standard_normal((800, 8))
    return {"image": (image + 5).astype(np.float32), "text": (3 * text).astype(np.float32)}


def bits(model, pairs, name):
    return hashdb.codes.unpack(model.encode(pairs[name], name), model.n_bits)


def correlation(bits):
    """The term of the objective about bits of a view: their mean squared correlation with each other."""
    signs = np.where(bits, 1.0, -1.0)
    gram = signs.T @ signs / len(signs)
    return ((gram - np.eye(len(gram))) ** 2).mean()


def unit(rows):
    rows = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return rows / np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1).mean())


def test_one_round_is_that_of_an_oracle(pairs):
    """Canonical directions by an eigenproblem, the nearest orthogonal matrix by SciPy, machines by scikit-learn."""
    from scipy.linalg import eigh, polar
    from sklearn.svm import LinearSVC

    x, y = unit(pairs["image"]).astype(np.float64), unit(pairs["text"]).astype(np.float64)
    c_x, c_y = x.T @ x / 800, y.T @ y / 800
    for c in (c_x, c_y):
        c += 1e-4 * np.trace(c) / len(c) * np.eye(len(c))
    c_xy = x.T @ y / 800
    _, directions = eigh(c_xy @ np.linalg.solve(c_y, c_xy.T), c_x)
    margins = x @ directions[:, :-6:-1]
    model = hashdb.fit(pairs, "pdh", 5, params={"iterations": 1, "c": 3.0})
    flip = np.ones(5)
    for name, rows in (("text", y), ("image", x)):
        nearest, _ = polar(margins - margins.mean(axis=0))
        wanted = nearest > np.median(nearest, axis=0)
        machines = [LinearSVC(C=3.0, dual=False, tol=1e-2).fit(rows, bit) for bit in wanted.T]
        margins = np.column_stack([machine.decision_function(rows) for machine in machines])
        ours = model.project(pairs[name], name).astype(np.float64)
        ours *= margins.std() / ours.std()
        if name == "text":
            flip = np.sign((ours * margins).sum(axis=0))  # a direction has no sign of its own
        np.testing.assert_allclose(ours * flip, margins, atol=0.05 * margins.std())


@pytest.mark.parametrize("n_bits", [6, 8, 32])
def test_views_agree_on_more_bits_after_each_round(pairs, n_bits):
    model = hashdb.fit(pairs, "pdh", n_bits, params={"iterations": 20})
    history = model.state["history"]
    assert 1 < len(history) < 20
    assert (np.diff(history) > 0).all()
    np.testing.assert_allclose((bits(model, pairs, "image") == bits(model, pairs, "text")).mean(), history[-1])


def test_what_is_kept_is_the_last_round_that_did_better(pairs):
    model = hashdb.fit(pairs, "pdh", 8, params={"iterations": 20})
    n_rounds = len(model.state["history"])
    again = hashdb.fit(pairs, "pdh", 8, params={"iterations": n_rounds})
    assert all(np.array_equal(values, again.state[name]) for name, values in model.state.items())
    fewer = hashdb.fit(pairs, "pdh", 8, params={"iterations": n_rounds - 1})
    assert np.array_equal(fewer.state["history"], model.state["history"][:-1])


def test_each_bit_can_be_predicted_from_the_other_view(pairs):
    """Rows that were not learned from: a bit of one view agrees with its twin far more often than with any other."""
    train = {name: rows[:600] for name, rows in pairs.items()}
    unseen = {name: rows[600:] for name, rows in pairs.items()}
    model = hashdb.fit(train, "pdh", 6)
    image, text = bits(model, unseen, "image"), bits(model, unseen, "text")
    agreement = (image[:, :, None] == text[:, None]).mean(axis=0)
    assert np.diag(agreement).min() > 0.6
    assert np.abs(agreement[~np.eye(6, dtype=bool)] - 0.5).max() < 0.2
    distances = (image[:, None] != text[None]).sum(axis=2)
    assert np.diag(distances).mean() < 1.3 < 2.7 < distances.mean()


@pytest.mark.parametrize("n_bits", [6, 32])
def test_bits_of_a_view_are_balanced_and_stay_different(pairs, n_bits, monkeypatch):
    params = {"iterations": 6}
    model = hashdb.fit(pairs, "pdh", n_bits, params=params)
    monkeypatch.setattr(pdh, "_uncorrelated", lambda margins: margins)
    without = hashdb.fit(pairs, "pdh", n_bits, params=params)
    for name in pairs:
        ours = bits(model, pairs, name)
        shares = ours.mean(axis=0)
        assert ((shares > 0.4) & (shares < 0.6)).all()
        assert correlation(ours) < 0.6 * correlation(bits(without, pairs, name))


@pytest.mark.parametrize("rank", [5, 12])
def test_margins_become_the_nearest_with_uncorrelated_columns(rank):
    rng = np.random.default_rng(1)
    margins = rng.standard_normal((300, rank)) @ rng.standard_normal((rank, 12))
    margins -= margins.mean(axis=0)
    u, _, v = np.linalg.svd(margins, full_matrices=False)
    expected = np.sqrt(300) * u[:, :rank] @ v[:rank]
    ours = pdh._uncorrelated(margins)
    np.testing.assert_allclose(ours, expected, atol=1e-8)
    excess = ours.T @ ours / 300 - np.eye(12)
    np.testing.assert_allclose((excess**2).sum(), 12 - rank, atol=1e-8, err_msg="the least that this rank allows")


def test_proposed_bits_have_as_many_ones_as_zeros():
    rng = np.random.default_rng(2)
    margins = rng.gamma(1.0, size=(400, 7)) @ rng.standard_normal((7, 7)) + 3
    assert (pdh._balanced(margins).sum(axis=0) == 200).all()


def test_bits_beyond_the_smaller_view_are_predictable_too(pairs):
    model = hashdb.fit(pairs, "pdh", 64, params={"iterations": 2})
    image, text = bits(model, pairs, "image"), bits(model, pairs, "text")
    assert (image == text)[:, 8:].mean(axis=0).min() > 0.65
    for one in (image, text):
        assert len(np.unique(np.where(one[0], ~one, one), axis=1).T) == 64, "no bit is another or its opposite"


def test_a_view_that_is_short_of_directions_lends_no_noise(pairs):
    """Two of the eight columns repeat others: there are six canonical pairs, and all bits are made of them."""
    text = np.hstack([pairs["text"][:, :6], pairs["text"][:, :2]])
    model = hashdb.fit(pairs | {"text": text}, "pdh", 8)
    agreement = (bits(model, pairs, "image") == bits(model, {"text": text}, "text")).mean(axis=0)
    assert agreement.min() > 0.6


def test_the_scale_of_a_view_changes_nothing(pairs):
    scaled = {"image": pairs["image"] * 1024, "text": pairs["text"] / 4096}
    ours, theirs = hashdb.fit(pairs, "pdh", 8), hashdb.fit(scaled, "pdh", 8)
    for name in pairs:
        assert np.array_equal(ours.encode(pairs[name], name), theirs.encode(scaled[name], name))


def test_three_modalities_are_refused(pairs):
    with pytest.raises(ArgumentError, match="pdh takes two modalities, got 3: image, text, sound"):
        hashdb.fit(pairs | {"sound": pairs["text"]}, "pdh", 8)


@pytest.mark.parametrize("n_rows", [1, 3])
def test_fewer_pairs_than_dimensions_give_finite_codes(pairs, n_rows):
    state = hashdb.fit({name: part[:n_rows] for name, part in pairs.items()}, "pdh", 30).state
    assert all(np.isfinite(array).all() for array in state.values())


def test_views_that_share_nothing_give_codes(pairs):
    unrelated = {"image": pairs["image"], "text": np.zeros_like(pairs["text"])}
    model = hashdb.fit(unrelated, "pdh", 8)
    assert all(np.isfinite(array).all() for array in model.state.values())


def test_progress_counts_machines(pairs):
    seen = []
    hashdb.fit(pairs, "pdh", 4, params={"iterations": 1}, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen[:8]] == list(range(1, 9))
    assert seen[-1] == (8, 8)


def test_wiki_texts_and_images_find_their_category(data):
    """Image to text .232, .240, .255 and text to image .216, .226, .241 at 16, 32, 64 bits; chance is .111."""
    from scipy.io import loadmat

    wiki = loadmat(data / "wiki" / "wikiData.mat")
    train = {"image": wiki["I_tr"].astype(np.float32), "text": wiki["T_tr"].astype(np.float32)}
    test = {"image": wiki["I_te"].astype(np.float32), "text": wiki["T_te"].astype(np.float32)}
    asked_labels, labels = wiki["L_te"].ravel(), wiki["L_tr"].ravel()
    for n_bits, iterations, low in ((16, 3, 0.2), (64, 1, 0.225)):
        model = hashdb.fit(train, "pdh", n_bits, params={"iterations": iterations})
        assert len(model.state["history"]) == iterations
        assert (np.diff(model.state["history"]) > 0).all()
        for queries, stored in (("image", "text"), ("text", "image")):
            codes = model.encode(train[stored], stored)
            scores = []
            for query, label in zip(model.encode(test[queries], queries), asked_labels, strict=True):
                distances = np.bitwise_count(codes ^ query).sum(axis=1)
                hits = labels[np.argsort(distances, kind="stable")] == label
                scores.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
            assert low < np.mean(scores) < 0.29
