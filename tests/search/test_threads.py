"""The thread pool: order, errors, interrupts, forks, many callers, settings."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from hashdb.errors import ArgumentError
from hashdb.search import scan, threads

from .conftest import oracle_lists, random_codes


def test_results_stand_in_the_order_of_tasks():
    tasks = [lambda number=number: time.sleep(0.002 * (number % 3)) or number for number in range(20)]
    for n_threads in (1, 2, 5, 50):
        assert threads.run(tasks, n_threads) == list(range(20))
    assert threads.run([], 3) == []


def test_no_more_threads_than_asked_for_are_used():
    seen = set()
    threads.run([lambda: seen.add(threading.get_ident()) or time.sleep(0.001) for _ in range(30)], 2)
    assert len(seen) <= 2


def work_until_stopped(stopped):
    try:
        while True:
            threads.checkpoint()
            time.sleep(0.001)
    finally:
        stopped.set()


def test_error_of_a_task_reaches_the_caller_and_stops_the_others():
    stopped = threading.Event()

    def fail():
        raise KeyError("first")

    def endless():
        work_until_stopped(stopped)

    with pytest.raises(KeyError, match="first"):
        threads.run([endless, fail], 2)
    assert stopped.is_set()
    assert threads.run([lambda: 5], 1) == [5]


def test_an_interrupt_while_threads_are_started_stops_those_that_were(monkeypatch):
    class Pool(threads._Pool):
        n_submitted = 0

        def submit(self, work):
            if self.n_submitted == 1:
                begun.wait(10)
                raise KeyboardInterrupt
            self.n_submitted += 1
            return super().submit(work)

    begun, stopped = threading.Event(), threading.Event()

    def endless():
        begun.set()
        work_until_stopped(stopped)

    monkeypatch.setattr(threads, "_pool", Pool())
    with pytest.raises(KeyboardInterrupt):
        threads.run([endless] * 3, 3)
    assert stopped.is_set()


def test_checkpoint_outside_a_run_does_nothing():
    assert threads.checkpoint() is None


def test_runs_within_tasks_do_not_wait_for_each_other():
    inner = [lambda: 1] * 3
    assert threads.run([lambda: sum(threads.run(inner, 3))] * 100, 4) == [3] * 100


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1e3", "1025", "²"])
def test_bad_variable_is_named(monkeypatch, text):
    monkeypatch.setenv("HASHDB_NUM_THREADS", text)
    with pytest.raises(ArgumentError, match="HASHDB_NUM_THREADS"):
        threads.n_threads_default()


def test_variable_sets_the_default(monkeypatch):
    monkeypatch.setenv("HASHDB_NUM_THREADS", " 3 ")
    assert threads.n_threads_default() == 3
    monkeypatch.setenv("HASHDB_NUM_THREADS", "")
    assert threads.n_threads_default() >= 1


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2", 10**6])
def test_bad_number_of_threads_is_named(value):
    with pytest.raises(ArgumentError, match="n_threads is"):
        threads.check_n_threads(value)
    assert threads.check_n_threads(np.int64(2)) == 2


def test_many_python_threads_search_at_once(kernels_always):
    rng = np.random.default_rng(0)
    codes, queries = random_codes(rng, 2000, 64), random_codes(rng, 8, 64)
    expected = [every[:5] for every in oracle_lists(codes, queries)]
    answers = [None] * 8

    def ask(number):
        for _ in range(20):
            found = scan.knn([codes], queries, 5, n_bits=64, n_threads=1 + number % 3)
            answers[number] = [
                list(zip(d, r, strict=True)) for d, r in zip(found.distances.tolist(), found.rows.tolist(), strict=True)
            ]

    workers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == [expected] * 8


FORK = """
    import os, sys, warnings
    import numpy as np
    from hashdb.search import scan
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads, which this tests
    scan.NUMPY_BUDGET = -1
    codes = np.arange(600_000, dtype=np.uint64)[:, None]
    def ask():
        return scan.knn([codes], codes[:300], 3, n_bits=64, n_threads=2).rows.tolist()
    expected = ask()
    child = os.fork()
    if child == 0:
        os._exit(0 if ask() == expected else 1)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) or ask() != expected)
"""

INTERRUPT = """
    import _thread, threading, time
    import numpy as np
    from hashdb.search import kernel_scan, scan, threads
    scan.NUMPY_BUDGET = -1
    codes = np.random.default_rng(0).integers(0, 2**64, (2_000_000, 1), dtype=np.uint64)
    scan.knn([codes], codes[:2], 3, n_bits=64, n_threads=2)
    threading.Timer(0.3, _thread.interrupt_main).start()
    try:
        scan.knn([codes], np.repeat(codes, 2, axis=0), 3, n_bits=64, n_threads=2)
    except KeyboardInterrupt:
        print("interrupted", scan.knn([codes], codes[:1], 1, n_bits=64, n_threads=2).rows.tolist())
"""


def run_python(source, timeout=60, **variables):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_search_works_in_a_forked_child_and_on_in_the_parent():
    done = run_python(FORK)
    assert (done.returncode, done.stderr) == (0, "")


def test_interrupt_ends_a_long_search_and_the_next_one_works():
    done = run_python(INTERRUPT)
    assert (done.stdout, done.stderr) == ("interrupted [[0]]\n", "")
