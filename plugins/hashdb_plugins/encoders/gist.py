"""GIST: the layout of a scene as energies of oriented filters.

Aude Oliva and Antonio Torralba, "Modeling the shape of the scene: a holistic representation of the spatial envelope",
IJCV 42(3), 2001, in the form of its authors' published descriptor for small images. For an image of h x w pixels:

1. Grey g = .299 R + .587 G + .114 B, 0 to 255.
2. Prefilter. u = log(1 + g), mirrored by 5 pixels on every side and then to an even square of side n. With the Gaussian
   gain L(f) = exp(-|f|^2 / s^2), s = 4 / sqrt(log 2), f in cycles per side (low frequencies up to fc = 4):
   v = u - L u, and p = v / (0.2 + sqrt(L v^2)), cut back to h x w.
3. Gabor bank on p mirrored by 16 pixels: 4 scales i, 8 orientations j, gains in the frequency plane, f in cycles per
   pixel and t its angle:  G_ij(f) = exp(-3.5 (|f| / f_i - 1)^2 - 2 pi (t + j pi / 8)^2),  f_i = 0.3 / 1.85^i, the angle
   taken between -pi and pi.
4. |G_ij p| without the border, averaged over 4 x 4 blocks: 32 x 16 = 512 numbers, that of filter k = 8 i + j, column c
   and row r at 16 k + 4 c + r.

The images of one array have one size, and only descriptors of one size are comparable: frequencies count in pixels.
Scale images to one size before.

Cost: 33 Fourier transforms an image, O(h w log(h w)) each; a few MiB a thread and the bank, 128 (h + 32) (w + 32)
bytes. Threads: HASHDB_NUM_THREADS, else the processors this process may use.

Differs from the paper: the prefilter and the averages over blocks are those of the authors' published code, which the
paper only sketches; no principal components are taken. Reconstructed from the definition above and checked against
descriptors of CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from hashdb import MethodInfo, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _parallel

_SCALES, _ORIENTATIONS, _BLOCKS = 4, 8, 4
_FILTERS = _SCALES * _ORIENTATIONS
_DIM = _FILTERS * _BLOCKS**2
_MARGIN = 5  # of the prefilter, in pixels
_BORDER = 16  # of the Gabor bank
_SMALLEST = 8  # pixels: blocks of two by two
_GREY = np.array([0.299, 0.587, 0.114])
_VALUES = 1 << 19  # responses a thread holds at a time: 4 MiB, about what the caches hold


@hookimpl
def describe() -> MethodInfo:
    """Say what the encoder is."""
    return MethodInfo(
        name="gist",
        title="GIST descriptor",
        paper="Oliva and Torralba, IJCV",
        year=2001,
        kind="encoder",
        input="items",
        when="you have small images of one size and want vectors of their layout without a network",
    )


@hookimpl
def encode_items(items: Sequence[Any]) -> np.ndarray:
    """Describe images, each uint8 (h, w, 3) or (h, w) and all of one size, as float32 (n, 512).

    Raises
    ------
    ArgumentError
        An item is no such image, smaller than 8 pixels, or of another size than the first.
    """
    images = [_checked(number, item, items[0]) for number, item in enumerate(items)]
    vectors = np.empty((len(images), _DIM), np.float32)
    if not images:
        return vectors
    bank = _bank(*images[0].shape[:2])
    step = max(1, _VALUES // bank.size)

    def describe_some(start: int) -> None:
        vectors[start : start + step] = _descriptors(images[start : start + step], bank)

    with ThreadPoolExecutor(_parallel._n_threads()) as pool:
        list(pool.map(describe_some, range(0, len(images), step)))
    return vectors


def _checked(number: int, image: Any, first: Any) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)):
        got = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise ArgumentError(f"item {number} is {got}, expected an image: uint8 (height, width, 3) or (height, width)")
    if image.ndim < 2 or min(image.shape[:2]) < _SMALLEST:
        raise ArgumentError(
            f"image {number} has shape {image.shape}, expected at least {_SMALLEST} x {_SMALLEST} pixels; "
            "one image alone is image[None]"
        )
    if image.shape[:2] != first.shape[:2]:
        raise ArgumentError(
            f"image {number} has shape {image.shape}, expected height and width {first.shape[:2]} as the first; "
            "scale all images to one size"
        )
    return image


def _descriptors(images: Sequence[np.ndarray], bank: np.ndarray) -> np.ndarray:
    """Describe a few images at once: (n, 512)."""
    from scipy import fft

    n_filters, height, width = bank.shape
    rows, columns = (slice(_BORDER, size - _BORDER) for size in (height, width))
    energies = np.empty((len(images), n_filters, _BLOCKS, _BLOCKS), np.float32)
    # One image alone, so that its lines never share a vector register with another's: a row is its own.
    mirror = np.ix_(*(_mirror(size - 2 * _BORDER, _BORDER, _BORDER) for size in (height, width)))
    spectra = np.stack([fft.fft2(_prefiltered(image)[mirror]) for image in images]).astype(np.complex64)[:, None]
    some = max(1, min(n_filters, _VALUES // (height * width)))
    for first in range(0, n_filters, some):
        # The border is cut off between the two passes, which spares half of the second.
        part = fft.ifft(spectra * bank[first : first + some], axis=-2, overwrite_x=True)[:, :, rows]
        responses = np.abs(fft.ifft(part, axis=-1)[..., columns])
        energies[:, first : first + some] = _block_means(responses)
    return energies.transpose(0, 1, 3, 2).reshape(len(images), -1)


def _prefiltered(image: np.ndarray) -> np.ndarray:
    """Take out the local mean and divide by the local contrast, equation 2; float64 (h, w)."""
    from scipy import fft

    height, width = image.shape[:2]
    grey = np.log1p(image @ _GREY if image.ndim == 3 else image.astype(np.float64))
    side = max(height, width) + 2 * _MARGIN
    side += side % 2
    mirrored = grey[np.ix_(*(_mirror(size, _MARGIN, side - _MARGIN - size) for size in (height, width)))]
    gain = _low_pass(side)
    high = mirrored - fft.irfft2(fft.rfft2(mirrored) * gain, (side, side))
    contrast = np.sqrt(np.abs(fft.irfft2(fft.rfft2(high * high) * gain, (side, side))))
    inside = (slice(_MARGIN, _MARGIN + height), slice(_MARGIN, _MARGIN + width))
    return high[inside] / (0.2 + contrast[inside])


@lru_cache(maxsize=16)
def _mirror(size: int, before: int, after: int) -> np.ndarray:
    """Give the pixels of a line mirrored at its ends: by the margin first, then by what makes a square."""
    margin = min(before, after)
    line = np.pad(np.arange(size), margin, mode="symmetric")
    return np.pad(line, (before - margin, after - margin), mode="symmetric")


def _block_means(responses: np.ndarray) -> np.ndarray:
    """Average the last two axes over 4 x 4 blocks, whose edges round down where the size does not divide."""
    for axis in (-1, -2):
        edges = np.linspace(0, responses.shape[axis], _BLOCKS + 1).astype(np.int64)
        sizes = np.diff(edges).astype(np.float32)
        responses = np.add.reduceat(responses, edges[:-1], axis=axis)
        responses /= sizes if axis == -1 else sizes[:, None]
    return responses


@lru_cache(maxsize=4)
def _low_pass(side: int) -> np.ndarray:
    """Gains of the prefilter's Gaussian for ``rfft2``, (side, side // 2 + 1)."""
    squares = (np.fft.fftfreq(side) * side) ** 2
    return np.exp(-(squares[:, None] + squares[None, : side // 2 + 1]) * np.log(2.0) / 4.0**2)


@lru_cache(maxsize=4)
def _bank(height: int, width: int) -> np.ndarray:
    """Gains of the filters for images of a size, equation 3; float32 (32, h + 32, w + 32)."""
    down, across = (np.fft.fftfreq(size + 2 * _BORDER) for size in (height, width))
    radius = np.hypot(down[:, None], across)
    angle = np.arctan2(*np.broadcast_arrays(down[:, None], across))
    gains = []
    for scale in range(_SCALES):
        ring = -3.5 * (radius / (0.3 / 1.85**scale) - 1) ** 2
        for orientation in range(_ORIENTATIONS):
            turned = angle + np.pi * orientation / _ORIENTATIONS
            turned -= 2 * np.pi * (turned > np.pi)
            gains.append(np.exp(ring - 2 * np.pi * turned**2))
    return np.stack(gains).astype(np.float32)
