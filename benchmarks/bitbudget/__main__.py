"""bitbudget's command line with hashdb's entries: ``python -m benchmarks.bitbudget [--threads N] COMMAND …``.

bitbudget knows an entry once it is registered, and has no other door. Its ``bench-index`` starts fresh processes for
some of the entries, which would not know ours, so here all of them run in this one (its own ``--no-split``).
"""

from __future__ import annotations

import os
import sys

VARIABLES = ("HASHDB_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main(arguments: list[str]) -> None:
    """Register the entries and hand over to bitbudget."""
    if arguments[:1] == ["--threads"]:
        # Libraries read these when they are loaded, so this comes before any import of them.
        os.environ.update(dict.fromkeys(VARIABLES, arguments[1]))
        arguments = arguments[2:]
    if arguments[:1] == ["bench-index"] and "--no-split" not in arguments:
        arguments = [*arguments, "--no-split"]
    import bitbudget.cli

    import benchmarks.bitbudget.entries  # noqa: F401

    bitbudget.cli.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
