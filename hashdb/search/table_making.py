"""Making bucket tables: rows and codes of a segment sorted by each substring, in bounded memory on all threads.

Each table is made in passes over the codes, a range of buckets a pass, so that what a pass moves fits its share of
memory; passes run side by side and hand their results on in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hashdb.search import threads
from hashdb.search.layouts import DEFAULT_BUDGET, Layout, check_budget, choose_layout, directory_bits
from hashdb.search.substrings import assign_bits, contributions_of, correlation_rows, correlations, sample_rows
from hashdb.search.tables import are_sound

Codes = NDArray[np.uint64]
Progress = Callable[[int, int], None]
PASS_BYTES = 1 << 30  # that one pass holds at most, unless one partition needs more
_PARTITION_BITS = 11  # partitions that are written to at once: more of them miss the caches
_PASSES_AHEAD = 2  # of one that is still under way that others may be
_CALL_ROWS = 1 << 22  # of a kernel call: some hundredths of a second
_NEAR = (1, 10, 100, 1000)  # neighbours whose distance is measured
_NEAR_ROWS = 48  # codes that it is measured for
_OCCUPANCY_RADII = 4
_OCCUPANCY_ROWS = 64
_OCCUPANCY_PROBES = 100_000  # look-ups that measuring one table may take


class Sink(Protocol):
    """Takes the arrays of one table, piece by piece."""

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append to the array of that name."""

    def finish(self, description: dict[str, Any]) -> None:
        """Complete the table."""


class TableMaker:
    """Makes the tables of segments, as the storage asks for them.

    Parameters
    ----------
    budget : float, optional
        Bytes a code that all tables of a segment may take together; 0 for none. Default ``DEFAULT_BUDGET``.
    replace : bool
        Whether tables of another shape than the budget gives are to be replaced.

    Examples
    --------
    >>> TableMaker().wants(1000, 64, None)  # so few are scanned
    False
    """

    def __init__(self, budget: float | None = None, *, replace: bool = False) -> None:
        self.budget = DEFAULT_BUDGET if budget is None else check_budget(budget)
        self.replace = replace

    def wants(self, n: int, n_bits: int, present: list[dict[str, Any]] | None) -> bool:
        """Tell whether a segment should get tables, given the descriptions of those it has (None: none of use)."""
        layout = choose_layout(n, n_bits, self.budget)
        if layout is None or not present or not are_sound(present, n_bits):
            return layout is not None
        return self.replace and (layout.n_substrings, layout.name) != (len(present), present[0]["layout"])

    def drops(self, n: int, n_bits: int) -> bool:
        """Tell whether a segment should lose the tables that it has, for none fit the budget."""
        return self.replace and choose_layout(n, n_bits, self.budget) is None

    def make(
        self,
        blocks: Sequence[Codes],
        n_bits: int,
        begin: Callable[[int], Sink],
        progress: Progress | None = None,
    ) -> None:
        """Make the tables of a segment.

        Parameters
        ----------
        blocks : sequence of ndarray of uint64, shape (m, n_words)
            Codes of consecutive rows.
        n_bits : int
        begin : callable
            Gives the sink of each substring.
        progress : callable, optional
            Called with (passes done, passes in all).
        """
        layout = choose_layout(sum(map(len, blocks)), n_bits, self.budget)
        if layout is not None:
            make_tables(blocks, n_bits, layout, begin, progress=progress)


