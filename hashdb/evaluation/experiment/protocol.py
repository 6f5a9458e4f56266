"""The protocol of an experiment: everything that all of its cells share, and that no one may change in its middle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError
from hashdb.evaluation.experiment.material import Material
from hashdb.evaluation.metrics import whole_numbers
from hashdb.evaluation.ranking import MOST_CODES
from hashdb.inputs.formats import nearest
from hashdb.search.rerank import check_metric

SPLITS = ("improved", "standard", "given")
TRUTHS = ("labels", "nearest", "epsilon")
POLICIES = ("predicted", "learned", "both")
SEARCHES = ("grid", "random")
PARTS = ("test_queries", "validation_queries", "training", "validation_database")

# Of the survey; where all of them would leave too little of a small data set, parts of it instead.
_SIZES = {"test_queries": 1000, "validation_queries": 1000, "training": 2000, "validation_database": 10_000}
_SHARES = {"test_queries": 0.1, "validation_queries": 0.1, "training": 0.3, "validation_database": 0.2}
_SMALL = 17_500
_GIVEN = ("test_queries", "training")  # of a given split, all rows that there are where no size is given


@dataclass(frozen=True)
class Protocol:
    """How every method of an experiment is measured.

    Attributes
    ----------
    split : str
        ``improved``: five disjoint parts. ``standard``: test queries search everything else. ``given``: the partition
        that comes with the data, whose training rows are the database.
    sizes : mapping of str to int, or None
        Of the parts ``test_queries``, ``validation_queries``, ``training``, ``validation_database``. Those left out
        have the sizes of the survey (1,000, 1,000, 2,000 and 10,000 rows), or below 17,500 rows at most 10 %, 10 %,
        30 % and 20 % of them. A ``training`` of None takes all that remains of a standard split. In a given split
        ``test_queries`` and ``training`` are all that there are, or so many of them at random.
    truth : str, optional
        ``labels``, ``nearest`` or ``epsilon``. Default: labels where there are any, else nearest.
    neighbours : int
        Rows that are relevant where the truth is nearest.
    metric : str, optional
        ``l2``, ``cosine`` or ``ip``, of the truth nearest. Default: that of the data set, else ``l2``.
    epsilon_neighbour, epsilon_sample : int
        Epsilon is the mean distance of so many sampled rows to their so-manieth nearest.
    queries : str
        ``own``: queries that come with the data replace the test queries, unless the truth is labels. ``drawn``.
    unmatched : str, optional
        What is done about queries to which nothing is relevant: ``error``, or ``count`` them as 0. Default: ``error``,
        and for epsilon, which leaves outliers alone, ``count``.
    database_codes : str
        ``predicted``; ``learned`` in training, where the database is the training rows; or ``both``.
    tune : str, optional
        ``grid`` or ``random`` search for params on the validation parts.
    trials : int
        Of a random search.
    train_by_method : bool
        Whether a method takes no more of the training part than it does by default.
    at, radius : tuple of int
        Where rankings are cut, and radii of lookups.
    seed : int
        Run r draws its split and fits with ``seed + r``.
    """

    split: str = "improved"
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    truth: str | None = None
    neighbours: int = 50
    metric: str | None = None
    epsilon_neighbour: int = 50
    epsilon_sample: int = 100
    queries: str = "own"
    unmatched: str | None = None
    database_codes: str = "predicted"
    tune: str | None = None
    trials: int = 20
    train_by_method: bool = True
    at: tuple[int, ...] = (100, 1000)
    radius: tuple[int, ...] = (2,)
    seed: int = 0

    def check(self) -> None:
        """Raise ArgumentError for a value outside its choices."""
        _one_of("split", self.split, SPLITS)
        _one_of("queries", self.queries, ("own", "drawn"))
        _one_of("database_codes", self.database_codes, POLICIES)
        for name, value, choices in (
            ("truth", self.truth, TRUTHS),
            ("unmatched", self.unmatched, ("error", "count")),
            ("tune", self.tune, SEARCHES),
        ):
            if value is not None:
                _one_of(name, value, choices)
        if self.metric is not None:
            check_metric(self.metric)
        for name in ("neighbours", "epsilon_neighbour", "epsilon_sample", "trials"):
            whole_numbers(name, getattr(self, name), 1)
        whole_numbers("seed", self.seed, 0)
        whole_numbers("at", self.at, 1, MOST_CODES)
        radii = whole_numbers("radius", self.radius, 0)
        for radius in radii:
            if radii.count(radius) > 1:
                raise ArgumentError(f"radius has {radius} twice, expected each number once")
        for part, size in self.sizes.items():
            _one_of("part", part, PARTS)
            if size is not None or part != "training":
                whole_numbers(part, size if size is not None else -1, 1 if part in ("test_queries", "training") else 0)
        self._check_combination()

    def _check_combination(self) -> None:
        if self.split == "improved" and "training" in self.sizes and self.sizes["training"] is None:
            raise ArgumentError(
                "training is all that remains, but an improved split keeps a test database; give a size"
            )
        if self.split == "improved" and self.database_codes != "predicted":
            raise ArgumentError(
                f"database_codes is {self.database_codes!r}, but learned codes need the training rows to be the "
                "database, and an improved split keeps these apart: choose the split given, or standard with all rows "
                "that remain in training (--train all) and validation parts of 0"
            )
        if self.split == "given" and self.tune is not None:
            raise ArgumentError("tuning needs validation parts, which a given split has none of; choose improved")

    def settled(self, material: Material) -> Protocol:
        """Fill in what depends on the data, and check that both go together."""
        self.check()
        truth = self.truth or ("nearest" if material.labels is None else "labels")
        values = asdict(self) | {
            "truth": truth,
            "metric": self.metric or material.metric or "l2",
            "unmatched": self.unmatched or ("count" if truth == "epsilon" else "error"),
            "sizes": self._sizes(material),
            "queries": "drawn" if material.queries is None or truth == "labels" else self.queries,
        }
        settled = Protocol(**values)
        settled._check_material(material)
        return settled

    def _sizes(self, material: Material) -> dict[str, int | None]:
        if self.split == "given":
            return {part: self.sizes.get(part) if part in _GIVEN else 0 for part in PARTS}
        usual = _SIZES
        if material.n_rows < _SMALL:
            usual = {part: min(size, int(_SHARES[part] * material.n_rows)) for part, size in _SIZES.items()}
        return {part: self.sizes.get(part, usual[part]) for part in PARTS}

    def _check_material(self, material: Material) -> None:
        if self.truth == "labels":
            _check_labels(material)
        elif len(material.vectors) > 1:
            raise ArgumentError(
                f"truth is {self.truth!r}, which compares vectors, but {material.name} has the modalities "
                f"{', '.join(material.vectors)}, expected the truth labels"
            )
        if self.tune is not None and not (self.sizes["validation_queries"] and self.sizes["validation_database"]):
            raise ArgumentError("tuning needs validation queries and a validation database, expected sizes from 1")
        if self.split == "given" and material.n_train is None and self.queries != "own":
            raise ArgumentError(
                f"{material.name} comes without a partition into training and test rows; choose the split improved or "
                "standard"
            )


def _check_labels(material: Material) -> None:
    labels = material.labels
    if labels is None:
        raise ArgumentError(
            f"truth is labels, but {material.name} has none; choose the truth nearest or epsilon, or add labels"
        )
    found = np.unique(labels[labels >= 0]) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
    if len(found) < 2:
        many = "one class" if len(found) else "no labelled row"
        raise ArgumentError(f"labels of {material.name} have {many}, so that nothing can be told apart; expected two")


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = nearest(str(value), choices)
        raise ArgumentError(f"{name} is {value!r}, expected one of {', '.join(choices)}{hint}")
