"""Labels as supervised methods take them: only rows that have one, classes numbered from 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hashdb.errors import ArgumentError

Rows = slice | np.ndarray


@dataclass(frozen=True)
class Labelled:
    """Rows with their labels.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n, dim)
        The rows that have a label.
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
        Class of each row, 0 to ``n_classes - 1``, or its classes.
    rows : ndarray of int64, shape (n,)
        Which of the rows given these are.
    n_classes : int
        Classes that some row has, at least 2.
    """

    vectors: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    n_classes: int

    def indicators(self, rows: Rows) -> np.ndarray:
        """Give 1 for each class of a row, else 0, float64 (m, n_classes)."""
        if self.labels.ndim == 2:
            return self.labels[rows].astype(np.float64)
        return (self.labels[rows][:, None] == np.arange(self.n_classes)).astype(np.float64)

    def share(self, rows: Rows, others: Rows) -> np.ndarray:
        """Tell which pairs have a class in common, bool (m, n)."""
        if self.labels.ndim == 1:
            return self.labels[rows][:, None] == self.labels[others]
        return self.indicators(rows).astype(np.float32) @ self.indicators(others).astype(np.float32).T > 0


def labelled(method: str, vectors: np.ndarray, labels: np.ndarray, most_classes: int | None = None) -> Labelled:
    """Take the rows that have a label.

    Parameters
    ----------
    method : str
        For messages.
    vectors : ndarray of float32, shape (n, dim)
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
        -1, or no class at all, for a row without a label.
    most_classes : int, optional

    Raises
    ------
    ArgumentError
        Fewer than two classes, or more than ``most_classes``.
    """
    known = labels.any(axis=1) if labels.ndim == 2 else labels >= 0
    rows = np.flatnonzero(known)
    if not known.all():
        vectors, labels = vectors[known], labels[known]
    if labels.ndim == 2:
        labels = labels[:, labels.any(axis=0)]
        n_classes = labels.shape[1]
    else:
        classes, labels = np.unique(labels, return_inverse=True)
        n_classes = len(classes)
    if n_classes < 2:
        raise ArgumentError(f"the labels have {n_classes} class, expected 2 or more for {method} to tell apart")
    if most_classes is not None and n_classes > most_classes:
        raise ArgumentError(f"the labels have {n_classes} classes, expected at most {most_classes} for {method}")
    return Labelled(vectors, labels, rows, n_classes)
