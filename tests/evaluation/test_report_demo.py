"""``hashdb demo`` writes a page where it can, and says why where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashdb.errors import ArgumentError
from hashdb.evaluation.report import extra

from .report_kit import Page

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


class TestDemo:
    """The page of ``hashdb demo``."""

    @pytest.fixture
    def demo(self, tmp_path, monkeypatch):
        from click.testing import CliRunner

        from hashdb.cli.demo import demo

        monkeypatch.chdir(tmp_path)
        return lambda *arguments: CliRunner().invoke(demo, arguments)

    def test_it_writes_a_page_and_says_so_in_one_line(self, demo) -> None:
        done = demo("--seed", "3")
        assert done.exit_code == 0, done
        lines = [line for line in done.output.splitlines() if "hashdb-demo.html" in line]
        assert lines == ["page      hashdb-demo.html: digits with their neighbours, to open in a browser"]
        assert [one.name for one in Path().iterdir()] == ["hashdb-demo.html"]
        page = Page(Path("hashdb-demo.html").read_text(encoding="utf-8"))
        table, shown = page.tables
        assert table[0][:2] == ["method", "precision@10"]
        assert all(" ".join(row[:2]) in " ".join(done.output.split()) for row in table[1:])
        assert [row[0].strip() for row in shown[1:]] == [str(digit) for digit in range(10)]
        assert len(page.all("img")) == 10 * 11

    def test_without_the_extra_it_does_the_tour_and_names_the_extra(self, demo, monkeypatch) -> None:
        monkeypatch.setattr(extra, "find_spec", lambda name: None)
        done = demo()
        assert done.exit_code == 0, done
        assert "reopen" in done.output
        assert "needs matplotlib and jinja2 (pip install hashdb[report])" in done.output
        assert list(Path().iterdir()) == []

    def test_a_page_that_was_asked_for_and_cannot_be_is_refused_before_the_tour(self, demo, monkeypatch) -> None:
        done = demo("--html", "nowhere/page.html")
        assert isinstance(done.exception, ArgumentError)
        assert done.output == ""
        monkeypatch.setattr(extra, "find_spec", lambda name: None)
        done = demo("--html", "page.html")
        assert r"pip install hashdb[report]" in str(done.exception)
        assert done.output == ""

    def test_the_tour_does_not_fail_where_the_folder_refuses_the_page(self, demo) -> None:
        Path("hashdb-demo.html").mkdir()
        done = demo()
        assert done.exit_code == 0
        assert "no page: hashdb-demo.html cannot be written" in done.output
