"""Supervised hashing with kernels (KSH).

W. Liu, J. Wang, R. Ji, Y.-G. Jiang, S.-F. Chang: Supervised Hashing with Kernels. IEEE Conference on Computer Vision
and Pattern Recognition (CVPR), 2012.

With k(x) the kernel of x at m random training rows, μ its mean over the l training rows, K = [k(x_i) - μ]' (l, m),
r = n_bits, and S_ij = 1 for rows that share a class, -1 for rows that do not, find bits whose inner products are S:

    (1)  bit_k(x) = [a_k' (k(x) - μ) > 0],   k_j(x) = exp(-|x - x_j|^2 / (2 σ^2)),   σ^2 = mean of |x_i - x_j|^2
    (2)  Q = |(1/r) Σ_k h_k h_k' - S|^2,     h_k = sgn(K a_k)

greedily, one bit after the other: with R_0 = r S and R_k = R_(k-1) - h_k h_k',

    (3)  a_k maximises h' R_(k-1) h,         h = sgn(K a)

from a spectral start, the best a without the sign,

    (4)  K' R K a = λ K'K a,   λ largest,    a' K'K a = l

by Nesterov's accelerated gradient on (3) with a smooth sign:

    (5)  minimise f(a) = -φ(K a)' R φ(K a),  φ(z) = 2 / (1 + e^-z) - 1 = tanh(z / 2)
         ∇f(a) = -K' ((R φ) ∘ (1 - φ ∘ φ))

where the step 1/β is halved until f falls as a step of that length must, and the descent ends when f changes by less
than 0.01 l. The result is kept where its h is better in (3) than that of the start.

R is never made: S is kept by the sets of labels that rows have (module ``_label_pairs``), so that R φ costs l (k + 1).

Cost: fit l m dim + l m^2 for the kernel, then m^3 + l (2 m + k) for each of the at most ``iterations`` steps of bit k;
memory 2 l m doubles, l n_bits, and the square of the number of different sets of labels, at most 8,000. Encode
n m (dim + n_bits). ``history`` in the state is Q / l^2 with the first k bits, k = 1 … n_bits.

Differs from the paper: the generalised eigenproblem is solved on the directions in which K varies at all (K'K is
singular where anchors coincide). Fewer labelled rows than anchors are anchors all of them. As in the authors' code σ
enters as 2 σ^2, and there is no weight of a regulariser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchors
from hashdb_plugins._label_pairs import LabelPairs
from hashdb_plugins._labels import labelled
from hashdb_plugins._linear import signs_of
from hashdb_plugins._parallel import workers

_MOST_SETS = 8_000
_LEAST_SPREAD = 1e-10


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="ksh",
        title="Supervised hashing with kernels",
        paper="Liu, Wang, Ji, Jiang, Chang, Supervised Hashing with Kernels, CVPR",
        year=2012,
        params=(
            Param("anchors", int, 300, minimum=1, maximum=20_000, grid=(100, 300, 1000), help="rows of the kernel"),
            Param("iterations", int, 500, minimum=0, maximum=100_000, grid=(0, 100, 500), help="steps for each bit"),
        ),
        supervision="labels",
        default_train=2_000,
        when="labels of a few thousand rows only; with labels of most rows sdh and cosdish are faster and better",
    )


@hookimpl
def fit(
    vectors: np.ndarray,
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Learn one bit after the other."""
    known = labelled("ksh", vectors, labels)
    pairs = LabelPairs(known)
    if len(pairs.counts) > _MOST_SETS:
        raise ArgumentError(
            f"ksh keeps every pair of different label sets: the labels have {len(pairs.counts)} of them, expected at "
            f"most {_MOST_SETS}; train on fewer rows or on fewer classes"
        )
    anchors = _anchors.random_anchors(known.vectors, params["anchors"], np.random.default_rng(seed))
    gamma = 0.5 / (_anchors.mean_square_distance(known.vectors, anchors) or 1.0)
    kernel = _anchors.kernel(known.vectors, anchors, gamma).astype(np.float64)
    mean = kernel.mean(axis=0)
    kernel -= mean
    # Before the threads are limited: this loads the library of SciPy, which the limit would not find otherwise.
    basis = _basis(kernel)
    # Thousands of products with one vector each: threads of a library would wait for each other all the time.
    with workers():
        weights, history = learn_bits(kernel, basis, pairs, n_bits, params["iterations"], progress)
    weights = weights.astype(np.float32)
    return _anchors.state_of(anchors, gamma, weights, -(mean @ weights.astype(np.float64))) | {"history": history}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (1)."""
    return _anchors.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give a' (k(x) - μ)."""
    return _anchors.project(state, vectors)


