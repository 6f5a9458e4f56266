"""A disk that is full, read-only or another's: one line says so, and the index is what it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import hashdb
from guarantees.limited import check_one_line, on_disk, python, rows_of

# Fills a disk step by step, by number of files and by size, until the operation works.
FILLED = """
import glob, json, os, re, shutil
import numpy as np
import hashdb
from hashdb.errors import CorruptIndexError, StorageError
from hashdb.search import layouts
layouts.MIN_ROWS = 256  # so that so few rows have tables

disk, name, stride = sys.argv[1], sys.argv[2], int(sys.argv[3])
path = disk + "/a.hashdb"
rows = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
ids = list(range(5000, 3000, -1))

def build():
    hashdb.build(path, rows, method="lsh", n_bits=24, store_vectors="float32", ids=ids).close()

def add():
    with hashdb.open(path) as index:
        index.add(rows[:700], ids=list(range(700, 0, -1)))

def upsert():
    with hashdb.open(path) as index:
        index.add(rows[:400], ids=list(range(3001, 3401)), upsert=True, auto_compact=False)

def delete():
    with hashdb.open(path) as index:
        index.delete(list(range(3001, 3300)))

def compact():
    with hashdb.open(path) as index:
        index.compact()

def prune():
    with hashdb.open(path) as index:
        index.compact(prune=True)

def damage():
    for name in ("segment.json", "codes/c/0/0", "buckets/*/rows/c/0"):
        for file in glob.glob(path + "/segments/*/" + name):
            with open(file, "r+b") as opened:
                byte = opened.read(1)[0]
                opened.seek(0)
                opened.write(bytes([byte ^ 1]))

def repair():
    assert hashdb.repair(path).ok

def content():
    if not os.path.exists(path):
        return None
    try:
        with hashdb.open(path) as index:
            parts = list(index.codes())
            return (index.version, [np.concatenate(part).tolist() for part in zip(*parts)])
    except CorruptIndexError:
        return "damaged"

