"""Compare the cross-modal methods: ``python -m benchmarks.crossmodal [PART]… --work DIR [--only data=…,method=…]``.

Finished cells are kept in the folder of ``--work``, and a rerun goes on where the last one stopped. The
part ``page`` writes the tables and the figure of docs/cross-modal.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.crossmodal import cells, figure, measure, page, shared, speed, tables
from benchmarks.methods import kept

KEYS = {
    "quality": ("data", "method", "bits", "seed"),
    "shared": ("situation", "method", "seed"),
    "speed": ("method", "rows"),
    "page": (),
}


def main() -> None:
    """Run the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(KEYS))
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="finished cells")
    parser.add_argument("--only", metavar="NAME=VALUE,…", default="", help="cells to run, by the facts of one part")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(KEYS):
        parser.error(f"no part {sorted(unknown)[0]!r}, expected {', '.join(KEYS)}")
    only = dict(pair.split("=", 1) for pair in options.only.split(",") if pair)
    for part in options.parts or KEYS:
        if unknown := set(only) - set(KEYS[part]):
            known = ", ".join(KEYS[part]) or "nothing"
            parser.error(f"--only of the part {part} knows {known}, not {sorted(unknown)[0]!r}")
        run(part, options.work, only)


def run(part: str, work: Path, only: dict[str, str]) -> None:
    """Measure what one part still lacks."""
    if part == "quality":
        folder = work / "cells"
        kept.run(folder, cells.grid(folder), only, measure.measure, _said)
        kept.gather(folder, cells.grid(folder), tables.RESULTS)
    elif part == "shared":
        shared.run(work, only)
    elif part == "speed":
        speed.run(work, only)
    else:
        write()


def write() -> None:
    """Write every table and the figure."""
    for data in ("wiki10", "wiki1000"):
        page.write(data, tables.quality(data, "map_by_order"))
        page.write(f"{data}-ties", tables.quality(data, "map"))
    page.write("policies", tables.policies("wiki10", 32, "map"))
    page.write("independent", tables.against_independent())
    page.write("scene15", tables.quality_of_three("scene15", "map"))
    for data in ("mirflickr", "newsgroups"):
        page.write(data, tables.quality(data, "map"))
    page.write("bias", tables.bias("wiki10", 32))
    page.write("shared", shared.rows())
    page.write("speed", speed.rows(), dated=True)
    figure.draw()


def _said(found: dict[str, object]) -> str:
    if "refused" in found:
        return f"refused: {found['refused']}"
    predicted: dict[str, dict[str, float]] = found["predicted"]  # type: ignore[assignment]
    across = {way: each["map_by_order"] for way, each in predicted.items() if len(set(way.split(" > "))) == 2}
    return f"{', '.join(f'{way} {value:.3f}' for way, value in across.items())}, fit {found['fit']} s"


if __name__ == "__main__":
    main()
