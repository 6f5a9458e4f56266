"""A process that has hashdb loaded, and forks a child for every order: the child may be killed, and it goes on.

Importing hashdb takes a second or two; a fork takes some milliseconds. Orders are lines of JSON on standard input; on
standard output come what the child reports, and a line ``["ended", status]`` once it is gone.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "storage")]

import hashdb
from guarantees.fault_files import Faulty, under_hashdb
from guarantees.soundness import check_sound
from guarantees.steps import OPERATIONS, STARTS, build_all, perform, perform_on, small_sizes


class Forker:
    """The parent's side: sends orders, reads what the children report."""

    def __init__(self):
        environment = {**os.environ, "HASHDB_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def order(self, **order):
        """Send an order; a child is forked for it."""
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def report(self):
        """Wait for the next line that the child, or the process itself after its end, reports."""
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the forking process has ended")
        return json.loads(line)

    def run(self, **order):
        """Send an order and return the child's status once it has ended: that of exit, or minus a signal."""
        self.order(**order)
        while (report := self.report())[0] != "ended":
            pass
        return report[1]

    def close(self):
        """End the process and wait for it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


# ---- in the child


def say(*report):
    """Report to the parent, in one write: a kill leaves a whole line or none."""
    os.write(1, json.dumps(report).encode() + b"\n")


def fault(path, step, point):
    """Do a step with a layer of file effects that ends the process at one point."""
    with under_hashdb(Faulty(point, "kill")):
        perform(path, step)


def work(path, seed):
    """Change an index for ever, and report what is begun and what is committed."""
    say("pid", os.getpid())
    choose = random.Random(seed)
    with hashdb.open(path) as index:
        for number in itertools.count():
            step = next_step(index, choose, seed * 1000 + number)
            say("begins", step)
            ids = perform_on(index, step)
            say("committed", index.version, ids)


def next_step(index, choose, seed):
    """Choose what to do next; the index stays near 200 rows."""
    ids = [id_ for found, _ in index.codes() for id_ in found.tolist()]
    chance = choose.random()
    if chance < 0.12:
        return {"do": "compact", "prune": choose.random() < 0.5}
    if chance < 0.12 + 0.4 * (len(ids) / 200):
        return {"do": "delete", "ids": sorted(choose.sample(ids, min(len(ids) - 1, choose.randint(1, 12))))}
    step = {"do": "add", "n": choose.randint(1, 20), "seed": seed}
    if chance > 0.8:
        known = choose.sample(ids, step["n"] // 2)
        fresh = [max(ids) + 1 + 3 * i for i in range(step["n"] - len(known))]
        return {**step, "ids": known + fresh[::-1], "upsert": True}
    return step


def warm_up():
    """Load in the parent, before any fork, all that children need: modules and compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        oracle = build_all(path, STARTS["integers"])
        for step in (OPERATIONS["upsert"][1], OPERATIONS["compact"][1]):
            perform(path, step)
            oracle = oracle.after(step)
        check_sound(path, oracle)


def main():
    """Take orders until the input ends."""
    with small_sizes():
        warm_up()
        for line in sys.stdin:
            order = json.loads(line)
            what = {"fault": fault, "work": work}[order.pop("what")]
            child = os.fork()
            if child == 0:
                what(**order)
                os._exit(0)
            say("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
