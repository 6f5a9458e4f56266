"""Parsers of an index's documents and of what experiments keep: sound ones to begin with, and what reads them."""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guarantees.damage_kit import make, manifest_of
from guarantees.fuzzing import seeds
from guarantees.fuzzing.mutators import mutate, mutate_json

_KEYS = ("method", "quantiser", "bits", "query", "database", "database_codes")


@functools.cache
def _documents() -> dict[str, bytes]:
    """Documents of an index that has everything: by name, and segment and model by their kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.hashdb"
        make(path)
        manifest = manifest_of(path)
        segment = manifest["segments"][0]
        unit = path / "segments" / segment["uuid"]
        return {
            "manifest": _sealed_body((path / "manifests" / f"{manifest['version']:012d}.json").read_bytes()),
            "root": (path / "zarr.json").read_bytes(),
            "segment": (unit / "segment.json").read_bytes(),
            "model": (path / "models" / manifest["model"]["uuid"] / "model.json").read_bytes(),
            "table": (unit / "buckets" / segment["tables"][0]["name"] / "table.json").read_bytes(),
        }


def _sealed_body(raw: bytes) -> bytes:
    return b"{" + raw[79:]


def document_seeds(name: str) -> list[bytes]:
    """Give the one sound document of a kind."""
    return [_documents()[name]]


def harm(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Harm JSON by its structure, mostly."""
    if rng.random() < 0.25:
        return mutate(raw, rng, others)
    try:
        return json.dumps(mutate_json(json.loads(raw), rng), separators=(",", ":"), sort_keys=True).encode()
    except (ValueError, RecursionError, TypeError):
        return mutate(raw, rng, others)


def read_manifest(path: Path) -> None:
    """Read a manifest whose checksum somebody made to fit."""
    from hashdb.storage.documents import digest
    from hashdb.storage.manifest import decode

    body = path.read_bytes()
    version = path.with_name(f"{manifest_version():012d}.json")
    decode(b'{"checksum":"' + digest(body).encode() + b'",' + body[1:], version)


@functools.cache
def manifest_version() -> int:
    """Version of the manifest that is the seed."""
    return json.loads(_documents()["manifest"])["version"]


def read_root(path: Path) -> None:
    """Read the attributes of an index."""
    from hashdb.storage.folder import Attributes

    Attributes.parse(path.read_bytes(), path)


def read_unit(path: Path) -> None:
    """Read the document of a segment, a model or a table, and what it says of arrays and files."""
    from hashdb.storage.documents import parse_document
    from hashdb.storage.mapping import Mapper
    from hashdb.storage.reading import SegmentUnit, Unit

    document = parse_document(path.read_bytes(), path)
    owner = document.get("uuid") if isinstance(document.get("uuid"), str) else None
    kind = {"id_kind": "string"} if "n_bits" in document and "name" not in document else None
    if kind is not None:
        folder = path.parent / str(owner)[:32].replace("/", "-").replace("\0", "-")
        SegmentUnit(Mapper(path.parent), folder, document, path, "string").column(None)
    else:
        Unit(Mapper(path.parent), path.parent, document, path, owner=owner)


def read_model(path: Path) -> None:
    """Read what a model says of itself."""
    from hashdb.model.document import Document
    from hashdb.storage.documents import Fields, parse_document

    read_unit(path)
    Document.read(Fields(parse_document(path.read_bytes(), path), path).table("document"), {})


def results() -> list[bytes]:
    """Results of an experiment, as far as they are read again."""
    from hashdb.evaluation.experiment.gathering import FORMAT

    cells = [
        {
            **dict(zip(_KEYS, ("itq", None, bits, "", "", "predicted"), strict=True)),
            "summary": {"map": {"mean": 0.25 * run, "std": 0.1}},
            "runs": [{"run": number, "metrics": {"map": 0.25}} for number in range(2)],
        }
        for run, bits in enumerate((16, 32))
    ]
    protocol: dict[str, Any] = {"dataset": "digits", "n_rows": 10, "seed": 0}
    return [json.dumps({"format": FORMAT, "protocol": protocol, "cells": cells}).encode()]


def read_results(path: Path) -> None:
    """Read results and compare them with themselves, as `hashdb eval --compare` does."""
    from hashdb.evaluation.experiment.side_by_side import compare, comparison_table, load_results

    found = load_results(path)
    comparison_table(compare(found, found))


def splits() -> list[bytes]:
    """A saved split."""
    from hashdb.evaluation import make_split

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split.npz"
        sizes = {"n_test_queries": 3, "n_validation_queries": 3, "n_training": 5, "n_validation_database": 4}
        make_split(30, **sizes).save(path)
        return [path.read_bytes()]


def read_split(path: Path) -> None:
    """Read a split."""
    from hashdb.evaluation import Split

    Split.load(path)


def cifars() -> list[bytes]:
    """A batch of two images of CIFAR-10."""
    return [(b"\3" + bytes(3072)) * 2]


def read_cifar(path: Path) -> None:
    """Read a batch of CIFAR-10."""
    from hashdb.datasets.pictures import _cifar_batch

    _cifar_batch(path)


def archives() -> list[bytes]:
    """The posts of 20 Newsgroups as published, a few of them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(3):
            for part in ("train", "test"):
                entry = tarfile.TarInfo(f"20news-bydate-{part}/sci.space/{number}")
                text = f"From: a\n\nrocket engine orbit number{number}".encode()
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
    return [out.getvalue(), gzip.compress(out.getvalue())]


def read_archive(path: Path) -> None:
    """Read posts from an archive as the data set does; turning them into numbers is left out."""
    from unittest import mock

    from hashdb.datasets import texts

    place = path.with_name("newsgroups")
    place.mkdir(exist_ok=True)
    raw = path.read_bytes()
    # Harm of what is inside would not get past the checksum of gzip.
    (place / texts._ARCHIVE).write_bytes(raw if raw[:2] == b"\x1f\x8b" else gzip.compress(raw, 1))
    with mock.patch.object(texts, "_tf_idf", lambda rows, n: np.zeros((len(rows), 1), np.float32)):
        texts._read_archive(place, lambda *_: None)


def tables() -> list[bytes]:
    """A table of numbers as NUS-WIDE has them."""
    return [seeds.lines("1 2 3 ", "4 5 6 ")]


def read_nus_table(path: Path) -> None:
    """Read a table of NUS-WIDE as features and as tags."""
    from guarantees.fuzzing.targets import all_told
    from hashdb.datasets.nuswide import read_table

    with all_told(path) as attempt:
        attempt(read_table, path, np.float32)
        attempt(read_table, path, np.uint8)
