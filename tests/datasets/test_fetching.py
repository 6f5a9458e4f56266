"""Downloads from a server on this machine: nothing gets its name before its checksum is right."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hashdb import datasets
from hashdb.datasets import DataFile, DatasetInfo, Download, FetchError, Layout, catalogue
from hashdb.errors import ArgumentError, StorageError

CONTENT = bytes(range(256)) * 40


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@pytest.fixture
def server():
    """Serve what stands in `.files`; `.asked` lists the paths and agents, `.cut` keeps back that many bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served.asked.append((self.path, self.headers["User-Agent"]))
            raw = served.files.get(self.path)
            if raw is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) - served.cut])

        def log_message(self, *args):
            pass

    class Served:
        files: dict[str, bytes]

    served = Served()
    served.files, served.asked, served.cut = {}, [], 0
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield served
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def toy(root, server, monkeypatch):
    """Put a set called toy into the catalogue; gives a function that says what it downloads."""

    def put(*downloads: Download, files: tuple[DataFile, ...] = (DataFile("a.bin", len(CONTENT)),)) -> None:
        layouts = (Layout(files, lambda folder, progress: None),)
        info = DatasetInfo("toy", "Toy", "http://toy.example", "none", "toy", layouts, downloads, "ask")
        monkeypatch.setitem(catalogue._ALL, "toy", info)

    return put


