"""What a fit on 20,000 pairs takes, in time and memory, each method in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import table
from benchmarks.crossmodal.cells import methods, supervision
from benchmarks.methods import kept
from benchmarks.search.worker import Worker
from hashdb.describing import describe_plugin

RESULTS = Path(__file__).parent / "speed.json"
N_PAIRS, N_BITS, N_CLASSES = 20_000, 64, 10
DIMS = {"image": 512, "text": 384}
HEAD = ("method", "pairs", "CPU time of fit", "peak memory")


class Cell:
    """One method, and the number of pairs it is given."""

    def __init__(self, method: str, n_rows: int) -> None:
        self.method, self.n_rows = method, n_rows
        self.name = f"{method}-{n_rows}"
        self.facts = {"method": method, "rows": str(n_rows)}


class Bench:
    """A process that holds pairs of ten Gaussian classes and fits one method to them."""

    def __init__(self, method: str) -> None:
        rng = np.random.default_rng(0)
        self._method = method
        self._labels = rng.integers(0, N_CLASSES, N_PAIRS)
        shared = rng.standard_normal((N_CLASSES, 64))[self._labels] + rng.standard_normal((N_PAIRS, 64))
        self._vectors = {
            name: (shared @ rng.standard_normal((64, dim)) / 8 + rng.standard_normal((N_PAIRS, dim))).astype(np.float32)
            for name, dim in DIMS.items()
        }
        self._needs = "labels" in supervision(method)
        self._model: Any = None
        self.fit(1500, 8)  # loads libraries, compiles

    def fit(self, n_rows: int, n_bits: int) -> tuple[float, float]:
        """Fit to the first rows and give the seconds, and those of all threads together."""
        rows = {name: view[:n_rows] for name, view in self._vectors.items()}
        labels = self._labels[:n_rows] if self._needs else None
        start, worked = time.perf_counter(), time.process_time()
        self._model = hashdb.fit(rows, self._method, n_bits, labels=labels)
        return time.perf_counter() - start, time.process_time() - worked


def grid() -> Iterator[Cell]:
    """Give every cell: the sample that a build would train on, and all pairs."""
    for method in methods():
        for n_rows in sorted({min(describe_plugin(method)["default_train"] or N_PAIRS, N_PAIRS), N_PAIRS}):
            yield Cell(method, n_rows)


def run(work: Path, only: Mapping[str, str]) -> None:
    """Measure every cell that is chosen and not there yet."""
    kept.run(work / "speed", grid(), only, measure, lambda found: f"{found['worked']} s, {found['peak']} MiB")
    kept.gather(work / "speed", grid(), RESULTS)


def measure(cell: Cell) -> dict[str, Any]:
    """Fit one method; the peak is private memory beyond what the process holds with the data."""
    with Worker(Bench, cell.method) as worker:
        held = worker.memory()["RssAnon"]
        seconds, worked = worker.watched("fit", cell.n_rows, N_BITS)
        peak = worker.peak - held
    return {
        "method": cell.method,
        "n_rows": cell.n_rows,
        "seconds": round(seconds, 2),
        "worked": round(worked, 2),
        "peak": round(peak / 2**20),
    }


def rows() -> str:
    """Lay out what was measured."""
    return table(
        HEAD,
        [
            [
                f"`{found['method']}`",
                f"{found['n_rows']:,}",
                f"{found['worked']:.1f} s",
                f"{found['peak']:,} MiB",
            ]
            for found in kept.read(RESULTS)
        ],
    )
