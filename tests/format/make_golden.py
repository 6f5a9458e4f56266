"""Write the golden indexes of the current format: ``python tests/format/make_golden.py FOLDER``.

``v1/`` was written by this script with hashdb 0.1.0 and is never written again: a new format gets a new folder. Beside
each index stand its expected contents, which come from the arrays below and not from reading the index, and
``files.json`` with the SHA-256 of every file.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from hashdb.storage import Sizes, Store

N_BITS = 100
WORDS = ["zebra", "é", "a", "aa", "Ω" * 200, "a b", "\U0001f600", "Z", "~", "ab", "\x01", "日本"]
ARRAYS = {
    "mean": np.linspace(-1, 1, 5, dtype=np.float32),
    "rotation": (np.arange(12, dtype=np.float64) / 7).reshape(3, 4),
    "flags": np.array([[True, False], [False, True]]),
    "counts": np.array([-(1 << 63), 0, (1 << 63) - 1]),
    "bytes": np.arange(256, dtype=np.uint8),
    "sample.codes": np.array([(1 << 64) - 1, 1 << 63], np.uint64),
    "half": np.array([1.5, -0.25], np.float16),
    "scale": np.array(2.5),
    "empty": np.zeros((0, 4), np.float32),
    "quantiser/thresholds": np.array([[0.5], [-0.5]], np.float32),
}
DOCUMENT = {"method": "itq", "n_bits": N_BITS, "params": {"n_iterations": 50}, "note": "é"}


def codes_of(n, seed):
    """Fixed codes of 100 bits, by a linear congruence: no generator that may change."""
    values = np.array(
        [(seed * 1_000_003 + i * 6_364_136_223_846_793_005 + 1) % (1 << 64) for i in range(2 * n)], np.uint64
    )
    codes = values.reshape(n, 2)
    codes[:, 1] &= np.uint64((1 << (N_BITS - 64)) - 1)
    return codes


def vectors_of(n, seed):
    """Fixed vectors, (n, 3)."""
    return (np.arange(3 * n, dtype=np.float32).reshape(n, 3) - seed) / 8


class Golden:
    """Does each commit on the index and on a dict, and keeps what every version should hold."""

    def __init__(self, folder, name, id_kind):
        self.folder, self.name = folder, name
        sizes = Sizes(chunk_bytes=64 * 16)
        settings = {"metric": "l2", "input_type": "float"}
        path = folder / f"{name}.hashdb"
        self.store = Store.create(
            path, id_kind=id_kind, n_bits=N_BITS - 4, n_stored_bits=N_BITS, settings=settings, sizes=sizes
        )
        self.rows = {}
        self.versions = {}

    def add(self, ids, seed, *, n=None, upsert=False, build=False, **options):
        """Add rows; `ids` None for automatic ones, `n` of them."""
        n = len(ids) if ids is not None else n
        codes, vectors = codes_of(n, seed), vectors_of(n, seed)
        writer = self.store.new_segment(ids=ids, n_rows_hint=n, vectors=(np.float32, 3), **options)
        writer.append(codes, vectors)
        segment = writer.finish()
        if build:
            self.store.commit_build(self.store.write_model(DOCUMENT, ARRAYS), segment)
            given = np.array(range(n) if ids is None else ids)
        else:
            given = self.store.commit_add(segment, upsert=upsert)
        self.rows.update(zip(given.tolist(), zip(codes.tolist(), vectors.tolist(), strict=True), strict=True))
        self.versions[self.store.snapshot.version] = dict(self.rows)

    def delete(self, ids):
        """Delete ids."""
        self.store.commit_delete(ids)
        for id_ in ids:
            del self.rows[id_]
        self.versions[self.store.snapshot.version] = dict(self.rows)

    def finish(self):
        """Write the expected contents beside the index."""
        self.store.close()
        expected = self.folder / f"{self.name}.expected"
        expected.mkdir()
        for version, rows in self.versions.items():
            ids = sorted(rows, key=lambda id_: id_.encode() if isinstance(id_, str) else id_)
            (expected / f"{version}.ids.json").write_text(json.dumps(ids))
            np.save(expected / f"{version}.codes.npy", np.array([rows[id_][0] for id_ in ids], np.uint64))
            np.save(expected / f"{version}.vectors.npy", np.array([rows[id_][1] for id_ in ids], np.float32))
        (expected / "model.json").write_text(json.dumps(DOCUMENT, sort_keys=True))
        for name, array in ARRAYS.items():
            np.save(expected / f"model.{name.replace('/', '+')}.npy", array)


def main(folder):
    """Write everything into a new folder."""
    folder.mkdir(parents=True)
    integers = Golden(folder, "integers", "int64")
    integers.add([5, -3, 7, 1 << 40, 0, -(1 << 62), 6], 1, build=True, modality="image", database_codes="learned")
    integers.add(None, 2, n=150, modality="text")  # three chunks, ids a range
    integers.delete([7, (1 << 40) + 1, (1 << 40) + 64])
    integers.delete([(1 << 40) + 65])
    integers.add([0, 3000], 3, upsert=True, modality="text")
    integers.finish()
    strings = Golden(folder, "strings", "string")
    strings.add(WORDS, 4, build=True)
    strings.delete(["aa", "é"])
    strings.add([f"w{i}" for i in range(70)] + ["é"], 5)
    strings.finish()
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    digests = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (folder / "files.json").write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
