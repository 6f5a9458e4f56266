"""Support vector machines, one for each bit, as hash functions: as many at a time as there are processors."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from hashdb import margins
from hashdb_plugins._parallel import each

# The solver's own default; that of scikit-learn, a hundredth of it, takes two to three times as long.
_TOLERANCE = 1e-2
# What the solver makes of a value: a number and its place.
_NODE_BYTES = 16
# Of the kernel machines: scikit-learn's default, in megabytes.
_CACHE = 200


def unit_scale(rows: np.ndarray) -> float:
    """Give the root mean square length of centred rows, or 1 where all are zero."""
    return float(np.sqrt(np.einsum("ij,ij->", rows, rows) / len(rows))) or 1.0


def planes(
    rows: np.ndarray,
    bits: np.ndarray,
    c: float,
    class_weight: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each bit the plane that tells its rows apart with the widest margin.

    min 1/2 (|w|^2 + b^2) + C Σ_i max(0, 1 - y_i (w · x_i + b))^2, solved in the primal, whose solver draws no random
    numbers. A bit that is the same for all rows gets w = 0 and b = 1 or -1.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, dim)
    bits : ndarray of bool, shape (n, n_bits)
    c : float
    class_weight : str, optional
        ``balanced`` for as much weight on the rows of either value.
    progress : callable, optional
        Called with the number of bits done.

    Returns
    -------
    weights : ndarray of float64, shape (dim, n_bits)
    bias : ndarray of float64, shape (n_bits,)
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    def learn(wanted: np.ndarray) -> tuple[np.ndarray, float]:
        machine = LinearSVC(C=c, dual=False, tol=_TOLERANCE, class_weight=class_weight).fit(rows, wanted)
        return machine.coef_[0], machine.intercept_[0]

    with warnings.catch_warnings():
        # A plane that is not quite the best is a hash function all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _bit_by_bit(bits, rows.shape[1], learn, progress, _NODE_BYTES * rows.size)


def _bit_by_bit(
    bits: np.ndarray,
    width: int,
    learn: Callable[[np.ndarray], tuple[np.ndarray, float]],
    progress: Callable[[int], None],
    task_bytes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Learn weights of ``width`` numbers and a bias for each bit that is not the same for all rows."""
    weights, bias = np.zeros((width, bits.shape[1])), np.zeros(bits.shape[1])

    def one(bit: int) -> None:
        wanted = bits[:, bit]
        if wanted.all() or not wanted.any():
            bias[bit] = 1.0 if wanted[0] else -1.0
        else:
            weights[:, bit], bias[bit] = learn(wanted)

    each(bits.shape[1], one, progress, task_bytes)
    return weights, bias


def state_of(mean: np.ndarray, weights: np.ndarray, bias: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """Make the state of planes that were found on (x - mean) / scale; its margins are ``scale`` times theirs."""
    return {
        "mean": mean,
        "weights": np.ascontiguousarray(weights, dtype=np.float32),
        "offset": -scale * bias,
    }


def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of planes, bool (n, n_bits)."""
    return margins.encode(vectors, state["weights"], state["offset"], mean=state["mean"])


def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the margins of planes, float32 (n, n_bits)."""
    return margins.project(vectors, state["weights"], state["offset"], mean=state["mean"])


def kernel_planes(
    kernel: np.ndarray,
    bits: np.ndarray,
    c: float,
    class_weight: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each bit the plane of widest margin in the space of a kernel.

    min 1/2 |w|^2 + C Σ_i max(0, 1 - y_i (w · φ(x_i) + b)), w = Σ_j a_j φ(x_j); of bits as in :func:`planes`.

    Parameters
    ----------
    kernel : ndarray of float64, shape (n, n)
    bits, c, class_weight, progress
        As in :func:`planes`.

    Returns
    -------
    weights : ndarray of float64, shape (n, n_bits)
        a, zero for rows that are no support vectors.
    bias : ndarray of float64, shape (n_bits,)
    """
    from sklearn.svm import SVC

    def learn(wanted: np.ndarray) -> tuple[np.ndarray, float]:
        machine = SVC(C=c, kernel="precomputed", class_weight=class_weight, cache_size=_CACHE).fit(kernel, wanted)
        weights = np.zeros(len(kernel))
        weights[machine.support_] = machine.dual_coef_[0]
        return weights, machine.intercept_[0]

    return _bit_by_bit(bits, len(kernel), learn, progress, _CACHE << 20)
