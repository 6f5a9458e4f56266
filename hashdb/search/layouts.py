"""The shape of bucket tables: how many substrings, which layout, how buckets are numbered; within a budget of bytes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError, brief
from hashdb.search import costs
from hashdb.search.substrings import MAX_WIDTH

MIN_ROWS = 1 << 16  # of a segment with tables: a scan of fewer takes some microseconds a query
MAX_SUBSTRINGS = 64
DEFAULT_BUDGET = 96.0  # bytes a code, of all tables together
_SHARE_OF_MEMORY = 0.5  # that all tables of a segment may take: probes go anywhere in them
_TYPICAL_K = 100
_NEARNESS = 0.75  # how far the k-th neighbour of a typical query is, beside one among independent bits
_CODES_A_HASH = 4  # codes that a bucket of a hashed directory holds on average, at least


@dataclass(frozen=True)
class Layout:
    """Shape of the tables of a segment.

    Attributes
    ----------
    n_substrings : int
    wide : bool
        Whether each table holds the codes beside the rows.
    """

    n_substrings: int
    wide: bool

    @property
    def name(self) -> str:
        """``wide`` or ``lean``."""
        return "wide" if self.wide else "lean"


def check_budget(budget: Any) -> float:
    """Return a budget of bytes a code as a float.

    Raises
    ------
    ArgumentError
        Not a number from 0.
    """
    # An integer may be beyond any float.
    if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 <= budget <= sys.float_info.max:
        said = brief(budget if isinstance(budget, int) else repr(budget))
        raise ArgumentError(
            f"table_budget is {said}, expected the bytes a code that bucket tables may take, 0 for no tables"
        )
    return float(budget)


def widths_of(n_bits: int, n_substrings: int) -> list[int]:
    """Share out bits evenly: the first substrings have one more where that does not come out."""
    each, more = divmod(n_bits, n_substrings)
    return [each + (t < more) for t in range(n_substrings)]


def directory_bits(width: int, n: int) -> int:
    """Choose the number of bits that number the buckets of a table.

    The substring itself where there are at most twice as many values as codes; else a hash of it, so that a bucket
    holds a few codes of several substrings: what does not belong is told by its distance.
    """
    direct = n.bit_length()
    return width if width <= direct else max(1, direct - _CODES_A_HASH.bit_length() + 1)


def bytes_per_code(layout: Layout, n: int, n_bits: int) -> float:
    """Give the size of the tables, in bytes a code."""
    n_words = (n_bits + 63) // 64
    directories = sum(4 * ((1 << directory_bits(width, n)) + 1) for width in widths_of(n_bits, layout.n_substrings))
    return layout.n_substrings * (4 + 8 * n_words * layout.wide) + directories / n


def choose_layout(n: int, n_bits: int, budget: float = DEFAULT_BUDGET, memory: int | None = None) -> Layout | None:
    """Choose the layout that answers a typical query soonest within the budget.

    Parameters
    ----------
    n : int
        Codes of the segment.
    n_bits : int
    budget : float
        Bytes a code.
    memory : int, optional
        Bytes of main memory, of which tables take half at most; default: this machine's.

    Returns
    -------
    Layout or None
        None where no tables fit or the segment is small.

    Notes
    -----
    The paper takes n_bits / log2(n) substrings, for it finds a bucket as costly as a code. Here a code that lies beside
    its neighbours costs a thirtieth of finding a bucket, so that buckets of about a hundred codes are best, which
    leaves n_bits / (log2(n) - 7) substrings, more or less.

    Examples
    --------
    >>> choose_layout(10_000_000, 64, memory=2**34)
    Layout(n_substrings=4, wide=True)
    """
    if n < MIN_ROWS:
        return None
    most = min(budget, _SHARE_OF_MEMORY * (_memory() if memory is None else memory) / n)
    fewest = -(-n_bits // MAX_WIDTH)
    choices = [Layout(m, wide) for m in range(fewest, min(MAX_SUBSTRINGS, n_bits) + 1) for wide in (True, False)]
    fitting = [layout for layout in choices if bytes_per_code(layout, n, n_bits) <= most]
    return min(fitting, key=lambda layout: _typical_cost(layout, n, n_bits), default=None)


def _typical_cost(layout: Layout, n: int, n_bits: int) -> float:
    widths = widths_of(n_bits, layout.n_substrings)
    held = np.array([[n / (1 << directory_bits(width, n))] for width in widths])
    distance = int(_NEARNESS * costs.likely_distance(_TYPICAL_K, n, n_bits))
    return float(costs.stages(widths, held, n_bits, (n_bits + 63) // 64, layout.wide)[distance])


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
