"""Zarr arrays as one piece of bytes, the metadata and one chunk, so that they are fuzzed like files."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from guarantees.fuzzing.mutators import mutate, mutate_json
from guarantees.fuzzing.seeds import ROWS

_CUT = b"\0\n"


def zarrs() -> list[bytes]:
    """Arrays of version 3 and 2 with the usual codecs, each of one chunk."""
    import numcodecs
    import zarr
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, options in enumerate(
            (
                *({"compressors": None}, {"compressors": GzipCodec()}, {"compressors": ZstdCodec()}),
                *({"compressors": BloscCodec()}, {"shards": ROWS.shape}),
                {"zarr_format": 2, "compressors": numcodecs.Zlib()},
                {"zarr_format": 2, "compressors": numcodecs.LZ4(), "filters": [numcodecs.Shuffle(4)]},
                {"zarr_format": 2, "compressors": None},
            )
        ):
            path = Path(folder) / str(number)
            array = zarr.create_array(path, shape=ROWS.shape, dtype="float32", chunks=ROWS.shape, **options)
            array[:] = ROWS
            found.append(packed(path))
    return found


def packed(path: Path) -> bytes:
    """The metadata and the one chunk of an array."""
    document = next(path / name for name in ("zarr.json", ".zarray") if (path / name).exists())
    chunk = next(path / name for name in ("c/0/0", "0.0") if (path / name).exists())
    return json.dumps(json.loads(document.read_bytes())).encode() + _CUT + chunk.read_bytes()


def unpack(raw: bytes, path: Path) -> None:
    """Make the folder that packed bytes mean."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    document, _, chunk = raw.partition(_CUT)
    is_old = b'"zarr_format": 2' in document
    place = path / ("0.0" if is_old else "c/0/0")
    place.parent.mkdir(parents=True)
    (path / (".zarray" if is_old else "zarr.json")).write_bytes(document)
    place.write_bytes(chunk)


def harm(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Harm metadata by their structure, or anything."""
    document, cut, chunk = raw.partition(_CUT)
    if rng.random() < 0.4:
        return mutate(raw, rng, others)
    if rng.random() < 0.3:
        return document + cut + mutate(chunk, rng, others)
    try:
        return json.dumps(mutate_json(json.loads(document), rng)).encode() + cut + chunk
    except (ValueError, RecursionError):
        return mutate(raw, rng, others)
