"""Sequential projection learning (SPLH): with labels the semi-supervised S3PLH, without them USPLH.

J. Wang, S. Kumar, S.-F. Chang: Sequential Projection Learning for Hashing with Compact Codes. International Conference
on Machine Learning (ICML), 2010; reconstructed from the authors' code.

X are the centred vectors, C their covariance, X_l those with a label, s_ij is 1 for two of these that share a class and
-1 for two that do not, ||·|| the Frobenius norm. For bit k = 1, 2, … starting with S = (s_ij):

    (1)  w_k = the first eigenvector of  M_k = X_l S X_l' / ||X_l S^1 X_l'|| + η C / ||C^1||
    (2)  S <- S - α T,   t_ij = y_i y_j where s_ij y_i y_j < 0, else 0,   y = X_l' w_k, scaled to mean square 1
    (3)  X <- X - w_k w_k' X,  which is  C <- (I - w_k w_k') C (I - w_k w_k')
    (4)  bit_k(x) = [w_k · (x - μ) > 0]

(2) raises the weight of the pairs that bit k gets wrong. It never changes the sign of an entry of S, so that
t_ij = (y_i y_j - s_ij |y_i| |y_j|) / 2 with the first s, and X_l T X_l' comes from sums over classes: no matrix of
pairs is kept.

Without labels, each bit gives pseudo-labels. On either side of its threshold, r- and r+ are the rows nearest to it, R-
and R+ those farthest from it. Pairs within r- and r+ together ought to have the same bit (+1), pairs of r and R on one
side different bits (-1):

    (5)  w_k = the first eigenvector of  C + P_k,    P_1 = 0,   P_{k+1} = λ (P_k + mean_+ - mean_-)

where mean_+ is the sum of x_i x_j' over ordered positive pairs, divided by the number of pairs of r- with r+, mean_-
the sum over ordered negative pairs, divided by their number on both sides, and x are the vectors as they were before
(3).

Cost per bit: n dim for y, dim^3 for the eigenvector; with labels c dim^2 for c classes, or u^2 dim for u different sets
of labels; without them n log n, and dim^2 for each row near a threshold. Memory dim^2 and c dim doubles. Encode
n dim n_bits. More bits than dimensions are possible: what remains when X is used up are the pairs. ``history`` in the
state is w_k' M_k w_k, the largest eigenvalue, for each bit.

Differs from the paper: the scales in (1) and (2), which make η and α mean the same for any data. X_l in (1) is not
deflated by (3): so the authors' code has it, although the paper's text can be read either way. The threshold is the
mean in (5) too, where the authors' code takes the median; its λ is 0.125 and its r and R are 1,000 of a million rows,
too many beside fewer rows for so small a λ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._label_pairs import LabelPairs, unit
from hashdb_plugins._labels import labelled
from hashdb_plugins._parallel import blocks, workers

Update = Callable[[np.ndarray, np.ndarray], np.ndarray]
Progress = Callable[[int, int], None]


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="splh",
        title="Sequential projection learning",
        paper="Wang, Kumar, Chang, Sequential Projection Learning for Hashing with Compact Codes, ICML",
        year=2010,
        params=(
            Param(
                "eta",
                float,
                0.3,
                minimum=0.0,
                maximum=1e6,
                grid=(0.1, 0.3, 1.0, 3.0, 10.0),
                help="with labels: weight of the variance of all rows beside them",
            ),
            Param(
                "alpha",
                float,
                0.1,
                minimum=0.0,
                maximum=100.0,
                grid=(0.03, 0.1, 0.3, 1.0),
                help="with labels: how much a pair that a bit gets wrong counts more in the next",
            ),
            Param(
                "decay",
                float,
                0.5,
                minimum=0.0,
                maximum=1.0,
                grid=(0.125, 0.25, 0.5),
                help="without labels: λ, weight of the pseudo-labels and what each bit leaves of the earlier ones",
            ),
            Param(
                "boundary_rows",
                int,
                1000,
                minimum=1,
                maximum=1_000_000,
                grid=(250, 1000, 2000),
                help="without labels: rows near the threshold, and far from it, on either side; at most half of a side",
            ),
        ),
        supervision="optional labels",
        default_train=20_000,
        when="labels and more bits than classes, where ssh falls off; fast, any number of bits; labels may be missing",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], labels: np.ndarray | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Find one direction after another."""
    mean = _linear.mean_of(vectors)
    covariance = _linear.covariance(vectors, mean)
    if labels is None:
        variance, pairs = covariance, np.zeros_like(covariance)
        update = _pseudo_labels(vectors, mean, params)
    else:
        similar = LabelPairs(labelled("splh", vectors, labels))
        pairs = similar.pair_sum(similar.sums_of_rows(mean))
        scale = float(np.linalg.norm(pairs)) or 1.0
        variance, pairs = params["eta"] * unit(covariance), pairs / scale
        update = _mistakes(similar, mean, params["alpha"] / scale)
    weights = np.empty((vectors.shape[1], n_bits))
    history = np.empty(n_bits)
    # Many short products: one thread of the linear algebra library each.
    with workers():
        for bit in range(n_bits):
            adjusted = variance + pairs
            direction = _linear.principal_directions(adjusted, 1)
            weights[:, bit] = direction[:, 0]
            history[bit] = float((direction.T @ adjusted @ direction)[0, 0])
            if bit + 1 < n_bits:
                pairs = update(pairs, direction[:, 0])
                rest = variance - direction @ (direction.T @ variance)
                variance = rest - (rest @ direction) @ direction.T
            progress(bit + 1, n_bits)
    return _linear.state_of(mean, weights) | {"history": history}


