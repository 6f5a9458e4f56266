"""Segments of random codes and a slow oracle that shares no code with the search."""

from __future__ import annotations

import numpy as np
import pytest

from hashdb.search import kernel_scan, scan


def as_integers(codes):
    """Read each row of words as one Python integer, bit j of the code being bit j of the integer."""
    return [sum(int(word) << (64 * place) for place, word in enumerate(row)) for row in codes]


def oracle_lists(codes, queries, dead=()):
    """Every row that is alive with its distance, ordered by (distance, row), one list per query."""
    rows = [(row, code) for row, code in enumerate(as_integers(codes)) if row not in set(dead)]
    return [sorted(((code ^ query).bit_count(), row) for row, code in rows) for query in as_integers(queries)]


def bitmap(n, dead):
    """Mark rows in a bitmap of uint64 words."""
    words = [0] * -(-n // 64)
    for row in dead:
        words[row // 64] |= 1 << (row % 64)
    return np.array(words, np.uint64)


def random_codes(rng, n, n_bits, density=0.5):
    """Codes of independent bits, made word by word from Python integers."""
    n_words = -(-n_bits // 64)
    bits = rng.random((n, n_bits)) < density
    codes = np.zeros((n, n_words), np.uint64)
    for bit in range(n_bits):
        codes[:, bit // 64] |= bits[:, bit].astype(np.uint64) << np.uint64(bit % 64)
    return codes


@pytest.fixture
def kernels_always(monkeypatch):
    """Let the kernels do even the smallest work, on as many threads as asked for and in short calls."""
    monkeypatch.setattr(scan, "_budget", scan._Budget())
    monkeypatch.setattr(scan, "NUMPY_BUDGET", -1)
    monkeypatch.setattr(kernel_scan, "_TASK_WORK", 1)
    monkeypatch.setattr(kernel_scan, "_CALL_WORK", 1 << 10)


@pytest.fixture
def numpy_always(monkeypatch):
    """Let NumPy do even the largest work."""
    monkeypatch.setattr(scan, "_budget", scan._Budget())
    monkeypatch.setattr(scan, "NUMPY_BUDGET", 1 << 62)
