"""Models of kernels at anchors: margins by their definition, codes by the guard, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from hashdb_plugins import _anchor_margins, _anchors
from hashdb_plugins._elementary import exponential
from hashdb_plugins._parallel import workers


@pytest.fixture(autouse=True)
def guard_from_the_first_row(monkeypatch):
    """Few rows would go to the ordered sums at once, and the guard see none of them."""
    monkeypatch.setattr(_anchor_margins, "_FEW_ROWS", (0, 0))


PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LARGEST = float(np.finfo(np.float32).max)


def oracle(state, vectors):
    """The definition, one Python float at a time; the exponential and the rounding are NumPy's."""
    result = np.empty((len(vectors), len(state["bias"])), np.float32)
    for i, row in enumerate(vectors):
        totals = [0.0] * len(state["bias"])
        for anchor, weights in zip(state["anchors"], state["weights"], strict=True):
            square = 0.0
            for value, other in zip(row, anchor, strict=True):
                difference = float(value) - float(other)
                square += difference * difference
            value = float(exponential(np.array([-float(state["gamma"]) * square]))[0])
            totals = [total + value * float(weight) for total, weight in zip(totals, weights, strict=True)]
        result[i] = np.clip([t + float(b) for t, b in zip(totals, state["bias"], strict=True)], -LARGEST, LARGEST)
    return result


def same_bits(a, b):
    return a.dtype == b.dtype == np.float32 and np.array_equal(a.view(np.uint32), b.view(np.uint32))


def near_thresholds(state, rows, rng, n_steps=40):
    """Rows between which a bit changes, as close together as float32 allows; half of them on either side."""
    low, high = rows[rng.integers(0, len(rows), 80)], rows[rng.integers(0, len(rows), 80)]
    bits = [_anchors.project(state, part) > 0 for part in (low, high)]
    kept = (bits[0] != bits[1]).any(axis=1)
    low, high = low[kept], high[kept]
    which = (bits[0][kept] != bits[1][kept]).argmax(axis=1)
    below = bits[0][kept][np.arange(len(low)), which]
    for _ in range(n_steps):
        middle = ((low.astype(np.float64) + high) / 2).astype(np.float32)
        same = (_anchors.project(state, middle) > 0)[np.arange(len(low)), which] == below
        low, high = np.where(same[:, None], middle, low), np.where(same[:, None], high, middle)
    return np.ascontiguousarray(np.vstack([low, high]))


def model(rng, dim, m, n_bits, scale=1.0, shift=0.0, width=1.0, cancelling=True):
    """A model whose weights are large and of both signs, as those of a regression are, or not."""
    anchors = (scale * (rng.standard_normal((m, dim)) + shift)).astype(np.float32)
    gamma = width / (2 * dim * scale**2)
    weights = rng.standard_normal((m, n_bits))
    bias = rng.standard_normal(n_bits)
    if cancelling:
        values = _anchors.kernel(anchors, anchors, gamma).astype(np.float64)
        weights = np.linalg.solve(values + 1e-5 * np.eye(m), np.sign(weights))
        bias = -1e-3 * bias
    return _anchors.state_of(anchors, gamma, weights, bias)


@st.composite
def tasks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dim, m = draw(st.sampled_from((1, 3, 7, 64, 65, 200))), draw(st.sampled_from((1, 2, 40, 64, 130)))
    scale = 2.0 ** draw(st.sampled_from((0, 0, -3, 40, -40, 60, -60, 110, -120)))
    state = model(
        rng,
        dim,
        m,
        draw(st.sampled_from((1, 5, 16))),
        scale,
        draw(st.sampled_from((0.0, 3.0, 100.0))),
        draw(st.sampled_from((1.0, 0.1, 30.0))),
        draw(st.booleans()),
    )
    near = state["anchors"][rng.integers(0, m, 30)] + scale * rng.standard_normal((30, dim))
    return state, np.clip(near, -LARGEST, LARGEST).astype(np.float32), rng


