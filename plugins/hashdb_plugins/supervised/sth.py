"""Self-taught hashing (STH).

D. Zhang, J. Wang, D. Cai, J. Lu: Self-Taught Hashing for Fast Similarity Search. ACM SIGIR Conference, 2010; with
labels: the same, Extensions to Self-Taught Hashing: Kernelisation and Supervision. SIGIR Workshop on Feature Generation
and Selection for Information Retrieval, 2010.

First codes for the training rows, from a graph; then a classifier that predicts each bit, for all other rows.

    (1)  W_ij = cos(x_i, x_j) where one of the two is among the k nearest rows of the other by this cosine, else 0
    (2)  L y_m = λ_m D y_m,   D = diag(W 1),   L = D - W,   0 = λ_0 < λ_1 ≤ λ_2 ≤ …   (Laplacian eigenmaps)
    (3)  bit_m(x_i) = [y_mi > median of y_m],   m = 1 … n_bits
    (4)  bit_m(x) = [w_m · (x - μ) + b_m > 0],   the plane of widest margin for the bits of (3), module ``_svm``

y_0, which is constant, is left out. y solves (2) where D^(1/2) y is an eigenvector of D^(-1/2) W D^(-1/2): dense up to
200 rows, else by Lanczos (ARPACK). A graph in p pieces would have p eigenvalues of zero, and their eigenvectors
would be any basis of the pieces' indicators: the pieces are linked along the shortest tree between their centres, each
by the row nearest its centre.

With labels the neighbours are the k nearest rows of those that share a class. That graph has p pieces, one for each
class at the least: p - 1 eigenvectors tell these apart at no cost, and all others are of one piece each, zero
elsewhere, so that their medians would cut through nothing but rounding. So the graph of (1) is added with the weight
``mixing``, which puts the first p - 1 in an order and makes the others reach further. What they follow is still within
the classes, and every such bit makes a class harder to find. By default (``further_bits`` = ``classes``) bits after
the first p - 1 are therefore made of these eigenvectors again, of random rotations of them: other halves of the
classes, at no cost either, but no longer uncorrelated with the bits before. ``graph`` takes the eigenvectors as they
come.

Cost: fit n^2 dim for the neighbours, n k per Lanczos step, n_bits planes; memory n k, n (dim + n_bits) doubles and a
block of n. Encode n dim n_bits. Fewer bits than rows. The bits of (3), which the paper gives to the documents it
trains on, are the training codes of the model.

Differs from the paper: linked pieces, mixed graph and further bits as said. Vectors for (4) are centred and scaled by
one number to mean square length 1, so that C means the same for data of any scale. The part about labels is
reconstructed from implementations of the second paper's graph.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear, _svm
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._parallel import workers

# Weight of the edge between rows that are at right angles or further apart.
_LEAST_WEIGHT = 1e-3
_DENSE_ROWS = 200
_BLOCK_PAIRS = 1 << 22


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="sth",
        title="Self-taught hashing",
        paper="Zhang, Wang, Cai, Lu, Self-Taught Hashing for Fast Similarity Search, SIGIR",
        year=2010,
        params=(
            Param("neighbours", int, 25, minimum=1, maximum=10_000, grid=(10, 25, 50), help="k of the graph"),
            Param("c", float, 1.0, minimum=1e-6, maximum=1e6, grid=(0.1, 1.0, 10.0), help="C of the planes"),
            Param("use_labels", bool, True, help="whether labels, where there are some, make the graph"),
            Param(
                "mixing",
                float,
                0.1,
                minimum=0.0,
                maximum=100.0,
                grid=(0.01, 0.1, 1.0),
                help="with labels: weight of neighbours whatever their class",
            ),
            Param(
                "further_bits",
                str,
                "classes",
                choices=("classes", "graph"),
                grid=("classes", "graph"),
                help="with labels: what bits after one less than there are classes are made of",
            ),
        ),
        supervision="optional labels",
        default_train=5000,
        when="data in groups, such as texts; balanced, linear bits: a few of them without labels, any number with",
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
    """Embed the graph, then learn a plane for each bit."""
    known = labelled("sth", vectors, labels) if labels is not None and params["use_labels"] else None
    is_whole = known is None or len(known.rows) == len(vectors)
    if known is not None:
        vectors = known.vectors
    n = len(vectors)
    if n <= n_bits:
        raise ArgumentError(
            f"sth takes each bit from an eigenvector of the graph of training rows: {n_bits} bits need more than "
            f"{n_bits} rows, got {n}; train on more rows or ask for fewer bits"
        )
    # Many short products: one thread of the linear algebra library each.
    with workers():
        graph, n_pieces = _graph(_directions(vectors), known, min(params["neighbours"], n - 1), params["mixing"])
        if known is not None and params["further_bits"] == "classes" and 1 < n_pieces <= n_bits:
            embedded = _rotated(_eigenmaps(graph, n_pieces - 1, seed), n_bits, seed)
        else:
            embedded = _eigenmaps(graph, n_bits, seed)
    bits = embedded > np.median(embedded, axis=0)
    mean = _linear.mean_of(vectors)
    rows = _linear.centred(vectors, mean)
    scale = _svm.unit_scale(rows)
    weights, bias = _svm.planes(rows / scale, bits, params["c"], progress=lambda done: progress(done, n_bits))
    state = _svm.state_of(mean, weights, bias, scale)
    return state | {"training_codes": bits} if is_whole else state


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, float32; rows of zeros stay."""
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64)
    wide = vectors / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def _graph(rows: np.ndarray, known: Labelled | None, k: int, mixing: float) -> tuple[Any, int]:
    """Make W, in one piece, as a sparse array, and count the pieces that neighbours alone make, of a class if known."""
    from scipy.sparse.csgraph import connected_components

    graph = _edges(rows, *(_nearest(rows, k) if known is None else _nearest_of_class(rows, known, k)))
    n_pieces = connected_components(graph, directed=False)[0]
    if known is not None and mixing > 0:
        graph = graph + mixing * _edges(rows, *_nearest(rows, k))
    return _linked(graph, rows), n_pieces


