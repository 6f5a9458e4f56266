"""Small data sets in the formats of their publishers, each written by hand rather than by the code under test."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(11)


def write_cifar(folder: Path, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Six batches of `n` images: class, then the red, green and blue planes; gives images and classes."""
    batches = folder / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    images = RNG.integers(0, 256, (6 * n, 32, 32, 3), dtype=np.uint8)
    labels = RNG.integers(0, 10, 6 * n, dtype=np.uint8)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    for number, name in enumerate(names):
        raw = b""
        for row in range(number * n, (number + 1) * n):
            raw += bytes([labels[row]]) + b"".join(images[row, :, :, channel].tobytes() for channel in range(3))
        (batches / name).write_bytes(raw)
    return images, labels


def write_idx(path: Path, array: np.ndarray) -> None:
    raw = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_mnist(folder: Path, end: str = ".gz") -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True)
    images, labels = RNG.integers(0, 256, (14, 28, 28), dtype=np.uint8), RNG.integers(0, 10, 14, dtype=np.uint8)
    for name, rows in (("train", slice(0, 10)), ("t10k", slice(10, 14))):
        write_idx(folder / f"{name}-images-idx3-ubyte{end}", images[rows])
        write_idx(folder / f"{name}-labels-idx1-ubyte{end}", labels[rows])
    return images, labels


def write_vecs(path: Path, rows: np.ndarray) -> None:
    path.write_bytes(b"".join(struct.pack("<i", len(row)) + row.tobytes() for row in rows))


def write_nus_wide(folder: Path, n: int = 9) -> dict[str, np.ndarray]:
    """Tables as published: features between blanks with one at the end of a line, tags between tabs, labels a line."""
    for name in ("Low_Level_Features", "NUS_WID_Tags", "Groundtruth/AllLabels", "ConceptsList"):
        (folder / name).mkdir(parents=True)
    parts = {"BoW_int": RNG.integers(0, 90, (n, 500))}
    for name, dim in (("CH", 64), ("CORR", 144), ("EDH", 73), ("WT", 128), ("CM55", 225)):
        parts[f"Normalized_{name}"] = np.round(RNG.random((n, dim)), 6)
    for name, rows in parts.items():
        text = "".join(" ".join(f"{value:g}" for value in row) + " \n" for row in rows)
        (folder / "Low_Level_Features" / f"{name}.dat").write_text(text)
    parts["tags"] = RNG.integers(0, 2, (n, 1000))
    text = "".join("\t".join(map(str, row)) + "\t\r\n" for row in parts["tags"])
    (folder / "NUS_WID_Tags" / "AllTags1k.txt").write_text(text, newline="")
    parts["labels"] = RNG.integers(0, 2, (n, 3))
    for column, concept in enumerate(("airport", "animal", "sky")):
        lines = "".join(f"{value}\n" for value in parts["labels"][:, column])
        (folder / "Groundtruth/AllLabels" / f"Labels_{concept}.txt").write_text(lines)
    return parts


def write_posts(path: Path, posts: list[tuple[str, str, str, bytes]]) -> None:
    """Make the archive of 20 Newsgroups by date of (part, group, number, text)."""
    with tarfile.open(path, "w:gz") as archive:
        for part, group, number, text in posts:
            entry = tarfile.TarInfo(f"20news-bydate-{part}/{group}/{number}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