@PROPERTY
@given(tasks())
def test_encode_is_the_sign_of_project_at_the_threshold(task):
    state, rows, rng = task
    hard = near_thresholds(state, rows, rng)
    for part in (hard, rows, state["anchors"]):
        assert np.array_equal(_anchors.encode(state, part), _anchors.project(state, part) > 0)


@PROPERTY
@given(tasks())
def test_the_guard_errs_by_less_than_its_bound(task):
    state, rows, _ = task
    exact = _anchor_margins._Ordered(state)
    wide = np.empty((len(rows), len(state["bias"])))
    values = exponential(
        -float(state["gamma"]) * ((rows[:, None].astype(np.float64) - state["anchors"]) ** 2).sum(axis=2)
    )
    wide = values @ state["weights"].astype(np.float64) + state["bias"]
    np.testing.assert_allclose(wide, exact.margins(rows), rtol=1e-6, atol=1e-9 * np.abs(state["weights"]).max() + 1e-30)
    for dtype, chunk in ((np.float32, 64), (np.float64, state["anchors"].shape[1])):
        products = _anchor_margins._Products(state, dtype, chunk)
        ((_, margins, bounds),) = products.margins(rows, np.arange(len(rows)))
        # The reference sums in another order than the definition: as much again as the bound of float64 allows.
        slack = 2.0**-36 * (values @ np.abs(state["weights"].astype(np.float64)))
        assert (np.abs(margins - wide) <= bounds + slack)[np.isfinite(bounds)].all()


@settings(PROPERTY, max_examples=15)
@given(tasks())
def test_project_is_its_definition(task):
    state, rows, _ = task
    assert same_bits(_anchors.project(state, rows[:3]), oracle(state, rows[:3]))


@pytest.mark.parametrize(
    ("n", "dim", "m", "n_bits"), [(1, 1, 1, 1), (15, 7, 5, 3), (33, 64, 70, 32), (50, 130, 33, 17)]
)
def test_the_kernel_gives_the_bits_of_numpy(monkeypatch, n, dim, m, n_bits):
    rng = np.random.default_rng(n)
    state = model(rng, dim, m, n_bits)
    rows = (1.5 * rng.standard_normal((n, dim))).astype(np.float32)
    rows[0] *= np.float32(1e10)
    rows[-1] = state["anchors"][-1]
    expected = _anchors.project(state, rows)
    for array in state.values():
        array.setflags(write=False)
    rows.setflags(write=False)
    monkeypatch.setattr(_anchor_margins, "_SMALL_WORK", 0)
    assert same_bits(_anchors.project(state, rows), expected)
    monkeypatch.setattr(_anchor_margins, "_THREADED_WORK", 0)
    monkeypatch.setenv("HASHDB_NUM_THREADS", "3")
    assert same_bits(_anchors.project(state, rows), expected)
    assert np.array_equal(_anchors.encode(state, rows), expected > 0)


def test_a_row_is_the_same_in_any_batch_block_and_number_of_threads(monkeypatch):
    rng = np.random.default_rng(1)
    state = model(rng, 100, 90, 24)
    rows = near_thresholds(state, rng.standard_normal((300, 100)).astype(np.float32), rng)
    rows = np.concatenate([rows, rng.standard_normal((200, 100)).astype(np.float32)])
    bits, values = _anchors.encode(state, rows), _anchors.project(state, rows)
    for part in (slice(0, 1), slice(5, 8), slice(20, 211), slice(None, None, 7)):
        assert np.array_equal(_anchors.encode(state, rows[part]), bits[part])
        assert same_bits(_anchors.project(state, rows[part]), np.ascontiguousarray(values[part]))
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            assert np.array_equal(_anchors.encode(state, rows), bits)
    monkeypatch.setattr(_anchor_margins, "_BLOCK_VALUES", 1)
    monkeypatch.setattr(_anchor_margins, "_THREADED_WORK", 0)
    assert np.array_equal(_anchors.encode(state, rows), bits)


