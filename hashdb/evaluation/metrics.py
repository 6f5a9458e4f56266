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
from hashdb.evaluation.lookups import auprc, lookup
from hashdb.evaluation.ranking import (
    NORMALISERS,
    average_precision,
    average_precision_of_ranks,
    ndcg_at,
    precision_at,
    ranks_of_relevant,
    recall_at,
)
from hashdb.evaluation.truth import Truth

Results = dict[str, float]


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
        ``map@k``, with the same endings; ``precision@k``, ``recall@k``, and both with ``_by_order``
            Of rankings cut after k. Against the nearest rows by vectors ``recall@k`` is the recall of the search.
        ``ndcg@k``
            Where the truth has grades; expected over the orders of ties.
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
    cuts, radii = _whole_numbers("at", at, 1), _whole_numbers("radius", radius, 0)
    if normaliser not in NORMALISERS:
        raise ArgumentError(f"normaliser is {normaliser!r}, expected one of {', '.join(NORMALISERS)}")
    ordered = _Ordered(truth.n_queries, cuts, normaliser) if by_order else None
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
        results |= ordered.means()
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
    total, relevant = counts.total, counts.relevant
    cuts, radii = _whole_numbers("at", at, 1), _whole_numbers("radius", radius, 0)
    results: Results = {}
    for cut in (None, *cuts):
        name = "map" if cut is None else f"map@{cut}"
        for ties, ending in (("expected", ""), ("optimistic", "_optimistic"), ("pessimistic", "_pessimistic")):
            values = average_precision(total, relevant, ties=ties, at=cut, normaliser=normaliser)
            results[name + ending] = float(values.mean())
    for cut in cuts:
        results[f"precision@{cut}"] = float(precision_at(total, relevant, cut).mean())
        results[f"recall@{cut}"] = float(recall_at(total, relevant, cut).mean())
        if counts.by_grade.shape[1] > 2:
            results[f"ndcg@{cut}"] = float(ndcg_at(counts.by_grade, cut, gain=gain).mean())
    for reach in radii:
        found = lookup(total, relevant, reach)
        results[f"precision_within_{reach}"] = found.precision
        results[f"recall_within_{reach}"] = found.recall
        results[f"f1_within_{reach}"] = found.f1
        results[f"nothing_within_{reach}"] = found.nothing_found
    results["auprc"] = auprc(total, relevant)
    return results


class _Ordered:
    """Measures of the rankings that break ties by row, filled query by query."""

    def __init__(self, n_queries: int, cuts: list[int], normaliser: str) -> None:
        self._cuts, self._normaliser = cuts, normaliser
        self._precisions = np.zeros((1 + len(cuts), n_queries))
        self._hits = np.zeros((len(cuts), n_queries))
        self._recalls = np.zeros((len(cuts), n_queries))

    def visit(self, query: int, distances: NDArray[Any], grades: NDArray[Any]) -> None:
        ranks = ranks_of_relevant(distances, grades)
        for place, cut in enumerate((None, *self._cuts)):
            self._precisions[place, query] = average_precision_of_ranks(ranks, at=cut, normaliser=self._normaliser)
        for place, cut in enumerate(self._cuts):
            hits = int(np.searchsorted(ranks, cut, side="right"))
            self._hits[place, query] = hits / cut
            self._recalls[place, query] = hits / max(1, len(ranks))

    def means(self) -> Results:
        results = {"map_by_order": float(self._precisions[0].mean())}
        for place, cut in enumerate(self._cuts):
            results[f"map@{cut}_by_order"] = float(self._precisions[1 + place].mean())
            results[f"precision@{cut}_by_order"] = float(self._hits[place].mean())
            results[f"recall@{cut}_by_order"] = float(self._recalls[place].mean())
        return results


def _whole_numbers(name: str, values: int | Iterable[int], least: int) -> list[int]:
    several = [values] if isinstance(values, int | np.integer) else list(values)
    for value in several:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ArgumentError(f"{name} has {value!r}, expected whole numbers from {least}")
    return [int(value) for value in several]
