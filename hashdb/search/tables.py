"""Bucket tables as the kernels take them: checked, with what the planner wants to know of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import HashDBError
from hashdb.search import costs
from hashdb.search.substrings import check_substrings, contributions_of, masks_of, sample_rows

Codes = NDArray[np.uint64]
SAMPLE_ROWS = 256  # codes that a query is compared with to guess where its neighbours are
_MET_RADII = 16  # substring radii that a forecast is made for; the last one stands for those that follow
_KS_KEPT = 64  # values of k whose likely distance is remembered
_TESTED_MOST = 32  # codes that are tested at once, where buckets hold about as few


class StoredTable(Protocol):
    """One table as the storage gives it."""

    @property
    def description(self) -> dict[str, Any]:
        """What the table is."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Offsets, rows and codes."""


class StoredTables(Protocol):
    """The tables of a segment as the storage gives them."""

    @property
    def tables(self) -> Sequence[StoredTable]:
        """One table for each substring."""

    def disable(self, reason: str) -> None:
        """Say that they cannot be used."""


@dataclass(frozen=True)
class Tables:
    """The tables of one segment; every array is read-only.

    Attributes
    ----------
    n, n_bits, n_words : int
        Rows, and width of a code.
    layout : str
        ``wide`` or ``lean``.
    widths : tuple of int
        Bits of each substring.
    masks : ndarray of uint64, shape (m, n_words)
    matrix : ndarray of int64, shape (m, N_COLUMNS)
        As the kernels take it; what it points to is kept alive by ``arrays``.
    cuts, places, contributions
        How queries are cut into substrings.
    sample : ndarray of uint64, shape (s, n_words)
    found : ndarray of float64, shape (n_radii, n_bits + 1)
        Probability that a code at a distance has been met once all buckets within a substring radius are searched.
    stages : ndarray of float64, shape (n_bits + 1,)
        Estimated cost up to and including each stage.
    near : ndarray of float64, shape (m, 2)
        Rows (k, distance of the k-th neighbour of a typical code), both ascending.
    """

    n: int
    n_bits: int
    layout: str
    widths: tuple[int, ...]
    masks: Codes
    matrix: NDArray[np.int64]
    cuts: NDArray[np.int64]
    places: NDArray[np.int64]
    contributions: NDArray[np.uint64]
    sample: Codes
    found: NDArray[np.float64]
    stages: NDArray[np.float64]
    near: NDArray[np.float64]
    arrays: list[NDArray[Any]] = field(repr=False)
    _likely: dict[int, int] = field(default_factory=dict, repr=False)

    @property
    def n_words(self) -> int:
        """Words of a code."""
        return int(self.masks.shape[1])

    @property
    def wide(self) -> bool:
        """Whether codes lie beside the rows."""
        return self.layout == "wide"

    def likely_distance(self, k: int) -> int:
        """Estimate the distance of the k-th neighbour of a query that is like the codes of the segment."""
        known = self._likely.get(k)
        if known is None:
            if len(self._likely) >= _KS_KEPT:
                self._likely.clear()
            known = self._likely[k] = self._estimated_distance(k)
        return known

    def _estimated_distance(self, k: int) -> int:
        if not len(self.near):
            return costs.likely_distance(k, self.n, self.n_bits)
        # The distance grows about as the logarithm of k, beyond what was measured too.
        ks, far = np.log(self.near[:, 0]), self.near[:, 1]
        beyond = max(0.0, math.log(max(k, 1)) - ks[-1])
        growth = (far[-1] - far[0]) / (ks[-1] - ks[0]) if len(ks) > 1 else 1.0
        return int(min(self.n_bits, round(float(np.interp(math.log(max(k, 1)), ks, far)) + beyond * growth)))

    def cut(self, queries: Codes) -> NDArray[np.uint64]:
        """Give the substrings of queries, uint64 (n_queries, m)."""
        from hashdb.search.kernels import partition

        keys = np.empty((len(queries), len(self.widths)), np.uint64)
        partition.cut(queries, self.cuts, self.places, self.contributions, keys)
        return keys


