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

``partial_fit`` takes the same steps for the new rows, with the anchors, σ and the codes of the rows before held;
classes may be new. The state keeps Y'Y, Y'B, Φ'Φ and Φ'B of these, all that (2) and (3) need of them, so that G and P
are exactly those of all rows with their codes. With one label a row and a small ν held codes cost nothing: they are the
code words of their classes already, and stay that. Otherwise they may be worse than those of a fit to all rows at once.

Differs from the paper: the ridge δ of (3), as in the code of SDH. σ is decided from the data unless given: 2 σ^2 is the
mean squared distance of training rows to anchors. Reconstructed from the objective: the paper's own steps were not at
hand, but (2) to (4) follow from (1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchors, _discrete
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._moments import incremental, keeps, packed, require_columns, require_kept, unpacked
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
            incremental("(m^2 + c^2) / 2 + (m + c) n_bits doubles"),
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
    keep = keeps(params["incremental"], max(min(params["anchors"], n), known.n_classes))
    features = _discrete.kernel_ridge(known.vectors, params["anchors"], params["width"], params["delta"], rng, keep)
    codes = _discrete.random_signs(n, n_bits, rng)
    shared = _shared(known)
    factor = cho_factor(shared + ridge * np.eye(known.n_classes))
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
    if keep:
        state |= _kept(n, _classes_of(labels), shared, sums, features, codes)
    return state | {"history": np.array(history), "training_codes": learned}


@hookimpl
def partial_fit(
    state: dict[str, np.ndarray], vectors: np.ndarray, labels: np.ndarray, params: dict[str, Any], seed: int
) -> dict[str, np.ndarray]:
    """Take the three steps by turns for these rows."""
    from scipy.linalg import cho_factor, cho_solve

    require_kept("fsdh", state, "seen_gram")
    require_columns(vectors, state["anchors"].shape[1])
    known, classes = _further(state["seen_classes"], vectors, labels)
    n, n_bits = len(known.vectors), state["weights"].shape[1]
    if not n:
        return {name: array for name, array in state.items() if name != "training_codes"}
    n_seen, n_new = len(state["seen_classes"]), known.n_classes - len(state["seen_classes"])
    shared = _shared(known)
    shared[:n_seen, :n_seen] += unpacked(state["seen_shared"], n_seen)
    sums_before = np.pad(state["seen_sums"], ((0, n_new), (0, 0)))
    factor = cho_factor(shared + params["lambda"] * np.eye(known.n_classes))
    gram = unpacked(state["seen_gram"], len(state["anchors"]) + 1)
    features = _discrete.KernelRidge(
        known.vectors, state["anchors"], float(state["gamma"]), params["delta"], (gram, state["seen_cross"]), keep=True
    )
    # Rows of classes that have a word begin with it, the others with a random code.
    codes = _discrete.random_signs(n, n_bits, np.random.default_rng(seed))
    words = cho_solve(factor, sums_before)
    words[n_seen:] = 0
    codes = _discrete.signs(_discrete.label_mix(known, words), codes)
    count = n + int(state["seen"])
    history: list[float] = []
    for iteration in range(params["iterations"] + 1):
        sums = sums_before + _discrete.label_sums(known, codes)
        words = cho_solve(factor, sums)
        weights, predicted = features.fit(codes)
        # At the best G and P, J has these closed forms; the held codes are in the sums.
        fit_of_labels, fit_of_kernel = (sums * words).sum(), (features.cross(codes) * weights).sum()
        history.append(float((1 + params["nu"]) * count * n_bits - fit_of_labels - params["nu"] * fit_of_kernel))
        if iteration == params["iterations"]:
            break
        new = _discrete.signs(_discrete.label_mix(known, words) + params["nu"] * predicted, codes)
        if (new == codes).all():
            break
        codes = new
    kept = _kept(count, classes, shared, sums, features, codes)
    return features.state_of(weights) | kept | {"history": np.array(history)}


def _shared(known: Labelled) -> np.ndarray:
    """Give Y'Y, float64 (n_classes, n_classes)."""

    def term(block: slice) -> np.ndarray:
        indicators = known.indicators(block)
        return indicators.T @ indicators

    return sum_over(blocks(len(known.vectors), known.n_classes), term)


def _classes_of(labels: np.ndarray) -> np.ndarray:
    """Give the numbers of the classes that some row has, ascending, int64; of several labels those of their columns."""
    return np.flatnonzero(labels.any(axis=0)) if labels.ndim == 2 else np.unique(labels[labels >= 0])


def _further(seen: np.ndarray, vectors: np.ndarray, labels: np.ndarray) -> tuple[Labelled, np.ndarray]:
    """Take the labelled rows, classes numbered as before and new ones after them; give these classes as well."""
    rows = np.flatnonzero(labels.any(axis=1) if labels.ndim == 2 else labels >= 0)
    labels = labels[rows]
    classes = np.concatenate([seen, np.setdiff1d(_classes_of(labels), seen)])
    if len(classes) > _MOST_CLASSES:
        raise ArgumentError(f"the labels have {len(classes)} classes, expected at most {_MOST_CLASSES} for fsdh")
    if labels.ndim == 2:
        places = np.pad(labels, ((0, 0), (0, max(0, int(classes.max()) + 1 - labels.shape[1]))))[:, classes]
    else:
        order = np.argsort(classes)
        places = order[np.searchsorted(classes, labels, sorter=order)]
    return Labelled(vectors[rows], places, rows, len(classes)), classes


def _kept(
    count: int,
    classes: np.ndarray,
    shared: np.ndarray,
    sums: np.ndarray,
    features: _discrete.KernelRidge,
    codes: np.ndarray,
) -> dict[str, np.ndarray]:
    """Give what a state keeps of the rows so far."""
    return {
        "seen": np.array(count, np.int64),
        "seen_classes": classes.astype(np.int64),
        "seen_shared": packed(shared),
        "seen_sums": sums,
        "seen_gram": packed(features.gram),
        "seen_cross": features.cross(codes),
    }


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (5)."""
    return _anchors.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give P'φ(x)."""
    return _anchors.project(state, vectors)
