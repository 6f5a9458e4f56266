"""Damage is found and named, says what still works, and never ends the process or makes it read out of bounds."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hashdb
from guarantees.damage_kit import (
    answers,
    cli,
    content,
    files_of,
    flip,
    is_derived,
    is_metadata,
    make,
    manifest_of,
)
from hashdb.errors import CorruptIndexError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("master") / "a.hashdb"
    make(path)
    return path


@pytest.fixture
def path(master: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "a.hashdb"))


@pytest.fixture(scope="module")
def right(master: Path) -> list:
    with hashdb.open(master) as index:
        return answers(index)


@pytest.fixture(scope="module")
def open_and_say(master: Path) -> Callable[..., CorruptIndexError]:
    """Open a copy that must not open, and give the error; what it says of what still opens is tried."""
    known = {}
    for version in (1, 2, 3):
        with hashdb.open(master, version=version) as index:
            known[version] = content(index)

    def opened(path: Path, **options: object) -> CorruptIndexError:
        with pytest.raises(CorruptIndexError) as caught:
            hashdb.open(path, **options).close()
        said = str(caught.value)
        assert "hashdb repair" in said
        assert len(said) < 700
        assert caught.value.path is not None
        if "check='quick' opens it" in said:
            assert options
            hashdb.open(path).close()
            return caught.value
        works = re.search(r"; version (\d) opens \(version=\1, --at \1\);", said)
        if works is None:
            assert re.search(
                "; (no older version opens|no version opens without it|every version needs the model);", said
            )
        first = int(works[1]) if works else 0
        if works:
            with hashdb.open(path, version=first) as index:
                assert content(index) == known[first]
        for version in range(first + 1, 4):
            with pytest.raises(CorruptIndexError):
                hashdb.open(path, version=version)
        return caught.value

    return opened


# ---- metadata


@pytest.mark.parametrize("stride", [101, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_every_flipped_byte_of_metadata_is_found_at_open_and_named(path, open_and_say, stride, record_property):
    n = 0
    choose = random.Random(5)
    for file in filter(is_metadata, files_of(path)):
        if is_derived(file):
            continue
        for at in range(choose.randrange(stride), file.stat().st_size, stride):
            mask = choose.randrange(1, 256)
            flip(file, at, mask)
            assert open_and_say(path).path == file
            flip(file, at, mask)
            n += 1
    hashdb.open(path).close()
    record_property("flipped bytes", n)
    record_property("damaged files opened", n)


@pytest.mark.parametrize("stride", [997, pytest.param(23, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_flipped_bytes_in_the_metadata_of_bucket_tables_change_no_answer(path, right, stride, record_property):
    n = 0
    for file in filter(is_metadata, filter(is_derived, files_of(path))):
        for at in range(0, file.stat().st_size, stride):
            flip(file, at, 0x21)
            with hashdb.open(path) as index:
                assert answers(index) == right
            found = hashdb.verify(path)
            assert {problem[0] for problem in found.problems} == {str(file)}
            assert "derived data" in found.problems[0][1]
            flip(file, at, 0x21)
            n += 1
    record_property("flipped bytes", n)
    record_property("damaged files opened", n)


# ---- whole files


def wreck(file: Path, how: str) -> None:
    size = file.stat().st_size
    if how == "deleted":
        file.unlink()
    elif how == "longer":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        os.truncate(
            file, {"emptied": 0, "cut by one": size - 1, "halved": size // 2, "one byte left": min(1, size - 1)}[how]
        )


WAYS = ["deleted", "emptied", "cut by one", "halved", "one byte left", "longer"]


@pytest.mark.parametrize("share", [12, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_every_file_that_is_missing_or_of_another_length_is_found_at_open(
    path, open_and_say, right, share, record_property
):
    every = [(file, how) for i, file in enumerate(files_of(path)) for how in WAYS[i % 6 :] + WAYS[: i % 6]]
    cases = every[:: share - 1 or 1]
    for file, how in cases:
        data = file.read_bytes()
        wreck(file, how)
        if is_derived(file):
            with hashdb.open(path) as index:
                assert answers(index) == right
        elif how == "deleted" and file.parent.name == "manifests" and file.name != "zarr.json":
            # The newest manifest is the index: without it the version before is the newest.
            with hashdb.open(path) as index:
                assert index.version == 2
            file.write_bytes(data)
            continue
        else:
            assert open_and_say(path).path == file
        assert str(file) in {problem[0] for problem in hashdb.verify(path).problems}
        file.write_bytes(data)
    assert hashdb.verify(path, deep=True).ok
    record_property("damaged files opened", len(cases))


def test_a_lost_newest_manifest_is_noted_by_verify_deep(path):
    newest = path / "manifests" / "000000000003.json"
    newest.unlink()
    for folder in path.glob("deletes/*"):
        for file in (folder, *folder.rglob("*")):
            os.utime(file, (0, 0))
    assert any("a newer version was lost" in note for note in hashdb.verify(path, deep=True).notes)
    said = cli("verify", path, "--deep")
    assert said.returncode == 0
    assert "\nnote: " in said.stdout
    assert "a newer version was lost" in said.stdout


def counterpart(path: Path, other: Path, file: Path) -> Path:
    """The file of another index that stands where `file` does."""
    mine, theirs = manifest_of(path), manifest_of(other)
    name = str(file.relative_to(path))
    for a, b in zip(mine["segments"], theirs["segments"], strict=True):
        name = name.replace(a["uuid"], b["uuid"])
        for first, second in zip(a["deletes"], b["deletes"], strict=True):
            name = name.replace(first["uuid"], second["uuid"])
    return other / name.replace(mine["model"]["uuid"], theirs["model"]["uuid"])


@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_file_that_is_replaced_by_that_of_another_index_is_found(
    path, open_and_say, right, share, tmp_path, record_property
):
    other = tmp_path / "other.hashdb"
    make(other, seed=1)
    n = 0
    own = [path / "zarr.json", path / "manifests" / "000000000003.json"]
    for file in [*own, *(one for one in files_of(path)[::share] if one not in own)]:
        data, theirs = file.read_bytes(), counterpart(path, other, file).read_bytes()
        if theirs == data:
            continue  # what the format fixes is the same in every index
        file.write_bytes(theirs)
        n += 1
        if is_derived(file) and (is_metadata(file) or len(theirs) != len(data)):
            with hashdb.open(path) as index:
                assert answers(index) == right
        elif is_metadata(file) or len(theirs) != len(data) or "models" in file.parts:
            assert open_and_say(path).path == file
        elif not is_derived(file):
            assert open_and_say(path, check="full").path == file
        # Where the root is another's, every manifest is said not to belong to it.
        said = str(hashdb.verify(path, deep=True).problems)
        assert str(file) in said
        file.write_bytes(data)
    assert n > 6
    record_property("damaged files opened", n)


def swapped(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def test_segments_that_are_swapped_are_found(path, open_and_say):
    first, second = (path / "segments" / entry["uuid"] for entry in manifest_of(path)["segments"])
    swapped(first, second)
    assert open_and_say(path).path in (first / "segment.json", second / "segment.json")
    swapped(first, second)
    swapped(first / "segment.json", second / "segment.json")
    assert open_and_say(path).path in (first / "segment.json", second / "segment.json")


def test_delete_lists_that_are_swapped_are_found(path, open_and_say):
    first, second = (path / "deletes" / entry["deletes"][0]["uuid"] for entry in manifest_of(path)["segments"])
    swapped(first, second)
    assert {first, second} & set(open_and_say(path).path.parents)


# ---- data


def data_files(path: Path) -> list[Path]:
    return [file for file in files_of(path) if not is_metadata(file)]


@pytest.mark.parametrize(
    ("n", "share"), [(1, 4), pytest.param(8, 1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_flipped_data_bytes_are_found_by_verify_deep_open_full_and_compact(
    path, open_and_say, right, n, share, record_property
):
    choose = random.Random(n)
    n_flips = 0
    for file in data_files(path)[::share]:
        for _ in range(n):
            at, mask = choose.randrange(file.stat().st_size), choose.randrange(1, 256)
            flip(file, at, mask)
            assert str(file) in {problem[0] for problem in hashdb.verify(path, deep=True).problems}
            if is_derived(file):
                with hashdb.open(path, check="full") as index:
                    assert answers(index) == right
            else:
                assert open_and_say(path, check="full").path == file
                with pytest.raises(CorruptIndexError) as caught, hashdb.open(path) as index:
                    index.compact()
                assert caught.value.path == file
            assert manifest_of(path)["version"] == 3
            flip(file, at, mask)
            n_flips += 1
    record_property("flipped bytes", n_flips)


def test_compact_makes_damaged_bucket_tables_anew(path, right):
    for file in path.glob("segments/*/buckets/0/rows/c/0"):
        flip(file, 5)
    with hashdb.open(path) as index:
        index.compact()
        assert answers(index) == right
    assert hashdb.verify(path, deep=True).ok


SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("kind", "mmap", "n"),
    [
        ("string", True, 30),
        ("int64", False, 30),
        *(pytest.param(kind, mmap, 400, marks=SLOW) for kind in ("string", "int64") for mmap in (True, False)),
    ],
)
def test_queries_on_damaged_data_answer_or_raise_an_error_of_hashdb(tmp_path, kind, mmap, n, record_property):
    path = tmp_path / "a.hashdb"
    make(path, kind, chunk_bytes=1 << 10)
    # A hang is as bad as a crash: a flip takes some hundredths of a second.
    done = subprocess.run(
        [sys.executable, str(HERE / "damaged_queries.py"), str(path), str(n), "3", str(int(mmap))],
        capture_output=True, text=True, check=False, timeout=120 + n,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert hashdb.verify(path, deep=True).ok
    record_property("flipped bytes", counts["bytes"])
    record_property("damaged files opened", counts["bytes"] + counts["noise"])
    record_property("queries on damaged data", counts["queries"])
    assert counts["writes"] == counts["bytes"] + counts["noise"]


def test_a_flipped_bit_of_a_code_gives_a_wrong_distance_for_that_row_only(path, tmp_path):
    """What the guarantee allows until a check: the row that was touched, and no other."""
    segment = manifest_of(path)["segments"][0]["uuid"]
    with hashdb.open(path) as index:
        before, one = content(index), index.query_ids(["row-0"], k=466)
    flip(path / "segments" / segment / "codes" / "c" / "0" / "0", 0, 0x01)
    with hashdb.open(path) as index:
        after = content(index)
        asked = index.query_codes(np.array([before["row-0"]], np.uint64), k=466)
    changed = {one for one in before if before[one] != after[one]}
    assert len(changed) == 1
    (touched,) = changed
    pairs = [dict(zip(found.ids[0].tolist(), found.distances[0].tolist(), strict=True)) for found in (one, asked)]
    assert {key for key in before if pairs[0][key] != pairs[1][key]} == {touched}


# ---- what others do to files while they are mapped


TRUNCATED = """
import os, sys, numpy as np, hashdb
from hashdb.storage import mapping
mapping.SMALL_BYTES = 0
path, mmap = sys.argv[1], sys.argv[2] == "1"
with hashdb.open(path, mmap=mmap) as index:
    index.query_codes(np.zeros((1, 1), np.uint64), k=1) if sys.argv[3] == "used" else None
    for file in sys.argv[4:]:
        os.truncate(file, 0)
    try:
        index.query_codes(np.zeros((1, 1), np.uint64), k=3)
    except hashdb.errors.CorruptIndexError as error:
        sys.exit(f"named: {error}")
