"""Co-regularised hashing (CRH): margins in either view, agreement between the views, one boosted bit after another.

Y. Zhen, D.-Y. Yeung: Co-Regularized Hashing for Multimodal Data. Advances in Neural Information Processing Systems 25
(NIPS), 2012. Reconstructed from its stated objective; the paper's text and code were not at hand.

For bit k the directions w = (w_x, w_y) minimise, on centred views and pairs p with weights ω_p,

    (1)  mean_i [1 - |w_x·x_i|]_+ + mean_j [1 - |w_y·y_j|]_+ + γ Σ_p ω_p ℓ_p(d_p) + μ/2 (|w_x|^2 + |w_y|^2)

with d_p = w_x·x_p - w_y·y_p and ℓ = d^2 for a similar pair, and for a dissimilar one the smoothly clipped inverted
squared deviation, which wants |d| to be large and has enough at a λ. The first two terms keep rows away from the
threshold. ``_coregularised.py`` has the losses, their convex parts, and the concave-convex procedure with stochastic
sub-gradients that minimises (1) without ever letting it rise. Between bits the pairs are weighted anew:

    (2)  ε = Σ_p ω_p [p is wrong],   wrong: a similar pair with two bits, a dissimilar one with equal bits
    (3)  ω_p <- ω_p ε / (1 - ε) where p is right,  scaled to sum 1

after which the last bit has error 1/2 if ε < .49. The first ω has half its mass on either kind of pair.

    (4)  bit_k(x) = [w_xk · (x - mean) > 0],   and so for y

Each view is scaled to mean variance 1 of its columns, so that γ and μ mean the same for any data, and taken to
coordinates with covariance C (C + μ/(4γ) I)^-1, in which w is the same function of rows and the quadratic part of (1)
has a curvature of at most 4γ: what a step of 1/(4γ + 1) can do. The start of a bit are the leading singular vectors of
Σ_p ω_p s_p x_p y_p' there, s_p = 1 or -1, that is canonical directions of the weighted pairs; times the power of 2
that makes (1) least.

Similar pairs are the pairs given and, with labels, rows of one class; dissimilar ones are rows at random, with labels
of different classes. More bits than dimensions are possible. (1) is not ε, so that a late bit may be no better than
chance; distance counts it all the same, and pairs that it gets wrong are to count for more: (3) takes ε as .49 at most.
A bit without an error leaves the weights as they are, and may come again. ``history`` in the state is (1) at the start
and after each round, (n_bits, rounds + 1), and ``errors`` is ε of each bit.

Cost: fit n (dim_x^2 + dim_y^2) + dim_x^3 + dim_y^3 once; for each bit n dim_x dim_y for the start, and rounds times
(n + batches batch) (dim_x + dim_y). Memory: n (dim_x + dim_y) float32, 60 bytes a pair. Encode n dim n_bits.

Differs from the paper: both views are minimised over at once; the scales, the start, the steps and the defaults are
ours, those of γ and μ chosen on a part of the training set of Wiki.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear
from hashdb_plugins._coregularised import Objective, Schedule, minimise
from hashdb_plugins._cross_pairs import CrossPairs, draw_pairs, leading_pair
from hashdb_plugins._paired import linear_view
from hashdb_plugins._parallel import blocks, workers
from hashdb_plugins._views import view_of

_LEAST_ERROR, _MOST_ERROR = 1e-6, 0.49
_BATCH = 256
# Spreads below this count as none, and shares of the mean variance below that as rounding.
_LEAST_SPREAD, _LEAST_RIDGE = 2.0**-100, 1e-8


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="crh",
        title="Co-regularised hashing",
        paper="Zhen, Yeung, Co-Regularized Hashing for Multimodal Data, NIPS",
        year=2012,
        params=(
            Param("gamma", float, 10.0, minimum=1e-3, maximum=1e6, grid=(1.0, 10.0, 100.0), help="weight of the pairs"),
            Param(
                "regularisation",
                float,
                1.0,
                minimum=1e-8,
                maximum=1e4,
                grid=(0.01, 0.1, 1.0, 10.0),
                help="μ, weight of the squared length of directions",
            ),
            Param(
                "clip",
                float,
                0.27,
                minimum=1e-3,
                maximum=100.0,
                grid=(0.1, 0.27, 0.5),
                help="λ, from where on the loss of a dissimilar pair bends back to 0",
            ),
            Param(
                "clip_ratio", float, 3.7, minimum=2.0, maximum=100.0, help="a: dissimilar pairs a λ apart cost nothing"
            ),
            Param(
                "pairs",
                int,
                20_000,
                minimum=2,
                maximum=10_000_000,
                grid=(5_000, 20_000, 50_000),
                help="similar pairs to learn from, and as many dissimilar ones",
            ),
            Param("rounds", int, 10, minimum=1, maximum=1000, help="rounds of the concave-convex procedure, at most"),
            Param("batches", int, 60, minimum=2, maximum=100_000, help="stochastic steps in a round, 256 rows each"),
        ),
        supervision="paired modalities and optional labels",
        default_train=20_000,
        when="two modalities, pairs with or without labels, more bits than the smaller view has dimensions",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray | None,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Minimise (1) for one bit after another, on reweighted pairs."""
    if len(vectors) != 2:
        raise ArgumentError(f"crh takes two modalities, got {len(vectors)}: {', '.join(vectors)}")
    rng = np.random.default_rng(seed)
    pairs = draw_pairs("crh", next(iter(vectors.values())), labels, params["pairs"], rng)
    ridge = max(params["regularisation"] / (4 * params["gamma"]), _LEAST_RIDGE)
    views = [_round_view(part, ridge) for part in vectors.values()]
    penalties = params["regularisation"] * np.concatenate([view.ridge for view in views])
    objective = Objective(
        views[0].rows, views[1].rows, pairs, penalties, params["gamma"], params["clip_ratio"], params["clip"]
    )
    schedule = Schedule(params["rounds"], params["batches"], _BATCH)
    found = np.empty((len(penalties), n_bits))
    history, errors = np.empty((n_bits, schedule.rounds + 1)), np.empty(n_bits)
    omega = pairs.even_weights
    # Many short products: one thread of the linear algebra library each.
    with workers():
        for bit in range(n_bits):
            start = _start(objective, omega)
            found[:, bit], at, history[bit] = minimise(objective, start, omega, schedule, rng)
            wrong = ((at.x > 0)[pairs.left] == (at.y > 0)[pairs.right]) != (pairs.signs > 0)
            errors[bit] = omega @ wrong
            omega = _reweighted(omega, wrong, errors[bit])
            progress(bit + 1, n_bits)
    state = {"errors": errors, "history": history}
    for name, view, part in zip(vectors, views, np.split(found, [len(views[0].ridge)]), strict=True):
        state |= linear_view(name, view.mean, view.transform @ part)
    return state


