"""Finished cells, each a file in the folder of ``--work``, so that a run goes on where the last one stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from benchmarks.common import machine


class Named(Protocol):
    """What a cell has: a name for its file, and the facts by which ``--only`` chooses."""

    @property
    def name(self) -> str:
        """Name of the cell's file."""

    @property
    def facts(self) -> dict[str, str]:
        """What ``--only`` compares."""


def run(
    folder: Path,
    cells: Iterable[Any],
    only: Mapping[str, str],
    measure: Callable[[Any], dict[str, Any]],
    say: Callable[[dict[str, Any]], str],
) -> None:
    """Measure every cell that is chosen and not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        file = folder / f"{cell.name}.json"
        if chosen(cell, only) and not file.exists():
            measured = measure(cell)
            file.write_text(json.dumps(measured), encoding="utf-8")
            print(f"{cell.name}: {say(measured)}", file=sys.stderr)


def chosen(cell: Named, only: Mapping[str, str]) -> bool:
    """Tell whether a cell is among those asked for, such as ``method=itq,bits=32``."""
    facts = cell.facts
    return all(facts[name] == value for name, value in only.items())


def gather(folder: Path, cells: Iterable[Named], target: Path) -> None:
    """Write the cells that are there, in the order given, into one file."""
    order = [folder / f"{cell.name}.json" for cell in cells]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in order if file.exists()]
    lines = ",\n".join(json.dumps(cell) for cell in found)
    target.write_text(f'{{"machine": {json.dumps(machine())}, "cells": [\n{lines}\n]}}\n', encoding="utf-8")


def read(file: Path) -> list[dict[str, Any]]:
    """Read the cells that :func:`gather` wrote, none where there is no file."""
    if not file.exists():
        return []
    cells: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return cells
