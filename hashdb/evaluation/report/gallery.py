"""Pictures in a page: queries with their neighbours, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError

Images = Callable[[int], NDArray[np.uint8] | None]
_MOST_PIXELS = 96


@dataclass(frozen=True)
class Picture:
    """An image with what is said of it: ``source`` is empty where there is none, ``relevant`` None for a query."""

    source: str
    alt: str
    label: str
    distance: str = ""
    relevant: bool | None = None


def gallery(queries: Sequence[Mapping[str, Any]], images: Images) -> list[tuple[Picture, list[Picture]]]:
    """Make the pictures of queries and of their neighbours.

    Parameters
    ----------
    queries : sequence of mapping
        ``row``, ``label`` and ``neighbours``, which have ``row``, ``label``, ``distance`` and ``relevant``.
    images : callable
        Gives the image of a row, None where it has none.

    Returns
    -------
    list of (Picture, list of Picture)
    """
    return [(_query(one, images), [_neighbour(other, images) for other in one["neighbours"]]) for one in queries]


def data_uri(image: NDArray[np.uint8]) -> str:
    """Write an image as a PNG in a data URI, made smaller where a side is above 96 pixels.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width), or (height, width, channels) with 1, 3 or 4 channels

    Raises
    ------
    ArgumentError
        It is of another shape or dtype.
    """
    from PIL import Image  # comes with matplotlib

    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ArgumentError(
            f"an image is {pixels.dtype} of shape {pixels.shape}, expected uint8 (height, width) or (height, width, 3)"
        )
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _query(one: Mapping[str, Any], images: Images) -> Picture:
    label = _label(one.get("label"))
    return Picture(_source(one["row"], images), f"Query: row {one['row']}{label and f', label {label}'}", label)


def _neighbour(one: Mapping[str, Any], images: Images) -> Picture:
    label, relevant = _label(one.get("label")), bool(one["relevant"])
    alt = (
        f"Row {one['row']}{label and f', label {label}'}, distance {one['distance']}, "
        f"{'relevant' if relevant else 'not relevant'}"
    )
    return Picture(_source(one["row"], images), alt, label, str(one["distance"]), relevant)


def _source(row: int, images: Images) -> str:
    image = images(row)
    return "" if image is None else data_uri(image)


def _label(label: Any) -> str:
    if label is None:
        return ""
    return ", ".join(map(str, label)) if isinstance(label, list | tuple) else str(label)
