"""Partitions of a data set: who asks, who is learned from, who is found.

A split is over row numbers, so the sides of cross-modal pairs stay together. There are five parts:

===================  =======  ==============================================================================
part                 default  use
===================  =======  ==============================================================================
test queries           1,000  the queries that results are reported on
validation queries     1,000  queries for tuning
training               2,000  what is learned from; the only rows with supervision
validation database   10,000  searched by the validation queries
test database       the rest  searched by the test queries
===================  =======  ==============================================================================

*Improved* split: the five are disjoint, so nothing that was learned from or tuned on is ever found. *Standard* split,
that of most of the literature: the same draw, but the test queries search everything except themselves, the training
and validation rows included. With the same seed and sizes both have the same first four parts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import unmasked
from hashdb.errors import ArgumentError, InputFileError
from hashdb.evaluation.drawing import Rows, check_labels, draw_at_random, draw_by_class, draw_by_labels
from hashdb.evaluation.saving import load_arrays, save_arrays
from hashdb.inputs.formats import one_line

KINDS = ("improved", "standard", "given")
PARTS = ("test_queries", "validation_queries", "training", "validation_database", "test_database")
_FORMAT = "hashdb split 1"


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of each part.

    Attributes
    ----------
    n : int
        Rows of the data set.
    test_queries, validation_queries, training : ndarray of int64
        Rows in the order drawn, which is random: the first few are a sample of the part.
    validation_database, test_database : ndarray of int64
        Rows in ascending order.
    kind : str
        ``improved``, ``standard``, or ``given`` for a partition that comes with the data.
    seed : int or None
        What the rows were drawn with.

    Raises
    ------
    ArgumentError
        A row out of range or twice in a part, or in two parts that the kind keeps apart; of a given split, only ranges
        and repeats are checked.

    Examples
    --------
    >>> Split(3, [2], [], [0, 1], [], [0, 1], kind="given").test_database
    array([0, 1])
    """

    n: int
    test_queries: Rows
    validation_queries: Rows
    training: Rows
    validation_database: Rows
    test_database: Rows
    kind: str = "improved"
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError(f"kind of split {self.kind!r} is unknown, expected one of {', '.join(KINDS)}")
        _check_size("n", self.n)
        found: dict[str, NDArray[np.bool_]] = {}
        for part in PARTS:
            rows = _check_rows(part, getattr(self, part), self.n)
            object.__setattr__(self, part, rows)
            found[part] = np.zeros(self.n, np.bool_)
            found[part][rows] = True
        apart = {"improved": PARTS, "standard": PARTS[:4], "given": ()}[self.kind]
        pairs = [(one, two) for i, one in enumerate(apart) for two in apart[i + 1 :]]
        if self.kind == "standard":
            pairs.append(("test_queries", "test_database"))
        for one, two in pairs:
            both = np.flatnonzero(found[one] & found[two])
            if both.size:
                raise ArgumentError(f"row {both[0]} is in {one} and in {two}, expected disjoint parts ({self.kind})")

    @property
    def parts(self) -> dict[str, Rows]:
        """The rows by name of the part."""
        return {part: getattr(self, part) for part in PARTS}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split to a ``.npz`` file, replacing one that is there.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        seed = np.array([] if self.seed is None else [self.seed], np.int64 if _fits(self.seed) else np.str_)
        facts = {"format": np.array(_FORMAT), "kind": np.array(self.kind), "n": np.array(self.n), "seed": seed}
        save_arrays(Path(path), {**facts, **self.parts})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Split:
        """Read a split that :meth:`save` wrote; nothing in the file is executed.

        Raises
        ------
        InputFileError
            There is no such file, or it does not hold a split.
        """
        try:
            arrays = load_arrays(Path(path))
        except FileNotFoundError as error:
            raise InputFileError(f"{path}: there is no such file") from error
        except (OSError, ValueError) as error:
            raise InputFileError(f"{path} is not a split: {one_line(error)}") from error
        written = str(arrays.get("format"))
        if written != _FORMAT or not {"kind", "n", "seed", *PARTS} <= set(arrays):
            raise InputFileError(f"{path} is not a split: its format is {written!r:.40}, expected {_FORMAT!r}")
        try:
            seed = int(arrays["seed"][0]) if arrays["seed"].size else None
            parts = {part: arrays[part] for part in PARTS}
            return cls(n=int(arrays["n"]), kind=str(arrays["kind"]), seed=seed, **parts)
        except (ArgumentError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise InputFileError(f"{path} is not a split: {one_line(error)}") from error


def make_split(
    n: int,
    labels: Any = None,
    *,
    kind: str = "improved",
    n_test_queries: int = 1000,
    n_validation_queries: int = 1000,
    n_training: int | None = 2000,
    n_validation_database: int = 10_000,
    balanced: bool = True,
    seed: int = 0,
) -> Split:
    """Draw a split.

    The split of most papers, a thousand queries that search all other rows, with 5,000 of these learned from, is
    ``make_split(n, labels, kind="standard", n_training=5000, n_validation_queries=0, n_validation_database=0)``.

    Parameters
    ----------
    n : int
        Rows of the data set.
    labels : array of int, shape (n,), or of 0 and 1, shape (n, n_labels), optional
        -1, or no label at all, for a row without one.
    kind : str
        ``improved`` or ``standard``.
    n_test_queries, n_validation_queries : int
        Balanced over the labels where these are given: equally many of each class as far as that divides. With several
        labels a row, row after row is drawn for the label that has the fewest rows so far. See
        :mod:`hashdb.evaluation.drawing`.
    n_training : int, optional
        Drawn at random from the rest, as is the validation database. None, in a standard split: all that remains.
    n_validation_database : int
    balanced : bool
        False: queries are drawn at random, whatever their labels.
    seed : int
        Of ``numpy.random.default_rng``.

    Returns
    -------
    Split

    Raises
    ------
    ArgumentError
        The parts are larger than the data.

    Examples
    --------
    >>> split = make_split(60_000, np.arange(60_000) % 10, seed=1)
    >>> len(split.test_database), np.bincount(split.test_queries % 10).tolist()
    (46000, [100, 100, 100, 100, 100, 100, 100, 100, 100, 100])
    >>> usual = make_split(500, kind="standard", n_test_queries=50, n_training=100, n_validation_queries=0,
    ...                    n_validation_database=0)
    >>> len(usual.test_database)
    450
    """
    n = _check_size("n", n)
    if kind not in KINDS[:2]:
        raise ArgumentError(f"kind is {kind!r}, expected improved or standard")
    if n_training is None and kind == "improved":
        raise ArgumentError("n_training is None, which leaves no test database in an improved split; give a number")
    sizes = {
        "test_queries": _check_size("n_test_queries", n_test_queries),
        "validation_queries": _check_size("n_validation_queries", n_validation_queries),
        "training": 0 if n_training is None else _check_size("n_training", n_training),
        "validation_database": _check_size("n_validation_database", n_validation_database),
        "test_database": 1 if kind == "improved" else 0,
    }
    _check_room(sizes, n)
    _check_size("seed", seed)
    rng = np.random.default_rng(seed)
    known = None if labels is None or not balanced else check_labels(labels, n)
    free = np.ones(n, np.bool_)
    drawn: dict[str, Rows] = {}
    for part in PARTS[:2]:
        if known is None:
            drawn[part] = draw_at_random(free, sizes[part], rng)
        else:
            draw = draw_by_class if known.ndim == 1 else draw_by_labels
            drawn[part] = draw(known, free, sizes[part], rng, part)
        free[drawn[part]] = False
    rest = draw_at_random(free, n, rng)
    # The validation database comes first, so that its rows do not change with the size of the training set.
    drawn["validation_database"] = np.sort(rest[: sizes["validation_database"]])
    rest = rest[sizes["validation_database"] :]
    drawn["training"] = rest if n_training is None else rest[: sizes["training"]]
    if kind == "improved":
        drawn["test_database"] = np.sort(rest[sizes["training"] :])
    else:
        others = np.ones(n, np.bool_)
        others[drawn["test_queries"]] = False
        drawn["test_database"] = np.flatnonzero(others)
    return Split(n=n, kind=kind, seed=seed, **drawn)


def _check_room(sizes: dict[str, int], n: int) -> None:
    taken = 0
    for part, size in sizes.items():
        if taken + size > n:
            raise ArgumentError(
                f"{part} asks for {'at least ' if part == 'test_database' else ''}{size:,} of {n:,} rows, but "
                f"{n - taken:,} are left after the parts before it; make a part smaller"
            )
        taken += size
    if sizes["test_queries"] == n:
        raise ArgumentError(f"test_queries asks for all {n:,} rows, expected some left to search")


def _check_size(name: str, size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
        raise ArgumentError(f"{name} is {size!r}, expected a whole number from 0")
    return int(size)


def _fits(seed: int | None) -> bool:
    """Whether an int64 holds a seed; numpy takes larger ones, which are kept as text."""
    return seed is None or abs(seed) <= np.iinfo(np.int64).max


def _check_rows(part: str, rows: Any, n: int) -> Rows:
    array = np.asarray(unmasked(rows, f"the rows of {part}"))
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentError(f"{part} is {array.dtype} of shape {array.shape}, expected row numbers (m,)")
    array = array.astype(np.int64)
    outside = np.flatnonzero((array < 0) | (array >= n))
    if outside.size:
        raise ArgumentError(f"{part} has row {array[outside[0]]}, expected 0 to {n - 1}")
    if len(np.unique(array)) < len(array):
        raise ArgumentError(f"{part} has a row twice, expected each once")
    return array
