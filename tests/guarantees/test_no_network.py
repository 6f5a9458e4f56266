"""Nothing of hashdb goes to the network by itself: not at import, not at work, and not where the network is there."""

from __future__ import annotations

import json

import click
import numpy as np
import pytest

from guarantees.limited import python, rows_of
from hashdb.cli import cli

# Every way to the network that the interpreter tells its auditors of. What libraries in C do is not told: of their
# sockets, those still open at the end are looked for (on Linux).
WATCHED = """
import json, os
tried = []

def watch(event, arguments):
    if event == "socket.__new__" and arguments[1] not in (2, 10):
        return  # not of the internet: zarr's event loop wakes itself through a pair of local ones
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")) and event != "socket.gethostname":
        tried.append(f"{event} {arguments!r:.200}")
        raise OSError("no network in this test")

sys.addaudithook(watch)
"""

WORK = """
folder = sys.argv[1]
import pkgutil
import hashdb, hashdb_plugins
for package in (hashdb, hashdb_plugins):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            __import__(module.name)
index, rows = folder + "/a.hashdb", folder + "/rows.npy"
for step in [
    ("build", index, rows, "--method", "itq", "--bits", "16"), ("add", index, rows), ("query", index, rows, "-k", "3"),
    ("delete", index, "3"), ("compact", index, "--prune"), ("verify", index, "--deep"), ("repair", index),
    ("info", index), ("versions", index), ("methods",), ("methods", "itq"), ("warmup",), ("datasets",),
    ("eval", folder + "/data.npz", "--methods", "lsh", "--bits", "8", "--runs", "2", "--test-queries", "30",
     "--validation-queries", "30", "--validation-database", "100", "--output", folder + "/results"),
    ("demo", "--html", folder + "/demo.html"), ("--version",),
]:
    found = command(*step)
    print(json.dumps(found))
mine, network = set(), set()
for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
    try:
        mine.add(os.readlink(f"/proc/self/fd/{name}"))
    except OSError:
        pass
for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
    if os.path.exists(f"/proc/self/net/{kind}"):
        with open(f"/proc/self/net/{kind}") as table:
            network |= {f"socket:[{line.split()[9]}]" for line in list(table)[1:]}
print(json.dumps({"tried": tried, "sockets": sorted(mine & network)}))
"""


def test_import_and_every_command_leave_the_network_alone(tmp_path, record_property):
    np.save(tmp_path / "rows.npy", rows_of(300, 24))
    np.savez(tmp_path / "data.npz", vectors=rows_of(400, 24), labels=np.arange(400) % 3)
    ended = python(WATCHED + WORK, tmp_path, timeout=250)
    assert ended.code == 0, ended.err[-3000:]
    *commands, network = ended.json
    for found in commands:
        assert found["code"] == 0, found
    # Of the groups only the one command that is for the network is left out.
    every = {name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))}
    assert {found["command"][0] for found in commands} == {*every, "--version"}
    assert [set(one.commands) for one in every.values() if isinstance(one, click.Group)] == [{"fetch"}]
    assert network == {"tried": [], "sockets": []}
    record_property("commands watched for network use", len(commands))


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request; urllib.request.urlopen('http://localhost:9/')",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    ],
)
def test_the_watch_itself_sees_an_attempt(attempt):
    program = WATCHED + f"try:\n    {attempt}\nexcept OSError:\n    pass\nprint(json.dumps(tried))"
    ended = python(program)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) != []
