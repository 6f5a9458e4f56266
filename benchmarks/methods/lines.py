"""The measured line of a method, from the cells that are kept in ``results.json``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.common import table
from benchmarks.methods import kept
from benchmarks.methods.cells import BITS, QUANTISERS

RESULTS = Path(__file__).parent / "results.json"
HEAD = ("method", "trained on", *(f"{bits} bits" for bits in BITS), *(f"{bits}, tie-aware" for bits in BITS))


def measured(name: str) -> str:
    """Give the table of a method or quantiser as Markdown, empty where nothing was measured."""
    cells = [cell for cell in results() if name in (cell["method"], cell["quantiser"])]
    one_bit = [cell for cell in cells if cell["quantiser"] == "sbq"]
    rows = quantised(cells) if name in QUANTISERS else by_method(one_bit)
    if not rows:
        return ""
    return (
        "Mean average precision over the whole ranking, CIFAR-10, GIST descriptors of 512 dimensions: 1,000 queries, "
        "100 of each class, against the other 59,000 images; mean ± standard deviation over the seeds.\n\n"
        + table(HEAD, rows)
    )


@cache
def results() -> list[dict[str, Any]]:
    """Read the kept cells."""
    return kept.read(RESULTS)


def by_method(cells: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Lay out one row a method and training set, in the order of the cells."""
    rows = []
    for (method, trained), found in grouped(cells, lambda cell: (cell["method"], _trained(cell))).items():
        rows.append((f"`{method}`", trained, *_values(found)))
        if "learned_map" in found[0]:
            rows.append((f"`{method}`", f"{trained}; learned codes", *_values(found, "learned_")))
    return rows


def quantised(cells: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Lay out one row a method and quantiser."""
    return [
        (f"`{method}` + `{quantiser}`", trained, *_values(found))
        for (method, quantiser, trained), found in grouped(
            cells, lambda cell: (cell["method"], cell["quantiser"], _trained(cell))
        ).items()
    ]


def grouped(cells: list[dict[str, Any]], key: Any) -> dict[Any, list[dict[str, Any]]]:
    """Put the cells of one key together, keys in the order in which they come."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def _trained(cell: dict[str, Any]) -> str:
    return "all 59,000" if cell["n_training"] is None else f"{cell['n_training']:,}"


def _values(cells: list[dict[str, Any]], prefix: str = "") -> list[str]:
    return [
        spread([cell[prefix + measure] for cell in cells if cell["n_bits"] == bits])
        for measure in ("map_by_order", "map")
        for bits in BITS
    ]


def spread(values: list[float]) -> str:
    """Write the mean and the standard deviation."""
    if not values:
        return "–"
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{mean(values):.3f}"
