"""Measure published figures again: ``python -m benchmarks.reproduction --work DIR [EXPERIMENT…]``.

Finished cells are kept in the folder of ``--work``, and a rerun goes on where the last one stopped. ``page`` writes the
tables of docs/reproduction.md from the results of all experiments; without a name everything is measured and written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.reproduction import page, running
from benchmarks.reproduction.experiments import EXPERIMENTS
from benchmarks.reproduction.own import OWN

NAMES = (*EXPERIMENTS, *OWN, "page")


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(NAMES))
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="finished cells")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes of hashdb eval [default: 2]")
    options = parser.parse_args()
    if unknown := set(options.experiments) - set(NAMES):
        parser.error(f"no experiment {sorted(unknown)[0]!r}, expected {', '.join(NAMES)}")
    for name in options.experiments or NAMES:
        if name == "page":
            page.write()
        elif name in OWN:
            running.write(name, OWN[name](options.work))
        else:
            running.run(name, options.work, options.jobs)


if __name__ == "__main__":
    main()
