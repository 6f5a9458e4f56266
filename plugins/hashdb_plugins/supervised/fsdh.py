"""Fast supervised discrete hashing (FSDH).

J. Gui, T. Liu, Z. Sun, D. Tao, T. Tan: Fast Supervised Discrete Hashing. IEEE Transactions on Pattern Analysis and
Machine Intelligence 40(2), 2018. (Not the method of G. Koutaki, K. Shirai, M. Ambai, arXiv 1611.10017, which had the
same name and is called HC-SDH now.)

SDH (module ``sdh``) regresses codes to labels; here labels are regressed to codes, and the step of the codes has a
closed form: with Y (n, c) the label indicators, Φ = [K 1] the kernel at m random training rows and a constant, find B
in {-1, 1}^(n, r), r = n_bits, that minimises

    (1)  J = |B - Y G|^2 + λ |G|^2 + ν (|B - Φ P|^2 + δ |P|^2)

by turns:

    (2)  G = (Y'Y + λ I)^-1 Y'B
    (3)  P = (Φ'Φ + δ I)^-1 Φ'B
    (4)  B = sgn(Y G + ν Φ P)

In (4) the elements of B have squares of 1, so that J is a constant less 2 tr(B' (Y G + ν Φ P)), and each element is
free. Each step is the best for the others given, so J never rises.

    (5)  bit(x) = [P'φ(x) > 0],   k_j(x) = exp(-|x - x_j|^2 / (2 σ^2))

With one label a row and a small ν every class gets a code word of its own in the first turn, the majority of the
random codes of its rows, and the rest is the regression (3). Labels may be several a row. Rows without a label are left
out.

Cost: fit n m dim + n m^2 + m^3 for the kernel, then n (m + c) r + c^3 for each iteration, of which two or three are
needed; memory n m floats, m^2 and c^2 and 4 n r doubles. Encode n m (dim + r). At most 5,000 classes. ``history`` in
the state is J of the random start, then after each iteration; ``training_codes`` are B.

Differs from the paper: the ridge δ of (3), as in the code of SDH. σ is decided from the data unless given: 2 σ^2 is the
mean squared distance of training rows to anchors. Reconstructed from the objective: the paper's own steps were not at
hand, but (2) to (4) follow from (1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _anchors, _discrete
from hashdb_plugins._labels import labelled
from hashdb_plugins._parallel import blocks, sum_over

_MOST_CLASSES = 5_000


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="fsdh",
        title="Fast supervised discrete hashing",
        paper="Gui, Liu, Sun, Tao, Tan, Fast Supervised Discrete Hashing, IEEE TPAMI 40(2)",
        year=2018,
        params=(
            Param("anchors", int, 1000, minimum=1, maximum=20_000, grid=(300, 1000, 3000), help="rows of the kernel"),
            Param("iterations", int, 5, minimum=1, maximum=1000, grid=(2, 5), help="turns of all three steps, at most"),
            Param("width", float, None, minimum=1e-9, maximum=1e9, help="σ of the kernel; None: from the data"),
            Param("lambda", float, 1.0, minimum=1e-9, maximum=1e9, grid=(0.1, 1.0, 10.0), help="ridge of the labels"),
            Param(
                "nu", float, 1e-5, minimum=0.0, maximum=1e3, grid=(1e-5, 1e-3, 1e-1), help="weight of the prediction"
            ),
            Param(
                "delta", float, 1e-2, minimum=1e-9, maximum=1e9, grid=(1e-3, 1e-2, 1e-1), help="ridge of the prediction"
            ),
        ),
        supervision="labels",
        default_train=100_000,
        when="as sdh, and in less time: long codes, many classes; no better than sdh where the time does not matter",
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
    from scipy.linalg import cho_factor, cho_solve

    known = labelled("fsdh", vectors, labels, _MOST_CLASSES)
    n = len(known.vectors)
    rng = np.random.default_rng(seed)
    n_iterations, ridge, nu = params["iterations"], params["lambda"], params["nu"]
    progress(0, n_iterations + 1)
    features = _discrete.KernelRidge(known.vectors, params["anchors"], params["width"], params["delta"], rng)
    codes = _discrete.random_signs(n, n_bits, rng)

    def shared(block: slice) -> np.ndarray:
        indicators = known.indicators(block)
        return indicators.T @ indicators

    inner = sum_over(blocks(n, known.n_classes), shared) + ridge * np.eye(known.n_classes)
    factor = cho_factor(inner)

    history: list[float] = []
    for iteration in range(n_iterations + 1):
        sums = _discrete.label_sums(known, codes)
        words = cho_solve(factor, sums)
        weights, predicted = features.fit(codes)
        loss = float(codes.size - (sums * words).sum())
        history.append(loss + nu * features.loss(codes, weights, predicted))
        progress(iteration + 1, n_iterations + 1)
        if iteration == n_iterations:
            break
        new = _discrete.signs(_discrete.label_mix(known, words) + nu * predicted, codes)
        if (new == codes).all():
            break
        codes = new
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
