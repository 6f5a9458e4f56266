"""What the proofs do to an index, as data: carried out by hashdb, and followed by a plain dict.

A step is a dict that JSON can carry to another process. :func:`perform` does it through the public API;
:class:`Oracle` keeps what every version must then hold. A step may meet steps of another writer, at its link, and keep
others out once it was late ``max_lost`` times.
"""

from contextlib import contextmanager, nullcontext
from functools import partial, reduce
from unittest import mock

import numpy as np

import hashdb
from hashdb.storage import transaction
from hashdb.storage.commit import DISK
from hashdb.storage.segments import Sizes

DIM, BITS = 16, 14
STORED = "float16"


@contextmanager
def small_sizes():
    """Make hashdb do for some dozens of rows what it does for millions.

    Bucket tables (two of 7 bits) from 64 rows on, chunks of 1,024 bytes, ids put in order through a scratch file.
    """
    sizes = partial(Sizes, chunk_bytes=1024, bucket_bytes=1024, merge_rows=32)
    with (
        mock.patch("hashdb.search.layouts.MIN_ROWS", 64),
        mock.patch("hashdb.search.layouts.MAX_SUBSTRINGS", 2),
        mock.patch("hashdb.storage.store.Sizes", sizes),
        mock.patch.dict("os.environ", HASHDB_NUM_THREADS="1"),  # effects then come in one order
    ):
        yield


def vectors_of(step):
    """The rows of a step, float32 (n, DIM), by its seed."""
    return np.random.default_rng(step["seed"]).standard_normal((step["n"], DIM)).astype(np.float32)


def perform(path, step):
    """Do a step to the index at a path, opened for it alone."""
    if step["do"] == "build":
        hashdb.build(
            path,
            vectors_of(step),
            "itq",
            BITS,
            ids=step.get("ids"),
            store_vectors=STORED,
            table_budget=step.get("table_budget"),
        ).close()
        return
    others = meeting(path, **step["meets"]) if step.get("meets") else nullcontext()
    turn = mock.patch.multiple(transaction, MAX_LOST=step.get("max_lost", transaction.MAX_LOST), LONGEST_ALONE=1000.0)
    with hashdb.open(path) as index, others, turn:
        perform_on(index, step)


@contextmanager
def meeting(path, before=(), after=()):
    """Let another writer do its steps: just before the first link is tried, or as soon as a link is there.

    It takes no part in faults: its effects go to the disk itself, and are in nobody's log.
    """
    mine, linked = {name: getattr(DISK, name) for name in ("lock_folder", "link", "fsync_folder", "unlink")}, False

    def others(steps):
        layer = dict(vars(DISK))
        vars(DISK).clear()
        try:
            for one in steps:
                perform(path, one)
        finally:
            vars(DISK).update(layer)

    def effect(name, *args):
        nonlocal before, after, linked
        # The lock of `manifests` is taken for the link; a prune of the other's needs it before.
        if name == "lock_folder" or linked:
            now, before, after = (before, (), after) if name == "lock_folder" else (after, before, ())
            others(now)
        try:
            return mine[name](*args)
        finally:
            linked = linked or (name == "link" and args[1].exists())

    with mock.patch.multiple(DISK, **{name: partial(effect, name) for name in mine}):
        yield


def perform_on(index, step):
    """Do a step to an open index; the ids it gave to new rows, else None."""
    match step["do"]:
        case "add":
            options = {"upsert": step.get("upsert", False), "auto_compact": step.get("merge", True)}
            return index.add(vectors_of(step), step.get("ids"), **options).tolist()
        case "delete":
            index.delete(step["ids"])
        case "compact":
            index.compact(prune=step.get("prune", False), table_budget=step.get("table_budget"))
    return None


class Oracle:
    """What an index must hold: version -> {id: (bytes of the code, bytes of the stored vector)}.

    Codes are those of a model that is fitted apart from the index.
    """

    def __init__(self, versions=None, model=None, next_id=0):
        self.versions = versions or {}
        self.model = model
        self.next_id = next_id

    @property
    def newest(self):
        """Number of the newest version; 0 before the build."""
        return max(self.versions, default=0)

    @property
    def rows(self):
        """Rows of the newest version."""
        return self.versions.get(self.newest, {})

    def after(self, step):
        """The oracle once a step is committed as one version more, and what it meets by another writer."""
        if meets := step.get("meets"):
            alone = {**step, "meets": None}
            return reduce(Oracle.after, [*meets.get("before", ()), alone, *meets.get("after", ())], self)
        result = Oracle(dict(self.versions), self.model, self.next_id)
        rows = dict(self.rows)
        if step["do"] == "build":
            result.model = hashdb.fit(vectors_of(step), "itq", BITS)
        if step["do"] in ("build", "add"):
            vectors = vectors_of(step)
            ids = step.get("ids")
            ids = list(range(self.next_id, self.next_id + step["n"])) if ids is None else ids
            if isinstance(ids[0], int):
                result.next_id = max(self.next_id, max(ids) + 1)
            codes, kept = result.model.encode(vectors), vectors.astype(STORED)
            rows.update(
                (id_, (code.tobytes(), vector.tobytes())) for id_, code, vector in zip(ids, codes, kept, strict=True)
            )
        if step["do"] == "delete":
            rows = {id_: row for id_, row in rows.items() if id_ not in set(step["ids"])}
        if step.get("prune"):
            result.versions = {}
        result.versions[self.newest + 1] = rows
        return result


