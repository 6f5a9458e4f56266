"""One cell: how long each contender takes, how much of the truth it finds, and whether all agree.

A measurement may take ``pace`` seconds times the contender's share. Batches of growing size say how many queries that
is; whoever takes several times as long for a single query is measured by that one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from benchmarks.search.cells import Question
from benchmarks.search.data import N_QUERIES
from benchmarks.search.worker import Worker

REPEATS = 3
ALL_WAYS = Question("k", 10)  # where recall is set against time
SLOW = 2.2  # times the scan: a single query above that is counted
WORTH = 50e-6  # seconds a query: ratios of cells that take less are not counted
_FOUND_AT_MOST = 4_000_000  # rows that a batch may find, for they travel between processes
_FEWEST_SINGLES = 3  # queries a way is asked one at a time
_SINGLES = 100  # single queries at most
_PATIENCE = 4  # a single query may take that many times what a measurement may
_HOPELESS = 3.0  # seconds a query after which a way is not asked for more of the same kind

Array = Any
Lists = tuple[Array, Array]  # lims (n_queries + 1,), distances (lims[-1],)


@dataclass
class Contender:
    """A worker with what the cells need to know of it."""

    name: str
    worker: Worker
    ways: Sequence[str]
    pace: float = 1.0
    fewest: int = 4
    most_k: int = 1 << 30
    has_radius: bool = True

    def label(self, way: str) -> str:
        """Name a way in files and tables."""
        return f"{self.name} {way}".strip()

    def ways_for(self, question: Question) -> Sequence[str]:
        """Give the ways to ask that question: none where it cannot answer it, all of a peer's in one question only."""
        if question.value > self.most_k if question.kind == "k" else not self.has_radius:
            return ()
        return self.ways if self.name == "hashdb" or question == ALL_WAYS else self.ways[:1]


@dataclass
class _Run:
    """One way of a contender in one cell."""

    contender: Contender
    way: str
    n: int  # queries of a batch
    one: float  # seconds of a single query, warm where there was time for a second one
    last: float  # seconds of the last batch
    seconds: list[float] = field(default_factory=list)  # of the batches measured

    @property
    def label(self) -> str:
        return self.contender.label(self.way)

    @property
    def is_ours(self) -> bool:
        return self.contender.name == "hashdb"

    def ask(self, question: Question, n_threads: int) -> None:
        self.last, _ = self.contender.worker.call("ask", self.way, question, self.n, n_threads)


