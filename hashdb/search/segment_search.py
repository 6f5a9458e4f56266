"""One segment searched as planned: through its buckets, by the scan, or by both, and a report of what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import check_codes, n_words_of
from hashdb.errors import ArgumentError
from hashdb.search import scan, threads
from hashdb.search.planner import PATHS, Plan, plan_knn, plan_radius
from hashdb.search.scan import Lists
from hashdb.search.tables import StoredTables, Tables, prepare

if TYPE_CHECKING:
    from hashdb.search.buckets import Outcome  # it loads the kernels

Codes = NDArray[np.uint64]
_WORTH_MORE = 1.5  # times its budget that the scan costs where few queries are left: then buckets are tried again


class Searchable(Protocol):
    """What a search needs of a segment."""

    @property
    def n_alive(self) -> int:
        """Rows that are not deleted."""

    @property
    def code_blocks(self) -> Sequence[Codes]:
        """Codes in row order, each block uint64 (m, n_words)."""

    @property
    def deleted(self) -> Codes | None:
        """Bitmap of deleted rows, or None."""

    @property
    def tables(self) -> StoredTables | None:
        """Bucket tables, or None."""

    @property
    def tables_problem(self) -> str | None:
        """Why bucket tables that should be there cannot be used."""

    def ids_at(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Ids of rows, int64 or fixed-width unicode."""


