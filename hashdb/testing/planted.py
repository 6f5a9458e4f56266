"""Data for checks: planted clusters, degenerate rows, and rows that lie on thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.hookspecs import MethodInfo

N_CLUSTERS = 4
_DIMS = {"left": 24, "right": 20}
_SPREAD = 4.0
_FLIP = 0.1


@dataclass(frozen=True)
class Data:
    """Rows for a method.

    Attributes
    ----------
    rows : dict of str to ndarray
        float32 (n, dim) by modality, the key "" for methods of one; bool for methods of bits.
    clusters : ndarray of int64, shape (n,)
    """

    rows: dict[str, NDArray[Any]]
    clusters: NDArray[np.int64]

    @property
    def vectors(self) -> Any:
        """Rows as ``fit`` takes them."""
        return self.rows.get("", self.rows)

    def part(self, chosen: Any) -> Data:
        """Take some rows."""
        return Data({name: rows[chosen] for name, rows in self.rows.items()}, self.clusters[chosen])

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Data:
        """Change the rows of every modality."""
        return Data({name: change(rows.copy()) for name, rows in self.rows.items()}, self.clusters)

    def copy(self) -> Data:
        """Copy every array."""
        return Data({name: rows.copy() for name, rows in self.rows.items()}, self.clusters.copy())


def planted(info: MethodInfo, n_bits: int, n_rows: int, seed: int, dim: int | None = None) -> Data:
    """Make well separated clusters that lie off the origin, each modality with its own centres.

    Parameters
    ----------
    info : MethodInfo
        Decides modalities, or bits.
    n_bits : int
        Width of rows of bits.
    n_rows : int
    seed : int
    dim : int, optional
        Columns of a row, 24 unless given (and 20 in the second modality).
    """
    rng = np.random.default_rng([seed, 20_040])
    clusters = rng.permutation(np.arange(n_rows) % N_CLUSTERS).astype(np.int64)
    if info.input == "bits":
        codes = rng.random((N_CLUSTERS, n_bits)) < 0.5
        return Data({"": codes[clusters] ^ (rng.random((n_rows, n_bits)) < _FLIP)}, clusters)
    rows = {}
    for name, width in _DIMS.items() if info.is_paired else [("", _DIMS["left"])]:
        width = dim or width
        centres = _SPREAD * rng.standard_normal((N_CLUSTERS, width)) + 3.0
        noise = rng.standard_normal((n_rows, width))
        rows[name] = (centres[clusters] + noise).astype(np.float32)
    return Data(rows, clusters)


def degenerate(info: MethodInfo, n_bits: int, seed: int) -> dict[str, Data]:
    """Make data that break careless mathematics, by what is wrong with them."""
    if info.input == "bits":
        return {"one row": planted(info, n_bits, 1, seed)}
    base = planted(info, n_bits, 600, seed)

    def constant_column(rows: NDArray[Any]) -> NDArray[Any]:
        rows[:, 0] = 7
        return rows

    def equal_columns(rows: NDArray[Any]) -> NDArray[Any]:
        rows[:, 1] = rows[:, 0]
        return rows

    return {
        "a constant column": base.changed(constant_column),
        "two equal columns": base.changed(equal_columns),
        "every row twice": base.part(np.repeat(np.arange(300), 2)),
        "all rows equal": base.part(np.zeros(600, np.int64)),
        "all zeros": base.changed(np.zeros_like),
        "values of 1e18": base.changed(lambda rows: (rows * 1e18).astype(np.float32)),
        "values of 1e-18": base.changed(lambda rows: (rows * 1e-18).astype(np.float32)),
        "fewer rows than bits": base.part(slice(0, max(2, n_bits // 2))),
        "one row": base.part(slice(0, 1)),
        "fewer dimensions than bits": planted(info, n_bits, 600, seed, dim=max(1, n_bits // 2)),
        "one dimension": planted(info, n_bits, 600, seed, dim=1),
    }


def at_thresholds(
    bits_of: Callable[[NDArray[np.float32]], NDArray[np.bool_]], rows: NDArray[np.float32], n_pairs: int, seed: int
) -> NDArray[np.float32]:
    """Find rows between which a bit changes, as close together as float32 allows, by bisection.

    Parameters
    ----------
    bits_of : callable
        Rows to bool (n, n_bits).
    rows : ndarray of float32, shape (n, dim)
        Where to start from.
    n_pairs : int
    seed : int

    Returns
    -------
    ndarray of float32, shape (2 * n_pairs, dim) or fewer rows
        On both sides of thresholds; the rows given where no bit differs among them.
    """
    rng = np.random.default_rng([seed, 20_041])
    low, high = rows[rng.integers(0, len(rows), n_pairs)], rows[rng.integers(0, len(rows), n_pairs)]
    differ = bits_of(low) != bits_of(high)
    kept = differ.any(axis=1)
    if not kept.any():
        return rows[:n_pairs]
    low, high, differ = low[kept], high[kept], differ[kept]
    chosen = np.argmax(differ * rng.random(differ.shape), axis=1)
    below = bits_of(low)[np.arange(len(low)), chosen]
    for _ in range(40):
        middle = ((low.astype(np.float64) + high) / 2).astype(np.float32)
        if ((middle == low) | (middle == high)).all():
            break
        same = bits_of(middle)[np.arange(len(low)), chosen] == below
        low, high = np.where(same[:, None], middle, low), np.where(same[:, None], high, middle)
    return np.ascontiguousarray(np.vstack([low, high]))
