"""What must hold of an index after any accident, seen by its user and by a reader of its files."""

import os
import time

import numpy as np
import pytest
from storage_kit import check_table

import hashdb
from guarantees.plain_reader import manifests, read_versions, unnamed_files
from guarantees.steps import DIM, STORED, perform
from hashdb.errors import IndexNotFoundError

QUERIES = np.random.default_rng(99).standard_normal((2, DIM)).astype(np.float32)
NEXT_ADD = {"do": "add", "n": 2, "seed": 98}


def version_found(path, allowed, *, gaps=False):
    """The one of the allowed oracles whose newest version is that of the index, once every version was compared.

    With `gaps` old versions that were to be removed need not have gone from the oldest upwards.
    """
    found = read_versions(path) if (path / "manifests").is_dir() else {}
    newest = max(found, default=0)
    assert newest in {oracle.newest for oracle in allowed}, f"version {newest} was found"
    assert gaps or sorted(found) == list(range(newest - len(found) + 1, newest + 1)), f"versions {sorted(found)}"
    oracle = next(oracle for oracle in allowed if oracle.newest == newest)
    history = {version: rows for one in allowed for version, rows in one.versions.items()}
    for version, rows in found.items():
        assert rows == history[version], f"version {version} holds something else"
    # What has gone was to go: the oracle of a pruned index lists what stays.
    missing = set(oracle.versions) - set(found)
    assert missing <= set(oracle.versions) - set(allowed[-1].versions), f"versions {missing} are missing"
    return oracle


def check_sound(path, oracle, *, deep=False, gaps=False):
    """What a user sees is what the oracle holds: rows, answers, tables, model, and no problem is reported."""
    with hashdb.open(path, check="full" if deep else "quick") as index:
        assert index.version == oracle.newest
        check_content(index, oracle)
        assert np.array_equal(index.encode(QUERIES), oracle.model.encode(QUERIES))
        report = index.verify(deep=deep)
        problems = [text for _, text in report.problems if not (gaps and text.endswith("so it was lost"))]
        assert problems == []
        for segment in index._store.snapshot.segments:
            assert segment.tables_problem is None
            if segment.tables is not None:
                for table in segment.tables.tables:
                    check_table(table.description, table.arrays, np.concatenate(segment.code_blocks))


def check_content(index, oracle):
    """Rows and answers of an open index, against the oracle and brute force."""
    batches = list(index.codes())
    ids = [id_ for found, _ in batches for id_ in found.tolist()]
    assert len(index) == len(oracle.rows)
    assert ids == sorted(oracle.rows, key=lambda id_: id_.encode() if isinstance(id_, str) else id_)
    codes = np.concatenate([codes for _, codes in batches])
    assert [code.tobytes() for code in codes] == [oracle.rows[id_][0] for id_ in ids]
    found = index.query(QUERIES, k=5)
    distances = np.bitwise_count(oracle.model.encode(QUERIES)[:, None] ^ codes[None]).sum(axis=2)
    for row, each in enumerate(distances):
        nearest = np.argsort(each, kind="stable")[:5]  # ids ascend, so ties come by id
        assert found.ids[row].tolist() == [ids[i] for i in nearest]
        assert found.distances[row].tolist() == each[nearest].tolist()
    # Through the stored vectors: all rows, ordered by their cosine distance.
    wanted = min(5, len(ids))
    kept = np.stack([np.frombuffer(oracle.rows[id_][1], STORED) for id_ in ids]).astype(np.float64)
    cosine = 1 - (kept @ QUERIES[0]) / np.linalg.norm(kept, axis=1) / np.linalg.norm(QUERIES[0])
    reranked = index.query(QUERIES[:1], k=wanted, rescore=len(ids))
    assert np.allclose(reranked.distances[0], np.sort(cosine)[:wanted], atol=1e-3)


def check_goes_on(path, oracle):
    """The next add works, and once leftovers are old, the next ``compact`` removes every one of them."""
    step = {**NEXT_ADD, "ids": ["next", "after"] if isinstance(next(iter(oracle.rows)), str) else None}
    before = set(manifests(path))
    perform(path, step)
    oracle = oracle.after(step)
    for _ in range(2):  # the second removes the folders that the first has emptied
        two_hours_later(path)
        with hashdb.open(path) as index:
            index.compact()
            check_content(index, oracle)
        if unnamed_files(path) == []:
            break
    else:
        assert unnamed_files(path) == []
    # Two versions more: the add, and the one that compact made where there was something to merge.
    assert set(manifests(path)) - before <= {oracle.newest, oracle.newest + 1}
    found = read_versions(path)
    assert found[oracle.newest] == found[max(found)] == oracle.rows


def check_no_index(path):
    """There is no index, and that is what ``open`` says."""
    with pytest.raises(IndexNotFoundError):
        hashdb.open(path)


def two_hours_later(path):
    """Let everything in a folder be two hours old, so that leftovers are past their time of grace."""
    then = time.time() - 7200
    for place, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.utime(os.path.join(place, name), (then, then))
