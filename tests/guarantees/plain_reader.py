"""An index read by its format's page, with json and NumPy alone: an oracle that shares no code with hashdb."""

import hashlib
import itertools
import json
import os
from pathlib import Path

import numpy as np

GROUPS = ("manifests", "segments", "models", "deletes")


def manifests(path):
    """Version -> manifest, for every version that is there."""
    files = sorted(Path(path).glob("manifests/0*.json"))
    return {int(file.stem): json.loads(file.read_bytes()) for file in files}


def read_versions(path):
    """Version -> {id: (bytes of the code, bytes of the stored vector)}, for every version that is there."""
    path, segments, result = Path(path), {}, {}
    for version, manifest in manifests(path).items():
        rows = result[version] = {}
        for entry in manifest["segments"]:
            key = entry["uuid"], entry["first_id"]
            if key not in segments:
                segments[key] = _segment(path / "segments" / entry["uuid"], entry["first_id"])
            ids, held = segments[key]
            dead = set()
            for lists in entry["deletes"]:
                dead.update(np.fromfile(path / "deletes" / lists["uuid"] / "rows/c/0", "<u4").tolist())
            alive = {id_: row for number, (id_, row) in enumerate(zip(ids, held, strict=True)) if number not in dead}
            if rows.keys() & alive.keys() or len(alive) != entry["n"] - sum(lists["n"] for lists in entry["deletes"]):
                raise ValueError(f"version {version} holds an id twice, or deletes a row twice: {entry['uuid']}")
            rows.update(alive)
    return result


def _segment(folder, first_id):
    document = json.loads((folder / "segment.json").read_bytes())
    arrays = {name: _array(folder / name, spec) for name, spec in document["arrays"].items()}
    n = document["n"]
    if "id_bytes" in arrays:
        data, offsets = arrays["id_bytes"].tobytes(), arrays["id_offsets"].tolist()
        ids = [data[start:stop].decode() for start, stop in itertools.pairwise(offsets)]
    else:
        ids = arrays["ids"].tolist() if "ids" in arrays else list(range(first_id, first_id + n))
    vectors = arrays.get("vectors", np.empty((n, 0), np.uint8))
    return ids, [(code.tobytes(), vector.tobytes()) for code, vector in zip(arrays["codes"], vectors, strict=True)]


def _array(folder, spec):
    shape, tail = spec["shape"], "/0" * (len(spec["shape"]) - 1)
    chunks = range(-(-shape[0] // spec["chunk_rows"]))
    data = b"".join((folder / f"c/{chunk}{tail}").read_bytes() for chunk in chunks)
    whole = np.frombuffer(data, np.dtype(spec["dtype"]).newbyteorder("<")).reshape(-1, *shape[1:])
    return whole[: shape[0]]


def bytes_of(path):
    """Digest of all that is below a folder: names and bytes."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(path):
        folders.sort()
        digest.update(repr((os.path.relpath(place, path), folders, sorted(names))).encode())
        for name in sorted(names):
            digest.update(Path(place, name).read_bytes())
    return digest.hexdigest()


def unnamed_files(path):
    """Files and folders that no version that is there names, and files that one names and that are not there."""
    path, named = Path(path), {"zarr.json", *(f"{group}/zarr.json" for group in GROUPS)}
    for version, manifest in manifests(path).items():
        named.add(f"manifests/{version:012d}.json")
        if manifest["model"] is not None:
            named |= _listed(path, f"models/{manifest['model']['uuid']}", "model.json")
        for entry in manifest["segments"]:
            folder = f"segments/{entry['uuid']}"
            named |= _listed(path, folder, "segment.json")
            for table in entry["tables"]:
                named.add(f"{folder}/buckets/zarr.json")
                named |= _listed(path, f"{folder}/buckets/{table['name']}", "table.json")
            for lists in entry["deletes"]:
                named |= {f"deletes/{lists['uuid']}/{name}" for name in ("zarr.json", "rows/zarr.json", "rows/c/0")}
    found = set()
    for place, folders, names in os.walk(path):
        # A folder counts by its files; only an empty one counts by itself.
        found.update(os.path.relpath(os.path.join(place, name), path) for name in names)
        if not folders and not names:
            found.add(os.path.relpath(place, path))
    return sorted(found ^ named)


def _listed(path, folder, document):
    files = json.loads((path / folder / document).read_bytes())["files"]
    return {f"{folder}/{document}", *(f"{folder}/{name}" for name in files)}