def test_a_plain_product_would_flip_bits():
    rng = np.random.default_rng(6)
    state = model(rng, 60, 80, 16)
    rows = near_thresholds(state, rng.standard_normal((300, 60)).astype(np.float32), rng)
    bits = _anchors.encode(state, rows)
    assert np.array_equal(bits, _anchors.project(state, rows) > 0)
    plain = _anchors.kernel(rows, state["anchors"], float(state["gamma"])) @ state["weights"] + state["bias"] > 0
    assert (plain != bits).any()


@pytest.mark.parametrize("hopeless", [0.0, 2.0])
def test_where_the_guard_begins_and_ends_changes_nothing(monkeypatch, hopeless):
    rng = np.random.default_rng(2)
    state = model(rng, 30, 60, 16)
    rows = rng.standard_normal((400, 30)).astype(np.float32)
    expected = _anchors.encode(state, rows)
    assert np.array_equal(expected, _anchors.project(state, rows) > 0)
    for few in ((0, 0), (16, 64), (1000, 1000)):
        monkeypatch.setattr(_anchor_margins, "_FEW_ROWS", few)
        assert np.array_equal(_anchors.encode(state, rows), expected)
    monkeypatch.setattr(_anchor_margins, "_BLOCK_VALUES", 60 * 50)
    monkeypatch.setattr(_anchor_margins, "_FEW_ROWS", (0, 0))
    monkeypatch.setattr(_anchor_margins, "_HOPELESS", hopeless)
    assert np.array_equal(_anchors.encode(state, rows), expected)


def test_margins_that_cancel_everywhere_are_summed_in_order(monkeypatch):
    """Two anchors in the same place with opposite weights: every margin is 0 but for rounding; in threads as well."""
    rng = np.random.default_rng(3)
    anchors = rng.standard_normal((40, 20)).astype(np.float32).repeat(2, axis=0)
    weights = rng.standard_normal((40, 8)).repeat(2, axis=0) * np.tile([1, -1], 40)[:, None]
    weights[0] *= 1 + 1e-6
    state = _anchors.state_of(anchors, 0.02, weights, np.zeros(8))
    rows = rng.standard_normal((150, 20)).astype(np.float32)
    expected = _anchors.project(state, rows) > 0
    assert np.array_equal(_anchors.encode(state, rows), expected)
    monkeypatch.setattr(_anchor_margins, "_THREADED_WORK", 0)
    monkeypatch.setattr(_anchor_margins, "_SMALL_WORK", 0)
    assert np.array_equal(_anchors.encode(state, rows), expected)


def test_encoding_waits_for_no_fit(monkeypatch):
    rng = np.random.default_rng(7)
    state = model(rng, 20, 30, 8)
    rows = rng.standard_normal((100, 20)).astype(np.float32)
    expected = _anchors.encode(state, rows)
    monkeypatch.setattr(_anchor_margins, "_THREADED_WORK", 0)
    with workers(), ThreadPoolExecutor(1) as pool:
        assert np.array_equal(pool.submit(_anchors.encode, state, rows).result(timeout=60), expected)
        assert np.array_equal(_anchors.encode(state, rows), expected)


def test_a_bit_without_weights_is_that_of_its_bias():
    rng = np.random.default_rng(4)
    state = model(rng, 5, 20, 4)
    state["weights"][:, :3] = 0
    state["bias"][:3] = [0.0, 1e-300, 2.0]
    rows = rng.standard_normal((50, 5)).astype(np.float32)
    bits = _anchors.encode(state, rows)
    assert np.array_equal(bits, _anchors.project(state, rows) > 0)
    assert bits[:, :3].any(axis=0).tolist() == [False, False, True]


