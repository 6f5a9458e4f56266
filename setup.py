"""What pyproject.toml cannot say: a wheel of the same source has the same bytes, whatever the clock and the umask."""

import os
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class ReproducibleWheel(bdist_wheel):
    """Gives every file one date and one mode; the names are in order already."""

    def run(self) -> None:
        """Build the wheel; ``SOURCE_DATE_EPOCH`` may set the date, the first that a zip file can hold by default."""
        os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")
        super().run()

    def write_wheelfile(self, *arguments: Any, **options: Any) -> None:
        """Write ``WHEEL``, the last file before all of them are packed."""
        super().write_wheelfile(*arguments, **options)
        for path in Path(self.bdist_dir or "").rglob("*") if self.bdist_dir else ():
            path.chmod(0o755 if path.is_dir() else 0o644)


setup(cmdclass={"bdist_wheel": ReproducibleWheel})
