"""Kernels that put the rows of a segment into bucket order: a radix sort of two passes.

The first pass scatters rows to partitions of neighbouring buckets, as many as can be written to at once; the second
sorts each partition, which fits a cache, by counting. Both keep the order of rows, so rows ascend in every bucket.
Cost: a table look-up for each byte of the substring, and two moves of (row, code) a row.
"""

from __future__ import annotations

from typing import Any

from numba import types

from hashdb.search.kernels.compile import device, kernel, readable, words, writable
from hashdb.search.kernels.intrinsics import address
from hashdb.search.kernels.memory import load_uint8

Array = Any
_i64 = types.int64
_u64 = types.uint64
# 2^64 divided by the golden ratio, odd: neighbouring keys land far apart, and all their bits reach the top ones.
HASH_FACTOR = 0x9E3779B97F4A7C15


@device
def substring_of(code: int, begin: int, end: int, places: Array, contributions: Array) -> Any:
    """Give a substring of the code at an address; ``begin:end`` is its part of ``places``.

    ``contributions[256 * i + b]`` is what byte ``places[i]`` of a code adds to its substring where it has the value b.
    """
    key = types.uint64(0)
    for i in range(types.uint64(begin), types.uint64(end)):
        byte = load_uint8(code, places[i])
        key |= contributions[(i << types.uint64(8)) + byte]
    return key


@device
def hashed(key: Any, hash_shift: int) -> Any:
    """Give the number of a substring's bucket: itself, or the top bits of its hash where there is a shift."""
    if hash_shift:
        return (key * types.uint64(HASH_FACTOR)) >> types.uint64(hash_shift)
    return key


@device
def bucket_of(code: int, places: Array, contributions: Array, hash_shift: int) -> Any:
    """Give the bucket of the code at an address."""
    return hashed(substring_of(code, 0, places.shape[0], places, contributions), hash_shift)


@kernel(
    types.void(
        words(2), _i64, _i64, readable(_i64, 1), readable(_u64, 1), _i64, _i64, writable(_i64, 1)
    )
)  # fmt: skip
def count_partitions(
    codes: Array, start: int, stop: int, places: Array, contributions: Array, hash_shift: int, low_bits: int,
    counts: Array,
) -> None:  # fmt: skip
    """Count the codes ``start:stop`` of each partition; bucket b is in partition ``b >> low_bits``.

    Parameters
    ----------
    codes : uint64 (m, n_words)
    places, contributions, hash_shift
        As :func:`bucket_of` takes them.
    counts : int64 (n_partitions,)
        Raised.
    """
    width = 8 * codes.shape[1]
    base = address(codes)
    for i in range(start, stop):
        counts[bucket_of(base + width * i, places, contributions, hash_shift) >> types.uint64(low_bits)] += 1


@kernel(
    types.void(
        words(2), _i64, _i64, _i64, readable(_i64, 1), readable(_u64, 1), _i64, _i64, _i64, _i64,
        writable(_i64, 1), writable(_u64, 1), writable(_u64, 2),
    )
)  # fmt: skip
def scatter(
    codes: Array, start: int, stop: int, first_row: int, places: Array, contributions: Array, hash_shift: int,
    low_bits: int, first: int, last: int, next_free: Array, entries: Array, moved: Array,
) -> None:  # fmt: skip
    """Move the codes ``start:stop`` that belong to the partitions ``first:last`` there.

    Parameters
    ----------
    codes, places, contributions, hash_shift, low_bits
        As in :func:`count_partitions`; ``first_row`` is the segment's row of ``codes[0]``.
    next_free : int64 (last - first,)
        Place of the next code of each partition; moved on.
    entries : uint64 (m,)
        Gets the bucket within its partition and the row of each code, the row in the lower 32 bits.
    moved : uint64 (m, n_words) or (0, n_words)
        Gets the codes, unless it is empty.
    """
    n_words = codes.shape[1]
    width = 8 * n_words
    base = address(codes)
    low = (types.uint64(1) << types.uint64(low_bits)) - types.uint64(1)
    whole = moved.shape[0] > 0
    for i in range(types.uint64(start), types.uint64(stop)):
        bucket = bucket_of(base + width * i, places, contributions, hash_shift)
        part = types.int64(bucket >> types.uint64(low_bits))
        if part < first or part >= last:
            continue
        place = types.uint64(next_free[types.uint64(part - first)])
        next_free[types.uint64(part - first)] = place + types.uint64(1)
        entries[place] = ((bucket & low) << types.uint64(32)) | types.uint64(first_row + i)
        if whole:
            for word in range(types.uint64(n_words)):
                moved[place, word] = codes[i, word]


