"""Ground truth: which rows of the database are relevant to a query, and how much.

Truth is asked for a few queries at a time, so that the matrix of all pairs is never held. A grade is 0 for a row that
is not relevant, else 1, or more where some rows are more relevant than others.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import unmasked
from hashdb.errors import ArgumentError
from hashdb.evaluation.comparing import Rows
from hashdb.evaluation.drawing import check_labels

Grades = NDArray[np.uint8] | NDArray[np.uint16]


class Truth(Protocol):
    """What :func:`hashdb.evaluation.evaluate` asks of a ground truth.

    Attributes
    ----------
    n_queries, n_database, n_grades : int
        ``n_grades`` is the largest grade there may be, 1 where rows are relevant or not.
    """

    @property
    def n_queries(self) -> int:
        """Number of queries."""

    @property
    def n_database(self) -> int:
        """Rows of the database."""

    @property
    def n_grades(self) -> int:
        """The largest grade."""

    def grades(self, start: int, stop: int) -> Grades:
        """Give the grades of all rows for queries ``start:stop``, (stop - start, n_database)."""


class LabelTruth:
    """Rows are relevant that share a label with the query.

    Parameters
    ----------
    query_labels, database_labels : array of int, shape (n,), or of 0 and 1, shape (n, n_labels)
        Both of one kind. A negative label, or a row without any, is relevant to nothing.
    graded : bool
        Whether the grade is the number of labels shared, else 1.

    Raises
    ------
    ArgumentError
        Labels of another kind, or different numbers of columns.

    Examples
    --------
    >>> LabelTruth([1, -1], [1, 0, 1, -1]).grades(0, 2).tolist()
    [[1, 0, 1, 0], [0, 0, 0, 0]]
    >>> LabelTruth([[1, 1, 0]], [[1, 1, 1], [0, 1, 0], [0, 0, 1]], graded=True).grades(0, 1).tolist()
    [[2, 1, 0]]
    """

    def __init__(self, query_labels: Any, database_labels: Any, *, graded: bool = False) -> None:
        self._asked = check_labels(query_labels, len(query_labels))
        self._stored = check_labels(database_labels, len(database_labels))
        if self._asked.ndim != self._stored.ndim or self._asked.shape[1:] != self._stored.shape[1:]:
            raise ArgumentError(
                f"labels of queries have shape {self._asked.shape} and those of the database {self._stored.shape}, "
                "expected the same number of columns"
            )
        if graded and self._asked.ndim == 1:
            raise ArgumentError("graded is True, but a row has one label, expected 0 and 1 of shape (n, n_labels)")
        self._graded = graded
        self.n_grades = 1
        if self._stored.ndim == 1:
            # No row has what an unlabelled query is compared with, nor a query what an unlabelled row has.
            self._asked = np.where(self._asked >= 0, self._asked, -2)
            self._stored = np.maximum(self._stored, -1)
            return
        self._columns = np.ascontiguousarray(self._stored.T, np.float32)
        if graded:
            self.n_grades = max(1, min(int(one.sum(axis=1).max(initial=0)) for one in (self._asked, self._stored)))

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self._asked)

    @property
    def n_database(self) -> int:
        """Rows of the database."""
        return len(self._stored)

    def grades(self, start: int, stop: int) -> Grades:
        """Give the grades of all rows for queries ``start:stop``, (stop - start, n_database)."""
        asked = self._asked[start:stop]
        if asked.ndim == 1:
            equal: NDArray[np.bool_] = asked[:, None] == self._stored
            return equal.view(np.uint8)
        shared = asked.astype(np.float32) @ self._columns
        if self._graded:
            return shared.astype(np.uint8) if self.n_grades < 256 else shared.astype(np.uint16)
        near: NDArray[np.bool_] = shared > 0
        return near.view(np.uint8)


class ListTruth:
    """Rows are relevant that are listed, as where neighbours come with the data.

    Parameters
    ----------
    starts : array of int, shape (n_queries + 1,)
        What is relevant to query i is ``rows[starts[i]:starts[i + 1]]``.
    rows : array of int, shape (starts[-1],)
        Each once for a query.
    n_database : int

    Raises
    ------
    ArgumentError
        Lists that do not fit together, a row out of range or listed twice.

    Examples
    --------
    >>> ListTruth([0, 2, 2], [3, 1], 4).grades(0, 2).tolist()
    [[0, 1, 0, 1], [0, 0, 0, 0]]
    """

    n_grades = 1

    def __init__(self, starts: Any, rows: Any, n_database: int) -> None:
        starts, rows = np.asarray(unmasked(starts, "starts"), np.int64), np.asarray(unmasked(rows, "rows"))
        _check_lists(starts, rows, n_database)
        self._hold(starts, rows, n_database)

    def _hold(self, starts: Rows, rows: NDArray[Any], n_database: int) -> None:
        self.starts, self.rows, self.n_database = starts, rows, int(n_database)

    @classmethod
    def of_lists(cls, lists: Any, n_database: int) -> ListTruth:
        """Make the truth of a matrix (n_queries, k) of rows, or of a list of rows for each query."""
        lists = unmasked(lists if hasattr(lists, "mask") else list(lists), "lists")
        arrays = [np.asarray(one, np.int64).reshape(-1) for one in lists]
        starts = np.cumsum([0, *map(len, arrays)])
        return ListTruth(starts, np.concatenate([np.empty(0, np.int64), *arrays]), n_database)

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.starts) - 1

    def grades(self, start: int, stop: int) -> Grades:
        """Give 1 for each relevant row, else 0, for queries ``start:stop``, (stop - start, n_database)."""
        found = np.zeros((stop - start, self.n_database), np.uint8)
        some = slice(self.starts[start], self.starts[stop])
        owners = np.repeat(np.arange(stop - start), np.diff(self.starts[start : stop + 1]))
        if owners.size:
            found[owners, self.rows[some]] = 1
        return found


def _check_lists(starts: Rows, rows: NDArray[Any], n_database: int) -> None:
    """Raise ArgumentError where lists do not fit together, or a row is out of range or listed twice."""
    if starts.ndim != 1 or not starts.size or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise ArgumentError(f"starts of shape {starts.shape} do not ascend from 0, expected n_queries + 1 that do")
    if rows.ndim != 1 or len(rows) != starts[-1] or (rows.size and rows.dtype.kind not in "iu"):
        raise ArgumentError(f"rows are {rows.dtype} of shape {rows.shape}, expected {starts[-1]} row numbers")
    if not rows.size:
        return
    if rows.min() < 0 or rows.max() >= n_database:
        raise ArgumentError(f"listed rows range from {rows.min()} to {rows.max()}, expected 0 to {n_database - 1}")
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((rows, owners))
    twice = (np.diff(rows[order].astype(np.int64)) == 0) & (np.diff(owners) == 0)
    if twice.any():
        raise ArgumentError(f"query {owners[:-1][twice][0]} lists a row twice, expected each once")
