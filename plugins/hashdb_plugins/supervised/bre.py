"""Binary reconstructive embeddings (BRE).

B. Kulis, T. Darrell: Learning to Hash with Binary Reconstructive Embeddings. Advances in Neural Information Processing
Systems (NIPS) 22, 2009; its code for the defaults.

κ is a kernel of length 1, κ(x, x) = 1, and N pairs of training rows. Bit k has s training rows x_kq of its own.

    (1)  bit_k(x) = [Σ_q W_qk κ(x_kq, x) > 0]
    (2)  f(W) = 1/2 Σ_(i,j) in N (d_ij - 1/K |{k : bit_k(x_i) ≠ bit_k(x_j)}|)^2,     K = n_bits
    (3)  d_ij = |φ(x_i) - φ(x_j)|^2 / max |φ(x_i) - φ(x_j)|^2,     |φ(x_i) - φ(x_j)|^2 = 2 - 2 κ(x_i, x_j);
         with labels 0 for rows that share a class, else 1

``kernel`` is linear, κ(x, y) = x · y of the centred vectors scaled to length 1, or rbf,

    (4)  κ(x, y) = exp(-|x - y|^2 / (2 σ^2)),     σ = ``width``, or 2 σ^2 = mean of |x_i - x_j|^2

f is lowered along one W_qk at a time, exactly: as W_qk goes from -inf to inf each row changes bit k at one value

    (5)  t_i = W_qk - (Σ_r W_rk κ(x_kr, x_i)) / κ(x_kq, x_i)

and with e_ij the part of d_ij that the other bits leave, bit k costs the pair 1 / (2 K^2) - e_ij / K where it tells its
rows apart. A pass over the sorted t adds up f between any two of them. A sweep goes through every bit and each of its s
weights in a random order, until a sweep lowers f by less than a ten-thousandth, or ``sweeps`` are done.

Of the linear kernel w_k = Σ_q W_qk x_kq is all that is kept, for (1) is linear in x and the length of x does not
matter. Of the rbf the m different x_kq are kept, at most n and at most K s, with their weights.

Cost of a sweep: K s (n log n + |N|) and K n s dim for the products of the linear kernel; memory |N| pairs, n dim and
n s doubles, and n m floats for the rbf, whose kernel is made once at n m dim. N has ``pairs`` random partners of each
row. Encode n dim K, with the rbf n m (dim + K). Any number of bits. ``history`` in the state is f at the start and
after each sweep; it never rises.

Differs from the paper: every weight is visited in a sweep, where the code takes one at random for each bit. Rows
without a label are left out where there are labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchors, _linear
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._parallel import workers
from hashdb_plugins._unit_kernels import Linear, Rbf

_LEAST_PROGRESS = 1e-4


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="bre",
        title="Binary reconstructive embeddings",
        paper="Kulis, Darrell, Learning to Hash with Binary Reconstructive Embeddings, NIPS",
        year=2009,
        params=(
            Param("sweeps", int, 20, minimum=1, maximum=1000, grid=(5, 10, 20), help="turns through all bits, at most"),
            Param(
                "kernel_rows",
                int,
                20,
                minimum=1,
                maximum=1000,
                grid=(10, 20, 50),
                help="training rows that each bit is a combination of; at most all",
            ),
            Param("kernel", str, "linear", choices=("linear", "rbf"), grid=("linear", "rbf"), help="κ"),
            Param("width", float, None, minimum=1e-9, maximum=1e9, help="σ of the rbf; None: from the data"),
            Param(
                "pairs",
                int,
                50,
                minimum=1,
                maximum=10_000,
                grid=(20, 50, 100),
                help="random partners of each training row, 5 % of a thousand; at most all",
            ),
        ),
        supervision="optional labels",
        default_train=1000,
        when="keeps distances, learned from a thousand rows; takes labels too, with which ksh does better",
    )


@hookimpl
def fit(
    vectors: np.ndarray,
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray | None,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Go down along one weight at a time."""
    from hashdb_plugins._kernels.bre import descend

    known = None if labels is None else labelled("bre", vectors, labels)
    if known is not None:
        vectors = known.vectors
    n = len(vectors)
    if n < 2:
        raise ArgumentError(f"bre learns from pairs of rows: got {n} training row, expected at least 2")
    rng = np.random.default_rng(seed)
    kernel = Rbf(vectors, params["width"]) if params["kernel"] == "rbf" else Linear(vectors)
    pairs = _random_pairs(n, params["pairs"], rng)
    targets = _targets(known, pairs, kernel)
    starts, others, pair_of = _neighbours(pairs, n)
    n_kernel = min(params["kernel_rows"], n)
    chosen = np.stack([rng.choice(n, n_kernel, replace=False) for _ in range(n_bits)])
    kernel_weights = rng.standard_normal((n_bits, n_kernel))
    kernel.choose(chosen)
    bits = np.stack([kernel.sums(bit, kernel_weights[bit]) > 0 for bit in range(n_bits)])
    apart = np.zeros(pairs.shape[1], np.int64)
    for bit in range(n_bits):
        apart += bits[bit, pairs[0]] != bits[bit, pairs[1]]
    history = [_objective(targets, apart, n_bits)]
    # Many short products: one thread of the linear algebra library each.
    with workers():
        for sweep in range(params["sweeps"]):
            for bit in rng.permutation(n_bits):
                apart -= bits[bit, pairs[0]] != bits[bit, pairs[1]]
                costs = 0.5 / n_bits**2 - (targets - apart / n_bits) / n_bits
                order = rng.permutation(n_kernel)
                descend(kernel.values(bit), order, starts, others, costs[pair_of], kernel_weights[bit], bits[bit])
                apart += bits[bit, pairs[0]] != bits[bit, pairs[1]]
            history.append(_objective(targets, apart, n_bits))
            progress(sweep + 1, params["sweeps"])
            if history[-2] - history[-1] <= _LEAST_PROGRESS * history[-2]:
                break
    progress(params["sweeps"], params["sweeps"])
    return kernel.state_of(kernel_weights) | {"history": np.array(history)}


