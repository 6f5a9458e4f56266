"""The rotation of iterative quantisation, which ITQ learns on principal and ITQ-CCA on canonical directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hashdb_plugins._linear import centred
from hashdb_plugins._parallel import Sum, blocks, sum_over, workers


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
    unit = unit_of(directions, second_moment)
    projections, energy = projected(vectors, mean, directions / unit)
    rotation, agreement = learn_rotation(projections, n_iterations, seed, progress)
    return directions @ rotation, n * n_bits + unit**2 * energy - 2 * unit * agreement


def unit_of(directions: np.ndarray, second_moment: np.ndarray) -> float:
    """Give the root mean square of projections, 1 where all are 0.

    Signs and the best rotation know no scale; a mean square of 1 keeps float32 sums from overflow and underflow.
    """
    n_bits = directions.shape[1]
    return float(np.sqrt(np.einsum("jk,jl,lk->", directions, second_moment, directions, optimize=True) / n_bits)) or 1.0


def projected(vectors: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, float]:
    """Give V = (X - μ) P, float32 (n, k), and ||V||^2."""
    projections = np.empty((len(vectors), directions.shape[1]), np.float32)

    def fill(block: slice) -> np.ndarray:
        wide = centred(vectors[block], mean) @ directions
        projections[block] = wide
        return np.einsum("ij,ij->", wide, wide)

    return projections, sum_over(blocks(len(vectors), sum(directions.shape)), fill)


def learn_rotation(
    projections: np.ndarray,
    n_iterations: int,
    seed: int,
    progress: Callable[[int, int], None],
    start: np.ndarray | None = None,
    held: np.ndarray | None = None,
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
    start : ndarray of float64, shape (k, k), optional
        The first rotation, instead of a random one.
    held : ndarray of float64, shape (k, k), optional
        V'B of other rows, whose signs stay as they are.

    Returns
    -------
    rotation : ndarray of float64, shape (k, k)
        R, orthogonal.
    agreement : ndarray of float64, shape (at most n_iterations,)
        tr(R' V'B) after each iteration; it rises.
    """
    k = projections.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((k, k)))[0] if start is None else start
    # V'B, kept up to date from B = -1 everywhere: after the first few turns well under 1 % of the signs change in one.
    bits = np.zeros(projections.shape, np.bool_)
    product = -np.repeat(projections.sum(axis=0, dtype=np.float64)[:, None], k, axis=1)
    if held is not None:
        product += held
    agreement: list[float] = []
    with workers() as total:
        for iteration in range(n_iterations):
            product += _change_of_signs(projections, rotation.astype(np.float32), bits, total)
            u, sizes, w = np.linalg.svd(product)
            # What does not rise any more has come to a fixed point, or to the rounding of float32.
            if agreement and sizes.sum() <= agreement[-1]:
                break
            rotation = u @ w
            agreement.append(float(sizes.sum()))
            progress(iteration + 1, n_iterations)
    progress(n_iterations, n_iterations)
    return rotation, np.array(agreement)


def _change_of_signs(projections: np.ndarray, rotation: np.ndarray, bits: np.ndarray, total: Sum) -> np.ndarray:
    """Set ``bits`` to the signs of V R and give the change of V'B, float64 (k, k)."""
    from scipy.sparse import csr_array

    def term(block: slice) -> np.ndarray:
        v = projections[block]
        new = v @ rotation >= 0
        turned = np.flatnonzero(new != bits[block])
        if turned.size * 16 > new.size:
            change = new.astype(np.float32)
            change -= bits[block]
            bits[block] = new
            return 2 * (v.T @ change)
        bits[block] = new
        rows, columns = np.divmod(turned, len(rotation))
        starts = np.searchsorted(rows, np.arange(len(v) + 1))
        signs = np.where(new.reshape(-1)[turned], np.float32(2), np.float32(-2))
        return (csr_array((signs, columns, starts), shape=v.shape).T @ v).T

    return total(blocks(len(projections), 2 * len(rotation)), term)