def make_tables(
    blocks: Sequence[Codes],
    n_bits: int,
    layout: Layout,
    begin: Callable[[int], Sink],
    *,
    n_threads: int | None = None,
    pass_bytes: int = PASS_BYTES,
    progress: Progress | None = None,
) -> None:
    """Make tables of a given layout; see :class:`TableMaker`.

    Notes
    -----
    O(n) a table: two moves of every row. Memory: ``pass_bytes`` a thread, twice where a pass waits for an earlier one.
    """
    blocks = [np.require(block, requirements=("C", "A")) for block in blocks]
    n = sum(map(len, blocks))
    n_threads = threads.check_n_threads(n_threads)
    correlated = correlations(sample_rows(blocks, correlation_rows(n_bits)), n_bits)
    near = measure_near(blocks, n_bits, n_threads)
    scratch = _Scratch(blocks[0].shape[1] if layout.wide else 0)
    tables = [
        _Table(t, blocks, bits, layout, directory_bits(len(bits), n), near, scratch, begin(t))
        for t, bits in enumerate(assign_bits(correlated, layout.n_substrings))
    ]
    threads.run([table.count for table in tables], n_threads)
    passes = [one for table in tables for one in table.passes(pass_bytes)]
    scratch.n_rows = max(table.largest for table in tables)
    done = _Counter(len(passes), progress)

    def run(one: Callable[[], None]) -> None:
        one()
        done.add()

    threads.run([partial(run, one) for one in passes], n_threads)


def measure_near(blocks: Sequence[Codes], n_bits: int, n_threads: int) -> list[list[int]]:
    """Measure how far the neighbours of a segment's codes are.

    Returns
    -------
    list of [k, distance]
        Median distance of the k-th other code from each of some, for some k.
    """
    from hashdb.search import kernel_scan

    n = sum(map(len, blocks))
    queries = sample_rows(blocks, _NEAR_ROWS)
    limits = np.full(len(queries), n_bits + 1)
    most = min(n, max(_NEAR) + 1)
    distances = kernel_scan.knn(blocks, queries, most, n_bits, None, limits, n_threads)[1]
    # Each code finds itself first.
    return [[k, int(np.median(distances[:, k]))] for k in _NEAR if k < most]


@dataclass
class _Counter:
    total: int
    progress: Progress | None
    n: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self) -> None:
        with self.lock:
            self.n += 1
            if self.progress is not None:
                self.progress(self.n, self.total)


class _Scratch:
    """Memory that passes move rows to, used again by the next one: the system takes as long to give it as a pass."""

    def __init__(self, n_words: int) -> None:
        self.n_words = n_words
        self.n_rows = 0
        self._free: list[tuple[NDArray[np.uint64], Codes]] = []

    @contextmanager
    def lent(self, n_rows: int) -> Iterator[tuple[NDArray[np.uint64], Codes]]:
        """Lend room for the entries and the codes of so many rows."""
        try:
            held = self._free.pop()
        except IndexError:
            held = np.empty(self.n_rows, np.uint64), np.empty((self.n_rows, self.n_words), np.uint64)
        yield held[0][:n_rows], held[1][:n_rows]
        self._free.append(held)


