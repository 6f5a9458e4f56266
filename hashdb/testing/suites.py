"""The two suites of checks, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hashdb import registry
from hashdb.codes import MAX_BITS
from hashdb.errors import ArgumentError
from hashdb.hookspecs import MethodInfo
from hashdb.plugin import Plugin
from hashdb.testing import learned_checks, method_checks, quantiser_checks
from hashdb.testing.expect import CheckFailure
from hashdb.testing.subject import Subject

Check = Callable[[Subject], None]


def _named(module: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Check]:
    found = {name.removeprefix("check_"): value for name, value in vars(module).items() if name.startswith("check_")}
    return {name: check for name, check in found.items() if name not in leave_out}


_METHOD = {**_named(method_checks), **_named(learned_checks)}
_QUANTISER = {**_named(quantiser_checks), **_named(method_checks, ("labels", "partial_fit", "progress"))}

METHOD_CHECKS = tuple(_METHOD)
QUANTISER_CHECKS = tuple(_QUANTISER)


def check_method(
    method: str | Plugin,
    *,
    n_bits: tuple[int, ...] | int = (8, 16),
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    only: Iterable[str] | None = None,
) -> list[str]:
    """Check that a method keeps its contract, on small planted data.

    Parameters
    ----------
    method : str or Plugin
        An installed method.
    n_bits : int or tuple of int
        Widths to check; those outside the method's declared limits are left out.
    params : mapping, optional
        Params to check it with, the defaults otherwise.
    seed : int
    only : iterable of str, optional
        Some of ``METHOD_CHECKS``.

    Returns
    -------
    list of str
        Names of the checks run.

    Raises
    ------
    CheckFailure
        Names every check that failed, and why.

    Examples
    --------
    >>> check_method("pcah", n_bits=8, only=["shapes", "round_trip"])
    ['shapes', 'round_trip']
    """
    plugin = registry.get(method if isinstance(method, str) else method.name, kind="method")
    subject = Subject(plugin.name, None, _widths(plugin.info, n_bits), dict(params or {}), seed)
    return _run(subject, _METHOD, only)


def check_quantiser(
    quantiser: str | Plugin,
    method: str = "pcah",
    *,
    n_bits: tuple[int, ...] | int = (8, 16),
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    only: Iterable[str] | None = None,
) -> list[str]:
    """Check that a quantiser keeps its contract, by itself and on top of a method.

    Parameters
    ----------
    quantiser : str or Plugin
        An installed quantiser.
    method : str
        A method with projections.
    n_bits : int or tuple of int
        Information bits to check; those outside the declared limits are left out.
    params : mapping, optional
        Params of both.
    seed : int
    only : iterable of str, optional
        Some of ``QUANTISER_CHECKS``.

    Returns
    -------
    list of str
        Names of the checks run.

    Raises
    ------
    CheckFailure
        Names every check that failed, and why.

    Examples
    --------
    >>> check_quantiser("dbq", n_bits=8, only=["n_projections"])
    ['n_projections']
    """
    plugin = registry.get(quantiser if isinstance(quantiser, str) else quantiser.name, kind="quantiser")
    subject = Subject(method, plugin.name, _widths(plugin.info, n_bits), dict(params or {}), seed)
    return _run(subject, _QUANTISER, only)


def _widths(info: MethodInfo, n_bits: tuple[int, ...] | int) -> tuple[int, ...]:
    asked = (n_bits,) if isinstance(n_bits, int) else tuple(n_bits)
    high = MAX_BITS if info.max_bits is None else info.max_bits
    return tuple(width for width in asked if info.min_bits <= width <= high) or (info.min_bits,)


def _run(subject: Subject, checks: Mapping[str, Check], only: Iterable[str] | None) -> list[str]:
    names = list(checks) if only is None else list(only)
    unknown = [name for name in names if name not in checks]
    if unknown:
        raise ArgumentError(f"check {unknown[0]!r} is unknown, expected some of: {', '.join(checks)}")
    failures: list[str] = []
    cause: Exception | None = None
    for name in names:
        try:
            checks[name](subject)
        except Exception as error:
            reason = str(error) if isinstance(error, CheckFailure) else f"{type(error).__name__}: {error}"
            failures.append(f"{name}: {reason}")
            cause = cause or error
    if failures:
        raise CheckFailure(
            f"{subject.target.name} failed {len(failures)} of {len(names)} checks\n  " + "\n  ".join(failures)
        ) from cause
    return names
