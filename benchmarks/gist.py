"""GIST descriptors a second, by threads, beside the same mathematics image by image in float64.

``python -m benchmarks.gist`` takes the test images of CIFAR-10 (``HASHDB_DATA``), ``--quick`` a few of them. The last
columns compare with the descriptors that are stored beside the images.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import data, interleaved, ratio, table
from hashdb import registry

HEAD = (
    "images",
    "threads",
    "images/s",
    "plain NumPy, 1 thread",
    "times faster",
    "equal as float16",
    "largest difference",
)
_PLAIN = 40  # images that the plain way does


def plain(images: np.ndarray) -> np.ndarray:
    """Describe images one by one: whole transforms in float64, nothing batched, nothing cut off early."""
    from hashdb_plugins.encoders.gist import _bank, _prefiltered

    bank = _bank(*images.shape[1:3]).astype(np.float64)
    height, width = images.shape[1:3]
    found = []
    for image in images:
        spectrum = np.fft.fft2(np.pad(_prefiltered(image), 16, mode="symmetric"))
        for gain in bank:
            response = np.abs(np.fft.ifft2(spectrum * gain))[16:-16, 16:-16]
            found.append(response.reshape(4, height // 4, 4, width // 4).mean(axis=(1, 3)).T.ravel())
    return np.array(found).reshape(len(images), -1)


def rows(n_images: int, repeats: int) -> list[tuple[Any, ...]]:
    """Measure at one and at two threads."""
    folder = data() / "cifar10"
    images = np.load(folder / "test_images.npy")[:n_images]
    stored = np.load(folder / "gist512_float16.npy", mmap_mode="r")[50_000 : 50_000 + n_images]
    encoder = registry.get("gist", kind="encoder")
    items = list(images)
    vectors = encoder.encode_items(items, {})
    equal = f"{(vectors.astype(np.float16) == stored).mean():.2%}"
    largest = f"{np.abs(vectors.astype(np.float64) - stored).max():.1e}"
    lines = []
    for n_threads in (1, 2):
        calls = {
            "hashdb": partial(_with_threads, n_threads, encoder, items),
            "plain": partial(plain, images[:_PLAIN]),
        }
        seconds = interleaved(calls, repeats)
        faster = ratio(seconds, "plain", "hashdb") * len(images) / min(_PLAIN, len(images))
        rate, slow = len(images) / median(seconds["hashdb"]), min(_PLAIN, len(images)) / median(seconds["plain"])
        lines.append((f"{n_images:,}", n_threads, f"{rate:,.0f}", f"{slow:,.0f}", f"{faster:.1f}", equal, largest))
    return lines


def _with_threads(n_threads: int, encoder: Any, items: list[Any]) -> np.ndarray:
    before = os.environ.get("HASHDB_NUM_THREADS")
    os.environ["HASHDB_NUM_THREADS"] = str(n_threads)
    try:
        return encoder.encode_items(items, {})
    finally:
        if before is None:
            del os.environ["HASHDB_NUM_THREADS"]
        else:
            os.environ["HASHDB_NUM_THREADS"] = before


def main(arguments: Sequence[str] | None = None) -> str:
    """Measure and return the section as text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two hundred images, once")
    parser.add_argument("--images", type=int, default=2000, metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    options = parser.parse_args(arguments)
    found = rows(200, 1) if options.quick else rows(options.images, options.repeats)
    return "GIST descriptors of CIFAR-10's test images, 32 x 32 pixels, 512 dimensions.\n\n" + table(HEAD, found)


if __name__ == "__main__":
    print(main())
