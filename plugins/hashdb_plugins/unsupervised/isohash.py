"""Isotropic hashing (IsoHash): principal components turned until all have one variance.

W. Kong, W.-J. Li: Isotropic Hashing. Advances in Neural Information Processing Systems 25 (NIPS), 2012.

PCA hashing spends one bit on every component, much or little as it may vary. With P the n_bits principal directions and
Λ = diag(λ_1, …, λ_K) their variances, find an orthogonal Q so that

    (1)  diag(Q'ΛQ) = a 1,   a = (λ_1 + … + λ_K) / K
    (2)  bit(x) = [Q' P' (x - μ) > 0]

Such a Q exists for every Λ (the theorem of Schur and Horn). ``history`` in the state is

    (3)  F(Q) = Σ_k ((Q'ΛQ)_kk / a - 1)^2

after each iteration of one of two solvers, both of which start from a random Q, for at Q = I neither moves:

* ``lp``, lift and projection: two sets of symmetric matrices, those of the eigenvalues Λ and those of diagonal a, are
  projected on by turns: T is Z = Q'ΛQ with a for its diagonal; with T = U D U', the eigenvalues in the order of Λ,
  Q = U' gives the Z nearest to T. F is the squared distance of Z from T, so it never rises.
* ``gf``, gradient flow: dQ/dt = Q [β, Z] with β = diag(Z) - a I, the steepest descent of F among rotations.

Cost: fit n dim^2 + dim^3 for P, then n_bits^3 for each iteration; memory dim^2. Encode n dim n_bits, P Q being one
matrix. At most dim bits. It stops before ``iterations`` where F is 0 but for rounding, or falls no more.

Differs from the paper: the flow is followed by steps along Cayley's curve, which keep Q orthogonal, each halved until F
falls by half of what its slope promises (Armijo's rule), where the authors use a solver of differential equations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._parallel import workers

# F for each bit below which variances are equal, float32 weights being good to 1e-7.
_EQUAL = 1e-16


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="isohash",
        title="Isotropic hashing",
        paper="Kong, Li, Isotropic Hashing, NIPS",
        year=2012,
        params=(
            Param("solver", str, "lp", choices=("lp", "gf"), grid=("lp", "gf"), help="lp or gf, see above"),
            Param("iterations", int, 100, minimum=1, maximum=10_000, grid=(20, 100, 500), help="at most"),
        ),
        max_bits=None,
        default_train=100_000,
        when="itq's setting with next to no training beyond PCA; itq is as a rule a little better; at most dim bits",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], seed: int, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Find the principal directions, then the rotation."""
    _linear.require_directions("isohash", n_bits, vectors.shape[1])
    mean = _linear.mean_of(vectors)
    covariance = _linear.covariance(vectors, mean)
    directions = _linear.principal_directions(covariance, n_bits)
    variances = np.maximum(np.einsum("jk,jl,lk->k", directions, covariance, directions, optimize=True), 0)
    # In units of their mean, a = 1; where nothing varies every rotation is as good.
    level = variances.mean()
    variances = variances / level if level > 0 else np.ones(n_bits)
    start = np.linalg.qr(np.random.default_rng(seed).standard_normal((n_bits, n_bits)))[0]
    step = {"lp": lift_and_project, "gf": flow}[params["solver"]]
    rotation, history = start, []
    # A linear algebra library of one thread: for such small matrices a second one is waited for more than it does.
    with workers():
        for iteration in range(params["iterations"]):
            turned = step(rotation, variances)
            error = unevenness(turned, variances)
            if history and error >= history[-1]:
                break
            rotation = turned
            history.append(error)
            progress(iteration + 1, params["iterations"])
            if error <= _EQUAL * n_bits:
                break
    progress(params["iterations"], params["iterations"])
    return _linear.state_of(mean, directions @ rotation) | {"history": np.array(history)}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (2)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give Q' P' (x - μ)."""
    return _linear.project(state, vectors)


def unevenness(rotation: np.ndarray, variances: np.ndarray) -> float:
    """Give F, equation (3), for variances of mean 1."""
    return float((((rotation**2).T @ variances - 1) ** 2).sum())


def lift_and_project(rotation: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Put the mean on the diagonal, then go to the nearest matrix of these eigenvalues; they descend."""
    from scipy.linalg import eigh

    matrix = (rotation.T * variances) @ rotation
    np.fill_diagonal(matrix, 1)
    return eigh(matrix)[1][:, ::-1].T


def flow(rotation: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Go one step down the gradient of F, or stay where none goes down."""
    matrix = (rotation.T * variances) @ rotation
    beta = matrix.diagonal() - 1
    skew = beta[:, None] * matrix - matrix * beta
    error, slope = unevenness(rotation, variances), 2 * float((skew**2).sum())
    # The curvature of F goes with the square of the spread; a step that is too long for it is halved.
    longest = 16 / max(float(np.ptp(variances)) ** 2, 1e-12)
    step, half = longest, skew / 2
    while step > 1e-9 * longest:
        # Cayley: orthogonal for every skew matrix, and equal to exp(step skew) to second order.
        turned = rotation @ np.linalg.solve(np.eye(len(half)) - step * half, np.eye(len(half)) + step * half)
        if unevenness(turned, variances) <= error - 0.5 * step * slope:
            return turned
        step /= 2
    return rotation
