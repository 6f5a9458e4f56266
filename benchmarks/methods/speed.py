"""How long the methods take to fit and to encode, and the memory it takes, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import data, table
from benchmarks.methods.cells import SUPERVISED, UNSUPERVISED
from benchmarks.search.worker import Worker
from hashdb.describing import describe_plugin

SIZES = (10_000, 100_000, 1_000_000)
DIMS = (128, 512)
N_BITS = 64
N_CLASSES = 10
_ENCODED = 100_000  # rows, at most
_BYTES = 5 << 29  # of the vectors of a cell, at most
HEAD = ("method", "dim", "rows", "trained on", "fit", "peak memory of fit", "encode, rows/s", "of the bare product")

Array = Any


class Bench:
    """A process that holds a mixture of Gaussian classes and fits one method to it."""

    def __init__(self, method: str, n: int, dim: int) -> None:
        self._method = method
        rng = np.random.default_rng(0)
        centres = rng.standard_normal((N_CLASSES, dim), dtype=np.float32)
        self._labels = rng.integers(0, N_CLASSES, n)
        self._vectors = rng.standard_normal((n, dim), dtype=np.float32)
        for first in range(0, n, 1 << 16):
            self._vectors[first : first + (1 << 16)] += centres[self._labels[first : first + (1 << 16)]]
        hashdb.fit(self._vectors[:2000], method, 8, labels=self._given(slice(0, 2000)), params=_few(method))  # loads it

    def fit(self, n_training: int, n_bits: int) -> float:
        """Fit and give the seconds."""
        rows = np.sort(np.random.default_rng(1).choice(len(self._vectors), n_training, replace=False))
        training, labels = self._vectors[rows], self._given(rows)
        start = time.perf_counter()
        self._model = hashdb.fit(training, self._method, n_bits, labels=labels)
        return time.perf_counter() - start

    def encode(self, repeats: int) -> tuple[float, float]:
        """Give the rows a second of encoding, and its median ratio to the bare product that it cannot do without."""
        rows = self._vectors[:_ENCODED]
        bare = _bare(self._model, rows)
        seconds = []
        bare(rows)
        self._model.encode(rows)
        for _ in range(repeats):
            pair = []
            for call in (bare, self._model.encode):
                start = time.perf_counter()
                call(rows)
                pair.append(time.perf_counter() - start)
            seconds.append(pair)
        return len(rows) / median(pair[1] for pair in seconds), median(pair[0] / pair[1] for pair in seconds)

    def _given(self, rows: Any) -> Array | None:
        return self._labels[rows] if self._method in SUPERVISED else None


def _few(method: str) -> dict[str, Any]:
    """Give params under which a first fit to few rows is quick."""
    names = {one["param"] for one in describe_plugin(method)["params"]}
    return {"anchors": 50} if "anchors" in names else {}


def _bare(model: hashdb.Model, rows: Array) -> Callable[[Array], Array]:
    """Give the float32 product that encoding cannot do without: with the weights, or the kernel of the anchors."""
    state = {name: array for name, array in model.state.items() if array.ndim == 2}
    anchors = next((array for name, array in state.items() if "anchors" in name), None)
    if anchors is None:
        weights = next((array for array in state.values() if array.shape[0] == rows.shape[1]), None)
        if weights is None:
            weights = np.ones((rows.shape[1], N_BITS), np.float32)
        weights = np.ascontiguousarray(weights, np.float32)
        return lambda x: x @ weights
    anchors = np.ascontiguousarray(anchors.T, np.float32)
    sizes = (anchors**2).sum(axis=0)

    def kernel(x: Array) -> None:
        for first in range(0, len(x), 4096):
            block = x[first : first + 4096]
            far = block @ anchors
            far *= -2
            far += sizes
            far += np.einsum("ij,ij->i", block, block)[:, None]
            far *= np.float32(-1 / block.shape[1])
            np.exp(far, out=far)

    return kernel


def main(sizes: tuple[int, ...] = SIZES, dims: tuple[int, ...] = DIMS, repeats: int = 5) -> str:
    """Measure every method and return the table."""
    rows = list(_rows(sizes, dims, repeats))
    kept = f"{N_BITS} bits, vectors of {N_CLASSES} Gaussian classes; cells whose vectors exceed 2.5 GB are left out."
    return f"{kept}\n\n{table(HEAD, rows)}"


def _rows(sizes: tuple[int, ...], dims: tuple[int, ...], repeats: int) -> Iterator[tuple[str, ...]]:
    for method in UNSUPERVISED + SUPERVISED:
        most = describe_plugin(method)["default_train"]
        for dim in dims:
            before = None
            for n in sizes:
                n_training = min(n, most or n)
                if 4 * n * dim > _BYTES or n_training == before:
                    continue  # trains on as many rows as the smaller one: nothing new
                before = n_training
                with Worker(Bench, method, n, dim) as worker:
                    held = worker.memory()["RssAnon"]
                    seconds = worker.watched("fit", n_training, N_BITS)
                    peak = worker.peak - held
                    rate, ratio = worker.call("encode", repeats)
                yield (
                    method, str(dim), f"{n:,}", f"{n_training:,}", f"{seconds:.2f} s", f"{peak / 2**20:,.0f} MiB",
                    f"{rate:,.0f}", f"{ratio:.0%}",
                )  # fmt: skip


TARGETS = (
    ("ksh", "300 anchors, 2,000 rows, 32 bits", 60, 2000, 32, None),
    ("agh", "300 anchors, 100,000 rows, 32 bits", 30, None, 32, None),
    ("npq", "on pcah, 2,000 rows, 64 bits", 30, 2000, 64, "npq"),
    ("cosdish", "59,000 x 512, 32 bits", 300, 59_000, 32, None),
)


def targets() -> str:
    """Measure what has a target, on the GIST descriptors of CIFAR-10, 512 dimensions."""
    folder = data() / "cifar10"
    gist = np.load(folder / "gist512_float16.npy").astype(np.float32)
    labels = np.concatenate([np.load(folder / f"{part}_labels.npy").reshape(-1) for part in ("train", "test")])
    doubled = np.vstack([gist, gist[:40_000] + np.random.default_rng(0).normal(0, 0.01, (40_000, 512))])
    rows = []
    for method, what, target, n, n_bits, quantiser in TARGETS:
        vectors = doubled.astype(np.float32) if n is None else gist[:n]
        start = time.perf_counter()
        hashdb.fit(
            vectors,
            "pcah" if quantiser else method,
            n_bits,
            quantiser=quantiser,
            labels=labels[:n] if method in SUPERVISED else None,
        )
        rows.append((method, what, f"{time.perf_counter() - start:.1f} s", f"{target} s"))
    return table(("method", "fit", "took", "target"), rows)
