"""Looks up the kept cells of an experiment."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import Any

from benchmarks.methods.lines import spread
from benchmarks.reproduction.running import read

Cell = dict[str, Any]


class Cells:
    """The cells of one or several experiments.

    Parameters
    ----------
    names : iterable of str
    """

    def __init__(self, *names: str) -> None:
        self.results = [read(name) for name in names]
        self.all: list[Cell] = [cell for results in self.results for cell in results["cells"]]

    def where(self, **facts: Any) -> list[Cell]:
        """Give the cells that have these facts; ``scheme`` is METHOD or METHOD+QUANTISER."""
        return [cell for cell in self.all if all(_fact(cell, name) == value for name, value in facts.items())]

    def one(self, **facts: Any) -> Cell:
        """Give the only cell that has these facts.

        Raises
        ------
        LookupError
            There is none, or more than one.
        """
        found = self.where(**facts)
        if len(found) != 1:
            raise LookupError(f"{len(found)} cells have {facts}, expected one")
        return found[0]

    def mean(self, metric: str, **facts: Any) -> float:
        """Give the mean over runs."""
        return float(self.one(**facts)["summary"][metric]["mean"])

    def spread(self, metric: str, **facts: Any) -> str:
        """Write mean and standard deviation."""
        return spread(self.values(metric, **facts))

    def values(self, metric: str, **facts: Any) -> list[float]:
        """Give the value of each run."""
        return [float(run[metric]) for run in self.one(**facts)["runs"]]

    def schemes(self) -> list[str]:
        """Name methods with their quantisers, in the order measured."""
        return list(dict.fromkeys(scheme(cell) for cell in self.all))


def scheme(cell: Cell) -> str:
    """Write METHOD or METHOD+QUANTISER."""
    return cell["method"] if cell.get("quantiser") is None else f"{cell['method']}+{cell['quantiser']}"


def difference(values: Iterable[float], others: Iterable[float]) -> str:
    """Write the mean and the standard deviation of paired differences, with their sign."""
    pairs = [one - other for one, other in zip(values, others, strict=True)]
    text = spread(pairs)
    return text if mean(pairs) < 0 else f"+{text}"


def _fact(cell: Cell, name: str) -> Any:
    return scheme(cell) if name == "scheme" else cell.get(name)