@dataclass(frozen=True)
class _View:
    """A view in coordinates in which the objective is nearly round.

    Attributes
    ----------
    mean : ndarray of float32, shape (dim,)
    transform : ndarray of float64, shape (dim, dim)
        Takes v to w, and centred rows to ``rows``.
    rows : ndarray of float32, shape (n, dim)
    ridge : ndarray of float64, shape (dim,)
        |w|^2 of the scaled view is Σ ridge v^2.
    """

    mean: np.ndarray
    transform: np.ndarray
    rows: np.ndarray
    ridge: np.ndarray


def _round_view(vectors: np.ndarray, ridge: float) -> _View:
    """Scale and turn a view as the module's text says."""
    from scipy.linalg import eigh

    mean = _linear.mean_of(vectors)
    covariance = _linear.covariance(vectors, mean)
    spread = float(np.sqrt(np.trace(covariance) / len(covariance)))
    spread = spread if spread > _LEAST_SPREAD else 1.0
    variances, directions = eigh(covariance / spread / spread)
    shares = 1 / (np.maximum(variances, 0) + ridge)
    transform = directions * np.sqrt(shares) / spread
    rows = np.empty(vectors.shape, np.float32)
    for block in blocks(*vectors.shape):
        rows[block] = _linear.centred(vectors[block], mean) @ transform
    return _View(mean, transform, rows, shares)


def _start(objective: Objective, omega: np.ndarray) -> np.ndarray:
    """Give the leading singular vectors of the weighted pairs, of the best length among powers of 2."""
    pairs, n = objective.pairs, len(objective.x)
    u, v = leading_pair(_pair_matrix(pairs, omega * pairs.signs, objective.x, objective.y))
    unit = np.concatenate([u, v])
    unit *= np.sqrt(n) / max(float(np.linalg.norm(objective.x @ unit[: len(u)].astype(np.float32))), 1.0)
    trials = [unit * 2.0**power for power in range(-8, 3)]
    return min(trials, key=lambda trial: objective.of(trial, objective.values(trial), omega))


def _pair_matrix(pairs: CrossPairs, signed: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give Σ_p signed_p x_p y_p', float64 (dim_x, dim_y)."""
    from scipy.sparse import csr_array

    n = len(x)
    between = csr_array((signed.astype(np.float32), (pairs.left, pairs.right)), shape=(n, n))
    return (x.T @ (between @ y)).astype(np.float64)


def _reweighted(omega: np.ndarray, wrong: np.ndarray, error: float) -> np.ndarray:
    """Give the weights of equation (3)."""
    error = min(max(error, _LEAST_ERROR), _MOST_ERROR)
    omega = np.where(wrong, omega, omega * (error / (1 - error)))
    return omega / omega.sum()


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _linear.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give w · (x - mean) of the modality."""
    return _linear.project(view_of(state, modality), vectors)
