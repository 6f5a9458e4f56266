"""The examples of docs/cross-modal.md that need real data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cross-modal.md"
BLOCK = re.compile(r"^<!-- not run: needs the Wikipedia articles[^\n]* -->\n^```(\w+)\n(.*?)^```", re.M | re.S)


def test_the_example_on_wikipedia_runs(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    environment = {
        **os.environ,
        "HASHDB_DATA": str(data),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert [kind for kind, _ in blocks] == ["bash", "python"]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks[0][1]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "image, predicted: 2,173 rows" in done.stdout
    exec(compile(blocks[1][1], "cross-modal.md", "exec"), {"__name__": "docs"})
    assert capsys.readouterr().out.count("finds images of") == 3
