"""What every benchmark shares: interleaved repeats, medians, tables, the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median


def interleaved(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time each call ``repeats`` times, taking turns so that noise of the machine falls on all of them alike.

    Returns
    -------
    dict
        Name to seconds of each repeat, in order; repeat i of one stands beside repeat i of the others.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # compiles, maps, warms
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median of the paired ratios ``slow / fast``."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def machine() -> str:
    """Name the machine and the versions that a figure rests on."""
    names = ("numpy", "numba", "zarr", "scikit-learn", "faiss-cpu", "usearch")
    versions = [f"{name} {_version(name)}" for name in names]
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {_memory()} GiB, Python {platform.python_version()}, {', '.join(versions)}"


def data() -> Path:
    """Folder of the real data sets."""
    folder = os.environ.get("HASHDB_DATA")
    if not folder:
        raise SystemExit("HASHDB_DATA must name the folder with the data sets; docs/contributing.md says what they are")
    return Path(folder)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    wide = any("avx512_vpopcntdq" in line for line in lines if line.startswith("flags"))
    return f"{names[0] if names else platform.machine()}{' with AVX-512 VPOPCNTDQ' if wide else ''}"


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
