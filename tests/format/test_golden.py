"""Indexes written by earlier versions open for ever, with the contents they had.

The golden folders are never written by tests; one that lacks a file, or has an altered one, fails.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from hashdb.storage import Store, verify

HERE = Path(__file__).parent
INDEXES = [("v1", "integers", 5), ("v1", "strings", 3)]
KINDS = {"integers": "int64", "strings": "string"}
N_MODEL_ARRAYS = 10


@pytest.mark.parametrize("version", ["v1"])
def test_no_golden_file_is_missing_or_altered(version):
    listed = json.loads((HERE / version / "files.json").read_text())
    assert len(listed) > 100
    for name, digest in listed.items():
        assert hashlib.sha256((HERE / version / name).read_bytes()).hexdigest() == digest, name


def expected_rows(folder, name, version):
    place = folder / f"{name}.expected"
    ids = json.loads((place / f"{version}.ids.json").read_text())
    return ids, np.load(place / f"{version}.codes.npy"), np.load(place / f"{version}.vectors.npy")


@pytest.mark.parametrize(("format_version", "name", "n_versions"), INDEXES)
def test_every_version_of_a_golden_index_reads_as_expected(format_version, name, n_versions):
    folder = HERE / format_version
    for version in range(1, n_versions + 1):
        ids, codes, vectors = expected_rows(folder, name, version)
        with Store.open(folder / f"{name}.hashdb", version=version, check="full") as store:
            batches = list(store.snapshot.iter_id_order(10))
            assert [id_ for part, _ in batches for id_ in part.tolist()] == ids
            assert np.concatenate([part for _, part in batches]).tolist() == codes.tolist()
            segments, rows = store.snapshot.rows_of(ids)
            for i, (segment, row) in enumerate(zip(segments.tolist(), rows.tolist(), strict=True)):
                found = store.snapshot.segments[segment].vectors_at(np.array([row]))[0]
                assert found.tolist() == vectors[i].tolist()
    with Store.open(folder / f"{name}.hashdb") as store:
        assert store.snapshot.version == n_versions
        assert verify(store.path, deep=True).problems == []


@pytest.mark.parametrize(("format_version", "name", "n_versions"), INDEXES)
def test_the_model_and_attributes_of_a_golden_index_read_as_expected(format_version, name, n_versions):
    folder = HERE / format_version
    with Store.open(folder / f"{name}.hashdb") as store:
        document, arrays = store.read_model()
        attributes = store.attributes
    assert document == json.loads((folder / f"{name}.expected" / "model.json").read_text())
    assert len(arrays) == N_MODEL_ARRAYS
    for key, array in arrays.items():
        wanted = np.load(folder / f"{name}.expected" / f"model.{key.replace('/', '+')}.npy")
        assert (array.dtype, array.shape, array.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())
    assert (attributes.id_kind, attributes.n_bits, attributes.n_stored_bits) == (KINDS[name], 96, 100)
    assert attributes.settings == {"metric": "l2", "input_type": "float"}


def test_a_golden_index_keeps_modalities_policies_and_next_id():
    with Store.open(HERE / "v1" / "integers.hashdb") as store:
        found = [(segment.modality, segment.database_codes, segment.n_alive) for segment in store.snapshot.segments]
        assert found == [("image", "learned", 5), ("text", "predicted", 147), ("text", "predicted", 2)]
        assert store.snapshot.next_id == (1 << 40) + 151
        assert [len(segment.code_blocks) for segment in store.snapshot.segments] == [1, 3, 1]


@pytest.mark.parametrize(("format_version", "name", "n_versions"), INDEXES)
def test_zarr_alone_reads_a_golden_index(format_version, name, n_versions):
    path = HERE / format_version / f"{name}.hashdb"
    ids, codes, _ = expected_rows(HERE / format_version, name, n_versions)
    group = zarr.open_group(path, mode="r")
    found = {}
    for entry in json.loads((path / "manifests" / f"{n_versions:012d}.json").read_text())["segments"]:
        segment = group[f"segments/{entry['uuid']}"]
        if "ids" in segment:
            own = segment["ids"][:].tolist()
        elif "id_bytes" in segment:
            data, offsets = segment["id_bytes"][:].tobytes(), segment["id_offsets"][:].tolist()
            own = [data[offsets[i] : offsets[i + 1]].decode() for i in range(entry["n"])]
        else:
            own = [entry["first_id"] + i for i in range(entry["n"])]
        dead = {row for lists in entry["deletes"] for row in group[f"deletes/{lists['uuid']}/rows"][:].tolist()}
        for row, code in enumerate(segment["codes"][:].tolist()):
            if row not in dead:
                found[own[row]] = code
    assert [found[id_] for id_ in ids] == codes.tolist()
    assert len(found) == len(ids)


@pytest.mark.parametrize(("format_version", "name", "n_versions"), INDEXES)
def test_a_golden_index_can_be_written_to(format_version, name, n_versions, tmp_path):
    shutil.copytree(HERE / format_version / f"{name}.hashdb", tmp_path / "i")
    ids, *_ = expected_rows(HERE / format_version, name, n_versions)
    with Store.open(tmp_path / "i") as store:
        writer = store.new_segment(ids=["new"] if KINDS[name] == "string" else None, vectors=("float32", 3))
        writer.append(np.array([[1, 2]], np.uint64), np.zeros((1, 3), np.float32))
        store.commit_add(writer.finish())
        store.commit_delete(ids[:2])
        store.compact(prune=True)
        assert store.snapshot.n_rows == len(ids) - 1
        assert store.verify(deep=True).ok
