"""Codes to search: uniform, clustered and natural, made once in the work folder; queries are always held out.

Rows are made in blocks with a seed each, so that a small data set is the beginning of a large one.

uniform    independent random bits; queries are fresh ones.
clustered  1,000 Gaussian centres c in 128 dimensions, each with a subspace of 16 dimensions: x = c + z B with z of 16
           standard normal values and B (16, 128) normal of scale 0.25; then hashdb's ``lsh``. Queries are fresh draws.
natural    all grey patches of 12 x 12 pixels of the CIFAR-10 test images, 441 positions an image, in random order;
           then hashdb's ``itq``. Queries are patches of images that give no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import data as data_folder

DATASETS = ("uniform", "clustered", "natural")
N_QUERIES = 1000
_BLOCK = 1 << 17
_TRAIN = 100_000
_N_CENTRES, _DIM, _SUBSPACE, _SCALE = 1000, 128, 16, 0.25
_PATCH, _HELD_OUT = 12, 50  # pixels of a side; images that only ask
_QUERIES, _SAMPLE, _MIXTURE = (1 << 40) + np.arange(3)  # seeds in the place of a block's number

Codes = Any  # ndarray of uint64, shape (n, n_words)


def codes(work: Path, dataset: str, n_bits: int, n: int) -> Path:
    """Make a .npy file with at least ``n`` codes, uint64 (rows, n_words), unless there is one, and give its path."""
    folder = work / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{dataset}-{n_bits}-*.npy"):
        if int(path.stem.rsplit("-", 1)[1]) >= n:
            return path
    path = folder / f"{dataset}-{n_bits}-{n}.npy"
    write(path, n, n_bits // 64, _maker(dataset, n_bits))
    return path


def queries(dataset: str, n_bits: int, n: int = N_QUERIES) -> Codes:
    """Give held-out queries, uint64 (n, n_words)."""
    if dataset == "natural":
        rng = np.random.default_rng(int(_QUERIES))
        held_out = len(_windows()) - _HELD_OUT
        rows = held_out * _positions() + rng.choice(_HELD_OUT * _positions(), n, replace=False)
        return _model(dataset, n_bits).encode(_patches(rows))
    return _maker(dataset, n_bits)(int(_QUERIES), n)


def most_rows(dataset: str) -> int | None:
    """Rows a data set has, None for as many as asked for."""
    return (len(_windows()) - _HELD_OUT) * _positions() if dataset == "natural" else None


def most_bits(dataset: str) -> int | None:
    """Widest code a data set gives, None for any: ``itq`` gives at most a bit a dimension, whole words are wanted."""
    return _PATCH**2 // 64 * 64 if dataset == "natural" else None


def write(path: Path, n: int, n_words: int, make: Callable[[int, int], Codes]) -> None:
    """Write ``n`` codes of ``make(block, rows)`` as a .npy file that appears when it is complete."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file, ThreadPoolExecutor(2) as pool:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u8", "fortran_order": False, "shape": (n, n_words)})
        for first in range(0, n, 8 * _BLOCK):  # a few blocks at a time bound the memory
            starts = range(first, min(n, first + 8 * _BLOCK), _BLOCK)
            for block in pool.map(lambda start: make(start // _BLOCK, min(_BLOCK, n - start)), starts):
                file.write(np.ascontiguousarray(block, "<u8"))
    unfinished.rename(path)


def _maker(dataset: str, n_bits: int) -> Callable[[int, int], Codes]:
    return {"uniform": _uniform, "clustered": _clustered, "natural": _natural}[dataset](n_bits)


def _uniform(n_bits: int) -> Callable[[int, int], Codes]:
    return lambda block, n: np.random.default_rng([n_bits, block]).integers(
        0, 2**64, (n, n_bits // 64), dtype=np.uint64
    )


def _clustered(n_bits: int) -> Callable[[int, int], Codes]:
    model = _model("clustered", n_bits)
    return lambda block, n: model.encode(_mixture(block, _BLOCK)[:n])  # what is drawn first depends on how much is


def _natural(n_bits: int) -> Callable[[int, int], Codes]:
    model, order = _model("natural", n_bits), _order()
    return lambda block, n: model.encode(_patches(order[block * _BLOCK : block * _BLOCK + n]))


@cache
def _model(dataset: str, n_bits: int) -> hashdb.Model:
    if dataset == "clustered":
        return hashdb.fit(_mixture(int(_SAMPLE), _TRAIN), method="lsh", n_bits=n_bits, seed=0)
    return hashdb.fit(_patches(_order()[:_TRAIN]), method="itq", n_bits=n_bits, seed=0)


@cache
def _centres() -> tuple[Any, Any]:
    rng = np.random.default_rng(int(_MIXTURE))
    centres = rng.standard_normal((_N_CENTRES, _DIM), np.float32)
    return centres, np.float32(_SCALE) * rng.standard_normal((_N_CENTRES, _SUBSPACE, _DIM), np.float32)


def _mixture(block: int, n: int) -> Any:
    """Draw from the mixture: float32 (n, 128)."""
    centres, bases = _centres()
    rng = np.random.default_rng([1, block])
    vectors = np.empty((n, _DIM), np.float32)
    for centre, rows in _by_cluster(rng.integers(0, _N_CENTRES, n)):
        vectors[rows] = centres[centre] + rng.standard_normal((len(rows), _SUBSPACE), np.float32) @ bases[centre]
    return vectors


def _by_cluster(labels: Any) -> Iterator[tuple[int, Any]]:
    order = np.argsort(labels, kind="stable")
    values, starts = np.unique(labels[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=True)


@cache
def _windows() -> Any:
    """View the grey images as windows: (images, 21, 21, 12, 12)."""
    images = np.load(data_folder() / "cifar10" / "test_images.npy", mmap_mode="r")
    red, green, blue = np.moveaxis(images, 3, 0)
    grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return np.lib.stride_tricks.sliding_window_view(grey, (_PATCH, _PATCH), axis=(1, 2))


def _positions() -> int:
    return int(_windows().shape[1] * _windows().shape[2])


@cache
def _order() -> Any:
    n = (len(_windows()) - _HELD_OUT) * _positions()
    return np.random.default_rng(int(_SAMPLE)).permutation(n)


def _patches(rows: Any) -> Any:
    """Cut patches out by number: float32 (n, 144)."""
    images, positions = np.divmod(rows, _positions())
    across = _windows().shape[2]
    return _windows()[images, positions // across, positions % across].reshape(len(rows), -1)
