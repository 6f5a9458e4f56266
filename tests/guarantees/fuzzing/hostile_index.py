"""Indexes that somebody made to do harm: documents and data changed, and every checksum made to fit again.

Run as a script: `python hostile_index.py --executions N --seed S` makes and uses N of them, and prints a line of JSON.
What broke a promise is told on stderr, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hashdb
from guarantees.damage_kit import make as make_index
from guarantees.damage_kit import manifest_of, rows
from guarantees.fuzzing.mutators import mutate, mutate_json
from guarantees.fuzzing.oracle import MIB, check_message, judge
from hashdb.storage.commit import crc32c
from hashdb.storage.documents import digest

MAX_MESSAGE = 700  # of a damaged index it is told as well which versions open
_ADDRESSES = 4 << 30


class Forger:
    """Changes a copy of an index and signs it anew.

    Parameters
    ----------
    master : Path
        A sound index.
    folder : Path
        Where the copies go.
    """

    def __init__(self, master: Path, folder: Path) -> None:
        self.master, self.folder = master, folder
        manifest = manifest_of(master)
        self.manifest_name = f"manifests/{manifest['version']:012d}.json"
        self.units = [f"segments/{entry['uuid']}/segment.json" for entry in manifest["segments"]]
        self.units.append(f"models/{manifest['model']['uuid']}/model.json")
        self.tables = [
            f"segments/{entry['uuid']}/buckets/{table['name']}/table.json"
            for entry in manifest["segments"]
            for table in entry["tables"]
        ]
        # Tables are many, and never an error: the others come as often.
        self.documents = [*self.tables, *["zarr.json", self.manifest_name, *self.units] * 4]

    def copy(self) -> Path:
        """Copy the index; files are shared with it until they are changed."""
        path = self.folder / "hostile.hashdb"
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(self.master, path, copy_function=os.link))

    def forge(self, rng: random.Random) -> tuple[Path, str]:
        """Make a hostile index; give its path, and what was changed."""
        path = self.copy()
        if rng.random() < 0.6:
            name = rng.choice(self.documents)
            self.put_document(path, name, mutate_json(json.loads((path / name).read_bytes()), rng))
        else:
            files = [one for one in sorted(path.rglob("*")) if one.is_file() and "manifests" not in one.parts]
            name = str(rng.choice(files).relative_to(path))
            self.put_data(path, name, self._harmed(name, (path / name).read_bytes(), rng))
        return path, name

    def _harmed(self, name: str, raw: bytes, rng: random.Random) -> bytes:
        if name.endswith(".json"):
            return mutate(raw, rng)
        # Of the same size, so that what is inside is looked at.
        data = bytearray(raw)
        for _ in range(rng.choice((1, 2, 8, 64)) if data else 0):
            width = rng.choice((1, 4, 8))
            at = rng.randrange(0, max(1, len(data)), width)
            value = rng.choice((0, (1 << 8 * width) - 1, 1 << (8 * width - 1), rng.getrandbits(8 * width), len(data)))
            data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")[: len(data) - at]
        return bytes(data)

    def _seal(self, path: Path, body: bytes) -> None:
        rest = body[1:]
        sealed = b'{"checksum":"' + digest(b"{" + rest).encode() + b'",' + rest
        _replace(path / self.manifest_name, sealed)

    def put_document(self, path: Path, name: str, document: Any) -> None:
        """Replace a document and sign everything above it."""
        if name == self.manifest_name and isinstance(document, dict):
            document = {key: value for key, value in document.items() if key != "checksum"}
        _replace(path / name, _written(document))
        self._sign(path, name)

    def put_data(self, path: Path, name: str, raw: bytes) -> None:
        """Replace any file, put its size and checksum where it is listed, and sign everything above it."""
        _replace(path / name, raw)
        for listing in (*self.units, *self.tables):
            folder = listing.rpartition("/")[0]
            if name.startswith(f"{folder}/") and name != listing:
                document = json.loads((path / listing).read_bytes())
                inner = name.removeprefix(f"{folder}/")
                if inner in document["files"]:
                    document["files"][inner] = {"size": len(raw), "crc32c": f"{_crc(raw):08x}"}
                    self.put_document(path, listing, document)
                    return
        if name.startswith("deletes/") and name.endswith("/c/0"):
            manifest = self._manifest(path)
            for lists in [one for entry in manifest["segments"] for one in entry["deletes"]]:
                if lists["uuid"] in name:
                    lists["crc32c"] = f"{_crc(raw):08x}"
            self.put_document(path, self.manifest_name, manifest)
            return
        self._sign(path, name)

    def _manifest(self, path: Path) -> dict[str, Any]:
        return json.loads((path / self.manifest_name).read_bytes())

    def _sign(self, path: Path, name: str) -> None:
        if name == self.manifest_name:
            self._seal(path, (path / name).read_bytes())
            return
        manifest = self._manifest(path)
        if name == "zarr.json":
            manifest["root"] = _digest_of(path / name)
        for entry in manifest["segments"]:
            if name == f"segments/{entry['uuid']}/segment.json":
                entry["digest"] = _digest_of(path / name)
            for table in entry["tables"]:
                if name == f"segments/{entry['uuid']}/buckets/{table['name']}/table.json":
                    table["digest"] = _digest_of(path / name)
        if name == f"models/{manifest['model']['uuid']}/model.json":
            manifest["model"]["digest"] = _digest_of(path / name)
        del manifest["checksum"]
        self._seal(path, _written(manifest))


def _written(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _replace(path: Path, raw: bytes) -> None:
    path.unlink()  # it is shared
    path.write_bytes(raw)


def _crc(raw: bytes) -> int:
    return crc32c(np.frombuffer(raw, np.uint8))


def _digest_of(path: Path) -> str:
    return digest(path.read_bytes())


_VECTORS = rows()


def uses(path: Path) -> list[Callable[[], object]]:
    """Give everything that is done with an index, from looking at it to changing it."""

    def opened(use: Callable[[hashdb.Index], object], **options: Any) -> Callable[[], object]:
        def run() -> object:
            with hashdb.open(path, **options) as index:
                return use(index)

        return run

    def look(index: hashdb.Index) -> None:
        str(index.info()), str(index.versions()), str(index.model), len(index)
        for ids, codes in index.codes(64):
            assert len(ids) == len(codes)

    def ask(index: hashdb.Index) -> None:
        codes = np.zeros((2, (index.model.n_stored_bits + 63) // 64), np.uint64)
        index.query_codes(codes, k=7, n_threads=1)
        index.query_codes(codes, radius=4, n_threads=1)
        index.get(["row-0", "é0001"])
        index.query_ids(["row-0"], k=3, n_threads=1)

    def ask_with_vectors(index: hashdb.Index) -> None:
        index.query(_VECTORS["image"][:2], k=5, rescore=3, modality="image", n_threads=1)

    def change(index: hashdb.Index) -> None:
        index.add(_VECTORS["image"][:3], ids=["new 1", "new 2", "new 3"], modality="image")
        index.delete(["row-3"], ignore_missing=True)

    def compact(index: hashdb.Index) -> None:
        index.compact(prune=True)

    return [
        lambda: str(hashdb.verify(path)),
        lambda: str(hashdb.verify(path, deep=True).problems)[:0],
        opened(look),
        opened(lambda index: None, check="full"),
        opened(ask),
        opened(ask_with_vectors),
        opened(change),
        opened(compact),
    ]


def use_all(path: Path) -> int:
    """Use an index in every way; give how many were refused."""
    n_bytes = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    refused = 0
    for use in uses(path):
        said = judge(use, n_bytes=n_bytes, floor=64 * MIB, paths=(str(path),), max_message=MAX_MESSAGE)
        refused += said is not None
    return refused


class _Told(logging.Handler):
    """Sees that what is logged is as short and printable as errors are."""

    def emit(self, record: logging.LogRecord) -> None:
        check_message(_PATHS.sub("", record.getMessage()), most=MAX_MESSAGE)

    def handleError(self, record: logging.LogRecord) -> None:
        raise


_PATHS = re.compile(r"/\S*/hostile\.hashdb\S*")


def main() -> None:
    """Make hostile indexes and use them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from hashdb.search.scan import use_kernels

    ends, done, refused = time.monotonic() + options.seconds, 0, 0
    faults: dict[tuple[type, str], str] = {}
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if os.access(fast, os.W_OK) else None) as name:
        folder = Path(name)
        make_index(folder / "master.hashdb")
        use_kernels()
        forger = Forger(folder / "master.hashdb", folder)
        assert use_all(forger.copy()) == 0  # and everything is loaded
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[1]))
        logging.getLogger("hashdb").addHandler(_Told())
        logging.getLogger("hashdb").propagate = False
        tracemalloc.start()
        while done < options.executions and time.monotonic() < ends:
            seed = options.seed * 1_000_000 + done
            print(f"seed {seed}", file=sys.stderr, flush=True)  # should the process end
            path, changed = forger.forge(random.Random(seed))
            try:
                refused += use_all(path) > 0
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                place = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "/hashdb/" in f.filename), "")
                text = "".join(traceback.format_exception(error))[-2500:]
                faults.setdefault((type(error), place), f"seed {seed}, {changed} changed: {text}")
            done += 1
    print(json.dumps({"opened": done, "refused": refused}))
    if faults:
        sys.exit("\n".join(faults.values()))


if __name__ == "__main__":
    main()