@dataclass(frozen=True)
class Report:
    """What the search of one segment did.

    Attributes
    ----------
    rows : int
    plan : Plan
    path : str
        ``scan``, ``buckets``, or ``buckets, then scan`` where some queries were left to the scan.
    n_queries, n_scanned : int
        Queries, and those of them that were scanned.
    n_probes, n_candidates : int
        Buckets looked into and codes found in them, of all queries together.
    substring_radius : int
        Largest distance from a query's substring that was looked at; -1 where no bucket was.
    tables : str
        The tables that there were.
    """

    rows: int
    plan: Plan
    path: str
    n_queries: int
    n_scanned: int
    n_probes: int = 0
    n_candidates: int = 0
    substring_radius: int = -1
    tables: str = "none"

    def joined(self, other: Report) -> Report:
        """Join the reports of two parts of a batch."""
        paths = {part for report in (self, other) for part in report.path.split(", then ")}
        return replace(
            self,
            path=", then ".join(sorted(paths)),
            n_queries=self.n_queries + other.n_queries,
            n_scanned=self.n_scanned + other.n_scanned,
            n_probes=self.n_probes + other.n_probes,
            n_candidates=self.n_candidates + other.n_candidates,
            substring_radius=max(self.substring_radius, other.substring_radius),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the report as a plain dict; estimates in milliseconds a query."""
        buckets = None if np.isinf(self.plan.buckets) else round(self.plan.buckets / 1e6, 4)
        return {
            "rows": self.rows,
            "tables": self.tables,
            "plan": self.plan.path,
            "reason": self.plan.reason,
            "scan_estimate_ms": round(self.plan.scan / 1e6, 4),
            "buckets_estimate_ms": buckets,
            "path": self.path,
            "n_queries": self.n_queries,
            "n_scanned": self.n_scanned,
            "n_probes": self.n_probes,
            "n_candidates": self.n_candidates,
            "substring_radius": self.substring_radius,
        }


def knn(
    segment: Searchable,
    queries: Codes,
    k: int,
    *,
    n_bits: int,
    bound: NDArray[np.int32] | None = None,
    n_threads: int | None = None,
    path: str | None = None,
) -> tuple[Lists, Report]:
    """Find the k nearest rows of each query in one segment, ordered by (distance, row).

    Parameters
    ----------
    segment : Searchable
    queries, k, n_bits, bound, n_threads
        As in :func:`hashdb.search.scan.knn`.
    path : {None, "scan", "buckets"}
        Which way to go where the planner is not to choose.

    Returns
    -------
    Lists
    Report
    """
    k = scan.check_whole(k, "k")
    limits = scan.check_bound(bound, len(queries), n_bits)
    opened = _Opened.of(segment, queries, n_bits, n_threads, path)
    plan = opened.plan_knn(len(queries), k, path)
    whole: dict[str, Any] = {"n_bits": n_bits, "deleted": segment.deleted, "n_threads": opened.n_threads}
    if plan.path == "scan" or opened.tables is None or k == 0 or len(queries) == 0:
        return scan.knn(opened.blocks, queries, k, bound=bound, **whole), opened.report(plan)
    lists, outcome = _knn_by_buckets(opened, opened.tables, opened.queries, min(k, opened.n), limits, plan, path)
    return lists, opened.report(plan, outcome)


def _knn_by_buckets(
    opened: _Opened,
    tables: Tables,
    queries: Codes,
    k: int,
    limits: NDArray[np.int64],
    plan: Plan,
    path: str | None,
) -> tuple[Lists, Outcome]:
    """Search buckets, and what they leave as is best for so few queries: within a larger budget, or by the scan."""
    from hashdb.search import buckets

    deleted, n_threads = opened.segment.deleted, opened.n_threads
    rows, distances, counts, outcome = buckets.knn(
        tables, opened.blocks, queries, k, deleted=deleted, limits=limits, budget=plan.budget, n_threads=n_threads,
        n_sharing=plan.n_sharing,
    )  # fmt: skip
    left = outcome.left
    if outcome.damaged:
        opened.disable()
    if len(left):
        # No row at the limit or beyond is of interest, and those at the distance before it are.
        limits = (limits if outcome.damaged else outcome.limits)[left]
        again = opened.plan_knn(len(left), k, None)
        is_worth_more = again.path == "buckets" and again.budget > _WORTH_MORE * plan.budget
        if is_worth_more and path is None and not outcome.damaged:
            found, then = _knn_by_buckets(opened, tables, queries[left], k, limits, again, path)
            outcome = outcome.followed_by(then)
        else:
            found = scan.knn(
                opened.blocks, queries[left], k, n_bits=tables.n_bits, bound=(limits - 1).astype(np.int32),
                deleted=deleted, n_threads=n_threads,
            )  # fmt: skip
        rows[left], distances[left] = -1, tables.n_bits + 1
        width = found.rows.shape[1]
        rows[left, :width], distances[left, :width], counts[left] = found
    width = int(counts.max(initial=0))
    if width < k:
        rows, distances = np.ascontiguousarray(rows[:, :width]), np.ascontiguousarray(distances[:, :width])
    return Lists(rows, distances, counts), outcome


def radius(
    segment: Searchable,
    queries: Codes,
    radius: int,
    *,
    n_bits: int,
    n_threads: int | None = None,
    path: str | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], Report]:
    """Find every row of one segment within ``radius`` of each query, inclusive, ordered by (distance, row).

    Returns
    -------
    lims, rows, distances
        As in :func:`hashdb.search.scan.radius`.
    Report
    """
    radius = min(scan.check_whole(radius, "radius"), n_bits)
    opened = _Opened.of(segment, queries, n_bits, n_threads, path)
    plan = plan_radius(
        opened.tables, opened.why_none, opened.n, opened.n_words, len(queries), radius, opened.n_threads, path
    )
    whole: dict[str, Any] = {"n_bits": n_bits, "deleted": segment.deleted, "n_threads": opened.n_threads}
    if plan.path == "scan" or opened.tables is None or len(queries) == 0:
        return *scan.radius(opened.blocks, queries, radius, **whole), opened.report(plan)
    from hashdb.search import buckets

    lims, rows, distances, outcome = buckets.radius(
        opened.tables,
        opened.blocks,
        opened.queries,
        radius,
        deleted=segment.deleted,
        budget=plan.budget,
        n_threads=opened.n_threads,
        n_sharing=plan.n_sharing,
    )
    if outcome.damaged:
        opened.disable()
        return *scan.radius(opened.blocks, queries, radius, **whole), opened.report(plan, outcome)
    if len(outcome.left):
        scanned = scan.radius(opened.blocks, queries[outcome.left], radius, **whole)
        lims, rows, distances = _joined(outcome.left, (lims, rows, distances), scanned)
    return lims, rows, distances, opened.report(plan, outcome)


class _Opened:
    """A segment's codes and tables for the length of a search: files stay mapped while these arrays live."""

    def __init__(self, segment: Searchable, n_bits: int, queries: Codes, n_threads: int) -> None:
        self.segment = segment
        self.blocks = [_aligned(block) for block in segment.code_blocks if len(block)]
        self.n = sum(map(len, self.blocks))
        self.n_words = n_words_of(n_bits)
        self.queries = _aligned(queries)
        self.n_queries = len(queries)
        self.n_threads = n_threads
        self.tables: Tables | None = None
        self.stored: StoredTables | None = None
        self.none, self.why_none = "not opened", "no bucket tables"

    @classmethod
    def of(cls, segment: Searchable, queries: Codes, n_bits: int, n_threads: int | None, path: str | None) -> _Opened:
        if path is not None and path not in PATHS:
            raise ArgumentError(
                f"path is {path!r}, expected one of {', '.join(PATHS)}, or None for the planner's choice"
            )
        queries = check_codes(queries, n_bits)
        opened = cls(segment, n_bits, queries, threads.check_n_threads(n_threads))
        if path is None and scan.needs_no_kernels(opened.n, queries):
            opened.why_none = "it is done before the kernels would be loaded"
        elif opened.n and len(queries) and path != "scan":
            opened._find_tables(n_bits)
        return opened

    def plan_knn(self, n_queries: int, k: int, path: str | None) -> Plan:
        """Plan a k-NN search of so many queries."""
        return plan_knn(self.tables, self.why_none, self.n, self.n_words, n_queries, k, self.n_threads, path)

    def disable(self) -> None:
        """Use the tables no more, for they hold rows or places that do not exist."""
        if self.stored is not None:
            self.stored.disable("a probe met a row or a place that does not exist")

    def report(self, plan: Plan, outcome: Any = None) -> Report:
        """Say what was done."""
        tables = self.none if self.tables is None else f"{len(self.tables.widths)} {self.tables.layout}"
        if outcome is None:
            return Report(self.n, plan, "scan", self.n_queries, self.n_queries, tables=tables)
        return Report(
            self.n,
            plan,
            "buckets, then scan" if len(outcome.left) else "buckets",
            self.n_queries,
            len(outcome.left),
            outcome.n_probes,
            outcome.n_candidates,
            outcome.substring_radius,
            tables,
        )

    def _find_tables(self, n_bits: int) -> None:
        self.none = "none"
        self.stored = self.segment.tables
        if self.stored is not None:
            self.tables = prepare(self.stored, self.blocks, n_bits)
        if self.tables is None and self.segment.tables_problem:
            self.why_none = f"its bucket tables cannot be used: {self.segment.tables_problem}"


def _aligned(codes: Codes) -> Codes:
    return codes if codes.flags.c_contiguous and codes.flags.aligned else np.require(codes, requirements=("C", "A"))


def _joined(
    left: NDArray[np.int64],
    found: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]],
    scanned: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Put what two searches found for some queries each into the order of the queries."""
    counts = np.diff(found[0])
    counts[left] = np.diff(scanned[0])
    lims = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=lims[1:])
    is_left = np.zeros(len(counts), np.bool_)
    is_left[left] = True
    scans = np.repeat(is_left, counts)
    rows, distances = np.empty(lims[-1], np.int64), np.empty(lims[-1], np.int32)
    for mine, (_, part_rows, part_distances) in ((~scans, found), (scans, scanned)):
        rows[mine], distances[mine] = part_rows, part_distances
    return lims, rows, distances
