"""Virtual environments with chosen versions of the dependencies, and copies of the sources to build from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from .dependencies import ROOT, lowest, requirements

# What is not a part of the sources, as .gitignore has it.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", "__pycache__", "*.egg-info", ".venv*", "build", "dist", ".*_cache", ".hypothesis"
)
EXTRAS = ("test",)
# What depends most on libraries: numerical code, compiled kernels, file formats, the command line, old indexes.
TESTS = (
    *("tests/test_index.py", "tests/test_cli.py", "tests/test_codes.py", "tests/test_margins.py"),
    *("tests/format", "tests/inputs", "tests/storage", "tests/search", "tests/methods", "tests/plugins"),
    *("tests/evaluation", "tests/crossmodal"),
)


def run(*command: object, **options: object) -> None:
    """Run a command; stop with its line where it fails."""
    line = [str(part) for part in command]
    done = subprocess.run(line, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"failed with {done.returncode}: {' '.join(line)}")


def clean_copy(target: Path) -> Path:
    """Copy the sources without anything that was made from them."""
    shutil.copytree(ROOT, target, ignore=_LEFT_OUT)
    return target


def make(folder: Path) -> Path:
    """Make an empty virtual environment; return its Python."""
    venv.create(folder, with_pip=True, clear=True)
    return folder / "bin" / "python"


def pip(python: Path, *arguments: object, **options: object) -> None:
    """Run the environment's pip."""
    run(python, "-m", "pip", "--disable-pip-version-check", *arguments, **options)


def build_wheel(python: Path, source: Path, target: Path, **options: object) -> Path:
    """Build the wheel of a copy of the sources."""
    pip(python, "wheel", "--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir", target, source, **options)
    (wheel,) = target.glob("*.whl")
    return wheel


def test_with(bounds: str, folder: Path, tests: list[str]) -> None:
    """Install the wheel with the oldest or newest dependencies and run the tests on what was installed."""
    source, python = clean_copy(folder / "source"), make(folder / "venv")
    wanted = lowest(*EXTRAS) if bounds == "oldest" else [a + b for a, b in requirements(*EXTRAS).items()]
    pip(python, "install", "--quiet", "--only-binary", ":all:", "--upgrade", *wanted)
    pip(python, "install", "--quiet", "--no-deps", build_wheel(python, source, folder / "wheel"))
    pip(python, "check")
    pip(python, "list", "--format", "freeze")
    # The sources would be found before what was installed.
    shutil.rmtree(source / "hashdb")
    shutil.rmtree(source / "plugins")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    # Warnings of libraries are of their time; the tests in CI, with the newest, make errors of them.
    options = ("-W", "default") if bounds == "oldest" else ()
    run(python, "-m", "pytest", "-q", *options, *(tests or TESTS), cwd=source, env=environment)
    print(f"hashdb works with the {bounds} dependencies that pyproject.toml allows on Python {sys.version.split()[0]}")
