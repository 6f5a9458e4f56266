"""What the storage tests share: makers of indexes, an independent reader, forged manifests, file layers that fail."""

import concurrent.futures
import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from hashdb.storage import Files, Store
from hashdb.storage.documents import digest

EFFECTS = (
    *("mkdir", "create", "write", "write_at", "fsync", "close", "fsync_folder"),
    *("link", "rename", "unlink", "rmdir", "lock_folder"),
)


def make_codes(n, n_bits=64, seed=0):
    """Random codes with zero padding bits, uint64 (n, n_words)."""
    n_words = (n_bits + 63) // 64
    codes = np.random.default_rng(seed).integers(0, 1 << 64, (n, n_words), dtype=np.uint64)
    if n_bits % 64:
        codes[:, -1] &= np.uint64((1 << (n_bits % 64)) - 1)
    return codes


def put(store, codes, ids=None, *, vectors=None, upsert=False, auto_compact=True, **options):
    """Write codes as one segment and add it."""
    return store.commit_add(
        write(store, codes, ids, vectors=vectors, **options), upsert=upsert, auto_compact=auto_compact
    )


def write(store, codes, ids=None, *, vectors=None, pieces=3, **options):
    """Write codes as one segment, appended in several pieces, and do not commit it."""
    if vectors is not None:
        options["vectors"] = (vectors.dtype, vectors.shape[1])
    writer = store.new_segment(ids=ids, **options)
    for part in np.array_split(np.arange(len(codes)), pieces):
        writer.append(codes[part], None if vectors is None else vectors[part])
    return writer.finish()


def new_index(
    path,
    codes=None,
    ids=None,
    *,
    id_kind="int64",
    n_bits=64,
    model=None,
    files=None,
    sizes=None,
    tables=None,
    **options,
):
    """Build an index and return its open store."""
    extra = {"tables": tables} if files is None else {"files": files, "tables": tables}
    store = Store.create(path, id_kind=id_kind, n_bits=n_bits, n_stored_bits=n_bits, settings={}, sizes=sizes, **extra)
    try:
        uuid = None if model is None else store.write_model(*model)
        segment = None if codes is None else write(store, codes, ids, **options)
        store.commit_build(uuid, segment)
    except BaseException:
        store.close()
        raise
    return store


def content(store):
    """Rows of a store's snapshot, as {id: code words}, through the store's own reading."""
    return {
        id_: tuple(code)
        for ids, codes in store.snapshot.iter_id_order(7)
        for id_, code in zip(ids.tolist(), codes.tolist(), strict=True)
    }


def raw_content(path, version=None):
    """Rows of an index, read with json and zarr alone."""
    path = Path(path)
    manifests = sorted((path / "manifests").glob("*.json"))
    manifests = [name for name in manifests if name.name != "zarr.json"]
    chosen = manifests[-1] if version is None else path / "manifests" / f"{version:012d}.json"
    group = zarr.open_group(path, mode="r")
    result = {}
    for entry in json.loads(chosen.read_text())["segments"]:
        segment = group[f"segments/{entry['uuid']}"]
        codes = segment["codes"][:]
        if "ids" in segment:
            ids = segment["ids"][:].tolist()
        elif "id_bytes" in segment:
            data, offsets = segment["id_bytes"][:].tobytes(), segment["id_offsets"][:]
            ids = [data[start:stop].decode() for start, stop in itertools.pairwise(offsets)]
        else:
            ids = list(range(entry["first_id"], entry["first_id"] + entry["n"]))
        dead = {row for lists in entry["deletes"] for row in group[f"deletes/{lists['uuid']}/rows"][:].tolist()}
        assert len(dead) == sum(lists["n"] for lists in entry["deletes"])
        for row, id_ in enumerate(ids):
            if row not in dead:
                assert id_ not in result
                result[id_] = tuple(codes[row].tolist())
    return result


def expected(ids, codes):
    """The dict that an index of these rows should hold."""
    return {id_: tuple(code) for id_, code in zip(list(ids), codes.tolist(), strict=True)}


