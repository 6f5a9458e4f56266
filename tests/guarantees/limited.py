"""What the tests of limits share: children under a limit, the command line in one, disks of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NO_MOUNTS = "this machine gives a process no mounts of its own (unshare --mount), so no small disk can be made"

# Runs commands of the command line in one process, and prints what each of them did as a line of JSON.
COMMANDS = """
import contextlib, io, json, sys
from hashdb.cli import main

def command(*arguments):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["hashdb", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return {"command": list(map(str, arguments)), "code": code, "out": out.getvalue(), "err": err.getvalue()}
"""


@dataclass
class Ended:
    """How a child ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """What it printed, a document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*command: object, timeout: float = 120, stdin: bytes | None = None, **variables: object) -> Ended:
    """Run a command with more environment variables."""
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def python(program: str, *arguments: object, **options: Any) -> Ended:
    """Run a program in a child; it may use `command` of COMMANDS."""
    code = COMMANDS + textwrap.dedent(program)
    return run(sys.executable, "-W", "error", "-c", code, *arguments, **options)


def hashdb_command(*arguments: object, limits: str = "", **options: Any) -> Ended:
    """Run the command line itself, after a line of shell that sets limits."""
    line = f'{limits or ":"}; exec "$@"'
    return run("bash", "-c", line, "bash", sys.executable, "-m", "hashdb", *arguments, **options)


def own_mounts() -> list[str]:
    """Give the command that starts another with mounts of its own, or skip."""
    for command in (["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    pytest.skip(NO_MOUNTS)


def on_disk(folder: Path, program: str, *arguments: object, size: str = "64m", **options: Any) -> Ended:
    """Run a program with a small disk at `folder`, which `sys.argv[1]` names, and a function `remount(**options)`."""
    folder.mkdir(exist_ok=True)
    remount = """
    DISK = sys.argv[1]

    def remount(**options):
        import subprocess
        given = ",".join(f"{name}={value}" if value else name for name, value in options.items())
        subprocess.run(["mount", "-o", f"remount,{given}", DISK], check=True)
    """
    code = COMMANDS + textwrap.dedent(remount) + textwrap.dedent(program)
    line = 'mount -t tmpfs -o "size=$1" none "$2" || exit 99; exec "${@:3}"'
    child = (sys.executable, "-W", "error", "-c", code, folder, *arguments)
    ended = run(*own_mounts(), "bash", "-c", line, "bash", size, folder, *child, **options)
    if ended.code == 99:
        pytest.skip(NO_MOUNTS)
    return ended


def rows_of(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Random vectors."""
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def check_one_line(ended: Ended | dict[str, Any], *parts: str) -> None:
    """A command failed with one line, which holds each part."""
    found = ended if isinstance(ended, dict) else {"code": ended.code, "err": ended.err}
    lines = found["err"].splitlines()
    assert found["code"] == 1, found
    assert len(lines) == 1, found
    assert lines[0].startswith("hashdb: "), found
    for part in parts:
        assert part in lines[0], found
