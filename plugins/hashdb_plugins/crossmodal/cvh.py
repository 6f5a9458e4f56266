"""Cross-view hashing (CVH), the canonical case: items of two modalities paired one to one.

S. Kumar, R. Udupa: Learning Hash Functions for Cross-View Similarity Search. Proceedings of the 22nd International
Joint Conference on Artificial Intelligence (IJCAI), 2011. Where all that is known of similarity is which item of one
view belongs to which of the other, the paper's relaxed problem is canonical correlation analysis. With C the
covariances of and between the centred views x and y:

    (1)  C_xy (C_y + ε_y I)^-1 C_yx w_x = ρ^2 (C_x + ε_x I) w_x
    (2)  w_y = (C_y + ε_y I)^-1 C_yx w_x / ρ
    (3)  bit_k(x) = [w_xk · (x - μ_x) > 0],   bit_k(y) = [w_yk · (y - μ_y) > 0]

by falling ρ. Only r = min(dim_x, dim_y) pairs of directions have a ρ above 0. Bits beyond r are allowed, as in the
authors' experiments and everyone's after them, and are noise across the views: (1) gives the wider view arbitrary
directions of its null space there, and (2) divides rounding by rounding. Here the wider view takes its null directions
too, while the narrower one, and the wider one beyond its dimension, takes random directions of equal variance from the
seed. Retrieval across views gets worse with such bits: ask for at most r. ``correlations`` in the state is the ρ of
every bit, 0 beyond.

Cost: fit n (dim_x + dim_y)^2 + dim_x^3 + dim_y^3, memory (dim_x + dim_y)^2 doubles; encode n dim n_bits.

Differs from the paper: the general case, with similarities within a view or more than two views, is not here. ε is a
fraction of the view's mean variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl, margins
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear
from hashdb_plugins._canonical import canonical_directions, regular_root


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="cvh",
        title="Cross-view hashing",
        paper="Kumar, Udupa, Learning Hash Functions for Cross-View Similarity Search, IJCAI",
        year=2011,
        params=(
            Param(
                "regularisation",
                float,
                1e-4,
                minimum=1e-10,
                maximum=1e4,
                grid=(1e-6, 1e-4, 1e-2, 1.0),
                help="added to the variances of a view, as a fraction of their mean",
            ),
        ),
        supervision="paired modalities",
        default_train=100_000,
        when="two modalities, pairs but no labels, and no more bits than the smaller view has dimensions",
    )


@hookimpl
def fit(vectors: Mapping[str, np.ndarray], n_bits: int, params: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Find the pairs of canonical directions."""
    if len(vectors) != 2:
        raise ArgumentError(f"cvh takes two modalities, got {len(vectors)}: {', '.join(vectors)}")
    (first, x), (second, y) = vectors.items()
    mean_x, mean_y = _linear.mean_of(x), _linear.mean_of(y)
    n_dim = x.shape[1]

    def both_views(block: slice) -> np.ndarray:
        return np.hstack([_linear.centred(x[block], mean_x), _linear.centred(y[block], mean_y)])

    joint = _linear.second_moment(len(x), n_dim + y.shape[1], both_views)
    directions_x, directions_y, found = canonical_directions(joint, n_dim, params["regularisation"])
    correlations = np.zeros(n_bits)
    n_pairs = min(n_bits, len(found))
    correlations[:n_pairs] = found[:n_pairs]
    rng = np.random.default_rng(seed)
    state = {"correlations": correlations}
    for name, mean, covariance, directions in (
        (first, mean_x, joint[:n_dim, :n_dim], directions_x),
        (second, mean_y, joint[n_dim:, n_dim:], directions_y),
    ):
        more = _random_directions(covariance, params["regularisation"], n_bits - len(mean), rng)
        weights = np.hstack([directions, more])[:, :n_bits]
        state[f"mean_{name}"] = mean
        state[f"weights_{name}"] = np.ascontiguousarray(weights, dtype=np.float32)
    return state


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (3)."""
    return margins.encode(vectors, state[f"weights_{modality}"], mean=state[f"mean_{modality}"])


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give w · (x - μ) of the modality."""
    return margins.project(vectors, state[f"weights_{modality}"], mean=state[f"mean_{modality}"])


def _random_directions(
    covariance: np.ndarray, regularisation: float, n_directions: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw directions w with w'Cw = 1, float64 (dim, n_directions); none where ``n_directions`` is not above 0."""
    from scipy.linalg import solve_triangular

    white = rng.standard_normal((len(covariance), max(n_directions, 0)))
    white /= np.linalg.norm(white, axis=0)
    return solve_triangular(regular_root(covariance, regularisation), white, lower=True, trans=1)