@kernel(
    types.void(
        readable(_u64, 1), words(2), readable(_i64, 1), _i64, _i64,
        writable(types.uint32, 1), writable(types.uint32, 1), writable(_u64, 2),
    )
)  # fmt: skip
def sort_partitions(
    entries: Array, moved: Array, ends: Array, low_bits: int, first_place: int,
    offsets: Array, rows: Array, codes: Array,
) -> None:  # fmt: skip
    """Sort each partition by bucket, a counting sort, and note where each bucket begins.

    Parameters
    ----------
    entries, moved
        As :func:`scatter` leaves them.
    ends : int64 (n_partitions,)
        Where each partition ends in them.
    first_place : int
        Place in the whole table of the first entry.
    offsets : uint32 (n_partitions << low_bits,)
        Gets the place in the whole table where each bucket begins.
    rows, codes : uint32 (m,) and uint64 (m, n_words) or (0, n_words)
        Get rows and codes in bucket order.
    """
    size = types.uint64(1) << types.uint64(low_bits)
    n_words = types.uint64(moved.shape[1])
    whole = codes.shape[0] > 0
    begin = types.uint64(0)
    for part in range(types.uint64(ends.shape[0])):
        end = types.uint64(ends[part])
        here = part * size
        for bucket in range(size):
            offsets[here + bucket] = 0
        for i in range(begin, end):
            offsets[here + (entries[i] >> types.uint64(32))] += types.uint32(1)
        place = begin
        for bucket in range(size):
            n = types.uint64(offsets[here + bucket])
            offsets[here + bucket] = place
            place += n
        for i in range(begin, end):
            bucket = here + (entries[i] >> types.uint64(32))
            place = types.uint64(offsets[bucket])
            offsets[bucket] = place + types.uint64(1)
            rows[place] = entries[i] & types.uint64(0xFFFFFFFF)
            if whole:
                for word in range(n_words):
                    codes[place, word] = moved[i, word]
        # Every bucket stands at its end now, which is where the next one begins.
        for bucket in range(size - types.uint64(1)):
            last = size - types.uint64(1) - bucket
            offsets[here + last] = offsets[here + last - types.uint64(1)] + types.uint32(first_place)
        offsets[here] = begin + types.uint64(first_place)
        begin = end


@kernel(
    types.void(words(2), readable(_i64, 1), readable(_i64, 1), readable(_u64, 1), writable(_u64, 2))
)  # fmt: skip
def cut(codes: Array, ends: Array, places: Array, contributions: Array, substrings: Array) -> None:
    """Cut codes into substrings.

    Parameters
    ----------
    codes : uint64 (n, n_words)
    ends : int64 (m,)
        Where the part of each substring ends in ``places``.
    places, contributions
        As :func:`bucket_of` takes them, of all substrings one after the other.
    substrings : uint64 (n, m)
    """
    width = 8 * codes.shape[1]
    for i in range(codes.shape[0]):
        code = address(codes) + width * i
        begin = 0
        for t in range(ends.shape[0]):
            substrings[i, t] = substring_of(code, begin, ends[t], places, contributions)
            begin = ends[t]


@kernel(
    types.void(readable(types.uint32, 1), readable(_u64, 1), _i64, _i64, writable(types.float64, 2))
)  # fmt: skip
def measure_occupancy(offsets: Array, keys: Array, width: int, hash_shift: int, occupancy: Array) -> None:
    """Count the codes that a bucket holds on average, for each of some codes and by its distance from their substring.

    Parameters
    ----------
    offsets : uint32 (n_buckets + 1,)
    keys : uint64 (n,)
        Substrings.
    width : int
        Bits of the substring.
    occupancy : float64 (n, n_radii)
        Of at most 4 radii; one beyond the width gets 0.
    """
    for row in range(keys.shape[0]):
        for radius in range(occupancy.shape[1]):
            total, n_probes = 0.0, 0
            for i in range(width if radius > 0 else 1):
                for j in range(i + 1, width if radius > 1 else i + 2):
                    for last in range(j + 1, width if radius > 2 else j + 2):
                        flips = types.uint64(0)
                        if radius > 0:
                            flips |= types.uint64(1) << types.uint64(i)
                        if radius > 1:
                            flips |= types.uint64(1) << types.uint64(j)
                        if radius > 2:
                            flips |= types.uint64(1) << types.uint64(last)
                        bucket = hashed(keys[row] ^ flips, hash_shift)
                        total += offsets[bucket + types.uint64(1)] - offsets[bucket]
                        n_probes += 1
            occupancy[row, radius] = total / n_probes if n_probes else 0.0
