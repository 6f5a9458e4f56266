"""Find, load, check and list plugins.

A plugin is an entry point of group ``hashdb``; the built-in ones have no other way in. Listing names imports none of
them; a plugin is imported when it is asked for, and one that is broken leaves the others usable. All are imported to
list them by kind.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import pluggy

from hashdb import hookspecs
from hashdb.errors import (
    PluginClashError,
    PluginContractError,
    PluginError,
    PluginLoadError,
    UnknownMethodError,
    brief,
)
from hashdb.forks import lock_of
from hashdb.hookspecs import INPUTS, KINDS, SUPERVISIONS, MethodInfo, Param
from hashdb.params import fault_of
from hashdb.plugin import Plugin

GROUP = "hashdb"

HOOKS = (
    "describe",
    "fit",
    "encode",
    "project",
    "n_projections",
    "fit_quantiser",
    "quantise",
    "partial_fit",
    "encode_items",
)

# Each inner tuple is a choice: one of its hooks must be there.
_REQUIRED = {
    "method": (("fit",), ("encode", "project")),
    "quantiser": (("n_projections",), ("fit_quantiser",), ("quantise",)),
    "encoder": (("encode_items",),),
}
_AN = {"method": "a method", "quantiser": "a quantiser", "encoder": "an encoder"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PARAM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class Claim:
    """One distribution's claim to a plugin name.

    Attributes
    ----------
    name : str
    value : str
        Where the plugin is, ``package.module`` or ``package.module:object``.
    distribution, version : str
    """

    name: str
    value: str
    distribution: str
    version: str


class _Registry:
    """What was found on ``sys.path``, and the plugins loaded so far."""

    def __init__(self) -> None:
        # Re-entrant: a plugin's module may ask for names while it is being imported.
        self._lock = lock_of(self)
        self._claims: dict[str, tuple[Claim, ...]] | None = None
        self._loaded: dict[str, Plugin] = {}

    def refresh(self) -> None:
        with self._lock:
            importlib.invalidate_caches()
            self._claims = None
            self._loaded.clear()

    def claims(self) -> dict[str, tuple[Claim, ...]]:
        with self._lock:
            if self._claims is None:
                self._claims = _find()
            return self._claims

    def load(self, name: str) -> Plugin:
        with self._lock:
            if name not in self._loaded:
                claims = self.claims()
                if name not in claims:
                    raise _unknown(name, "plugin", sorted(claims))
                self._loaded[name] = _load(_only(claims[name]))
            return self._loaded[name]


_registry = _Registry()


def refresh() -> None:
    """Forget what was found and loaded, after ``sys.path`` or the installed packages changed."""
    _registry.refresh()


def names() -> list[str]:
    """List the names of installed plugins in alphabetical order, importing none of them."""
    return sorted(_registry.claims())


def claims_of(name: str) -> tuple[Claim, ...]:
    """Say which distributions claim a name: none, one, or more in a clash."""
    return _registry.claims().get(name, ())


def get(name: str, kind: str | None = None) -> Plugin:
    """Load a plugin.

    Parameters
    ----------
    name : str
        Entry-point name.
    kind : str, optional
        ``method``, ``quantiser`` or ``encoder``, where it must be that.

    Returns
    -------
    Plugin

    Raises
    ------
    UnknownMethodError
        Nothing of that name and kind is installed.
    PluginClashError
        Two distributions claim the name.
    PluginLoadError
        Its module failed to import.
    PluginContractError
        Its hooks or its description are not as agreed.

    Examples
    --------
    >>> get("itq", kind="method").info.year
    2011
    """
    if kind is not None and not claims_of(name):
        raise _unknown(name, kind, _names_of(kind))
    plugin = _registry.load(name)
    if kind is not None and plugin.info.kind != kind:
        raise UnknownMethodError(
            f"{name!r} is of kind {plugin.info.kind}, expected {_AN.get(kind, kind)}; `hashdb methods` lists all",
            name,
            plugin.distribution,
        )
    return plugin


def describe_all() -> dict[str, Plugin | PluginError]:
    """Load every plugin, and give for each name the plugin or the error that keeps it from being used."""
    found: dict[str, Plugin | PluginError] = {}
    for name in names():
        try:
            found[name] = get(name)
        except PluginError as error:
            found[name] = error
    return found


def _names_of(kind: str) -> list[str]:
    found = describe_all()
    return [name for name, plugin in found.items() if isinstance(plugin, Plugin) and plugin.info.kind == kind]


def _find() -> dict[str, tuple[Claim, ...]]:
    # entry_points() keeps the first of several copies of one distribution on sys.path, as an import would.
    claims: dict[str, dict[tuple[str, str], Claim]] = {}
    for point in metadata.entry_points(group=GROUP):
        distribution = (point.dist.name if point.dist else None) or "unknown"
        version = (point.dist.version if point.dist else None) or "unknown"
        claim = Claim(point.name, point.value, distribution, version)
        claims.setdefault(point.name, {})[distribution.lower(), point.value] = claim
    return {name: tuple(claims[name][key] for key in sorted(claims[name])) for name in sorted(claims)}


def _only(claims: tuple[Claim, ...]) -> Claim:
    if len(claims) > 1:
        listed = " and ".join(f"{claim.distribution} {claim.version} ({claim.value})" for claim in claims)
        raise PluginClashError(
            f"plugin name {claims[0].name!r} is claimed by {listed}; uninstall one of them",
            claims[0].name,
            claims[0].distribution,
        )
    return claims[0]


def _unknown(name: str, what: str, installed: list[str]) -> UnknownMethodError:
    name = brief(name)  # which may be anything
    near = difflib.get_close_matches(name, installed, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    listed = ", ".join(installed) or "none"
    return UnknownMethodError(f"no {what} named {name!r} is installed{hint} installed: {listed}", name)


def _load(claim: Claim) -> Plugin:
    try:
        module = metadata.EntryPoint(claim.name, claim.value, GROUP).load()
    except (Exception, SystemExit) as error:
        raise PluginLoadError(
            f"plugin {claim.name!r} of {claim.distribution} {claim.version} cannot be imported: "
            f"{type(error).__name__}: {error}",
            claim.name,
            claim.distribution,
        ) from error
    manager = pluggy.PluginManager("hashdb")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, claim.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _refused(claim, " ".join(str(error).split())) from error
    arguments = dict(_implemented(claim, manager))
    _check_marked(claim, module, arguments)
    hooks = {hook: getattr(manager.hook, hook) for hook in arguments}
    info = _description(claim, hooks)
    return Plugin(claim.name, info, hooks, arguments, claim.distribution, claim.version)


def _refused(claim: Claim, reason: str) -> PluginContractError:
    return PluginContractError(
        f"plugin {claim.name!r} of {claim.distribution} {claim.version} broke its contract: {reason}",
        claim.name,
        claim.distribution,
    )


def _implemented(claim: Claim, manager: pluggy.PluginManager) -> Iterator[tuple[str, frozenset[str]]]:
    for hook in HOOKS:
        implementations = getattr(manager.hook, hook).get_hookimpls()
        if not implementations:
            continue
        if len(implementations) > 1 or implementations[0].hookwrapper or implementations[0].wrapper:
            raise _refused(claim, f"{hook} must be one plain function, not a wrapper or several")
        for parameter in inspect.signature(implementations[0].function).parameters.values():
            # A default would hide the caller's value or not, depending on the version of pluggy.
            if parameter.default is not parameter.empty or parameter.kind != parameter.POSITIONAL_OR_KEYWORD:
                raise _refused(claim, f"{hook} takes {parameter}, expected plain arguments without defaults")
        yield hook, frozenset(implementations[0].argnames)


def _check_marked(claim: Claim, module: Any, implemented: dict[str, frozenset[str]]) -> None:
    # pluggy passes over a function that was not marked; its author would wonder for a long time.
    for hook in HOOKS:
        own = getattr(module, hook, None)
        here = getattr(own, "__module__", None) == getattr(module, "__name__", claim.value)
        if hook not in implemented and inspect.isfunction(own) and here:
            raise _refused(claim, f"{hook} is defined but not marked with @hashdb.hookimpl")


def _description(claim: Claim, hooks: dict[str, Any]) -> MethodInfo:
    if "describe" not in hooks:
        raise _refused(claim, "it has no describe marked with @hashdb.hookimpl")
    try:
        info = hooks["describe"]()
    except Exception as error:
        raise _refused(claim, f"describe failed: {type(error).__name__}: {error}") from error
    if not isinstance(info, MethodInfo):
        raise _refused(claim, f"describe returned {type(info).__name__}, expected hashdb.MethodInfo")
    fault = _fault_of_info(info)
    if fault:
        raise _refused(claim, f"describe returned {fault}")
    if info.name != claim.name:
        raise _refused(claim, f"describe returned name={info.name!r}, expected {claim.name!r} as in its entry point")
    for choice in _REQUIRED[info.kind]:
        if not any(hook in hooks for hook in choice):
            raise _refused(
                claim, f"a plugin of kind {info.kind} needs {' or '.join(choice)}, marked with @hashdb.hookimpl"
            )
    return info


def _fault_of_info(info: MethodInfo) -> str:
    """Say what is wrong with a description; empty where nothing is."""
    for field in ("name", "title", "paper", "when"):
        if not isinstance(getattr(info, field), str):
            return f"{field}={getattr(info, field)!r}, expected a str"
    if not _NAME.fullmatch(info.name):
        return f"name={info.name!r}, expected lower-case letters, digits, '-', '_' and '.'"
    for field, allowed in (("kind", KINDS), ("input", INPUTS), ("supervision", SUPERVISIONS)):
        if getattr(info, field) not in allowed:
            return f"{field}={getattr(info, field)!r}, expected one of: {', '.join(allowed)}"
    for field, low, optional in (
        ("year", 0, False),
        ("min_bits", 1, False),
        ("max_bits", info.min_bits, True),
        ("default_train", 1, True),
    ):
        value = getattr(info, field)
        if not (value is None and optional) and (type(value) is not int or value < low):
            return f"{field}={value!r}, expected a whole number, at least {low}"
    if not isinstance(info.params, tuple) or not all(isinstance(param, Param) for param in info.params):
        return "params that are no tuple of hashdb.Param"
    seen: set[str] = set()
    for param in info.params:
        fault = (
            fault_of(param) if _PARAM_NAME.fullmatch(str(param.name)) else "a name of letters, digits and underscores"
        )
        if fault or param.name in seen:
            return f"param {param.name!r}, expected {fault or 'each name once'}"
        seen.add(param.name)
    return ""


@cache
def hook_arguments(hook: str) -> tuple[str, ...]:
    """List the arguments of a hook in the order of its specification."""
    return tuple(inspect.signature(getattr(hookspecs, hook)).parameters)
