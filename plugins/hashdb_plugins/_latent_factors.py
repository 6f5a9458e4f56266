"""One latent row for each pair of several views and its labels: the factorisation of SCRATCH, by turns.

Equations (1) to (6) are those of :mod:`hashdb_plugins.crossmodal.scratch`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hashdb_plugins import _anchors, _discrete
from hashdb_plugins._labels import Labelled
from hashdb_plugins._linear import column_means, second_moment
from hashdb_plugins._parallel import Sum, blocks, workers


class CentredKernel:
    """X of one view.

    Attributes
    ----------
    gram : ndarray of float64, shape (m, m)
        X'X.
    """

    def __init__(self, vectors: np.ndarray, n_anchors: int, rng: np.random.Generator) -> None:
        self.anchors = _anchors.random_anchors(vectors, n_anchors, rng)
        # Where all rows are equal any width gives the same kernel.
        self._gamma = 0.5 / (_anchors.mean_square_distance(vectors, self.anchors) or 1.0)
        self._kernel = _anchors.kernel(vectors, self.anchors, self._gamma)
        n, m = self._kernel.shape
        self._mean = column_means(n, m, lambda block: self._kernel[block].astype(np.float64))
        self.gram = n * second_moment(n, m, self.rows)

    def rows(self, block: slice) -> np.ndarray:
        """Give some rows of X, float64 (n, m)."""
        return self._kernel[block] - self._mean

    def state_of(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Make the state of a model whose margins are ``weights`` (m, n_bits) on X."""
        weights = weights.astype(np.float32)
        bias = -(self._mean @ weights.astype(np.float64))
        return _anchors.state_of(self.anchors, self._gamma, weights, bias)


@dataclass
class Factors:
    """What :func:`factorise` learns.

    Attributes
    ----------
    latent, codes : ndarray of float64, shape (n, r)
        V, and B of 1 and -1.
    rotation : ndarray of float64, shape (r, r)
        R.
    bases : list of ndarray of float64, shape (r, m)
        U of each view.
    classifier : ndarray of float64, shape (r, c)
        G.
    weights : list of ndarray of float64, shape (m, r)
        W of each view.
    history : list of float
    """

    latent: np.ndarray
    codes: np.ndarray
    rotation: np.ndarray
    bases: list[np.ndarray] = field(default_factory=list)
    classifier: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    weights: list[np.ndarray] = field(default_factory=list)
    history: list[float] = field(default_factory=list)


def factorise(
    kernels: list[CentredKernel],
    known: Labelled,
    latent: np.ndarray,
    rotation: np.ndarray,
    params: dict[str, Any],
    progress: Callable[[int], None] = lambda done: None,
) -> Factors:
    """Minimise (1) from a given V and R.

    Parameters
    ----------
    kernels : list of CentredKernel
        X_t.
    known : Labelled
        Y.
    latent : ndarray of float64, shape (n, r)
        V, changed.
    rotation : ndarray of float64, shape (r, r)
        R, orthogonal.
    params : dict
        ``alpha``, ``mu``, ``gamma`` and ``iterations``.
    progress : callable, optional
        Called with the number of turns done; the start counts as one.

    Returns
    -------
    Factors
    """
    from scipy.linalg import cho_factor

    mu, gamma = params["mu"], params["gamma"]
    # Before the threads are limited: this loads the library of SciPy, which the limit would not find otherwise.
    solvers = [cho_factor(mu * kernel.gram + gamma * np.eye(len(kernel.gram))) for kernel in kernels]
    found = Factors(latent, np.ones(latent.shape), rotation)
    # Many small systems of equations: threads of a library would wait for each other all the time.
    with workers() as total:
        agreement = _take_signs(found, total)
        sums = _sums(kernels, known, found, total)
        for turn in range(params["iterations"] + 1):
            progress(turn + 1)
            if turn:
                sums = _sums(kernels, known, found, total, _mixture(found, params))
                left, _, right = np.linalg.svd(sums.codes)
                found.rotation = left @ right
                agreement = _take_signs(found, total)
            _regress(found, sums, solvers, params)
            found.history.append(_objective(found, sums, kernels, known, agreement, params))
    return found


class _Sums(NamedTuple):
    """X_t'V of each view, V'V, V'B and Y'V."""

    views: list[np.ndarray]
    inner: np.ndarray
    codes: np.ndarray
    labels: np.ndarray


