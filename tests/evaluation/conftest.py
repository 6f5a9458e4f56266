"""Rankings with ties, slow definitions that share no code with the package, and experiments that are watched."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hashdb.evaluation.experiment.measuring import Measuring

PROPERTY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def rankings(max_size=6, max_distance=3, max_grade=1):
    """Lists of (distance, grade), one for each row of a database."""
    return st.lists(st.tuples(st.integers(0, max_distance), st.integers(0, max_grade)), min_size=1, max_size=max_size)


def counts_of(rows, n_distances=None, n_grades=1):
    """Count a ranking by grade and distance, (1, n_grades + 1, n_distances)."""
    n_distances = n_distances or 1 + max(distance for distance, _ in rows)
    counts = np.zeros((1, n_grades + 1, n_distances), np.int64)
    for distance, grade in rows:
        counts[0, grade, distance] += 1
    return counts


def total_and_relevant(rows, n_distances=None):
    counts = counts_of(rows, n_distances)
    return counts.sum(axis=1), counts[:, 1]


def every_order(rows):
    """Give the grades in each order that sorting by distance may lead to."""
    for order in itertools.permutations(rows):
        if all(one[0] <= two[0] for one, two in itertools.pairwise(order)):
            yield [grade for _, grade in order]


def slow_average_precision(grades, at=None, normaliser="found"):
    """Average precision of one order, from the definition."""
    within = grades[: at if at is not None else len(grades)]
    precisions = [sum(g > 0 for g in within[:p]) / p for p in range(1, len(within) + 1) if within[p - 1] > 0]
    divisor = len(precisions)
    if at is not None and normaliser == "possible":
        divisor = min(at, sum(g > 0 for g in grades))
    return sum(precisions) / divisor if divisor else 0.0


def slow_ndcg(grades, k, gain="exponential"):
    def dcg(order):
        return sum((2**g - 1 if gain == "exponential" else g) / math.log2(p + 2) for p, g in enumerate(order[:k]))

    ideal = dcg(sorted(grades, reverse=True))
    return dcg(grades) / ideal if ideal else 0.0


@pytest.fixture
def without_a_report(monkeypatch):
    """Pages take seconds, and have tests of their own."""
    monkeypatch.setattr("hashdb.evaluation.report.missing", lambda: ["matplotlib"])


@pytest.fixture
def measured(monkeypatch):
    """Name the units that are measured."""
    names = []
    measure = Measuring.measure

    def noted(self):
        names.append(self._unit.name)
        return measure(self)

    monkeypatch.setattr(Measuring, "measure", noted)
    return names
