"""The place of an index: what stands at its path, and claiming it for a build."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

from hashdb.errors import IndexExistsError
from hashdb.storage.commit import Files, translated

log = logging.getLogger(__name__)


def kind_of(root: Path) -> str:
    """Say what is at a path, in words for a message; nothing where there is nothing.

    Raises
    ------
    OSError
        A right is missing to know.
    """
    # Unlike the methods of a path, this does so on every Python, and takes a name that is too long for nothing.
    try:
        return "a folder" if stat.S_ISDIR(os.stat(root).st_mode) else "a file"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
    return "a symbolic link that leads nowhere" if os.path.islink(root) else ""


def is_folder(root: Path) -> bool:
    """Whether there is a folder; :class:`IndexExistsError` where anything else is there."""
    kind = kind_of(root)
    if kind in ("", "a folder"):
        return bool(kind)
    raise IndexExistsError(f"{root} is {kind}; give the path of a new folder")


def resolved(path: str | Path) -> Path:
    """Return where an index at a path is to be: it stays there, whatever becomes of links and of the current folder.

    Raises
    ------
    IndexExistsError
        Something that is no folder is there, such as a link that leads nowhere.
    """
    with translated(f"create the index {path}"):
        is_folder(Path(path))
        return Path(os.path.realpath(path))


def claim(files: Files, root: Path) -> tuple[bool, int]:
    """Make the folder of a new index, if need be, and lock it.

    Returns
    -------
    (bool, int)
        Whether we made the folder, and the handle of the lock.

    Raises
    ------
    IndexExistsError
        Something else is there, or someone is building.
    """
    made_root = not is_folder(root) and _make(files, root)
    try:
        return made_root, lock_build(files, root)
    except IndexExistsError:  # by another build, which goes on in it
        raise
    except BaseException:
        if made_root:
            unmake(files, root)
        raise


def lock_build(files: Files, root: Path, **how: bool) -> int:
    """Take the lock that a build holds; :class:`IndexExistsError` where another has it."""
    try:
        return files.lock_folder(root, **how)
    except BlockingIOError as error:
        raise IndexExistsError(
            f"another process is building an index at {root}; wait for it, or use another path"
        ) from error
    except FileNotFoundError as error:
        raise taken_over(root) from error


def taken_over(root: Path) -> IndexExistsError:
    """Return the error for a build whose folder is not its own any more."""
    return IndexExistsError(f"{root} was removed or taken over by another build; start again")


def unmake(files: Files, root: Path) -> None:
    """Remove a folder that we made, as long as nothing is in it; a failure is logged."""
    try:
        files.rmdir(root)
    except OSError as error:
        log.warning("could not remove %s: %s", root, error)


def _make(files: Files, root: Path) -> bool:
    try:
        files.mkdir(root)
    except FileExistsError:  # another build was first
        return False
    return True
