"""Compare the methods: ``python -m benchmarks.methods [PART]… --work DIR [--only method=…,bits=…]``.

Finished cells of quality, neighbours and speed are kept in the folder of ``--work``, and a rerun goes on where the last
one stopped. Each part writes its table into docs/results.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.methods import grid, neighbours, page, speed

PARTS = ("quality", "neighbours", "targets", "speed")
_MODELS = ("method", "quantiser", "bits", "seed")
KEYS = {"quality": _MODELS, "neighbours": _MODELS, "targets": (), "speed": ("method", "rows", "dim")}


def main() -> None:
    """Run the parts named, or all, and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="finished cells")
    parser.add_argument(
        "--only",
        metavar="NAME=VALUE,…",
        help="cells to run: method, quantiser, bits, seed; speed: method, rows, dim",
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {sorted(unknown)[0]!r}, expected {', '.join(PARTS)}")
    parts = options.parts or PARTS
    only = _filter(parser, options.only, parts)
    for part in parts:
        if part == "quality":
            grid.run(options.work, only)
            page.write_quality()
        elif part == "neighbours":
            neighbours.run(options.work, only)
            page.write(part, neighbours.rows())
        elif part == "targets":
            page.write(part, speed.targets())
        else:
            speed.run(options.work, only)
            page.write(part, speed.rows())


def _filter(parser: argparse.ArgumentParser, text: str | None, parts: tuple[str, ...]) -> dict[str, str]:
    pairs = dict(pair.split("=", 1) for pair in text.split(",")) if text else {}
    for part in parts:
        if unknown := set(pairs) - set(KEYS[part]):
            known = ", ".join(KEYS[part]) or "nothing"
            parser.error(f"--only of the part {part} knows {known}, not {sorted(unknown)[0]!r}")
    return pairs


if __name__ == "__main__":
    main()