def tree(path):
    """Every file below a folder with its content."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(Path(path).rglob("*")) if file.is_file()}


def manifest_of(path):
    """The newest manifest of an index."""
    (*_, newest) = sorted((path / "manifests").glob("0*.json"))
    return newest


def seal(path, manifest, name=None):
    """Write a manifest with a matching checksum."""
    manifest.pop("checksum", None)
    body = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    data = b'{"checksum":"' + digest(body).encode() + b'",' + body[1:]
    (name or manifest_of(path)).write_bytes(data)


class SortingMaker:
    """Makes bucket tables with argsort: `m` substrings of `n_key_bits` bits, from segments of `least` rows on.

    `during` is called before each piece that is written, with the number of pieces so far; `n_threads` writes several
    tables at once.
    """

    def __init__(self, m=2, *, n_key_bits=4, layout="wide", directory="direct", least=1, n_threads=0, during=None):
        self.m, self.n_key_bits, self.layout, self.directory = m, n_key_bits, layout, directory
        self.least, self.n_threads, self.during = least, n_threads, during
        self.asked, self.made, self.pieces = [], 0, 0

    def describe(self, s):
        bits = list(range(s * self.n_key_bits, (s + 1) * self.n_key_bits))
        return {"bits": bits, "layout": self.layout, "directory": self.directory}

    def wants(self, n, n_bits, present):
        self.asked.append((n, n_bits, present))
        return n >= self.least and present != [self.describe(s) for s in range(self.m)]

    def drops(self, n, n_bits):
        return False

    def make(self, blocks, n_bits, begin, progress=None):
        self.made += 1
        codes = np.concatenate(blocks)
        if self.n_threads:
            with concurrent.futures.ThreadPoolExecutor(self.n_threads) as pool:
                list(pool.map(lambda s: self._table(codes, s, begin), range(self.m)))
            return
        for s in reversed(range(self.m)):
            self._table(codes, s, begin)
            if progress is not None:
                progress(self.m - s, self.m)

    def _table(self, codes, s, begin):
        keys = substring_keys(codes, self.describe(s)["bits"])
        order = np.argsort(keys, kind="stable")
        sink = begin(s)
        if self.directory == "direct":
            offsets = np.searchsorted(keys[order], np.arange((1 << self.n_key_bits) + 1))
        else:
            distinct, starts = np.unique(keys[order], return_index=True)
            offsets = np.append(starts, len(keys))
            self._append(sink, "keys", distinct)
        self._append(sink, "offsets", offsets.astype(np.uint32))
        for part in np.array_split(order, 3):
            self._append(sink, "rows", part.astype(np.uint32))
            if self.layout == "wide":
                self._append(sink, "codes", codes[part])
        sink.finish(self.describe(s))

    def _append(self, sink, name, rows):
        self.pieces += 1
        if self.during is not None:
            self.during(self.pieces)
        sink.append(name, rows)


def substring_keys(codes, bits):
    """Keys of a substring, uint64 (n,): bit i of a key is bit bits[i] of the code."""
    keys = np.zeros(len(codes), np.uint64)
    for i, bit in enumerate(bits):
        keys |= (codes[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)) << np.uint64(i)
    return keys


def check_table(description, arrays, codes):
    """Compare the arrays of a table with the codes of its segment."""
    keys = substring_keys(codes, description["bits"])
    assert np.array_equal(arrays["rows"], np.argsort(keys, kind="stable"))
    distinct = arrays["keys"] if description["directory"] == "sparse" else np.arange(1 << len(description["bits"]))
    assert np.array_equal(arrays["offsets"], np.append(np.searchsorted(np.sort(keys), distinct), len(keys)))
    assert ("codes" in arrays) == (description["layout"] == "wide")
    if "codes" in arrays:
        assert np.array_equal(arrays["codes"], codes[arrays["rows"]])


def check_tables(store, maker):
    """Every segment of a store has the tables that `maker` makes, and they are right."""
    for segment in store.snapshot.segments:
        assert segment.tables_problem is None
        assert [table.description for table in segment.tables.tables] == [maker.describe(s) for s in range(maker.m)]
        for table in segment.tables.tables:
            check_table(table.description, table.arrays, np.concatenate(segment.code_blocks))


class Unsynced(Files):
    """Flushes nothing, for tests of what is written rather than when it is safe."""

    def fsync(self, handle):
        """Do nothing."""

    def fsync_folder(self, path):
        """Do nothing."""


class Crash(BaseException):
    """The process died here."""


class Watched(Unsynced):
    """Counts effects, and may fail at one of them. Flushes are counted, not done.

    After a Crash every further effect fails as well: a dead process does nothing.
    """

    def __init__(self, fail_at: int | None = None, error: Callable[[], BaseException] | None = None, after=False):
        self.log: list[str] = []
        self.fail_at = fail_at
        self.error = error or (lambda: OSError(errno.EIO, os.strerror(errno.EIO)))
        self.after = after
        self.dead = False
        self.locks: list[int] = []

    def count(self, *names):
        return sum(self.log.count(name) for name in names)


def _watch(name):
    def effect(self, *args):
        if self.dead:
            raise Crash
        self.log.append(name)
        hit = self.fail_at is not None and len(self.log) - 1 == self.fail_at
        if name == "close" and args[0] in self.locks:
            self.locks.remove(args[0])
        if hit and not self.after:
            self._fail()
        result = getattr(Unsynced, name)(self, *args)
        if name == "lock_folder":
            self.locks.append(result)
        if hit:
            self._fail()
        return result

    return effect


def _fail(self):
    error = self.error()
    self.dead = isinstance(error, Crash)
    while self.dead and self.locks:
        os.close(self.locks.pop())  # the system does so when a process dies
    raise error


def _unlock(self, handle):
    if handle in self.locks:
        self.locks.remove(handle)
        Unsynced.unlock(self, handle)


Watched._fail, Watched.unlock = _fail, _unlock
for _name in EFFECTS:
    setattr(Watched, _name, _watch(_name))


class Meanwhile(Watched):
    """Runs something at the last moment before a commit: what another process may do just then.

    That is before the lock of versions is taken; before the link only others' commits can come.
    """

    def __init__(self, *acts, at="lock_folder"):
        super().__init__()
        self.acts, self.at = list(acts), at

    def lock_folder(self, path, shared=False):
        if self.acts and shared and self.at == "lock_folder":
            self.acts.pop(0)()
        return super().lock_folder(path, shared)

    def link(self, source, target):
        if self.acts and self.at == "link":
            self.acts.pop(0)()
        super().link(source, target)
