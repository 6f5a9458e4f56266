"""Locks in the child of a fork."""

import os
import threading

import pytest

from hashdb.forks import lock_of


class Shared:
    def __init__(self):
        self._lock = lock_of(self)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons warn of forks beside threads
def test_a_lock_that_another_thread_holds_is_free_in_the_child_of_a_fork():
    shared, held, done = Shared(), threading.Event(), threading.Event()

    def hold():
        with shared._lock:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    child = os.fork()
    if not child:
        os._exit(0 if shared._lock.acquire(timeout=10) else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert not shared._lock.acquire(timeout=0.01)
    done.set()
    holder.join()
    assert code == 0
