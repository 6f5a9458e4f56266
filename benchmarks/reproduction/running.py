"""Runs ``hashdb eval`` as a child, watches its memory, and keeps of its results what the page needs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.reproduction.experiments import EXPERIMENTS, Experiment

RESULTS = Path(__file__).parent / "results"
_KEYS = ("method", "quantiser", "bits", "query", "database", "database_codes")
_PACE = 0.2  # seconds between two looks at the memory
_DIGITS = 5


def run(name: str, work: Path, jobs: int = 2) -> None:
    """Measure what an experiment still lacks, and keep its results."""
    experiment, folder = EXPERIMENTS[name], work / name
    arguments, kept = experiment.arguments, folder / "measured.json"
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"arguments": None, "parts": []}
    if before["arguments"] != arguments:
        part = watched(
            [sys.executable, "-m", "hashdb", "eval", *arguments, "--output", str(folder), "--jobs", str(jobs)]
        )
        before = {"arguments": arguments, "parts": [*before["parts"], part]}
        kept.write_text(json.dumps(before), encoding="utf-8")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    write(name, {**compact(results, experiment), "measured": {**together(before["parts"]), "jobs": jobs}})


def write(name: str, results: dict[str, Any]) -> None:
    """Keep results, a line a cell."""
    RESULTS.mkdir(exist_ok=True)
    cells = ",\n".join(json.dumps(cell) for cell in results.get("cells", []))
    rest = {key: value for key, value in results.items() if key != "cells"}
    text = json.dumps({"machine": machine(), **rest})[:-1] + f', "cells": [\n{cells}\n]}}\n'
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """Read what :func:`write` kept."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def compact(results: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Leave out curves, galleries, and measures that the page does not show."""
    cells = []
    for cell in results["cells"]:
        summary = {name: _rounded(cell["summary"][name]) for name in experiment.metrics if name in cell["summary"]}
        runs = [
            {name: _rounded(run["metrics"][name]) for name in experiment.metrics if name in run["metrics"]}
            for run in cell["runs"]
        ]
        cells.append({**{key: cell[key] for key in _KEYS}, "summary": summary, "runs": runs})
    protocol = {name: value for name, value in results["protocol"].items() if name != "methods"}
    return {
        "made": results["made"],
        "hashdb": results["hashdb"],
        "command": "hashdb eval " + " ".join(experiment.arguments),
        "protocol": protocol,
        "cells": cells,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command; give its wall time, its processor time and the most memory that it and its children held at once.

    Raises
    ------
    SystemExit
        The command failed.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(command) as child:
        peak: list[int] = [0]
        watcher = threading.Thread(target=_watch, args=(child, peak), daemon=True)
        watcher.start()
        code = child.wait()
    seconds = time.perf_counter() - start
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_bytes": peak[0]}


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the parts of an experiment that stopped and went on."""
    return {
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "cpu_seconds": round(sum(part["cpu_seconds"] for part in parts), 1),
        "peak_bytes": max((part["peak_bytes"] for part in parts), default=0),
    }


def _watch(child: subprocess.Popen[bytes], peak: list[int]) -> None:
    while child.poll() is None:
        peak[0] = max(peak[0], held_by(child.pid))
        time.sleep(_PACE)


def held_by(pid: int) -> int:
    """Sum the resident memory of a process and its descendants, what they share counted for each; 0 without /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = {child for task in tasks for child in (task / "children").read_text(encoding="ascii").split()}
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(held_by(int(child)) for child in children)
