"""The cells of the comparison: which data set, method, width and seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.crossmodal.sets import SETS
from hashdb.describing import describe_plugin, describe_plugins

BITS = (16, 32, 64)
ONLY_PAIRS = "pairs only"
VARIANTS = {"cvh": {"neighbours": {"graph": "neighbours"}}, "scm": {"orthogonal": {"solution": "orthogonal"}}}
SEEDS = {"wiki10": 5, "wiki1000": 5}  # of the others 2


@dataclass(frozen=True)
class Cell:
    """One model on one data set.

    Attributes
    ----------
    data, method : str
    n_bits, seed : int
    variant : str
        Empty for the method as it is by default, with labels if it takes some.
    """

    data: str
    method: str
    n_bits: int
    seed: int
    variant: str = ""

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        which = f"+{self.variant.replace(' ', '_')}" if self.variant else ""
        return f"{self.data}-{self.method}{which}-{self.n_bits}-{self.seed}"

    @property
    def facts(self) -> dict[str, str]:
        """What ``--only`` compares."""
        return {"data": self.data, "method": self.method, "bits": str(self.n_bits), "seed": str(self.seed)}

    @property
    def takes_labels(self) -> bool:
        """Whether it learns from labels."""
        return "labels" in supervision(self.method) and self.variant != ONLY_PAIRS

    @property
    def params(self) -> dict[str, Any]:
        """Params other than the defaults."""
        return dict(VARIANTS.get(self.method, {}).get(self.variant, {}))


@cache
def methods() -> tuple[str, ...]:
    """Name the cross-modal methods that are ours, the oldest paper first."""
    found = [entry for entry in describe_plugins()[0] if entry["group"] == "cross-modal"]
    ours = [entry for entry in found if entry["distribution"] == "hashdb"]
    return tuple(entry["name"] for entry in sorted(ours, key=lambda entry: (entry["paper"][-5:], entry["name"])))


def supervision(method: str) -> str:
    """Say what a method learns from."""
    return str(describe_plugin(method)["supervision"])


def variants(method: str) -> list[str]:
    """Name the ways in which a method is tried."""
    optional = [ONLY_PAIRS] if "optional" in supervision(method) else []
    return ["", *optional, *VARIANTS.get(method, {})]


def grid(folder: Path) -> Iterator[Cell]:
    """Give every cell; a method whose first two seeds learned the same is not random, and has no others."""
    for data in SETS:
        for method in methods():
            for variant, n_bits in product(variants(method), BITS):
                cells = [Cell(data, method, n_bits, seed, variant) for seed in range(SEEDS.get(data, 2))]
                yield from cells[:2]
                if len({_learned(folder, cell) for cell in cells[:2]} - {""}) != 1:
                    yield from cells[2:]


def _learned(folder: Path, cell: Cell) -> str:
    file = folder / f"{cell.name}.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["state"]) if file.exists() else ""
