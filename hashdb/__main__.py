"""``python -m hashdb`` is the command ``hashdb``."""

from hashdb.cli import main

main()
