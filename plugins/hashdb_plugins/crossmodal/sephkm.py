"""Semantics-preserving hashing (SePH) with kernel logistic regressions on sampled kernel points.

Z. Lin, G. Ding, M. Hu, J. Wang: Semantics-Preserving Hashing for Cross-View Retrieval. IEEE Conference on Computer
Vision and Pattern Recognition (CVPR), 2015.

One code for each training pair, such that near codes are probable where labels are alike. With A_ij the cosine of the
label vectors of pairs i ≠ j, find relaxed codes H (n, K), K = n_bits, that minimise

    (1)  J = Σ_ij p_ij log(p_ij / q_ij) + α / (n K) | |H| - 1 |^2
         p_ij = A_ij / Σ A,     q_ij = y_ij / Σ y,     y_ij = 1 / (1 + |h_i - h_j|^2 / 4)

where |h_i - h_j|^2 / 4 is the Hamming distance if H is 1 and -1. Then, for each view and bit b, a kernel logistic
regression on m kernel points c_j, centres of k-means (SePH_km) or training rows (SePH_rnd):

    (2)  w_b minimises  Σ_i log(1 + exp(-s_ib f_b(x_i))) + C w_b' K_0 w_b,     s_ib = sgn(h_ib)
    (3)  bit_b(x) = [f_b(x) > 0],  f_b(x) = Σ_j w_bj exp(-|x - c_j|^2 / (2 σ^2)),  σ^2 = mean of |x_i - c_j|^2

with K_0 the kernel of the kernel points. f_b is the log odds of the bit, so that the paper's rule for an item that has
several views, [Π_t P_t(1) > Π_t P_t(0)], is the sign of the sum of their f_b. Here a query is of one view. Training
codes are sgn(H); those of pairs without a label, which H leaves out, are of the rule. There may be two views or more.

A_ij depends on labels only. H starts equal for pairs whose label sets are equal, and (1) keeps it so: J and its
gradient are sums over pairs of label sets (module ``_label_divergence``), and no matrix of pairs of rows is made. Where
labels exclude each other, a start of its own for each pair ends in such codes as well; where pairs have several labels,
it ends with a J about half a per cent lower, in codes that are no better.

Cost: fit s^2 K for each of ``iterations``, s the number of different label sets, at most 10,000; for each view n m dim
for each of 20 turns of k-means, n m^2 + m^3 for the kernel, then n m for each of some 50 turns of each different bit.
Memory 2 n m floats, and a block of pairs of sets for each thread. Encode n m (dim + K). ``history`` in the state is J
of the start, then after each turn of SciPy's L-BFGS, which never lets it rise.

Differs from the paper: reconstructed from a copy of the authors' code, which (2) follows too, here on the directions in
which K_0 has more than 1e-6 of its largest eigenvalue. The start of H; L-BFGS in place of gradient descent with
adaptive rates, without its early exaggeration of P. The authors retrieve from codes that the rule of all views
predicts, even of training pairs, not from sgn(H).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _anchors
from hashdb_plugins._label_divergence import MOST_SETS, LabelDivergence
from hashdb_plugins._labelled_views import codes_of_all, labelled_views
from hashdb_plugins._logistic import regress
from hashdb_plugins._views import named, view_of


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="sephkm",
        title="Semantics-preserving hashing, k-means sampling",
        paper="Lin, Ding, Hu, Wang, Semantics-Preserving Hashing for Cross-View Retrieval, CVPR",
        year=2015,
        params=(
            Param("kernel_points", int, 500, minimum=1, maximum=20_000, grid=(200, 500), help="of the regressions"),
            Param("sampling", str, "kmeans", choices=("kmeans", "random"), help="kernel points: centres or rows"),
            Param("iterations", int, 200, minimum=1, maximum=100_000, grid=(50, 200), help="turns of L-BFGS, at most"),
            Param("alpha", float, 0.01, minimum=0.0, maximum=1e6, grid=(0.01, 1.0), help="weight of quantisation"),
            Param("c", float, 0.01, minimum=1e-9, maximum=1e9, grid=(1e-3, 0.01, 0.1), help="ridge of the regressions"),
        ),
        supervision="paired modalities and labels",
        default_train=5_000,
        when="labelled pairs, a few thousand of them: among the best across modalities; scratch fits more, and faster",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Learn a code for each set of labels, then to predict it from each view."""
    known, views = labelled_views("sephkm", vectors, labels, MOST_SETS)
    n_turns = params["iterations"]
    n_steps = n_turns + len(views) * n_bits
    rng = np.random.default_rng(seed)
    divergence = LabelDivergence("sephkm", known)
    relaxed, history = divergence.minimise(n_bits, params["alpha"], n_turns, rng, lambda done: progress(done, n_steps))
    codes = (relaxed > 0)[divergence.of_rows]
    state = {"history": history}
    for view, (name, rows) in enumerate(views.items()):

        def count(bits: int, before: int = n_turns + view * n_bits) -> None:
            progress(before + bits, n_steps)

        points = _kernel_points(rows, params["kernel_points"], params["sampling"], rng)
        # Where all rows are equal any width gives the same kernel.
        gamma = 0.5 / (_anchors.mean_square_distance(rows, points) or 1.0)
        weights, bias = regress(rows, points, gamma, codes, params["c"], count)
        state |= named(_anchors.state_of(points, gamma, weights, bias), name)
    learned = codes_of_all(vectors, known, codes, lambda rows, name: project(state, rows, name))
    return state | {"training_codes": learned}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (3)."""
    return _anchors.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the log odds f."""
    return _anchors.project(view_of(state, modality), vectors)


def _kernel_points(rows: np.ndarray, n_points: int, sampling: str, rng: np.random.Generator) -> np.ndarray:
    if sampling == "random":
        return _anchors.random_anchors(rows, n_points, rng)
    return _anchors.kmeans_anchors(rows, n_points, int(rng.integers(2**31)))
