"""Cross-modality similarity-sensitive hashing (CMSSH): one pair of linear hash functions after another, by boosting.

M. M. Bronstein, A. M. Bronstein, F. Michel, N. Paragios: Data Fusion through Cross-modality Metric Learning using
Similarity-Sensitive Hashing. IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 2010. Reconstructed
from its stated objective; the paper's text and code were not at hand.

Pairs p of an item x_p of one view and an item y_p of the other are similar, s_p = 1, or not, s_p = -1, and have
weights w_p, a distribution with half its mass on either kind at first. For bit k = 1, 2, … with h(x) = sgn(u·x - a) and
g(y) = sgn(v·y - b):

    (1)  maximise  r_k = Σ_p w_p s_p h(x_p) g(y_p),  that is, minimise the weighted error ε_k = (1 - r_k) / 2
    (2)  u, v = leading singular vectors of  C = Σ_p w_p s_p (x_p - μ_x) (y_p - μ_y)',   μ = Σ_p w_p x_p and so for y
    (3)  a, b = at first u·μ_x and v·μ_y; then each in turn the best of all, b given, a given, until r_k rises no more
    (4)  w_p <- w_p exp(-α_k s_p h(x_p) g(y_p)),  scaled to sum 1
    (5)  L_k = Σ_p w_p^1 exp(-s_p Σ_{j <= k} α_j h_j(x_p) g_j(y_p)),   w^1 the first weights
    (6)  bit_k(x) = [u_k · (x - μ) > a_k],   and so for y

(2) is (1) without the signs. The search of (3) is exact in one dimension: between two neighbouring values of u·x all
offsets give the same r, so one sort and one running sum meet every r there is. Offsets that make a bit constant are
left out. Hamming distance counts every bit alike, so the vote Σ h g of (5) wants α = 1 for all, whose loss is
multiplied by (1 - ε)/e + ε e at a bit: it falls only where ε < 1/(1 + e) = .269. Real pairs give weak bits, with errors
of .4 to .48; there α = 1 goes so far beyond the best weights that the next bit is the last one with the sign of one
view turned. The default is AdaBoost's α = ln((1 - ε)/ε)/2, for which L is multiplied by 2 √(ε(1 - ε)) < 1 at every bit,
and the bit just found has error 1/2 under its new weights. Hamming distance is then that vote with all α taken as
equal, not far from the truth where the errors are much alike. ``step="unit"`` takes α = 1.

Similar pairs are the pairs given and, with labels, rows of one class; dissimilar ones are rows at random, with labels
of different classes. A bit no better than chance leaves the weights as they are, and bits after it repeat it, as they
do after a bit without an error; more bits than dimensions are possible. ``history`` in the state is ln L_k, ``errors``
is ε_k.

Cost per bit: n dim_x dim_y, min(dim_x, dim_y)^3, n log n and n_pairs. Memory: the second view in float64, 50 bytes a
pair, dim_x dim_y doubles. Encode n dim n_bits.

Differs from the paper: α, as said; with ``step="unit"`` nothing that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl, margins
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear
from hashdb_plugins._cross_pairs import CrossPairs, draw_pairs, leading_pair
from hashdb_plugins._parallel import Sum, blocks, workers
from hashdb_plugins._views import named, view_of

# A bit without an error would ask for an endless step.
_LEAST_ERROR = 1e-6
_MOST_ROUNDS = 50
# Projections nearer to each other than this share of the largest may be one and the same but for rounding.
_LEAST_GAP = 1e-12
Search = Callable[[np.ndarray], tuple[float, float]]


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="cmssh",
        title="Cross-modality similarity-sensitive hashing",
        paper="Bronstein, Bronstein, Michel, Paragios, Data Fusion through Cross-modality Metric Learning using "
        "Similarity-Sensitive Hashing, CVPR",
        year=2010,
        params=(
            Param(
                "pairs",
                int,
                50_000,
                minimum=2,
                maximum=10_000_000,
                grid=(10_000, 50_000, 200_000),
                help="similar pairs to learn from, and as many dissimilar ones",
            ),
            Param(
                "step",
                str,
                "adaboost",
                choices=("adaboost", "unit"),
                grid=("adaboost", "unit"),
                help="how far weights move after a bit: as its error says, or by one unit",
            ),
        ),
        supervision="paired modalities and optional labels",
        default_train=20_000,
        when="two modalities, pairs with or without labels, more bits than the smaller view has dimensions; fast",
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
    """Find one bit after another on reweighted pairs."""
    if len(vectors) != 2:
        raise ArgumentError(f"cmssh takes two modalities, got {len(vectors)}: {', '.join(vectors)}")
    (first, x), (second, y) = vectors.items()
    pairs = draw_pairs("cmssh", x, labels, params["pairs"], np.random.default_rng(seed))
    views = _Views(x, y, pairs)
    w, s = pairs.even_weights, pairs.signs
    weights = np.zeros((x.shape[1], n_bits), np.float32), np.zeros((y.shape[1], n_bits), np.float32)
    offsets, errors, history = np.zeros((2, n_bits)), np.zeros(n_bits), np.zeros(n_bits)
    loss = 0.0
    # Many short products: one thread of the linear algebra library each.
    with workers() as total:
        for bit in range(n_bits):
            u, v, centres = views.directions(w, total)
            z_x, z_y = views.projections(u, v)
            offsets[:, bit], products, errors[bit] = _offsets(z_x, z_y, centres, pairs, w)
            right = s * products
            w = w * np.exp(-_step(errors[bit], params["step"]) * right)
            loss += np.log(w.sum())
            w /= w.sum()
            weights[0][:, bit], weights[1][:, bit], history[bit] = u, v, loss
            progress(bit + 1, n_bits)
    state = {"errors": errors, "history": history}
    for name, mean, own, offset in zip((first, second), views.means, weights, offsets, strict=True):
        state |= named({"mean": mean, "weights": own, "offset": offset}, name)
    return state


class _Views:
    """The rows of two views, and weighted sums over their pairs."""

    def __init__(self, x: np.ndarray, y: np.ndarray, pairs: CrossPairs) -> None:
        self.means = _linear.mean_of(x), _linear.mean_of(y)
        self._x, self._pairs = x, pairs
        self._y_and_one = np.column_stack([_linear.centred(y, self.means[1]), np.ones(len(y))])
        self._y = self._y_and_one[:, :-1]
        self._order = np.argsort(pairs.left, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(pairs.left, minlength=len(x)))])

    def directions(self, w: np.ndarray, total: Sum) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
        """Give u and v of equation (2), float32 as they will be stored, and u·μ_x and v·μ_y."""
        from scipy.sparse import csr_array

        n, dim = self._x.shape
        signed = (w * self._pairs.signs)[self._order]
        by_rows = csr_array((signed, self._pairs.right[self._order], self._starts), shape=(n, n))
        mass = np.bincount(self._pairs.left, w, n)
        mean_y = np.bincount(self._pairs.right, w, n) @ self._y

        def term(block: slice) -> np.ndarray:
            """Sum x (Σ w s (y - μ_y))' and, in the last two columns, w s x and w x."""
            sums = by_rows[block] @ self._y_and_one
            sums[:, :-1] -= sums[:, -1:] * mean_y
            return _linear.centred(self._x[block], self.means[0]).T @ np.column_stack([sums, mass[block]])

        sums = total(blocks(n, dim), term)
        mean_x = sums[:, -1]
        # Σ w s (y - μ_y), which μ_x is to be taken away with.
        rest = np.bincount(self._pairs.right, w * self._pairs.signs, n) @ self._y - signed.sum() * mean_y
        u, v = (part.astype(np.float32) for part in leading_pair(sums[:, :-2] - np.outer(mean_x, rest)))
        return u, v, (float(mean_x @ u), float(mean_y @ v))

    def projections(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give u·(x - μ) and v·(y - μ) of all rows, float64 (n,) each."""
        parts = [
            _linear.centred(self._x[block], self.means[0]) @ u.astype(np.float64) for block in blocks(*self._x.shape)
        ]
        return np.concatenate(parts), self._y @ v.astype(np.float64)


def _offsets(
    z_x: np.ndarray, z_y: np.ndarray, centres: tuple[float, float], pairs: CrossPairs, w: np.ndarray
) -> tuple[tuple[float, float], np.ndarray, float]:
    """Search for the offsets of equation (3); gives them, the products h g of the pairs, and the error."""
    (a, b), signed, n = centres, w * pairs.signs, len(z_x)
    search_x, search_y = offset_search(z_x), offset_search(z_y)
    h, g = np.where(z_x > a, 1.0, -1.0), np.where(z_y > b, 1.0, -1.0)
    agreement = float(signed @ (h[pairs.left] * g[pairs.right]))
    for _ in range(_MOST_ROUNDS):
        before = agreement
        found, best = search_y(np.bincount(pairs.right, signed * h[pairs.left], n))
        if best > agreement + _LEAST_GAP:
            b, agreement, g = found, best, np.where(z_y > found, 1.0, -1.0)
        found, best = search_x(np.bincount(pairs.left, signed * g[pairs.right], n))
        if best > agreement + _LEAST_GAP:
            a, agreement, h = found, best, np.where(z_x > found, 1.0, -1.0)
        if agreement == before:
            break
    products = h[pairs.left] * g[pairs.right]
    return (a, b), products, float(w @ (products != pairs.signs))


def offset_search(values: np.ndarray) -> Search:
    """Prepare the exact search for offsets of some values.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)

    Returns
    -------
    callable
        From gains (n,) to the offset c with the largest Σ_i gains_i sgn(values_i - c) among those with values on both
        sides, the middle of a gap, and that sum; 0 and -inf where all values are equal.
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    middles = ascending[:-1] + np.diff(ascending) / 2
    gaps = np.flatnonzero(np.diff(ascending) > _LEAST_GAP * np.abs(ascending[[0, -1]]).max())

    def search(gains: np.ndarray) -> tuple[float, float]:
        if len(gaps) == 0:
            return 0.0, -np.inf
        below = np.cumsum(gains[order])
        sums = below[-1] - 2 * below[gaps]
        best = int(sums.argmax())
        return float(middles[gaps[best]]), float(sums[best])

    return search


def _step(error: float, step: str) -> float:
    """Give α of equation (4)."""
    if step == "unit":
        return 1.0
    error = min(max(error, _LEAST_ERROR), 0.5)
    return 0.5 * float(np.log((1 - error) / error))


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (6)."""
    view = view_of(state, modality)
    return margins.encode(vectors, view["weights"], view["offset"], mean=view["mean"])


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give u · (x - μ) - a of the modality."""
    view = view_of(state, modality)
    return margins.project(vectors, view["weights"], view["offset"], mean=view["mean"])
