"""How long the methods take to fit and to encode, and the memory it takes, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import data, table
from benchmarks.methods import kept
from benchmarks.methods.cells import SUPERVISED, UNSUPERVISED
from benchmarks.search.worker import Worker
from hashdb.describing import describe_plugin

RESULTS = Path(__file__).parent / "speed.json"
SIZES = (10_000, 100_000, 1_000_000)
DIMS = (128, 512)
N_BITS = 64
N_CLASSES = 10
REPEATS = 5
LEAST_SHARES = {"product": 0.4, "anchor kernel": 0.5}
# Codes of these are no signs of a linear function: after the product they take a cosine or a distance of each value.
CURVED = ("sh", "sklsh", "sph")
_ENCODED = 100_000  # rows, at most
_BYTES = 5 << 29  # of the vectors of a cell, at most
HEAD = ("method", "dim", "rows", "trained on", "fit", "memory of fit", "encode, rows/s", "of the bare", "share")

Array = Any


@dataclass(frozen=True)
class SpeedCell:
    """One method on vectors of one size.

    Attributes
    ----------
    method : str
    n, dim : int
        Of the vectors.
    n_training : int
        Rows of them that it is fitted to.
    """

    method: str
    n: int
    dim: int
    n_training: int

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        return f"{self.method}-{self.n}-{self.dim}"

    @property
    def facts(self) -> dict[str, str]:
        """What ``--only`` compares."""
        return {"method": self.method, "rows": str(self.n), "dim": str(self.dim)}


def grid() -> Iterator[SpeedCell]:
    """Give every cell, but those that train on the rows of a smaller one, and vectors of more than 2.5 GB."""
    for method in UNSUPERVISED + SUPERVISED:
        most = describe_plugin(method)["default_train"]
        for dim in DIMS:
            before = None
            for n in SIZES:
                n_training = min(n, most or n)
                if 4 * n * dim <= _BYTES and n_training != before:
                    yield SpeedCell(method, n, dim, n_training)
                before = n_training


def run(work: Path, only: Mapping[str, str]) -> None:
    """Measure every cell that is chosen and not there yet, and gather all that are there."""
    folder = work / "speed"
    kept.run(folder, grid(), only, measure, lambda cell: f"fit {cell['fit']:.2f} s, encode at {cell['share']:.0%}")
    kept.gather(folder, grid(), RESULTS)


def measure(cell: SpeedCell) -> dict[str, Any]:
    """Fit and encode one cell in a process of its own."""
    with Worker(Bench, cell.method, cell.n, cell.dim) as worker:
        worker.call("draw", cell.n_training)
        held = worker.memory()["RssAnon"]
        seconds = worker.watched("fit", N_BITS)
        peak = worker.peak - held
        encoded = worker.call("encode", REPEATS)
    return {
        "method": cell.method,
        "n": cell.n,
        "dim": cell.dim,
        "n_training": cell.n_training,
        "fit": round(seconds, 3),
        "peak": max(0, peak),
        **encoded,
    }


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
        few = slice(0, 2000)
        hashdb.fit(self._vectors[few], method, 8, labels=self._given(few), params=_quick(method))  # loads it

    def draw(self, n_training: int) -> None:
        """Choose the training rows, whose memory is no part of what a fit takes."""
        rows: Any = slice(None)
        if n_training < len(self._vectors):
            rows = np.sort(np.random.default_rng(1).choice(len(self._vectors), n_training, replace=False))
        self._training = self._vectors[rows], self._given(rows)

    def fit(self, n_bits: int) -> float:
        """Fit and give the seconds."""
        training, labels = self._training
        start = time.perf_counter()
        self._model = hashdb.fit(training, self._method, n_bits, labels=labels)
        return time.perf_counter() - start

    def encode(self, repeats: int) -> dict[str, Any]:
        """Give the rows a second of encoding, and its median share of the rate of what it cannot do without."""
        rows = self._vectors[:_ENCODED]
        name, bare = _bare(self._model, rows.shape[1])
        name = "product, and more" if self._method in CURVED else name
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
        rate = len(rows) / median(pair[1] for pair in seconds)
        return {"encode": round(rate), "bare": name, "share": round(median(pair[0] / pair[1] for pair in seconds), 4)}

    def _given(self, rows: Any) -> Array | None:
        return self._labels[rows] if self._method in SUPERVISED else None


def _quick(method: str) -> dict[str, Any]:
    """Give params under which a first fit to few rows is quick."""
    names = {one["param"] for one in describe_plugin(method)["params"]}
    return {"anchors": 50} if "anchors" in names else {}


def _bare(model: hashdb.Model, dim: int) -> tuple[str, Callable[[Array], Array]]:
    """Give the float32 work that encoding cannot do without: the product with the weights, or the kernel of anchors."""
    state = {name: array for name, array in model.state.items() if array.ndim == 2}
    anchors = next((array for name, array in state.items() if "anchors" in name), None)
    if anchors is not None:
        return "anchor kernel", _kernel(np.ascontiguousarray(anchors.T, np.float32))
    weights = next((array for array in state.values() if array.shape[0] == dim), np.ones((dim, N_BITS)))
    weights = np.ascontiguousarray(weights, np.float32)
    return "product", lambda rows: rows @ weights


def _kernel(anchors: Array) -> Callable[[Array], None]:
    sizes = (anchors**2).sum(axis=0)

    def kernel(rows: Array) -> None:
        for first in range(0, len(rows), 4096):
            block = rows[first : first + 4096]
            far = block @ anchors
            far *= -2
            far += sizes
            far += np.einsum("ij,ij->i", block, block)[:, None]
            far *= np.float32(-1 / block.shape[1])
            np.exp(far, out=far)

    return kernel


def rows() -> str:
    """Give the table, one row a method and size; a share below its target is bold."""
    return table(HEAD, [_row(cell) for cell in kept.read(RESULTS)])


def _row(cell: dict[str, Any]) -> tuple[str, ...]:
    share, least = f"{cell['share']:.0%}", LEAST_SHARES.get(cell["bare"], 0)
    return (
        f"`{cell['method']}`",
        str(cell["dim"]),
        f"{cell['n']:,}",
        f"{cell['n_training']:,}",
        f"{cell['fit']:.2f} s",
        f"{cell['peak'] / 2**20:,.0f} MiB",
        f"{cell['encode']:,}",
        cell["bare"],
        share if cell["share"] >= least else f"**{share}**",
    )


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
    lines = []
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
        lines.append((method, what, f"{time.perf_counter() - start:.1f} s", f"{target} s"))
    return table(("method", "fit", "took", "target"), lines)