def learn_bits(
    kernel: np.ndarray,
    basis: np.ndarray,
    pairs: LabelPairs,
    n_bits: int,
    n_iterations: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Maximise (3) for one bit after the other.

    Parameters
    ----------
    kernel : ndarray of float64, shape (l, m)
        K.
    basis : ndarray of float64, shape (m, rank)
        Directions B in which B' K'K B is the identity.
    pairs : LabelPairs
        S.
    n_bits, n_iterations : int
    progress : callable
        Called with (bits done, bits).

    Returns
    -------
    weights : ndarray of float64, shape (m, n_bits)
    history : ndarray of float64, shape (n_bits,)
        Q / l^2 after each bit.
    """
    n, m = kernel.shape
    table = pairs.table(slice(None))
    sums = pairs.sums(kernel @ basis)
    residual = n_bits * (sums.T @ table @ sums)
    bits = np.empty((n, n_bits))
    weights, history = np.empty((m, n_bits)), np.empty(n_bits)
    loss = float(n_bits) ** 2 * n**2
    for k in range(n_bits):
        earlier = bits[:, :k]

        def times(values: np.ndarray, earlier: np.ndarray = earlier) -> np.ndarray:
            """Give R values."""
            shared = (table @ pairs.sums(values))[pairs.of_rows]
            return n_bits * shared - earlier @ (earlier.T @ values)

        start = basis @ _largest_direction(residual) * np.sqrt(n)
        h, best = _bit(kernel @ start, times)
        weights[:, k] = start
        if n_iterations:
            moved = descend(kernel, times, start, n_iterations)
            moved_h, moved_best = _bit(kernel @ moved, times)
            if moved_best > best:
                weights[:, k], h, best = moved, moved_h, moved_best
        bits[:, k] = h
        seen = basis.T @ (kernel.T @ h)
        residual -= np.outer(seen, seen)
        # |R - h h'|^2 = |R|^2 - 2 h' R h + l^2
        loss += n**2 - 2 * best
        history[k] = loss / (float(n_bits) ** 2 * n**2)
        progress(k + 1, n_bits)
    return weights, history


def descend(
    kernel: np.ndarray, times: Callable[[np.ndarray], np.ndarray], start: np.ndarray, n_iterations: int
) -> np.ndarray:
    """Minimise (5) from a start: give the a of the lowest f met.

    Parameters
    ----------
    kernel : ndarray of float64, shape (l, m)
    times : callable
        Gives R v.
    start : ndarray of float64, shape (m,)
    n_iterations : int

    Returns
    -------
    ndarray of float64, shape (m,)
    """

    def value(z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        smooth = np.tanh(z / 2)
        product = times(smooth)
        return -float(smooth @ product), smooth, product

    # K a is carried along with every a, so that a step costs one product with K and one with K'.
    a = before = start
    z = z_before = kernel @ start
    lowest, best = value(z)[0], start
    last, step, beta, t_before, t = lowest, 0.0, 1.0, 0.0, 1.0
    for _ in range(n_iterations):
        ahead = (t_before - 1) / t
        y, z_y = a + ahead * (a - before), z + ahead * (z - z_before)
        f_y, smooth, product = value(z_y)
        gradient = -(kernel.T @ (product * (1 - smooth**2)))
        z_gradient, size = kernel @ gradient, float(gradient @ gradient)
        for _ in range(50):
            step = 1 / beta
            f, _, _ = value(z_y - step * z_gradient)
            if f <= f_y - step / 2 * size:
                break
            beta *= 2
        before, a = a, y - step * gradient
        z_before, z = z, z_y - step * z_gradient
        t_before, t = t, (1 + np.sqrt(1 + 4 * t**2)) / 2
        if f < lowest:
            lowest, best = f, a
        if abs(f - last) <= 0.01 * len(z):
            break
        last = f
    return best


def _bit(z: np.ndarray, times: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, float]:
    """Give h = sgn(z), as encoding does, and h' R h."""
    h = np.where(z > 0, 1.0, -1.0)
    return h, float(h @ times(h))


def _basis(kernel: np.ndarray) -> np.ndarray:
    """Give directions B (m, rank) in which B' K'K B is the identity."""
    from scipy.linalg import eigh

    sizes, directions = eigh(kernel.T @ kernel)
    kept = sizes > _LEAST_SPREAD * max(sizes[-1], 0.0)
    if sizes[-1] <= _LEAST_SPREAD or not kept.any():
        raise ArgumentError("the labelled rows are all equal, expected vectors that differ for ksh to tell apart")
    return directions[:, kept] / np.sqrt(sizes[kept])


def _largest_direction(symmetric: np.ndarray) -> np.ndarray:
    """Give the eigenvector of the largest eigenvalue, its largest component positive."""
    from scipy.linalg import eigh

    last = len(symmetric) - 1
    _, direction = eigh(symmetric, subset_by_index=(last, last))
    return (direction * signs_of(direction))[:, 0]
