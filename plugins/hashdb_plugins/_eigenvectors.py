"""Eigenvectors of the smallest eigenvalues of a large symmetric matrix that is known by its products alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

_DENSE_ROWS = 2000
# Vectors beyond those that are wanted, which the last of these need to converge.
_GUARDS = 8
# Of the mean of the diagonal; errors of eigenvalues are of the order of its square.
_TOLERANCE = 1e-5
_ROUNDS, _STEPS = 6, 50


def smallest_eigenvectors(
    product: Callable[[np.ndarray], np.ndarray],
    diagonal: np.ndarray,
    n_vectors: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Find eigenvectors of a positive semidefinite matrix M.

    By the matrix itself up to 2,000 rows, or some 5 times as many as vectors. Else by LOBPCG (A. V. Knyazev, 2001) with
    the diagonal of M as preconditioner, started anew from its vectors every 50 steps and where it breaks off, until no
    |M v - μ v| is more than 2e-5 of the mean of the diagonal, or for 300 steps. Eigenvalues in the dense bulk of a
    spectrum, such as that of noise, may take all of these and be right to three digits or so.

    Cost n^3, or a product with all vectors and n n_vectors^2 for each step; memory n^2 doubles, or 10 n n_vectors.

    Parameters
    ----------
    product : callable
        Gives M V, float64 (n, k), of V (n, k).
    diagonal : ndarray of float64, shape (n,)
        Of M, positive.
    n_vectors : int
        At most n.
    rng : numpy.random.Generator
        Draws where to start.
    progress : callable

    Returns
    -------
    values : ndarray of float64, shape (n_vectors,)
        Rising.
    vectors : ndarray of float64, shape (n, n_vectors)
        Orthonormal.
    """
    from scipy.linalg import eigh

    n = len(diagonal)
    if n <= max(_DENSE_ROWS, 5 * (n_vectors + _GUARDS)):
        progress(0, 1)
        matrix = product(np.eye(n))
        values, vectors = eigh((matrix + matrix.T) / 2, subset_by_index=(0, n_vectors - 1))
        progress(1, 1)
        return values, vectors
    return _iterated(product, diagonal, n_vectors, rng, progress)


def _iterated(
    product: Callable[[np.ndarray], np.ndarray],
    diagonal: np.ndarray,
    n_vectors: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse.linalg import lobpcg

    total, steps = _ROUNDS * _STEPS, 0

    def counted(block: np.ndarray) -> np.ndarray:
        nonlocal steps
        progress(min(steps, total), total)
        steps += 1
        return product(block)

    inverse = 1 / diagonal[:, None]
    tolerance = _TOLERANCE * float(diagonal.mean())
    vectors = rng.standard_normal((len(diagonal), n_vectors + _GUARDS))
    for _ in range(_ROUNDS):
        with warnings.catch_warnings():
            # It warns of what is looked at below.
            warnings.simplefilter("ignore", UserWarning)
            values, vectors = lobpcg(
                counted, vectors, M=lambda block: inverse * block, tol=tolerance, maxiter=_STEPS, largest=False
            )
        residuals = np.linalg.norm(product(vectors) - vectors * values, axis=0)
        order = np.argsort(values, kind="stable")[:n_vectors]
        if residuals[order].max() <= 2 * tolerance:
            break
    progress(total, total)
    return values[order], vectors[:, order]
