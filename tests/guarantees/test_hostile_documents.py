"""An index that somebody made to do harm is used or refused: it runs nothing, and reaches nothing outside of itself."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import stat
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hashdb
from guarantees.damage_kit import answers, make, manifest_of
from guarantees.fuzzing.hostile_index import MAX_MESSAGE, Forger, use_all, uses
from guarantees.fuzzing.oracle import MIB, check_message, judge
from guarantees.scripts import run_script
from hashdb.errors import CorruptIndexError, HashDBError
from hashdb.storage.documents import digest, parse_document
from hashdb.storage.manifest import decode, manifest_name
from hashdb.storage.tables import KIND

TOP = (Path("segments"), Path("manifests"))  # what else could be removed, or written to


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, where the system has one: hundreds of indexes are copied."""
    fast = Path("/dev/shm")
    place = fast if os.access(fast, os.W_OK) else tmp_path_factory.mktemp("indexes")
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def master(folder: Path) -> Path:
    make(folder / "master.hashdb")
    return folder / "master.hashdb"


@pytest.fixture
def forger(master: Path, folder: Path) -> Forger:
    return Forger(master, folder)


def opening(path: Path) -> str:
    """Open an index; give what it says against that, or nothing."""

    def opened() -> None:
        with hashdb.open(path):
            pass

    return judge(opened, n_bytes=0, floor=64 * MIB, paths=(str(path),), max_message=MAX_MESSAGE) or ""


def complaint_of(path: Path) -> str:
    """Open and verify an index; give what is said against it. What opens in spite of that is used."""
    said = opening(path)
    problems = [said] if "no index" in said else [problem for _, problem in hashdb.verify(path).problems]
    for problem in problems:
        check_message(problem, (str(path),), MAX_MESSAGE)
    if not said:
        use_all(path)
    return said or "".join(problems[:1])


# ---- many


