"""Collective matrix factorisation hashing (CMFH): one code for all modalities of an item, that factors each of them.

G. Ding, Y. Guo, J. Zhou: Collective Matrix Factorization Hashing for Multimodal Data. IEEE Conference on Computer
Vision and Pattern Recognition (CVPR), 2014.

With X_v the centred views, rows paired, two or more of them, find one latent matrix V (n, n_bits), factors U_v and
projections P_v that minimise

    (1)  J = Σ_v λ_v |X_v - V U_v|^2 + μ Σ_v |V - X_v P_v|^2 + γ (|V|^2 + Σ_v |U_v|^2 + Σ_v |P_v|^2)

by turns, each the best for the others given, so that J never rises:

    (2)  U_v = (V'V + (γ / λ_v) I)^-1 V'X_v
    (3)  V = Σ_v X_v (λ_v U_v' + μ P_v) · (Σ_v λ_v U_v U_v' + (M μ + γ) I)^-1,     M views
    (4)  P_v = (X_v'X_v + (γ / μ) I)^-1 X_v'V

The learned code of a training pair is sgn(V), the same for all its views; other rows get the code that one view
predicts:

    (5)  bit_k(x) = [P_vk · (x - μ_v) > 0]

By (3), V = [X_1 … X_M] A. So only A is kept, V'V and V'X_v come from the second moments of the views, and a turn costs
nothing in n. It starts with random P_v, and their mean prediction for V. A rotation of V leaves J as it is, so that
bits are random mixtures of the directions that J leaves in V, however many bits there are.

Cost: fit n D^2 for the second moments, D = Σ_v dim_v, and D^2 n_bits + n_bits^3 for each iteration, and dim_v^3 to
start; memory 3 D^2 doubles; encode n dim n_bits. ``history`` in the state is J after each iteration;
``training_codes`` are sgn(V).

Differs from the paper: all views are divided by one number, the root mean square length of a row of all of them, so
that μ and γ mean the same for data of any scale; a view of larger variance than another still weighs more, as in the
paper, and ``lambda`` balances that. V starts as a prediction instead of at random. The authors' code has γ where the
minimum of J has γ / λ_v and γ / μ. Reconstructed from the objective in that code; the paper's text was not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear
from hashdb_plugins._paired import PairedRows, linear_view
from hashdb_plugins._parallel import sum_over, workers
from hashdb_plugins._views import view_of

# J this near, relatively, to that of V = 0 is that of a V that has shrunk to nothing.
_NEAR = 1e-5


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="cmfh",
        title="Collective matrix factorisation hashing",
        paper="Ding, Guo, Zhou, Collective Matrix Factorization Hashing for Multimodal Data, CVPR",
        year=2014,
        params=(
            Param(
                "lambda",
                float,
                None,
                minimum=1e-3,
                maximum=0.999,
                grid=(0.2, 0.5, 0.8),
                help="weight of the first view, the others share the rest; None: all alike, 0.5 for two",
            ),
            Param("mu", float, 100.0, minimum=1e-3, maximum=1e6, grid=(10.0, 100.0, 1000.0), help="of the predictions"),
            Param("gamma", float, 0.01, minimum=1e-6, maximum=1e3, grid=(0.001, 0.01, 0.1), help="of the sizes"),
            Param("iterations", int, 100, minimum=1, maximum=10_000, grid=(30, 100), help="turns at most"),
            Param("tolerance", float, 1e-7, minimum=0.0, maximum=0.1, help="relative fall of J below which it ends"),
        ),
        supervision="paired modalities",
        default_train=100_000,
        when="two or more modalities, pairs but no labels; best where what is stored keeps its learned codes",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Take the three steps by turns until J stands still."""
    progress(0, params["iterations"] + 1)
    rows = PairedRows(vectors)
    moments = rows.second_moment()
    for name, columns in zip(vectors, rows.columns, strict=True):
        if not np.trace(moments[columns, columns]) > 0:
            raise ArgumentError(f"all rows of {name!r} are equal, expected rows that differ for cmfh to factor")
    unit = float(np.sqrt(np.trace(moments)))
    views = _Factors(moments * (rows.n_rows / unit**2), rows.columns, _weights(params["lambda"], len(vectors)), params)
    # The products of a turn are small: threads of the linear algebra library would wait for each other.
    with workers():
        latent, predictions, history = views.learn(n_bits, seed, progress)
    state = {"history": history, "training_codes": _codes(rows, latent)}
    for name, mean, prediction in zip(vectors, rows.means, predictions, strict=True):
        state |= linear_view(name, mean, prediction / unit)
    return state


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (5)."""
    return _linear.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give P' (x - μ) of the modality."""
    return _linear.project(view_of(state, modality), vectors)


def _weights(first: float | None, n_views: int) -> np.ndarray:
    """Give λ_v of every view; their sum is 1."""
    first = first or 1 / n_views
    return np.array([first] + [(1 - first) / (n_views - 1)] * (n_views - 1))


