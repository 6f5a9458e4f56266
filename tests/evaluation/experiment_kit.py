"""Small data to experiment on, and a protocol for them."""

from __future__ import annotations

import numpy as np

from hashdb.datasets import Dataset
from hashdb.evaluation import Protocol

N = 240
SIZES = {"test_queries": 20, "validation_queries": 16, "training": 80, "validation_database": 50}
SMALL = Protocol(sizes=SIZES, at=(5, 40), radius=(1,))


def points(n=N, dim=10, n_classes=4, seed=0):
    """Rows around a centre for each class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return (rng.standard_normal((n, dim)) + 2 * rng.standard_normal((n_classes, dim))[labels]).astype(
        np.float32
    ), labels


def dataset(**changes):
    vectors, labels = points()
    return Dataset(**{"name": "points", "vectors": vectors, "labels": labels, **changes})


def pairs(n=N, n_train=None):
    vectors, labels = points(n)
    other = np.tanh(vectors @ np.random.default_rng(1).standard_normal((10, 7)).astype(np.float32))
    return Dataset("pairs", {"image": vectors, "text": other}, labels, n_train=n_train)
