"""The report of an evaluation: one HTML page that holds all it shows, made with matplotlib and jinja2.

>>> from hashdb.evaluation.report import missing
>>> all(name in ("matplotlib", "jinja2") for name in missing())
True

The page asks nothing of a network: its style, its charts (SVG) and its images (data URIs) are inside. The same results
give the same bytes.
"""

from __future__ import annotations

from hashdb.evaluation.report.extra import missing
from hashdb.evaluation.report.page import write_report
from hashdb.evaluation.report.tour import write_tour

__all__ = ["write_report", "write_tour", "missing"]
