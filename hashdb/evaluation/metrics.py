"""Every measure of codes against a ground truth, from one pass over all pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import Codes
from hashdb.errors import ArgumentError
from hashdb.evaluation.bits import code_statistics
from hashdb.evaluation.counts import Counts, count_by_distance
from hashdb.evaluation.lookups import auprc, lookup_by_query
from hashdb.evaluation.ranking import (
    MOST_CODES,
    NORMALISERS,
    average_precision,
    average_precision_of_ranks,
    ndcg_at,
    ndcg_of_ranking,
    precision_at,
    recall_at,
)
from hashdb.evaluation.ties import Doubles
from hashdb.evaluation.truth import Truth

Results = dict[str, float]
_ENDINGS = {"expected": "", "optimistic": "_optimistic", "pessimistic": "_pessimistic"}


def evaluate(
    database_codes: Codes,
    query_codes: Codes,
    truth: Truth,
    *,
    n_bits: int,
    at: int | Iterable[int] = (),
    radius: int | Iterable[int] = (2,),
    by_order: bool = True,
    normaliser: str = "found",
    gain: str = "exponential",
    n_threads: int | None = None,
) -> Results:
    """Measure how well codes find what is relevant.

    Parameters
    ----------
    database_codes, query_codes : ndarray of uint64, shapes (n, n_words) and (n_queries, n_words)
    truth : Truth
        Of as many queries and rows.
    n_bits : int
        Width of a stored code.
    at : int or several
        Lengths k at which rankings are cut.
    radius : int or several
        Hamming radii r of lookups.
    by_order : bool
        Whether also to measure the ranking that breaks ties by row, which takes a sort of each query's distances.
    normaliser : str
        Of average precision in cut rankings, see :func:`~hashdb.evaluation.ranking.average_precision`.
    gain : str
        Of graded rows, see :func:`~hashdb.evaluation.ranking.ndcg_at`.
    n_threads : int, optional
        Default: ``HASHDB_NUM_THREADS``, else the CPUs available.

    Returns
    -------
    dict of str to float or int
        Means over the queries, each of which counts alike; a query to which nothing is relevant counts as 0.

        ``n_queries``, ``n_database``, ``n_bits``, ``queries_without_relevant``
            Numbers.
        ``map``, ``map_optimistic``, ``map_pessimistic``, ``map_by_order``
            Mean average precision over the whole ranking: expected over the orders of ties, at best, at worst, and with
            ties by row.
        ``map@k``, ``precision@k``, ``recall@k``, ``ndcg@k``, with the same endings
            Of rankings cut after k; the last where the truth has grades. Against the nearest rows by vectors
            ``recall@k`` is the recall of the search.
        ``precision_within_r``, ``recall_within_r``, ``f1_within_r``, ``nothing_within_r``
            Lookups: macro means, 0 for a query that finds nothing, and the share of such queries.
        ``auprc``
            Area under the micro-averaged curve of precision over recall by radius.
        ``bit_balance_mean``, ``bit_balance_worst``, ``bit_correlation``, ``constant_bits``, ``distinct_codes``
            Of the database codes by themselves.

    Raises
    ------
    ArgumentError
        Codes of another width, a truth of other sizes, a cut below 1 or a radius below 0.

    Examples
    --------
    >>> from hashdb.evaluation import LabelTruth
    >>> database, queries = np.array([[0b00], [0b01], [0b11]], np.uint64), np.array([[0b00]], np.uint64)
    >>> results = evaluate(database, queries, LabelTruth([7], [7, 0, 7]), n_bits=2, at=1, radius=1)
    >>> round(results["map"], 4), results["precision@1"], results["precision_within_1"]
    (0.8333, 1.0, 0.5)
    """
    cuts, radii = whole_numbers("at", at, 1, MOST_CODES), whole_numbers("radius", radius, 0)
    if normaliser not in NORMALISERS:
        raise ArgumentError(f"normaliser is {normaliser!r}, expected one of {', '.join(NORMALISERS)}")
    ordered = Ordered(truth, at=cuts, normaliser=normaliser, gain=gain) if by_order else None
    counts = count_by_distance(
        database_codes,
        query_codes,
        truth,
        n_bits=n_bits,
        visit=ordered.visit if ordered else None,
        n_threads=n_threads,
    )
    results: Results = {
        "n_queries": truth.n_queries,
        "n_database": truth.n_database,
        "n_bits": int(n_bits),
        "queries_without_relevant": int((counts.n_relevant == 0).sum()),
    }
    results |= evaluate_counts(counts, at=cuts, radius=radii, normaliser=normaliser, gain=gain)
    if ordered:
        results |= _means(ordered.by_query())
    return results | code_statistics(database_codes, n_bits)


def evaluate_counts(
    counts: Counts,
    *,
    at: int | Iterable[int] = (),
    radius: int | Iterable[int] = (2,),
    normaliser: str = "found",
    gain: str = "exponential",
) -> Results:
    """Compute what :func:`evaluate` gives of counts alone: everything but the order of ties and the codes.

    Parameters
    ----------
    counts : Counts
    at, radius, normaliser, gain
        As of :func:`evaluate`.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ArgumentError
        A cut below 1 or a radius below 0.

    Examples
    --------
    >>> counts = Counts.of(np.array([[[1, 0], [1, 1]]]))
    >>> round(evaluate_counts(counts)["map"], 4)
    0.7083
    """
    found = measures_by_query(counts, at=at, radius=radius, normaliser=normaliser, gain=gain)
    return _means(found) | {"auprc": auprc(counts.total, counts.relevant)}


def measures_by_query(
    counts: Counts,
    *,
    at: int | Iterable[int] = (),
    radius: int | Iterable[int] = (2,),
    normaliser: str = "found",
    gain: str = "exponential",
) -> dict[str, Doubles]:
    """Compute what :func:`evaluate_counts` averages, for each query.

    Parameters
    ----------
    counts, at, radius, normaliser, gain
        As of :func:`evaluate_counts`.

    Returns
    -------
    dict of str to ndarray of float64, shape (n_queries,)
        All but ``auprc``, which has no value a query.

    Raises
    ------
    ArgumentError
        A cut below 1 or a radius below 0.

    Examples
    --------
    >>> counts = Counts.of(np.array([[[1, 0], [1, 1]]]))
    >>> measures_by_query(counts)["map"].round(4).tolist()
    [0.7083]
    """
    total, relevant = counts.total, counts.relevant
    cuts, radii = whole_numbers("at", at, 1, MOST_CODES), whole_numbers("radius", radius, 0)
    found: dict[str, Doubles] = {}
    for cut in (None, *cuts):
        name = "map" if cut is None else f"map@{cut}"
        for ties, ending in _ENDINGS.items():
            found[name + ending] = average_precision(total, relevant, ties=ties, at=cut, normaliser=normaliser)
    for cut in cuts:
        for ties, ending in _ENDINGS.items():
            found[f"precision@{cut}{ending}"] = precision_at(total, relevant, cut, ties=ties)
            found[f"recall@{cut}{ending}"] = recall_at(total, relevant, cut, ties=ties)
            if counts.by_grade.shape[1] > 2:
                found[f"ndcg@{cut}{ending}"] = ndcg_at(counts.by_grade, cut, gain=gain, ties=ties)
    for reach in radii:
        names = (f"{what}_within_{reach}" for what in ("precision", "recall", "f1", "nothing"))
        found |= dict(zip(names, lookup_by_query(total, relevant, reach), strict=True))
    return found


class Ordered:
    """Measures of the rankings that break ties by row, filled query by query.

    Parameters
    ----------
    truth : Truth
    at, normaliser, gain
        As of :func:`evaluate`.

    Examples
    --------
    >>> from hashdb.evaluation import LabelTruth
    >>> ordered = Ordered(LabelTruth([1], [1, 0]))
    >>> ordered.add(0, np.array([0, 1], np.uint8))
    >>> ordered.by_query()["map_by_order"].tolist()
    [0.5]
    """

    def __init__(
        self, truth: Truth, *, at: Iterable[int] = (), normaliser: str = "found", gain: str = "exponential"
    ) -> None:
        self._cuts, self._normaliser, self._gain = list(at), normaliser, gain
        names = ["map_by_order", *(f"map@{cut}_by_order" for cut in self._cuts)]
        kinds = ("precision", "recall", "ndcg") if truth.n_grades > 1 else ("precision", "recall")
        names += [f"{kind}@{cut}_by_order" for cut in self._cuts for kind in kinds]
        self._graded = truth.n_grades > 1
        self._found = {name: np.zeros(truth.n_queries) for name in names}

    def visit(self, query: int, distances: NDArray[Any], grades: NDArray[Any]) -> None:
        """Add a query with distances and grades row by row."""
        self.add(query, grades[np.argsort(distances, kind="stable")])

    def add(self, query: int, ranked: NDArray[Any]) -> None:
        """Add a query with the grades of all rows in the order of its ranking."""
        ranks = np.flatnonzero(ranked) + 1
        found = self._found
        found["map_by_order"][query] = average_precision_of_ranks(ranks)
        for cut in self._cuts:
            hits = int(np.searchsorted(ranks, cut, side="right"))
            precision = average_precision_of_ranks(ranks, at=cut, normaliser=self._normaliser)
            found[f"map@{cut}_by_order"][query] = precision
            found[f"precision@{cut}_by_order"][query] = hits / cut
            found[f"recall@{cut}_by_order"][query] = hits / max(1, len(ranks))
            if self._graded:
                found[f"ndcg@{cut}_by_order"][query] = ndcg_of_ranking(ranked, cut, gain=self._gain)

    def by_query(self) -> dict[str, Doubles]:
        """Give the measures, each float64 (n_queries,)."""
        return self._found


def _means(found: dict[str, Doubles]) -> Results:
    return {name: float(values.mean()) for name, values in found.items()}


def whole_numbers(name: str, values: int | Iterable[int], least: int, most: int | None = None) -> list[int]:
    """Return one or several numbers as a list, or raise ArgumentError."""
    is_one = isinstance(values, int | np.integer)
    several = [values] if isinstance(values, int | np.integer) else list(values)
    for value in several:
        is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_whole or value < least or (most is not None and value > most):
            expected = f"{'a whole number' if is_one else 'whole numbers'} from {least}"
            expected += "" if most is None else f" to {most}"
            raise ArgumentError(f"{name} {'is' if is_one else 'has'} {value!r}, expected {expected}")
    return [int(value) for value in several]
