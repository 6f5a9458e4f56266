"""Whole indexes of earlier versions open for ever: models that encode, vectors, tables of every shape, what is unknown.

The golden folders are never written by tests; one that lacks a file, or has an altered one, fails.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from make_public_golden import N, codes_of, values_of

import hashdb
from hashdb.errors import UnsupportedFormatError
from hashdb.search import engine

HERE = Path(__file__).parent
FOLDERS = ["v1-public"]
NAMES = ["wide", "hashed", "lean", "cross"]
SHAPES = {
    "wide": ("wide", "direct", 3),
    "hashed": ("wide", "hashed", 2),
    "lean": ("lean", "hashed", 4),
    "cross": ("lean", "direct", 2),
}
GOLDEN = [(folder, name) for folder in FOLDERS for name in NAMES]


def expected_of(folder, name):
    """Give version, ids in order, and codes (n,)."""
    found = json.loads((HERE / folder / "expected.json").read_text())[name]
    as_id = int if found["id_kind"] == "int64" else str
    rows = {as_id(one): int(code, 16) for one, code in found["rows"].items()}
    ids = sorted(rows, key=lambda one: one.encode() if isinstance(one, str) else one)
    return found["version"], ids, np.array([rows[one] for one in ids], np.uint64)


def nearest(codes, query, k):
    distances = np.bitwise_count(codes ^ query)
    order = np.argsort(distances, kind="stable")[:k]
    return order, distances[order]


def copy_of(folder, name, path):
    shutil.copytree(HERE / folder / f"{name}.hashdb", path)
    return path


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_golden_file_is_missing_or_altered(folder):
    listed = json.loads((HERE / folder / "files.json").read_text())
    assert len(listed) > 200
    for name, digest in listed.items():
        assert hashlib.sha256((HERE / folder / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(("folder", "name"), GOLDEN)
def test_a_golden_index_holds_what_it_should(folder, name, record_property):
    version, ids, codes = expected_of(folder, name)
    with hashdb.open(HERE / folder / f"{name}.hashdb", check="full") as index:
        assert index.version == version
        found_ids, found = (np.concatenate(part) for part in zip(*index.codes(), strict=True))
        assert found_ids.tolist() == ids
        assert found[:, 0].tolist() == codes.tolist()
        assert index.get(ids[3:9])[:, 0].tolist() == codes[3:9].tolist()
        assert index.verify(deep=True).problems == []
    record_property("golden indexes opened", 1)


@pytest.mark.parametrize("way", ["scan", "buckets"])
@pytest.mark.parametrize(("folder", "name"), GOLDEN)
def test_a_golden_index_answers_as_brute_force_does(folder, name, way, monkeypatch):
    """By a scan, and by the tables as they were written then."""
    _, ids, codes = expected_of(folder, name)
    paths = set()

    def forced(search):
        def work(*arguments, **options):
            found = search(*arguments, **options, path=way)
            paths.update(report.path for _, report in found.reports)
            return found

        return work

    for search in ("knn", "radius"):
        monkeypatch.setattr(engine, search, forced(getattr(engine, search)))
    with hashdb.open(HERE / folder / f"{name}.hashdb") as index:
        for query in codes[:: len(codes) // 7]:
            order, distances = nearest(codes, query, 9)
            found = index.query_codes(np.array([[query]]), k=9)
            assert found.ids[0].tolist() == [ids[i] for i in order]
            assert found.distances[0].tolist() == distances.tolist()
            within = index.query_codes(np.array([[query]]), radius=3)
            assert sorted(within.ids.tolist()) == sorted(
                one for one, code in zip(ids, codes, strict=True) if int(np.bitwise_count(code ^ query)) <= 3
            )
    assert any(way in path for path in paths)
    assert way == "buckets" or paths == {"scan"}


@pytest.mark.parametrize(("folder", "name"), [case for case in GOLDEN if case[1] != "lean"])
def test_a_golden_model_still_gives_the_codes_that_are_stored(folder, name):
    _, ids, codes = expected_of(folder, name)
    with hashdb.open(HERE / folder / f"{name}.hashdb") as index:
        if name == "wide":
            vectors, own = values_of(N, 24, 1)[2:5], [(i * 7919) % 100_003 - 50_000 for i in (2, 3, 4)]
        elif name == "hashed":
            vectors, own = values_of(N, 40, 4)[200:], list(range(200, 240))
        else:
            vectors, own = values_of(N, 12, 6), list(range(240))
        stored = [int(codes[ids.index(one)]) for one in own]
        modality = "image" if name == "cross" else None
        assert index.encode(vectors, modality=modality)[:, 0].tolist() == stored
        if name == "cross":
            text = [int(codes[ids.index(one)]) for one in range(240, 260)]
            assert index.encode(values_of(20, 9, 8), modality="text")[:, 0].tolist() == text


@pytest.mark.parametrize("kind", ["wide", "hashed", "cross"])
def test_golden_vectors_of_every_kind_still_rank_their_own_row_first(kind):
    vectors, own, modality = {
        "wide": (values_of(N, 24, 1)[50:80], [(i * 7919) % 100_003 - 50_000 for i in range(50, 80)], None),  # float16
        "hashed": (values_of(N, 40, 4)[200:], list(range(200, 240)), None),  # float32
        "cross": (values_of(N, 12, 6)[:40], list(range(40)), "image"),  # int8
    }[kind]
    # Of the last, version 1: with rows of two modalities there is no one measure.
    version = 1 if kind == "cross" else None
    with hashdb.open(HERE / FOLDERS[0] / f"{kind}.hashdb", version=version) as index:
        found = index.query(vectors, k=1, rescore=100, metric="l2", modality=modality)
        assert found.ids[:, 0].tolist() == own


@pytest.mark.parametrize(("folder", "name"), GOLDEN)
def test_golden_tables_have_the_shape_they_are_there_for(folder, name):
    layout, directory, n_tables = SHAPES[name]
    path = HERE / folder / f"{name}.hashdb"
    newest = json.loads(max((path / "manifests").glob("0*.json")).read_bytes())
    entry = newest["segments"][0]
    named = [table for table in entry["tables"] if table["kind"] == "buckets"]
    assert len(named) == n_tables
    for table in named:
        document = (path / "segments" / entry["uuid"] / "buckets" / table["name"] / "table.json").read_bytes()
        assert hashlib.sha256(document).hexdigest() == table["digest"]
        description = json.loads(document)["description"]
        assert (description["layout"], description["directory"]) == (layout, directory)


@pytest.mark.parametrize(("folder", "name"), GOLDEN)
def test_a_copy_of_a_golden_index_takes_adds_deletes_and_compaction(folder, name, tmp_path):
    path = copy_of(folder, name, tmp_path / "i.hashdb")
    _, ids, codes = expected_of(folder, name)
    rows = dict(zip(ids, codes.tolist(), strict=True))
    with hashdb.open(path) as index:
        vectors = {
            "wide": lambda: values_of(5, 24, 99),
            "hashed": lambda: values_of(5, 40, 99),
            "lean": lambda: codes_of(5, 99),
            "cross": lambda: values_of(5, 12, 99),
        }[name]()
        modality = "image" if name == "cross" else None
        new = [f"new{i}" for i in range(5)] if name == "lean" else None
        given = index.add(vectors, ids=new, modality=modality, auto_compact=False).tolist()
        added = vectors if name == "lean" else index.encode(vectors, modality=modality)
        rows |= dict(zip(given, added.reshape(-1).tolist(), strict=True))
        for one in ids[::4]:
            del rows[one]
        index.delete(ids[::4])
        index.compact(prune=True)
        found = dict(zip(*(np.concatenate(part).tolist() for part in zip(*index.codes(), strict=True)), strict=True))
        assert {one: code[0] for one, code in found.items()} == rows
        assert index.verify(deep=True).problems == []


def test_derived_data_that_is_not_known_is_passed_over_and_kept(tmp_path):
    path = copy_of("v1-public", "lean", tmp_path / "i.hashdb")
    root = json.loads((path / "zarr.json").read_bytes())["attributes"]["hashdb"]
    assert root["extensions"] == {"required": [], "derived": ["graph-of-neighbours"]}
    _, ids, _ = expected_of("v1-public", "lean")
    with hashdb.open(path) as index:
        index.delete(ids[:3])
        assert index.verify(deep=True).problems == []
    newest = json.loads(max((path / "manifests").glob("0*.json")).read_bytes())
    kinds = [table["kind"] for table in newest["segments"][0]["tables"]]
    assert kinds == ["buckets"] * 4 + ["graph-of-neighbours"]


def seal(fields):
    """Write a manifest as docs/format.md says."""
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return b'{"checksum":"' + hashlib.sha256(body).hexdigest().encode() + b'",' + body[1:]


def newer(path, change):
    """Make an index one that a later hashdb wrote: everything about it is right, but not of our format."""
    root = json.loads((path / "zarr.json").read_bytes())
    change(root["attributes"]["hashdb"])
    data = json.dumps(root, sort_keys=True, separators=(",", ":")).encode()
    (path / "zarr.json").write_bytes(data)
    parent = None
    for manifest in sorted((path / "manifests").glob("0*.json")):
        fields = json.loads(manifest.read_bytes())
        del fields["checksum"]
        form = root["attributes"]["hashdb"]["format"]
        fields |= {"format": form, "root": hashlib.sha256(data).hexdigest(), "parent": parent}
        manifest.write_bytes(seal(fields))
        parent = json.loads(manifest.read_bytes())["checksum"]


@pytest.mark.parametrize("number", [2, 3, 1000])
@pytest.mark.parametrize(("folder", "name"), GOLDEN)
def test_a_newer_format_is_refused_with_the_hashdb_that_reads_it(folder, name, number, tmp_path):
    path = copy_of(folder, name, tmp_path / "i.hashdb")
    newer(path, lambda own: own.update(format=number, reader=f"{number}.7", something="only it knows"))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for work in (
        lambda: hashdb.open(path),
        lambda: hashdb.open(path, version=1),
        lambda: hashdb.build(path, np.zeros((3, 4), np.float32)),
        lambda: hashdb.repair(path),
        lambda: hashdb.repair(path, drop=True),
    ):
        with pytest.raises(hashdb.HashDBError) as caught:
            work()
        assert "\n" not in str(caught.value)
    with pytest.raises(
        UnsupportedFormatError,
        match=rf"format {number}, this hashdb reads up to 1; install hashdb {number}\.7 or newer",
    ):
        hashdb.open(path)
    (problem,) = hashdb.verify(path).problems
    assert f"install hashdb {number}.7 or newer" in problem[1]
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_version_of_a_newer_format_is_refused_by_whoever_meets_it(tmp_path):
    """Also by a writer that has the index open while a later hashdb commits to it."""
    path = copy_of("v1-public", "lean", tmp_path / "i.hashdb")
    with hashdb.open(path) as index:
        newest = max((path / "manifests").glob("0*.json"))
        fields = json.loads(newest.read_bytes())
        fields |= {"format": 2, "version": index.version + 1, "parent": fields.pop("checksum"), "something": "new"}
        (path / "manifests" / f"{index.version + 1:012d}.json").write_bytes(seal(fields))
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        for work in (
            lambda: index.add(codes_of(2, 99), ids=["new0", "new1"]),
            lambda: index.delete(index.query_codes(codes_of(1, 99), k=1).ids[0]),
            lambda: index.compact(),
            lambda: index.compact(prune=True),
            lambda: index.refresh(),
            lambda: hashdb.open(path),
            lambda: hashdb.repair(path),
            lambda: hashdb.repair(path, drop=True),
        ):
            with pytest.raises(UnsupportedFormatError, match="format 2, this hashdb reads up to 1; install a newer"):
                work()
            assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    (problem,) = hashdb.verify(path).problems
    assert "format 2" in problem[1]


@pytest.mark.parametrize("reader", [None, 4, "", "1.x", "2; rm -rf", "9" * 50])
def test_a_newer_format_that_does_not_say_who_reads_it_is_refused_all_the_same(reader, tmp_path):
    path = copy_of("v1-public", "lean", tmp_path / "i.hashdb")
    newer(path, lambda own: own.update(format=2, reader=reader))
    with pytest.raises(UnsupportedFormatError, match=r"format 2, this hashdb reads up to 1; install a newer hashdb$"):
        hashdb.open(path)


def test_an_extension_that_is_required_and_not_known_is_refused_by_its_name(tmp_path):
    path = copy_of("v1-public", "wide", tmp_path / "i.hashdb")
    newer(path, lambda own: own["extensions"].update(required=["encrypted-codes"]))
    with pytest.raises(UnsupportedFormatError, match=r"requires the extension 'encrypted-codes'.*newer hashdb"):
        hashdb.open(path)