def prepare(stored: StoredTables, blocks: Sequence[Codes], n_bits: int) -> Tables | None:
    """Make the tables of a segment ready for the kernels; None, and they are disabled, where they are not sound.

    Parameters
    ----------
    stored : StoredTables
    blocks : sequence of ndarray of uint64, shape (m, n_words)
        Codes of the segment.
    n_bits : int
    """
    ready = _prepared.get(stored)
    if ready is None:
        try:
            ready = _prepared[stored] = of([(one.description, one.arrays) for one in stored.tables], blocks, n_bits)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            stored.disable(f"they do not describe the segment: {error}")
        except (HashDBError, OSError) as error:  # files that are read only now, and were removed or damaged meanwhile
            stored.disable(str(error))
    return ready


_prepared: WeakKeyDictionary[Any, Tables] = WeakKeyDictionary()


def of(
    stored: Sequence[tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]], blocks: Sequence[Codes], n_bits: int
) -> Tables:
    """Make tables from the description and the arrays of each substring.

    Raises
    ------
    ValueError, KeyError, TypeError
        They are not the tables of a segment with these codes.
    """
    n, n_words = sum(map(len, blocks)), blocks[0].shape[1]
    if any(len(block) != len(blocks[0]) for block in blocks[1:-1]) or len(blocks[-1]) > len(blocks[0]):
        raise ValueError("blocks of codes of different lengths")
    described = [dict(description) for description, _ in stored]
    substrings = check_substrings([one["bits"] for one in described], n_bits)
    (layout,) = {one["layout"] for one in described}
    if layout not in ("wide", "lean"):
        raise ValueError(f"layout {layout!r}")
    matrix, arrays = [], []
    for (description, held), bits in zip(stored, substrings, strict=True):
        row, used = _row_of(description, held, len(bits), n, n_words)
        matrix.append(row)
        arrays += used
    parts = [contributions_of(bits) for bits in substrings]
    widths = tuple(map(len, substrings))
    occupancy = _occupancy(described, n)
    sample = sample_rows(blocks, SAMPLE_ROWS)
    return Tables(
        n=n,
        n_bits=n_bits,
        layout=layout,
        widths=widths,
        masks=read_only(masks_of(substrings, n_words)),
        matrix=read_only(np.array(matrix, np.int64)),
        cuts=read_only(np.cumsum([len(places) for places, _ in parts])),
        places=read_only(np.concatenate([places for places, _ in parts])),
        contributions=read_only(np.concatenate([table for _, table in parts])),
        sample=read_only(sample),
        found=read_only(met_by(widths)),
        stages=read_only(costs.stages(widths, occupancy, n_bits, n_words, layout == "wide")),
        near=read_only(_near(described[0], n_bits)),
        arrays=arrays,
    )


def are_sound(described: Sequence[Mapping[str, Any]], n_bits: int) -> bool:
    """Tell whether descriptions are those of the tables of one segment, as far as they say so themselves."""
    try:
        check_substrings([one["bits"] for one in described], n_bits)
        return len({one["layout"] for one in described}) == 1 and described[0]["layout"] in ("wide", "lean")
    except (ValueError, KeyError, TypeError, OverflowError):
        return False


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Give a view that is not written through: the kernels take such arrays for another type."""
    view = array.view()
    view.flags.writeable = False
    return view


def address_of(array: NDArray[Any]) -> int:
    """Give the address of an array's data."""
    return int(array.__array_interface__["data"][0])


