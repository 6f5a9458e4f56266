"""What the discrete methods share: ridge regression on the kernel at anchors or on the columns, and sums over labels.

    (1)  P minimises |B - Φ P|^2 + δ |P|^2:     (Φ'Φ + δ I) P = Φ'B,     Φ = [K 1]

with K the kernel of the training rows at anchors; the last row of P is the bias.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hashdb_plugins import _anchors, _linear
from hashdb_plugins._labels import Labelled
from hashdb_plugins._parallel import blocks, sum_over

_LARGEST_WEIGHT = 2.0**100


class KernelRidge:
    """Regression on the kernel of training rows at anchors.

    Cost: n m dim + n m^2 + m^3 to make, 2 n m n_bits for a fit and its predictions; memory n m floats and m^2 doubles,
    2 m^2 with ``keep``.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    anchors : ndarray of float32, shape (m, dim)
    gamma : float
        Of the kernel.
    delta : float
        δ of equation (1), above 0.
    before : tuple of ndarray, optional
        Φ'Φ, (m + 1, m + 1), and Φ'B, (m + 1, n_bits), of other rows, which count as well.
    keep : bool
        Whether to keep Φ'Φ as ``gram``.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        anchors: np.ndarray,
        gamma: float,
        delta: float,
        before: tuple[np.ndarray, np.ndarray] | None = None,
        keep: bool = False,
    ) -> None:
        from scipy.linalg import cho_factor

        self.anchors, self.gamma, self.delta = anchors, gamma, delta
        self._kernel = _anchors.kernel(vectors, anchors, gamma)
        m = len(anchors)
        self._blocks = blocks(len(vectors), m + 1)

        def term(block: slice) -> np.ndarray:
            phi = self._phi(block)
            return phi.T @ phi

        gram = sum_over(self._blocks, term)
        self._cross_before = 0.0
        if before is not None:
            gram += before[0]
            self._cross_before = before[1]
        self.gram = gram if keep else None
        self._factor = cho_factor(gram + delta * np.eye(m + 1))

    def cross(self, codes: np.ndarray) -> np.ndarray:
        """Give Φ'B, float64 (m + 1, n_bits)."""
        return sum_over(self._blocks, lambda block: self._phi(block).T @ codes[block]) + self._cross_before

    def fit(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Regress codes -1 and 1, (n, n_bits): give P, float64 (m + 1, n_bits), and Φ P, float64 (n, n_bits)."""
        from scipy.linalg import cho_solve

        weights = cho_solve(self._factor, self.cross(codes))
        predicted = np.empty(codes.shape)

        def fill(block: slice) -> np.ndarray:
            predicted[block] = self._phi(block) @ weights
            return np.zeros(())

        sum_over(self._blocks, fill)
        return weights, predicted

    def loss(self, codes: np.ndarray, weights: np.ndarray, predicted: np.ndarray) -> float:
        """Give |B - Φ P|^2 + δ |P|^2."""
        return float(((codes - predicted) ** 2).sum() + self.delta * (weights**2).sum())

    def state_of(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Make the state of a kernel model with these P."""
        return _anchors.state_of(self.anchors, self.gamma, weights[:-1], weights[-1])

    def _phi(self, block: slice) -> np.ndarray:
        rows = self._kernel[block]
        phi = np.ones((len(rows), rows.shape[1] + 1))
        phi[:, :-1] = rows
        return phi


def kernel_ridge(
    vectors: np.ndarray,
    n_anchors: int,
    width: float | None,
    delta: float,
    rng: np.random.Generator,
    keep: bool = False,
) -> KernelRidge:
    """Make the regression on the kernel at random ones of the training rows.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    n_anchors : int
        m, at most.
    width : float or None
        σ in k = exp(-|x - a|^2 / (2 σ^2)); None: 2 σ^2 is the mean squared distance of rows to anchors.
    delta : float
        δ of equation (1), above 0.
    rng : numpy.random.Generator
        Draws the anchors.
    keep : bool
        As of :class:`KernelRidge`.
    """
    anchors = _anchors.random_anchors(vectors, n_anchors, rng)
    # Where all rows are equal any width gives the same kernel.
    squares = 2 * width**2 if width else _anchors.mean_square_distance(vectors, anchors) or 1.0
    return KernelRidge(vectors, anchors, 1 / squares, delta, keep=keep)


def linear_ridge(vectors: np.ndarray, codes: np.ndarray, ridge: float) -> dict[str, np.ndarray]:
    """Regress codes -1 and 1, (n, n_bits), on standardised columns, with an intercept.

    Cost n dim^2 + dim^3; memory dim^2 doubles. Columns that do not vary get the weight 0.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    codes : ndarray of float64, shape (n, n_bits)
    ridge : float
        As a share of the variance of a column.

    Returns
    -------
    dict of str to ndarray
        ``mean``, ``weights`` and ``offset`` of a linear model.
    """
    from scipy.linalg import solve

    dim = vectors.shape[1]
    mean = _linear.mean_of(vectors)
    covariance = _linear.covariance(vectors, mean)
    spread = np.sqrt(np.diag(covariance))
    inverse = np.divide(1.0, spread, out=np.zeros(dim), where=spread > 0)
    bias = codes.mean(axis=0)
    outer = _cross(vectors, mean, codes - bias) * inverse[:, None]
    correlation = covariance * inverse * inverse[:, None] + ridge * np.eye(dim)
    weights = solve(correlation, outer, assume_a="pos") * inverse[:, None]
    # Margins of tiny data need huge weights: one scale for all keeps them in float32 and changes no sign.
    scale = min(1.0, _LARGEST_WEIGHT / max(float(np.abs(weights).max()), 1e-300))
    return {
        "mean": mean,
        "weights": np.ascontiguousarray(weights * scale, dtype=np.float32),
        "offset": -bias * scale,
    }


def _cross(vectors: np.ndarray, mean: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Give (1/n) Σ (x - μ) b', float64 (dim, n_bits)."""

    def term(block: slice) -> np.ndarray:
        return _linear.centred(vectors[block], mean).T @ codes[block]

    return sum_over(blocks(*vectors.shape), term) / len(vectors)


def label_sums(known: Labelled, values: np.ndarray) -> np.ndarray:
    """Give Y'V, float64 (n_classes, k), with Y the label indicators and V (n, k)."""
    parts = blocks(len(known.vectors), known.n_classes)
    return sum_over(parts, lambda block: known.indicators(block).T @ values[block])


def label_mix(known: Labelled, values: np.ndarray) -> np.ndarray:
    """Give Y V, float64 (n, k), with Y the label indicators and V (n_classes, k)."""
    result = np.empty((len(known.vectors), values.shape[1]))

    def fill(block: slice) -> np.ndarray:
        result[block] = known.indicators(block) @ values
        return np.zeros(())

    sum_over(blocks(len(known.vectors), known.n_classes), fill)
    return result


def signs(values: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Give 1 and -1 by sign, and the value there was where that is 0."""
    return np.where(values == 0, otherwise, np.copysign(1.0, values))


def random_signs(n: int, n_bits: int, rng: np.random.Generator) -> np.ndarray:
    """Draw 1 and -1, float64 (n, n_bits)."""
    return np.where(rng.random((n, n_bits)) < 0.5, -1.0, 1.0)


def codes_of_all(n: int, known: Labelled, codes: np.ndarray, predict: Callable[[], np.ndarray]) -> np.ndarray:
    """Give all n training rows a code, bool (n, n_bits): the learned one, or without a label the one predicted."""
    if len(known.rows) == n:
        return codes > 0
    result = predict()
    result[known.rows] = codes > 0
    return result