def _sums(
    kernels: list[CentredKernel],
    known: Labelled,
    found: Factors,
    total: Sum,
    mixture: list[np.ndarray] | None = None,
) -> _Sums:
    """Go through the rows once: set V to the mixture of X_t, Y and B if there is one, and sum over it."""
    latent, codes = found.latent, found.codes
    widths = [len(kernel.gram) for kernel in kernels]

    def term(block: slice) -> np.ndarray:
        features = [kernel.rows(block) for kernel in kernels]
        indicators = known.indicators(block)
        if mixture is not None:
            parts = zip([*features, indicators, codes[block]], mixture, strict=True)
            latent[block] = sum(values @ weights for values, weights in parts)
        v = latent[block]
        return np.vstack([values.T @ v for values in features] + [v.T @ v, codes[block].T @ v, indicators.T @ v])

    everything = total(blocks(len(latent), sum(widths)), term)
    *views, inner, outer, labels = np.split(everything, np.cumsum([*widths, len(codes.T), len(codes.T)]))
    return _Sums(views, inner, outer.T, labels)


def _mixture(found: Factors, params: dict[str, Any]) -> list[np.ndarray]:
    """Give what (4) multiplies X_t, Y and B by."""
    from scipy.linalg import solve

    share, alpha, mu = 1 / len(found.bases), params["alpha"], params["mu"]
    scale = 1 + len(found.bases) * mu + params["gamma"]
    matrix = sum(share * basis @ basis.T for basis in found.bases) + alpha * found.classifier @ found.classifier.T
    matrix[np.diag_indices(len(matrix))] += scale
    parts = [share * basis.T + mu * weights for basis, weights in zip(found.bases, found.weights, strict=True)]
    parts += [alpha * found.classifier.T, found.rotation.T]
    return [solve(matrix, part.T, assume_a="pos").T for part in parts]


def _take_signs(found: Factors, total: Sum) -> float:
    """Set B by (6), and give Σ |V R|, which is tr(B'V R)."""

    def fill(block: slice) -> np.ndarray:
        turned = found.latent[block] @ found.rotation
        found.codes[block] = _discrete.signs(turned, found.codes[block])
        return np.abs(turned).sum()

    return float(total(blocks(*found.codes.shape), fill))


def _regress(found: Factors, sums: _Sums, solvers: list[Any], params: dict[str, Any]) -> None:
    """Set U, G and W by (2) and (3)."""
    from scipy.linalg import cho_solve, solve

    share, alpha, ridge = 1 / len(sums.views), params["alpha"], params["gamma"] * np.eye(len(sums.inner))
    found.bases = [solve(share * sums.inner + ridge, share * seen.T, assume_a="pos") for seen in sums.views]
    found.classifier = solve(alpha * sums.inner + ridge, alpha * sums.labels.T, assume_a="pos")
    found.weights = [cho_solve(solver, params["mu"] * seen) for solver, seen in zip(solvers, sums.views, strict=True)]


def _objective(
    found: Factors,
    sums: _Sums,
    kernels: list[CentredKernel],
    known: Labelled,
    agreement: float,
    params: dict[str, Any],
) -> float:
    """Give J of (1)."""
    share, energy = 1 / len(kernels), float(np.trace(sums.inner))
    n_labels = known.labels.sum() if known.labels.ndim == 2 else len(known.rows)

    def left(total: float, factor: np.ndarray, outer: np.ndarray, gram: np.ndarray) -> float:
        """Give |A - F f|^2 from |A|^2, f, F'A and F'F."""
        return total - 2 * float(np.vdot(factor, outer)) + float(np.vdot(factor, gram @ factor))

    loss = len(found.latent) * len(sums.inner) - 2 * agreement + energy
    loss += params["alpha"] * left(float(n_labels), found.classifier, sums.labels.T, sums.inner)
    size = energy + float((found.classifier**2).sum())
    for kernel, seen, basis, weights in zip(kernels, sums.views, found.bases, found.weights, strict=True):
        loss += share * left(float(np.trace(kernel.gram)), basis, seen.T, sums.inner)
        loss += params["mu"] * left(energy, weights, seen, kernel.gram)
        size += float((basis**2).sum() + (weights**2).sum())
    return loss + params["gamma"] * size