def cell(
    contenders: Sequence[Contender],
    question: Question,
    n_threads: int,
    pace: float,
    hopeless: set[str],
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Measure a cell, hashdb among the contenders; ``hopeless`` remembers ways that are too slow to be asked again."""
    runs = []
    for one in contenders:
        for way in one.ways_for(question):
            if f"{one.label(way)} {question.kind}" not in hopeless:
                runs.append(_probed(one, way, question, n_threads, pace * one.pace))
    hopeless |= {f"{run.label} {question.kind}" for run in runs if run.one > _HOPELESS and run.way != "scan"}
    _equalise(runs)
    for repeat in range(repeats):
        for run in _rotated(runs, repeat):
            if run.one <= _PATIENCE * pace * run.contender.pace or not run.seconds:
                run.ask(question, n_threads)
                run.seconds.append(run.last)
    truth = _agreed(runs, question)
    single = _singles(runs, question, n_threads, pace, repeats)
    quick = [run for run in runs if run.is_ours or run.contender.name == "FAISS flat"]
    alone = _singles(quick, question, 1, pace, repeats)
    batch = {run.label: _batch(run, truth, question) for run in runs}
    return {
        "question": question.name,
        "truth": _summary(truth, question),
        "batch": batch,
        "single": {label: _spread(times) for label, times in single.items()},
        "alone": {label: _spread(times) for label, times in alone.items()},
        "planner": _planner(batch, single),
        "stats": {run.way: run.contender.worker.call("stats", run.way) for run in runs if run.is_ours},
    }


def _probed(contender: Contender, way: str, question: Question, n_threads: int, budget: float) -> _Run:
    """Find out how many queries fit into the budget."""
    last, found = contender.worker.watched("ask", way, question, 1, n_threads)
    if last < _PATIENCE**2 * budget:  # the first may have had to load or map things
        last, found = contender.worker.call("ask", way, question, 1, n_threads)
    if budget / 8 < last < _PATIENCE * budget:
        last = min(last, contender.worker.call("ask", way, question, 1, n_threads)[0])
    if last > _PATIENCE * budget:
        return _Run(contender, way, 1, last, last, [last])
    run = _Run(contender, way, 1, last, last)
    most = N_QUERIES
    fewest = contender.fewest if run.one * contender.fewest < 5 * _PATIENCE * budget else 1
    while (run.last < budget / 2 or run.n < fewest) and run.n < most:
        run.n = min(most, max(fewest, int(run.n * min(16, budget / run.last))))
        run.last, found = contender.worker.watched("ask", way, question, run.n, n_threads)
        if budget / 2 < run.last < _PATIENCE * budget:  # unless that was an accident
            run.ask(question, n_threads)
        most = max(1, min(most, _FOUND_AT_MOST * run.n // max(1, found)))
    run.n = min(run.n, most)
    return run


def _rotated(runs: Sequence[_Run], repeat: int) -> list[_Run]:
    """Let another way of each contender begin at every repeat, for the first of them wakes the process."""
    by_contender: dict[int, list[_Run]] = {}
    for run in runs:
        by_contender.setdefault(id(run.contender), []).append(run)
    return [run for mine in by_contender.values() for run in mine[repeat % len(mine) :] + mine[: repeat % len(mine)]]


def _equalise(runs: Sequence[_Run]) -> None:
    """Give the planner the batch of the faster forced way, for the ratio of unlike batches says little."""
    ours = {run.way: run for run in runs if run.is_ours}
    planner, forced = ours["planner"], [run.n for way, run in ours.items() if way != "planner"]
    if planner.n > 1:
        planner.n = min(max(forced), _PATIENCE * planner.n)


def _agreed(runs: Sequence[_Run], question: Question) -> Lists:
    """Give the lists of the scan; raise where another way of hashdb or FAISS flat differs."""
    scan = next(run for run in runs if run.is_ours and run.way == "scan")
    worker = scan.contender.worker
    if (way := worker.call("differing")) is not None:
        raise RuntimeError(f"{question.name}: hashdb's {way} and scan give different ids or distances")
    truth: Lists = worker.call("lists", "scan")
    for run in runs:
        if run.contender.name == "FAISS flat":
            (lims, distances), (its_lims, its_distances) = _common(truth, run.contender.worker.call("lists", run.way))
            if not np.array_equal(lims, its_lims) or not np.array_equal(distances, _sorted(its_lims, its_distances)):
                raise RuntimeError(f"{question.name}: hashdb and FAISS flat give different distances")
    return truth


def _common(one: Lists, other: Lists) -> tuple[Lists, Lists]:
    """Cut both to the queries that both have."""
    n = min(len(one[0]), len(other[0]))
    return (one[0][:n], one[1][: one[0][n - 1]]), (other[0][:n], other[1][: other[0][n - 1]])


def _sorted(lims: Array, distances: Array) -> Array:
    """Sort the distances of each query."""
    return distances[np.lexsort((distances, np.repeat(np.arange(len(lims) - 1), np.diff(lims))))]


def _batch(run: _Run, truth: Lists, question: Question) -> dict[str, Any]:
    return {
        "median": median(run.seconds) / run.n,
        "seconds": [one / run.n for one in run.seconds],
        "queries": run.n,
        "recall": _recall(truth, run.contender.worker.call("lists", run.way), question),
    }


def _recall(truth: Lists, found: Lists, question: Question) -> float | None:
    """Share of the truth that was found; a row as near as the k-th counts as one of the k, whichever it is."""
    (lims, distances), (its_lims, its_distances) = _common(truth, found)
    if lims[-1] == 0:
        return None
    if question.kind == "radius":
        return float(its_lims[-1] / lims[-1])
    last = distances[lims[1:] - 1]
    return float((its_distances <= np.repeat(last, np.diff(its_lims))).sum() / lims[-1])


def _singles(
    runs: Sequence[_Run], question: Question, n_threads: int, pace: float, repeats: int
) -> dict[str, list[float]]:
    """Give the seconds of single queries by label, each the median of its repeats."""
    found: dict[str, list[float]] = {}
    for contender in {id(run.contender): run.contender for run in runs}.values():
        mine = {run.way: run for run in runs if run.contender is contender}
        budget = pace * contender.pace
        slow = {way for way, run in mine.items() if run.one > _PATIENCE * budget}
        counts = {
            way: int(np.clip(budget / (repeats * run.one), _FEWEST_SINGLES, _SINGLES)) for way, run in mine.items()
        }
        if {"planner", "scan"} <= set(counts) - slow:
            counts["planner"] = counts["scan"] = min(counts["planner"], counts["scan"])
        quick = {way: n for way, n in counts.items() if way not in slow}
        times = contender.worker.call("singles", quick, question, n_threads, repeats)
        # One thread would take longer still: a slow way is only known with all threads.
        times |= {way: [mine[way].one] for way in slow if n_threads != 1}
        found |= {contender.label(way): values for way, values in times.items()}
    return found


def _planner(batch: dict[str, Any], single: dict[str, list[float]]) -> dict[str, Any]:
    """Compare the planner with the faster of the forced ways and, query by query, with the scan."""
    forced = [label for label in ("hashdb scan", "hashdb buckets") if label in batch]
    pairs = list(zip(single["hashdb planner"], single["hashdb scan"], strict=False))
    return {
        "batch": batch["hashdb planner"]["median"] / min(batch[label]["median"] for label in forced),
        "batch counts": batch["hashdb planner"]["median"] > WORTH,
        # The slower way is asked few queries: each way is compared over those that it was asked.
        "single": max(_median_ratio(single["hashdb planner"], single[label]) for label in forced),
        "single counts": median(single["hashdb planner"]) > WORTH,
        "slow": sum(planner > SLOW * scan and planner > WORTH for planner, scan in pairs),
        "compared": len(pairs),
        "worst": max(planner / scan for planner, scan in pairs),
    }


def _median_ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    n = min(len(ours), len(others))
    return median(ours[:n]) / median(others[:n])


def _spread(times: Sequence[float]) -> dict[str, float]:
    return {"median": median(times), "max": max(times), "queries": len(times)}


def _summary(truth: Lists, question: Question) -> dict[str, float]:
    lims, distances = truth
    if question.kind == "radius":
        return {"found": float(lims[-1] / (len(lims) - 1))}
    return {"k-th": float(np.median(distances[lims[1:] - 1]))}
