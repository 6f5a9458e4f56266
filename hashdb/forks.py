"""Locks that are free in the child of a fork: a thread that held one in the parent does not exist there."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakValueDictionary

_owners: WeakValueDictionary[int, Any] = WeakValueDictionary()


def lock_of(owner: Any) -> threading.RLock:
    """Make the lock that an object keeps as ``_lock``; in the child of a fork the object gets another.

    What the lock guards has to be sound at every moment, for a fork does not wait for it.

    Examples
    --------
    >>> class Shared:
    ...     def __init__(self):
    ...         self._lock = lock_of(self)
    >>> with Shared()._lock:
    ...     pass
    """
    _owners[id(owner)] = owner
    return threading.RLock()


def _renew() -> None:
    for owner in list(_owners.values()):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
