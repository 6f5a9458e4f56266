"""The tables of the methods in docs/results.md."""

from __future__ import annotations

import datetime

from benchmarks import quality
from benchmarks.common import machine, table
from benchmarks.methods import lines


def write_quality() -> None:
    """Write the tables of what was measured so far."""
    cells = lines.results()
    one_bit = [cell for cell in cells if cell["quantiser"] == "sbq"]
    others = [cell for cell in cells if cell["method"] in ("lsh", "pcah", "itq")]
    write("methods", table(lines.HEAD, lines.by_method(one_bit)))
    write("quantisers", table(lines.HEAD, lines.quantised(others)))


def write(part: str, text: str) -> None:
    """Put one table between its marks, with the date and the machine."""
    quality.write({part: f"{datetime.date.today()}, {machine()}.\n\n{text}"})
