"""Supervised discrete hashing (SDH).

F. Shen, C. Shen, W. Liu, H. T. Shen: Supervised Discrete Hashing. IEEE Conference on Computer Vision and Pattern
Recognition (CVPR), 2015.

Codes from which a linear classifier tells the classes, and which the kernel predicts: with Y (n, c) the label
indicators, Φ = [K 1] the kernel at m random training rows and a constant, find B in {-1, 1}^(n, r), r = n_bits, that
minimises

    (1)  J = |Y - B W|^2 + λ |W|^2 + ν (|B - Φ P|^2 + δ |P|^2)

by turns:

    (2)  W = (B'B + λ I)^-1 B'Y
    (3)  P = (Φ'Φ + δ I)^-1 Φ'B
    (4)  B, one column b_l after the other, by discrete cyclic coordinate descent: with Q = Y W' + ν Φ P,
         b_l = sgn(q_l - Σ_(k ≠ l) b_k (w_k · w_l)),       w_k the rows of W

Each is the best for the others given, so J never rises. In (4) |B W|^2 - 2 tr(B'Q) is what of J depends on B, and the
sum over k ≠ l what of it depends on b_l. Rows take their turns by themselves, until none of their bits changes.

    (5)  bit(x) = [P'φ(x) > 0],   k_j(x) = exp(-|x - x_j|^2 / (2 σ^2))

Labels may be several a row. Rows without a label are left out.

Cost: fit n m dim + n m^2 + m^3 for the kernel, then n (m + c + sweeps r) r for each iteration; memory n m floats, m^2
and 4 n r doubles. Encode n m (dim + r). ``history`` in the state is J of the random start, then
after each iteration; ``training_codes`` are B.

Differs from the paper: the ridge δ of (3), which the authors' code has, is part of (1). σ is decided from the data
unless given: 2 σ^2 is the mean squared distance of training rows to anchors; the authors take 0.4 for GIST of length 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _anchors, _discrete
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._parallel import blocks, sum_over

_MOST_CLASSES = 10_000


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="sdh",
        title="Supervised discrete hashing",
        paper="Shen, Shen, Liu, Shen, Supervised Discrete Hashing, CVPR",
        year=2015,
        params=(
            Param("anchors", int, 1000, minimum=1, maximum=20_000, grid=(300, 1000, 3000), help="rows of the kernel"),
            Param("iterations", int, 5, minimum=1, maximum=1000, grid=(3, 5, 10), help="turns of all three steps"),
            Param("sweeps", int, 10, minimum=1, maximum=1000, help="turns of all bits in one step, at most"),
            Param("width", float, None, minimum=1e-9, maximum=1e9, help="σ of the kernel; None: from the data"),
            Param(
                "lambda", float, 1.0, minimum=1e-9, maximum=1e9, grid=(0.1, 1.0, 10.0), help="ridge of the classifier"
            ),
            Param(
                "nu", float, 1e-5, minimum=0.0, maximum=1e3, grid=(1e-5, 1e-3, 1e-1), help="weight of the prediction"
            ),
            Param(
                "delta", float, 1e-2, minimum=1e-9, maximum=1e9, grid=(1e-3, 1e-2, 1e-1), help="ridge of the prediction"
            ),
        ),
        supervision="labels",
        default_train=100_000,
        when="labels of most rows, up to a few hundred classes: strong codes of new rows; with few labels take ksh",
    )


@hookimpl
def fit(
    vectors: np.ndarray,
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Take the three steps by turns from random codes."""
    known = labelled("sdh", vectors, labels, _MOST_CLASSES)
    rng = np.random.default_rng(seed)
    n_iterations, ridge, nu = params["iterations"], params["lambda"], params["nu"]
    progress(0, n_iterations + 1)
    features = _discrete.kernel_ridge(known.vectors, params["anchors"], params["width"], params["delta"], rng)
    codes = _discrete.random_signs(len(known.vectors), n_bits, rng)
    history: list[float] = []
    for iteration in range(n_iterations + 1):
        classifier, loss = classify(known, codes, ridge)
        weights, predicted = features.fit(codes)
        history.append(loss + nu * features.loss(codes, weights, predicted))
        progress(iteration + 1, n_iterations + 1)
        if iteration == n_iterations:
            break
        wanted = _discrete.label_mix(known, classifier.T)
        wanted += nu * predicted
        if not descend(codes, wanted, classifier, params["sweeps"]):
            break
    progress(n_iterations + 1, n_iterations + 1)
    state = features.state_of(weights)
    learned = _discrete.codes_of_all(len(vectors), known, codes, lambda: encode(state, vectors))
    return state | {"history": np.array(history), "training_codes": learned}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (5)."""
    return _anchors.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give P'φ(x)."""
    return _anchors.project(state, vectors)


def classify(known: Labelled, codes: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Solve (2): give W, float64 (n_bits, n_classes), and |Y - B W|^2 + λ |W|^2."""
    from scipy.linalg import solve

    n, n_bits = codes.shape
    inner = sum_over(blocks(n, n_bits), lambda block: codes[block].T @ codes[block])
    inner[np.diag_indices(n_bits)] += ridge
    outer = _discrete.label_sums(known, codes).T
    classifier = solve(inner, outer, assume_a="pos")
    n_labels = known.labels.sum() if known.labels.ndim == 2 else n
    return classifier, float(n_labels - (outer * classifier).sum())


def descend(codes: np.ndarray, wanted: np.ndarray, classifier: np.ndarray, n_sweeps: int) -> int:
    """Take step (4) in place, and say how many times a bit was changed.

    Parameters
    ----------
    codes : ndarray of float64, shape (n, n_bits)
        B, changed.
    wanted : ndarray of float64, shape (n, n_bits)
        Q.
    classifier : ndarray of float64, shape (n_bits, n_classes)
        W.
    n_sweeps : int
        Turns of all columns, at most.

    Returns
    -------
    int
    """
    products = classifier @ classifier.T
    np.fill_diagonal(products, 0.0)

    def change(block: slice) -> np.ndarray:
        # Columns lie together: each is read whole at every turn.
        own, target = np.asfortranarray(codes[block]), np.asfortranarray(wanted[block])
        n_changed = 0
        for _ in range(n_sweeps):
            before = n_changed
            for column in range(own.shape[1]):
                new = _discrete.signs(target[:, column] - own @ products[:, column], own[:, column])
                n_changed += int((new != own[:, column]).sum())
                own[:, column] = new
            if n_changed == before:
                break
        codes[block] = own
        return np.array(n_changed, dtype=np.float64)

    return int(sum_over(blocks(*codes.shape), change))
