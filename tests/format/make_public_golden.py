"""Write the golden indexes of whole builds: ``python tests/format/make_public_golden.py FOLDER``.

``v1-public/`` was written by this script with hashdb 0.1.0 and is never written again. ``make_golden.py`` beside it
goes through the storage alone; here are what only the layers above write: models that were fitted, stored vectors of
every kind, bucket tables of every shape, and what a reader passes over: derived extensions and kinds of derived data
that it does not know. ``expected.json`` has the rows of each index.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import hashdb
from hashdb.search import layouts, table_making

N = 240
NAMES = ["wide", "hashed", "lean", "cross"]


def values_of(n, dim, seed):
    """Fixed vectors by a linear congruence: no generator that may change."""
    state, found = seed, []
    for _ in range(n * dim):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 64)
        found.append((state >> 40) / (1 << 24) - 0.5)
    return np.array(found, np.float32).reshape(n, dim)


def codes_of(n, seed):
    """Fixed codes of 64 bits."""
    return (values_of(n * 4, 1, seed).reshape(n, 4) * 65535 + 32768).astype(np.uint16).view(np.uint64)


def with_tables(n_substrings, *, wide):
    """Have every segment given such tables, as small as it is."""
    layout = layouts.Layout(n_substrings, wide)
    table_making.choose_layout = lambda n, n_bits, budget: layout if n >= 100 else None


class Golden:
    """Does everything to an index and to a dict of codes, which come from encoding and not from reading the index."""

    def __init__(self, path, vectors, *arguments, ids=None, store=None, **options):
        self.rows = {}
        self.index = hashdb.build(path, vectors, *arguments, ids=ids, store=store, **options)
        own = vectors if store is None else vectors[store]
        self.note(range(len(own)) if ids is None else ids, own, store)

    def note(self, ids, vectors, modality=None):
        """Keep what is in the index from now on."""
        codes = vectors if vectors.dtype == np.uint64 else self.index.encode(vectors, modality=modality)
        self.rows |= {one: f"{int(code[0]):016x}" for one, code in zip(ids, codes, strict=True)}

    def add(self, vectors, ids=None, modality=None, **options):
        """Add rows."""
        given = self.index.add(vectors, ids=ids, modality=modality, **options)
        self.note(given.tolist(), vectors, modality)

    def delete(self, ids):
        """Delete rows."""
        self.index.delete(ids)
        for one in ids:
            del self.rows[one]


def made(path, name):
    """Build one index."""
    if name == "wide":
        with_tables(3, wide=True)
        ids = [(i * 7919) % 100_003 - 50_000 for i in range(N)]
        golden = Golden(path, values_of(N, 24, 1), "itq", 16, ids=ids, store_vectors="float16", metric="l2")
        golden.add(values_of(30, 24, 2), auto_compact=False)
        golden.add(values_of(2, 24, 3), ids=ids[:2], upsert=True, auto_compact=False)
        golden.delete(ids[5:25])
    elif name == "hashed":
        with_tables(2, wide=True)
        golden = Golden(path, values_of(N, 40, 4), "lsh", 32, store_vectors="float32", normalise="l2")
        golden.delete(range(0, 200, 3))
        golden.index.compact()
    elif name == "lean":
        with_tables(4, wide=False)
        ids = [f"{'é' if i % 2 else 'z'}{i * 31 % 997}" for i in range(N)]
        golden = Golden(path, codes_of(N, 5), "codes", ids=ids)
        golden.delete(ids[::9])
    else:
        with_tables(2, wide=False)
        views = {"image": values_of(N, 12, 6), "text": values_of(N, 9, 7) + values_of(N, 12, 6)[:, :9]}
        golden = Golden(path, views, "cvh", 8, store="image", store_vectors="int8")
        golden.add(values_of(20, 9, 8), modality="text", auto_compact=False)
    return golden


def from_tomorrow(path):
    """Add what a later writer may and this reader does not know: a derived extension, and other derived data."""
    root = path / "zarr.json"
    document = json.loads(root.read_bytes())
    document["attributes"]["hashdb"]["extensions"]["derived"] = ["graph-of-neighbours"]
    root.write_bytes(canonical(document))
    parent = None
    for manifest in sorted((path / "manifests").glob("0*.json")):
        fields = json.loads(manifest.read_bytes())
        del fields["checksum"]
        fields |= {"root": hashlib.sha256(root.read_bytes()).hexdigest(), "parent": parent}
        for entry in fields["segments"]:
            entry["tables"].append({"kind": "graph-of-neighbours", "degree": 16, "nested": {"any": ["thing"]}})
        parent = hashlib.sha256(canonical(fields)).hexdigest()
        manifest.write_bytes(b'{"checksum":"' + parent.encode() + b'",' + canonical(fields)[1:])


def canonical(document):
    """Encode as docs/format.md says, without hashdb."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def main(folder):
    """Write everything into a new folder."""
    folder.mkdir(parents=True)
    expected = {}
    for name in NAMES:
        golden = made(folder / f"{name}.hashdb", name)
        rows = {str(one): code for one, code in golden.rows.items()}
        expected[name] = {"version": golden.index.version, "id_kind": golden.index.id_kind, "rows": rows}
        golden.index.close()
    from_tomorrow(folder / "lean.hashdb")
    (folder / "expected.json").write_text(json.dumps(expected, indent=0, sort_keys=True) + "\n")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    digests = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (folder / "files.json").write_text(json.dumps(digests, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
