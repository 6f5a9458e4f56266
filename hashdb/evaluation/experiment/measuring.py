"""One unit measured: tune, fit, build an index, let it be searched, compute every measure."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hashdb
from hashdb.codes import Codes, n_words_of, unpack
from hashdb.errors import ArgumentError
from hashdb.evaluation.bits import code_statistics, quantisation_error
from hashdb.evaluation.counts import Counts
from hashdb.evaluation.drawing import Rows
from hashdb.evaluation.experiment.material import Material
from hashdb.evaluation.experiment.protocol import Protocol
from hashdb.evaluation.experiment.rounds import Round
from hashdb.evaluation.experiment.searching import curves, rank
from hashdb.evaluation.experiment.significance import resampled_auprc
from hashdb.evaluation.experiment.tuning import tune
from hashdb.evaluation.experiment.units import Unit
from hashdb.evaluation.lookups import auprc
from hashdb.evaluation.metrics import Ordered, measures_by_query
from hashdb.evaluation.truth import LabelTruth
from hashdb.index import Index
from hashdb.inputs.formats import nearest
from hashdb.model import Model

Arrays = dict[str, NDArray[Any]]

_ERROR_ROWS = 10_000  # of the quantisation error
_ERRORS = ("quantisation_error", "quantisation_error_scaled")
_NEIGHBOURS = 100  # of the search that is timed
_SHOWN_QUERIES, _SHOWN_NEIGHBOURS = 10, 10


@dataclass(frozen=True)
class Part:
    """One way in which a model is measured: who asks, whom, and by which codes of the database."""

    query: str
    database: str
    policy: str


class Measuring:
    """Measures a unit.

    Parameters
    ----------
    material : Material
    protocol : Protocol
        Settled.
    unit : Unit
    one : Round
        Of the unit's run.
    """

    def __init__(self, material: Material, protocol: Protocol, unit: Unit, one: Round) -> None:
        self._material, self._protocol, self._unit, self._round = material, protocol, unit, one

    def measure(self) -> tuple[dict[str, Any], Arrays]:
        """Tune, fit and measure.

        Returns
        -------
        record : dict
            JSON-able: ``params`` as given, ``all_params``, ``chosen``, ``trials``, and ``parts``, a dict for each
            :class:`Part`. Or ``refused``, why the method refused the data.
        arrays : dict of str to ndarray
            ``N.values``, float64 (n_metrics, n_queries), of part N, and ``N.auprc``, its resampled areas.
        """
        arrays: Arrays = {}
        try:
            chosen, trials = self._tune()
            start = time.perf_counter()
            model = self._fit(chosen)
            seconds = time.perf_counter() - start
            parts = []
            for number, part in enumerate(self._parts(model)):
                found, by_query, areas = self._measure_part(model, part)
                found["seconds"] = {"fit": seconds, **found["seconds"]}
                parts.append(found | {"by_query": list(by_query)})
                arrays |= {f"{number}.values": np.stack(list(by_query.values())), f"{number}.auprc": areas}
        except ArgumentError as error:
            return {"refused": str(error)}, {}
        scheme = self._unit.scheme
        params = {"params": _short(dict(scheme.params)), "all_params": scheme.complete(self._unit.n_bits, chosen)}
        return {**params, "chosen": _short(chosen), "trials": trials, "parts": parts}, arrays

    def training_rows(self) -> Rows:
        """Give the rows to train on, ascending: what the user says, else at most the method's own number."""
        rows = self._round.split.training
        limit = self._unit.scheme.info.default_train
        if self._protocol.train_by_method and limit is not None:
            rows = rows[:limit]
        return np.sort(rows)

    def _tune(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        protocol = self._protocol
        if protocol.tune is None:
            return {}, []
        chosen, trials = tune(self._unit, protocol.tune, protocol.trials, self._round.seed, self._validate)
        return chosen, [trial | {"params": _short(trial["params"])} for trial in trials]

    def _validate(self, params: dict[str, Any]) -> float:
        """Give the mean average precision on the validation parts, over all directions."""
        truth = self._round.validation
        if truth is None:
            raise ArgumentError("this split has no validation parts, which tuning needs; choose one that has")
        split, model, values = self._round.split, self._fit(params), []
        for query, database in self._directions():
            asked = model.encode(self._material.vectors[query][split.validation_queries], query or None)
            codes = model.encode(self._material.vectors[database][split.validation_database], database or None)
            with tempfile.TemporaryDirectory() as folder, _index_of(Path(folder), codes, model.n_stored_bits) as index:
                values.append(float(measures_by_query(rank(index, asked, truth), radius=())["map"].mean()))
        return float(np.mean(values))

    def _fit(self, chosen: dict[str, Any]) -> Model:
        material, scheme = self._material, self._unit.scheme
        rows = self.training_rows()
        training = {name: vectors[rows] for name, vectors in material.vectors.items()}
        takes_labels = scheme.info.takes_labels and material.labels is not None
        return hashdb.fit(
            training if material.is_paired else training[""],
            scheme.method,
            self._unit.n_bits,
            quantiser=scheme.quantiser,
            params={**scheme.params, **chosen},
            labels=material.labels[rows] if takes_labels and material.labels is not None else None,
            seed=self._round.seed,
        )

    def _directions(self) -> list[tuple[str, str]]:
        return list(permutations(self._material.vectors, 2)) if self._material.is_paired else [("", "")]

    def _parts(self, model: Model) -> Iterator[Part]:
        policy = self._protocol.database_codes
        learned = model.training_codes is not None
        if policy == "learned" and not learned:
            raise ArgumentError(f"{self._unit.scheme.name} learns no codes of its training rows, only predicts them")
        if policy != "predicted" and learned:
            self._check_learned()
        for query, database in self._directions():
            if policy != "learned":
                yield Part(query, database, "predicted")
            if policy != "predicted" and learned:
                yield Part(query, database, "learned")

    def _check_learned(self) -> None:
        rows, database = self.training_rows(), self._round.split.test_database
        if not np.array_equal(rows, database):
            raise ArgumentError(
                f"learned codes need the database to be the training rows, but {len(rows):,} rows train and "
                f"{len(database):,} are searched: choose the split given, or standard with all rows that remain in "
                "training and validation parts of 0, and a method that trains on so many"
            )

    def _measure_part(self, model: Model, part: Part) -> tuple[dict[str, Any], Arrays, NDArray[np.float64]]:
        asked = model.encode(self._round.asked(self._material, part.query), part.query or None)
        rows = self._material.vectors[part.database][self._round.split.test_database]
        start = time.perf_counter()
        codes = model.encode(rows, part.database or None)
        seconds = {"encode": time.perf_counter() - start}
        if part.policy == "learned" and model.training_codes is not None:
            codes = model.training_codes
        with tempfile.TemporaryDirectory() as folder, _index_of(Path(folder), codes, model.n_stored_bits) as index:
            seconds["query"] = _time_search(index, asked)
            found, by_query, areas = self._search(index, asked)
            found["metrics"] |= code_statistics(codes, model.n_stored_bits)
            found["gallery"] = self._gallery(index, asked)
        found["metrics"] |= _errors(model, rows, part.database)
        facts = {"query": part.query or None, "database": part.database or None, "database_codes": part.policy}
        n_bytes = 8 * n_words_of(model.n_stored_bits)
        return facts | found | {"seconds": seconds, "bytes_per_code": n_bytes}, by_query, areas

    def _search(self, index: Index, asked: Codes) -> tuple[dict[str, Any], Arrays, NDArray[np.float64]]:
        """Rank everything and compute what depends on the rankings and the codes."""
        truth, protocol = self._round.test, self._protocol
        ordered = Ordered(truth, at=protocol.at)
        counts = rank(index, asked, truth, ordered)
        by_query = measures_by_query(counts, at=protocol.at, radius=protocol.radius) | ordered.by_query()
        for radius in protocol.radius:
            by_query[f"empty@{radius}"] = by_query.pop(f"nothing_within_{radius}")
        metrics = {name: float(values.mean()) for name, values in by_query.items()}
        metrics["auprc"] = auprc(counts.total, counts.relevant)
        metrics["queries_without_relevant"] = int((counts.n_relevant == 0).sum())
        found = {"n_stored_bits": index.model.n_stored_bits, "metrics": metrics, "curves": curves(counts)}
        return found, by_query, resampled_auprc(counts, self._round.seed)

    def _gallery(self, index: Index, asked: Codes) -> list[dict[str, Any]]:
        """List what a few queries of the first run find."""
        one = self._round
        if self._unit.run or one.own is not None or self._material.is_paired:
            return []
        pictured = np.isin(one.split.test_queries, self._material.pictured)
        queries = np.argsort(~pictured, kind="stable")[:_SHOWN_QUERIES]
        shown = []
        for query, (rows, distances) in zip(
            queries.tolist(), index.query_codes(asked[queries], k=_SHOWN_NEIGHBOURS), strict=True
        ):
            grades = one.test.grades(query, query + 1)[0]
            neighbours = [
                {**self._named(one.split.test_database[row]), "distance": int(distance), "relevant": bool(grade)}
                for row, distance, grade in zip(rows, distances, grades[rows], strict=True)
            ]
            shown.append({**self._named(one.split.test_queries[query]), "neighbours": neighbours})
        return shown

    def _named(self, row: Any) -> dict[str, Any]:
        labels, names = self._material.labels, self._material.label_names
        if labels is None:
            return {"row": int(row), "label": None}
        if labels.ndim == 1:
            return {"row": int(row), "label": names[labels[row]] if names else int(labels[row])}
        classes = np.flatnonzero(labels[row]).tolist()
        return {"row": int(row), "label": [names[one] for one in classes] if names else classes}


def check_metrics(names: Iterable[str], protocol: Protocol, material: Material) -> None:
    """Raise ArgumentError for a name that is no metric of a protocol."""
    labels = material.labels
    graded = protocol.truth == "labels" and labels is not None and labels.ndim == 2
    truth = LabelTruth([[True, True]], [[True, True]], graded=True) if graded else LabelTruth([0], [0])
    counts = Counts.of(np.ones((1, truth.n_grades + 1, 1), np.int64))
    at, radius = protocol.at, protocol.radius
    known = set(measures_by_query(counts, at=at, radius=radius)) | set(Ordered(truth, at=at).by_query())
    known |= {"auprc", *code_statistics(np.zeros((1, 1), np.uint64), 1)}
    known = {name.replace("nothing_within_", "empty@") for name in known} | set(_ERRORS)
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"metric {name!r} is not measured{nearest(name, known) or f', expected one of {_list(known)}'}"
            )


