"""What a fit on 20,000 pairs takes, in time and memory, each method in a process of its own."""

from __future__ import annotations

import time
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
HEAD = (
    "method",
    "pairs it trains on by default",
    "fit on 20,000 pairs",
    "CPU time",
    "peak memory",
    "encode image",
    "encode text",
)


class Cell:
    """One method."""

    def __init__(self, method: str) -> None:
        self.name = method
        self.facts = {"method": method}


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

    def encode(self) -> dict[str, float]:
        """Give the rows a second of encoding, by modality."""
        rates = {}
        for name, view in self._vectors.items():
            self._model.encode(view[:100], name)
            start = time.perf_counter()
            self._model.encode(view, name)
            rates[name] = N_PAIRS / (time.perf_counter() - start)
        return rates


def run(work: Path, only: dict[str, str]) -> None:
    """Measure every method that is chosen and not there yet."""
    listed = [Cell(method) for method in methods()]
    kept.run(work / "speed", listed, only, measure, lambda found: f"{found['seconds']} s, {found['peak']} MiB")
    kept.gather(work / "speed", listed, RESULTS)


def measure(cell: Cell) -> dict[str, Any]:
    """Fit one method; the peak is private memory beyond what the process holds with the data."""
    with Worker(Bench, cell.name) as worker:
        held = worker.memory()["RssAnon"]
        seconds, worked = worker.watched("fit", N_PAIRS, N_BITS)
        peak = worker.peak - held
        rates = worker.call("encode")
    return {
        "method": cell.name,
        "default_train": describe_plugin(cell.name)["default_train"],
        "seconds": round(seconds, 2),
        "worked": round(worked, 2),
        "peak": round(peak / 2**20),
        "encode": {name: round(rate) for name, rate in rates.items()},
    }


def rows() -> str:
    """Lay out what was measured."""
    return table(
        HEAD,
        [
            [
                f"`{found['method']}`",
                "all" if found["default_train"] is None else f"{found['default_train']:,}",
                f"{found['seconds']:.1f} s",
                f"{found['worked']:.1f} s",
                f"{found['peak']:,} MiB",
                *(f"{rate:,} rows/s" for rate in found["encode"].values()),
            ]
            for found in kept.read(RESULTS)
        ],
    )
