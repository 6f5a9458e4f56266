"""Semantic correlation maximisation (SCM): codes of two modalities whose agreement is the similarity of their labels.

D. Zhang, W.-J. Li: Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization. Proceedings of the
28th AAAI Conference on Artificial Intelligence, 2014.

With X and Y the centred views, rows paired, G the label vectors of the rows scaled to length 1, and K = n_bits, find
codes H_x = sgn(X W_x) and H_y = sgn(Y W_y) of -1 and 1 that minimise

    (1)  J = (1/n^2) |S - H_x H_y' / K|^2,     S = 2 G G' - 1 1'

S is 1 for pairs of rows with the same labels and -1 for those that share none. It is never made: all that is needed is
X'S Y = 2 (X'G)(Y'G)' - (X'1)(Y'1)'. Without the signs, and with X W_x and Y W_y of variance 1 in every bit:

* The orthogonal solution asks that bits of a view do not correlate. With C the covariances (C_x + ε_x I for C_x),

    (2)  D = X'S Y / n^2,     D C_y^-1 D' w_x = σ^2 C_x w_x,     w_y = C_y^-1 D'w_x / σ

  by falling σ. D has no more directions than labels (one less with one label a row), nor than the views' dimensions:
  bits beyond are noise, as in the paper.
* The sequential solution learns bit after bit, without that constraint. Each is the first pair of (2) for what the bits
  before have left of S:

    (3)  D_1 = X'S Y / n^2,     D_(t+1) = D_t - (X'h_xt / n)(Y'h_yt / n)' / K,     h_xt = sgn(X w_xt)

  It has no end: any number of bits has correlations to make up for.

    (4)  bit_k(x) = [w_xk · (x - μ_x) > 0],   bit_k(y) = [w_yk · (y - μ_y) > 0]

Cost: fit n (dim_x + dim_y)^2 + dim_x^3 + dim_y^3 to start; then, sequential, n (dim_x + dim_y) + n k / 64 + m M (m + M)
for bit k, with m the smaller and M the larger of the dimensions. Memory (dim_x + dim_y)^2 doubles, n labels and
n n_bits / 4 bytes. Encode n dim n_bits. ``history`` in the state is J of the first 0, 1, … K bits, all divided by K:
it may rise, as (2) and (3) know no signs. ``correlations`` are the σ of the bits.

Differs from the paper: σ and J have K in the denominator, where the paper multiplies S by it; ε is a fraction of a
view's mean variance, where the authors' code adds 0.000001 to X'X; rows without a label are left out. The authors' code
ends the sequence at the first σ that rises, and fills up with canonical directions of the views. The sequence goes on
here: of σ that are nearly equal the next is often the greater by a little, at any bit, and views have no more canonical
directions than dimensions. Reconstructed from the objective and the authors' code; the paper's text was not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear
from hashdb_plugins._canonical import regular_root
from hashdb_plugins._labels import labelled
from hashdb_plugins._paired import PairedRows, linear_view
from hashdb_plugins._parallel import sum_over, workers
from hashdb_plugins._semantics import Semantics
from hashdb_plugins._views import view_of


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="scm",
        title="Semantic correlation maximisation",
        paper="Zhang, Li, Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization, AAAI",
        year=2014,
        params=(
            Param(
                "solution",
                str,
                "sequential",
                choices=("sequential", "orthogonal"),
                grid=("sequential", "orthogonal"),
                help="bit after bit, or all bits at once, uncorrelated",
            ),
            Param(
                "regularisation",
                float,
                1e-2,
                minimum=1e-10,
                maximum=1e4,
                grid=(1e-6, 1e-4, 1e-2, 1.0),
                help="added to the variances of a view, as a fraction of their mean",
            ),
        ),
        supervision="paired modalities and labels",
        default_train=100_000,
        when="two modalities with labels, and little time: linear codes of any length, cost linear in the rows",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Find directions of both views along which their signs agree as the labels do."""
    if len(vectors) != 2:
        raise ArgumentError(f"scm takes two modalities, got {len(vectors)}: {', '.join(vectors)}")
    known = labelled("scm", next(iter(vectors.values())), labels)
    every = len(known.rows) == len(labels)
    pairs = _Pairs({name: part if every else part[known.rows] for name, part in vectors.items()}, params)
    semantics = Semantics(known, n_bits)
    learn = _sequential if params["solution"] == "sequential" else _orthogonal
    correlations, directions = learn(pairs, semantics, n_bits, seed, progress)
    state = {"correlations": correlations, "history": np.array(semantics.history)}
    for view, (name, mean) in enumerate(zip(vectors, pairs.rows.means, strict=True)):
        state |= linear_view(name, mean, pairs.weights(view, directions[view]))
    return state


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _linear.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give w · (x - μ) of the modality."""
    return _linear.project(view_of(state, modality), vectors)


class _Pairs:
    """The two views and what whitens them: C = L L', w = L^-T u for a direction u of unit length."""

    def __init__(self, vectors: Mapping[str, np.ndarray], params: dict[str, Any]) -> None:
        self.rows = PairedRows(vectors)
        joint = self.rows.second_moment()
        self._roots = [regular_root(joint[part, part], params["regularisation"]) for part in self.rows.columns]

    def weights(self, view: int, directions: np.ndarray) -> np.ndarray:
        """Give w of directions, columns or one."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self._roots[view], directions, lower=True, trans=1)

    def whitened(self, view: int, sums: np.ndarray) -> np.ndarray:
        """Give L^-1 of a view's part of sums over the rows, (width,) or (width, k)."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self._roots[view], sums[self.rows.columns[view]], lower=True)

    def semantic(self, semantics: Semantics) -> np.ndarray:
        """Give L_x^-1 D L_y^-T for D of equation (2)."""
        rows = self.rows
        by_label = (
            sum_over(rows.blocks, lambda block: (semantics.labels[block].T @ rows.centred(block)).T) / rows.n_rows
        )
        in_all = sum_over(rows.blocks, lambda block: rows.centred(block).sum(axis=0)) / rows.n_rows
        x, y = (self.whitened(view, by_label) for view in (0, 1))
        one_x, one_y = (self.whitened(view, in_all) for view in (0, 1))
        return 2 * x @ y.T - np.outer(one_x, one_y)

    def margins(self, block: slice, weights: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Give a block of rows of both views, and X w and Y w of it."""
        rows = self.rows.centred(block)
        return rows, [rows[:, part] @ w for part, w in zip(self.rows.columns, weights, strict=True)]


def _sequential(
    pairs: _Pairs, semantics: Semantics, n_bits: int, seed: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Learn bit after bit by equation (3): σ (n_bits,), and the whitened directions of each view (dim, n_bits)."""
    rows = pairs.rows
    left = pairs.semantic(semantics)
    directions = [np.empty((dim, n_bits)) for dim in left.shape]
    correlations = np.empty(n_bits)
    bits = np.empty((2, rows.n_rows), np.bool_)
    with workers() as total:
        for bit in range(n_bits):
            progress(bit, n_bits)
            correlations[bit], found = _first_pair(left)
            for view in (0, 1):
                directions[view][:, bit] = found[view]
            weights = [pairs.weights(view, found[view]) for view in (0, 1)]

            def sums_of_signs(block: slice, weights: list[np.ndarray] = weights) -> np.ndarray:
                part, margins = pairs.margins(block, weights)
                bits[:, block] = np.array(margins) > 0
                signs = np.where(bits[:, block], 1.0, -1.0)
                return np.concatenate([signs[view] @ part[:, columns] for view, columns in enumerate(rows.columns)])

            sums = total(rows.blocks, sums_of_signs) / rows.n_rows
            left -= np.outer(pairs.whitened(0, sums), pairs.whitened(1, sums)) / n_bits
            semantics.add(*bits)
    progress(n_bits, n_bits)
    return correlations, directions


def _first_pair(matrix: np.ndarray) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Give the largest singular value of a matrix (k, l) and its vectors, (k,) and (l,)."""
    from scipy.linalg import eigh

    if matrix.shape[0] < matrix.shape[1]:
        value, (right, left) = _first_pair(matrix.T)
        return value, (left, right)
    last = matrix.shape[1] - 1
    right = eigh(matrix.T @ matrix, subset_by_index=(last, last))[1][:, 0]
    right *= _linear.signs_of(right[:, None])
    left = matrix @ right
    value = float(np.linalg.norm(left))
    if value == 0:
        left[0] = 1.0
    return value, (left / (value or 1.0), right)


def _orthogonal(
    pairs: _Pairs, semantics: Semantics, n_bits: int, seed: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Give σ and the whitened directions of equation (2); random ones where a view has no more dimensions."""
    progress(0, 1)
    matrix = pairs.semantic(semantics)
    with workers():
        u, values, v = np.linalg.svd(matrix)
    u *= (signs := _linear.signs_of(u))
    n_pairs = len(values)
    v[:n_pairs] *= signs[:n_pairs, None]
    correlations = np.zeros(n_bits)
    correlations[:n_pairs] = values[:n_bits]
    rng = np.random.default_rng(seed)
    directions = []
    for found in (u, v.T):
        more = rng.standard_normal((len(found), max(n_bits - len(found), 0)))
        directions.append(np.hstack([found, more / np.linalg.norm(more, axis=0)])[:, :n_bits])
    bits = np.empty((2, pairs.rows.n_rows, n_bits), np.bool_)
    weights = [pairs.weights(view, directions[view]) for view in (0, 1)]

    def fill(block: slice) -> np.ndarray:
        for view, margins in enumerate(pairs.margins(block, weights)[1]):
            bits[view, block] = margins > 0
        return np.zeros(())

    sum_over(pairs.rows.blocks, fill)
    for bit in range(n_bits):
        semantics.add(*bits[:, :, bit])
    progress(1, 1)
    return correlations, directions
