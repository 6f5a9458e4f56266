"""Paired rows, a method that learns one code a pair, and the command line."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hashdb import registry
from hashdb.cli import main

UNIFIED = """
import hashdb
import numpy as np
from hashdb.errors import ArgumentError

def key(what, modality):
    return what + "_" + modality

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="unified", title="Unified", paper="", year=0, supervision="paired modalities")

@hashdb.hookimpl
def fit(vectors, n_bits):
    if len(vectors) != 2:
        raise ArgumentError(f"unified takes two modalities, got {len(vectors)}")
    views = {name: view.astype(np.float64) - view.mean(axis=0) for name, view in vectors.items()}
    one, other = views
    left, _, right = np.linalg.svd(views[one].T @ views[other])
    if n_bits > min(len(left), len(right)):
        raise ArgumentError(f"n_bits is {n_bits}, expected at most {min(len(left), len(right))}: "
                            "that is what the smaller modality has")
    state, together = {}, 0
    for name, directions in ((one, left), (other, right.T)):
        state[key("mean", name)] = vectors[name].mean(axis=0)
        state[key("weights", name)] = np.ascontiguousarray(directions[:, :n_bits], np.float32)
        together = together + views[name] @ directions[:, :n_bits] / (1e-9 + np.abs(views[name]).mean())
    return {**state, "training_codes": together > 0}

@hashdb.hookimpl
def encode(state, vectors, modality):
    return hashdb.margins.encode(vectors, state[key("weights", modality)], mean=state[key("mean", modality)])

@hashdb.hookimpl
def project(state, vectors, modality):
    return hashdb.margins.project(vectors, state[key("weights", modality)], mean=state[key("mean", modality)])
"""


class Done(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]
Install = Callable[..., str]


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Install a plugin for the length of a test: ``install(name, source) -> name``."""
    path, folders = list(sys.path), []

    def write(name: str, source: str) -> str:
        folder = tmp_path_factory.mktemp("site")
        info = folder / f"dist_of_{name}-1.0.dist-info"
        info.mkdir()
        module = f"crossmodal_under_test_{len(folders)}"
        (folder / f"{module}.py").write_text(textwrap.dedent(source))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-of-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[hashdb]\n{name} = {module}\n")
        folders.append(str(folder))
        sys.path[:] = [*folders, *path]
        sys.modules.pop(module, None)
        registry.refresh()
        return name

    yield write
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("crossmodal_under_test_")]:
        del sys.modules[name]
    registry.refresh()


@pytest.fixture
def unified(install: Install) -> str:
    """Name of a method whose training gives every pair one code, which is neither modality's predicted one."""
    return install("unified", UNIFIED)


@pytest.fixture
def pairs() -> dict[str, np.ndarray]:
    """400 pairs that share five directions of 12 and of 7."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((400, 5))
    image = shared @ rng.standard_normal((5, 12)) + 0.6 * rng.standard_normal((400, 12)) + 3
    text = shared @ rng.standard_normal((5, 7)) + 0.6 * rng.standard_normal((400, 7))
    return {"image": image.astype(np.float32), "text": text.astype(np.float32)}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pairs: dict[str, np.ndarray]
) -> Run:
    """Run the command line in a folder with the first 300 pairs in image.npy and text.npy, the others in new-….npy."""
    monkeypatch.chdir(tmp_path)
    for name, rows in pairs.items():
        np.save(f"{name}.npy", rows[:300])
        np.save(f"new-{name}.npy", rows[300:])

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["hashdb", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


def both(name: str = "text.npy") -> tuple[str, ...]:
    """Give the arguments that name both modalities."""
    return ("--modality", "image=image.npy", "--modality", f"text={name}")
