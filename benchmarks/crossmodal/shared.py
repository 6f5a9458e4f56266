"""Items of two kinds embedded in one space: when a cross-modal method is worth it against iterative quantisation.

A pair is two documents of one newsgroup thread, each embedded by the same model; the header with the subject was not
embedded. Pairs of the training documents train; of the pairs of the test documents one side asks for the other. The
second side is taken as it is, with an offset that makes a gap between the two, or rotated, as if it came from another
encoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import data, table
from benchmarks.crossmodal.cells import methods, supervision
from benchmarks.crossmodal.sets import documents
from benchmarks.methods import kept
from benchmarks.methods.lines import spread
from hashdb.describing import describe_plugin
from hashdb.errors import ArgumentError
from hashdb.evaluation import LabelTruth, ListTruth, evaluate

RESULTS = Path(__file__).parent / "shared.json"
N_BITS, SEEDS, GAP = 64, 1, 0.8
SITUATIONS = {"one": "one space", "gap": "an offset of 0.8", "rotated": "another space"}
FLOATS = {"cosine": "vectors, cosine", "cosine-centred": "vectors, cosine, each side centred"}
ITQ = {"itq": "`itq` on both sides together", "itq-centred": "`itq`, each side centred first"}

Array = Any
Sides = dict[str, Array]
Encode = Callable[[str, Array], Array]


@dataclass(frozen=True)
class Cell:
    """One way to compare the sides in one situation."""

    situation: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        return f"{self.situation}-{self.method}-{self.seed}"

    @property
    def facts(self) -> dict[str, str]:
        """What ``--only`` compares."""
        return {"situation": self.situation, "method": self.method, "seed": str(self.seed)}


def grid() -> Iterator[Cell]:
    """Give every cell."""
    for situation in SITUATIONS:
        for method in FLOATS:
            yield Cell(situation, method, 0)
        for method in (*ITQ, *methods()):
            for seed in range(SEEDS):
                yield Cell(situation, method, seed)


def run(work: Path, only: Mapping[str, str]) -> None:
    """Measure every cell that is chosen and not there yet."""
    folder = work / "shared"
    kept.run(folder, grid(), only, measure, lambda found: str(found.get("recall@10", found.get("refused"))))
    kept.gather(folder, grid(), RESULTS)


def measure(cell: Cell) -> dict[str, Any]:
    """Ask with either side for the other, among pairs that nothing was learned from; means of both directions."""
    (train, labels), (test, asked) = (threads(part, cell.situation) for part in ("train", "test"))
    facts = {"situation": cell.situation, "method": cell.method, "seed": cell.seed}
    own = ListTruth.of_lists(np.arange(len(asked))[:, None], len(asked))
    alike = LabelTruth(asked, asked)
    if cell.method in FLOATS:
        return {**facts, **_by_vectors(cell.method, train, test, asked)}
    try:
        encode = _fitted(cell, train, labels)
    except ArgumentError as error:
        return {**facts, "refused": str(error)}
    codes = {side: encode(side, rows) for side, rows in test.items()}
    recalls, maps = [], []
    for query, stored in (("a", "b"), ("b", "a")):
        found = evaluate(codes[stored], codes[query], own, n_bits=N_BITS, at=10, by_order=False)
        recalls.append(found["recall@10"])
        maps.append(evaluate(codes[stored], codes[query], alike, n_bits=N_BITS, by_order=False)["map"])
    return {**facts, "recall@10": round(mean(recalls), 4), "map": round(mean(maps), 4)}


@cache
def threads(part: str, situation: str) -> tuple[Sides, Array]:
    """Pair the documents of each thread in order; give both sides, float32 (n, 384), and the class of the first."""
    with np.load(data() / "newsgroups20_minilm" / f"{part}.npz") as arrays:
        vectors, labels = arrays["vectors"].astype(np.float32), arrays["labels"].astype(np.int64)
    waiting: dict[str, int] = {}
    pairs = []
    for row, document in enumerate(documents(part)):
        subject = _subject(document["text"])
        if subject and subject in waiting:
            pairs.append((waiting.pop(subject), row))
        elif subject:
            waiting[subject] = row
    first, second = np.array(pairs).T
    return {"a": vectors[first], "b": _moved(vectors[second], situation)}, labels[first]


def rows() -> str:
    """Lay out what was measured, a column for each situation and measure."""
    found = kept.read(RESULTS)
    head = ["64 bits"]
    for situation in SITUATIONS.values():
        head += [f"{situation}: recall@10", f"{situation}: mAP"]
    names = {**FLOATS, **ITQ}
    names |= {method: f"`{method}`{', with labels' if needs_labels(method) else ''}" for method in methods()}
    lines = []
    for method, name in names.items():
        group = [cell for cell in found if cell["method"] == method and "map" in cell]
        if group:
            values = [
                spread([cell[which] for cell in group if cell["situation"] == situation])
                for situation in SITUATIONS
                for which in ("recall@10", "map")
            ]
            lines.append([name, *values])
    return table(head, lines)


def needs_labels(method: str) -> bool:
    """Tell whether a method cannot do without labels; others get pairs only."""
    return supervision(method).endswith("and labels")


def _subject(text: str) -> str:
    found = re.search(r"^Subject:(.*)$", text.partition("\n\n")[0], re.M | re.I)
    return re.sub(r"^((re|fwd?)\s*:\s*)+", "", found[1].strip().lower()) if found else ""


def _moved(vectors: Array, situation: str) -> Array:
    rng = np.random.default_rng(7)
    if situation == "one":
        return vectors
    if situation == "gap":
        offset = rng.standard_normal(vectors.shape[1])
        moved = vectors + GAP * offset / np.linalg.norm(offset)
    else:
        moved = vectors @ np.linalg.qr(rng.standard_normal((vectors.shape[1],) * 2))[0]
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def _fitted(cell: Cell, train: Sides, labels: Array) -> Encode:
    """Fit, and give what encodes the rows of a side."""
    if cell.method in ITQ:
        means = {side: view.mean(axis=0) * (cell.method == "itq-centred") for side, view in train.items()}
        together = np.vstack([view - means[side] for side, view in train.items()])
        shared = hashdb.fit(together, "itq", N_BITS, seed=cell.seed)
        return lambda side, view: shared.encode(view - means[side])
    described = describe_plugin(cell.method)
    n = min(described["default_train"] or len(labels), len(labels))
    chosen = np.sort(np.random.default_rng(cell.seed).choice(len(labels), n, replace=False))
    model = hashdb.fit(
        {side: view[chosen] for side, view in train.items()},
        cell.method,
        N_BITS,
        labels=labels[chosen] if needs_labels(cell.method) else None,
        seed=cell.seed,
    )
    return lambda side, view: model.encode(view, side)


def _by_vectors(method: str, train: Sides, test: Sides, asked: Array) -> dict[str, float]:
    """Rank by the cosine of the vectors themselves, which no two of equal distance disturb."""
    means = {side: view.mean(axis=0) * (method == "cosine-centred") for side, view in train.items()}
    sides = {side: view - means[side] for side, view in test.items()}
    sides = {side: view / np.linalg.norm(view, axis=1, keepdims=True) for side, view in sides.items()}
    recalls, maps = [], []
    for query, stored in (("a", "b"), ("b", "a")):
        order = np.argsort(-(sides[query] @ sides[stored].T), axis=1, kind="stable")
        recalls.append((order[:, :10] == np.arange(len(order))[:, None]).any(axis=1).mean())
        hits = asked[order] == asked[:, None]
        precision = np.cumsum(hits, axis=1) / np.arange(1, len(order) + 1)
        maps.append(((precision * hits).sum(axis=1) / hits.sum(axis=1)).mean())
    return {"recall@10": round(float(mean(recalls)), 4), "map": round(float(mean(maps)), 4)}
