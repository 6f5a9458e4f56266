"""What is no path, no flag and no count is refused by name, before anything is done."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError

ROWS = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)


class Bytes(os.PathLike):
    """A path object that is no text."""

    def __fspath__(self) -> bytes:
        return b"a"


@pytest.fixture
def index(path: Path) -> hashdb.Index:
    return hashdb.build(path, ROWS, "lsh", 16)


@pytest.mark.parametrize("odd", [b"a.hashdb", None, 5, Bytes(), Path, "", "a\0b", "\ud800"])
@pytest.mark.parametrize(
    "call", [hashdb.open, hashdb.verify, hashdb.repair, lambda path: hashdb.build(path, ROWS, "lsh", 8)]
)
def test_what_is_no_path_is_an_argument_error(call: Callable[[Any], Any], odd: Any) -> None:
    with pytest.raises(ArgumentError, match="the path of the index is "):
        call(odd)


@pytest.mark.parametrize("odd", ["no", 1, 0, None, "x" * 999])
def test_what_is_no_flag_changes_nothing(index: hashdb.Index, odd: Any) -> None:
    for call in (
        lambda: index.add(ROWS, upsert=odd),
        lambda: index.add(ROWS, auto_compact=odd),
        lambda: index.delete([999], ignore_missing=odd),
        lambda: index.compact(prune=odd),
        lambda: hashdb.repair(index.path, drop=odd),
        lambda: hashdb.repair(index.path, dry_run=odd),
    ):
        with pytest.raises(ArgumentError, match=r"^\w+ is .{1,80}, expected True or False$"):
            call()
    assert index.version == 1


def test_numbers_and_flags_of_numpy_are_taken(index: hashdb.Index) -> None:
    index.add(ROWS, np.arange(20), upsert=np.True_)
    assert index.delete([999], ignore_missing=np.True_) == 0
    index.add(ROWS)
    assert index.compact(prune=np.True_, keep=np.int64(2)).n_versions_removed == len([1, 2])
    assert len(index.versions()) == 2


@pytest.mark.parametrize("keep", [True, 2.0, "2", 0])
def test_versions_to_keep_are_a_whole_number(index: hashdb.Index, keep: Any) -> None:
    with pytest.raises(ArgumentError, match=f"keep is {keep!r}, expected a whole number of at least 1"):
        index.compact(prune=True, keep=keep)


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_index_is_not_pickled_or_copied(index: hashdb.Index, take: Callable[[Any], Any]) -> None:
    with pytest.raises(ArgumentError, match=r"not pickled or copied: open .*a\.hashdb anew"):
        take(index)
