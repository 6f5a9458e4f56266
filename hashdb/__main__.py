"""The command ``hashdb``, also as ``python -m hashdb``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; an interrupt while it is still being imported is as quiet as any later one."""
    try:
        from hashdb.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("hashdb: interrupted; what was committed before stays\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
