"""Every quantiser against Euclidean neighbours on CIFAR-10: what it is made for, where classes are another question.

Queries, database and training rows are those of the part quality, but no label is used: relevant are the 100 rows
nearest the query by their GIST descriptors, or, for the area under the curve of precision over recall, those within
epsilon, the mean distance of a row of the database to its 50th nearest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hashdb
from benchmarks.common import table
from benchmarks.methods import kept
from benchmarks.methods.cells import BITS, Cell, quantised_grid
from benchmarks.methods.grid import cifar, split_of
from benchmarks.methods.lines import grouped, spread
from hashdb.evaluation import EpsilonTruth, NearestTruth, choose_epsilon, evaluate

RESULTS = Path(__file__).parent / "neighbours.json"
N_NEAREST = 100
KEPT = ("map", "map_by_order", "recall@100", "recall@100_by_order", "auprc")
COLUMNS = {"map_by_order": "mAP", "epsilon_auprc": "AUPRC"}


def run(work: Path, only: Mapping[str, str]) -> None:
    """Measure every cell that is chosen and not there yet, and gather all that are there."""
    folder = work / "neighbours"
    kept.run(folder, quantised_grid(), only, measure, lambda cell: f"mAP {cell['map_by_order']:.4f}")
    kept.gather(folder, quantised_grid(), RESULTS)


def measure(cell: Cell) -> dict[str, Any]:
    """Fit, encode and evaluate one cell."""
    vectors, _ = cifar()
    split = split_of(cell.seed)
    start = time.perf_counter()
    model = hashdb.fit(
        vectors[split.training[: cell.n_training]],
        cell.method,
        cell.n_bits,
        quantiser=None if cell.quantiser == "sbq" else cell.quantiser,
        seed=cell.seed,
    )
    fitted = time.perf_counter()
    codes, asked = (model.encode(vectors[rows]) for rows in (split.test_database, split.test_queries))
    nearest, ball = truths(cell.seed)
    found = evaluate(codes, asked, nearest, n_bits=model.n_stored_bits, at=N_NEAREST)
    within = evaluate(codes, asked, ball, n_bits=model.n_stored_bits, by_order=False)
    return {
        "method": cell.method,
        "quantiser": cell.quantiser,
        "n_bits": cell.n_bits,
        "n_stored_bits": model.n_stored_bits,
        "seed": cell.seed,
        "n_training": cell.n_training,
        "fit": round(fitted - start, 3),
        **{name: round(found[name], 5) for name in KEPT},
        **{f"epsilon_{name}": round(within[name], 5) for name in ("map", "auprc")},
    }


@cache
def truths(seed: int) -> tuple[NearestTruth, EpsilonTruth]:
    """Give the nearest rows of the database, and those within epsilon, for the queries of a split."""
    vectors, _ = cifar()
    split = split_of(seed)
    queries, database = vectors[split.test_queries], vectors[split.test_database]
    epsilon = choose_epsilon(database, seed=seed)
    return NearestTruth(queries, database, N_NEAREST), EpsilonTruth(queries, database, epsilon)


def rows() -> str:
    """Give the table, one row a method and quantiser."""
    found = grouped(kept.read(RESULTS), lambda cell: (cell["method"], cell["quantiser"]))
    head = ("method", *(f"{name}, {bits} bits" for name in COLUMNS.values() for bits in BITS))
    return table(
        head, [(f"`{method}` + `{quantiser}`", *_values(cells)) for (method, quantiser), cells in found.items()]
    )


def _values(cells: list[dict[str, Any]]) -> list[str]:
    return [spread([cell[measure] for cell in cells if cell["n_bits"] == bits]) for measure in COLUMNS for bits in BITS]