def _list(known: set[str]) -> str:
    return ", ".join(sorted(name for name in known if "_by_order" not in name and "mistic" not in name))


def _index_of(folder: Path, codes: Codes, n_bits: int) -> Index:
    """Make an index of codes whose ids are their rows."""
    bits = unpack(codes, n_bits)
    return hashdb.build(folder / "codes.hashdb", bits, method="codes", n_bits=n_bits, input_type="bool")


def _time_search(index: Index, asked: Codes) -> float:
    """Time how long all queries search for their nearest rows, the second time: the first may load kernels."""
    for _ in range(2):
        start = time.perf_counter()
        index.query_codes(asked, k=_NEIGHBOURS)
    return time.perf_counter() - start


def _errors(model: Model, rows: NDArray[Any], modality: str) -> dict[str, float]:
    """Measure how far margins are from their signs, for methods that have margins."""
    if not model.has_project:
        return {}
    margins = model.project(rows[:_ERROR_ROWS], modality or None)
    return dict(zip(_ERRORS, (quantisation_error(margins, scaled=scaled) for scaled in (False, True)), strict=True))


def _short(params: dict[str, Any]) -> dict[str, Any]:
    """Write ``method.NAME`` as ``NAME``."""
    return {key.removeprefix("method."): value for key, value in params.items()}
