"""Scalable discrete matrix factorisation hashing across modalities (SCRATCH).

C.-X. Li, Z.-D. Chen, P.-F. Zhang, X. Luo, L. Nie, W. Zhang, X.-S. Xu: SCRATCH: A Scalable Discrete Matrix Factorization
Hashing for Cross-Modal Retrieval. ACM International Conference on Multimedia (MM), 2018.

What the views and the labels of a pair have in common becomes one latent row v (r = n_bits values), rotated onto a
code. With X_t (n, m) the centred kernels of view t = 1 … T at m anchors, Y (n, c) the label indicators, V (n, r), R
(r, r) orthogonal and B in {-1, 1}^(n, r), minimise

    (1)  J = Σ_t λ |X_t - V U_t|^2 + α |Y - V G|^2 + |B - V R|^2 + μ Σ_t |V - X_t W_t|^2
             + γ (Σ_t |U_t|^2 + |G|^2 + Σ_t |W_t|^2 + |V|^2),     λ = 1 / T

by turns (module ``_latent_factors``), each the best for the others given, so that J never rises:

    (2)  U_t = (λ V'V + γ I)^-1 λ V'X_t,     G = (α V'V + γ I)^-1 α V'Y
    (3)  W_t = (μ X_t'X_t + γ I)^-1 μ X_t'V
    (4)  V = (Σ_t X_t (λ U_t' + μ W_t) + α Y G' + B R') (Σ_t λ U_t U_t' + α G G' + (1 + T μ + γ) I)^-1
    (5)  R = P Q',     V'B = P S Q' its singular value decomposition
    (6)  B = sgn(V R)
    (7)  bit(x) = [R' W_t' (k(x) - k̄) > 0],   k_j(x) = exp(-|x - a_j|^2 / (2 σ^2)),   σ^2 = mean of |x_i - a_j|^2

k̄ is the mean kernel of the training rows. Labels may be several a row. Rows without a label are left out; their
training codes are the signs of the sum over views of (7).

Cost: fit for each view n m dim + n m^2 + m^3, then n m r + m^2 r for each iteration, and n (c + r) r; memory n m floats
and m^2 doubles for each view, 2 n r doubles. Encode n m (dim + r). ``history`` in the state is J of the random start,
with its best U, G and W, then after each iteration; ``training_codes`` are B.

Differs from the paper: reconstructed from the authors' code of training and demonstration, which has (1) to (7) for two
views; their kernel function was not found, and m and σ are those that others use with it. Views weigh the same, of any
number; the authors' λ may favour one of two, and is 1/2 in their demonstration. An iteration ends with (2) and (3)
where theirs ends with (5), so that W_t and B are those of the last V.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _anchors
from hashdb_plugins._labelled_views import codes_of_all, labelled_views
from hashdb_plugins._latent_factors import CentredKernel, factorise
from hashdb_plugins._views import named, view_of

_MOST_CLASSES = 10_000


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="scratch",
        title="Scalable discrete matrix factorisation hashing",
        paper=(
            "Li, Chen, Zhang, Luo, Nie, Zhang, Xu, SCRATCH: A Scalable Discrete Matrix Factorization Hashing for "
            "Cross-Modal Retrieval, ACM MM"
        ),
        year=2018,
        params=(
            Param("anchors", int, 500, minimum=1, maximum=20_000, grid=(300, 500, 1000), help="rows of the kernels"),
            Param("iterations", int, 20, minimum=1, maximum=10_000, grid=(10, 20, 50), help="turns of all steps"),
            Param("alpha", float, 500.0, minimum=0.0, maximum=1e9, grid=(50.0, 500.0, 5000.0), help="weight of labels"),
            Param("mu", float, 1000.0, minimum=1e-9, maximum=1e9, grid=(100.0, 1000.0), help="weight of prediction"),
            Param("gamma", float, 5.0, minimum=1e-9, maximum=1e9, grid=(0.5, 5.0, 50.0), help="ridge of all factors"),
        ),
        supervision="paired modalities and labels",
        default_train=100_000,
        when="labelled pairs, few or many: fits in seconds, and is among the best across modalities",
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
    """Take the steps by turns from a random V and R."""
    known, views = labelled_views("scratch", vectors, labels, _MOST_CLASSES)
    n_iterations = params["iterations"]
    progress(0, n_iterations + 1)
    rng = np.random.default_rng(seed)
    kernels = [CentredKernel(rows, params["anchors"], rng) for rows in views.values()]
    latent = rng.standard_normal((len(known.rows), n_bits))
    rotation = np.linalg.qr(rng.standard_normal((n_bits, n_bits)))[0]
    found = factorise(kernels, known, latent, rotation, params, lambda done: progress(done, n_iterations + 1))
    state = {"history": np.array(found.history)}
    for name, kernel, weights in zip(views, kernels, found.weights, strict=True):
        state |= named(kernel.state_of(weights @ found.rotation), name)
    learned = codes_of_all(vectors, known, found.codes > 0, lambda rows, name: project(state, rows, name))
    return state | {"training_codes": learned}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (7)."""
    return _anchors.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give R' W' (k(x) - k̄)."""
    return _anchors.project(view_of(state, modality), vectors)
