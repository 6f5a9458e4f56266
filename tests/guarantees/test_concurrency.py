"""Proof: any number of processes and threads on one index lose nothing, and each sees one whole version."""

import json
import multiprocessing
import os
import shutil
import threading

import numpy as np
import pytest

import hashdb
from guarantees.blocks import ABSENT, BLOCK, World, check_answers
from guarantees.scripts import run_script
from hashdb.errors import ConflictError, DuplicateIdError, VersionGoneError
from hashdb.storage import transaction


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A world, and an index of it with bucket tables; tests take copies."""
    path = tmp_path_factory.mktemp("base") / "a.hashdb"
    world = World(8_300)
    index, state = world.build(path, method="lsh")
    assert any("layout" in segment["tables"] for segment in index.info()["segments"])
    index.close()
    return world, state, path


@pytest.fixture
def path(base, tmp_path):
    """A copy of the index by links: what is published is never written to again."""
    shutil.copytree(base[2], tmp_path / "a.hashdb", copy_function=os.link)
    return tmp_path / "a.hashdb"


@pytest.mark.parametrize(
    ("id_kind", "seconds"),
    [
        ("int64", 1.5),
        pytest.param("int64", 60, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param("string", 60, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_processes_lose_nothing_and_see_whole_versions(tmp_path, record_property, id_kind, seconds):
    done = json.loads(run_script("concurrent_load.py", tmp_path / "a.hashdb", id_kind, seconds, timeout=seconds + 240))
    assert done["commits"] > 5
    assert done["by buckets"] > 0
    assert done["looks"] > 0
    record_property("commits of concurrent writers", done["commits"])
    record_property("queries of concurrent readers", done["queries"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("children", [5, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_forked_and_spawned_processes_go_on_beside_threads_at_work(tmp_path, record_property, children):
    run_script("forked_use.py", tmp_path / "a.hashdb", children, timeout=60 + 5 * children)
    record_property("forks beside threads at work", children)


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_threads_share_one_index(base, path, record_property, seconds):
    world, state, _ = base
    stop, failures, n_asked = threading.Event(), [], []

    def guarded(work, number):
        try:
            with np.errstate(all="raise"):
                n_asked.append(work(np.random.default_rng(number), number))
        except BaseException as error:
            failures.append(error)
            stop.set()

    def ask(rng, number):
        n_queries = 0
        while not stop.is_set():
            # One call sees one version: the rows of a block are all at one stamp, or none is there.
            block, stamp = int(rng.integers(8_150, world.n_blocks)), int(rng.integers(2))
            rows = world.rows([block])
            found = index.query_codes(world.codes[stamp, rows, None], radius=0)
            hits = rows[np.isin(rows, found.ids[found.ids == np.repeat(rows, np.diff(found.lims))])]
            at_stamp = [rows[world.codes[stamp, rows] == world.codes[other, rows]] for other in range(2)]
            assert hits.tolist() in [[], *(whole.tolist() for whole in at_stamp)]
            near = index.query(world.vectors[stamp, rows], k=3, n_threads=2)
            assert (np.diff(near.distances, axis=1) >= 0).all()
            n_queries += 2 * BLOCK
        return n_queries

    def write(rng, number):
        mine = np.arange(8_200 + number, world.n_blocks, 2)
        while not stop.is_set():
            blocks = sorted(rng.choice(mine, 2, replace=False).tolist())
            stamp = int(rng.integers(-1, 2))
            if stamp == ABSENT:
                index.delete(world.ids(blocks), ignore_missing=True)
            else:
                index.add(world.vectors[stamp, world.rows(blocks)], world.ids(blocks), upsert=True)
            expected[blocks] = stamp
        return 0

    def tidy(rng, number):
        while not stop.is_set():
            index.compact(prune=True)
            index.refresh()
            stop.wait(0.05)
        return 0

    expected = state.copy()
    with hashdb.open(path) as index:
        jobs = [(write, 0), (write, 1), (tidy, 2), *((ask, 3 + number) for number in range(4))]
        workers = [threading.Thread(target=guarded, args=job) for job in jobs]
        for worker in workers:
            worker.start()
        stop.wait(seconds)
        stop.set()
        for worker in workers:
            worker.join()
        assert not failures, failures
        rows, codes = world.content(index)
        for found, right in zip((rows, codes), world.expected(expected), strict=True):
            assert np.array_equal(found, right)
        check_answers(world, index, rows, codes, codes[:4])
    assert hashdb.verify(path, deep=True).ok
    assert sum(n_asked) > 0
    record_property("queries of threads sharing an index", sum(n_asked))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("touched", [True, False])
def test_a_reader_opened_before_a_prune_keeps_working_or_says_that_the_version_is_gone(base, path, mmap, touched):
    world = base[0]
    with hashdb.open(path) as index:  # several segments, deletes, and tables
        index.add(world.vectors[1, world.rows([8_250])], world.ids([8_250]))
        index.delete(world.ids([3]))
        rows, codes = world.content(index)
    queries = world.codes[0, 80:96]
    with hashdb.open(path, mmap=mmap) as reader, hashdb.open(path) as writer:
        if touched:
            check_answers(world, reader, rows, codes, queries)
        writer.add(world.vectors[2], world.ids(np.arange(world.n_blocks)), upsert=True)
        assert writer.compact(prune=True).n_versions_removed == 3
        said = []
        for look in (
            lambda: check_answers(world, reader, rows, codes, queries),
            lambda: np.array_equal(np.concatenate(world.content(reader)), np.concatenate([rows, codes])) or 1 / 0,
            lambda: np.array_equal(reader.get(world.ids([7]))[:, 0], world.codes[0, world.rows([7])]) or 1 / 0,
        ):
            try:
                look()
            except VersionGoneError as error:
                said.append(str(error))
        # What was read or mapped stays, whatever becomes of the files.
        assert not (touched and said)
        assert all("has been pruned; open the index again for the newest one" in message for message in said)
        assert reader.refresh()
        check_answers(world, reader, *world.content(reader), queries)


def test_a_conflict_is_retried_so_often_and_then_given_up_in_one_line(base, path, monkeypatch):
    world = base[0]
    publish = transaction.publish
    taken = []

    def late(*arguments, **options):
        monkeypatch.setattr(transaction, "publish", publish)
        taken.append(other.delete(world.ids([len(taken)])))
        monkeypatch.setattr(transaction, "publish", late)
        return publish(*arguments, **options)

    assert transaction.MAX_RETRIES == 64
    monkeypatch.setattr(transaction, "MAX_RETRIES", 8)
    with hashdb.open(path) as index, hashdb.open(path) as other:
        monkeypatch.setattr(transaction, "publish", late)
        with pytest.raises(ConflictError) as caught:
            index.add(world.vectors[1, world.rows([8_250])], world.ids([8_250]))
        monkeypatch.setattr(transaction, "publish", publish)
        assert len(taken) == 8
        assert str(caught.value) == f"cannot add in {path}: other writers committed first 8 times; try again later"
        index.refresh()
        assert np.array_equal(world.content(index)[0], world.rows(np.arange(8, 8_240)))
        n_folders = len(list((path / "segments").iterdir()))
        index.add(world.vectors[1, world.rows([8_250])], world.ids([8_250]))
        assert len(list((path / "segments").iterdir())) == n_folders + 1


def _add_the_same(path, gate, results):
    with hashdb.open(path) as index:
        gate.wait(60)
        try:
            index.add(np.ones((1, 12), np.float32), [1 << 40])
            results.put("added")
        except DuplicateIdError as error:
            results.put(str(error))


def test_one_id_added_by_several_processes_at_once_is_there_once(path):
    with hashdb.open(path) as index:
        n_before = len(index)
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_add_the_same, args=(path, gate, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    answers = sorted(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    results.close()
    results.join_thread()
    assert answers[0] == "added"
    assert all(str(1 << 40) in answer and "already" in answer for answer in answers[1:])
    with hashdb.open(path) as index:
        assert index.version == 2
        assert index.get([1 << 40]).shape == (1, 1)
        assert len(index) == n_before + 1
