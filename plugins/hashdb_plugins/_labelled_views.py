"""Pairs of several modalities with labels: the rows of every view that have one, and codes for those that have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._parallel import blocks


def labelled_views(
    method: str, vectors: Mapping[str, np.ndarray], labels: np.ndarray, most_classes: int | None = None
) -> tuple[Labelled, dict[str, np.ndarray]]:
    """Take the pairs that have a label.

    Parameters
    ----------
    method : str
        For messages.
    vectors : mapping of modality to ndarray of float32, shape (n, dim)
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
    most_classes : int, optional

    Returns
    -------
    known : Labelled
        Its vectors are those of the first modality.
    views : dict of modality to ndarray of float32, shape (n_labelled, dim)

    Raises
    ------
    ArgumentError
        Fewer than two classes, or more than ``most_classes``.
    """
    first, *others = vectors
    known = labelled(method, vectors[first], labels, most_classes)
    every = len(known.rows) == len(labels)
    views = {first: known.vectors} | {name: vectors[name] if every else vectors[name][known.rows] for name in others}
    return known, views


def codes_of_all(
    vectors: Mapping[str, np.ndarray],
    known: Labelled,
    codes: np.ndarray,
    project: Callable[[np.ndarray, str], np.ndarray],
) -> np.ndarray:
    """Give all n training pairs a code, bool (n, n_bits): the learned one, or without a label the views' together.

    Together means the sign of the sum of margins. Where margins are log odds, that is the more probable value of the
    bit if the views are taken to be independent.

    Parameters
    ----------
    vectors : mapping of modality to ndarray of float32, shape (n, dim)
    known : Labelled
    codes : ndarray of bool, shape (n_labelled, n_bits)
    project : callable
        Gives the margins of rows of a modality.

    Returns
    -------
    ndarray of bool, shape (n, n_bits)
    """
    n = len(next(iter(vectors.values())))
    if len(known.rows) == n:
        return codes
    result = np.empty((n, codes.shape[1]), np.bool_)
    result[known.rows] = codes
    others = np.setdiff1d(np.arange(n), known.rows)
    for block in blocks(len(others), codes.shape[1]):
        some = others[block]
        margins = [project(rows[some], name).astype(np.float64) for name, rows in vectors.items()]
        result[some] = np.sum(margins, axis=0) > 0
    return result
