"""Codes smoothed over a graph of the rows, and machines that learn them: GRH, and RCMH in its annotation modality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashdb import Param
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchors, _linear, _svm
from hashdb_plugins._labels import Labelled
from hashdb_plugins._neighbours import neighbour_graph
from hashdb_plugins.unsupervised import itq, lsh

Averages = Callable[[np.ndarray], np.ndarray]
"""Gives D^-1 S V of V (n, k), float64: for each row the mean of V over the rows that S joins it to."""

_MOST_KERNEL_ROWS = 10_000
_BLOCK_PAIRS = 1 << 22

INITIAL = Param("initial", str, "lsh", choices=("lsh", "itq"), grid=("lsh", "itq"), help="method of the first codes")
C = Param("c", float, 1.0, minimum=1e-6, maximum=1e6, grid=(0.1, 1.0, 10.0, 100.0), help="C of the machines")
GAMMA = Param(
    "gamma",
    float,
    1.0,
    minimum=1e-6,
    maximum=1e6,
    grid=(0.1, 0.3, 1.0, 3.0),
    help="of kernel rbf, in units of one over the mean square length of centred rows",
)


def class_averages(known: Labelled) -> Averages:
    """Average over the rows that share a class, the row itself too.

    Class means where a row has one label; where it may have several, S is made a block of rows at a time.
    """

    def of_class(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((known.n_classes, values.shape[1]))
        np.add.at(sums, known.labels, values)
        return (sums / np.bincount(known.labels)[:, None])[known.labels]

    def of_classes(values: np.ndarray) -> np.ndarray:
        means = np.empty_like(values)
        step = max(1, _BLOCK_PAIRS // len(values))
        for start in range(0, len(values), step):
            share = known.share(slice(start, start + step), slice(None)).astype(np.float64)
            means[start : start + step] = share @ values / share.sum(axis=1, keepdims=True)
        return means

    return of_class if known.labels.ndim == 1 else of_classes


def neighbour_averages(vectors: np.ndarray, k: int) -> Averages:
    """Average over the row itself and all rows of which one is among the k nearest of the other, by Euclidean distance.

    Cost n^2 dim to start, then n k for each column; memory n (dim + k).
    """
    from scipy.sparse import eye_array

    share = neighbour_graph(vectors, k) + eye_array(len(vectors), format="csr")
    counts = share.sum(axis=1)[:, None]
    return lambda values: share @ values / counts


def smoothed(bits: np.ndarray, first: np.ndarray, averages: Averages, alpha: float) -> np.ndarray:
    """Give sgn(α D^-1 S B + (1 - α) B_0), bool (n, n_bits); a bit that would lose one of its two values stays."""
    means = averages(np.where(bits, 1.0, -1.0))
    smooth = alpha * means + (1 - alpha) * np.where(first, 1.0, -1.0) >= 0
    return np.where(smooth.all(axis=0) | ~smooth.any(axis=0), bits, smooth)


def first_bits(method: str, vectors: np.ndarray, n_bits: int, initial: str, seed: int) -> np.ndarray:
    """Encode the training rows by an unsupervised method, ``lsh`` or ``itq``: bool (n, n_bits)."""
    if initial == "lsh":
        return lsh.encode(lsh.fit(vectors, n_bits, seed), vectors)
    if n_bits > vectors.shape[1]:
        raise ArgumentError(
            f"{method} starts from codes of itq, of at most one bit a dimension: n_bits is {n_bits}, the vectors have "
            f"dim {vectors.shape[1]}; ask for fewer bits or use initial=lsh"
        )
    params = {"iterations": 50, "incremental": False}
    return itq.encode(itq.fit(vectors, n_bits, params, seed, lambda done, total: None), vectors)


@dataclass(frozen=True)
class Machines:
    """Support vector machines on some rows, linear or with a Gaussian kernel, one for each bit.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n, dim)
    mean : ndarray of float32, shape (dim,)
    scale : float
        Root mean square length of the centred rows.
    gamma : float or None
        Of the kernel; None for linear machines.
    inputs : ndarray of float64, shape (n, dim) or (n, n)
        Rows in units of ``scale``, or the kernel of all pairs.
    c : float
    """

    vectors: np.ndarray
    mean: np.ndarray
    scale: float
    gamma: float | None
    inputs: np.ndarray
    c: float

    @classmethod
    def on(cls, method: str, vectors: np.ndarray, params: dict[str, Any]) -> Machines:
        """Prepare machines with the params ``kernel``, ``gamma`` and ``c``."""
        is_linear = params["kernel"] == "linear"
        if not is_linear and len(vectors) > _MOST_KERNEL_ROWS:
            raise ArgumentError(
                f"{method} with kernel rbf keeps a matrix of all pairs of rows: got {len(vectors)}, expected at most "
                f"{_MOST_KERNEL_ROWS}; train on fewer or use kernel=linear"
            )
        mean = _linear.mean_of(vectors)
        rows = _linear.centred(vectors, mean)
        scale = _svm.unit_scale(rows)
        if is_linear:
            rows /= scale
            return cls(vectors, mean, scale, None, rows, params["c"])
        gamma = params["gamma"] / scale**2
        inputs = _anchors.kernel(vectors, vectors, gamma).astype(np.float64)
        return cls(vectors, mean, scale, gamma, inputs, params["c"])

    def learn(self, bits: np.ndarray, progress: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
        """Train on bits, with as much weight on the rows of either value; give weights and bias."""
        learn = _svm.planes if self.gamma is None else _svm.kernel_planes
        return learn(self.inputs, bits, self.c, "balanced", progress)

    def bits(self, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Say what machines think of the rows they were trained on, bool (n, n_bits)."""
        return self.inputs @ weights + bias > 0

    def state(self, weights: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
        """Make a state of machines; with a kernel, the rows that are support vectors of some bit are its anchors."""
        if self.gamma is None:
            return _svm.state_of(self.mean, weights, bias, self.scale)
        used = (weights != 0).any(axis=1)
        used[0] |= not used.any()
        return _anchors.state_of(self.vectors[used], self.gamma, weights[used], bias)


def take_turns(
    machines: Machines,
    first: np.ndarray,
    averages: Averages,
    alpha: float,
    iterations: int,
    progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth codes and learn to predict them, by turns; give weights and bias of the last machines.

    A machine whose bit is smoothed to the same as a turn before is not trained again: it would be the same.
    ``progress`` is called with the number of machines done.
    """
    n_bits = first.shape[1]
    weights, bias = np.zeros((machines.inputs.shape[1], n_bits)), np.zeros(n_bits)
    bits = before = first
    for turn in range(iterations):
        wanted, done = smoothed(bits, first, averages, alpha), turn * n_bits
        stale = (wanted != before).any(axis=0) | (turn == 0)
        for _ in range(n_bits - np.count_nonzero(stale)):
            done += 1
            progress(done)
        if stale.any():
            learned = machines.learn(wanted[:, stale], lambda more, done=done: progress(done + more))
            weights[:, stale], bias[stale] = learned
            bits = machines.bits(weights, bias)
        before = wanted
    return weights, bias


def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of machines, bool (n, n_bits)."""
    return _anchors.encode(state, vectors) if "anchors" in state else _svm.encode(state, vectors)


def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the margins of machines, in units of the vectors where they are linear, float32 (n, n_bits)."""
    return _anchors.project(state, vectors) if "anchors" in state else _svm.project(state, vectors)
