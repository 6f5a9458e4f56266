"""One run's split with its ground truths: who asks, who is found, and what is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError
from hashdb.evaluation.drawing import Rows
from hashdb.evaluation.experiment.material import Material
from hashdb.evaluation.experiment.protocol import Protocol
from hashdb.evaluation.neighbour_truth import EpsilonTruth, NearestTruth, choose_epsilon
from hashdb.evaluation.splits import Split, make_split
from hashdb.evaluation.truth import LabelTruth, ListTruth, Truth

_PAIRS_AT_ONCE = 1 << 24
_OPTIONS = {
    "test_queries": "--test-queries",
    "validation_queries": "--validation-queries",
    "training": "--train",
    "validation_database": "--validation-database",
}


@dataclass(frozen=True, eq=False)
class Round:
    """A run.

    Attributes
    ----------
    run, seed : int
    split : Split
    own : ndarray of int64, or None
        Rows of the data set's own queries that ask in place of test queries.
    test, validation : Truth
        ``validation`` is None where nothing is tuned.
    epsilon : float or None
    """

    run: int
    seed: int
    split: Split
    own: Rows | None
    test: Truth
    validation: Truth | None
    epsilon: float | None = None

    def asked(self, material: Material, modality: str = "") -> NDArray[Any]:
        """Give the vectors of the test queries."""
        if self.own is not None and material.queries is not None:
            return material.queries[self.own]
        return material.vectors[modality][self.split.test_queries]


def prepare(
    material: Material, protocol: Protocol, run: int, cache: Path | None, n_threads: int | None = None
) -> Round:
    """Draw the split of a run and compute its ground truths.

    Parameters
    ----------
    material : Material
    protocol : Protocol
        Settled.
    run : int
    cache : Path, optional
        Where ground truths by distance are kept.
    n_threads : int, optional

    Returns
    -------
    Round

    Raises
    ------
    ArgumentError
        The parts are larger than the data, or the truth asks for more rows than there are.
    """
    seed = protocol.seed + run
    own = _own_queries(material, protocol, seed)
    split = _split(material, protocol, seed, own)
    truths = _Truths(material, protocol, split, cache, n_threads)
    asked = material.queries[own] if own is not None and material.queries is not None else split.test_queries
    epsilon = truths.choose_epsilon(seed) if protocol.truth == "epsilon" else None
    test = truths.make(asked, split.test_database, epsilon)
    validation = None
    if protocol.tune is not None:
        validation = truths.make(split.validation_queries, split.validation_database, epsilon)
    return Round(run, seed, split, own, test, validation, epsilon)


def check_round(one: Round, protocol: Protocol) -> int:
    """Count the test queries to which nothing is relevant; raise ArgumentError where that is not allowed.

    A run in which this is so of every query is always refused, as are validation queries of that kind.
    """
    for name, truth in (("test", one.test), ("validation", one.validation)):
        if truth is None:
            continue
        none = np.flatnonzero(_n_relevant(truth) == 0)
        if len(none) == truth.n_queries or (none.size and protocol.unmatched == "error"):
            many = f"{len(none):,} of {truth.n_queries:,} {name} queries of run {one.run}"
            remedy = "; count them as 0 with --unmatched count" if len(none) < truth.n_queries else ""
            raise ArgumentError(
                f"nothing in the database is relevant to {many}{_first(one, name, none)}; expected something for each: "
                f"draw other parts (--seed, larger databases) or remove rare labels{remedy}"
            )
        if name == "test":
            unmatched = len(none)
    return unmatched


def _first(one: Round, name: str, none: Rows) -> str:
    if name == "test" and one.own is not None:
        return f", the first is query {one.own[none[0]]}"
    rows = one.split.test_queries if name == "test" else one.split.validation_queries
    return f", the first is row {rows[none[0]]}"


def _own_queries(material: Material, protocol: Protocol, seed: int) -> Rows | None:
    """Choose among the data set's own queries, all of them where no more are asked for."""
    if protocol.queries != "own" or material.queries is None:
        return None
    n, wanted = len(material.queries), protocol.sizes["test_queries"]
    if wanted is None or wanted >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:wanted])


