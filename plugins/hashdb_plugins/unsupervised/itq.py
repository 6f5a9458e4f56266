"""Iterative quantisation (ITQ).

Y. Gong, S. Lazebnik: Iterative Quantization: A Procrustean Approach to Learning Binary Codes. IEEE Conference on
Computer Vision and Pattern Recognition (CVPR), 2011. Extended: Y. Gong, S. Lazebnik, A. Gordo, F. Perronnin, IEEE
Transactions on Pattern Analysis and Machine Intelligence 35(12), 2013.

With V = (X - μ) P the projections on the n_bits principal directions P, find an orthogonal R and B in {-1, 1} that
minimise

    (1)  Q(B, R) = ||B - V R||^2        (Frobenius norm)

by turns:

    (2)  B = sgn(V R)
    (3)  R = U W',  where V'B = U S W' is a singular value decomposition

Both turns lower Q or leave it. The first R is a random rotation.

    (4)  bit(x) = [R' P' (x - μ) > 0]

Cost: fit n dim^2 + dim^3 for P, then n n_bits^2 + n_bits^3 for each of the iterations; memory dim^2 and n n_bits
floats and bools. Encode n dim n_bits, P R being one matrix. At most dim bits. ``history`` in the state is Q after each
iteration.

``partial_fit``, at the same cost for the new rows alone, is exact in μ and P: the state keeps the number, mean and
second moments of all rows (``_moments``), which make them the same at once or in blocks, but for rounding. It is
approximate in R: of the rows before, the state keeps X'B, dim n_bits doubles, with the signs B that they had at the end
of their own fit. With these held, (2) goes over the new rows and (3) over all; the first R is the one nearest to the
last. ``history`` is then Q of all rows with these signs. It never rises, and is never below Q with the best signs.

Differs from the paper: nothing. It stops before ``iterations`` where Q does not fall any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._moments import Moments, incremental, keeps
from hashdb_plugins._parallel import blocks, sum_over
from hashdb_plugins._rotation import learn_rotation, projected, rotate, unit_of


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="itq",
        title="Iterative quantisation",
        paper="Gong, Lazebnik, Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR",
        year=2011,
        params=(
            Param("iterations", int, 50, minimum=1, maximum=1000, grid=(20, 50, 100), help="turns of signs, rotation"),
            incremental("dim^2 / 2 + dim n_bits doubles"),
        ),
        max_bits=None,
        default_train=100_000,
        when="the default without labels: short codes (16 to 128 bits) of any dense vectors; at most dim bits",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], seed: int, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Find the principal directions, then the rotation."""
    dim = vectors.shape[1]
    _linear.require_directions("itq", n_bits, dim)
    mean = vectors.mean(axis=0, dtype=np.float64)
    rounded = mean.astype(np.float32)
    covariance = _linear.covariance(vectors, rounded)
    directions = _linear.principal_directions(covariance, n_bits)
    weights, history = rotate(vectors, rounded, directions, covariance, params["iterations"], seed, progress)
    state = _linear.state_of(rounded, weights) | {"history": history}
    if keeps(params["incremental"], dim):
        state |= Moments.about(len(vectors), mean, covariance).state() | _signs(vectors, rounded, weights)
    return state


@hookimpl
def partial_fit(state: dict[str, np.ndarray], vectors: np.ndarray, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Find the principal directions of the rows so far and these, then go on from the last rotation."""
    before = Moments.of_state("itq", state, vectors, with_scatter=True)
    if not len(vectors):
        return dict(state)
    moments = before.with_rows(vectors)
    mean, covariance, n_bits = moments.rounded_mean(), moments.covariance(), state["weights"].shape[1]
    directions = _linear.principal_directions(covariance, n_bits)
    unit = unit_of(directions, covariance)
    # X'B about the new mean.
    moved = state["mean"].astype(np.float64) - mean
    signs = {"seen_signs": state["seen_signs"] + np.outer(moved, state["seen_ones"]), "seen_ones": state["seen_ones"]}
    u, _, w = np.linalg.svd(directions.T @ state["weights"])
    rotation, agreement = learn_rotation(
        projected(vectors, mean, directions / unit)[0],
        params["iterations"],
        seed=0,
        progress=lambda done, total: None,
        start=u @ w,
        held=directions.T @ signs["seen_signs"] / unit,
    )
    weights = directions @ rotation
    energy = np.einsum("jk,jl,lk->", directions, covariance, directions, optimize=True)
    history = moments.count * (n_bits + energy) - 2 * unit * agreement
    new = _signs(vectors, mean, weights)
    return (
        _linear.state_of(mean, weights)
        | {"history": history}
        | moments.state()
        | {name: signs[name] + new[name] for name in signs}
    )


def _signs(vectors: np.ndarray, mean: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Give X'B and 1'B, with X centred and B the signs of rows, float64 (dim, n_bits) and (n_bits,)."""

    def term(block: slice) -> np.ndarray:
        rows = _linear.centred(vectors[block], mean)
        signs = np.where(rows @ weights >= 0, 1.0, -1.0)
        return np.vstack([rows.T @ signs, signs.sum(axis=0)])

    total = sum_over(blocks(len(vectors), sum(weights.shape)), term)
    return {"seen_signs": total[:-1], "seen_ones": total[-1]}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give R' P' (x - μ)."""
    return _linear.project(state, vectors)