def build_all(path, steps):
    """Do several steps; the oracle that followed them."""
    oracle = Oracle()
    for step in steps:
        perform(path, step)
        oracle = oracle.after(step)
    return oracle


# ---- where the proofs start from, and what they do there

_WORDS = ["ürsprung", "b", "a", "zebra", "pêche", "lamp", "日本", "Z"]
_NAMES = [f"{_WORDS[i * 5 % 8]}-{i * 37 % 101}" for i in range(80)]

STARTS = {
    "nothing": [],
    # A segment with tables and seven small ones, so that one more row makes eight that are merged; deleted rows.
    "integers": [
        {"do": "build", "n": 70, "seed": 1},
        *({"do": "add", "n": n, "seed": 10 + n} for n in (1, 2, 3, 1, 2)),
        {"do": "add", "n": 3, "seed": 20, "ids": [900, 500, 700], "merge": False},
        {"do": "add", "n": 2, "seed": 21, "merge": False},
        {"do": "delete", "ids": [3, 500, 71]},
    ],
    "strings": [
        {"do": "build", "n": 66, "seed": 2, "ids": _NAMES[:66]},
        {"do": "add", "n": 4, "seed": 22, "ids": _NAMES[66:70]},
        {"do": "delete", "ids": [_NAMES[5], _NAMES[67]]},
    ],
    "without tables": [{"do": "build", "n": 70, "seed": 3, "table_budget": 0}],
}

# (where it starts, what is done)
OPERATIONS = {
    "build": ("nothing", {"do": "build", "n": 66, "seed": 4}),
    "build with string ids": ("nothing", {"do": "build", "n": 66, "seed": 4, "ids": _NAMES[:66]}),
    "add": ("integers", {"do": "add", "n": 3, "seed": 5, "merge": False}),
    "add that merges": ("integers", {"do": "add", "n": 2, "seed": 6}),
    "add of many": ("integers", {"do": "add", "n": 65, "seed": 7, "ids": [*range(2065, 2000, -1)]}),
    "upsert": ("integers", {"do": "add", "n": 4, "seed": 8, "ids": [900, 1, 5000, 70], "upsert": True}),
    "delete": ("integers", {"do": "delete", "ids": [0, 72, 900]}),
    "delete of a whole segment": ("integers", {"do": "delete", "ids": [70]}),
    "compact": ("integers", {"do": "compact"}),
    "prune": ("integers", {"do": "compact", "prune": True}),
    "dropping of tables": ("integers", {"do": "compact", "table_budget": 0}),
    "string add": ("strings", {"do": "add", "n": 3, "seed": 5, "ids": ["c", "aa", "日"]}),
    "string upsert": ("strings", {"do": "add", "n": 3, "seed": 6, "ids": [_NAMES[9], "new", "b-0"], "upsert": True}),
    "string delete": ("strings", {"do": "delete", "ids": _NAMES[10:13]}),
    "string prune": ("strings", {"do": "compact", "prune": True}),
    "building of tables": ("without tables", {"do": "compact", "table_budget": 96}),
}

# What meets another writer before its link, so that it is decided again, or just after.
_MERGING = {"do": "add", "n": 2, "seed": 6}
_OTHERS_ADD = {"do": "add", "n": 1, "seed": 31, "merge": False}
_OTHERS_PRUNE = [{"do": "delete", "ids": [1, 900]}, {"do": "compact", "prune": True}]
CONTENDED = {
    # The ids that it gives are others then, so that all is merged once more.
    "add that meets an add": ("integers", {**_MERGING, "meets": {"before": [_OTHERS_ADD]}}),
    # What was merged is used again.
    "add of ids that meets an add": ("integers", {**_MERGING, "ids": [2001, 2000], "meets": {"before": [_OTHERS_ADD]}}),
    # And so without the rows that the other has deleted.
    "add that meets a delete": ("integers", {**_MERGING, "meets": {"before": [{"do": "delete", "ids": [0, 73, 900]}]}}),
    # What it had merged is gone.
    "add that meets a prune": ("integers", {**_MERGING, "meets": {"before": _OTHERS_PRUNE}}),
    "add that is merged and pruned at once": ("integers", {**_MERGING, "meets": {"after": _OTHERS_PRUNE}}),
    # The manifest is gone, and what it named is in use.
    "compact that is pruned at once": (
        "integers",
        {"do": "compact", "meets": {"after": [{"do": "compact", "prune": True, "table_budget": 0}]}},
    ),
    # Late once, they keep others out for the next attempt.
    "add that keeps others out": ("integers", {**_MERGING, "meets": {"before": [_OTHERS_ADD]}, "max_lost": 1}),
    "upsert that keeps others out": (
        "integers",
        {**OPERATIONS["upsert"][1], "meets": {"before": [{"do": "delete", "ids": [0, 73, 900]}]}, "max_lost": 1},
    ),
    "prune that keeps others out": (
        "integers",
        {"do": "compact", "prune": True, "meets": {"before": [_OTHERS_ADD]}, "max_lost": 1},
    ),
}
