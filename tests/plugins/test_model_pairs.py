"""Pairs of neighbours that a quantiser learns from share a label or lie within epsilon."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashdb.model import fit, pairs

PAIRED_QUANTISER = """
seen = {}

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="nosy-q", title="Nosy", paper="", year=0, kind="quantiser")

@hashdb.hookimpl
def n_projections(n_bits):
    return n_bits

@hashdb.hookimpl
def fit_quantiser(projections, neighbours):
    seen.update(projections=projections, neighbours=neighbours)
    return {}

@hashdb.hookimpl
def quantise(projections):
    return projections
"""


def test_neighbours_share_a_label(vectors, install) -> None:
    from hashdb import registry

    name = install("nosy-q", PAIRED_QUANTISER)
    labels = np.arange(500) % 7 - 1
    fit(vectors, "lsh", 4, quantiser=name, labels=labels)
    import sys

    seen = sys.modules[registry.claims_of(name)[0].value].seen
    kept = labels[labels >= 0]
    assert len(seen["projections"]) == len(kept)
    expected = [(i, j) for i in range(len(kept)) for j in range(i + 1, len(kept)) if kept[i] == kept[j]]
    assert [tuple(pair) for pair in seen["neighbours"]] == expected


def test_neighbours_share_any_of_several_labels() -> None:
    labels = np.random.default_rng(0).random((60, 5)) < 0.2
    expected = [(i, j) for i in range(60) for j in range(i + 1, 60) if (labels[i] & labels[j]).any()]
    assert [tuple(pair) for pair in pairs.by_label(labels)] == expected


@given(st.integers(1, 300), st.integers(0, 20))
@example(2, 14)  # epsilon is the one distance there is
@settings(deadline=None, max_examples=30)
def test_neighbours_lie_within_epsilon(n: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32)
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    asked = np.random.default_rng(seed).choice(n, min(100, n), replace=False)
    rank = min(50, max(2, int(np.ceil(n / 40))), n)
    epsilon = np.sort(distances[asked], axis=1)[:, rank - 1].mean()
    assert pairs.epsilon(vectors, seed) == pytest.approx(epsilon)
    expected = [(i, j) for i in range(n) for j in range(i + 1, n) if distances[i, j] <= epsilon * (1 + 1e-10)]
    found = [tuple(pair) for pair in pairs.within_epsilon(vectors, np.arange(n), seed)]
    assert found == expected


def test_at_most_2000_rows_make_pairs() -> None:
    rows = pairs.choose_rows(5000, None, 3)
    assert len(rows) == 2000
    assert (np.diff(rows) > 0).all()
    labelled = pairs.choose_rows(5000, np.arange(5000) % 2 - 1, 3)
    assert len(labelled) == 2000
    assert (labelled % 2 == 1).all()
