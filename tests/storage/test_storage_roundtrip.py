"""What is written comes back: ids of each kind, codes of any width, vectors, models, chunks, zarr's own reading."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from storage_kit import content, expected, make_codes, new_index, put, raw_content, write

from hashdb.errors import ArgumentError, DuplicateIdError
from hashdb.storage import Sizes, Store, mapping

UNSORTED = [5, -3, 7, 1 << 40, 0, -(1 << 63), (1 << 63) - 2]
WORDS = ["zebra", "é", "a", "aa", "Ω" * 300, "a b", "\U0001f600", "Z", "~", "ab"]
KINDS = {
    "automatic": ("int64", None, 20),
    "ascending": ("int64", [2, 3, 5, 9], 4),
    "unsorted": ("int64", UNSORTED, len(UNSORTED)),
    "range": ("int64", list(range(-5, 12)), 17),
    "shuffled range": ("int64", [3, 1, 2, 0, 4], 5),
    "strings": ("string", WORDS, len(WORDS)),
    "sorted strings": ("string", sorted(WORDS, key=str.encode), len(WORDS)),
    "one row": ("int64", [41], 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bucket_bytes", [1 << 20, 16])
def test_rows_come_back_by_id_whatever_the_order_of_the_input(tmp_path, kind, bucket_bytes):
    id_kind, ids, n = KINDS[kind]
    codes = make_codes(n, 100)
    sizes = Sizes(chunk_bytes=64, bucket_bytes=bucket_bytes)
    store = new_index(tmp_path / "i", codes, ids, id_kind=id_kind, n_bits=100, sizes=sizes)
    wanted = expected(range(n) if ids is None else ids, codes)
    assert content(store) == wanted
    assert raw_content(tmp_path / "i") == wanted
    with Store.open(tmp_path / "i", check="full") as again:
        assert content(again) == wanted
        segments, rows = again.snapshot.rows_of(list(wanted))
        assert again.snapshot.segments[0].codes_at(rows).tolist() == [list(code) for code in wanted.values()]
        assert segments.tolist() == [0] * n
        assert again.snapshot.segments[0].ids_at(rows).tolist() == list(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_add_returns_ids_in_input_order(tmp_path, kind):
    id_kind, ids, n = KINDS[kind]
    store = Store.create(tmp_path / "i", id_kind=id_kind, n_bits=64, n_stored_bits=64, settings={})
    store.commit_build(None)
    given = store.commit_add(write(store, make_codes(n), ids))
    assert given.tolist() == (list(range(n)) if ids is None else ids)
    assert given.dtype.kind == ("i" if id_kind == "int64" else "U")


@pytest.mark.parametrize("ids", [list(range(7, 20)), [3, 1, 2, 0]])
def test_a_contiguous_range_of_explicit_ids_stores_nothing(tmp_path, ids):
    store = new_index(tmp_path / "i", make_codes(len(ids)), ids)
    assert store.snapshot.manifest.segments[0].first_id == min(ids)
    assert not list((tmp_path / "i" / "segments").glob("*/ids"))


@pytest.mark.parametrize("n_bits", [1, 7, 63, 64, 65, 100, 128, 1000, 4096])
def test_codes_of_any_width(tmp_path, n_bits):
    codes = make_codes(9, n_bits)
    store = new_index(tmp_path / "i", codes, n_bits=n_bits)
    assert np.concatenate(store.snapshot.segments[0].code_blocks).tolist() == codes.tolist()
    assert store.snapshot.n_stored_bits == n_bits


@pytest.mark.parametrize("n_bits", [1, 63, 65, 4095])
def test_codes_with_padding_bits_are_refused(tmp_path, n_bits):
    store = new_index(tmp_path / "i", n_bits=n_bits)
    codes = make_codes(3, n_bits)
    codes[1, -1] |= np.uint64(1 << (n_bits % 64))
    with pytest.raises(ArgumentError, match=f"past bit {n_bits - 1}"):
        put(store, codes)


@pytest.mark.parametrize(
    "codes",
    [np.zeros((3, 2), np.uint64), np.zeros((3, 1), np.int64), np.zeros(3, np.uint64), np.zeros((3, 1), np.uint8)],
)
def test_codes_of_wrong_shape_or_dtype_are_refused(tmp_path, codes):
    with pytest.raises(ArgumentError, match="expected uint64"):
        put(new_index(tmp_path / "i"), codes)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("ids", [None, [9, 2, 4, 0, 7]])
def test_vectors_stand_beside_their_codes(tmp_path, dtype, ids):
    vectors = (np.arange(15).reshape(5, 3) - 7).astype(dtype)
    sizes = Sizes(chunk_bytes=20, bucket_bytes=16)
    store = new_index(tmp_path / "i", make_codes(5), ids, vectors=vectors, sizes=sizes)
    segment = store.snapshot.segments[0]
    _, rows = store.snapshot.rows_of(range(5) if ids is None else ids)
    found = segment.vectors_at(rows)
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == vectors.tolist()
    assert segment.vectors == (dtype, 3)


def test_vectors_of_an_index_without_vectors_are_refused(tmp_path):
    store = new_index(tmp_path / "i", make_codes(2))
    with pytest.raises(ArgumentError, match="stores no vectors"):
        store.snapshot.segments[0].vectors_at(np.array([0]))


@pytest.mark.parametrize("rows", [[-1], [5], [0, 5]])
def test_rows_outside_the_segment_are_refused(tmp_path, rows):
    segment = new_index(tmp_path / "i", make_codes(5)).snapshot.segments[0]
    for read in (segment.codes_at, segment.ids_at):
        with pytest.raises(ArgumentError, match="the segment has 5"):
            read(np.array(rows))


# ---- chunks


@pytest.mark.parametrize("n", [1, 63, 64, 65, 127, 128, 129, 1000])
def test_large_arrays_are_cut_into_chunks_of_equal_rows(tmp_path, n):
    codes = make_codes(n, 128)
    path = tmp_path / "i"
    store = new_index(path, codes, n_bits=128, sizes=Sizes(chunk_bytes=64 * 16), n_rows_hint=n)
    segment = store.snapshot.segments[0]
    blocks = segment.code_blocks
    assert np.concatenate(blocks).tolist() == codes.tolist()
    assert len({len(block) for block in blocks[:-1]} | {64}) == 1
    files = sorted((path / "segments" / segment.uuid / "codes" / "c").glob("*/0"))
    assert len(files) == len(blocks) == -(-n // 64)
    assert {file.stat().st_size for file in files} == ({n * 16} if n <= 64 else {64 * 16})
    array = zarr.open_array(path / "segments" / segment.uuid / "codes", mode="r")
    assert array[:].tolist() == codes.tolist()
    assert array.compressors == ()


def test_a_small_chunk_file_is_the_rows_byte_for_byte(tmp_path):
    codes = make_codes(50, 128)
    new_index(tmp_path / "i", codes, n_bits=128)
    (file,) = (tmp_path / "i" / "segments").glob("*/codes/c/0/0")
    assert file.read_bytes() == codes.tobytes()


def test_padding_of_the_last_chunk_is_zero_and_not_mapped(tmp_path):
    store = new_index(tmp_path / "i", make_codes(100), sizes=Sizes(chunk_bytes=64 * 8))
    blocks = store.snapshot.segments[0].code_blocks
    assert [len(block) for block in blocks] == [64, 36]
    (file,) = (tmp_path / "i" / "segments").glob("*/codes/c/1/0")
    assert file.read_bytes()[36 * 8 :] == bytes(28 * 8)


def test_chunks_of_all_zero_codes_are_written(tmp_path):
    new_index(tmp_path / "i", np.zeros((200, 1), np.uint64), sizes=Sizes(chunk_bytes=64 * 8))
    assert len(list((tmp_path / "i" / "segments").glob("*/codes/c/*/0"))) == 4


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("mmap", [True, False])
def test_large_files_are_mapped_unless_told_otherwise(tmp_path, mmap, tracked, monkeypatch):
    if tracked:  # where no mapping goes without a descriptor
        monkeypatch.setattr(mapping, "untracked_map", lambda: None)
    codes = make_codes(200_000)
    new_index(tmp_path / "i", codes).close()
    with Store.open(tmp_path / "i", mmap=mmap) as store:
        (block,) = store.snapshot.segments[0].code_blocks
        assert block.tobytes() == codes.tobytes()
        assert not block.flags.writeable
        assert not block.flags.owndata
        assert bool(store._mapper._maps) == (mmap and tracked)
        assert is_mapped(tmp_path) in (mmap, None)
        with pytest.raises(ValueError, match="WRITEABLE"):
            block.flags.writeable = True
        part = block[100:200]
        store.close()
        del block
        gc.collect()
        assert part.tobytes() == codes[100:200].tobytes()
        del part
        gc.collect()
        assert not is_mapped(tmp_path)


def is_mapped(path):
    """Whether this process has mapped anything below a folder; None where there is no telling."""
    maps = Path("/proc/self/maps")
    return str(path) in maps.read_text() if maps.exists() else None


def test_mapping_can_be_turned_off_by_the_environment(tmp_path, monkeypatch):
    new_index(tmp_path / "i", make_codes(200_000)).close()
    monkeypatch.setenv("HASHDB_MMAP", "0")
    with Store.open(tmp_path / "i") as store:
        assert len(store.snapshot.segments[0].code_blocks[0]) == 200_000
        assert not store._mapper._maps


def test_a_wrong_value_in_the_environment_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HASHDB_MMAP", "maybe")
    with pytest.raises(ArgumentError, match="HASHDB_MMAP is 'maybe', expected 0 or 1"):
        new_index(tmp_path / "i")
    assert not (tmp_path / "i").exists()


# ---- models and settings

ARRAYS = {
    "bool": np.array([[True, False], [False, False]]),
    "float32": np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 2, 3),
    "float64": np.array([np.pi, -0.0, np.inf]),
    "float16": np.array([1.5], np.float16),
    "int64": np.array([-(1 << 63), (1 << 63) - 1]),
    "uint8": np.arange(7, dtype=np.uint8),
    "uint64": np.array([(1 << 64) - 1], np.uint64),
    "value": np.array(2.5),
    "empty": np.zeros((0, 4), np.float32),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "state/image.w": np.arange(3.0),
}


def test_a_model_comes_back_bit_for_bit(tmp_path):
    document = {"method": "itq", "params": {"a": 1.5, "b": None}, "names": ["é"]}
    new_index(tmp_path / "i", model=(document, ARRAYS)).close()
    with Store.open(tmp_path / "i") as store:
        found, arrays = store.read_model()
    assert found == document
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
        assert not arrays[name].flags.writeable or not arrays[name].size


def test_zarr_reads_a_model(tmp_path):
    store = new_index(tmp_path / "i", model=({}, ARRAYS))
    group = zarr.open_group(tmp_path / "i", mode="r")[f"models/{store.snapshot.manifest.model.uuid}"]
    for name, array in ARRAYS.items():
        assert np.asarray(group[name][...]).tobytes() == array.tobytes()
        assert str(group[name].dtype) == str(array.dtype)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.array([{}], object)},
        {"a": np.array(["x"])},
        {"a": np.array([1j])},
        {"../a": np.zeros(1)},
        {"/a": np.zeros(1)},
        {"zarr.json": np.zeros(1)},
        {"a/c": np.zeros(1)},
        {"": np.zeros(1)},
        {"a": np.zeros(1), "a/b": np.zeros(1)},
    ],
)
def test_what_is_no_array_is_refused_in_a_model(tmp_path, arrays):
    store = new_index(tmp_path / "i")
    with pytest.raises(ArgumentError):
        store.write_model({}, arrays)
    assert len(list((tmp_path / "i" / "models").iterdir())) == 1


@pytest.mark.parametrize("document", [{"a": float("nan")}, {"a": object()}, {"a": {1: [set()]}}])
def test_what_is_no_json_is_refused_in_a_model(tmp_path, document):
    store = new_index(tmp_path / "i")
    with pytest.raises(ArgumentError, match="JSON"):
        store.write_model(document, {})


def test_settings_and_attributes_come_back(tmp_path):
    settings = {"metric": "l2", "nested": {"a": [1, 2.5, None]}}
    store = Store.create(tmp_path / "i", id_kind="string", n_bits=60, n_stored_bits=100, settings=settings)
    store.commit_build(None, None)
    with Store.open(tmp_path / "i") as again:
        assert again.attributes == store.attributes
        assert again.attributes.settings == settings
        assert (again.attributes.id_kind, again.attributes.n_bits, again.attributes.n_stored_bits) == (
            "string",
            60,
            100,
        )


def test_modality_and_policy_come_back(tmp_path):
    store = new_index(tmp_path / "i", make_codes(2), modality="image", database_codes="learned")
    put(store, make_codes(2), modality="text")
    with Store.open(tmp_path / "i") as again:
        found = [(segment.modality, segment.database_codes) for segment in again.snapshot.segments]
    assert found == [("image", "learned"), ("text", "predicted")]


def test_every_folder_is_a_zarr_group_and_listing_gives_no_warning(tmp_path):
    store = new_index(tmp_path / "i", make_codes(20), list(range(0, 40, 2)), model=({}, {"s/w": np.zeros(3)}))
    store.commit_delete([2])
    group = zarr.open_group(tmp_path / "i", mode="r")
    assert sorted(name for name, _ in group.members()) == ["deletes", "manifests", "models", "segments"]
    for name in ("deletes", "models", "segments"):
        for _, member in group[name].members():
            assert isinstance(member, zarr.Group)


def test_metadata_are_those_that_zarr_would_write(tmp_path):
    """The options that matter, compared with an array that zarr made itself."""
    new_index(tmp_path / "i", make_codes(20))
    (ours,) = (tmp_path / "i" / "segments").glob("*/codes/zarr.json")
    options = {"shape": (20, 1), "chunks": (20, 1), "dtype": "uint64", "compressors": None, "fill_value": 0}
    zarr.create_array(tmp_path / "theirs", **options)
    assert json.loads(ours.read_text()) == json.loads((tmp_path / "theirs" / "zarr.json").read_text())


# ---- ids that cannot be


@pytest.mark.parametrize("ids", [[1, 2, 1], [2, 1, 1], np.array([3, 3, 4])])
def test_an_integer_id_given_twice_is_named(tmp_path, ids):
    store = new_index(tmp_path / "i")
    with pytest.raises(DuplicateIdError, match=rf"id {3 if ids[0] == 3 else 1} is given twice"):
        store.new_segment(ids=ids)


def test_the_first_repeated_id_is_named_with_its_rows(tmp_path):
    store = new_index(tmp_path / "i", id_kind="string")
    with pytest.raises(DuplicateIdError, match="id 'b' is given twice, in rows 1 and 3"):
        store.new_segment(ids=["a", "b", "z", "b", "a", "a"])


@pytest.mark.parametrize(
    "ids", [[""], ["a\0b"], ["\ud800"], ["x" * 1025], ["é" * 513], [1], [b"a"], [None], np.array([1, 2])]
)
def test_strings_that_are_no_ids_are_refused(tmp_path, ids):
    store = new_index(tmp_path / "i", id_kind="string")
    with pytest.raises(ArgumentError, match="id "):
        store.new_segment(ids=ids)


@pytest.mark.parametrize(
    "ids", [["a"], [1.0], [True], [1 << 63], [-(1 << 63) - 1], np.array([1 << 63], np.uint64), np.array([1.5]), [None]]
)
def test_what_is_no_integer_is_refused(tmp_path, ids):
    store = new_index(tmp_path / "i")
    with pytest.raises(ArgumentError, match="id "):
        store.new_segment(ids=ids)


def test_long_ids_are_cut_short_in_messages(tmp_path):
    store = new_index(tmp_path / "i", id_kind="string")
    with pytest.raises(ArgumentError) as caught:
        store.new_segment(ids=["x" * 10_000_000])
    assert len(str(caught.value)) < 300


def test_string_ids_cannot_be_automatic(tmp_path):
    store = new_index(tmp_path / "i", id_kind="string")
    with pytest.raises(ArgumentError, match="give ids="):
        store.new_segment()


@pytest.mark.parametrize("n_ids", [2, 4])
def test_ids_that_do_not_match_the_rows_are_refused(tmp_path, n_ids):
    store = new_index(tmp_path / "i")
    with pytest.raises(ArgumentError, match=f"{n_ids} ids for"):
        put(store, make_codes(3), list(range(n_ids)), pieces=1)