def test_a_file_comes_under_its_name_when_the_checksum_is_right(root, server, toy):
    server.files["/a.bin"] = CONTENT
    toy(Download(f"{server.url}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    told = []
    made = datasets.fetch("toy", progress=lambda what, done, total: told.append((what, done, total)))
    assert made == [root / "toy" / "a.bin"]
    assert made[0].read_bytes() == CONTENT
    assert told[-1] == ("fetching a.bin", len(CONTENT), len(CONTENT))
    assert server.asked == [("/a.bin", "hashdb")]
    assert datasets.fetch("toy") == [], "what is there is not fetched again"
    assert len(server.asked) == 1
    made[0].write_bytes(CONTENT[:-1])
    assert datasets.fetch("toy") == made, "half a file is"
    assert made[0].read_bytes() == CONTENT


def test_another_checksum_leaves_nothing(root, server, toy):
    server.files["/a.bin"] = CONTENT[::-1]
    toy(Download(f"{server.url}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    with pytest.raises(FetchError, match=rf"not what it was: 10,240 bytes with sha256 {digest(CONTENT[::-1])}"):
        datasets.fetch("toy")
    assert os.listdir(root / "toy") == []


def test_a_download_that_breaks_off_leaves_nothing(root, server, toy):
    server.files["/a.bin"], server.cut = CONTENT, 100
    toy(Download(f"{server.url}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    with pytest.raises(FetchError, match=r"a.bin (broke off: 10,140 bytes came, expected 10,240|cannot be fetched)"):
        datasets.fetch("toy")
    assert os.listdir(root / "toy") == []


def test_an_old_file_stays_when_the_new_one_is_wrong(root, server, toy):
    server.files["/a.bin"] = CONTENT[::-1]
    toy(Download(f"{server.url}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    (root / "toy").mkdir()
    (root / "toy" / "a.bin").write_bytes(b"half")
    with pytest.raises(FetchError):
        datasets.fetch("toy")
    assert (root / "toy" / "a.bin").read_bytes() == b"half"


def test_offline_the_home_and_the_place_are_named(root, toy):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    toy(Download(f"http://127.0.0.1:{port}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    with pytest.raises(
        FetchError, match=r"cannot be fetched: .*refused; .*get a.bin from http://toy.example and put it"
    ):
        datasets.fetch("toy")


def test_a_server_without_the_file(root, server, toy):
    toy(Download(f"{server.url}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    with pytest.raises(FetchError, match=r"/a.bin cannot be fetched: .*Not Found"):
        datasets.fetch("toy")


def test_without_a_checksum_nothing_is_asked_for(root, server, toy):
    server.files["/a.bin"] = CONTENT
    toy(Download(f"{server.url}/a.bin", ("a.bin",)))
    with pytest.raises(ArgumentError, match=r"no checksum of .*/a.bin is known.*--sha256.*http://toy.example yourself"):
        datasets.fetch("toy")
    assert server.asked == []
    with pytest.raises(FetchError, match="not what it was"):
        datasets.fetch("toy", sha256=digest(b""))
    made = datasets.fetch("toy", sha256=digest(CONTENT).upper())
    assert made[0].read_bytes() == CONTENT


def test_one_unvouched_download_stops_all_before_the_first(root, server, toy):
    server.files |= {"/a.bin": CONTENT, "/b.bin": CONTENT}
    files = (DataFile("a.bin"), DataFile("b.bin"))
    toy(
        Download(f"{server.url}/a.bin", ("a.bin",), sha256=digest(CONTENT)),
        Download(f"{server.url}/b.bin", ("b.bin",)),
        files=files,
    )
    with pytest.raises(ArgumentError, match=r"no checksum of .*/b.bin is known"):
        datasets.fetch("toy")
    with pytest.raises(ArgumentError, match="takes 2 downloads, so one url or sha256 cannot be for all"):
        datasets.fetch("toy", sha256=digest(CONTENT))
    assert server.asked == []


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, raw in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    return out.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return out.getvalue()


@pytest.mark.parametrize(("end", "pack"), [("tar.gz", tar_of), ("zip", zip_of)])
def test_an_archive_gives_the_files_that_are_read_and_no_others(root, server, toy, end, pack):
    raw = pack({"toy-1/a.bin": CONTENT, "toy-1/sub/b.bin": b"b", "toy-1/other": b"x", "../evil": b"x"})
    server.files[f"/toy.{end}"] = raw
    files = (DataFile("a.bin", len(CONTENT)), DataFile("sub/b.bin"))
    toy(Download(f"{server.url}/toy.{end}", ("a.bin", "sub/b.bin"), sha256=digest(raw)), files=files)
    made = datasets.fetch("toy")
    assert sorted(made) == [root / "toy" / "a.bin", root / "toy" / "sub" / "b.bin"]
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == ["toy/a.bin", "toy/sub/b.bin"]
    assert (root / "toy" / "sub" / "b.bin").read_bytes() == b"b"


def test_members_with_checksums_vouch_for_an_archive(root, server, toy):
    server.files["/toy.zip"] = zip_of({"x/a.bin": CONTENT})
    toy(
        Download(f"{server.url}/toy.zip", ("a.bin",)),
        files=(DataFile("a.bin", len(CONTENT), digest(CONTENT)),),
    )
    assert datasets.fetch("toy")[0].read_bytes() == CONTENT
    (root / "toy" / "a.bin").unlink()
    server.files["/toy.zip"] = zip_of({"x/a.bin": CONTENT[::-1]})
    with pytest.raises(FetchError, match=r"a.bin of .*toy.zip has sha256"):
        datasets.fetch("toy")
    server.files["/toy.zip"] = zip_of({"x/b.bin": CONTENT})
    with pytest.raises(FetchError, match=r"toy.zip holds no a.bin"):
        datasets.fetch("toy")
    server.files["/toy.zip"] = b"PK\x03\x04 and nothing else"
    with pytest.raises(FetchError, match=r"toy.zip is no whole archive"):
        datasets.fetch("toy")
    assert os.listdir(root / "toy") == []


def test_a_file_on_this_machine_is_an_address_too(root, toy, tmp_path):
    (tmp_path / "mine.bin").write_bytes(CONTENT)
    toy(Download("https://toy.example/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    made = datasets.fetch("toy", tmp_path / "elsewhere", url=(tmp_path / "mine.bin").as_uri())
    assert made == [tmp_path / "elsewhere" / "a.bin"]
    assert made[0].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mniist", {}, "unknown data set 'mniist'; did you mean 'mnist'"),
        ("nus-wide", {}, "nus-wide cannot be fetched; get it from https://lms.comp.nus.edu.sg"),
        ("sift1m", {}, "no checksum of ftp://ftp.irisa.fr/local/texmex/corpus/sift.tar.gz is known"),
        ("sift1m", {"sha256": "12"}, "sha256 is '12', expected 64 hexadecimal digits"),
        ("sift1m", {"sha256": "0" * 64, "url": "gopher://x"}, "url 'gopher://x' is no https, http, ftp, file address"),
    ],
)
def test_what_cannot_be_fetched_says_why(root, name, options, message):
    with pytest.raises(ArgumentError, match=message):
        datasets.fetch(name, **options)


def test_without_a_folder_there_is_no_place(monkeypatch):
    monkeypatch.delenv("HASHDB_DATA", raising=False)
    with pytest.raises(ArgumentError, match="HASHDB_DATA names no folder for data sets"):
        datasets.fetch("mnist")


def test_a_place_that_cannot_be_made(root, server, toy):
    (root / "toy").write_text("a file")
    toy(Download(f"{server.url}/a.bin", ("a.bin",), len(CONTENT), digest(CONTENT)))
    with pytest.raises(StorageError, match=r"toy cannot be written: .*choose another folder"):
        datasets.fetch("toy")
    assert server.asked == []
