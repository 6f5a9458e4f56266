"""No file that is read as vectors, ids or labels runs code, takes memory on its word alone, or ends the process."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from guarantees.fuzzing import seeds
from guarantees.fuzzing.crafted import BOMBS, CLAIMS, PLANTS, ZEROS, Planted, plant_npy, zipped
from guarantees.fuzzing.oracle import MIB, BrokenPromise, check_message, judge
from guarantees.fuzzing.targets import all_told, read_all, targets
from guarantees.scripts import run_script
from hashdb.errors import HashDBError, InputFileError
from hashdb.evaluation import Split
from hashdb.evaluation.saving import load_arrays
from hashdb.inputs import limits, open_vectors, read_ids, read_labels

FOUND = Path(__file__).parent / "fuzzing" / "found"
TARGETS = targets()
OURS = [name for name, target in TARGETS.items() if target.is_ours]
OTHERS = [name for name, target in TARGETS.items() if not target.is_ours]
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def fuzz(names: list[str], tmp_path: Path, *options: object, timeout: float) -> dict[str, int]:
    """Fuzz some targets in a process of their own; give how many inputs each read."""
    places = ("--faults", tmp_path, "--corpus", tmp_path / "corpus")
    one_arena = {"MALLOC_ARENA_MAX": "1"}  # each further one reserves 128 MiB of addresses, whatever is read
    printed = run_script("fuzzing/child.py", *names, *places, *options, timeout=timeout, **one_arena)
    done = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    kept = sorted(path.name for path in tmp_path.iterdir() if path.name.rpartition("-")[0] in TARGETS)
    assert {one["target"] for one in done} == set(names)
    assert not sum(one["faults"] for one in done), f"inputs that broke a promise are in {tmp_path}: {kept}"
    return {one["target"]: one["executions"] for one in done}


def read_vectors(spec: str) -> None:
    read_all(spec, None)


def read_items(spec: str) -> None:
    read_all(spec, None, items=True)


# ---- fuzzing


@pytest.mark.parametrize(("names", "n"), [(OURS, 30), (OTHERS, 30)], ids=["ours", "others"])
def test_harmed_files_give_rows_or_one_short_line(names, n, tmp_path, record_property):
    done = fuzz(names, tmp_path, "--executions", n, timeout=280)
    assert min(done.values()) == n
    record_property("executions of parsers", sum(done.values()))


# With atheris, inputs that reach new code are kept and harmed further; without it, as many are harmed blindly. Rounds,
# because atheris keeps memory for every input.
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", OURS)
def test_200_000_harmed_files_of_our_own_parsers(name, tmp_path, record_property):
    engine = "atheris" if HAS_ATHERIS else "blind"
    for number in range(5):
        options = ("--executions", 40_000, "--engine", engine, "--seed", number, "--seconds", 1400)
        assert fuzz([name], tmp_path, *options, timeout=1440)[name] == 40_000
    record_property("executions of parsers", 200_000)
    record_property(f"executions of parsers, {'guided' if HAS_ATHERIS else 'blind'}", 200_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OTHERS)
def test_harmed_files_of_parsers_of_others_behind_our_checks(name, tmp_path, record_property):
    n = fuzz([name], tmp_path, "--executions", 20_000, "--seconds", 1500, timeout=3500)[name]
    record_property("executions of parsers", n)


def test_what_was_found_stays_mended(tmp_path, record_property):
    found = sorted(FOUND.iterdir())
    assert len(found) > 20
    for path in found:
        target = TARGETS[path.name.rpartition("-")[0]]
        tracemalloc.start()
        try:
            target.try_input(path.read_bytes(), tmp_path / f"input.{target.name}")
        finally:
            tracemalloc.stop()
    record_property("executions of parsers", len(found))


def test_every_sound_seed_is_read(tmp_path):
    """The fuzzing begins with files that are right, so that it gets behind the first check."""
    for name, suffix in (("npy", "npy"), ("fvecs", "fvecs"), ("jsonl", "jsonl"), ("mat", "mat"), ("h5", "h5")):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(TARGETS[name].seeds()[0])
        with open_vectors(f"{path}::x" if name == "h5" else path) as source:
            assert source.n_rows == len(seeds.ROWS)
    TARGETS["zarr"].write(TARGETS["zarr"].seeds()[0], tmp_path / "a.zarr")
    with open_vectors(tmp_path / "a.zarr") as source:
        assert np.array_equal(next(source.batches(99)), seeds.ROWS)


class Steering(HashDBError):
    """An error whose message is told as it is."""

    def __str__(self) -> str:
        return self.args[0]


@pytest.mark.parametrize("letter", ["\n", "\x1b", "\x7f", "\x9b"])
def test_each_of_several_complaints_is_judged_and_not_only_the_longest(letter):
    def complain(*messages: str) -> None:
        def raise_one(message: str) -> None:
            raise Steering(message)

        with all_told(Path("x")) as attempt:
            for message in messages:
                attempt(raise_one, message)

    with pytest.raises(BrokenPromise, match="control characters"):
        complain(f"short {letter}", "much longer than that")
    with pytest.raises(Steering, match="short"):
        complain("short", "longer")


# ---- code


@pytest.mark.parametrize("name", PLANTS)
def test_no_pickle_is_ever_loaded(name, tmp_path):
    mark = tmp_path / "mark"
    file, plant = PLANTS[name]
    path = tmp_path / file
    plant(path, Planted(mark))
    for inner in ("", "::x", "::seed", "::y"):
        for read in (
            read_vectors,
            lambda spec: read_all(spec, None, items=True),
            read_ids,
            read_labels,
        ):
            try:
                read(f"{path}{inner}")
            except HashDBError as error:
                check_message(str(error), (str(path),))
            assert not mark.exists()
    for load in (Split.load, load_arrays):
        with pytest.raises((HashDBError, ValueError, OSError)):
            load(path)
        assert not mark.exists()


def test_a_planted_pickle_would_leave_its_mark(tmp_path):
    plant_npy(tmp_path / "a.npy", Planted(tmp_path / "mark"))
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "mark").exists()


# ---- claims and growth


@pytest.mark.parametrize("name", CLAIMS)
def test_memory_for_a_claimed_shape_is_not_taken_before_the_file_backs_it(name, tmp_path):
    file, make = CLAIMS[name]
    path = tmp_path / file
    path.write_bytes(make())
    tracemalloc.start()
    try:
        for read in (read_vectors, read_ids, read_labels):
            said = judge(lambda read=read: read(str(path)), n_bytes=0, floor=MIB, paths=(str(path),))
            assert said is not None or name == "fbin of no rows"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_what_grows_beyond_a_hundred_times_its_size_is_refused(name, tmp_path, monkeypatch):
    file, make = BOMBS[name]
    path = tmp_path / file
    path.write_bytes(make())
    assert path.stat().st_size * limits.MAX_GROWTH < ZEROS.nbytes
    read_all(str(path), None)  # small enough for any machine
    monkeypatch.setattr(limits, "ALWAYS_ALLOWED", MIB)
    for read in (read_vectors, read_labels):
        tracemalloc.start()
        try:
            said = judge(lambda read=read: read(str(path)), n_bytes=0, floor=6 * MIB, paths=(str(path),))
        finally:
            tracemalloc.stop()
        assert said is not None
        assert "100 times" in said or "that fits" in said or "column of values" in said


def test_npz_members_that_numpy_does_not_write_are_not_unpacked(tmp_path):
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = tmp_path / f"{packing}.npz"
        path.write_bytes(zipped(seeds.npy(seeds.ROWS), packing))
        for read in (open_vectors, read_labels, Split.load):
            with pytest.raises(InputFileError, match="packed by method"):
                read(path)


def test_zarr_chunks_that_would_grow_are_refused(tmp_path, monkeypatch):
    import zarr

    ones = ZEROS + 1  # of zeros nothing is written
    zarr.create_array(tmp_path / "a.zarr", shape=ones.shape, dtype="float32", chunks=ones.shape)[:] = ones
    array = zarr.create_array(tmp_path / "b.zarr", shape=(7, 4), dtype="float32", chunks=(7, 4))
    array[:] = seeds.ROWS
    shutil.copy(tmp_path / "a.zarr/c/0/0", tmp_path / "b.zarr/c/0/0")  # small metadata, a chunk that grows
    monkeypatch.setattr(limits, "ALWAYS_ALLOWED", MIB)
    for name in ("a", "b"):
        with pytest.raises(InputFileError, match="100 times"):
            read_all(str(tmp_path / f"{name}.zarr"), None)


# ---- other files


def test_hdf5_datasets_that_lie_in_other_files_are_not_read(tmp_path):
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra hashdb[formats]")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret! " * 8)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones((4, 4), np.uint8)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("x", (4, 4), "u1", external=[(str(secret), 0, 16)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 4), "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4, 4))
        file.create_virtual_dataset("x", layout)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    for name in ("external", "virtual", "linked"):
        for read in (read_vectors, read_labels):
            with pytest.raises(InputFileError, match=r"other files|holds no|has no"):
                read(f"{tmp_path / name}.h5::x")


def test_links_in_a_zarr_store_do_not_lead_in_circles(tmp_path):
    import zarr

    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("x", shape=(7, 4), dtype="float32")[:] = seeds.ROWS
    for name in "bcde":
        (tmp_path / "a.zarr" / name).symlink_to(tmp_path / "a.zarr")
    with open_vectors(tmp_path / "a.zarr") as source:
        assert np.array_equal(next(source.batches(99)), seeds.ROWS)


def test_archives_cannot_write_outside_of_the_data_set(tmp_path):
    import tarfile

    from hashdb.datasets.description import DatasetInfo, Download
    from hashdb.datasets.fetching import FetchError, _unpack

    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tape:
        for name in ("../../x.bin", "/x.bin", "a/x.bin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tape.addfile(link)
    info = DatasetInfo("toy", "toy", "", "", "toy", ())
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    with pytest.raises(FetchError, match="holds no"):
        _unpack(info, Download("file:///a.tar", ("x.bin",)), archive, place)
    with tarfile.open(archive, "w") as tape:
        entry = tarfile.TarInfo("../../x.bin")
        entry.size = 3
        tape.addfile(entry, io.BytesIO(b"abc"))
    assert _unpack(info, Download("file:///a.tar", ("x.bin",)), archive, place) == [place / "x.bin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "deep"]
