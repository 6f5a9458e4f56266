"""The order of methods that the field agrees on, on CIFAR-10: one seed and a small database here, the rest marked slow.

The margins are a third to a half of what was measured (docs/results.md), so that noise passes and a fault does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import hashdb
from hashdb.evaluation import LabelTruth, NearestTruth, evaluate, make_split


@dataclass(frozen=True)
class Setting:
    """A split of CIFAR-10 that methods are compared on."""

    vectors: np.ndarray
    labels: np.ndarray
    n_database: int | None
    n_neighbours: int = 100

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the queries, of the training set, of the database."""
        split = make_split(
            len(self.labels),
            self.labels,
            kind="standard",
            n_validation_queries=0,
            n_training=5000,
            n_validation_database=0,
            seed=seed,
        )
        database = split.test_database
        if self.n_database is not None:
            database = np.sort(np.random.default_rng(seed).choice(database, self.n_database, replace=False))
        return split.test_queries, split.training, database

    def by_class(self, method: str, n_bits: int, seed: int = 0, n_training: int = 5000) -> float:
        """Mean average precision by class, ties by row."""
        queries, training, database = self.parts(seed)
        training = training[:n_training]
        needs = method in ("ksh", "sdh", "itq-cca")
        model = hashdb.fit(
            self.vectors[training], method, n_bits, labels=self.labels[training] if needs else None, seed=seed
        )
        truth = LabelTruth(self.labels[queries], self.labels[database])
        codes, asked = model.encode(self.vectors[database]), model.encode(self.vectors[queries])
        return evaluate(codes, asked, truth, n_bits=model.n_stored_bits)["map_by_order"]

    def by_distance(self, quantiser: str | None, n_bits: int, seed: int = 0) -> float:
        """Mean average precision by nearest neighbours, principal components and a quantiser; expected over ties."""
        queries, training, database = self.parts(seed)
        queries = queries[:300]
        model = hashdb.fit(self.vectors[training], "pcah", n_bits, quantiser=quantiser, seed=seed)
        truth = NearestTruth(self.vectors[queries], self.vectors[database], self.n_neighbours)
        codes, asked = model.encode(self.vectors[database]), model.encode(self.vectors[queries])
        return evaluate(codes, asked, truth, n_bits=model.n_stored_bits)["map"]


def cifar(data, n_database):
    folder = data / "cifar10"
    labels = [np.load(folder / f"{part}_labels.npy").reshape(-1) for part in ("train", "test")]
    vectors = np.load(folder / "gist512_float16.npy").astype(np.float32)
    return Setting(vectors, np.concatenate(labels).astype(np.int64), n_database)


@pytest.fixture(scope="module")
def small(data):
    return cifar(data, 10_000)


def test_itq_beats_the_projections_it_starts_from_and_random_ones(small):
    itq = small.by_class("itq", 32)
    assert itq > small.by_class("pcah", 32) + 0.015
    assert itq > small.by_class("lsh", 32) + 0.01


def test_labels_are_worth_more_than_any_rotation(small):
    itq, ksh = small.by_class("itq", 32), small.by_class("ksh", 32, n_training=1000)
    assert ksh > itq + 0.03
    assert small.by_class("sdh", 32) > ksh + 0.03


@pytest.mark.parametrize("quantiser", ["dbq", "mhq", "npq"])
def test_two_bits_a_principal_component_find_more_neighbours_than_one(small, quantiser):
    assert small.by_distance(quantiser, 32) > small.by_distance(None, 32) + 0.005


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_order_holds_on_the_whole_data_set(data, seed):
    whole = cifar(data, None)
    for n_bits in (16, 32):
        itq = whole.by_class("itq", n_bits, seed)
        assert itq > whole.by_class("pcah", n_bits, seed) + 0.01
        assert itq > whole.by_class("lsh", n_bits, seed) + 0.01
        ksh = whole.by_class("ksh", n_bits, seed, n_training=2000)
        assert ksh > itq + 0.05
        assert whole.by_class("sdh", n_bits, seed) > ksh + 0.03
    for quantiser in ("dbq", "mhq", "npq", "vbq"):
        assert whole.by_distance(quantiser, 32, seed) > whole.by_distance(None, 32, seed) + 0.005
