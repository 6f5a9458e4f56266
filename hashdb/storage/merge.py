"""Merging columns of ascending keys window by window, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hashdb.errors import CorruptIndexError
from hashdb.storage.ids import IdColumn, to_users


@dataclass(frozen=True)
class Source:
    """One input of a merge.

    Attributes
    ----------
    ids : callable
        Gives the column of ascending ids; asked anew each time, so that no mapping is held on to.
    n : int
        Rows.
    alive : callable
        Tells which of the rows start..stop-1 are not deleted; None for all.
    """

    ids: Callable[[], IdColumn]
    n: int
    alive: Callable[[int, int], np.ndarray | None]


@dataclass(frozen=True)
class Part:
    """Rows of one source that fall into a window, ascending."""

    source: int
    rows: np.ndarray


@dataclass(frozen=True)
class Window:
    """The next rows of a merge.

    Attributes
    ----------
    keys : ndarray
        Keys in ascending order.
    parts : list of Part
        Where the rows come from.
    order : ndarray of int64 or None
        Permutation that puts the concatenated parts into key order; None where they are.
    """

    keys: np.ndarray
    parts: list[Part]
    order: np.ndarray | None


def merge_windows(sources: list[Source], batch: int) -> Iterator[Window]:
    """Merge sources by key.

    Every window takes from each source the rows up to one bound, the smallest of the keys that the sources reach with
    an equal share of the batch. So at least one source gives its whole share, no window exceeds the batch, and what
    comes later is larger. Only contiguous rows are read.

    Parameters
    ----------
    sources : list of Source
        Inputs; keys of rows that are alive are unique over all of them.
    batch : int
        Rows of a window at most (one for each source where it is smaller).

    Yields
    ------
    Window
        Windows that are not empty.
    """
    starts = [0] * len(sources)
    while active := [i for i, source in enumerate(sources) if starts[i] < source.n]:
        share = max(1, batch // len(active))
        stops = {i: min(starts[i] + share, sources[i].n) for i in active}
        last = {i: sources[i].ids().keys(stops[i] - 1, stops[i])[0] for i in active}
        owner = min(active, key=lambda i: last[i])
        bound = last[owner]
        parts: list[Part] = []
        keys: list[np.ndarray] = []
        for i in active:
            if i != owner and sources[i].ids().keys(starts[i], starts[i] + 1)[0] > bound:
                continue
            part_keys = sources[i].ids().keys(starts[i], stops[i])
            taken = int(np.searchsorted(part_keys, bound, side="right"))
            rows = np.arange(starts[i], starts[i] + taken)
            alive = sources[i].alive(starts[i], starts[i] + taken)
            # Damaged ids may be out of order: the owner's step of at least one row ends every merge.
            starts[i] += max(1, taken)
            part_keys = part_keys[:taken]
            if alive is not None:
                rows, part_keys = rows[alive], part_keys[alive]
            if len(rows):
                parts.append(Part(i, rows))
                keys.append(part_keys)
        if parts:
            yield _ordered(parts, keys)


def _ordered(parts: list[Part], keys: list[np.ndarray]) -> Window:
    if len(parts) == 1:
        return Window(keys[0], parts, None)
    joined = np.concatenate(keys)
    order = np.argsort(joined, kind="stable")
    merged = joined[order]
    twice = np.flatnonzero(merged[1:] == merged[:-1])
    if len(twice):
        raise CorruptIndexError(
            f"cannot merge segments: {to_users(merged[twice[:1]]).tolist()[0]!r:.80} is the id of rows in two of them"
        )
    return Window(merged, parts, order)
