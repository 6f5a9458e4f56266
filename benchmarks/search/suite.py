"""The grid: every group of cells in turn, each finished cell a JSON file in the work folder, so that a run goes on.

``<work>/cells/<data>-<bits>-<n>/`` holds ``build.json`` and one file a question; without peers the first folder is
``own cells``. Files of codes stay for the next run; the index of a group is deleted with its last cell. A work folder
is for one state of the code on one machine.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.search import cells, cold, data, measure, ours
from benchmarks.search.cells import Group, Question
from benchmarks.search.measure import Contender
from benchmarks.search.peers import PEERS
from benchmarks.search.worker import Host, Worker


class Sizes(NamedTuple):
    """How large a run is."""

    bits: Sequence[int] = cells.BITS
    sizes: Sequence[int] = cells.SIZES
    ks: Sequence[int] = cells.KS
    radii: Sequence[int] = cells.RADII
    pace: float = 0.08  # seconds of a measurement
    repeats: int = measure.REPEATS
    n_threads: int = 2
    datasets: Sequence[str] = data.DATASETS
    peers: bool = True


FULL = Sizes()
QUICK = Sizes((64, 128), (70_000,), (1, 10), (0, 4), 0.002)


class Builder:
    """A process that builds an index and nothing else."""

    def __init__(self) -> None:
        ours.warm()

    def build(self, path: Path, codes: Path, n: int, n_bits: int) -> float:
        """Give the seconds from codes in a file to an index with tables on disk."""
        start = time.perf_counter()
        ours.build(path, np.load(codes, mmap_mode="r")[:n], n_bits)
        return time.perf_counter() - start


def run(work: Path, sizes: Sizes, only: Mapping[str, str] | None = None) -> None:
    """Measure every cell that is chosen and not there yet."""
    for group in cells.groups(sizes.bits, sizes.sizes, sizes.datasets):
        if cells.chosen(group, only or {}):
            _run_group(work, group, sizes)


def results(work: Path, sizes: Sizes) -> dict[Group, dict[str, Any]]:
    """Read what has been measured: group to ``build`` and the cells by the name of their question."""
    found: dict[Group, dict[str, Any]] = {}
    for group in cells.groups(sizes.bits, sizes.sizes, sizes.datasets):
        names = ["build", *(question.name for question in cells.questions(group, sizes.ks, sizes.radii))]
        files = {name: _folder(work, group, sizes) / f"{name}.json" for name in names}
        read = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
        if read:
            found[group] = read
    return found


def _run_group(work: Path, group: Group, sizes: Sizes) -> None:
    folder = _folder(work, group, sizes)
    missing = [
        question
        for question in cells.questions(group, sizes.ks, sizes.radii)
        if not (folder / f"{question.name}.json").exists()
    ]
    if not missing:
        return
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    index = work / "indexes" / f"{group.name}.hashdb"
    queries = data.queries(group.data, group.n_bits)
    codes = data.codes(work, group.data, group.n_bits, group.n)
    _note(group, "codes", started)
    build = _build_ours(index, codes, group)
    left_out = _too_large(build)
    if left_out is None:
        with _contenders(group, codes, index, queries, sizes) as (contenders, facts):
            _note(group, "built", started)
            _ask(folder, group, missing, contenders, facts, sizes)
        build |= facts
        for cold_start in (True, False):
            name = "cold" if cold_start else "warm"
            build[name] = cold.measure(index, queries, min(100, group.n), sizes.n_threads, cold=cold_start)
    else:
        build["left out"] = left_out
    if not (folder / "build.json").exists():
        _write(folder / "build.json", build)
    shutil.rmtree(index)
    _note(group, "done", started)


def _build_ours(index: Path, codes: Path, group: Group) -> dict[str, Any]:
    shutil.rmtree(index, ignore_errors=True)
    index.parent.mkdir(parents=True, exist_ok=True)
    with Worker(Builder) as builder:
        before = builder.memory()["RssAnon"]
        seconds = builder.watched("build", index, codes, group.n, group.n_bits)
        peak = builder.peak - before
    size, tables = ours.size(index)
    return {"hashdb": {"seconds": seconds, "size": size, "tables": tables, "bytes": size / group.n, "peak": peak}}


def _too_large(build: Mapping[str, Any]) -> str | None:
    return None if build["hashdb"]["size"] <= cells.MOST_BYTES else f"{build['hashdb']['size'] / 1e9:.1f} GB"


@contextmanager
def _contenders(
    group: Group, codes: Path, index: Path, queries: Any, sizes: Sizes
) -> Iterator[tuple[list[Contender], dict[str, Any]]]:
    """Build everyone, each in a process; give them and the facts of their building, or why one does not take part."""
    found, facts = [], {}
    with ExitStack() as stack:
        for kind in (ours.Ours, *(PEERS if sizes.peers else ())):
            why = kind.why_not(*group) if kind is not ours.Ours else None
            if why is not None:
                facts[kind.name] = {"left out": why}
                continue
            place = index if kind is ours.Ours else codes
            worker = stack.enter_context(Worker(Host, kind, place, queries, group.n, group.n_bits, sizes.n_threads))
            before = worker.memory()["RssAnon"]
            seconds = worker.watched("build")
            held = worker.memory()["RssAnon"] - before
            if kind is not ours.Ours:
                facts[kind.name] = {"seconds": seconds, "bytes": held / group.n, "peak": worker.peak - before}
            ways = worker.call("ways")
            found.append(Contender(kind.name, worker, ways, kind.pace, kind.fewest, kind.most_k, kind.has_radius))
        yield found, facts


def _ask(
    folder: Path,
    group: Group,
    missing: Sequence[Question],
    contenders: Sequence[Contender],
    facts: dict[str, Any],
    sizes: Sizes,
) -> None:
    hopeless: set[str] = set()
    opened = contenders[0].worker.memory()
    for question in missing:
        try:
            found = measure.cell(contenders, question, sizes.n_threads, sizes.pace, hopeless, sizes.repeats)
        except Exception as error:
            error.add_note(f"in the cell {group.name}, {question.name}")
            raise
        _write(folder / f"{question.name}.json", found)
    worker = contenders[0].worker
    facts["hashdb, asked"] = {
        "private": worker.peak - opened["RssAnon"],
        "mapped": worker.memory()["RssFile"] - opened["RssFile"],
    }


def _folder(work: Path, group: Group, sizes: Sizes) -> Path:
    return work / ("cells" if sizes.peers else "own cells") / group.name


def _write(path: Path, document: Mapping[str, Any]) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(document, indent=1, default=str), encoding="utf-8")
    unfinished.rename(path)


def _note(group: Group, what: str, started: float) -> None:
    print(f"{group.name}: {what} after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
