"""The cells of the comparison: which method, quantiser, width, seed and training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

UNSUPERVISED = ("lsh", "sklsh", "pcah", "sh", "itq", "agh", "isohash", "sph")
SUPERVISED = ("ssh", "splh", "itq-cca", "bre", "sth", "ksh", "grh", "sdh", "fsdh", "cosdish")
QUANTISERS = ("sbq", "hq", "dbq", "mhq", "npq", "vbq")
QUANTISED = ("lsh", "pcah", "itq")  # methods that every quantiser is tried on
BITS = (16, 32, 64)
SEEDS = (0, 1, 2, 3, 4)
NEIGHBOUR_SEEDS = (0, 1, 2)

TRAINING = 5000
FEWER = {"ksh": 2000, "bre": 1000, "grh": 1000}  # the training sets of their papers, whose cost is their square
ON_ALL = {"sdh": SEEDS, "fsdh": SEEDS, "cosdish": SEEDS[:2]}  # methods that train on the whole database too


@dataclass(frozen=True)
class Cell:
    """One model on one split.

    Attributes
    ----------
    method, quantiser : str
    n_bits : int
        Information bits.
    seed : int
        Of the split and of the fit.
    n_training : int or None
        Training rows; None is every row of the database.
    """

    method: str
    quantiser: str
    n_bits: int
    seed: int
    n_training: int | None

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        trained = "all" if self.n_training is None else self.n_training
        return f"{self.method}+{self.quantiser}-{self.n_bits}-{trained}-{self.seed}"

    @property
    def facts(self) -> dict[str, str]:
        """What ``--only`` compares."""
        return {
            "method": self.method,
            "quantiser": self.quantiser,
            "bits": str(self.n_bits),
            "seed": str(self.seed),
        }


def grid() -> Iterator[Cell]:
    """Give every cell: all methods with one bit a projection, and three of them with every quantiser."""
    for seed in SEEDS:
        for n_bits in BITS:
            for method in UNSUPERVISED + SUPERVISED:
                yield Cell(method, "sbq", n_bits, seed, FEWER.get(method, TRAINING))
                if seed in ON_ALL.get(method, ()):
                    yield Cell(method, "sbq", n_bits, seed, None)
            for method in QUANTISED:
                for quantiser in QUANTISERS[1:]:
                    yield Cell(method, quantiser, n_bits, seed, TRAINING)


def quantised_grid() -> Iterator[Cell]:
    """Give the cells of the part neighbours: three methods with every quantiser."""
    for seed in NEIGHBOUR_SEEDS:
        for n_bits in BITS:
            for method in QUANTISED:
                for quantiser in QUANTISERS:
                    yield Cell(method, quantiser, n_bits, seed, TRAINING)