"""


@pytest.mark.parametrize("used", ["used", "fresh"])
@pytest.mark.parametrize("way", ["mapped", "mmap=False", "HASHDB_MMAP=0"])
def test_truncation_of_a_mapped_file_ends_a_process_and_reading_does_not(path, used, way):
    codes = [str(file) for file in path.glob("segments/*/codes/c/0/0")]
    done = subprocess.run(
        [sys.executable, "-c", TRUNCATED, str(path), str(int(way != "mmap=False")), used, *codes],
        capture_output=True, text=True, check=False,
        env={**os.environ, "HASHDB_MMAP": "0" if way == "HASHDB_MMAP=0" else "1"},
    )  # fmt: skip
    if way == "mapped" and used == "used":
        assert done.returncode == -signal.SIGBUS
    elif used == "used":
        assert done.returncode == 0, done.stderr  # read whole before
    else:
        assert done.returncode == 1, done.stderr
        assert "named:" in done.stderr
        assert codes[0] in done.stderr or codes[1] in done.stderr


# ---- the command line


def test_verify_names_everything_at_once(path):
    broken = [file for file in data_files(path) if "models" not in file.parts]
    for file in broken:
        flip(file, 0)
    said = cli("verify", path, "--deep", "--json")
    assert said.returncode == 1
    assert {problem[0] for problem in json.loads(said.stdout)["problems"]} >= {str(file) for file in broken}
    said = cli("verify", path, "--deep")
    assert all(str(file) in said.stdout for file in broken)
    assert f"{path} is damaged" in said.stderr
    assert said.stderr.endswith("; `hashdb repair` tells what can be saved\n")
    lines = said.stdout.splitlines()
    assert len(lines) == len(set(lines))


def test_a_command_that_meets_damaged_data_says_what_to_do(path):
    for file in path.glob("deletes/*/rows/c/0"):
        flip(file, 0)
    for command in (["query", path, "--id", "row-0", "--modality", "image"], ["compact", path]):
        said = cli(*command)
        assert (said.returncode, said.stderr.count("\n")) == (1, 1)
        assert said.stderr.endswith("; `hashdb repair` tells what can be saved\n")


def test_commands_on_a_damaged_index_say_one_line(path):
    file = path / "manifests" / "000000000003.json"
    flip(file, 100)
    said = cli("info", path)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (1, "", 1)
    assert str(file) in said.stderr
    assert "version 2 opens (version=2, --at 2)" in said.stderr
    assert cli("info", path, "--at", 2).returncode == 0
