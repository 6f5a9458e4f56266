"""From queries to neighbours: search the segments of one snapshot, then re-rank where asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import Codes, n_words_of
from hashdb.errors import ArgumentError, UnknownIdError
from hashdb.model import Model
from hashdb.results import Neighbours, RadiusNeighbours
from hashdb.search import engine, rerank, threads
from hashdb.storage.snapshot import Segment, Snapshot
from hashdb.stored_vectors import METRICS, StoredVectors

_QUERIES_A_TASK = 16
_BYTES_A_TASK = 1 << 25  # of candidates that one thread of re-ranking holds


def id_dtype(snapshot: Snapshot) -> Any:
    """Type of ids where nothing is found."""
    return np.int64 if snapshot.id_kind == "int64" else np.dtype("<U1")


def check_k(k: Any) -> int:
    """Return ``k`` as an int of at least 0, or raise ArgumentError."""
    return _whole("k", k)


def check_radius(radius: Any) -> int:
    """Return ``radius`` as an int of at least 0, or raise ArgumentError."""
    return _whole("radius", radius)


def codes_of(snapshot: Snapshot, ids: Any, n_bits: int) -> Codes:
    """Return the codes of ids; UnknownIdError where one is not there."""
    owners, rows = snapshot.rows_of(ids)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        first = np.asarray(ids)[missing[:1]].tolist()[0]
        raise UnknownIdError(f"id {first!r} is not in the index ({len(missing)} of {len(rows)} ids are not)")
    found = np.empty((len(rows), n_words_of(n_bits)), np.uint64)
    for number in np.unique(owners).tolist():
        where = owners == number
        found[where] = snapshot.segments[number].codes_at(rows[where])
    return found


def nearest(snapshot: Snapshot, queries: Codes, k: int, n_bits: int, n_threads: int | None) -> Neighbours:
    """Find the k nearest codes, ordered by (distance, id)."""
    found = _search(snapshot, queries, k, n_bits, n_threads)
    return Neighbours(found.ids, found.distances, found.distances, "hamming", _stats(snapshot, found))


def within(snapshot: Snapshot, queries: Codes, radius: int, n_bits: int, n_threads: int | None) -> RadiusNeighbours:
    """Find every code within an inclusive radius, ordered by (distance, id)."""
    found = engine.radius(
        snapshot.segments,
        queries,
        radius,
        n_bits=n_bits,
        id_dtype=id_dtype(snapshot),
        n_threads=n_threads,
    )
    return RadiusNeighbours(found.lims, found.ids, found.distances, _stats(snapshot, found))


def rescored(
    snapshot: Snapshot,
    model: Model,
    stored: StoredVectors | None,
    vectors: NDArray[np.float32],
    k: int,
    *,
    rescore: int,
    metric: str,
    metric_asked: bool,
    modality: str | None,
    n_threads: int | None,
) -> Neighbours:
    """Take the first ``rescore * k`` of the (distance, id) order and order them by (score, id).

    The score is ``metric`` on the stored vectors where every row has some of the queries' modality, else the sum of the
    query's margins over the bits that differ: two measures in one list would have no order.
    """
    rescore = _whole("rescore", rescore)
    if rescore < 1:
        raise ArgumentError(f"rescore is {rescore}, expected at least 1: that many times k candidates are re-ranked")
    if metric not in METRICS:
        raise ArgumentError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
    alive = [segment for segment in snapshot.segments if segment.n_alive]
    by_vectors = stored is not None and all(one.modality == modality and one.vectors for one in alive)
    if metric_asked and not by_vectors:
        raise ArgumentError(
            f"metric {metric!r} orders by stored vectors, which this index lacks for these queries; leave it out"
        )
    if not by_vectors and not model.has_project:
        raise ArgumentError(
            "re-ranking needs stored vectors (build with store_vectors) or a method with margins; "
            f"{model.method} has none"
        )
    codes = model.encode(vectors, modality=modality)
    found = _search(snapshot, codes, rescore * k, model.n_stored_bits, n_threads)
    if by_vectors and stored is not None:
        measure = metric
        scores = _vector_scores(snapshot.segments, stored, vectors, found, metric, n_threads)
    else:
        measure = "asymmetric"
        margins = model.project(vectors, modality=modality)
        scores = _asymmetric_scores(snapshot.segments, margins, codes, found, n_threads)
    return _ordered(found, scores, min(k, found.ids.shape[1]), measure, _stats(snapshot, found))


def _search(snapshot: Snapshot, queries: Codes, k: int, n_bits: int, n_threads: int | None) -> engine.Nearest:
    return engine.knn(
        snapshot.segments,
        queries,
        k,
        n_bits=n_bits,
        id_dtype=id_dtype(snapshot),
        n_threads=n_threads,
    )


def _vector_scores(
    segments: Sequence[Segment],
    stored: StoredVectors,
    vectors: NDArray[np.float32],
    found: engine.Nearest,
    metric: str,
    n_threads: int | None,
) -> NDArray[np.float32]:
    scores = np.empty(found.ids.shape, np.float32)
    step = max(1, _BYTES_A_TASK // (stored.dtype.itemsize * vectors.shape[1]))

    def score(first: int) -> None:
        for query in range(first, min(first + _QUERIES_A_TASK, len(vectors))):
            for at in range(0, found.rows.shape[1], step):
                threads.checkpoint()
                part = slice(at, at + step)
                owners = found.segments[query, part]
                places = found.rows[query, part]
                rows = _gather(segments, owners, places, stored, vectors.shape[1])
                scored = rerank.vector_scores(vectors[query], rows, metric, scale=stored.scale, zero=stored.zero)
                scores[query][part] = scored

    _for_each_part(len(vectors), score, n_threads)
    return scores


def _asymmetric_scores(
    segments: Sequence[Segment],
    margins: NDArray[np.float32],
    codes: Codes,
    found: engine.Nearest,
    n_threads: int | None,
) -> NDArray[np.float32]:
    scores = np.empty(found.ids.shape, np.float32)

    def score(first: int) -> None:
        for query in range(first, min(first + _QUERIES_A_TASK, len(codes))):
            threads.checkpoint()
            candidates = np.empty((found.rows.shape[1], codes.shape[1]), np.uint64)
            for number in np.unique(found.segments[query]).tolist():
                where = found.segments[query] == number
                candidates[where] = segments[number].codes_at(found.rows[query][where])
            scores[query] = rerank.asymmetric_scores(margins[query], codes[query], candidates)

    _for_each_part(len(codes), score, n_threads)
    return scores


def _gather(
    segments: Sequence[Segment], owners: NDArray[np.int64], rows: NDArray[np.int64], stored: StoredVectors, dim: int
) -> NDArray[Any]:
    gathered = np.empty((len(rows), dim), stored.dtype)
    for number in np.unique(owners).tolist():
        where = owners == number
        gathered[where] = segments[number].vectors_at(rows[where])
    return gathered


def _for_each_part(n_queries: int, score: Callable[[int], None], n_threads: int | None) -> None:
    threads.run([partial(score, first) for first in range(0, n_queries, _QUERIES_A_TASK)], n_threads)


def _ordered(
    found: engine.Nearest, scores: NDArray[np.float32], width: int, measure: str, stats: Callable[[], dict[str, Any]]
) -> Neighbours:
    order = np.empty((len(scores), width), np.int64)
    for query in range(len(scores)):
        order[query] = rerank.order_by_score(scores[query], found.ids[query])[:width]
    take = (np.arange(len(scores))[:, None], order)
    return Neighbours(found.ids[take], scores[take], found.distances[take], measure, stats)


def _stats(snapshot: Snapshot, found: engine.Nearest | engine.Within) -> Callable[[], dict[str, Any]]:
    """Give what makes the statistics when they are asked for; it keeps neither files nor arrays."""
    return partial(_statistics, snapshot.version, len(snapshot.segments), found.reports)


def _statistics(version: int, n_segments: int, reports: engine.Reports) -> dict[str, Any]:
    return {"version": version, "n_segments": n_segments, **engine.stats_of(reports)}


def _whole(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ArgumentError(f"{name} is {value!r}, expected a whole number of at least 0")
    return int(value)
