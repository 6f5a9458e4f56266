"""Params: what a plugin declares, what the user gives, and the complete set that comes of both."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError, brief
from hashdb.hookspecs import MethodInfo, Param

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split ``KEY=VALUE`` strings.

    Raises
    ------
    ArgumentError
        No ``=``, no key, or a key given twice.

    Examples
    --------
    >>> parse_assignments(["n_iterations=20"])
    {'n_iterations': '20'}
    """
    given: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ArgumentError(f"param {assignment!r} cannot be read, expected KEY=VALUE")
        if key in given:
            raise ArgumentError(f"param {key!r} is given twice, expected once")
        given[key] = value.strip()
    return given


def resolve(info: MethodInfo, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Check given params against those declared, and fill in the defaults.

    Parameters
    ----------
    info : MethodInfo
    given : mapping of str to value, optional
        Values of the declared type, or strings as a command line gives them.

    Returns
    -------
    dict
        Every declared param, in the order of declaration; plain Python values.

    Raises
    ------
    ArgumentError
        An unknown name (the nearest is given), another type, or a value out of range.

    Examples
    --------
    >>> info = MethodInfo("toy", "Toy", "nobody", 2020, params=(Param("rate", float, 0.5, 0, 1),))
    >>> resolve(info, {"rate": "0.25"})
    {'rate': 0.25}
    """
    declared = {param.name: param for param in info.params}
    for name in given or {}:
        if name not in declared:
            raise _unknown(name, {info.name: declared})
    return {
        name: convert(param, given[name], info.name) if given and name in given else _read(param, param.default)
        for name, param in declared.items()
    }


def split(
    method: MethodInfo, quantiser: MethodInfo | None, given: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a method and a quantiser their params.

    A key belongs to whichever declares it. One that both declare is written ``NAME.KEY``, NAME being that of the method
    or of the quantiser, or the words ``method`` and ``quantiser``; this form is allowed for every key.

    Parameters
    ----------
    method : MethodInfo
    quantiser : MethodInfo or None
    given : mapping of str to value, optional

    Returns
    -------
    tuple of dict
        Complete params of the method, and of the quantiser (empty without one).

    Raises
    ------
    ArgumentError
        As :func:`resolve`, and for a key that both declare.
    """
    if not isinstance(given, Mapping | None):
        raise ArgumentError(f"params are {type(given).__name__}, expected a mapping of names to values")
    owners = [("method", method)] + ([("quantiser", quantiser)] if quantiser else [])
    parts: dict[str, dict[str, Any]] = {role: {} for role, _ in owners}
    for key, value in (given or {}).items():
        role, name = _owner(str(key), owners)
        if name in parts[role]:
            raise ArgumentError(f"param {name!r} of the {role} is given twice, expected once")
        parts[role][name] = value
    return resolve(method, parts["method"]), resolve(quantiser, parts["quantiser"]) if quantiser else {}


def convert(param: Param, value: Any, owner: str) -> Any:
    """Return one value as its param's type, checked against its range.

    Parameters
    ----------
    param : Param
    value : object
        Of the declared type, or a string to be read as it.
    owner : str
        Plugin that declares it, for the message.

    Raises
    ------
    ArgumentError
    """
    converted = _read(param, value)
    if converted is _UNREADABLE or not _in_range(param, converted):
        said = brief(value if isinstance(value, int) else repr(value))
        raise ArgumentError(f"param {param.name!r} of {owner} is {said}, expected {describe_range(param)}")
    return converted


def describe_range(param: Param) -> str:
    """Say in words which values a param takes.

    Examples
    --------
    >>> describe_range(Param("n_iterations", int, 50, 1, 1000))
    'int from 1 to 1000'
    """
    kind = param.type.__name__
    if param.choices is not None:
        text = "one of: " + ", ".join(str(choice) for choice in param.choices)
    elif param.minimum is not None and param.maximum is not None:
        text = f"{kind} from {param.minimum} to {param.maximum}"
    elif param.minimum is not None:
        text = f"{kind}, at least {param.minimum}"
    elif param.maximum is not None:
        text = f"{kind}, at most {param.maximum}"
    else:
        text = "true or false" if param.type is bool else kind
    return text + (" or none" if param.default is None else "")


def fault_of(param: Param) -> str:
    """Say what a declaration should have had; empty where it is sound."""
    if param.type not in (int, float, str, bool):
        return "type int, float, str or bool"
    if not isinstance(param.help, str) or not isinstance(param.grid, tuple):
        return "help of type str and a grid of type tuple"
    if param.choices is not None and (not isinstance(param.choices, tuple) or not param.choices):
        return "choices that are a tuple of at least one"
    if param.type in (str, bool) and (param.minimum is not None or param.maximum is not None):
        return f"no minimum or maximum for type {param.type.__name__}"
    for what, values in (("default", (param.default,)), ("grid", param.grid)):
        for value in values:
            if isinstance(value, str) and param.type is not str:
                return f"{what} of type {param.type.__name__}"
            read = _read(param, value)
            if read is _UNREADABLE or not _in_range(param, read):
                return f"{what} {value!r} to be {describe_range(param)}"
    return ""


_UNREADABLE = object()


def _read(param: Param, value: Any) -> Any:
    if value is None or (isinstance(value, str) and param.type is not str and value.lower() == "none"):
        return None if param.default is None else _UNREADABLE
    if isinstance(value, str):
        return _read_text(param.type, value)
    if param.type is bool:
        return bool(value) if isinstance(value, (bool, np.bool_)) else _UNREADABLE
    if isinstance(value, (bool, np.bool_)):
        return _UNREADABLE
    if param.type is int:
        return int(value) if isinstance(value, (int, np.integer)) else _UNREADABLE
    if param.type is float and isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    return _UNREADABLE


def _read_text(kind: type, text: str) -> Any:
    if kind is str:
        return text
    if kind is bool:
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else _UNREADABLE
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        return _UNREADABLE


def _in_range(param: Param, value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if param.choices is not None and value not in param.choices:
        return False
    if param.minimum is not None and value < param.minimum:
        return False
    return param.maximum is None or value <= param.maximum


def _owner(key: str, owners: list[tuple[str, MethodInfo]]) -> tuple[str, str]:
    prefix, dot, rest = key.partition(".")
    for role, info in owners:
        if dot and prefix in (role, info.name):
            return role, rest
    having = [role for role, info in owners if any(param.name == key for param in info.params)]
    if len(having) > 1:
        raise ArgumentError(
            f"param {key!r} belongs to {owners[0][1].name} and to {owners[1][1].name}, "
            f"expected method.{key} or quantiser.{key}"
        )
    if not having:
        raise _unknown(key, {info.name: {param.name: param for param in info.params} for _, info in owners})
    return having[0], key


def _unknown(name: str, declared: Mapping[str, Mapping[str, Param]]) -> ArgumentError:
    known = [key for params in declared.values() for key in params]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    listed = "; ".join(f"{owner} has {', '.join(params) or 'no params'}" for owner, params in declared.items())
    return ArgumentError(f"param {name!r} is unknown{hint} {listed}")
