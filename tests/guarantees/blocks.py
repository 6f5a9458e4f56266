"""An index whose every version can be judged by itself: rows come and go in blocks of eight.

Block b has the ids 8 b to 8 b + 7. Its rows are added, replaced and deleted together, and each vector is a function of
the id and of the block's stamp. So a version that holds a part of a block, or rows of two stamps, is a mix of versions.
"""

from __future__ import annotations

import numpy as np

import hashdb

BLOCK = 8
N_STAMPS = 4
DIM = 12
ABSENT = -1
# Enough rows for bucket tables, which segments of fewer than 65,536 rows do without.
N_BASE = 8_240


class World:
    """Vectors and codes of every block at every stamp.

    `codes` is uint64 (N_STAMPS, n_blocks * BLOCK); ids are integers or strings of the same order.
    """

    def __init__(self, n_blocks, id_kind="int64", seed=0):
        self.n_blocks = n_blocks
        self.id_kind = id_kind
        rng = np.random.default_rng(seed)
        # Correlated, with many near neighbours, so that buckets are worth looking into.
        centres = rng.standard_normal((1, n_blocks * BLOCK // 6 + 1, DIM)).repeat(6, axis=1)[:, : n_blocks * BLOCK]
        noise = rng.standard_normal((N_STAMPS, n_blocks * BLOCK, DIM)) * 0.35
        self.vectors = (centres + noise).astype(np.float32)
        self.codes = np.empty((0, 0), np.uint64)

    def build(self, path, n_base=N_BASE, **options):
        """Make an index of the first blocks, stamp 0, and learn what every other row will be encoded to."""
        index = hashdb.build(
            path, self.vectors[0, : n_base * BLOCK], n_bits=64, ids=self.ids(np.arange(n_base)), **options
        )
        self.learn(index)
        state = np.full(self.n_blocks, ABSENT, np.int8)
        state[:n_base] = 0
        return index, state

    def learn(self, index):
        """Encode every row at every stamp, as the index would."""
        self.codes = np.stack([index.encode(rows)[:, 0] for rows in self.vectors])

    def ids(self, blocks):
        """Ids of the rows of some blocks, as a user gives them."""
        rows = self.rows(blocks)
        return rows if self.id_kind == "int64" else [f"k{row:07d}" for row in rows.tolist()]

    def rows(self, blocks):
        """Numbers of the rows of some blocks."""
        return (np.asarray(blocks)[..., None] * BLOCK + np.arange(BLOCK)).reshape(-1)

    def numbers(self, ids):
        """Turn ids as an index gives them into row numbers."""
        return ids if self.id_kind == "int64" else ids.astype("U8").view("U1").reshape(-1, 8)[:, 1:].astype(int) @ _TENS

    def content(self, index):
        """All rows of an index by its own listing: row numbers ascending, and codes."""
        parts = list(index.codes())
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.uint64)
        return self.numbers(np.concatenate([ids for ids, _ in parts])), np.concatenate([code for _, code in parts])[
            :, 0
        ]

    def state_of(self, rows, codes):
        """Tell the stamp of every block, or fail where a block is there in part or mixed."""
        assert (np.diff(rows) > 0).all(), "an id is there twice"
        counts = np.bincount(rows // BLOCK, minlength=self.n_blocks)
        assert set(np.unique(counts).tolist()) <= {0, BLOCK}, "a block is there in part"
        blocks = np.flatnonzero(counts)
        right = (self.codes[:, rows] == codes).reshape(N_STAMPS, -1, BLOCK).all(axis=2)
        assert right.any(axis=0).all(), "a block has rows of several versions"
        state = np.full(self.n_blocks, ABSENT, np.int8)
        state[blocks] = right.argmax(axis=0)
        return state

    def expected(self, state):
        """Give the rows that an index in this state holds: row numbers ascending, and codes."""
        blocks = np.flatnonzero(state != ABSENT)
        rows = self.rows(blocks)
        return rows, self.codes[np.repeat(state[blocks], BLOCK), rows]


_TENS = 10 ** np.arange(6, -1, -1)


def nearest(rows, codes, queries, k):
    """The k nearest rows of each query by (distance, row number): row numbers and distances."""
    distances = np.bitwise_count(queries[:, None] ^ codes[None, :]).astype(np.int32)
    # Rows ascend, so a stable order by distance is the order by (distance, id).
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return rows[order], np.take_along_axis(distances, order, axis=1)


def within(rows, codes, query, radius):
    """Every row within a radius of one query by (distance, row number): row numbers and distances."""
    distances = np.bitwise_count(query ^ codes).astype(np.int32)
    near = np.flatnonzero(distances <= radius)
    order = near[np.argsort(distances[near], kind="stable")]
    return rows[order], distances[order]


def check_answers(world, index, rows, codes, queries, k=5, radius=5):
    """Compare k-NN and radius answers of an index with brute force over rows and codes; return the stats of both."""
    found = index.query_codes(queries[:, None], k=k)
    expected = nearest(rows, codes, queries, k)
    assert np.array_equal(world.numbers(found.ids.reshape(-1)).reshape(found.ids.shape), expected[0])
    assert np.array_equal(found.distances, expected[1])
    around = index.query_codes(queries[:, None], radius=radius)
    for number, query in enumerate(queries):
        part = slice(around.lims[number], around.lims[number + 1])
        expected = within(rows, codes, query, radius)
        assert np.array_equal(world.numbers(around.ids[part]), expected[0])
        assert np.array_equal(around.distances[part], expected[1])
    return found.stats, around.stats
