"""The planner: scan or buckets, for each segment and query, by the cost model of :mod:`hashdb.search.costs`.

What a k-NN search through buckets will cost is not known before, for it depends on how near the neighbours are. So:

1. A segment without tables, or one that NumPy scans before the kernels are loaded, is scanned. So is one where a query
   like its own codes would cost hardly less than the scan: how far their neighbours are and how full their buckets is
   measured when the tables are made.
2. Otherwise each query looks into its own buckets. How many neighbours it met there, and how near, tells how far it has
   to go (each code at distance d has been met with a known probability). Where that costs more than the scan, the query
   is left to the scan at once, together with all others of the batch that are; before each further radius likewise.
3. A query that has cost as much as the scan is left to it whatever is expected. So a wrong guess costs no more than
   twice the scan.
4. What a radius search looks into is known before, so it is chosen by the cost. Where the buckets turn out to be fuller
   than is usual, those to come are counted, and a query is left to the scan soon where they cost more.
5. The scan of a few queries costs each of them more than that of many. Where a batch leaves only a few, these look into
   their buckets once more, with what the scan costs them then, if that is well above what they had.

The scan then begins with the bound that the buckets have found. Both give the same answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hashdb.search import costs
from hashdb.search.tables import Tables

PATHS = ("scan", "buckets")
_GAIN = 0.8  # of the scan's time that k-NN through buckets may take: some queries will need both
_FORCED = 1e3  # times the scan that a search may cost that is told to use buckets


@dataclass(frozen=True)
class Plan:
    """How one segment is searched.

    Attributes
    ----------
    path : str
        ``scan`` or ``buckets``.
    reason : str
        Why, in a few words.
    scan, buckets : float
        Estimated nanoseconds for each query; ``buckets`` infinite without tables.
    budget : float
        Nanoseconds after which a thread leaves a query to the scan.
    n_sharing : int
        Threads that share the buckets of a single query; else they share the queries.
    """

    path: str
    reason: str
    scan: float
    buckets: float = math.inf
    budget: float = math.inf
    n_sharing: int = 1


def plan_knn(
    tables: Tables | None, why_none: str, n: int, n_words: int, n_queries: int, k: int, n_threads: int, path: str | None
) -> Plan:
    """Plan a k-NN search.

    Parameters
    ----------
    tables : Tables or None
    why_none : str
        Why there are no tables.
    n, n_words : int
        Rows of the segment, words of a code.
    n_queries, k, n_threads : int
    path : str or None
        One of ``PATHS`` where it is not for the planner to choose.
    """
    scan = costs.scan(n, n_words, n_queries, n_threads, k)
    if tables is None:
        return Plan("scan", why_none, scan)
    near = tables.likely_distance(k)
    first = float(tables.stages[min(len(tables.widths), tables.n_bits) - 1])
    buckets, budget, n_sharing = _cost(float(tables.stages[near]), costs.KEEP * k, scan, n_queries, n_threads)
    if path is not None:
        return Plan(path, "as told", scan, buckets, _FORCED * scan, n_sharing)
    if first >= budget or buckets + costs.RISK / max(1, n_queries) >= _GAIN * scan:
        return Plan("scan", f"for neighbours as far as is usual here, {near} bits, buckets gain little", scan, buckets)
    reason = f"neighbours as near as is usual here, {near} bits, are in few buckets"
    return Plan("buckets", reason, scan, buckets, budget, n_sharing)


def plan_radius(
    tables: Tables | None,
    why_none: str,
    n: int,
    n_words: int,
    n_queries: int,
    radius: int,
    n_threads: int,
    path: str | None,
) -> Plan:
    """Plan a radius search; arguments as in :func:`plan_knn`."""
    scan = costs.scan(n, n_words, n_queries, n_threads)
    if tables is None:
        return Plan("scan", why_none, scan)
    within = float(tables.stages[min(radius, tables.n_bits)])
    buckets, budget, n_sharing = _cost(within, 0.0, scan, n_queries, n_threads)
    if path is not None:
        return Plan(path, "as told", scan, buckets, _FORCED * scan, n_sharing)
    if buckets >= scan:
        return Plan("scan", "the buckets within the radius cost more", scan, buckets)
    return Plan("buckets", "those within the radius cost less than the scan", scan, buckets, budget, n_sharing)


def _cost(work: float, kept: float, scan: float, n_queries: int, n_threads: int) -> tuple[float, float, int]:
    """Give what buckets cost for each query, the budget of one, and how many threads share a single one.

    Threads share a single query that is likely to take long, each with a budget of its own, else the queries.
    """
    n_queries = max(1, n_queries)
    fixed = costs.BUCKETS / n_queries
    n_sharing = n_threads if n_queries == 1 and work > costs.ALONE else 1
    n_at_work = min(n_queries, n_threads)
    slower = costs.crowded(max(n_sharing, n_at_work))
    buckets = fixed + (work + kept) * slower / max(n_sharing, n_at_work)
    return buckets, (scan - fixed) * n_at_work / slower - kept, n_sharing