@pytest.mark.parametrize("exponent", [-149, -130, -60, 60, 100, 127])
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_extreme_sizes_stay_finite_and_agree(exponent, factor):
    rng = np.random.default_rng(5)
    with np.errstate(over="ignore"):
        rows = np.clip(np.ldexp(rng.standard_normal((60, 9)), exponent), -LARGEST, LARGEST).astype(np.float32)
    anchors = _anchors.random_anchors(rows, 20, rng)
    gamma = 1 / (_anchors.mean_square_distance(rows, anchors) or 1.0)
    state = _anchors.state_of(anchors, gamma * factor, rng.standard_normal((20, 6)), np.zeros(6))
    assert np.isfinite(_anchors.kernel(rows, anchors, gamma)).all()
    for part in (rows, np.zeros((2, 9), np.float32), np.full((2, 9), LARGEST, np.float32)):
        margins = _anchors.project(state, part)
        assert np.isfinite(margins).all()
        assert np.array_equal(_anchors.encode(state, part), margins > 0)


def test_no_rows_give_no_codes():
    state = model(np.random.default_rng(0), 4, 10, 3)
    empty = np.empty((0, 4), np.float32)
    assert _anchors.encode(state, empty).shape == _anchors.project(state, empty).shape == (0, 3)


def test_the_kernel_of_training_rows_is_that_of_the_model(vectors):
    anchors = _anchors.random_anchors(vectors, 50, np.random.default_rng(0))
    gamma = 1 / _anchors.mean_square_distance(vectors, anchors)
    squares = ((vectors[:, None].astype(np.float64) - anchors) ** 2).sum(axis=2)
    assert 1 / gamma == pytest.approx(squares.mean())
    found = _anchors.kernel(vectors, anchors, gamma)
    np.testing.assert_allclose(found, np.exp(-gamma * squares), rtol=2e-7)
    state = _anchors.state_of(anchors, gamma, np.eye(50), np.zeros(50))
    np.testing.assert_allclose(_anchors.project(state, vectors), found, rtol=2e-7)


def test_the_kernel_far_from_the_origin_keeps_its_digits(vectors):
    shifted = np.round(vectors * 64) / 64 + np.float32(4096)
    anchors = shifted[:20]
    squares = ((shifted[:, None].astype(np.float64) - anchors) ** 2).sum(axis=2)
    np.testing.assert_allclose(_anchors.kernel(shifted, anchors, 0.01), np.exp(-0.01 * squares), rtol=1e-6, atol=1e-30)


def test_random_anchors_are_different_rows(vectors):
    anchors = _anchors.random_anchors(vectors, 100, np.random.default_rng(0))
    assert anchors.shape == (100, 24)
    assert len(np.unique(anchors, axis=0)) == 100
    assert (anchors[:, None] == vectors).all(axis=2).any(axis=1).all()
    assert len(_anchors.random_anchors(vectors, 1000, np.random.default_rng(0))) == len(vectors)


def test_kmeans_anchors_are_nearer_than_random_ones_and_reproducible(vectors):
    def error(anchors):
        return ((vectors[:, None] - anchors) ** 2).sum(axis=2).min(axis=1).mean()

    anchors = _anchors.kmeans_anchors(vectors, 20, 3)
    assert np.array_equal(anchors, _anchors.kmeans_anchors(vectors, 20, 3))
    assert anchors.dtype == np.float32
    assert error(anchors) < error(_anchors.random_anchors(vectors, 20, np.random.default_rng(0)))
    large = _anchors.kmeans_anchors(np.ldexp(vectors, 90), 20, 3)
    np.testing.assert_allclose(np.ldexp(large, -90), anchors, rtol=1e-5, atol=1e-5)


def test_kmeans_anchors_of_few_distinct_rows_are_finite():
    rows = np.ones((10, 3), np.float32)
    assert np.isfinite(_anchors.kmeans_anchors(rows, 20, 0)).all()
