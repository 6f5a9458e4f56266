"""The command line as a user sees it: whole outputs, one-line errors, exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import hashdb
from hashdb.cli import main
from hashdb.cli.saving import save_lines
from hashdb.describing import GROUPS


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> list:
        return [json.loads(line) for line in self.out.splitlines()]


LONG = 300 * "x"  # more than a file system takes
Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in a folder that holds rows.npy, more.npy and labels.npy."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    rows = (rng.standard_normal((320, 12)) @ rng.standard_normal((12, 12))).astype(np.float32)
    np.save("rows.npy", rows[:300])
    np.save("more.npy", rows[300:])
    np.save("labels.npy", rng.integers(0, 3, 300))

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["hashdb", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture
def built(run: Run) -> Run:
    """The same, with a.hashdb built from rows.npy."""
    assert run("build", "a.hashdb", "rows.npy", "--method", "lsh", "--bits", "16").code == 0
    return run


def test_a_whole_life(run: Run) -> None:
    done = run("build", "a.hashdb", "rows.npy", "--method", "itq", "--bits", "10", "--store-vectors", "float16")
    assert done == (0, "a.hashdb: 300 codes of 10 bits by itq, version 1\n", "")
    assert run("add", "a.hashdb", "more.npy").out == "a.hashdb: added 20 rows, version 2, 320 rows in all\n"
    assert run("delete", "a.hashdb", "300", "301").out == "a.hashdb: deleted 2 rows, version 3, 318 rows left\n"
    asked = run("query", "a.hashdb", "more.npy", "-k", "2", "--json")
    assert [record["query"] for record in asked.json] == list(range(20))
    assert asked.json[5]["ids"][0] in range(318 + 2)
    info = run("info", "a.hashdb", "--json").json[0]
    assert (info["rows"], info["deleted_rows"], info["method"], info["n_bits"]) == (318, 2, "itq", 10)
    assert run("compact", "a.hashdb").code == 0
    assert run("query", "a.hashdb", "more.npy", "-k", "2", "--json").out == asked.out
    assert run("verify", "a.hashdb", "--deep").code == 0
    assert run("versions", "a.hashdb").out.splitlines()[0].split()[0] == "version"
    assert run("query", "a.hashdb", "--id", "300", "--at", "2", "-k", "1").out.startswith("300: ")
    assert run("compact", "a.hashdb", "--prune").code == 0
    assert "version 2" in run("query", "a.hashdb", "--id", "300", "--at", "2").err


def test_query_prints_ids_and_distances(built: Run) -> None:
    done = built("query", "a.hashdb", "--id", "7", "-k", "1")
    assert done == (0, "7: 7 (0)\n", "")


def test_query_writes_npz_and_jsonl(built: Run) -> None:
    assert built("query", "a.hashdb", "more.npy", "-k", "4", "--output", "out.npz") == (0, "", "")
    with np.load("out.npz") as found:
        assert found["ids"].shape == found["distances"].shape == (20, 4)
        nearest = found["ids"].tolist()
    built("query", "a.hashdb", "more.npy", "-k", "4", "--output", "out.jsonl")
    assert [json.loads(line)["ids"] for line in Path("out.jsonl").read_text().splitlines()] == nearest
    built("query", "a.hashdb", "more.npy", "--radius", "3", "--output", "near.npz")
    with np.load("near.npz") as near:
        assert near["lims"][-1] == len(near["ids"]) == len(near["distances"])
        assert near["distances"].max(initial=0) <= 3


def test_string_ids_stay_strings_in_npz(run: Run) -> None:
    Path("hashes.jsonl").write_text('{"id": "card-é", "hash": "00ff"}\n{"id": "b", "hash": "00fe"}\n')
    assert run("build", "c.hashdb", "hashes.jsonl::hash", "--method", "codes", "--ids", "hashes.jsonl::id").code == 0
    run("query", "c.hashdb", "hashes.jsonl::hash", "-k", "2", "--output", "out.npz")
    with np.load("out.npz") as found:
        assert found["ids"].dtype.kind == "U"
        assert found["ids"].tolist() == [["card-é", "b"], ["b", "card-é"]]
    assert run("query", "c.hashdb", "--id", "b", "-k", "2").out == "b: b (0), card-é (1)\n"


def test_query_with_codes(built: Run) -> None:
    with hashdb.open("a.hashdb") as index:
        np.save("codes.npy", index.get([3, 4]))
    done = built("query", "a.hashdb", "--codes", "codes.npy", "-k", "1", "--json")
    assert [record["distances"] for record in done.json] == [[0], [0]]


def test_stdin_is_read_where_its_format_is_named(built: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in np.load("more.npy").tolist())
    for arguments, code in ((("-",), 1), (("-", "--format", "text"), 0)):
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        done = built("add", "a.hashdb", *arguments)
        assert done.code == code
    assert done.out == "a.hashdb: added 20 rows, version 2, 320 rows in all\n"


def test_like_takes_the_model_of_another_index(built: Run) -> None:
    assert built("build", "b.hashdb", "more.npy", "--like", "a.hashdb").code == 0
    with hashdb.open("a.hashdb") as one, hashdb.open("b.hashdb") as other:
        assert (one.encode("more.npy") == other.encode("more.npy")).all()
    assert "leave out --bits" in built("build", "c.hashdb", "more.npy", "--like", "a.hashdb", "--bits", "8").err


def test_methods_lists_and_describes(run: Run) -> None:
    listed = run("methods")
    groups = {part.splitlines()[0].split()[0]: part.splitlines()[1:] for part in listed.out.split("\n\n")[:-1]}
    assert list(groups) == [group for group in GROUPS if group in groups]
    named = {group: {line.split()[0] for line in lines} for group, lines in groups.items()}
    assert {"codes", "lsh", "pcah", "itq"} <= named["unsupervised"]
    assert "itq-cca" in named["supervised"]
    assert "cvh" in named["cross-modal"]
    assert {"sbq", "dbq"} <= named["quantisers"]
    assert all(len(line.split(maxsplit=1)) == 2 for lines in groups.values() for line in lines), "each says when"
    shown = run("methods", "itq").out
    assert "iterations" in shown
    assert "50" in shown
    assert {entry["name"] for entry in run("methods", "--json").json[0]} >= {"itq", "dbq"}


@pytest.mark.parametrize(("arguments", "message"), [
    (("build", "b", "nothing.npy"), "nothing.npy"),
    (("build", "b", "rows.npz"), "rows.npz"),
    (("build", "a.hashdb", "rows.npy"), "a.hashdb"),
    (("build", "b", "rows.npy", "--method", "itc"), "itq"),
    (("build", "b", "rows.npy", "--bits", "8", "--param", "iteration=5"), "iterations"),
    (("build", "b", "rows.npy", "--bits", "8", "--param", "iterations=0"), "iterations"),
    (("build", "b", "rows.npy", "--param", "iterations"), "KEY=VALUE"),
    (("build", "b", "rows.npy", "--bits", "0"), "n_bits is 0"),
    (("build", "b", "rows.npy", "--bits", "13"), "12"),
    (("build", "b", "rows.npy", "--method", "itq-cca", "--bits", "4"), "labels"),
    (("build", "b", "rows.npy", "--method", "itq-cca", "--bits", "4", "--labels", "short.npy"), "299 labels for 300"),
    (("build", "b", "object.npy"), "object"),
    (("build", "b", "cut.npy"), "cut.npy"),
    (("build", "b", "empty.npy"), "no rows"),
    (("build", "b", "nan.npy", "--bits", "8"), "row 2, column 1 is nan"),
    (("build", "b", "rows.npy", "--bits", "8", "--ids", "twice.txt"), "twice|300|more than once|appears"),
    (("build", "b", "rows.npy", "--train", "0"), "train is 0"),
    (("build", "/proc/b", "rows.npy", "--bits", "4"), "/proc/b"),
    (("add", "b.hashdb", "rows.npy"), "b.hashdb"),
    (("add", "rows.npy", "rows.npy"), "rows.npy"),
    (("add", "a.hashdb", "labels.npy"), "labels.npy|dim"),
    (("add", "a.hashdb", "nan.npy"), "nan|dim"),
    (("add", "a.hashdb", "more.npy", "--ids", "present.txt"), "7"),
    (("query", "a.hashdb", "rows.npy", "-k", "-1"), "k is -1"),
    (("query", "a.hashdb", "rows.npy", "--radius", "-2"), "radius is -2"),
    (("query", "a.hashdb", "rows.npy", "--threads", "0"), "n_threads"),
    (("query", "a.hashdb", "rows.npy", "--rescore", "0"), "rescore is 0"),
    (("query", "a.hashdb", "--id", "999"), "999"),
    (("query", "a.hashdb", "--id", "cat"), "'cat' is not a whole number"),
    (("query", "a.hashdb", "--codes", "wide.npy"), "128|wide"),
    (("query", "a.hashdb", "rows.npy", "--at", "9"), "9"),
    (("query", "a.hashdb", "rows.npy", "--output", "out.txt"), "expected .npz or .jsonl"),
    (("query", "a.hashdb", "rows.npy", "--output", "/proc/x.npz"), "cannot write /proc/x.npz"),
    (("query", "a.hashdb", "rows.npy", "--rescore", "2", "--metric", "l2"), "orders by stored vectors"),
    (("delete", "a.hashdb", "1_0"), "'1_0' is not a whole number"),
    (("delete", "a.hashdb", "007"), "'007' is not a whole number"),
    (("build", "", "rows.npy"), "path of the index is empty"),
    (("build", "b", "rows.npy", "--like", "a.hashdb", "--normalise", "l2"), "normalise ('l2')"),
    (("build", "b", "rows.npy", "--like", "a.hashdb", "--train", "10"), "train (10)"),
    (("build", "b", "rows.npy", "--store", "image"), "no modalities"),
    (("build", "b", "bits.npy", "--method", "codes", "--bits", "4"), "codes of 16 bits, expected 4"),
    (("demo", "--keep", "a.hashdb"), "a.hashdb"),
    (("delete", "a.hashdb", "5", "999"), "999"),
    (("methods", "itqq"), "itq"),
    (("delete", "a.hashdb", "--ids", ""), "--ids '' has an empty name"),
    (("add", "a.hashdb", "more.npy", "--ids", "::x"), "--ids '::x' has an empty name"),
    (("build", "b", "rows.npy", "--labels", ""), "--labels '' has an empty name"),
    (("query", "a.hashdb", "::"), "input '::' has an empty name"),
    (("query", "a.hashdb", "--codes", ""), "input '' has an empty name"),
    (("repair", "a.hashdb", "--lost", ""), "--lost is empty"),
    (("query", "a.hashdb", "rows.npy", "--output", f"{LONG}.npz"), f"cannot write {LONG}.npz: the path is too long"),
    (("repair", "a.hashdb", "--lost", LONG), f"cannot write {LONG}: the path is too long"),
    (("verify", LONG), f"no index at {LONG}"),
    (("eval", "--compare", LONG, "b"), f"hashdb: {LONG}: "),
    (("datasets", "fetch", "mnist", "--to", LONG), f"hashdb: {LONG}"),
])  # fmt: skip
def test_bad_input_is_one_line_exit_1_and_changes_nothing(built: Run, arguments: tuple[str, ...], message: str) -> None:
    rows = np.load("rows.npy")
    np.save("short.npy", np.load("labels.npy")[:299])
    np.save("object.npy", np.array([{}, None], object), allow_pickle=True)
    Path("cut.npy").write_bytes(Path("rows.npy").read_bytes()[:-100])
    np.save("empty.npy", rows[:0])
    broken = rows.copy()
    broken[2, 1] = np.nan
    np.save("nan.npy", broken)
    Path("twice.txt").write_text("\n".join(["5"] * 300))
    Path("present.txt").write_text("\n".join(map(str, range(7, 27))))
    np.save("wide.npy", np.zeros((1, 2), np.uint64))
    np.save("bits.npy", np.zeros((5, 16), bool))
    before = sorted(path for path in Path().rglob("*"))
    done = built(*arguments)
    assert done.code == 1, done
    assert done.out == ""
    assert len(done.err.splitlines()) == 1, done.err
    assert any(part in done.err for part in message.split("|")), done.err
    assert "Traceback" not in done.err
    assert sorted(path for path in Path().rglob("*")) == before
    with hashdb.open("a.hashdb") as index:
        assert (index.version, len(index)) == (1, 300)


@pytest.mark.parametrize("arguments", [
    ("bild",), ("build",), ("build", "b"), ("query", "a.hashdb"), ("query", "a.hashdb", "rows.npy", "--id", "1"),
    ("query", "a.hashdb", "rows.npy", "-k", "3", "--radius", "1"), ("build", "b", "rows.npy", "--metric", "l3"),
    ("delete", "a.hashdb"), ("query", "a.hashdb", "--id", "1", "--rescore", "3"), ("demo", "--seed", "-1"),
    ("query", "a.hashdb", "rows.npy", "--metric", "l2"),
])  # fmt: skip
def test_wrong_usage_exits_2(built: Run, arguments: tuple[str, ...]) -> None:
    assert built(*arguments).code == 2


def test_a_typo_in_a_command_offers_the_nearest(run: Run) -> None:
    assert "Did you mean 'build'?" in run("bild").err


def test_deleting_with_a_file_and_missing_ids(built: Run) -> None:
    Path("ids.txt").write_text("1\n2\n999\n")
    assert built("delete", "a.hashdb", "--ids", "ids.txt").code == 1
    done = built("delete", "a.hashdb", "--ids", "ids.txt", "--ignore-missing", "--json")
    assert done.json == [{"index": "a.hashdb", "version": 2, "deleted": 2}]


def test_labels_for_a_method_that_takes_none_are_ignored_with_a_note(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    done = run("build", "a.hashdb", "rows.npy", "--method", "pcah", "--bits", "4", "--labels", "labels.npy")
    assert done.code == 0
    assert "labels" in done.err + caplog.text


def test_a_newer_format_is_refused(built: Run) -> None:
    meta = Path("a.hashdb/zarr.json")
    document = json.loads(meta.read_text())
    found = json.dumps(document)
    assert '"format": 1' in found
    meta.write_text(found.replace('"format": 1', '"format": 99'))
    # A manifest of our format names the root document as it was: that would be damage.
    done = built("info", "a.hashdb")
    assert done.code == 1
    assert "altered or damaged" in done.err
    for manifest in Path("a.hashdb/manifests").glob("0*.json"):
        manifest.unlink()
    done = built("info", "a.hashdb")
    assert done.code == 1
    assert "format 99" in done.err
    assert "install a newer hashdb" in done.err


def test_a_full_disk_leaves_the_index_as_it_was(built: Run) -> None:
    big = np.random.default_rng(0).standard_normal((40_000, 12)).astype(np.float32)
    np.save("big.npy", big)
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from hashdb.cli import main\n"
        "sys.argv = ['hashdb', *sys.argv[1:]]\n"
        "main()\n"
    )
    for arguments in (("add", "a.hashdb", "big.npy"), ("build", "b.hashdb", "big.npy", "--method", "lsh")):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "large" in done.stderr or "full" in done.stderr or "space" in done.stderr
    assert not Path("b.hashdb").exists()
    assert built("verify", "a.hashdb", "--deep").code == 0
    assert built("info", "a.hashdb", "--json").json[0]["version"] == 1


@pytest.mark.parametrize("arguments", [
    ("build", "b.hashdb", "big.npy", "--method", "lsh"),
    ("add", "a.hashdb", "big.npy"),
])  # fmt: skip
def test_ctrl_c_leaves_what_was_committed(built: Run, arguments: tuple[str, ...]) -> None:
    np.save("big.npy", np.random.default_rng(0).standard_normal((3_000_000, 12)).astype(np.float32))
    process = subprocess.Popen(
        [sys.executable, "-m", "hashdb", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    folder = Path(arguments[1]) / "segments"
    before = len(list(folder.iterdir())) if folder.exists() else 0
    while time.monotonic() < deadline and process.poll() is None:
        if folder.exists() and len(list(folder.iterdir())) > before:
            break  # it is writing rows
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert not Path("b.hashdb").exists()
    assert built("verify", "a.hashdb", "--deep").code == 0
    assert built("info", "a.hashdb", "--json").json[0]["rows"] == 300


def test_two_processes_adding_at_once_lose_nothing(built: Run) -> None:
    command = [sys.executable, "-m", "hashdb", "add", "a.hashdb", "more.npy"]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    info = built("info", "a.hashdb", "--json").json[0]
    assert (info["rows"], info["version"]) == (360, 4)
    with hashdb.open("a.hashdb") as index:
        assert np.concatenate([ids for ids, _ in index.codes()]).tolist() == list(range(360))


def test_output_into_a_closed_pipe_is_no_error(built: Run) -> None:
    command = f"{sys.executable} -m hashdb query a.hashdb rows.npy | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0
    assert done.stderr == ""
    command = f"set -o pipefail; {command.removesuffix('head -1')} true"  # gone before the first line comes
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_no_progress_bar_where_nobody_sees_it(built: Run) -> None:
    assert built("add", "a.hashdb", "more.npy").err == ""


def test_a_progress_bar_with_rate_on_a_terminal(built: Run) -> None:
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "hashdb", "build", "b.hashdb", "rows.npy", "--method", "itq", "--bits", "8"]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side was closed
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"fitting itq" in drawn
    assert b"/s]" in drawn
    assert out == "b.hashdb: 300 codes of 8 bits by itq, version 1\n"


def test_a_result_that_cannot_be_written_keeps_the_old_file(built: Run) -> None:
    assert built("query", "a.hashdb", "more.npy", "--output", "keep.npz").code == 0
    before = Path("keep.npz").read_bytes()
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from hashdb.cli import main\n"
        "sys.argv = ['hashdb', 'query', 'a.hashdb', 'rows.npy', '--output', sys.argv[1]]\n"
        "main()\n"
    )
    for output in ("keep.npz", "new.jsonl"):
        done = subprocess.run([sys.executable, "-c", code, output], capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert Path("keep.npz").read_bytes() == before
    assert not Path("new.jsonl").exists()
    assert not list(Path().glob(".*"))


def test_results_follow_a_link_and_leave_it_there(built: Run) -> None:
    Path("real.npz").write_bytes(b"old")
    Path("link.npz").symlink_to("real.npz")
    Path("new.jsonl").symlink_to("made.jsonl")
    for output in ("link.npz", "new.jsonl"):
        assert built("query", "a.hashdb", "more.npy", "--output", output) == (0, "", "")
        assert Path(output).is_symlink()
    assert np.load("real.npz")["ids"].shape == (20, 10)
    assert len(Path("made.jsonl").read_text().splitlines()) == 20


def test_a_file_that_is_replaced_keeps_its_mode(built: Run) -> None:
    Path("mine.jsonl").touch(0o600)
    for output in ("mine.jsonl", "new.jsonl"):
        assert built("query", "a.hashdb", "more.npy", "--output", output) == (0, "", "")
    Path("usual").touch()
    modes = [Path(name).stat().st_mode & 0o777 for name in ("mine.jsonl", "new.jsonl", "usual")]
    assert modes[0] == 0o600
    assert modes[1] == modes[2]


def test_lines_go_into_a_pipe_and_arrays_are_refused(built: Run) -> None:
    os.mkfifo("pipe.jsonl")
    os.symlink("pipe.jsonl", "pipe.npz")
    reader = os.open("pipe.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    assert built("query", "a.hashdb", "more.npy", "--output", "pipe.jsonl") == (0, "", "")
    assert Path("pipe.jsonl").is_fifo()
    assert len(os.read(reader, 1 << 16).splitlines()) == 20
    os.close(reader)
    refused = built("query", "a.hashdb", "more.npy", "--output", "pipe.npz")
    assert refused == (1, "", "hashdb: --output pipe.npz is a device, a pipe or a socket, expected a regular file\n")


def test_a_device_is_written_to_and_stays(built: Run) -> None:
    try:
        os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        Path("null").write_bytes(b"")
    except PermissionError:
        pytest.skip("only root makes devices, and only where the file system allows them")
    save_lines("null", ["1", "2"])
    assert stat.S_ISCHR(Path("null").stat().st_mode)


def test_lines_for_the_file_that_stdout_is_come_in_turn(built: Run) -> None:
    os.symlink("/proc/self/fd/1", "out")
    code = "from hashdb.cli.saving import save_lines; print(1); save_lines('out', ['2']); print(3)"
    with open("told.txt", "wb") as told:
        subprocess.run([sys.executable, "-c", code], stdout=told, check=True)
    assert Path("told.txt").read_text() == "1\n2\n3\n"


def test_what_the_system_refuses_is_not_called_printing(built: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHDB_DATA", LONG)
    assert built("datasets").err.endswith("x/cifar10: File name too long\n")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    said = built("demo").err
    assert said == "hashdb: No usable temporary directory found in ['/nowhere']\n"


def test_a_current_folder_that_was_removed_is_one_line(built: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    index, rows = (str(Path(name).absolute()) for name in ("a.hashdb", "rows.npy"))
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path("../gone").rmdir()
    for arguments, message in (
        (("build", "n", rows), "cannot find the folder of n: "),
        (("query", index, rows, "--output", "o.npz"), "cannot write o.npz: "),
        (("repair", index, "--lost", "f"), "cannot write f: "),
    ):
        done = built(*arguments)
        assert (done.code, done.err) == (1, f"hashdb: {message}no such file or directory\n")
    assert built("query", index, "--id", "7", "-k", "1") == (0, "7: 7 (0)\n", "")


def test_a_full_terminal_is_one_line(built: Run) -> None:
    for words in ("query a.hashdb rows.npy", "query --help"):
        command = f"{sys.executable} -m hashdb {words} > /dev/full"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "hashdb: cannot print the output: No space left on device\n")


def test_rescored_json_names_its_measure(run: Run) -> None:
    run("build", "a.hashdb", "rows.npy", "--method", "itq", "--bits", "8", "--store-vectors", "float32")
    done = run("query", "a.hashdb", "more.npy", "-k", "2", "--rescore", "3", "--metric", "l2", "--json")
    assert {record["measure"] for record in done.json} == {"l2"}


def test_an_empty_build_of_codes_takes_whatever_comes_first(run: Run) -> None:
    Path("nothing.txt").write_text("")
    Path("hashes.txt").write_text("00ff00ff00ff00ff\n00fe00ff00ff00ff\n")
    assert "give n_bits" in run("build", "c.hashdb", "nothing.txt", "--method", "codes").err
    assert run("build", "c.hashdb", "nothing.txt", "--method", "codes", "--bits", "64").code == 0
    assert run("add", "c.hashdb", "hashes.txt").out == "c.hashdb: added 2 rows, version 2, 2 rows in all\n"


def test_string_ids_of_digits_may_stand_in_a_text_file(run: Run) -> None:
    Path("ids.txt").write_text("10\n9\n")
    Path("hashes.txt").write_text("00ff00ff00ff00ff\n00fe00ff00ff00ff\n")
    Path("first.txt").write_text("a\n10\n")
    run("build", "c.hashdb", "hashes.txt", "--method", "codes", "--ids", "first.txt")
    assert run("add", "c.hashdb", "hashes.txt", "--ids", "ids.txt", "--upsert").code == 0
    assert run("delete", "c.hashdb", "--ids", "ids.txt").out == "c.hashdb: deleted 2 rows, version 3, 1 row left\n"
