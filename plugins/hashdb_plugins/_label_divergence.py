"""Relaxed codes whose distances are distributed as the likeness of labels: what SePH minimises, by sets of labels.

With A_ij the cosine of the label vectors of rows i ≠ j, n rows, and relaxed codes h_i of K real values, the rows of H,

    (1)  J = Σ_ij p_ij log(p_ij / q_ij) + α / (n K) | |H| - 1 |^2
         p_ij = A_ij / Σ A,     q_ij = y_ij / Σ y,     y_ij = 1 / (1 + |h_i - h_j|^2 / 4)
    (2)  ∂J/∂h_i = Σ_j (p_ij - q_ij) y_ij (h_i - h_j) + 2 α / (n K) (|h_i| - 1) sgn(h_i)

over i ≠ j. Rows with the same set of labels have the same A. If they start with the same h, (2) is the same for them
and they keep it, so that a sum over pairs of rows is one over pairs of sets: with c_g the rows of set g,

    (3)  Σ_ij f(A_ij, h_i, h_j) = Σ_gh c_g c_h f(A_gh, h_g, h_h) - n f(1, h, h)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError
from hashdb_plugins._label_pairs import LabelPairs
from hashdb_plugins._labels import Labelled
from hashdb_plugins._parallel import Sum, blocks, sum_over, workers

MOST_SETS = 10_000
# Far below the distances that matter: the first turns decide in which direction sets part.
_START = 1e-2
# J is about 0.1 to 1, and signs stay the same well before it does.
_SETTLED = 1e-7


class LabelDivergence:
    """J of equation (1) for the labels of rows.

    Attributes
    ----------
    of_rows : ndarray of int64, shape (n,)
        The set of each row.
    counts : ndarray of float64, shape (n_sets,)
        Rows of each set.

    Raises
    ------
    ArgumentError
        Too many different sets, or no two rows that share a class.
    """

    def __init__(self, method: str, known: Labelled) -> None:
        pairs = LabelPairs(known)
        n, n_sets = len(pairs.of_rows), len(pairs.counts)
        if n_sets > MOST_SETS:
            raise ArgumentError(
                f"{method} goes through every pair of different label sets: the labels have {n_sets} of them, expected "
                f"at most {MOST_SETS}; train on fewer rows or on fewer classes"
            )
        self.of_rows, self.counts = pairs.of_rows, pairs.counts.astype(np.float64)
        examples = np.empty(n_sets, np.int64)
        examples[pairs.of_rows] = np.arange(n)
        labels = known.indicators(examples)
        self._labels = labels / np.linalg.norm(labels, axis=1, keepdims=True)
        together = self._labels.T @ self.counts
        self._total = float(together @ together) - n
        if self._total <= 1e-9 * n:
            raise ArgumentError(f"no two labelled rows share a class, expected rows that {method} can bring together")

    def minimise(
        self, n_bits: int, alpha: float, n_turns: int, rng: np.random.Generator, progress: Callable[[int], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Minimise (1) from small random codes by SciPy's L-BFGS.

        Parameters
        ----------
        n_bits : int
        alpha : float
        n_turns : int
            At most.
        rng : numpy.random.Generator
        progress : callable
            Called with the number of turns done.

        Returns
        -------
        relaxed : ndarray of float64, shape (n_sets, n_bits)
        history : ndarray of float64
            J of the start and after each turn; it never rises.
        """
        from scipy.optimize import minimize

        shape = len(self.counts), n_bits
        start = _START * rng.standard_normal(shape)
        start -= self.counts @ start / self.counts.sum()
        with workers() as total:
            entropy = self._entropy(total)

            def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
                cross, gradient = self.value(flat.reshape(shape), alpha, total)
                return entropy + cross, gradient.ravel()

            history = [value(start.ravel())[0]]
            progress(0)

            def note(intermediate_result: Any) -> None:
                history.append(float(intermediate_result.fun))
                progress(min(len(history) - 1, n_turns))

            options = {"maxiter": n_turns, "maxfun": 100 * n_turns, "ftol": _SETTLED, "gtol": 0.0}
            best = minimize(value, start.ravel(), jac=True, method="L-BFGS-B", callback=note, options=options)
        progress(n_turns)
        return best.x.reshape(shape), np.array(history)

    def value(self, relaxed: np.ndarray, alpha: float, total: Sum = sum_over) -> tuple[float, np.ndarray]:
        """Give J less Σ p log p, and c_g ∂J/∂h of (2) for each set.

        Cost n_sets^2 n_bits; memory a block of the pairs for each thread.

        Parameters
        ----------
        relaxed : ndarray of float64, shape (n_sets, n_bits)
        alpha : float
        total : callable, optional
            Sums over blocks.

        Returns
        -------
        value : float
        gradient : ndarray of float64, shape (n_sets, n_bits)
        """
        counts, n = self.counts, self.counts.sum()
        squares = np.einsum("ij,ij->i", relaxed, relaxed) / 4
        drawn, pushed = np.empty_like(relaxed), np.empty_like(relaxed)

        def term(block: slice) -> np.ndarray:
            near = relaxed[block] @ (relaxed.T * -0.5)
            near += squares
            near += squares[block, None] + 1
            # Rounding may take a distance below 0.
            np.maximum(near, 1, out=near)
            both = counts * counts[block, None]
            weights = both * (self._labels[block] @ self._labels.T)
            loss = np.vdot(weights, np.log(near))
            np.reciprocal(near, out=near)
            weights *= near
            drawn[block] = weights.sum(axis=1)[:, None] * relaxed[block] - weights @ relaxed
            both *= near
            mass = both.sum()
            both *= near
            pushed[block] = both.sum(axis=1)[:, None] * relaxed[block] - both @ relaxed
            return np.array([loss, mass])

        loss, mass = total(blocks(len(counts), len(counts)), term)
        mass -= n
        share, excess = alpha / (n * relaxed.shape[1]), np.abs(relaxed) - 1
        gradient = drawn / self._total - pushed / mass
        gradient += 2 * share * counts[:, None] * excess * np.sign(relaxed)
        return loss / self._total + np.log(mass) + share * float(counts @ (excess**2).sum(axis=1)), gradient

    def _entropy(self, total: Sum) -> float:
        """Give Σ p log p."""
        from scipy.special import xlogy

        def term(block: slice) -> np.ndarray:
            cosines = np.minimum(self._labels[block] @ self._labels.T, 1)
            return np.asarray(self.counts[block] @ (xlogy(cosines, cosines) @ self.counts))

        n_sets = len(self.counts)
        return float(total(blocks(n_sets, n_sets), term)) / self._total - float(np.log(self._total))
