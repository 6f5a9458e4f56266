"""Every method on CIFAR-10 by the protocol that most papers use, each finished cell a file, so that a run goes on.

1,000 queries, 100 of each class, search the other 59,000 images; the training rows are drawn from these. What is
relevant has the query's class. Features: GIST, 512 dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import data
from benchmarks.methods import kept
from benchmarks.methods.cells import SUPERVISED, Cell, grid
from benchmarks.methods.lines import RESULTS
from hashdb.evaluation import LabelTruth, Split, evaluate, make_split

N_QUERIES = 1000
KEPT = ("map", "map_by_order", "map_optimistic", "map_pessimistic", "auprc", "precision_within_2", "nothing_within_2")


def run(work: Path, only: Mapping[str, str]) -> None:
    """Measure every cell that is chosen and not there yet, and gather all that are there."""
    folder = work / "cells"
    kept.run(folder, grid(), only, measure, lambda cell: f"mAP {cell['map_by_order']:.4f}, fit {cell['fit']:.1f} s")
    kept.gather(folder, grid(), RESULTS)


def measure(cell: Cell) -> dict[str, Any]:
    """Fit, encode and evaluate one cell."""
    vectors, labels = cifar()
    split = split_of(cell.seed)
    database = split.test_database
    training = database if cell.n_training is None else split.training[: cell.n_training]
    start = time.perf_counter()
    model = hashdb.fit(
        vectors[training],
        cell.method,
        cell.n_bits,
        quantiser=None if cell.quantiser == "sbq" else cell.quantiser,
        labels=labels[training] if cell.method in SUPERVISED else None,
        seed=cell.seed,
    )
    fitted = time.perf_counter()
    codes = model.encode(vectors[database])
    encoded = time.perf_counter()
    asked = model.encode(vectors[split.test_queries])
    truth = LabelTruth(labels[split.test_queries], labels[database])
    found = evaluate(codes, asked, truth, n_bits=model.n_stored_bits)
    learned = {}
    if cell.n_training is None and model.training_codes is not None:
        # What an index holds that is built with database_codes="learned".
        again = evaluate(model.training_codes, asked, truth, n_bits=model.n_stored_bits)
        learned = {f"learned_{name}": round(again[name], 5) for name in ("map", "map_by_order")}
    return {
        "method": cell.method,
        "quantiser": cell.quantiser,
        "n_bits": cell.n_bits,
        "n_stored_bits": model.n_stored_bits,
        "seed": cell.seed,
        "n_training": cell.n_training,
        "fit": round(fitted - start, 3),
        "encode": round(encoded - fitted, 3),
        **{name: round(found[name], 5) for name in KEPT},
        **learned,
    }


@cache
def cifar() -> tuple[Any, Any]:
    """Give the GIST descriptors, float32 (60000, 512), and the classes."""
    folder = data() / "cifar10"
    labels = [np.load(folder / f"{part}_labels.npy").reshape(-1) for part in ("train", "test")]
    return np.load(folder / "gist512_float16.npy").astype(np.float32), np.concatenate(labels).astype(np.int64)


@cache
def split_of(seed: int) -> Split:
    """Draw queries, as many of each class, and 5,000 rows to train on; a smaller training set is their beginning."""
    _, labels = cifar()
    return make_split(
        len(labels),
        labels,
        kind="standard",
        n_test_queries=N_QUERIES,
        n_validation_queries=0,
        n_training=5000,
        n_validation_database=0,
        seed=seed,
    )
