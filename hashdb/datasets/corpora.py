"""Sets with queries and their true neighbours: TEXMEX, a small part of BIGANN, and those of ann-benchmarks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hashdb.datasets import files
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Download, Layout
from hashdb.progress import Progress

_TEXMEX_HOME = "http://corpus-texmex.irisa.fr/"
_TEXMEX_LICENCE = "see the home page; cite Jégou, Douze, Schmid, PAMI 2011"


def _read_texmex(name: str, stem: str, folder: Path, progress: Progress) -> Dataset:
    vectors = files.vectors(folder / f"{stem}_base.fvecs")
    truth = folder / f"{stem}_groundtruth.ivecs"
    return Dataset(
        name,
        vectors,
        queries=files.vectors(folder / f"{stem}_query.fvecs"),
        neighbours=files.neighbours(files.vectors(truth), len(vectors), truth),
        metric="l2",
    )


def _texmex(name: str, title: str, stem: str, n_rows: int, n_queries: int, dim: int) -> DatasetInfo:
    row = 4 * (1 + dim)
    needed = (
        DataFile(f"{stem}_base.fvecs", n_rows * row),
        DataFile(f"{stem}_query.fvecs", n_queries * row),
        DataFile(f"{stem}_groundtruth.ivecs", n_queries * 4 * (1 + 100)),
    )
    return DatasetInfo(
        name=name,
        title=title,
        home=_TEXMEX_HOME,
        licence=_TEXMEX_LICENCE,
        folder=name,
        layouts=(Layout(needed, partial(_read_texmex, name, stem)),),
        downloads=(
            Download(f"ftp://ftp.irisa.fr/local/texmex/corpus/{stem}.tar.gz", tuple(file.path for file in needed)),
        ),
    )


def _read_bigann(folder: Path, progress: Progress) -> Dataset:
    vectors = files.vectors(folder / "base.npy")
    truth = folder / "groundtruth.npy"
    return Dataset(
        "sift-bigann10k",
        vectors,
        queries=files.vectors(folder / "queries.npy"),
        neighbours=files.neighbours(files.vectors(truth), len(vectors), truth),
        metric="l2",
    )


BIGANN = DatasetInfo(
    name="sift-bigann10k",
    title="10,000 SIFT descriptors of BIGANN and 100 queries",
    home=_TEXMEX_HOME,
    licence=_TEXMEX_LICENCE,
    folder="sift_bigann10k",
    layouts=(
        Layout(
            (
                DataFile("base.npy", 1_280_128, "f829b81ef2539d563a727106b88f1c3fa24944c2eb2572bf03d6fe811856f066"),
                DataFile("queries.npy", 12_928, "e624059efaf3ee4da3d4fd3659190c5efc29dd5bbb3c11024500fe117694b090"),
                DataFile("groundtruth.npy", 40_128, "f675cd136e973b95520f7f6f1e830b59100378e5ceefea2def5705e338fcf076"),
            ),
            _read_bigann,
        ),
    ),
    note="base.npy holds the first 10,000 rows of BIGANN, queries.npy the first 100 of these, uint8; groundtruth.npy "
    "their 100 nearest, int32",
)

_ANN_SETS = {
    "deep-image-96-angular": "deep features of images",
    "fashion-mnist-784-euclidean": "Fashion-MNIST",
    "gist-960-euclidean": "GIST1M",
    "glove-25-angular": "GloVe words, 25 dimensions",
    "glove-50-angular": "GloVe words, 50 dimensions",
    "glove-100-angular": "GloVe words, 100 dimensions",
    "glove-200-angular": "GloVe words, 200 dimensions",
    "mnist-784-euclidean": "MNIST",
    "nytimes-256-angular": "articles of the New York Times",
    "sift-128-euclidean": "SIFT1M",
}


def read_ann_benchmarks(name: str, path: Path, progress: Progress) -> Dataset:
    """Read an HDF5 file of ann-benchmarks: ``train``, ``test`` and ``neighbors``."""
    vectors = files.vectors(path, "train")
    return Dataset(
        name,
        vectors,
        queries=files.vectors(path, "test"),
        neighbours=files.neighbours(files.vectors(path, "neighbors"), len(vectors), path),
        metric="cosine" if path.stem.endswith("angular") else "l2",
    )


def _ann_benchmarks(name: str, what: str) -> DatasetInfo:
    file = f"{name}.hdf5"

    def read(folder: Path, progress: Progress) -> Dataset:
        return read_ann_benchmarks(name, folder / file, progress)

    return DatasetInfo(
        name=name,
        title=f"{what}, as ann-benchmarks has it",
        home="https://github.com/erikbern/ann-benchmarks",
        licence="that of the set it was made from",
        folder="ann_benchmarks",
        layouts=(Layout((DataFile(file),), read),),
        downloads=(Download(f"http://ann-benchmarks.com/{file}", (file,)),),
    )


ALL = (
    BIGANN,
    _texmex("siftsmall", "TEXMEX, 10,000 SIFT descriptors", "siftsmall", 10_000, 100, 128),
    _texmex("sift1m", "TEXMEX, a million SIFT descriptors", "sift", 1_000_000, 10_000, 128),
    _texmex("gist1m", "TEXMEX, a million GIST descriptors", "gist", 1_000_000, 1_000, 960),
    *(_ann_benchmarks(name, what) for name, what in _ANN_SETS.items()),
)
