"""Commands that a signal reaches at a random moment; what it leaves is for the test to judge.

Run as a script with a file of JSON: a list of trials, each with `argv`, `cwd`, `signals` and `moment`: the share of the
time that the command took when it was last run without signals. Each trial is a fork of this process, which has
everything loaded, so that the moments fall on the work rather than on imports. Prints for each trial the exit code and
what it printed on stderr.
"""

import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

import hashdb.__main__
import hashdb.cli.manage
import hashdb.cli.query
import hashdb.cli.write
from hashdb.search.scan import use_kernels

PATIENCE = 60  # seconds until a command counts as hanging


def run(usual, argv, cwd, signals, moment):
    """Run a command in a fork, send it the signals, the first at its moment, and see how it ends."""
    pid = os.fork()
    if not pid:
        os.chdir(cwd)
        for stream, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = ["hashdb", *argv]
        raise _InChild
    # Before that, the fork is not yet a command.
    while not listens(pid):
        time.sleep(0.0005)
    started = time.monotonic()
    code, seconds = None, moment * usual.get(str(argv), 0.0)
    for number in signals:
        code = code if code is not None else ended(pid, started + seconds)
        if code is None:
            os.kill(pid, getattr(signal, number))
            seconds += 0.01
    code = code if code is not None else ended(pid, time.monotonic() + PATIENCE)
    if code is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not signals:
        usual[str(argv)] = time.monotonic() - started
    return {"code": code, "err": (Path(cwd) / "err.txt").read_text()}


def ended(pid, until):
    """Give the exit code of a process once it has ended, None where it has not by then."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(min(0.001, max(0.0, until - time.monotonic())))


def listens(pid):
    """Whether a process has a handler for SIGTERM, or is gone."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"SigCgt:\s+([0-9a-f]+)", status)
    return "State:\tZ" in status or bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def load_everything():
    """Do once what the commands do, so that what they import and compile is there."""
    rows = np.random.default_rng(0).standard_normal((1 << 16, 4)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        use_kernels()
        with hashdb.build(folder + "/a", rows, "lsh", 64) as index:
            index.query(rows[:300], k=5)
            index.add(rows[:5], list(range(5)), upsert=True)
            index.delete([7])
            index.compact()


class _InChild(BaseException):
    """Leaves the loop of trials in a child, which becomes the command."""


if __name__ == "__main__":
    results, usual = [], {}
    load_everything()
    try:
        for trial in json.loads(Path(sys.argv[1]).read_text()):
            results.append(run(usual, **trial))
    except _InChild:
        code = 1
        try:
            hashdb.__main__.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            # Taking down all that is loaded would be most of the time, and so of the moments.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    else:
        print(json.dumps(results))
