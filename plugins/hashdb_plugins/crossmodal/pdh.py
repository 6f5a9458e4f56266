"""Predictable dual-view hashing (PDH): bits of either view that a plane in the other can predict.

M. Rastegari, J. Choi, S. Fakhraei, H. Daumé III, L. S. Davis: Predictable Dual-View Hashing. Proceedings of the 30th
International Conference on Machine Learning (ICML), 2013. Reconstructed from its stated objective and the outline of
its alternation, not from its text or code.

The objective, for centred rows x and y of the two views, T_x and T_y in {-1, 1} the codes that the views propose:

    (1)  min  Σ_k 1/2 (|w_xk|^2 + |w_yk|^2) + C Σ_ik (l(t_yik, f_xik) + l(t_xik, f_yik))
              + |T_x'T_x / n - I|^2 + |T_y'T_y / n - I|^2,      f_xik = w_xk · x_i + b_xk,   f_yik = w_yk · y_i + b_yk

with the squared hinge l(t, f) = max(0, 1 - t f)^2: wide margins, and bits of a view that are balanced and do not
correlate. It starts with the canonical directions of the views for w, by falling correlation. Then a round is

    (2)  T_x = sgn(H_x - median of each column),   H_x = √n U V'   where   F_x - column means = U Σ V'   (nonzero Σ)
    (3)  a support vector machine for each bit, y to T_x:  w_y, b_y
    (4)  the same with the views exchanged:                 T_y, then w_x, b_x

    (5)  bit_k(x) = [f_xk > 0],   bit_k(y) = [f_yk > 0]

H_x is the nearest matrix to the margins, up to scale, whose columns have variance 1 and do not correlate; where there
are more bits than dimensions, none has, and it is the one nearest to having it. Without (2) all bits become one, the
most predictable. Rounds end when the views do not agree on more bits than after the round before, or after
``iterations``; the last round that did better is kept. ``history`` is the share of the bits of the training pairs on
which the views agree, after each round that is kept: it rises from one to the next.

Cost: fit n (dim_x + dim_y)^2 + dim_x^3 + dim_y^3 to start; a round has 2 n_bits machines, of n dim for each of some
hundred steps, and n n_bits^2. Memory n (dim_x + dim_y + 4 n_bits) doubles. Encode n dim n_bits.

Differs from the paper: there are min(dim_x, dim_y) canonical pairs at most, and bits beyond start from random rotations
of all pairs, the same for both views, where directions that do not correlate would be noise. The balance is that of
medians. Vectors of a view are scaled by one number to mean square length 1, so that C means the same for data of any
scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear, _svm
from hashdb_plugins._canonical import canonical_directions
from hashdb_plugins._views import named, view_of

# Squared singular values of margins and correlations of views that rounding could have made, beside the largest.
_NOTHING = 1e-10
_NO_CORRELATION = 1e-6


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="pdh",
        title="Predictable dual-view hashing",
        paper="Rastegari, Choi, Fakhraei, Daumé III, Davis, Predictable Dual-View Hashing, ICML",
        year=2013,
        params=(
            Param("iterations", int, 3, minimum=1, maximum=100, grid=(1, 2, 3, 5), help="rounds at most"),
            Param("c", float, 1.0, minimum=1e-6, maximum=1e6, grid=(0.1, 1.0, 10.0, 100.0), help="C of the machines"),
            Param(
                "regularisation",
                float,
                1e-4,
                minimum=1e-10,
                maximum=1e4,
                grid=(1e-6, 1e-4, 1e-2, 1.0),
                help="of the first directions: added to the variances of a view, as a fraction of their mean",
            ),
        ),
        supervision="paired modalities",
        default_train=5000,
        when="two modalities, pairs but no labels: any number of linear bits; slower to fit than cvh",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Learn the bits of each view from those of the other, by turns."""
    if len(vectors) != 2:
        raise ArgumentError(f"pdh takes two modalities, got {len(vectors)}: {', '.join(vectors)}")
    means = [_linear.mean_of(rows) for rows in vectors.values()]
    rows = [_linear.centred(part, mean) for part, mean in zip(vectors.values(), means, strict=True)]
    scales = [_svm.unit_scale(part) for part in rows]
    for part, scale in zip(rows, scales, strict=True):
        part /= scale
    margins = rows[0] @ _first_directions(rows[0], rows[1], n_bits, params["regularisation"], seed)
    total = 2 * params["iterations"] * n_bits
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    history: list[float] = []
    for turn in range(params["iterations"]):
        done = 2 * turn * n_bits
        second = _svm.planes(rows[1], _balanced(margins), params["c"], progress=_from(done, total, progress))
        others = rows[1] @ second[0] + second[1]
        first = _svm.planes(rows[0], _balanced(others), params["c"], progress=_from(done + n_bits, total, progress))
        margins = rows[0] @ first[0] + first[1]
        agreement = float(((margins > 0) == (others > 0)).mean())
        if history and agreement <= history[-1]:
            break
        history.append(agreement)
        kept = [first, second]
    progress(total, total)
    state = {"history": np.array(history)}
    for name, mean, scale, (weights, bias) in zip(vectors, means, scales, kept, strict=True):
        state |= named(_svm.state_of(mean, weights, bias, scale), name)
    return state


def _from(before: int, total: int, progress: Callable[[int, int], None]) -> Callable[[int], None]:
    """Count on from ``before``."""
    return lambda done: progress(before + done, total)


def _first_directions(x: np.ndarray, y: np.ndarray, n_bits: int, regularisation: float, seed: int) -> np.ndarray:
    """Give directions of x that correlate with y, float64 (dim_x, n_bits): canonical ones, then rotations of them."""
    n, dim = x.shape
    joint = _linear.second_moment(n, dim + y.shape[1], lambda block: np.hstack([x[block], y[block]]))
    directions, _, correlations = canonical_directions(joint, dim, regularisation)
    n_pairs = max(1, int((correlations > _NO_CORRELATION).sum()))
    rng = np.random.default_rng(seed)
    parts = [directions[:, :n_pairs]]
    while len(parts) * n_pairs < n_bits:
        parts.append(parts[0] @ np.linalg.qr(rng.standard_normal((n_pairs, n_pairs)))[0])
    return np.hstack(parts)[:, :n_bits]


def _uncorrelated(margins: np.ndarray) -> np.ndarray:
    """Give H of equation (2), float64 (n, n_bits), from margins whose columns have mean 0."""
    n, n_bits = margins.shape
    values, axes = np.linalg.eigh(_linear.second_moment(n, n_bits, lambda block: margins[block]))
    found = values > _NOTHING * max(float(values[-1]), 0.0)
    axes = axes[:, found]
    return margins @ ((axes / np.sqrt(values[found])) @ axes.T)


def _balanced(margins: np.ndarray) -> np.ndarray:
    """Give T of equation (2), bool (n, n_bits)."""
    whitened = _uncorrelated(margins - margins.mean(axis=0))
    return whitened > np.median(whitened, axis=0)


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (5)."""
    return _svm.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give f of equation (1), in units of the modality's vectors."""
    return _svm.project(view_of(state, modality), vectors)
