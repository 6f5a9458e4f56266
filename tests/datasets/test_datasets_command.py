"""``hashdb datasets`` and ``hashdb build --encoder`` as a user sees them."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from published_formats import write_mnist

from hashdb import datasets
from hashdb.cli import main


@pytest.fixture
def run(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hashdb", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def test_the_list_names_every_set_and_says_what_is_there(root, run):
    write_mnist(root / "mnist")
    code, out, err = run("datasets", "--details")
    assert (code, err) == (0, "")
    for name in datasets.names():
        info = datasets.get(name)
        assert f"{name}: {info.title}\n  home     {info.home}\n  licence  {info.licence}\n  files    " in out
    assert f"found    in {root / 'mnist'}" in out
    assert f"found    no: there is no folder {root / 'wiki'}" in out
    assert f"\n1 of {len(datasets.names())} data sets found\n" in out


def test_the_short_list_has_a_line_for_each_set(root, run, monkeypatch):
    write_mnist(root / "mnist")
    code, out, err = run("datasets")
    assert (code, err) == (0, "")
    table, said = out.split("\n\n")
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in table.splitlines()[1:]}
    assert rows == {name: ["yes" if name == "mnist" else "no", datasets.get(name).title] for name in datasets.names()}
    lines = said.splitlines()
    assert lines[0] == f"1 of {len(datasets.names())} data sets found"
    closed = [name for name in datasets.names() if not datasets.get(name).downloads]
    assert {"mirflickr25k", "nus-wide"} <= set(closed)
    assert lines[1] == f"hashdb datasets fetch NAME gets those with an address: all but {', '.join(closed)}"
    monkeypatch.delenv("HASHDB_DATA")
    assert "0 of" in run("datasets")[1]
    assert "HASHDB_DATA names no folder" in run("datasets")[1]


def test_the_list_for_machines(root, run):
    code, out, _ = run("datasets", "--json")
    assert code == 0
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert sorted(entries) == datasets.names()
    assert entries["sift1m"]["files"][0] == {"path": "sift_base.fvecs", "bytes": 516_000_000}
    assert entries["wiki"]["found"] is False
    assert "there is no folder" in entries["wiki"]["problem"]


def test_fetch_tells_what_it_made_and_errors_are_one_line(root, run, tmp_path, monkeypatch):
    code, out, err = run("datasets", "fetch", "wikki")
    assert (code, out) == (1, "")
    assert err.startswith("hashdb: unknown data set 'wikki'; did you mean 'wiki'?")
    assert err.count("\n") == 1
    code, out, err = run("datasets", "fetch", "sift1m")
    assert code == 1
    assert "no checksum of ftp://" in err
    (tmp_path / "posts.tar.gz").write_bytes(b"posts")
    checksum = "0f6ed0f5b2c1cf5b6e2fcd1c8b5cb0b4d9b16d5f7c85e2d7c7c4f1f6b3c2b1a0"
    code, out, err = run(
        *("datasets", "fetch", "newsgroups20", "--sha256", checksum, "--to", "here"),
        *("--url", (tmp_path / "posts.tar.gz").as_uri()),
    )
    assert code == 1
    assert f"expected {checksum}; nothing is kept" in err
    import hashlib

    checksum = hashlib.sha256(b"posts").hexdigest()
    code, out, err = run(
        *("datasets", "fetch", "newsgroups20", "--sha256", checksum, "--to", "here"),
        *("--url", (tmp_path / "posts.tar.gz").as_uri()),
    )
    assert (code, out, err) == (0, "here/20news-bydate.tar.gz\n", "")
    code, out, _ = run("datasets", "fetch", "newsgroups20", "--to", "here")
    assert (code, out) == (0, "newsgroups20: all files are there\n")


def test_build_add_and_query_take_images_through_an_encoder(run):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    np.save("images.npy", images[:20])
    np.save("more.npy", images[20:])
    code, out, err = run("build", "a.hashdb", "images.npy", "--method", "lsh", "--bits", "32", "--encoder", "gist")
    assert (code, err) == (0, "")
    assert out == "a.hashdb: 20 codes of 32 bits by lsh, version 1\n"
    assert run("add", "a.hashdb", "more.npy")[:2] == (0, "a.hashdb: added 10 rows, version 2, 30 rows in all\n")
    code, out, _ = run("query", "a.hashdb", "more.npy", "-k", "1", "--json")
    assert [json.loads(line)["distances"] for line in out.splitlines()] == [[0]] * 10
    assert json.loads(run("info", "a.hashdb", "--json")[1])["encoder"] == "gist"
    code, out, err = run("build", "b.hashdb", "more.npy", "--like", "a.hashdb")
    assert (code, err) == (0, "")
    code, out, err = run("build", "c.hashdb", "more.npy", "--like", "a.hashdb", "--encoder", "gist")
    assert code == 1
    assert "leave out --encoder" in err
    code, out, err = run("build", "c.hashdb", "more.npy", "--bits", "32")
    assert code == 1
    assert "shape (10, 16, 16, 3)" in err
    assert "--encoder" in err
