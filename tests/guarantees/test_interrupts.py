"""Proof: ctrl-C and SIGTERM at any moment end a command cleanly, and leave the index as it was or as it was to be."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import hashdb
from guarantees.blocks import BLOCK, N_BASE, World
from guarantees.interrupted_commands import listens
from guarantees.scripts import run_script
from hashdb.__main__ import _Signals
from hashdb.errors import IndexNotFoundError

SAID = {
    130: "hashdb: interrupted; what was committed before stays\n",
    143: "hashdb: terminated; what was committed before stays\n",
}
COMMANDS = {
    "build": ["build", "new.hashdb", "base.npy", "--method", "lsh", "--bits", "64"],
    "add": ["add", "a.hashdb", "more.npy"],
    "upsert": ["add", "a.hashdb", "more.npy", "--upsert", "--ids", "old.txt"],
    "delete": ["delete", "a.hashdb", "--ids", "old.txt"],
    "compact": ["compact", "a.hashdb", "--prune"],
    "query": ["query", "a.hashdb", "more.npy", "-k", "5", "--output", "out.npz"],
}
SIGNALS = [["SIGINT"], ["SIGTERM"], ["SIGINT", "SIGINT"], ["SIGTERM", "SIGINT"]]


class Bench:
    """Folders to run commands in, and what each command does when nothing stops it."""

    def __init__(self, folder):
        self.folder = folder
        self.n_folders = 0
        master = folder / "master"
        master.mkdir()
        world = World(N_BASE + 100)
        index, _ = world.build(master / "a.hashdb", method="lsh")
        index.add(world.vectors[1, : 20 * BLOCK], np.arange(20 * BLOCK), upsert=True)
        index.close()
        np.save(master / "base.npy", world.vectors[0, : N_BASE * BLOCK])
        np.save(master / "more.npy", world.vectors[1, 100 : 100 + 100 * BLOCK])
        (master / "old.txt").write_text("\n".join(map(str, range(300, 300 + 100 * BLOCK))))
        self.before = rows_of(master / "a.hashdb")
        self.after = {}

    def place(self):
        """Make a folder with an index and inputs, by links: what is published is never written to again."""
        self.n_folders += 1
        place = self.folder / str(self.n_folders)
        shutil.copytree(self.folder / "master", place, copy_function=os.link)
        return place

    def trial(self, name, signals, moment):
        return {"argv": COMMANDS[name], "cwd": str(self.place()), "signals": signals, "moment": moment}

    def run(self, trials):
        """Run trials in forks of one process that has everything loaded, after one of each command in peace."""
        plan = self.folder / "plan.json"
        trials = [self.trial(name, [], 0.0) for name in COMMANDS] + trials
        plan.write_text(json.dumps(trials))
        done = json.loads(run_script("interrupted_commands.py", plan, timeout=120 + 3 * len(trials)))
        done = [{**trial, **result} for trial, result in zip(trials, done, strict=True)]
        for name, one in zip(COMMANDS, done, strict=False):
            assert (one["code"], one["err"]) == (0, "")
            place = Path(one["cwd"])
            self.after[name] = np.load(place / "out.npz")["ids"] if name == "query" else rows_of(index_of(name, place))
        return done[len(COMMANDS) :]

    def judge(self, name, place, code, err):
        """Fail unless the command ended cleanly, and all is as before or as after it."""
        assert code in (0, *SAID), (name, code, err)
        assert err == SAID.get(code, "")
        if name == "query":
            # The file of results is there as a whole or not at all, and nothing lies beside it.
            assert not list(place.glob(".out*"))
            assert (place / "out.npz").exists() or code != 0
            if (place / "out.npz").exists():
                assert np.array_equal(np.load(place / "out.npz")["ids"], self.after[name])
        else:
            self.judge_index(name, place, code)

    def judge_index(self, name, place, code):
        path = index_of(name, place)
        try:
            found = rows_of(path)
        except IndexNotFoundError:
            # The build had not come to its end: it can be made again at once.
            assert name == "build"
            assert code != 0
            hashdb.build(path, np.load(place / "base.npy")[:100], "lsh", 64).close()
            return
        assert hashdb.verify(path).ok
        outcomes = [self.after[name]] if code == 0 or name == "build" else [self.before, self.after[name]]
        assert any(np.array_equal(found, outcome) for outcome in outcomes)
        sweep(path)
        assert unnamed(path) == set()
        assert np.array_equal(rows_of(path), found)


def index_of(name, place):
    return place / ("new.hashdb" if name == "build" else "a.hashdb")


def rows_of(path):
    """All rows of an index: ids and codes side by side."""
    with hashdb.open(path) as index:
        return np.concatenate([np.c_[ids.astype(np.uint64), codes] for ids, codes in index.codes()])


def unnamed(path):
    """Folders that no version names."""
    named = set(re.findall(r"[0-9a-f]{32}", "".join(file.read_text() for file in path.glob("manifests/*.json"))))
    kept = {file.name for group in ("segments", "models", "deletes") for file in (path / group).iterdir()}
    return kept - named - {"zarr.json"} | {file.name for file in path.glob("**/*.tmp")}


def leaves(path):
    """Whether a command that was interrupted left anything but a whole index."""
    return not list(path.glob("manifests/0*.json")) or len(unnamed(path)) > 0


def sweep(path):
    """Compact as if the leftovers were of yesterday."""
    if unnamed(path):
        for file in [*path.rglob("*"), path]:
            os.utime(file, (time.time() - 86_400,) * 2)
        with hashdb.open(path) as index:
            index.compact(prune=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


on_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells when a process listens to a signal"
)


@on_linux
@pytest.mark.parametrize("n", [30, pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_signal_at_any_moment_ends_a_command_cleanly(bench, record_property, n):
    chance = random.Random(n)
    names = [list(COMMANDS)[number % len(COMMANDS)] for number in range(n)]
    # Early moments more often than late ones: how long a command takes depends on what else runs.
    trials = [bench.trial(name, chance.choice(SIGNALS), 1.05 * chance.random() ** 2) for name in names]
    n_met, n_left = 0, 0
    for name, done in zip(names, bench.run(trials), strict=True):
        assert done["code"] is not None, f"{name} hangs"
        place = Path(done["cwd"])
        n_met += done["code"] in SAID
        if len(done["signals"]) == 1 and done["code"] in SAID and index_of(name, place).exists():
            n_left += leaves(index_of(name, place))
        assert done["code"] in (0, *(128 + getattr(signal, number) for number in done["signals"]))
        bench.judge(name, place, done["code"], done["err"])
        shutil.rmtree(place)
    # What was begun is removed at once, but for moments that no program can guard.
    assert n_left <= 1 + n // 50
    assert n_met > n // 10
    record_property("interrupts", n_met)


def test_a_second_signal_does_not_cut_off_what_is_said_of_the_first(monkeypatch):
    signals, said = _Signals(), []

    def write(handle, data):
        signals._arrived(signal.SIGTERM, None)
        signals._again(signal.SIGALRM, None)  # the first had come where nothing could be raised
        said.append(data.decode())

    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr(sys, "argv", ["hashdb", "compact", "a.hashdb"])
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "_exit", end)
    signals.number = signal.SIGINT
    for act in (signals.end, lambda: signals._arrived(signal.SIGINT, None)):
        with pytest.raises(SystemExit, match="130"):
            act()
        assert said == [SAID[130]]


def stopped_early(arguments, place, sent, seconds):
    """Start a command, send it a signal so long after it listens, and give its exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hashdb", *arguments], cwd=place, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # Before that Python itself is starting, and hashdb has not been heard of.
    while not listens(process.pid):
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@on_linux
@pytest.mark.parametrize("n", [4, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_signal_while_a_command_fails_is_as_quiet(tmp_path, record_property, n):
    chance = random.Random(n)
    refused = "hashdb: no index at none.hashdb: there is nothing at that path; `hashdb build` makes one\n"
    codes = []
    for number in range(n):
        sent = [signal.SIGINT, signal.SIGTERM][number % 2]
        code, err = stopped_early(["info", "none.hashdb"], tmp_path, sent, chance.uniform(0, 0.3))
        assert err == {1: refused, **SAID}[code]
        assert code in (1, 128 + sent)
        codes.append(code)
    assert n == 4 or len(set(codes)) == 3
    record_property("interrupts", n - codes.count(1))


@on_linux
@pytest.mark.parametrize("n", [3, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_signal_while_a_command_starts_is_as_quiet(bench, record_property, n):
    chance = random.Random(n)
    n_met = 0
    if not bench.after:
        bench.run([])
    for number in range(n):
        name, sent = list(COMMANDS)[number % len(COMMANDS)], [signal.SIGINT, signal.SIGTERM][number // 2 % 2]
        place = bench.place()
        code, err = stopped_early(COMMANDS[name], place, sent, chance.uniform(0, 0.5))
        bench.judge(name, place, code, err)
        n_met += code == 128 + sent
        shutil.rmtree(place)
    assert n_met > 0
    record_property("interrupts", n_met)


@pytest.mark.parametrize("n", [40, pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_an_interrupted_call_leaves_the_version_before_or_the_one_after(tmp_path, record_property, n):
    record_property(
        "interrupts", int(run_script("interrupted_loop.py", tmp_path / "a.hashdb", n, timeout=120 + n // 2))
    )


def test_a_command_that_ignores_interrupts_as_under_nohup_goes_on(bench):
    place = bench.place()
    ignoring = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from hashdb.__main__ import main\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "sys.argv = ['hashdb', 'delete', 'a.hashdb', '7']\n"
        "import hashdb.index\n"
        "delete = hashdb.index.Index.delete\n"
        "def interrupted(self, *given, **named):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    return delete(self, *given, **named)\n"
        "hashdb.index.Index.delete = interrupted\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", ignoring], cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "deleted 1 row" in done.stdout


@pytest.mark.parametrize("where", ["a destructor", "an import", "a compilation"])
def test_an_interrupt_where_nothing_can_be_raised_comes_a_little_later(tmp_path, where):
    (tmp_path / "importing.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\nprint('imported')\n")
    act = {
        "a destructor": "Odd()",
        "an import": "import importing",
        "a compilation": "exec(open('importing.py').read(), {'__name__': 'numba.core.compiler'})",
    }[where]
    code = (
        "import os, signal, sys, threading\n"
        "from hashdb.__main__ import main\n"
        "import hashdb.cli\n"
        "class Odd:\n"
        "    def __del__(self):\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "def run(failed):\n"
        f"    {act}\n"
        "    threading.Event().wait(30)\n"
        "    print('went on')\n"
        "hashdb.cli.main = run\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, SAID[143])
    assert done.stdout == ("" if where == "a destructor" else "imported\n")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        # The signal waits, since nothing can be raised while something is imported.
        ("import importing\n    raise StorageError('gone')", 1, "hashdb: gone\n"),
        ("import importing\n    sys.exit(3)", 3, ""),
        ("import importing\n    atexit.register(stop)\n    raise StorageError('gone')", 1, "hashdb: gone\n"),
        # What is raised on the way out is not what happened.
        ("try:\n        stop()\n    finally:\n        raise StorageError('half')", 143, SAID[143]),
        ("try:\n        stop()\n    finally:\n        raise ValueError('half')", 143, SAID[143]),
    ],
)
def test_a_command_that_fails_tells_its_error_or_the_signal_that_led_to_it(tmp_path, command, code, said):
    (tmp_path / "importing.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    script = (
        "import atexit, signal, sys, time\n"
        "import hashdb.cli\n"
        "from hashdb.__main__ import main\n"
        "from hashdb.errors import StorageError\n"
        "def stop():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "def run(**options):\n"
        f"    {command}\n"
        "hashdb.cli.cli.main = run\n"
        "class Last:\n"
        "    def __del__(self, sleep=time.sleep):\n"
        "        sleep(0.05)\n"  # an alarm that is left would end the process: Python has let go of its handlers
        "last = Last()\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_signal_is_heard_as_soon_as_it_is_listened_to():
    script = (
        "import signal\n"
        "from hashdb.__main__ import main\n"
        "set_handler = signal.signal\n"
        "def heard(number, handler):\n"
        "    set_handler(number, handler)\n"
        "    signal.raise_signal(number)\n"
        "signal.signal = heard\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, SAID[130])


@pytest.mark.parametrize("module", ["numba.core.compiler", "llvmlite.binding.ffi"])
def test_a_long_compilation_is_left_after_a_while_and_a_lock_of_the_compiler_never_half_taken(module):
    at_work = (
        "import signal, time\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "ends = time.monotonic() + 2.5\n"
        "while time.monotonic() < ends:\n"
        "    pass\n"
        "print('came to its end')\n"
    )
    code = (
        "from hashdb.__main__ import main\n"
        "import hashdb.cli\n"
        f"hashdb.cli.main = lambda failed: exec({at_work!r}, {{'__name__': {module!r}}})\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, SAID[143])
    assert done.stdout == ("came to its end\n" if module.startswith("llvmlite") else "")


def test_a_thread_that_nobody_ends_does_not_keep_a_command_that_is_stopped(tmp_path):
    """As one of a pool does whose start was interrupted."""
    code = (
        "import signal, threading\n"
        "from hashdb.__main__ import main\n"
        "import hashdb.cli\n"
        "def run(failed):\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
        "    print('begun')\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "hashdb.cli.main = run\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (143, SAID[143], "begun\n")
