"""Asks an index with flipped data bytes by every way there is, and writes to copies of it.

It is run as a program, so that a crash ends only that.

Usage: damaged_queries.py INDEX N SEED MMAP. It flips N sampled bytes of all data files, one at a time, or fills a file
with noise. An answer is fine, and so is an error of hashdb. It prints how many bytes, files of noise, queries and
writes it was, as JSON.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np

import hashdb
from guarantees.damage_kit import files_of, flip, is_metadata, rows
from hashdb.search import kernel_scan, scan, segment_search
from hashdb.storage import mapping
from hashdb.storage.commit import DISK


def force(path: str | None, kernels: bool) -> None:
    """Search through the scan or the buckets only; let the kernels do even the smallest scan, or NumPy."""
    for name in ("plan_knn", "plan_radius"):
        plan = getattr(__import__("hashdb.search.planner", fromlist=[name]), name)
        setattr(segment_search, name, lambda *given, plan=plan: plan(*given[:-1], path))
    scan._budget = scan._Budget()
    scan.NUMPY_BUDGET = -1 if kernels else 1 << 62
    kernel_scan._TASK_WORK = 1


def ways(index: hashdb.Index) -> list:
    """Every way to ask."""
    data = rows()
    one = {name: part[:4] for name, part in data.items()}
    ids = [3, 300, 900] if index.id_kind == "int64" else ["row-0", "é0001", "row-300"]
    return [
        *(lambda k=k, name=name: index.query(one[name], k=k, modality=name) for name in one for k in (1, 9, 10_000)),
        *(lambda name=name: index.query(one[name], k=4, rescore=3, modality=name) for name in one),
        *(lambda r=r, name=name: index.query_radius(one[name], r, modality=name) for name in one for r in (0, 2, 24)),
        lambda: index.query_ids(ids, k=5),
        lambda: index.query_ids(ids, radius=4),
        lambda: index.get(ids),
        lambda: [one in index for one in ids],
        lambda: sum(len(codes) for _, codes in index.codes()),
        lambda: index.query_codes(np.zeros((2, 1), np.uint64), k=6),
        lambda: index.info(),
    ]


def ask(path: Path, mmap: bool) -> int:
    """Ask in every way, and give the number of queries; anything but an answer or an error of ours ends it all."""
    n = 0
    try:
        with hashdb.open(path, mmap=mmap) as index:
            for way in ways(index):
                n += 1
                try:
                    way()
                except hashdb.HashDBError:
                    continue
    except hashdb.HashDBError:
        n += 1
    return n


def write(path: Path, copy: Path, number: int, mmap: bool) -> None:
    """Add, upsert or delete in a copy, by turns; as :func:`ask`."""
    data = rows()["image"][600:603]
    shutil.copytree(path, copy, copy_function=os.link)  # what is published is never written to
    with contextlib.suppress(hashdb.HashDBError), hashdb.open(copy, mmap=mmap) as index:
        integers = index.id_kind == "int64"
        there, new = ([3, 300, 900], [4, 301, 901]) if integers else (["row-0", "é0001", "row-300"], ["a", "ü", "b"])
        if number % 3 == 0:
            index.add(data, ids=new, modality="image")
        elif number % 3 == 1:
            index.add(data, ids=there, modality="image", upsert=True)
        else:
            index.delete(there)
    shutil.rmtree(copy)


def main(path: Path, n_flips: int, seed: int, mmap: bool) -> None:
    """Flip, ask, and put right again."""
    faulthandler.enable()
    logging.disable(logging.WARNING)
    mapping.SMALL_BYTES = 0  # map the smallest file too
    DISK.fsync = DISK.fsync_folder = lambda _: None
    choose = random.Random(seed)
    files = [file for file in files_of(path) if not is_metadata(file)]
    counts = {"bytes": 0, "noise": 0, "queries": 0, "writes": 0}
    # What is damaged most easily out of bounds is hit more often: offsets, rows and ids.
    weights = [3 if file.parts[-3] in ("offsets", "rows", "id_offsets") else 1 for file in files]
    every = files if n_flips >= len(files) else []
    chosen = [*every, *choose.choices(files, weights, k=n_flips - len(every))]
    for number, file in enumerate(chosen):
        force(("buckets", "scan", None)[number % 3], kernels=number % 2 == 0)
        size = file.stat().st_size
        flips = [(choose.randrange(size), choose.randrange(1, 256)) for _ in range(choose.choice((1, 1, 1, size)))]
        if choose.random() < 0.2:
            flips = [(size - 1, 0xFF)]
        for at, mask in flips:
            flip(file, at, mask)
        counts["bytes" if len(flips) == 1 else "noise"] += 1
        print(f"{file} {flips[:3]}", file=sys.stderr, flush=True)
        counts["queries"] += ask(path, mmap)
        write(path, path.with_name("copy.hashdb"), number, mmap)
        counts["writes"] += 1
        for at, mask in flips:
            flip(file, at, mask)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