def _codes(rows: PairedRows, latent: np.ndarray) -> np.ndarray:
    """Give sgn(V), bool (n, n_bits), from A."""
    codes = np.empty((rows.n_rows, latent.shape[1]), np.bool_)

    def fill(block: slice) -> np.ndarray:
        codes[block] = rows.centred(block) @ latent > 0
        return np.zeros(())

    sum_over(rows.blocks, fill)
    return codes


@dataclass(frozen=True)
class _Factors:
    """The problem of equation (1).

    Attributes
    ----------
    moments : ndarray of float64, shape (D, D)
        X'X of all views side by side.
    columns : list of slice
        Where each view stands.
    weights : ndarray of float64, shape (n_views,)
        λ_v.
    params : dict
        μ and γ, and when to end.
    """

    moments: np.ndarray
    columns: list[slice]
    weights: np.ndarray
    params: dict[str, Any]

    def learn(
        self, n_bits: int, seed: int, progress: Callable[[int, int], None]
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Give A, float64 (D, n_bits), the P_v, and J after each iteration."""
        n_iterations = self.params["iterations"]
        rng = np.random.default_rng(seed)
        predictions = [rng.standard_normal((part.stop - part.start, n_bits)) for part in self.columns]
        latent = np.vstack(predictions) / len(predictions)
        sums = self.moments @ latent
        inverses = [self._regular_inverse(part) for part in self.columns]
        history: list[float] = []
        for iteration in range(n_iterations):
            progress(iteration + 1, n_iterations + 1)
            factors = self._factors(sums, latent.T @ sums)
            latent = self._latent(factors, predictions)
            sums = self.moments @ latent
            predictions = [inverse(sums[part]) for inverse, part in zip(inverses, self.columns, strict=True)]
            square = latent.T @ sums
            history.append(self._objective(sums, square, factors, predictions))
            if iteration and history[-2] - history[-1] <= self.params["tolerance"] * history[-1]:
                break
        progress(n_iterations + 1, n_iterations + 1)
        variances = np.diag(self.moments)
        without = sum(weight * variances[part].sum() for weight, part in zip(self.weights, self.columns, strict=True))
        if abs(history[-1] / without - 1) < _NEAR:
            raise ArgumentError(
                f"gamma is {self.params['gamma']:g}, for which the best codes of these rows are all zero; "
                "expected a smaller one"
            )
        return latent, predictions, np.array(history)

    def _regular_inverse(self, part: slice) -> Callable[[np.ndarray], np.ndarray]:
        """Give the function that solves equation (4)."""
        from scipy.linalg import cho_factor, cho_solve

        inner = self.moments[part, part]
        # Equal columns leave rounding of this size where there should be nothing.
        rounding = 8 * len(inner) * np.finfo(np.float64).eps * np.trace(inner)
        ridge = max(self.params["gamma"] / self.params["mu"], rounding)
        factor = cho_factor(inner + ridge * np.eye(len(inner)))
        return lambda right: cho_solve(factor, right)

    def _factors(self, sums: np.ndarray, square: np.ndarray) -> list[np.ndarray]:
        """Give U_v of equation (2) from X'V and V'V."""
        gamma, one = self.params["gamma"], np.eye(len(square))
        parts = zip(self.weights, self.columns, strict=True)
        return [np.linalg.solve(square + gamma / weight * one, sums[part].T) for weight, part in parts]

    def _latent(self, factors: list[np.ndarray], predictions: list[np.ndarray]) -> np.ndarray:
        """Give A of V = X A, equation (3)."""
        mu, gamma = self.params["mu"], self.params["gamma"]
        inner = (len(factors) * mu + gamma) * np.eye(factors[0].shape[0])
        inner += sum(weight * u @ u.T for weight, u in zip(self.weights, factors, strict=True))
        parts = zip(self.weights, factors, predictions, strict=True)
        return np.linalg.solve(inner, np.hstack([weight * u + mu * p.T for weight, u, p in parts])).T

    def _objective(
        self, sums: np.ndarray, square: np.ndarray, factors: list[np.ndarray], predictions: list[np.ndarray]
    ) -> float:
        """Give J of equation (1)."""
        mu, gamma = self.params["mu"], self.params["gamma"]
        total = gamma * np.trace(square)
        for weight, part, u, p in zip(self.weights, self.columns, factors, predictions, strict=True):
            inner = self.moments[part, part]
            total += weight * (np.trace(inner) - 2 * np.vdot(u.T, sums[part]) + np.vdot(square, u @ u.T))
            total += mu * (np.trace(square) - 2 * np.vdot(p, sums[part]) + np.vdot(p, inner @ p))
            total += gamma * (np.vdot(u, u) + np.vdot(p, p))
        return float(total)