def _nearest(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give each row with each of its k nearest rows."""
    from sklearn.neighbors import NearestNeighbors

    # For rows of length 1, near by distance is near by cosine.
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    return np.repeat(np.arange(len(rows)), k), search.kneighbors(return_distance=False).reshape(-1)


def _nearest_of_class(rows: np.ndarray, known: Labelled, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give each row with each of its k nearest rows, or fewer, that share a class with it."""
    n = len(rows)
    step = max(1, _BLOCK_PAIRS // n)
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        cosines = rows[block] @ rows.T
        cosines[~known.share(block, slice(None))] = -np.inf
        cosines[np.arange(block.stop - start), np.arange(start, block.stop)] = -np.inf
        near = np.argpartition(cosines, n - k, axis=1)[:, n - k :]
        first, place = np.nonzero(np.isfinite(np.take_along_axis(cosines, near, axis=1)))
        ends.append((first + start, near[first, place]))
    return np.concatenate([first for first, _ in ends]), np.concatenate([second for _, second in ends])


def _edges(rows: np.ndarray, first: np.ndarray, second: np.ndarray) -> Any:
    """Make the symmetric sparse array of the cosines of these pairs."""
    from scipy.sparse import csr_array

    weights = np.empty(len(first))
    step = max(1, _BLOCK_PAIRS // rows.shape[1])
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        weights[part] = np.einsum("ij,ij->i", rows[first[part]], rows[second[part]], dtype=np.float64)
    one_way = csr_array((np.maximum(weights, _LEAST_WEIGHT), (first, second)), shape=(len(rows), len(rows)))
    return one_way.maximum(one_way.T)


def _linked(graph: Any, rows: np.ndarray) -> Any:
    """Add the edges that make one piece of the graph."""
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

    n_pieces, piece = connected_components(graph, directed=False)
    if n_pieces == 1:
        return graph
    centres = np.zeros((n_pieces, rows.shape[1]))
    np.add.at(centres, piece, rows)
    centres = _directions(centres)
    nearness = np.einsum("ij,ij->i", rows, centres[piece])
    by_nearness = np.lexsort((-nearness, piece))
    middles = by_nearness[np.searchsorted(piece[by_nearness], np.arange(n_pieces))]
    # No edge may weigh nothing, which would be no edge; what is added to all changes no tree.
    tree = minimum_spanning_tree(3.0 - centres @ centres.T).tocoo()
    return graph + _edges(rows, middles[tree.row], middles[tree.col])


def _eigenmaps(graph: Any, n_vectors: int, seed: int) -> np.ndarray:
    """Give y_1 … of equation (2), float64 (n, n_vectors)."""
    from scipy.linalg import eigh
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = graph.shape[0]
    root = np.sqrt(graph.sum(axis=1))
    trivial = root / np.linalg.norm(root)
    scaling = diags_array(1 / root)
    walk = (scaling @ graph @ scaling).tocsr()
    # The eigenvalue of y_0 goes from 1, the largest, to -1, where nothing is below it.
    if n > _DENSE_ROWS and n_vectors <= n // 4:
        shifted = LinearOperator(
            (n, n), matvec=lambda v: walk @ v.reshape(-1) - 2 * trivial * (trivial @ v.reshape(-1)), dtype=np.float64
        )
        start = np.random.default_rng(seed).standard_normal(n)
        n_basis = min(n, max(2 * n_vectors + 1, n_vectors + 40))
        # Where it does not converge, there is time for the whole matrix.
        with suppress(ArpackNoConvergence):
            values, vectors = eigsh(shifted, n_vectors, which="LA", v0=start, ncv=n_basis, tol=1e-6)
            return vectors[:, np.argsort(-values, kind="stable")] / root[:, None]
    dense = walk.toarray() - 2 * np.outer(trivial, trivial)
    _, vectors = eigh(dense, subset_by_index=(n - n_vectors, n - 1))
    return vectors[:, ::-1] / root[:, None]


def _rotated(embedded: np.ndarray, n_bits: int, seed: int) -> np.ndarray:
    """Add random rotations of the columns until there are enough, float64 (n, n_bits)."""
    rng = np.random.default_rng(seed)
    n_columns = embedded.shape[1]
    parts = [embedded]
    while len(parts) * n_columns < n_bits:
        parts.append(embedded @ np.linalg.qr(rng.standard_normal((n_columns, n_columns)))[0])
    return np.hstack(parts)[:, :n_bits]


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _svm.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give w_m · (x - μ) + b_m, in units of the vectors."""
    return _svm.project(state, vectors)
