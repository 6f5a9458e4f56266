"""One bit a dimension: where the threshold lies, and what one pass of re-ranking recovers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hashdb
from benchmarks.reproduction.vectors import Array, unit
from hashdb import datasets
from hashdb.evaluation import nearest

K = 10
DEPTHS = (20, 40, 100)  # candidates that are re-ranked
SETS = {"newsgroups20-minilm": "cosine", "cifar10-gist": "l2"}
_N_QUERIES, _N_GIST = 2000, 20_000


def measure(work: Path) -> dict[str, Any]:
    """Measure codes of one bit a dimension, alone and re-ranked, beside the vectors they were made of."""
    cells = []
    for name, metric in SETS.items():
        base, queries, classes, asked_classes = rows_of(name)
        truth = nearest(queries, base, K, metric=metric)[0]
        with tempfile.TemporaryDirectory() as folder:
            for way, found in _ways(Path(folder), base, queries, metric, truth):
                right = classes[found] == asked_classes[:, None]
                recall = np.mean([len(set(one) & set(own)) / K for one, own in zip(found, truth, strict=True)])
                facts = {"data": name, "n_base": len(base), "n_queries": len(queries), "dim": base.shape[1], **way}
                cells.append(
                    {**facts, "recall@10": round(float(recall), 5), "precision@10": round(float(right.mean()), 5)}
                )
    return {"k": K, "cells": cells}


def rows_of(name: str) -> tuple[Array, Array, Array, Array]:
    """Give the rows that are searched, queries from the publishers' test part, and the classes of both."""
    data = datasets.load(name)
    n_train = int(data.n_train or 0)
    chosen = np.sort(np.random.default_rng(0).choice(np.arange(n_train, data.n_rows), _N_QUERIES, replace=False))
    base = slice(0, n_train if name.startswith("newsgroups") else _N_GIST)
    vectors = np.asarray(data.vectors, np.float32)
    return vectors[base], vectors[chosen], data.labels[base], data.labels[chosen]


def _ways(
    folder: Path, base: Array, queries: Array, metric: str, truth: Array
) -> Iterator[tuple[dict[str, Any], Array]]:
    yield {"codes": "float32", "depth": 0}, truth
    for codes, threshold in (("sign at zero", np.float32(0)), ("sign at the mean", base.mean(axis=0))):
        bits = base > threshold
        with hashdb.build(folder / codes, bits, method="codes", n_bits=bits.shape[1], input_type="bool") as index:
            candidates = index.query(queries > threshold, k=max(DEPTHS)).ids
        for depth in (0, *DEPTHS):
            yield {"codes": codes, "depth": depth}, rescored(candidates, depth, base, queries, metric)
    for stored in ("float32", None):
        index = hashdb.build(
            folder / f"itq-{stored}", base, method="itq", n_bits=base.shape[1], store_vectors=stored, metric=metric
        )
        with index:
            for depth in (0, *DEPTHS) if stored else (max(DEPTHS),):
                found = index.query(queries, k=K, rescore=depth // K or None).ids
                yield {"codes": "itq" if stored else "itq, margins", "depth": depth}, found


def rescored(candidates: Array, depth: int, base: Array, queries: Array, metric: str) -> Array:
    """Order the first candidates of each query by the vectors, and keep ten."""
    if not depth:
        return candidates[:, :K]
    score: Callable[[Array, Array], Array] = _cosine if metric == "cosine" else _minus_l2
    first = candidates[:, :depth]
    order = [
        np.argsort(-score(base[rows], query), kind="stable")[:K] for rows, query in zip(first, queries, strict=True)
    ]
    return np.take_along_axis(first, np.array(order), axis=1)


def _cosine(rows: Array, query: Array) -> Array:
    return unit(rows) @ query


def _minus_l2(rows: Array, query: Array) -> Array:
    return -((rows - query) ** 2).sum(axis=1)
