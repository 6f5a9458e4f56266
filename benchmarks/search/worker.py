"""Contenders in processes of their own: their memory is theirs, and one that dies takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.search import ours
from benchmarks.search.cells import Question

Array = Any
_WATCH = 0.02  # seconds between two looks at a child's memory


class Worker:
    """A child process that holds one object and calls its methods for the parent.

    Parameters
    ----------
    host : type
        What the child makes, with ``arguments``; both have to be picklable.
    """

    def __init__(self, host: type, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, host, arguments), daemon=True)
        self._process.start()
        end.close()
        self.peak = 0  # bytes of private memory that watched calls have seen at most
        self._receive()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method in the child."""
        self._pipe.send((method, arguments))
        return self._receive()

    def watched(self, method: str, *arguments: Any) -> Any:
        """Call a method and watch the child's memory meanwhile, which disturbs times a little."""
        self._pipe.send((method, arguments))
        while not self._pipe.poll(_WATCH):
            self.peak = max(self.peak, memory(self._process.pid)["RssAnon"])
        self.peak = max(self.peak, memory(self._process.pid)["RssAnon"])
        return self._receive()

    def memory(self) -> dict[str, int]:
        """Give the child's memory now."""
        return memory(self._process.pid)

    def close(self) -> None:
        """End the child."""
        self._pipe.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.terminate()

    def _receive(self) -> Any:
        try:
            ok, result = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a contender's process ended with code {self._process.exitcode}") from None
        if not ok:
            raise RuntimeError(f"a contender failed:\n{result}")
        return result

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def memory(pid: int | None = None) -> dict[str, int]:
    """Give bytes of private memory (``RssAnon``) and of mapped files (``RssFile``) of a process."""
    try:
        lines = Path(f"/proc/{pid or os.getpid()}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    found = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith("Rss")}
    return {name: found.get(name, 0) for name in ("RssAnon", "RssFile")}


def _serve(pipe: Any, host: type, arguments: tuple[Any, ...]) -> None:
    held = None
    while True:
        try:
            if held is None:
                held = host(*arguments)
                pipe.send((True, None))
            method, given = pipe.recv()
            pipe.send((True, getattr(held, method)(*given)))
        except (EOFError, BrokenPipeError):
            sys.exit()
        except Exception:
            pipe.send((False, traceback.format_exc()))
            if held is None:
                sys.exit(1)


class Host:
    """One contender over one set of codes, as the child holds it.

    Parameters
    ----------
    contender : type
        ``Ours`` or a peer.
    place : Path
        The .npy file of codes for a peer; the folder of the index for ours.
    queries : ndarray of uint64
    n, n_bits, n_threads : int
    """

    def __init__(self, contender: type, place: Path, queries: Array, n: int, n_bits: int, n_threads: int) -> None:
        self._contender, self._place, self._queries = contender, place, queries
        self._n, self._n_bits, self._n_threads = n, n_bits, n_threads
        self._held: Any = None
        self._question: Question | None = None
        self._found: dict[str, Any] = {}  # by way, for that question
        # Imports are no part of what a build takes.
        if contender is ours.Ours:
            ours.warm()
        else:
            import faiss  # noqa: F401
            import usearch.index  # noqa: F401

    def build(self) -> float:
        """Build or open; give the seconds."""
        start = time.perf_counter()
        if self._contender is ours.Ours:
            self._held = ours.Ours(self._place)
        else:
            codes = np.load(self._place, mmap_mode="r")[: self._n]
            self._held = self._contender(codes, self._n_bits, self._n_threads)
        return time.perf_counter() - start

    def ways(self) -> tuple[str, ...]:
        """Give the ways it can be asked."""
        return tuple(self._held.ways)

    def ask(self, way: str, question: Question, n_queries: int, n_threads: int) -> tuple[float, int]:
        """Ask the first queries as a batch; give seconds and the number of rows found."""
        call, queries = self._call(question), self._queries[:n_queries]
        start = time.perf_counter()
        found = call(way, queries, question.value, n_threads)
        seconds = time.perf_counter() - start
        if question != self._question:
            self._question, self._found = question, {}
        self._found[way] = found
        return seconds, int(self._held.lists(found)[0][-1])

    def singles(
        self, counts: Mapping[str, int], question: Question, n_threads: int, repeats: int
    ) -> dict[str, list[float]]:
        """Ask ``counts[way]`` queries one at a time; give each one's median seconds over the repeats, ways in turns."""
        call, value = self._call(question), question.value
        seconds: dict[str, list[list[float]]] = {way: [[] for _ in range(n)] for way, n in counts.items()}
        ways = list(seconds)
        for repeat in range(repeats):
            first = repeat % max(1, len(ways))  # the first of them wakes the process
            for way in ways[first:] + ways[:first]:
                for number, kept in enumerate(seconds[way]):
                    query = self._queries[number : number + 1]
                    start = time.perf_counter()
                    call(way, query, value, n_threads)
                    kept.append(time.perf_counter() - start)
        return {way: [median(kept) for kept in times] for way, times in seconds.items()}

    def lists(self, way: str) -> tuple[Array, Array]:
        """Give (lims, distances) of the last batch."""
        lims, distances = self._held.lists(self._found[way])
        return lims, np.asarray(distances, np.int32)

    def stats(self, way: str) -> dict[str, Any]:
        """Give what hashdb says of the last batch."""
        return ours.stats(self._found[way])

    def differing(self) -> str | None:
        """Name a way of hashdb whose last batch differs from the scan's in any id or distance, None where all agree."""
        lims, ids, distances = ours.with_ids(self._found["scan"])
        for way, found in self._found.items():
            its_lims, its_ids, its_distances = ours.with_ids(found)
            shared = min(len(lims), len(its_lims))
            last = int(lims[shared - 1])
            if not (
                np.array_equal(lims[:shared], its_lims[:shared])
                and np.array_equal(ids[:last], its_ids[:last])
                and np.array_equal(distances[:last], its_distances[:last])
            ):
                return way
        return None

    def _call(self, question: Question) -> Any:
        return self._held.knn if question.kind == "k" else self._held.radius
