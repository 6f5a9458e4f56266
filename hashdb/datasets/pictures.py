"""CIFAR-10 and the family of MNIST."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import registry
from hashdb.datasets import files
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Download, Layout
from hashdb.errors import InputFileError
from hashdb.progress import Progress

_CIFAR_BATCHES = tuple(
    f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_BYTES = 1 + 3 * 32 * 32  # of an image: its class, then planes of red, green and blue
_CIFAR_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
_CIFAR_LICENCE = "none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_CIFAR_ARCHIVE = Download(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    _CIFAR_BATCHES,
    size=170_052_171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_CIFAR_BINARY = tuple(DataFile(path, 10_000 * _CIFAR_BYTES) for path in _CIFAR_BATCHES)
_GIST_BATCH = 1000


def _read_cifar10(folder: Path, progress: Progress) -> Dataset:
    images, labels = _cifar10(folder)
    return Dataset(
        "cifar10", images.reshape(len(images), -1), labels, _CIFAR_CLASSES, n_train=_n_train(folder), images=images
    )


def _read_computed_gist(folder: Path, progress: Progress) -> Dataset:
    images, labels = _cifar10(folder)
    encoder = registry.get("gist", kind="encoder")
    vectors = np.empty((len(images), 512), np.float32)
    for start in range(0, len(images), _GIST_BATCH):
        part = images[start : start + _GIST_BATCH]
        vectors[start : start + len(part)] = encoder.encode_items(list(part), {})
        progress("computing GIST", start + len(part), len(images))
    return Dataset("cifar10-gist", vectors, labels, _CIFAR_CLASSES, n_train=_n_train(folder), images=images)


def _read_stored_gist(folder: Path, progress: Progress) -> Dataset:
    vectors = files.vectors(folder / _GIST)
    parts = [files.classes(folder / f"{part}_labels.npy") for part in ("train", "test")]
    images, first = None, 0
    # The pictures are for looking at: what there is of them.
    if all((folder / path).exists() for path in _CIFAR_BATCHES):
        images = _cifar10(folder)[0]
    elif (folder / "test_images.npy").exists():
        images, first = files.images(folder / "test_images.npy"), len(parts[0])
    return Dataset(
        "cifar10-gist",
        vectors,
        np.concatenate(parts),
        _CIFAR_CLASSES,
        n_train=len(parts[0]),
        images=images,
        first_image=first,
    )


def _cifar10(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the binary version: images (n, 32, 32, 3) and classes, the training part first."""
    records = np.concatenate([_cifar_batch(folder / path) for path in _CIFAR_BATCHES])
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return images, records[:, 0].astype(np.int64)


def _cifar_batch(path: Path) -> NDArray[np.uint8]:
    size = path.stat().st_size
    if size % _CIFAR_BYTES:
        raise InputFileError(
            f"{path} is truncated or no batch of CIFAR-10: images take {_CIFAR_BYTES:,} bytes each, and its {size:,} "
            f"are {size // _CIFAR_BYTES:,} images and {size % _CIFAR_BYTES:,} bytes"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, _CIFAR_BYTES)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if len(wrong):
        raise InputFileError(
            f"{path} gives image {wrong[0]} the class {records[wrong[0], 0]}, expected 0 to 9: it is damaged, or not "
            "the binary version"
        )
    return records


def _n_train(folder: Path) -> int:
    return sum((folder / path).stat().st_size // _CIFAR_BYTES for path in _CIFAR_BATCHES[:-1])


_GIST = "gist512_float16.npy"

CIFAR10 = DatasetInfo(
    name="cifar10",
    title="CIFAR-10, pixels (binary version)",
    home=_CIFAR_HOME,
    licence=_CIFAR_LICENCE,
    folder="cifar10",
    layouts=(Layout(_CIFAR_BINARY, _read_cifar10),),
    downloads=(_CIFAR_ARCHIVE,),
)
CIFAR10_GIST = DatasetInfo(
    name="cifar10-gist",
    title="CIFAR-10, GIST descriptors of 512 dimensions",
    home=_CIFAR_HOME,
    licence=_CIFAR_LICENCE,
    folder="cifar10",
    layouts=(
        Layout(
            (DataFile(_GIST), DataFile("train_labels.npy"), DataFile("test_labels.npy")),
            _read_stored_gist,
        ),
        Layout(_CIFAR_BINARY, _read_computed_gist),
    ),
    downloads=(_CIFAR_ARCHIVE,),
)

_MNIST_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def _read_mnist(name: str, label_names: tuple[str, ...], end: str, folder: Path, progress: Progress) -> Dataset:
    pictures = [files.images(folder / f"{part}-images-idx3-ubyte{end}") for part in ("train", "t10k")]
    labels = [files.classes(folder / f"{part}-labels-idx1-ubyte{end}") for part in ("train", "t10k")]
    images = np.concatenate(pictures)
    return Dataset(
        name,
        images.reshape(len(images), -1),
        np.concatenate(labels),
        label_names,
        n_train=len(pictures[0]),
        images=images,
    )


def _mnist_like(
    name: str,
    title: str,
    home: str,
    licence: str,
    url: str,
    folder: str,
    known: tuple[tuple[int | None, str | None], ...],
    label_names: tuple[str, ...] = tuple("0123456789"),
) -> DatasetInfo:
    # Copies compressed by someone else are as good: size and checksum are those of the download alone.
    zipped, plain = (tuple(DataFile(f"{part}-ubyte{end}") for part in _MNIST_PARTS) for end in (".gz", ""))
    read: Any = partial(_read_mnist, name, label_names)
    return DatasetInfo(
        name=name,
        title=title,
        home=home,
        licence=licence,
        folder=folder,
        layouts=(Layout(zipped, partial(read, ".gz")), Layout(plain, partial(read, ""))),
        downloads=tuple(
            Download(url + file.path, (file.path,), *facts) for file, facts in zip(zipped, known, strict=True)
        ),
    )


MNIST = _mnist_like(
    "mnist",
    "MNIST, handwritten digits",
    "http://yann.lecun.com/exdb/mnist/",
    "CC BY-SA 3.0",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "mnist",
    (
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)
FASHION_MNIST = _mnist_like(
    "fashion-mnist",
    "Fashion-MNIST, articles of clothing",
    "https://github.com/zalandoresearch/fashion-mnist",
    "MIT",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "fashion_mnist",
    (
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
KMNIST = _mnist_like(
    "kmnist",
    "Kuzushiji-MNIST, ten cursive characters",
    "http://codh.rois.ac.jp/kmnist/",
    "CC BY-SA 4.0",
    "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    "kmnist",
    ((None, None),) * 4,
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

ALL = (CIFAR10, CIFAR10_GIST, MNIST, FASHION_MNIST, KMNIST)