def used():
    found = [os.lstat(os.path.join(place, one)) for place, folders, files in os.walk(disk) for one in folders + files]
    return len(found) + 1, sum(-(-each.st_size // 4096) * 4 for each in found if os.path.stat.S_ISREG(each.st_mode))

operation = globals()[name]
if name != "build":
    build()
if name in ("compact", "prune"):
    add(); delete()
if name == "repair":
    damage()
shutil.copytree(disk, disk + "-before", dirs_exist_ok=True)  # on the other disk, under the mount
before, (n_files, n_kib) = content(), used()
operation()
after, (more_files, more_kib) = content(), used()
if name in ("compact", "prune"):
    more_files, more_kib = n_files + 150, n_kib + 600
stages, tried = {}, 0

def restore():
    remount(nr_inodes=100000, size="64m")
    for one in os.listdir(disk):
        shutil.rmtree(os.path.join(disk, one))
    shutil.copytree(disk + "-before", disk, dirs_exist_ok=True)

for limits in [*({"nr_inodes": n} for n in range(n_files + 1, more_files + 2, stride)),
               *({"size": f"{n}k"} for n in range(n_kib + 4, more_kib + 8, 4 * stride))]:
    restore()
    listing = sorted(os.path.join(place, one) for place, folders, files in os.walk(disk) for one in folders + files)
    try:
        remount(**limits)
    except Exception:  # less than is used
        continue
    tried += 1
    try:
        operation()
    except StorageError as error:
        said = str(error)
        assert "the disk is full; free some space and try again" in said and "\\n" not in said, said
        assert path in said, said
        part = re.search(r"(manifests|models|deletes|segments/[0-9a-f]*/buckets|segments|rows)", said.replace(path, ""))
        part = part.group().split("/")[-1] if part else "commit"
        part = "segments" if part == "rows" else part
        part = "create" if "create the index" in said else "models" if "model" in said else part
        stages[part] = stages.get(part, 0) + 1
        assert sorted(os.path.join(p, o) for p, d, f in os.walk(disk) for o in d + f) == listing, limits
        remount(nr_inodes=100000, size="64m")
        assert name == "repair" or content() == before, limits  # parts of a repair may be done
        operation()
    assert content()[1] == after[1], limits
    assert hashdb.verify(path, deep=name == "repair" or tried % 8 == 0).problems == []
print(json.dumps({"stages": stages, "tried": tried}))
"""

STAGES = {
    "build": {"create", "models", "segments", "buckets", "manifests"},
    "add": {"segments", "buckets", "manifests"},
    "upsert": {"segments", "deletes", "manifests"},
    "delete": {"deletes", "manifests"},
    "compact": {"segments", "buckets", "manifests"},
    "prune": {"segments", "buckets", "manifests"},
    "repair": {"buckets", "manifests"},
}


QUICK = [(name, 35) for name in ("build", "add", "delete", "prune", "repair")]
FULL = [pytest.param(name, 1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]) for name in STAGES]


@pytest.mark.parametrize(("name", "stride"), QUICK + FULL)
def test_a_disk_that_is_full_at_any_stage_is_one_line_and_leaves_what_was_there(
    name, stride, tmp_path, record_property
):
    ended = on_disk(tmp_path / "disk", FILLED, name, min(stride, 5) if name == "delete" else stride, timeout=1500)
    assert ended.code == 0, ended.err[-3000:]
    (found,) = ended.json
    if stride == 1:
        assert STAGES[name] <= set(found["stages"]), found
    assert sum(found["stages"].values()) > found["tried"] // 4
    record_property("resource limits tried", found["tried"])


READ_ONLY = """
import json, os
disk = sys.argv[1]
index, queries = disk + "/a.hashdb", sys.argv[2] + "/rows.npy"
steps = [("build", index, queries, "--method", "lsh", "--bits", "16"), ("add", index, queries),
         ("delete", index, "1")]
for step in steps:
    assert command(*step)["code"] == 0, command(*step)
remount(ro="")
for step in [("query", index, queries, "-k", "3"), ("info", index), ("versions", index), ("verify", index, "--deep"),
             ("add", index, queries), ("delete", index, "2"), ("compact", index),
             ("build", disk + "/b.hashdb", queries, "--method", "lsh")]:
    print(json.dumps(command(*step)))
"""


def test_a_read_only_disk_is_read_and_every_write_says_so(tmp_path, record_property):
    np.save(tmp_path / "rows.npy", rows_of(300))
    ended = on_disk(tmp_path / "disk", READ_ONLY, tmp_path)
    assert ended.code == 0, ended.err
    reads, writes = ended.json[:4], ended.json[4:]
    for found in reads:
        assert (found["code"], found["err"]) == (0, ""), found
    assert len(writes) == 4
    for found in writes:
        check_one_line(found, "the file system is read-only")
    record_property("resource limits tried", len(reads) + len(writes))


NOT_OURS = """
import json, os
folder, scratch = sys.argv[1:]
# What is imported late is imported before the rights go: the interpreter may be one that only root may read.
for step in [("build", scratch, folder + "/rows.npy", "--method", "lsh"), ("add", scratch, folder + "/rows.npy"),
             ("delete", scratch, "1"), ("compact", scratch), ("query", scratch, folder + "/rows.npy"),
             ("verify", scratch, "--deep"), ("info", scratch)]:
    assert command(*step)["code"] == 0, command(*step)
if os.getuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
index, queries = folder + "/a.hashdb", folder + "/rows.npy"
for step in [("query", index, queries, "-k", "3"), ("info", index), ("verify", index, "--deep"),
             ("add", index, queries), ("delete", index, "2"), ("compact", index),
             ("build", folder + "/b.hashdb", queries, "--method", "lsh"),
             ("query", folder + "/closed.hashdb", queries), ("add", folder + "/closed.hashdb", queries),
             ("query", folder + "/partly.hashdb", queries), ("query", index, folder + "/closed.npy")]:
    print(json.dumps(command(*step)))
"""


@pytest.fixture
def open_folder():
    """Give a folder that every user may enter; pytest's own may be entered by one."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for place, names, _ in os.walk(folder):
        os.chmod(place, 0o755)
        for name in names:
            os.chmod(os.path.join(place, name), 0o755)
    shutil.rmtree(folder)


def test_an_index_of_another_user_is_read_and_every_write_says_whose_right_is_missing(
    open_folder, tmp_path, record_property
):
    folder = open_folder
    np.save(folder / "rows.npy", rows_of(300))
    np.save(folder / "closed.npy", rows_of(3))
    with hashdb.build(folder / "a.hashdb", folder / "rows.npy", method="lsh", n_bits=16) as index:
        index.add(rows_of(20, seed=1), auto_compact=False)
        index.delete([1])
    shutil.copytree(folder / "a.hashdb", folder / "closed.hashdb")
    shutil.copytree(folder / "a.hashdb", folder / "partly.hashdb")
    (folder / "closed.npy").chmod(0)
    (folder / "closed.hashdb").chmod(0)
    for path in (folder / "partly.hashdb").glob("segments/*/codes/c/0/0"):
        path.chmod(0)
    for place, _, names in os.walk(folder / "a.hashdb"):
        os.chmod(place, 0o555)
        for name in names:
            os.chmod(os.path.join(place, name), 0o444)
    folder.chmod(0o555)
    ended = python(NOT_OURS, folder, tmp_path / "scratch.hashdb")
    assert ended.code == 0, ended.err
    reads, writes = ended.json[:3], ended.json[3:]
    for found in reads:
        assert (found["code"], found["err"]) == (0, ""), found
    assert len(writes) == 8
    for found in writes:
        check_one_line(found, "ermission denied")
    assert hashdb.verify(folder / "a.hashdb", deep=True).problems == []
    record_property("resource limits tried", len(reads) + len(writes))


SPOOLED = """
import json, os, io
disk, near = sys.argv[1], sys.argv[2]
remount(size="64k")
with open(disk + "/ballast", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
import tempfile
tempfile.tempdir = disk
data = open(near + "/rows.npy", "rb").read()
def piped(*arguments):
    sys.stdin = io.TextIOWrapper(io.BytesIO(data))
    return command(*arguments)
print(json.dumps(piped("build", near + "/a.hashdb", "-", "--format", "npy", "--method", "lsh")))
print(json.dumps(piped("add", near + "/a.hashdb", "-", "--format", "npy")))
print(json.dumps(piped("query", near + "/a.hashdb", "-", "--format", "npy", "-k", "1")))
print(json.dumps(piped("build", disk + "/b.hashdb", "-", "--format", "npy", "--method", "lsh")))
print(json.dumps(command("demo")))
print(json.dumps(os.listdir(disk)))
"""


def test_a_full_temporary_folder_is_not_needed_for_what_comes_through_a_pipe(tmp_path, record_property):
    np.save(tmp_path / "rows.npy", rows_of(5000))
    ended = on_disk(tmp_path / "disk", SPOOLED, tmp_path, timeout=200)
    assert ended.code == 0, ended.err
    *works, full, tour, left = ended.json
    for found in works:
        assert (found["code"], found["err"]) == (0, ""), found
    check_one_line(full, "no room to spool stdin", "No space left", "free some")
    check_one_line(tour, "the disk is full")
    assert left == ["ballast"]
    record_property("resource limits tried", 5)
