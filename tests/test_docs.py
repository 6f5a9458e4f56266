"""The documentation is true: code blocks run, links lead somewhere, the command-line page is the help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "plugins/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>\w+)\n(?P<code>.*?)^```", re.M | re.S)
COMMAND = "command:"  # blocks that .ci/run runs itself
NOT_RUN = "not run: "


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    names: dict[str, object] = {"__name__": "docs"}
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        mark, kind, code = found["mark"] or "", found["kind"], found["code"]
        if mark.startswith((COMMAND, NOT_RUN)):
            assert mark.startswith(COMMAND) or len(mark) > len(NOT_RUN) + 10, f"{page}: say why the block is not run"
        elif kind == "python":
            exec(compile(code, f"{page.name}: {code[:40]!r}", "exec"), names)
        elif kind == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        else:
            assert kind in ("text", "json", "toml"), f"{page}: a block of {kind} is neither run nor explained"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page_id(page)} links to {target}"


def test_the_command_line_page_is_the_help() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "docs/make_cli_page.py"), "--print"], capture_output=True, text=True, check=True
    ).stdout
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == made, "run: python docs/make_cli_page.py"


def test_the_pages_of_the_methods_are_what_they_say_of_themselves() -> None:
    command = [sys.executable, str(ROOT / "docs/make_method_pages.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_methods_table_of_the_readme_names_every_built_in() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.split("[project.entry-points.hashdb]")[1].split("\n\n")[0]
    names = set(re.findall(r"^([\w-]+) =", section, re.M))
    rows = set(re.findall(r"^\| `([\w-]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M))
    assert names == rows


def test_every_proof_that_the_guarantees_name_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")))
    modules = list((ROOT / "tests").rglob("test_*.py"))
    tests = {
        name
        for module in modules
        for name in re.findall(r"^def (test_\w+)\(", module.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 80
    assert not named - tests - {module.stem for module in modules}
