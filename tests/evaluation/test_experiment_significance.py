"""Intervals and tests against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.evaluation import Counts, auprc
from hashdb.evaluation.experiment.significance import holm, interval, paired_p, resampled_auprc, resamples

from .conftest import PROPERTY


def exact_p(differences):
    """Share of sign patterns whose smaller rank sum is as small, from the definition."""
    ranks = np.abs(differences).argsort().argsort() + 1
    sums = [
        sum(r for r, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product([0, 1], repeat=len(ranks))
    ]
    most = ranks.sum()
    smaller = min(ranks[differences > 0].sum(), ranks[differences < 0].sum())
    return np.mean([min(one, most - one) <= smaller for one in sums])


@given(st.integers(2, 9), st.integers(0, 1000))
@PROPERTY
def test_the_test_counts_sign_patterns(n, seed):
    rng = np.random.default_rng(seed)
    values, baseline = rng.standard_normal(n) + 0.5, rng.standard_normal(n)
    assert paired_p(values, baseline) == pytest.approx(exact_p(values - baseline))


def test_what_cannot_be_tested_says_so():
    assert paired_p([1.0], [2.0]) is None
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert paired_p([0.3] * 10, [0.2] * 10) < 0.01


@given(st.lists(st.floats(0, 1), max_size=8))
@PROPERTY
def test_holm_is_the_step_down_procedure(p_values):
    corrected = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[place] * (len(p_values) - step) > alpha:
                break
            rejected.add(place)
        assert {i for i, p in enumerate(corrected) if p <= alpha} == rejected
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))


def test_the_interval_is_that_of_means_of_drawn_queries():
    rng = np.random.default_rng(0)
    values = [rng.random(200), rng.random(200) * 2]
    low, high = interval([resamples(200, seed) @ one / 200 for seed, one in enumerate(values)])
    means = [np.mean([one[rng.integers(0, 200, 200)].mean() for one in values]) for _ in range(4000)]
    assert low == pytest.approx(np.percentile(means, 2.5), abs=0.01)
    assert high == pytest.approx(np.percentile(means, 97.5), abs=0.01)
    assert (resamples(7, 1).sum(axis=1) == 7).all()
    assert (resamples(7, 1) == resamples(7, 1)).all()
    assert (resamples(7, 1) != resamples(7, 2)).any()


def test_the_area_of_a_resample_is_that_of_its_queries():
    rng = np.random.default_rng(1)
    counts = Counts.of(rng.integers(0, 4, (6, 2, 9)))
    areas = resampled_auprc(counts, 5)
    for drawn, area in zip(resamples(6, 5)[:50].astype(int), areas, strict=False):
        rows = np.repeat(np.arange(6), drawn)
        total, relevant = counts.total[rows], counts.relevant[rows]
        if total[:, -1].any() and relevant.any():
            assert area == pytest.approx(auprc(total, relevant))
