"""Pairs of an item of one view with an item of another, similar or not, for methods that learn from pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hashdb.errors import ArgumentError
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._linear import principal_directions

# Times that as many candidates are drawn as pairs are wanted, before fewer have to do.
_ROUNDS = 50


@dataclass(frozen=True)
class CrossPairs:
    """Pairs across two views, the similar ones first.

    Attributes
    ----------
    left, right : ndarray of int64, shape (n_pairs,)
        Rows of the first and of the second view.
    signs : ndarray of float64, shape (n_pairs,)
        1 for a similar pair, -1 for a dissimilar one.
    """

    left: np.ndarray
    right: np.ndarray
    signs: np.ndarray

    @property
    def even_weights(self) -> np.ndarray:
        """Give the distribution with half its weight on either kind, the same for all of a kind, float64 (n_pairs,)."""
        similar = self.signs > 0
        return np.where(similar, 0.5 / np.count_nonzero(similar), 0.5 / np.count_nonzero(~similar))


def draw_pairs(
    method: str, vectors: np.ndarray, labels: np.ndarray | None, n_pairs: int, rng: np.random.Generator
) -> CrossPairs:
    """Draw pairs of either kind.

    Without labels, similar pairs are the pairs given, row i with row i, and dissimilar ones are different rows at
    random. With labels, half of the similar pairs are pairs given, the rest two rows of one class; dissimilar ones are
    rows at random that share no class. Rows without a label are in given pairs only.

    Cost and memory n + n_pairs.

    Parameters
    ----------
    method : str
        For messages.
    vectors : ndarray of float32, shape (n, dim)
        Either view.
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes), or None
    n_pairs : int
        Pairs of each kind, at least 2. There are fewer similar ones where fewer are given and there are no labels, and
        fewer dissimilar ones where next to all rows share a class.
    rng : Generator

    Returns
    -------
    CrossPairs

    Raises
    ------
    ArgumentError
        One row only; labels of one class; no two rows that differ in class.
    """
    n = len(vectors)
    if n < 2:
        raise ArgumentError(f"{method} tells pairs from other pairs: got 1 row, expected 2 or more")
    if labels is None:
        own = _some(n, n_pairs, rng)
        left = rng.integers(0, n, n_pairs)
        return _joined((own, own), (left, (left + rng.integers(1, n, n_pairs)) % n))
    known = labelled(method, vectors, labels)
    own = _some(n, n_pairs // 2, rng)
    left, right = _of_one_class(known, n_pairs - len(own), rng)
    similar = np.concatenate([own, known.rows[left]]), np.concatenate([own, known.rows[right]])
    left, right = _of_no_common_class(method, known, n_pairs, rng)
    return _joined(similar, (known.rows[left], known.rows[right]))


def _some(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Give all rows, or as many as ``most`` of them."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _of_one_class(known: Labelled, n_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a row and one of its classes, then any row of that class."""
    if known.labels.ndim == 2:
        classes, rows = np.nonzero(known.labels.T)
    else:
        rows = np.argsort(known.labels, kind="stable")
        classes = known.labels[rows]
    counts = np.bincount(classes)
    starts = np.cumsum(counts) - counts
    chosen = rng.integers(0, len(rows), n_pairs)
    size, start = counts[classes[chosen]], starts[classes[chosen]]
    return rows[chosen], rows[start + rng.integers(0, size)]


def _of_no_common_class(
    method: str, known: Labelled, n_pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows until enough pairs of them have no class in common."""
    labels, found, total = known.labels, [], 0
    for _ in range(_ROUNDS):
        pair = rng.integers(0, len(labels), (2, n_pairs))
        if labels.ndim == 2:
            shared = (labels[pair[0]] & labels[pair[1]]).any(axis=1)
        else:
            shared = labels[pair[0]] == labels[pair[1]]
        found.append(pair[:, ~shared])
        total += found[-1].shape[1]
        if total >= n_pairs:
            break
    if total == 0:
        raise ArgumentError(f"{method} learns from rows that share no class: found none; expected some that differ")
    left, right = np.concatenate(found, axis=1)[:, :n_pairs]
    return left, right


def _joined(similar: tuple[np.ndarray, np.ndarray], dissimilar: tuple[np.ndarray, np.ndarray]) -> CrossPairs:
    left, right = (np.concatenate([one, other]) for one, other in zip(similar, dissimilar, strict=True))
    signs = np.repeat([1.0, -1.0], [len(similar[0]), len(dissimilar[0])])
    return CrossPairs(left, right, signs)


def leading_pair(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the leading left and right singular vectors of a matrix, from its product with itself on the shorter side.

    Of a matrix of zeros, one of the two is a vector of zeros.
    """
    if matrix.shape[0] > matrix.shape[1]:
        right, left = leading_pair(matrix.T)
        return left, right
    left = principal_directions(matrix @ matrix.T, 1)[:, 0]
    right = matrix.T @ left
    return left, right / (float(np.linalg.norm(right)) or 1.0)
