"""Canonical correlation analysis, of vectors and labels in ITQ-CCA and of two modalities in CVH."""

from __future__ import annotations

import numpy as np

from hashdb_plugins._linear import signs_of


def canonical_directions(
    joint: np.ndarray, dim: int, regularisation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find directions of two views, x and y, along which they correlate most.

    With C_x and C_y regularised and Cholesky factors C = L L', the singular value decomposition
    L_x^-1 C_xy L_y^-T = U diag(ρ) V' gives w_x = L_x^-T u and w_y = L_y^-T v, which solve

        C_xy C_y^-1 C_yx w_x = ρ^2 C_x w_x,     w_y = C_y^-1 C_yx w_x / ρ,     w' C w = 1.

    Cost dim_x^3 + dim_y^3.

    Parameters
    ----------
    joint : ndarray of float64, shape (dim_x + dim_y, dim_x + dim_y)
        Covariance of the two views side by side.
    dim : int
        dim_x.
    regularisation : float
        Added to the diagonal of each view's covariance, as a fraction of that diagonal's mean.

    Returns
    -------
    x : ndarray of float64, shape (dim_x, dim_x)
        Directions as columns, by falling correlation; those that correlate with nothing come last. The largest
        component of each is positive.
    y : ndarray of float64, shape (dim_y, dim_y)
    correlations : ndarray of float64, shape (min(dim_x, dim_y),)
        In 0 … 1.
    """
    from scipy.linalg import solve_triangular

    root_x = regular_root(joint[:dim, :dim], regularisation)
    root_y = regular_root(joint[dim:, dim:], regularisation)
    half = solve_triangular(root_x, joint[:dim, dim:], lower=True)
    u, correlations, v = np.linalg.svd(solve_triangular(root_y, half.T, lower=True).T)
    x = solve_triangular(root_x, u, lower=True, trans=1)
    y = solve_triangular(root_y, v.T, lower=True, trans=1)
    # Pairs turn together, or they would no longer correlate.
    n_pairs = len(correlations)
    signs = signs_of(x)
    y[:, :n_pairs] *= signs[:n_pairs]
    y[:, n_pairs:] *= signs_of(y[:, n_pairs:])
    return x * signs, y, np.clip(correlations, 0.0, 1.0)


def regular_root(covariance: np.ndarray, regularisation: float) -> np.ndarray:
    """Give the lower Cholesky factor of a covariance with a fraction of its mean variance added to the diagonal."""
    dim = len(covariance)
    variance = float(np.trace(covariance)) / dim
    return np.linalg.cholesky(covariance + regularisation * (variance or 1.0) * np.eye(dim))
