"""One cell: fit, encode both sides, evaluate every ordered pair of modalities under both policies of database codes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from itertools import combinations
from statistics import mean
from typing import Any

import numpy as np

import hashdb
from benchmarks.crossmodal.cells import Cell
from benchmarks.crossmodal.sets import Pairs, load
from hashdb.codes import unpack
from hashdb.describing import describe_plugin
from hashdb.errors import ArgumentError
from hashdb.evaluation import LabelTruth, evaluate

KEPT = ("map", "map_by_order", "map_optimistic", "map_pessimistic", "precision@50")


def measure(cell: Cell) -> dict[str, Any]:
    """Measure one cell; a method that refuses the width or the data says why in ``refused``.

    ``predicted`` and ``learned`` search the rows that trained; ``unseen`` searches predicted codes of the other side of
    the queries' own pairs, from which nothing was learned.
    """
    pairs = load(cell.data)
    n_training = min(describe_plugin(cell.method)["default_train"] or len(pairs.labels), len(pairs.labels))
    names = ("data", "method", "variant", "takes_labels", "n_bits", "seed")
    facts: dict[str, Any] = {name: getattr(cell, name) for name in names}
    start = time.perf_counter()
    try:
        models = _models(cell, pairs, n_training)
    except ArgumentError as error:
        return {**facts, "refused": str(error), "state": "refused"}
    facts |= {"n_training": n_training, "n_models": len(models), "fit": round(time.perf_counter() - start, 3)}
    predicted: dict[str, dict[str, float]] = {}
    unseen: dict[str, dict[str, float]] = {}
    learned: dict[str, list[dict[str, float]]] = {}
    leaning: dict[str, Any] = {}
    for model in models:
        stored = {name: model.encode(pairs.database[name], name) for name in model.modalities}
        asked = {name: model.encode(pairs.queries[name], name) for name in model.modalities}
        for query, codes in asked.items():
            for name, database in stored.items():
                predicted[f"{query} > {name}"] = _quality(database, codes, pairs.asked, pairs.labels)
                if name != query:
                    unseen[f"{query} > {name}"] = _quality(asked[name], codes, pairs.asked, pairs.asked)
            if model.training_codes is not None and n_training == len(pairs.labels):
                learned.setdefault(query, []).append(_quality(model.training_codes, codes, pairs.asked, pairs.labels))
        if len(pairs.modalities) == 2:
            leaning = bias(stored, asked, cell.n_bits)
    return {
        **facts,
        "predicted": predicted,
        "unseen": unseen,
        "learned": {query: _means(found) for query, found in learned.items()},
        "bias": leaning,
        "state": digest(models),
    }


def fit(cell: Cell, pairs: Pairs, n_training: int, modalities: Sequence[str] = ()) -> hashdb.Model:
    """Fit to the database, or to a sample as ``hashdb.build`` draws it."""
    rows = np.arange(len(pairs.labels))
    if n_training < len(rows):
        rows = np.sort(np.random.default_rng(cell.seed).choice(len(rows), n_training, replace=False))
    return hashdb.fit(
        {name: pairs.database[name][rows] for name in modalities or pairs.modalities},
        cell.method,
        cell.n_bits,
        params=cell.params,
        labels=pairs.labels[rows] if cell.takes_labels else None,
        seed=cell.seed,
    )


def _models(cell: Cell, pairs: Pairs, n_training: int) -> list[hashdb.Model]:
    """Fit to all modalities at once, or one model to each two of them where the method takes no more."""
    try:
        return [fit(cell, pairs, n_training)]
    except ArgumentError:
        if len(pairs.modalities) == 2:
            raise
    return [fit(cell, pairs, n_training, two) for two in combinations(pairs.modalities, 2)]


def _quality(database: Any, queries: Any, asked: Any, labels: Any) -> dict[str, float]:
    found = evaluate(database, queries, LabelTruth(asked, labels), n_bits=64 * database.shape[1], at=50)
    return {name: round(found[name], 5) for name in KEPT}


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(mean(each[name] for each in found), 5) for name in found[0]}


def chance(pairs: Pairs) -> float:
    """Give the mean average precision of codes that say nothing, expected over all orders."""
    nothing = [np.zeros((len(labels), 1), np.uint64) for labels in (pairs.labels, pairs.asked)]
    return evaluate(nothing[0], nothing[1], LabelTruth(pairs.asked, pairs.labels), n_bits=1, by_order=False)["map"]


def bias(stored: dict[str, Any], asked: dict[str, Any], n_bits: int) -> dict[str, Any]:
    """Tell what codes of unseen pairs say of their modality, and what the modalities say alike.

    Returns
    -------
    dict
        ``ones``: by modality, the share of pairs that have each bit. ``agreement``: by pair of modalities and bit,
        Cohen's kappa, 0 where the two agree as often as independent bits of these shares would, 1 where always.
        ``own``: by modality, how much of the ten nearest is of the query's own modality where the database holds
        every pair in all modalities; 1 over their number is fair.
    """
    bits = {name: unpack(codes, n_bits) for name, codes in asked.items()}
    ones = {name: each.mean(axis=0) for name, each in bits.items()}
    names = list(asked)
    agreement = {
        f"{one} = {other}": _kappa(bits[one], bits[other]).round(3).tolist()
        for number, one in enumerate(names)
        for other in names[number + 1 :]
    }
    mixed = np.concatenate(list(stored.values()))
    owners = np.repeat(np.arange(len(names)), [len(codes) for codes in stored.values()])
    own = {}
    for number, name in enumerate(names):
        truth = LabelTruth(np.full(len(asked[name]), number), owners)
        found = evaluate(mixed, asked[name], truth, n_bits=n_bits, at=10, by_order=False)
        own[name] = round(found["precision@10"], 4)
    return {"ones": {name: share.round(3).tolist() for name, share in ones.items()}, "agreement": agreement, "own": own}


def _kappa(one: Any, other: Any) -> Any:
    p, q = one.mean(axis=0), other.mean(axis=0)
    by_chance = p * q + (1 - p) * (1 - q)
    room = 1 - by_chance
    # A bit that never changes in either modality always agrees and says nothing.
    return np.divide((one == other).mean(axis=0) - by_chance, room, out=np.zeros_like(room), where=room > 1e-12)


def digest(models: list[hashdb.Model]) -> str:
    """Tell what was learned with one seed from what was with another."""
    summed = hashlib.sha256()
    for model in models:
        for name, array in sorted(model.state.items()):
            summed.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return summed.hexdigest()[:16]
