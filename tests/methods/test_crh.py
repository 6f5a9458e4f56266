"""Co-regularised hashing: the contract, and its objective against formulas written out and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins._coregularised import Objective, Schedule, clipped_inverse, minimise
from hashdb_plugins._cross_pairs import draw_pairs

QUICK = {"pairs": 2000, "rounds": 4, "batches": 20}


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("crh", only=[check], params={"pairs": 1000, "rounds": 2, "batches": 10})


@pytest.fixture(scope="module")
def task():
    """400 pairs of five classes, in 12 and in 7 dimensions, off the origin."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 400)
    rows = {
        name: (3 * rng.standard_normal((5, dim))[classes] + 2 * rng.standard_normal((400, dim)) + 4).astype(np.float32)
        for name, dim in (("image", 12), ("text", 7))
    }
    return rows, classes


def objective_of(n=60, n_pairs=80, seed=0, **changed):
    """Make a small objective in float64, and a v at which all its branches are met."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 5)), rng.standard_normal((n, 4))
    pairs = draw_pairs("crh", x, np.arange(n) % 3, n_pairs, rng)
    given = {"gamma": 3.0, "a": 3.7, "clip": 0.5} | changed
    return Objective(x, y, pairs, rng.random(9), **given), 0.6 * rng.standard_normal(9)


def written_out(objective, v, omega):
    """The objective as its paper has it, a pair at a time."""
    v_x, v_y = v[: objective.x.shape[1]], v[objective.x.shape[1] :]
    a, clip = objective.a, objective.clip
    total = np.mean([max(0, 1 - abs(r @ v_x)) for r in objective.x])
    total += np.mean([max(0, 1 - abs(r @ v_y)) for r in objective.y])
    for i, j, sign, weight in zip(
        objective.pairs.left, objective.pairs.right, objective.pairs.signs, omega, strict=True
    ):
        d = abs(objective.x[i] @ v_x - objective.y[j] @ v_y)
        if sign > 0:
            loss = d**2
        elif d <= clip:
            loss = -(d**2) / 2 + a * clip**2 / 2
        elif d <= a * clip:
            loss = (d**2 - 2 * a * clip * d + a**2 * clip**2) / (2 * (a - 1))
        else:
            loss = 0
        total += objective.gamma * weight * loss
    return total + (objective.ridge * v**2).sum() / 2


def round_function(objective, v, at, omega):
    """The convex function of a round: what is added in the objective, less tangents of what is taken away."""
    own, a, clip = objective.values(v), objective.a, objective.clip
    size = np.abs(own.d)
    convex = np.select(
        [size <= clip, size <= a * clip],
        [0 * size, (a * size**2 - 2 * a * clip * size + a * clip**2) / (2 * (a - 1))],
        size**2 / 2 - a * clip**2 / 2,
    )
    tangent = at.d**2 / 2 - a * clip**2 / 2 + at.d * (own.d - at.d)
    losses = np.where(objective.pairs.signs > 0, own.d**2, convex - tangent)
    total = objective.gamma * omega @ losses + (objective.ridge * v**2).sum() / 2
    for z, z_t in ((own.x, at.x), (own.y, at.y)):
        total += np.mean(np.maximum(1, np.abs(z)) - np.where(z_t > 0, 1, -1) * z)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_objective_is_the_one_written_out(seed):
    objective, v = objective_of(seed=seed)
    omega = np.random.default_rng(seed).dirichlet(np.ones(160))
    assert objective.of(v, objective.values(v), omega) == pytest.approx(written_out(objective, v, omega), rel=1e-12)


def test_the_clipped_loss_and_its_slope_have_no_jumps():
    a, clip = 3.7, 0.4
    for place in (clip, a * clip):
        around = np.array([place - 1e-7, place + 1e-7])
        assert np.diff(clipped_inverse(around, a, clip))[0] == pytest.approx(0, abs=1e-7)
        slopes = (clipped_inverse(around + 1e-6, a, clip) - clipped_inverse(around - 1e-6, a, clip)) / 2e-6
        assert np.diff(slopes)[0] == pytest.approx(0, abs=1e-5)
    d = np.linspace(0, 3, 500)
    assert (np.diff(clipped_inverse(d, a, clip)) <= 0).all()
    assert np.array_equal(clipped_inverse(d, a, clip), clipped_inverse(-d, a, clip))
    assert (clipped_inverse(d[d > a * clip], a, clip) == 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_round_works_on_a_convex_function_above_the_objective(seed):
    objective, v = objective_of(seed=seed)
    rng = np.random.default_rng(seed)
    omega = rng.dirichlet(np.ones(160))
    at = objective.values(v)
    assert round_function(objective, v, at, omega) == pytest.approx(objective.of(v, at, omega), rel=1e-12)
    for _ in range(50):
        one, other = (v + rng.standard_normal(9) * rng.choice([0.1, 1, 5]) for _ in range(2))
        values = [round_function(objective, w, at, omega) for w in (one, other, (one + other) / 2)]
        assert values[0] >= objective.of(one, objective.values(one), omega) - 1e-12
        assert values[2] <= (values[0] + values[1]) / 2 + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_the_slope_is_that_of_finite_differences(seed):
    objective, v_t = objective_of(seed=seed)
    v = v_t + 0.3 * np.random.default_rng(seed).standard_normal(9)
    at, omega = objective.values(v_t), np.full(160, 1 / 160)
    d = np.abs(objective.values(v).d[objective.pairs.signs < 0])
    met = [(d < 0.5).any(), ((d > 0.5) & (d < 1.85)).any(), (d > 1.85).any()]
    assert all(met), "the pairs meet every branch of the loss"
    slope = objective.slope(v, at, np.arange(60), np.arange(160))
    differences = [
        (round_function(objective, v + step, at, omega) - round_function(objective, v - step, at, omega)) / 2e-6
        for step in 1e-6 * np.eye(9)
    ]
    np.testing.assert_allclose(slope, differences, rtol=1e-5, atol=1e-6)


def test_batches_give_the_slope_on_average():
    objective, v = objective_of()
    rng = np.random.default_rng(0)
    omega = rng.dirichlet(np.ones(160))
    at = objective.values(v)
    w = v + 0.2 * rng.standard_normal(9)
    drawn = rng.choice(160, 400_000, p=omega)
    many = objective.slope(w, at, rng.integers(0, 60, 400_000), drawn)
    differences = [
        (round_function(objective, w + step, at, omega) - round_function(objective, w - step, at, omega)) / 2e-6
        for step in 1e-6 * np.eye(9)
    ]
    np.testing.assert_allclose(many, differences, atol=0.05)


def test_the_search_nears_the_minimum_and_never_rises():
    from scipy.optimize import minimize

    objective, start = objective_of(n=300, n_pairs=1000)
    omega = objective.pairs.even_weights
    v, at, history = minimise(objective, start, omega, Schedule(60, 100, 64), np.random.default_rng(0))
    assert (np.diff(history) <= 0).all()
    assert history[-1] == objective.of(v, at, omega)
    assert history[0] == objective.of(start, objective.values(start), omega)

    def value(w):
        return objective.of(w, objective.values(w), omega)

    near = minimize(value, v, method="Powell", options={"maxiter": 20}).fun
    assert history[-1] - near < 0.02 * (history[0] - near)


@pytest.mark.parametrize("with_labels", [False, True])
def test_history_never_rises_and_falls_at_every_bit(task, with_labels):
    rows, classes = task
    history = hashdb.fit(rows, "crh", 12, params=QUICK, labels=classes if with_labels else None).state["history"]
    assert history.shape == (12, 5)
    assert (np.diff(history, axis=1) <= 0).all()
    assert (history[:, -1] < history[:, 0]).all()


def test_a_bit_has_error_half_under_the_weights_it_leaves(task):
    rows, classes = task
    model = hashdb.fit(rows, "crh", 10, params=QUICK, labels=classes, seed=5)
    pairs = draw_pairs("crh", rows["image"], classes, 2000, np.random.default_rng(5))
    h, g = (hashdb.codes.unpack(model.encode(part, name), 10) for name, part in rows.items())
    weights = pairs.even_weights
    for bit, error in enumerate(model.state["errors"]):
        wrong = (h[pairs.left, bit] == g[pairs.right, bit]) != (pairs.signs > 0)
        assert weights[wrong].sum() == pytest.approx(error, abs=1e-9)
        odds = min(error, 0.49) / (1 - min(error, 0.49))
        weights[~wrong] *= odds
        weights /= weights.sum()
        if error < 0.49:
            assert weights[wrong].sum() == pytest.approx(0.5, abs=1e-9)
        else:
            assert weights[wrong].sum() > error, "pairs that a useless bit gets wrong count for more"
    assert (model.state["errors"][:5] < 0.49).all()


def test_the_stored_directions_are_those_of_the_history(task):
    rows, _ = task
    params = QUICK | {"regularisation": 0.05, "gamma": 4.0}
    state = hashdb.fit(rows, "crh", 1, params=params, seed=2).state
    pairs = draw_pairs("crh", rows["image"], None, 2000, np.random.default_rng(2))
    scaled, weights = [], []
    for name in rows:
        centred = rows[name].astype(float) - rows[name].mean(axis=0, dtype=float)
        spread = np.sqrt((centred**2).mean())
        scaled.append(centred / spread)
        weights.append(state[f"weights_{name}"][:, 0].astype(float) * spread)
    objective = Objective(*scaled, pairs, np.full(19, 0.05), 4.0, 3.7, 0.27)
    assert written_out(objective, np.concatenate(weights), pairs.even_weights) == pytest.approx(
        state["history"][0, -1], rel=1e-4
    )


def test_similar_pairs_come_nearer_than_others(task):
    rows, classes = task
    model = hashdb.fit({name: part[:300] for name, part in rows.items()}, "crh", 16, params=QUICK)
    image, text = (hashdb.codes.unpack(model.encode(part[300:], name), 16) for name, part in rows.items())
    distances = (image[:, None] != text[None]).sum(axis=2)
    same = classes[300:, None] == classes[300:]
    assert np.diag(distances).mean() < distances[~same].mean() - 2
    assert distances[same].mean() < distances[~same].mean() - 2


def test_the_scale_of_a_view_changes_no_code(task):
    rows, classes = task
    model = hashdb.fit(rows, "crh", 8, params=QUICK, labels=classes)
    scaled = {"image": np.ldexp(rows["image"], 40), "text": np.ldexp(rows["text"], -50)}
    again = hashdb.fit(scaled, "crh", 8, params=QUICK, labels=classes)
    for name in rows:
        assert np.array_equal(model.encode(rows[name], name), again.encode(scaled[name], name))


def test_columns_that_repeat_or_stand_still_change_little(task):
    rows, _ = task
    more = {name: np.hstack([part, part[:, :2], np.full((400, 1), 9, np.float32)]) for name, part in rows.items()}
    state = hashdb.fit(more, "crh", 8, params=QUICK).state
    assert all(np.isfinite(array).all() for array in state.values())
    assert (state["errors"] < 0.45).any()


def test_equal_rows_give_finite_states():
    rows = {"image": np.ones((6, 4), np.float32), "text": np.ones((6, 3), np.float32)}
    state = hashdb.fit(rows, "crh", 9, params=QUICK).state
    assert all(np.isfinite(array).all() for array in state.values())


def test_what_cannot_be_learned_from_is_refused(task):
    rows, _ = task
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for crh"):
        hashdb.fit(rows, "crh", 8, labels=np.zeros(400, int))
    with pytest.raises(ArgumentError, match="crh tells pairs from other pairs: got 1 row, expected 2 or more"):
        hashdb.fit({name: part[:1] for name, part in rows.items()}, "crh", 8)
    with pytest.raises(ArgumentError, match="crh takes two modalities, got 3: image, text, sound"):
        hashdb.fit(rows | {"sound": rows["text"]}, "crh", 8)


def test_wiki_texts_and_images_find_their_category(data):
    """Well above chance, .111, with fewer rounds than by default."""
    from scipy.io import loadmat

    wiki = loadmat(data / "wiki" / "wikiData.mat")
    train = {"image": wiki["I_tr"].astype(np.float32), "text": wiki["T_tr"].astype(np.float32)}
    test = {"image": wiki["I_te"].astype(np.float32), "text": wiki["T_te"].astype(np.float32)}
    asked, labels = wiki["L_te"].ravel(), wiki["L_tr"].ravel().astype(np.int64)
    for given, low in ((None, 0.17), (labels, 0.19)):
        model = hashdb.fit(train, "crh", 16, params={"rounds": 5, "batches": 30}, labels=given)
        for queries, stored in (("image", "text"), ("text", "image")):
            codes, scores = model.encode(train[stored], stored), []
            for query, label in zip(model.encode(test[queries], queries), asked, strict=True):
                hits = labels[np.argsort(np.bitwise_count(codes ^ query).sum(axis=1), kind="stable")] == label
                scores.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
            assert low < np.mean(scores) < 0.3
