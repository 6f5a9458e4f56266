"""The first query: of an index that nothing has touched, and of the whole command."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import table
from benchmarks.search import data, ours
from benchmarks.search.worker import Worker, memory

HEAD = ("what", "median", "max", "repeats")


class Fresh:
    """A process that has imported and compiled everything and opened nothing."""

    def __init__(self) -> None:
        ours.warm()

    def first(self, path: Path, queries: Any, k: int, n_threads: int) -> dict[str, float]:
        """Open an index and ask two queries, the first of them cold."""
        start = time.perf_counter()
        index = hashdb.open(path)
        opened = time.perf_counter()
        index.query_codes(queries[:1], k=k, n_threads=n_threads)
        first = time.perf_counter()
        index.query_codes(queries[1:2], k=k, n_threads=n_threads)
        second = time.perf_counter()
        found = {"open": opened - start, "first": first - opened, "second": second - first}
        return found | {name: float(value) for name, value in memory().items()}


def drop(path: Path) -> float:
    """Drop the files of an index from the page cache, as far as the kernel does; give the share that stayed."""
    stayed = total = 0
    for file in (file for file in path.rglob("*") if file.is_file()):
        size = file.stat().st_size
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            stayed += _cached(opened.fileno(), size)
            total += size
    return stayed / max(1, total)


def measure(path: Path, queries: Any, k: int, n_threads: int, *, cold: bool) -> dict[str, float]:
    """Open and ask in a fresh process, with the files in the page cache or not."""
    with Worker(Fresh) as worker:
        stayed = drop(path) if cold else 1.0
        return worker.call("first", path, queries, k, n_threads) | {"cached": stayed}


def main(work: Path, n: int, n_command: int, repeats: int, n_threads: int) -> str:
    """Measure both and return the table."""
    folder = work / "cold"
    folder.mkdir(parents=True, exist_ok=True)
    large, small = (_index(work, folder, rows) for rows in (n, n_command))
    asked = data.queries("clustered", 64)
    rows = []
    for cold in (True, False):
        found = [measure(large, asked, 10, n_threads, cold=cold) for _ in range(repeats)]
        where = f"files dropped from the page cache ({found[0]['cached']:.0%} stayed)" if cold else "files cached"
        for name, what in (("open", "open"), ("first", "first query, k = 10"), ("second", "next query")):
            rows.append(_row(f"{what}, {n:,} x 64 bits, {where}", [one[name] for one in found]))
    query = folder / "query.npy"
    np.save(query, asked[:1])
    command = [sys.executable, "-m", "hashdb", "query", str(small), "--codes", str(query), "-k", "10", "--json"]
    _seconds(command)
    rows.append(_row(f"`hashdb query` of one code, whole process, {n_command:,} x 64 bits", _times(command, repeats)))
    numpy = [sys.executable, "-c", "import numpy"]
    rows.append(_row('`python -c "import numpy"`, for comparison', _times(numpy, repeats)))
    return "Kernels are cached and imports done, but for whole processes.\n\n" + table(HEAD, rows)


def _index(work: Path, folder: Path, n: int) -> Path:
    path = folder / f"{n}.hashdb"
    if not path.exists():
        codes = np.load(data.codes(work, "clustered", 64, n), mmap_mode="r")[:n]
        ours.build(path, codes, 64)
    return path


def _times(command: list[str], repeats: int) -> list[float]:
    return [_seconds(command) for _ in range(repeats)]


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def _row(what: str, seconds: list[float]) -> tuple[str, ...]:
    return what, f"{median(seconds) * 1e3:,.1f} ms", f"{max(seconds) * 1e3:,.1f} ms", str(len(seconds))


def _cached(handle: int, size: int) -> int:
    """Count the bytes of a file that are in the page cache, by ``mincore``; none where that cannot be asked."""
    if size == 0:
        return 0
    pages = -(-size // mmap.PAGESIZE)
    seen = (ctypes.c_ubyte * pages)()
    with mmap.mmap(handle, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as mapped:
        held = np.frombuffer(mapped, np.uint8)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(held.ctypes.data), ctypes.c_size_t(size), seen)
        del held
    return 0 if failed else min(size, mmap.PAGESIZE * int((np.frombuffer(seen, np.uint8) & 1).sum()))
