"""What the tests of searching through bucket tables share: queries near and far, and segments of any kind."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from .conftest import Segment, random_codes

FOREVER = math.inf


def complement(codes, n_bits):
    """The codes that are farthest from the given ones."""
    full = (1 << n_bits) - 1
    words = [(full >> (64 * word)) & (2**64 - 1) for word in range(codes.shape[1])]
    return codes ^ np.array(words, np.uint64)


def queries_of(rng, codes, n_bits):
    """Queries among the codes, near one, anywhere, and as far as can be."""
    some = codes[rng.integers(0, len(codes), 2)]
    near = some[:1].copy()
    near[0, 0] ^= np.uint64(1)
    return np.concatenate([some, near, random_codes(rng, 1, n_bits), complement(some[:1], n_bits)])


@st.composite
def segments(draw):
    """A segment with tables, perhaps in blocks, with deletes, equal codes or bits that hardly change; and queries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bits = draw(st.sampled_from((1, 8, 30, 64, 70, 100, 128, 256)))
    n = draw(st.sampled_from((1, 2, 63, 64, 65, 200, 600)))
    codes = random_codes(rng, n, n_bits, draw(st.sampled_from((0.02, 0.5, 0.98))))
    if draw(st.booleans()):
        codes = codes[rng.integers(0, draw(st.integers(1, min(n, 4))), n)]
    dead = np.flatnonzero(rng.random(n) < draw(st.sampled_from((0.0, 0.1, 0.9, 1.0)))).tolist()
    segment = Segment(codes, n_bits, n_blocks=draw(st.integers(1, 4)), dead=dead)
    segment.with_tables(draw(st.integers(-(-n_bits // 12), min(n_bits, 32))), wide=draw(st.booleans()))
    return segment, queries_of(rng, codes, n_bits)


n_threads_wanted = st.integers(1, 3)
