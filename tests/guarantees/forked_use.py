"""Children forked, and one spawned, from a process whose threads search and write one index all the while.

Run as a script: `forked_use.py PATH N_CHILDREN`. Each child queries and adds through the object that it inherited.
Prints the number of children; ends with a traceback where one failed or hangs.
"""

import faulthandler
import multiprocessing
import os
import sys
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np

import hashdb
from guarantees.blocks import World, check_answers
from hashdb.search.scan import use_kernels

N_BASE = 400
N_WRITING = 4  # threads; each replaces a block of its own, at the end
PATIENCE = 8  # seconds until a child counts as hanging


def use(world, index, block):
    """Query and add as any user would."""
    index.refresh()
    rows, codes = world.content(index)
    world.state_of(rows, codes)
    check_answers(world, index, rows, codes, codes[:4])
    assert index.query(world.vectors[0, :300], k=2, n_threads=2).ids.shape == (300, 2)
    ids = world.ids([block])
    index.add(world.vectors[1, world.rows([block])], ids)
    found = index.query_ids(ids, radius=0)  # some rows have one code
    assert all(one in found.ids[slice(*found.lims[number : number + 2])] for number, one in enumerate(ids))


def in_child(work, *arguments):
    """Run in a forked child that an alarm ends if it hangs; return its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    code = 1
    try:
        work(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def world_of(n_children):
    """Make the blocks of the beginning, one for each child and two more, and those of the threads."""
    return World(N_BASE + n_children + 2 + N_WRITING)


def spawned(path, n_children):
    """Open the index anew in a spawned process, and use it."""
    world = world_of(n_children)
    with hashdb.open(path) as index:
        world.learn(index)
        use(world, index, N_BASE + 1 + n_children)


def keep_using(world, index, path, number, stop, failures):
    """Search and write in a thread until told to stop; half of the threads have an index of their own."""
    try:
        with hashdb.open(path) as own:
            mine = own if number % 2 else index
            while not stop.is_set():
                mine.query(world.vectors[0, :300], k=3, n_threads=2)
                block = world.n_blocks - 1 - number
                mine.add(world.vectors[2, world.rows([block])], world.ids([block]), upsert=True)
                mine.delete(world.ids([block]))
                mine.refresh()
    except BaseException as error:
        failures.append(error)


def main(path, n_children):
    # Newer Pythons warn of forks beside threads, which is what this is about.
    warnings.simplefilter("ignore", DeprecationWarning)
    world = world_of(n_children)
    index, _ = world.build(path, n_base=N_BASE, method="lsh")
    use_kernels()
    use(world, index, N_BASE)
    stop, failures = threading.Event(), []
    workers = [
        threading.Thread(target=keep_using, args=(world, index, path, number, stop, failures))
        for number in range(N_WRITING)
    ]
    for worker in workers:
        worker.start()
    try:
        codes = [in_child(use, world, index, N_BASE + 1 + number) for number in range(n_children)]
        assert codes == [0] * n_children, f"children ended with {codes}"
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not failures, failures
    child = multiprocessing.get_context("spawn").Process(target=spawned, args=(path, n_children))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0, "the spawned process failed"
    index.refresh()
    rows, _ = world.content(index)
    assert np.array_equal(rows, world.rows(np.arange(N_BASE + n_children + 2))), "an acknowledged row is missing"
    assert hashdb.verify(path, deep=True).ok
    print(n_children)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
