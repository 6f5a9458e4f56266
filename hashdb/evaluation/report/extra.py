"""Whether the libraries of the extra ``report`` are there."""

from __future__ import annotations

from importlib.util import find_spec

from hashdb.errors import HashDBError

_LIBRARIES = ("matplotlib", "jinja2")
INSTALL = "pip install hashdb[report]"


def missing() -> list[str]:
    """List the libraries of the extra ``report`` that are not installed.

    Returns
    -------
    list of str
        Empty where a page can be written.
    """
    return [name for name in _LIBRARIES if find_spec(name) is None]


def require() -> None:
    """Refuse where a library is missing.

    Raises
    ------
    HashDBError
        It names the libraries and the command that installs them.
    """
    absent = missing()
    if absent:
        raise HashDBError(f"an HTML page needs {' and '.join(absent)}: {INSTALL}")