def _split(material: Material, protocol: Protocol, seed: int, own: Rows | None) -> Split:
    sizes = dict(protocol.sizes) | ({} if own is None else {"test_queries": 0})
    if protocol.split == "given":
        return _given(material, sizes, seed, own)
    try:
        return make_split(
            material.n_rows,
            material.labels,
            kind=protocol.split,
            n_test_queries=sizes["test_queries"] or 0,
            n_validation_queries=sizes["validation_queries"] or 0,
            n_training=sizes["training"],
            n_validation_database=sizes["validation_database"] or 0,
            seed=seed,
        )
    except ArgumentError as error:
        asked = ", ".join(f"{_OPTIONS[part]} {'all' if size is None else size}" for part, size in sizes.items())
        raise ArgumentError(f"{material.name} cannot be split so: {error} (the parts are {asked})") from error


def _given(material: Material, sizes: dict[str, int | None], seed: int, own: Rows | None) -> Split:
    """Take the publishers' partition: what they train on is searched, too."""
    n_train = material.n_rows if own is not None or material.n_train is None else material.n_train
    if own is None and n_train == material.n_rows:
        raise ArgumentError(
            f"the partition of {material.name} leaves no row to ask; choose the split improved or standard"
        )
    wanted = sizes["training"]
    if wanted is not None and wanted > n_train:
        raise ArgumentError(f"training asks for {wanted:,} of {n_train:,} rows that {material.name} has for it")
    rng = np.random.default_rng(seed)
    training = rng.permutation(n_train)[:wanted]
    rest = rng.permutation(np.arange(n_train, material.n_rows))[: sizes["test_queries"] if own is None else 0]
    none = np.empty(0, np.int64)
    return Split(material.n_rows, rest, none, training, none, np.arange(n_train), kind="given", seed=seed)


class _Truths:
    """Makes the ground truths of one split."""

    def __init__(
        self, material: Material, protocol: Protocol, split: Split, cache: Path | None, n_threads: int | None
    ) -> None:
        self._material, self._protocol, self._split = material, protocol, split
        self._options: dict[str, Any] = {"folder": cache, "split": split, "n_threads": n_threads}

    def make(self, asked: NDArray[Any], database: Rows, epsilon: float | None) -> Truth:
        """Make the truth of queries, given as rows of the data set or as vectors, and rows of a database."""
        labels = self._material.labels
        if self._protocol.truth == "labels" and labels is not None:
            return LabelTruth(labels[asked], labels[database], graded=labels.ndim == 2)
        vectors = next(iter(self._material.vectors.values()))
        queries = vectors[asked] if asked.ndim == 1 else asked
        if epsilon is not None:
            return EpsilonTruth(queries, vectors[database], epsilon, **self._options)
        k = self._protocol.neighbours
        if k >= len(database):
            raise ArgumentError(f"neighbours is {k:,}, expected fewer than the {len(database):,} rows of the database")
        return NearestTruth(queries, vectors[database], k, metric=str(self._protocol.metric), **self._options)

    def choose_epsilon(self, seed: int) -> float:
        """Choose epsilon by all rows but the test queries."""
        rows = np.delete(np.arange(self._material.n_rows), self._split.test_queries)
        vectors = next(iter(self._material.vectors.values()))
        protocol = self._protocol
        return choose_epsilon(
            vectors[rows], n_neighbour=protocol.epsilon_neighbour, n_sample=protocol.epsilon_sample, seed=seed
        )


def _n_relevant(truth: Truth) -> Rows:
    if isinstance(truth, ListTruth):
        return np.diff(truth.starts)
    step = max(1, _PAIRS_AT_ONCE // truth.n_database)
    parts = [
        np.count_nonzero(truth.grades(start, min(start + step, truth.n_queries)), axis=1)
        for start in range(0, truth.n_queries, step)
    ]
    return np.concatenate(parts).astype(np.int64)
