"""The rotation of iterative quantisation, which ITQ learns on principal and ITQ-CCA on canonical directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hashdb_plugins._linear import centred
from hashdb_plugins._parallel import Sum, blocks, sum_over, workers

# The sign bit of a float32, and the bits of 1.0.
_SIGN_BIT = np.int32(-(2**31))
_ONE = np.int32(0x3F800000)


def rotate(
    vectors: np.ndarray,
    mean: np.ndarray,
    directions: np.ndarray,
    second_moment: np.ndarray,
    n_iterations: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Learn the rotation of the projections of training rows.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    mean : ndarray of float32, shape (dim,)
    directions : ndarray of float64, shape (dim, n_bits)
    second_moment : ndarray of float64, shape (dim, dim)
        Covariance of the vectors.
    n_iterations, seed, progress
        As in :func:`learn_rotation`.

    Returns
    -------
    weights : ndarray of float64, shape (dim, n_bits)
        ``directions`` times the rotation.
    history : ndarray of float64
        ||B - V R||^2 after each iteration.
    """
    n, n_bits = len(vectors), directions.shape[1]
    # Signs and the best rotation know no scale; a mean square of 1 keeps float32 sums from overflow and underflow.
    unit = float(np.sqrt(np.einsum("jk,jl,lk->", directions, second_moment, directions, optimize=True) / n_bits)) or 1.0
    scaled = directions / unit
    projections = np.empty((n, n_bits), np.float32)

    def fill(block: slice) -> np.ndarray:
        wide = centred(vectors[block], mean) @ scaled
        projections[block] = wide
        return np.einsum("ij,ij->", wide, wide)

    energy = sum_over(blocks(n, len(mean) + n_bits), fill)
    rotation, agreement = learn_rotation(projections, n_iterations, seed, progress)
    return directions @ rotation, n * n_bits + unit**2 * energy - 2 * unit * agreement


def learn_rotation(
    projections: np.ndarray, n_iterations: int, seed: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Alternate signs and rotation (equations 2 and 3 of ITQ) until neither changes any more.

    ||B - V R||^2 = n k + ||V||^2 - 2 tr(R' V'B): both steps raise the agreement tr(R' V'B), the signs for the given
    rotation, then the rotation U W' for V'B = U S W', which makes it the sum of S.

    Parameters
    ----------
    projections : ndarray of float32, shape (n, k)
        V.
    n_iterations : int
        Iterations at most.
    seed : int
        Of the first rotation.
    progress : callable
        Called with (iterations done, iterations).

    Returns
    -------
    rotation : ndarray of float64, shape (k, k)
        R, orthogonal.
    agreement : ndarray of float64, shape (at most n_iterations,)
        tr(R' V'B) after each iteration; it rises.
    """
    k = projections.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((k, k)))[0]
    agreement: list[float] = []
    with workers() as total:
        for iteration in range(n_iterations):
            u, sizes, w = np.linalg.svd(_agreement_matrix(projections, rotation.astype(np.float32), total))
            # What does not rise any more has come to a fixed point, or to the rounding of float32.
            if agreement and sizes.sum() <= agreement[-1]:
                break
            rotation = u @ w
            agreement.append(float(sizes.sum()))
            progress(iteration + 1, n_iterations)
    progress(n_iterations, n_iterations)
    return rotation, np.array(agreement)


def _agreement_matrix(projections: np.ndarray, rotation: np.ndarray, total: Sum) -> np.ndarray:
    """Give V'B for B = sgn(V R), products in float32 over blocks, sums over blocks in float64."""

    def term(block: slice) -> np.ndarray:
        v = projections[block]
        signs = v @ rotation
        bits = signs.view(np.int32)
        np.bitwise_and(bits, _SIGN_BIT, out=bits)
        np.bitwise_or(bits, _ONE, out=bits)
        return v.T @ signs

    return total(blocks(len(projections), 2 * len(rotation)), term)