@dataclass
class _Table:
    """One table being made."""

    number: int
    blocks: Sequence[Codes]
    bits: NDArray[np.int64]
    layout: Layout
    n_directory_bits: int
    near: list[list[int]]
    scratch: _Scratch
    sink: Sink
    _waiting: dict[int, tuple[NDArray[Any], ...]] = field(default_factory=dict)
    _next: int = 0
    _written: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.places, self.contributions = contributions_of(self.bits)
        hashed = self.n_directory_bits < len(self.bits)
        self.hash_shift = 64 - self.n_directory_bits if hashed else 0
        self.low_bits = max(0, self.n_directory_bits - _PARTITION_BITS)
        self.counts = np.zeros(1 << (self.n_directory_bits - self.low_bits), np.int64)
        self._offsets: NDArray[np.uint32] | None = None
        self.n = sum(map(len, self.blocks))

    def count(self) -> None:
        """Count the rows of each partition."""
        from hashdb.search.kernels import partition

        for block, start, stop, _ in self._calls():
            partition.count_partitions(
                block, start, stop, self.places, self.contributions, self.hash_shift, self.low_bits, self.counts
            )

    def passes(self, pass_bytes: int) -> Iterator[Callable[[], None]]:
        """Give the passes that make the table."""
        row_bytes = 2 * (8 + 8 * self.blocks[0].shape[1] * self.layout.wide)
        room = max(1, pass_bytes // row_bytes)
        cuts, held = [0], 0
        for part, count in enumerate(self.counts.tolist()):
            if held and held + count > room:
                cuts.append(part)
                held = 0
            held += count
        cuts.append(len(self.counts))
        self._n_passes = len(cuts) - 1
        self.largest = max(int(self.counts[start:stop].sum()) for start, stop in pairwise(cuts))
        for number in range(self._n_passes):
            yield partial(self._run, number, cuts[number], cuts[number + 1])

    def _run(self, number: int, first: int, last: int) -> None:
        from hashdb.search.kernels import partition

        with self._written:
            # What an earlier pass holds up is held in memory: not too much of it.
            while number > self._next + _PASSES_AHEAD:
                threads.checkpoint()
                self._written.wait(0.1)
            if self._offsets is None:
                self._offsets = np.empty((1 << self.n_directory_bits) + 1, np.uint32)
        counts = self.counts[first:last]
        ends = np.cumsum(counts)
        size, n_words = int(ends[-1]), self.blocks[0].shape[1]
        before = int(self.counts[:first].sum())
        next_free = ends - counts
        rows, codes = np.empty(size, np.uint32), np.empty((size if self.layout.wide else 0, n_words), np.uint64)
        with self.scratch.lent(size) as (entries, room):
            moved = room if self.layout.wide else codes
            for block, start, stop, first_row in self._calls():
                partition.scatter(
                    block, start, stop, first_row, self.places, self.contributions, self.hash_shift, self.low_bits,
                    first, last, next_free, entries, moved,
                )  # fmt: skip
            offsets = self._offsets[first << self.low_bits : last << self.low_bits]
            partition.sort_partitions(entries, moved, ends, self.low_bits, before, offsets, rows, codes)
        self._hand_on(number, rows, codes)

    def _hand_on(self, number: int, rows: NDArray[np.uint32], codes: Codes) -> None:
        """Write what a pass made once all passes before it are written."""
        with self._written:
            self._waiting[number] = (rows, codes)
            while self._next in self._waiting:
                rows, codes = self._waiting.pop(self._next)
                self.sink.append("rows", rows)
                if self.layout.wide:
                    self.sink.append("codes", codes)
                self._next += 1
            self._written.notify_all()
            if self._next == self._n_passes and self._offsets is not None:
                self._finish(self._offsets)
                self._offsets = None

    def _finish(self, offsets: NDArray[np.uint32]) -> None:
        offsets[-1] = self.n
        self.sink.append("offsets", offsets)
        self.sink.finish(
            {
                "bits": self.bits.tolist(),
                "layout": self.layout.name,
                "directory": "hashed" if self.hash_shift else "direct",
                "directory_bits": self.n_directory_bits,
                "occupancy": self._occupancy(offsets),
                "near": self.near,
            }
        )

    def _occupancy(self, offsets: NDArray[np.uint32]) -> list[float]:
        """Measure how many codes the buckets hold that a typical query like the codes themselves looks into.

        The median: a few buckets that hold very much would hide what is usual, and a query that meets them notices.
        """
        from hashdb.search.kernels import partition

        width = len(self.bits)
        n_probes = 1 + width + width * (width - 1) // 2 + width * (width - 1) * (width - 2) // 6
        sample = sample_rows(self.blocks, max(4, min(_OCCUPANCY_ROWS, _OCCUPANCY_PROBES // n_probes)))
        keys = np.empty((len(sample), 1), np.uint64)
        partition.cut(sample, np.array([len(self.places)]), self.places, self.contributions, keys)
        occupancy = np.empty((len(keys), min(_OCCUPANCY_RADII, width + 1)))
        partition.measure_occupancy(offsets, keys.reshape(-1), width, self.hash_shift, occupancy)
        return [round(float(held), 3) for held in np.median(occupancy, axis=0)]

    def _calls(self) -> Iterator[tuple[Codes, int, int, int]]:
        """Cut the segment into kernel calls: block, start and stop in it, and the row of its first code."""
        first_row = 0
        for block in self.blocks:
            for start in range(0, len(block), _CALL_ROWS):
                threads.checkpoint()
                yield block, start, min(start + _CALL_ROWS, len(block)), first_row
            first_row += len(block)