def met_by(widths: Sequence[int]) -> NDArray[np.float64]:
    """Compute the probability that a code has been met, by substring radius and distance.

    Parameters
    ----------
    widths : sequence of int
        Bits of each substring.

    Returns
    -------
    ndarray of float64, shape (at most 16, n_bits + 1)
        Row r, column d: the probability that d bits, drawn at random, leave a substring with at most r of them.
    """
    n_bits = sum(widths)
    distances = np.arange(n_bits + 1)
    # Bits that differ with probability p, given that d do, are d bits drawn at random, whatever p is: it is chosen near
    # d / n_bits, where the probabilities are not too small to be computed.
    tilts = np.array([0.02, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.98])
    nearest = np.argmin(np.abs(distances[:, None] / n_bits - tilts), axis=1)
    result = np.ones((min(n_bits // len(widths) + 2, _MET_RADII), n_bits + 1))
    for number in np.unique(nearest).tolist():
        here = nearest == number
        every = _binomial(n_bits, tilts[number])[here]
        each = {width: _binomial(width, tilts[number]) for width in set(widths)}
        for radius in range(len(result)):
            missed = np.ones(1)  # by number of bits that differ in the substrings so far, each in more than the radius
            for width in widths:
                missed = np.convolve(missed, np.where(np.arange(width + 1) > radius, each[width], 0.0))
            result[radius, here] = 1.0 - np.clip(missed[here] / every, 0.0, 1.0)
    for radius in range(len(result)):
        result[radius, : len(widths) * (radius + 1)] = 1.0  # by the pigeonhole principle, whatever rounding says
    return result


def _binomial(n: int, p: float) -> NDArray[np.float64]:
    k = np.arange(n + 1)
    logs = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k.tolist()])
    probabilities: NDArray[np.float64] = np.exp(logs + k * math.log(p) + (n - k) * math.log1p(-p))
    return probabilities


def _occupancy(described: Sequence[Mapping[str, Any]], n: int) -> NDArray[np.float64]:
    even = [[n / (1 << int(one["directory_bits"]))] for one in described]
    measured = [np.array(one.get("occupancy", held), np.float64) for one, held in zip(described, even, strict=True)]
    occupancy = np.zeros((len(measured), max(map(len, measured))))
    for t, held in enumerate(measured):
        if held.ndim != 1 or not 1 <= len(held) <= 64 or not np.isfinite(held).all() or held.min() < 0:
            raise ValueError("occupancy is not a list of numbers from 0")
        occupancy[t] = np.concatenate([held, np.full(occupancy.shape[1] - len(held), held[-1])])
    return occupancy


def _near(description: Mapping[str, Any], n_bits: int) -> NDArray[np.float64]:
    near = np.array(description.get("near", []), np.float64).reshape(-1, 2)
    if not (
        (near[:, 0] >= 1).all()
        and (np.diff(near, axis=0) >= [1, 0]).all()
        and ((near[:, 1] >= 0) & (near[:, 1] <= n_bits)).all()
    ):
        raise ValueError("near is not a list of [k, distance], both ascending")
    return near


def _row_of(
    description: Mapping[str, Any], held: Mapping[str, NDArray[Any]], width: int, n: int, n_words: int
) -> tuple[list[int], list[NDArray[Any]]]:
    """Check the arrays of one table and give its row of the matrix."""
    wide = description["layout"] == "wide"
    n_directory_bits = int(description["directory_bits"])
    hashed = description["directory"] == "hashed"
    if description["directory"] not in ("direct", "hashed") or not 1 <= n_directory_bits <= min(width, 40):
        raise ValueError("an unknown directory")
    if not hashed and n_directory_bits != width:
        raise ValueError("a direct directory of other bits than the substring's")
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "offsets": (np.uint32, ((1 << n_directory_bits) + 1,)),
        "rows": (np.uint32, (n,)),
    }
    if wide:
        expected["codes"] = (np.uint64, (n, n_words))
    used = []
    for name, (dtype, shape) in expected.items():
        array = held[name]
        if array.dtype != dtype or array.shape != shape or not (array.flags.c_contiguous and array.flags.aligned):
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, expected {shape}")
        used.append(array)
    offsets = used[0]
    if int(offsets[0]) != 0 or int(offsets[-1]) != n or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError("offsets do not ascend from 0 to the number of rows")
    addresses = [address_of(array) for array in used] + [0] * (not wide)
    average = n / (1 << n_directory_bits)
    tested = -(-int(average + 2 * math.sqrt(average) + 1) // 8) * 8
    row = [*addresses, width, 64 - n_directory_bits if hashed else 0, tested if tested <= _TESTED_MOST else 0]
    return row, used
