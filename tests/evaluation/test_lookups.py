"""Lookups within a radius, and the area under the curve of precision over recall."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.evaluation import auprc, lookup, precision_recall

from .conftest import PROPERTY, counts_of, rankings

SEVERAL = st.lists(rankings(max_size=12, max_distance=5), min_size=1, max_size=5)


def stacked(several):
    counts = np.concatenate([counts_of(rows, 6) for rows in several])
    return counts.sum(axis=1), counts[:, 1]


def slow_auprc(several, to_the_end):
    """The double loop over radii and pairs."""
    pairs = [pair for rows in several for pair in rows]
    all_good = sum(grade for _, grade in pairs)
    points = []
    for radius in range(max(distance for distance, _ in pairs) + to_the_end):
        found = [grade for distance, grade in pairs if distance <= radius]
        precision = sum(found) / len(found) if found else 0.0
        recall = sum(found) / all_good if all_good else 0.0
        points.append((recall, precision))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


@given(SEVERAL, st.booleans())
@PROPERTY
def test_auprc_is_that_of_a_double_loop(several, to_the_end):
    total, relevant = stacked(several)
    assert auprc(total, relevant, to_the_end=to_the_end) == pytest.approx(slow_auprc(several, to_the_end), abs=1e-12)


@given(SEVERAL, st.integers(0, 7))
@PROPERTY
def test_lookups_are_means_of_each_query(several, radius):
    precisions, recalls, f1s, empty = [], [], [], 0
    for rows in several:
        found = [grade for distance, grade in rows if distance <= radius]
        good, relevant = sum(found), sum(grade for _, grade in rows)
        p, r = (good / len(found) if found else 0), (good / relevant if relevant else 0)
        precisions.append(p)
        recalls.append(r)
        f1s.append(2 * p * r / (p + r) if p + r else 0)
        empty += not found
    wanted = (*(np.mean(values) for values in (precisions, recalls, f1s)), empty / len(several))
    np.testing.assert_allclose(lookup(*stacked(several), radius), wanted, atol=1e-12)


def test_the_curve_ends_before_the_largest_distance_and_starts_where_something_is_found():
    total, relevant = np.array([[0, 4, 0, 4, 0]]), np.array([[0, 2, 0, 2, 0]])
    recall, precision = precision_recall(total, relevant)
    assert recall.tolist() == [0, 0.5, 0.5]
    assert precision.tolist() == [0, 0.5, 0.5]
    assert precision_recall(total, relevant, to_the_end=True)[0].tolist() == [0, 0.5, 0.5, 1]


def test_a_curve_of_one_point_has_no_area():
    assert auprc(np.array([[5, 0]]), np.array([[5, 0]])) == 0
    assert auprc(np.array([[5, 1]]), np.array([[5, 0]])) == 0


def test_perfect_codes_have_the_whole_area_from_the_first_point_on():
    assert auprc(np.array([[2, 2, 6]]), np.array([[2, 2, 0]])) == 0.5
