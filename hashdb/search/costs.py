"""What a search costs: the model behind the choice between scan and buckets, and of the layout of tables.

The unit is a nanosecond of the machine that the constants were read off: an AMD EPYC of 2023 at about 3.5 GHz with
AVX-512 VPOPCNTDQ, two cores, by ``python -m benchmarks roofline``, which fits them anew. Only their ratios decide, and
those differ little between machines; what a decision costs that turns out wrong is bounded, see
:mod:`hashdb.search.planner`. Nothing is timed at run time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# Scan: comparing a code of w words with one of many queries is arithmetic, with the only query it is memory.
COMPARE = 0.01
COMPARE_WORD = 0.062
BYTE = 0.033  # read from memory by one thread
BYTE_ALL = 0.031  # by all threads together: two of them nearly exhaust the memory
BYTE_CACHED = 0.02  # from the last cache, where comparing keeps up: codes of up to 4 words
CACHE = 24e6  # bytes that stay there
SHARED_FROM = 1 << 21  # words compared that are worth a second thread
QUERIES_AT_ONCE = 256  # that share a reading of the codes
SCAN_KEEP = 200.0  # for each of the k: more rows are kept for a while
SCAN = 65_000.0  # of a scan at all: handing out work, merging

# Buckets: finding one, and what each code in it costs, which is memory again.
PROBE = 32.0
CANDIDATE = 1.0  # wide: in one run with its neighbours, a word
CANDIDATE_WORD = 1.45  # each of several words
FOLLOWING = 0.45  # of that, for each code that follows MANY others in its bucket: memory gives them in a stream
MANY = 256
CANDIDATE_LEAN = 10.0  # lean: wherever its row is, a word
CANDIDATE_LEAN_WORDS, CANDIDATE_LEAN_WORD = 13.0, 1.8  # and several words, each
CANDIDATE_LEAN_LINE = 28.0  # each cache line of 8 words after the first
KEEP = 200.0  # for each of the k
FOUND = 90.0  # of a row within a radius: told from others, and put into order
FOUND_CACHED = 40.0  # where the codes stay in the last cache
BUCKETS = 55_000.0  # of a search at all
ALONE = 300_000.0  # estimated of a single query: what is not worth a second thread
RISK = 20_000.0  # of k-NN through buckets: it may end in the scan, and has cost about a third of a call by then
CROWDED = 0.25  # how much slower each becomes for every further thread: their cache misses share the memory


def scan(n: int, n_words: int, n_queries: int, n_threads: int, k: int = 1) -> float:
    """Estimate the time that a scan of ``n`` codes takes for each query of a batch.

    Returns
    -------
    float
        Nanoseconds.
    """
    n_queries = max(1, n_queries)
    n_threads = min(n_threads, 1 + n * n_words * n_queries // SHARED_FROM)
    size = 8.0 * n_words * n
    byte = BYTE_CACHED if size <= CACHE and n_words <= 4 else BYTE if n_threads == 1 else BYTE_ALL
    compare = n * (COMPARE + COMPARE_WORD * n_words) / n_threads
    read = size * byte / min(n_queries, QUERIES_AT_ONCE)
    # A single query is compared while the memory delivers; several wait for a block, and then for one another.
    work = max(compare, read) if n_queries == 1 else compare + read
    return work + SCAN_KEEP * k / min(n_threads, n_queries) + SCAN / n_queries


def candidates(n_words: int, wide: bool) -> tuple[float, float]:
    """Estimate the time of one of the first codes in a bucket, and of one that follows many, in nanoseconds."""
    each = candidate(n_words, wide)
    return each, each * FOLLOWING if wide else each


def candidate(n_words: int, wide: bool) -> float:
    """Estimate the time that one code in a bucket takes, in nanoseconds."""
    if wide:
        return CANDIDATE if n_words == 1 else CANDIDATE_WORD * n_words
    if n_words == 1:
        return CANDIDATE_LEAN
    return CANDIDATE_LEAN_WORDS + CANDIDATE_LEAN_WORD * n_words + CANDIDATE_LEAN_LINE * ((n_words - 1) // 8)


def found(n: int, n_words: int) -> float:
    """Estimate the time of a row within a radius, among ``n`` codes, in nanoseconds."""
    return FOUND_CACHED if 8 * n * n_words <= CACHE else FOUND


def crowded(n_threads: int) -> float:
    """Give the factor by which buckets take longer where so many threads look into them at once."""
    return 1.0 + CROWDED * (min(n_threads, 5) - 1)


def n_buckets(width: int, radius: int) -> float:
    """Count the substrings of ``width`` bits at a distance of ``radius``."""
    return float(math.comb(width, radius)) if radius <= width else 0.0


def stages(
    widths: Sequence[int], occupancy: NDArray[np.float64], n_bits: int, n_words: int, wide: bool
) -> NDArray[np.float64]:
    """Estimate what a search costs up to and including each stage.

    Parameters
    ----------
    widths : sequence of int
        Bits of each substring.
    occupancy : ndarray of float64, shape (n_substrings, n_radii)
        Codes that a bucket holds on average, by its distance from the query's substring; the last one stands for all
        that follow.
    n_bits, n_words : int
    wide : bool

    Returns
    -------
    ndarray of float64, shape (n_bits + 1,)
        Nanoseconds; stage ``m * radius + t`` proves every distance up to its number.
    """
    m = len(widths)
    each, following = candidates(n_words, wide)
    costs = np.empty(n_bits + 1)
    for stage in range(n_bits + 1):
        radius, t = divmod(stage, m)
        held = occupancy[t, min(radius, occupancy.shape[1] - 1)]
        bucket = PROBE + each * min(held, MANY) + following * max(0.0, held - MANY)
        costs[stage] = n_buckets(widths[t], radius) * bucket
    return np.cumsum(costs)


def quantile(k: int, n: int) -> float:
    """Give the standard normal quantile below which k of n values are expected."""
    return NormalDist().inv_cdf(min(max(k / n, 1e-15), 1 - 1e-15))


def likely_distance(k: int, n: int, n_bits: int) -> int:
    """Estimate the distance of the k-th neighbour among n codes of independent, balanced bits."""
    return min(n_bits, max(0, round(n_bits / 2 + quantile(k, n) * math.sqrt(n_bits) / 2)))