@pytest.mark.parametrize("n", [8, pytest.param(1500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_signed_hostile_indexes_are_used_or_refused_in_one_line(n, record_property):
    printed = run_script("fuzzing/hostile_index.py", "--executions", n, "--seconds", 3400, "--seed", n, timeout=3500)
    done = json.loads(printed)
    assert done["opened"] == n
    assert done["refused"] > n // 10
    record_property("hostile documents opened", n)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


def signed(body: bytes) -> bytes:
    return b'{"checksum":"' + digest(body).encode() + b'",' + body[1:]


@pytest.mark.parametrize("n", [100, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_signed_manifests_of_any_values_are_read_or_refused(n, master, record_property):
    sound = manifest_of(master)
    del sound["checksum"]
    path = master / "manifests" / manifest_name(sound["version"])
    tried = 0

    @given(st.data())
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def try_values(data: st.DataObject) -> None:
        nonlocal tried
        tried += 1
        document = json.loads(json.dumps(sound))
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(VALUES)
        body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        judge(lambda: decode(signed(body), path), n_bytes=len(body), paths=(str(path),))

    try_values()
    record_property("hostile documents opened", tried)


@given(raw=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None, database=None)
def test_documents_of_any_bytes_are_json_objects_or_refused(raw):
    path = Path("/some/document")
    try:
        found = parse_document(raw, path)
    except CorruptIndexError as error:
        check_message(str(error), (str(path),))
    else:
        assert found == json.loads(raw)
        assert "NaN" not in str(raw)


@pytest.mark.parametrize(
    "text",
    [
        *(b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":-Infinity}', b"[1]", b'"x"', b"{}{}", b"\xff\xfe{}", b""),
        *(b'{"a":' * 100_000, b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}", b'{"' + b"k" * 100_000 + b'"'),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_documents_that_json_parsers_disagree_on_are_refused_in_place_of_every_document(forger, text):
    for name in ("zarr.json", forger.manifest_name, *forger.units):
        path = forger.copy()
        forger.put_data(path, name, text)
        assert complaint_of(path)


# ---- paths out of the index


OUTSIDE = ("..", "../../../secret", "/etc/passwd", "a/../../b", ".", "a//b", "a\0b", "é", "c", "zarr.json", "-" * 200)


def test_names_that_lead_out_of_the_index_are_refused(forger, record_property):
    n = 0
    for name in OUTSIDE:
        for listing, field in (
            (forger.units[n % 3], "arrays"),
            (forger.units[0], "files"),
            (forger.tables[0], "arrays"),
        ):
            path = forger.copy()
            document = json.loads((path / listing).read_bytes())
            first = sorted(document[field])[0]
            document[field][name] = document[field].pop(first)
            forger.put_document(path, listing, document)
            # A table is only not used.
            assert bool(opening(path)) == (listing in forger.units)
            assert not hashdb.verify(path).ok
            n += 1
    record_property("hostile documents opened", n)


@pytest.mark.parametrize("uuid", ["..", "/etc", "../" * 11 + "a", "f" * 31 + "/", "F" * 32, "", "\0" * 32])
def test_uuids_that_lead_out_of_the_index_are_refused(forger, uuid):
    def places(manifest: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
        segment = manifest["segments"][0]
        inner = [(segment["deletes"][0], "uuid"), (segment["tables"][0], "name")]
        return [(segment, "uuid"), (manifest["model"], "uuid"), (manifest, "index"), *inner]

    for number in range(5):
        path = forger.copy()
        manifest = manifest_of(path)
        place, key = places(manifest)[number]
        place[key] = uuid
        forger.put_document(path, forger.manifest_name, manifest)
        report = hashdb.verify(path)
        assert not report.ok
        for _, problem in report.problems:
            check_message(problem, (str(path),), MAX_MESSAGE)


@pytest.mark.parametrize("is_thorough", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_folder_and_no_file_of_an_index_may_be_a_link(is_thorough, master, folder, record_property):
    parts = sorted(path.relative_to(master) for path in master.rglob("*"))
    if not is_thorough:  # one of each kind
        parts = list({kind_of(part): part for part in parts}.values())
    away = folder / "away"
    # Other manifests are those of older versions, which are not looked at.
    newest = {"zarr.json", max(one.name for one in (master / "manifests").glob("0*.json"))}
    slow_ones = {part for part in parts if len(part.parts) < 3 or part.name in (KIND, "c")} if is_thorough else set(TOP)
    for part in parts:
        path = Path(shutil.copytree(master, folder / "linked.hashdb", copy_function=os.link))
        shutil.move(path / part, away)
        (path / part).symlink_to(away)
        before = contents(away)
        assert not hashdb.verify(path).ok, part
        if "buckets" in part.parts:
            with hashdb.open(path) as index:  # derived: not used, and not missed
                assert index.get(["row-0"]).shape == (1, 1)
        elif part.parent.name != "manifests" or part.name in newest:
            said = opening(path)
            assert "link" in said or "regular file" in said, part
        if part in slow_ones:
            for use in uses(path):
                judge(use, n_bytes=0, floor=64 * MIB, paths=(str(path),), max_message=MAX_MESSAGE)
            assert contents(away) == before, part
        shutil.rmtree(path)
        shutil.rmtree(away) if away.is_dir() else away.unlink()
    record_property("hostile documents opened", len(parts))


ODD: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "folder": os.mkdir,
}


@pytest.mark.parametrize("odd", ODD)
def test_a_pipe_a_socket_or_a_folder_in_the_place_of_a_file_is_refused_and_never_waited_for(
    odd, forger, record_property
):
    newest = {"zarr.json", Path(forger.manifest_name).name}
    files = sorted(path.relative_to(forger.master) for path in forger.master.rglob("*") if path.is_file())
    files = [part for part in files if part.parts[0] != "manifests" or part.name in newest]
    parts = list({(*kind_of(part), part.name): part for part in files}.values())  # one of each kind
    assert {"zarr.json", "segment.json", "model.json", "table.json", "0"} < {part.name for part in parts}
    for part in parts:
        path = forger.copy()
        (path / part).unlink()
        ODD[odd](path / part)
        said = opening(path)
        if "buckets" in part.parts:
            assert not said, part
            with hashdb.open(path) as index:  # derived: not used, and not missed
                judge(lambda index=index: index.query_ids(["row-0"], k=3, n_threads=1), n_bytes=0, floor=64 * MIB)
        else:
            assert "regular file" in said, part
        judge(lambda path=path: str(hashdb.verify(path, deep=True)), n_bytes=0, floor=64 * MIB)
        assert not hashdb.verify(path).ok, part
    record_property("hostile documents opened", len(parts))


def kind_of(part: Path) -> tuple[str, ...]:
    """Path of a part without uuids and names of tables, and without what models are made of."""
    short = tuple("*" if len(name) == 32 or name.isdecimal() else name for name in part.parts)
    return short[:2] if part.parts[0] == "models" else short


def contents(path: Path) -> dict[str, bytes]:
    """All files of a folder, or of a file."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


def test_an_index_whose_own_path_is_a_link_opens(master, tmp_path):
    (tmp_path / "link.hashdb").symlink_to(master)
    with hashdb.open(tmp_path / "link.hashdb") as index, hashdb.open(master) as other:
        assert answers(index) == answers(other)


# ---- claims


def test_memory_for_claimed_shapes_and_chunks_is_not_taken(forger):
    for listing in (*forger.units, forger.tables[0]):
        for shape, chunk_rows in (
            ([1 << 40], 1 << 40),
            ([1 << 20, 1], 1),
            ([1 << 30, 1 << 30], 1 << 30),
            ([1] * 32, 1),
        ):
            path = forger.copy()
            document = json.loads((path / listing).read_bytes())
            name = sorted(document["arrays"])[0]
            document["arrays"][name] |= {"shape": shape, "chunk_rows": chunk_rows}
            forger.put_document(path, listing, document)
            tracemalloc.start()
            try:
                assert complaint_of(path)
            finally:
                tracemalloc.stop()


def test_nothing_is_unpickled_whatever_an_index_says(forger, tmp_path):
    mark = tmp_path / "mark"

    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    raw = pickle.dumps(Planted())
    for listing in forger.units:
        folder = listing.rpartition("/")[0]
        for name in sorted(json.loads((forger.master / listing).read_bytes())["arrays"])[:1]:
            path = forger.copy()
            document = json.loads((path / folder / name / "zarr.json").read_bytes())
            document["data_type"] = "object"
            document["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
            forger.put_data(path, f"{folder}/{name}/zarr.json", json.dumps(document).encode())
            chunk = next(one for one in (path / folder / name / "c").rglob("*") if one.is_file())
            size = chunk.stat().st_size
            forger.put_data(path, str(chunk.relative_to(path)), raw.ljust(size, b"\0")[:size])
            use_all(path)
            assert not mark.exists()
    pickle.loads(raw)
    assert mark.exists()


def test_forged_indexes_that_are_not_changed_are_sound(forger):
    """The signatures of the forger are right: what is refused, is for what was changed."""
    for name in ("zarr.json", forger.manifest_name, *forger.units, forger.tables[0]):
        path = forger.copy()
        document = manifest_of(path) if name == forger.manifest_name else json.loads((path / name).read_bytes())
        forger.put_document(path, name, document)
        assert hashdb.verify(path).ok, name
    assert use_all(path) == 0


@pytest.mark.parametrize("kind", ["FLOAT32", "float64", "", "x" * 3000])
def test_settings_with_a_kind_of_stored_vectors_that_there_is_not_are_refused(forger, kind):
    path = forger.copy()
    changed, n = re.subn(
        rb'"store_vectors":\s*"\w+"', f'"store_vectors":"{kind}"'.encode(), (path / "zarr.json").read_bytes()
    )
    assert n == 1
    forger.put_data(path, "zarr.json", changed)
    with pytest.raises(CorruptIndexError, match=r"store_vectors is .*expected none, float32, float16, int8") as caught:
        hashdb.open(path)
    assert len(str(caught.value).replace(str(path), "")) < 300


def test_errors_of_an_index_can_be_caught_as_one_kind(forger):
    path = forger.copy()
    forger.put_data(path, "zarr.json", b"{}")
    with pytest.raises(HashDBError):
        hashdb.open(path)