def _random_pairs(n: int, n_partners: int, rng: np.random.Generator) -> np.ndarray:
    """Pick partners for each row, int64 (2, n_pairs), each pair i < j once."""
    if n_partners >= n - 1:
        return np.stack(np.triu_indices(n, 1))
    partners = np.stack([rng.choice(n - 1, n_partners, replace=False) for _ in range(n)])
    rows = np.repeat(np.arange(n), n_partners)
    partners = partners.reshape(-1)
    partners += partners >= rows
    return np.stack(np.divmod(np.unique(np.minimum(rows, partners) * n + np.maximum(rows, partners)), n))


def _targets(known: Labelled | None, pairs: np.ndarray, kernel: Linear | Rbf) -> np.ndarray:
    """Give d of equation (3), float64 (n_pairs,)."""
    if known is None:
        distances = kernel.distances(pairs)
        return distances / (distances.max() or 1.0)
    first, second = pairs
    same = known.labels[first] == known.labels[second]
    if known.labels.ndim == 2:
        same = (known.labels[first] & known.labels[second]).any(axis=1)
    return np.where(same, 0.0, 1.0)


def _neighbours(pairs: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the partners of each row, from both sides: where a row's start, who they are, which pair it is."""
    ends = np.concatenate(pairs)
    order = np.argsort(ends, kind="stable")
    starts = np.searchsorted(ends[order], np.arange(n + 1))
    return starts, np.concatenate(pairs[::-1])[order], order % pairs.shape[1]


def _objective(targets: np.ndarray, apart: np.ndarray, n_bits: int) -> float:
    """Give f of equation (2)."""
    return float(0.5 * ((targets - apart / n_bits) ** 2).sum())


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (1)."""
    return (_anchors if "anchors" in state else _linear).encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give w_k · (x - μ), or with the rbf the sum of (1)."""
    return (_anchors if "anchors" in state else _linear).project(state, vectors)