def _mistakes(similar: LabelPairs, mean: np.ndarray, alpha: float) -> Update:
    """Make the update of equation (2) of the weighted sum over pairs."""

    def update(pairs: np.ndarray, direction: np.ndarray) -> np.ndarray:
        y = _projected(similar.known.vectors, mean, direction)
        y /= float(np.sqrt(np.mean(y * y))) or 1.0
        all_pairs = similar.sums_of_rows(mean, y).sum(axis=0)
        wrong = (np.outer(all_pairs, all_pairs) - similar.pair_sum(similar.sums_of_rows(mean, np.abs(y)))) / 2
        return pairs - alpha * wrong

    return update


def _pseudo_labels(vectors: np.ndarray, mean: np.ndarray, params: dict[str, Any]) -> Update:
    """Make the update of equation (5) of the weighted sum over pairs."""

    def update(pairs: np.ndarray, direction: np.ndarray) -> np.ndarray:
        y = _projected(vectors, mean, direction)
        order = np.argsort(y, kind="stable")
        n_left = int(np.count_nonzero(y <= 0))
        n_near = min(params["boundary_rows"], n_left // 2, (len(y) - n_left) // 2)
        new = np.zeros_like(pairs)
        if n_near:
            near = order[n_left - n_near : n_left + n_near]
            left, right = _linear.centred(vectors[near], mean).reshape(2, n_near, -1)
            far_left = _linear.centred(vectors[order[:n_near]], mean).mean(axis=0)
            far_right = _linear.centred(vectors[order[-n_near:]], mean).mean(axis=0)
            middle = left.mean(axis=0) + right.mean(axis=0)
            # Every pair of r- and r+ but a row with itself.
            new += np.outer(middle, middle) - (left.T @ left + right.T @ right) / n_near**2
            cross = (np.outer(left.mean(axis=0), far_left) + np.outer(right.mean(axis=0), far_right)) / 2
            new -= cross + cross.T
        return params["decay"] * (pairs + new)

    return update


def _projected(vectors: np.ndarray, mean: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Give w · (x - μ) of rows, float64 (n,)."""
    return np.concatenate([_linear.centred(vectors[block], mean) @ direction for block in blocks(*vectors.shape)])


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give w_k · (x - μ)."""
    return _linear.project(state, vectors)
