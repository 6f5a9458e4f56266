"""How a check says that something is not as agreed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import HashDBError, PluginError


class CheckFailure(AssertionError):
    """A plugin does not keep its contract; the message names each check that failed and why."""


def expect(condition: Any, message: str) -> None:
    """Raise CheckFailure unless the condition holds."""
    if not condition:
        raise CheckFailure(message)


def expect_equal(left: NDArray[Any], right: NDArray[Any], message: str) -> None:
    """Raise CheckFailure unless two arrays are equal in shape, dtype and every bit of every value."""
    if left.shape != right.shape or left.dtype != right.dtype:
        raise CheckFailure(f"{message}: {left.dtype} {left.shape} against {right.dtype} {right.shape}")
    different = np.asarray(left != right)
    if different.any():
        where = tuple(int(place) for place in np.argwhere(different)[0])
        raise CheckFailure(f"{message}: {int(different.sum())} of {left.size} values differ, the first at {where}")


def expect_refused(message: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Raise CheckFailure unless a call raises one of our errors that the caller can act upon.

    A PluginError does not count: it says that the plugin broke, not that the argument was refused.
    """
    try:
        call(*arguments, **named)
    except PluginError as error:
        raise CheckFailure(f"{message}: expected an ArgumentError, got {type(error).__name__}: {error}") from error
    except HashDBError:
        return
    raise CheckFailure(f"{message}: expected an ArgumentError, nothing was raised")


def works_or_refuses(message: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return what a call gives, or None if it raises one of our errors that the caller can act upon."""
    try:
        return call(*arguments, **named)
    except PluginError as error:
        raise CheckFailure(f"{message}: {error}") from error
    except HashDBError:
        return None
