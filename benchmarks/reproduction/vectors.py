"""What full precision finds: rankings by the vectors themselves, on the very splits of the experiments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from hashdb import datasets
from hashdb.evaluation import Split

Array = Any
_QUERIES_AT_ONCE = 250
RUNS = {"unsupervised": 3, "texts-improved": 3, "texts-standard": 3}
COMPONENTS = (16, 32, 64)


def ceilings(work: Path) -> dict[str, Any]:
    """Measure the class mAP of rankings by uncompressed vectors, and of GIST by its first principal components."""
    cells = []
    for name, runs in RUNS.items():
        data = datasets.load("cifar10-gist" if name == "unsupervised" else "newsgroups20-minilm")
        vectors, labels = np.asarray(data.vectors, np.float32), data.labels
        found: dict[str, list[float]] = {}
        for run in range(runs):
            split = Split.load(work / name / "splits" / f"run-{run:02d}.npz")
            for what, asked, rows in _ways(name, vectors, split):
                classes = labels[split.test_queries], labels[split.test_database]
                found.setdefault(what, []).append(class_map(asked, rows, *classes))
        cells += [
            {"experiment": name, "vectors": what, "map": round(mean(values), 5), "sd": round(stdev(values), 5)}
            for what, values in found.items()
        ]
    return {"runs": RUNS, "cells": cells}


def _ways(name: str, vectors: Array, split: Split) -> Iterator[tuple[str, Array, Array]]:
    """Give queries and rows so that the larger inner product is the nearer one."""
    asked, rows = vectors[split.test_queries], vectors[split.test_database]
    if name != "unsupervised":
        yield "cosine", unit(asked), unit(rows)
        return
    yield "l2", *_by_l2(asked, rows)
    training = vectors[split.training].astype(np.float64)
    centre = training.mean(axis=0)
    directions = np.linalg.svd(training - centre, full_matrices=False)[2]
    projected = [((part - centre) @ directions[: max(COMPONENTS)].T).astype(np.float32) for part in (asked, rows)]
    for n in COMPONENTS:
        yield f"pca {n}", *_by_l2(*(part[:, :n] for part in projected))


def _by_l2(asked: Array, rows: Array) -> tuple[Array, Array]:
    """Add a column, so that x · y - |y|² / 2 orders rows as the distance does."""
    norms = (rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True) / 2
    return np.c_[asked, -np.ones(len(asked), np.float32)], np.c_[rows, norms.astype(np.float32)]


def unit(rows: Array) -> Array:
    """Scale rows to length 1."""
    wide = np.asarray(rows, np.float32)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def class_map(asked: Array, rows: Array, asked_classes: Array, classes: Array) -> float:
    """Give the mean average precision of the whole ranking by inner product; relevant is the query's class."""
    values = []
    for start in range(0, len(asked), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        order = np.argsort(-(asked[part] @ rows.T), axis=1, kind="stable")
        values += [
            _average_precision(classes[ranked] == own) for ranked, own in zip(order, asked_classes[part], strict=True)
        ]
    return float(np.mean(values))


def _average_precision(relevant: Array) -> float:
    ranks = np.flatnonzero(relevant) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0
