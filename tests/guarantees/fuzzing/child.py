"""The process that fuzzes: ``python child.py TARGET … --executions N``; prints a line of JSON for each target.

atheris, where it is installed and asked for, keeps what reaches new code; otherwise inputs are harmed blindly, which is
faster by the input and finds less. An input that breaks a promise is written to the folder ``--faults``.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others reserve memory in advance

_PATIENCE = 150  # seconds of the processor for one input
_ADDRESSES = 3 << 30  # bytes beyond what the process has at its start: a claimed petabyte is refused at once
_NOISE = 64 << 20  # bytes by which a process may grow whatever it reads
_TRACED = 8  # memory is traced for one input in so many: that takes twice the time; the process is looked at for each


def main() -> None:
    """Fuzz."""
    options = _options()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    _end_by_alarm()
    if options.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["hashdb"], exclude=_kernels()):
            runner = _Runner(options, options.targets[0])
        runner.with_atheris(atheris)
    else:
        for name in options.targets:
            _Runner(options, name).blindly()


def _kernels() -> list[str]:
    """Name the modules that are compiled from their byte code, which must stay as it is."""
    root = Path(importlib.util.find_spec("hashdb").origin).parent
    parts = [path.relative_to(root.parent).with_suffix("").parts for path in (root / "search").rglob("*.py")]
    return [".".join(part).removesuffix(".__init__") for part in parts]


def _end_by_alarm() -> None:
    """Let an alarm tell where the threads are and end the process, also out of a library of C that does not return.

    It counts the time of the processor: SIGALRM belongs to the oracle. A thread that watches, as faulthandler offers
    it, frees memory of Python without the GIL: where tracemalloc starts or stops at that moment, Python 3.11 crashes.
    """
    faulthandler.register(signal.SIGPROF, chain=True)


def _peaks() -> list[int]:
    """Tell how many bytes the process has had at most: of addresses, which may be claimed and not touched, and touched.

    The first is the most of its whole life, the second that since :func:`_forget_peak`.
    """
    status = Path("/proc/self/status").read_bytes()
    return [int(status.partition(name)[2].split(maxsplit=1)[0]) << 10 for name in (b"VmPeak:", b"VmHWM:")]


def _forget_peak() -> None:
    """Let the peak of touched memory begin anew, where the system can: growth below an earlier one is seen then."""
    with suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as file:
        file.write(b"5")


class _Runner:
    """Runs inputs and counts them."""

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        from guarantees.fuzzing.targets import targets

        self.options = options
        self.target = targets()[name]
        self.seeds = self.target.seeds()
        self.done = 0
        self.faults: set[str] = set()
        fast = Path("/dev/shm")  # memory, where the system has it
        self.folder = Path(tempfile.mkdtemp(prefix="hashdb-fuzz-", dir=fast if os.access(fast, os.W_OK) else None))
        self.path = self.folder / f"input.{name}"
        self.last = self.folder / "last"
        print(f"should the process end, {self.last} keeps what it was reading", file=sys.stderr, flush=True)
        tracemalloc.stop()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for raw in self.seeds:  # whatever is imported on first use
            self.target.try_input(raw, self.path)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESSES, most))

    def one(self, raw: bytes) -> None:
        """Run one input; a broken promise is told and kept, and the fuzzing goes on."""
        signal.setitimer(signal.ITIMER_PROF, _PATIENCE)
        if self.done % _TRACED == 0 and self.target.is_ours:
            tracemalloc.start()
        self.done += 1
        self.last.write_bytes(raw)
        _forget_peak()
        before = _peaks()
        try:
            self.target.try_input(raw, self.path)
            # What C libraries take is not traced.
            grown = max(most - least for most, least in zip(_peaks(), before, strict=True))
            if grown > self.target.floor + _NOISE:
                raise MemoryError(f"the process has grown by {grown:,} bytes")
        except Exception as error:
            self._keep(raw, error)
        finally:
            tracemalloc.stop()

    def _keep(self, raw: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "hashdb/" in f.filename), "")
        kind = f"{type(error).__name__} {place} {str(error)[:30]}"
        if kind in self.faults:
            return
        self.faults.add(kind)
        name = f"{self.target.name}-{hashlib.sha256(raw).hexdigest()[:8]}"
        (self.options.faults / name).write_bytes(raw)
        print(f"{name}: {''.join(traceback.format_exception(error))}"[-3000:], file=sys.stderr, flush=True)

    def blindly(self) -> None:
        """Harm the seeds, and what was read without complaint, at random."""
        rng = random.Random(self.options.seed)
        ends = time.monotonic() + self.options.seconds
        while self.done < self.options.executions and time.monotonic() < ends:
            self.one(self.target.harm(rng.choice(self.seeds), rng, self.seeds))
        self.report()

    def with_atheris(self, atheris: Any) -> None:
        """Let coverage guide, with our mutators beside libFuzzer's own."""
        corpus = self.options.corpus
        corpus.mkdir(parents=True, exist_ok=True)
        for raw in self.seeds:
            (corpus / hashlib.sha1(raw).hexdigest()).write_bytes(raw)
        ends = time.monotonic() + self.options.seconds

        def harm(raw: bytes, max_size: int, seed: int) -> bytes:
            rng = random.Random(seed)
            return (
                self.target.harm(raw, rng, self.seeds)[:max_size]
                if rng.random() < 0.7
                else atheris.Mutate(raw, max_size)
            )

        def run(raw: bytes) -> None:
            self.one(raw)
            if self.done >= self.options.executions or time.monotonic() > ends:
                self.report()
                sys.stdout.flush()
                os._exit(0)  # libFuzzer's own ways of ending call it a crash

        arguments = [
            sys.argv[0],
            str(corpus),
            "-max_len=16384",
            "-rss_limit_mb=0",
            "-timeout=0",  # see _end_by_alarm
            f"-seed={self.options.seed + 1}",
            "-verbosity=0",
        ]
        atheris.Setup(arguments, run, custom_mutator=harm)
        atheris.Fuzz()

    def report(self) -> None:
        """Print what was done."""
        print(json.dumps({"target": self.target.name, "executions": self.done, "faults": len(self.faults)}), flush=True)
        shutil.rmtree(self.folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", help="atheris takes one")
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("blind", "atheris"), default="blind")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--faults", type=Path, default=Path())
    return parser.parse_args()


if __name__ == "__main__":
    main()
