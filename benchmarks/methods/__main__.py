"""Compare the methods: ``python -m benchmarks.methods [PART]… --work DIR [--only method=…,bits=…]``.

Finished cells of the part quality are kept in the folder of ``--work``, and a rerun goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.methods import grid, page, speed

PARTS = ("quality", "targets", "speed")


def main() -> None:
    """Run the parts named, or all, and write their tables; that of speed is printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="finished cells")
    parser.add_argument("--only", metavar="method=…,quantiser=…,bits=…,seed=…", help="cells of quality to run")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {sorted(unknown)[0]!r}, expected {', '.join(PARTS)}")
    for part in options.parts or PARTS:
        if part == "quality":
            grid.run(options.work, _filter(parser, options.only))
            page.write_quality()
        elif part == "targets":
            page.write(part, speed.targets())
        else:
            print(speed.main())


def _filter(parser: argparse.ArgumentParser, text: str | None) -> dict[str, str]:
    pairs = dict(pair.split("=", 1) for pair in text.split(",")) if text else {}
    if unknown := set(pairs) - {"method", "quantiser", "bits", "seed"}:
        parser.error(f"--only knows method, quantiser, bits and seed, not {sorted(unknown)[0]!r}")
    return pairs


if __name__ == "__main__":
    main()
