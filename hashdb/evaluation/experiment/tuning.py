"""Search for params on the validation parts: the test parts are never looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice, product
from typing import Any

import numpy as np

from hashdb import registry
from hashdb.errors import ArgumentError
from hashdb.evaluation.experiment.units import Scheme, Unit

Trial = dict[str, Any]


def space(scheme: Scheme) -> dict[str, tuple[Any, ...]]:
    """Give the values worth trying, by param; those that the user chose are left out.

    Returns
    -------
    dict of str to tuple
        With the keys ``method.NAME`` and ``quantiser.NAME``.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for role, name in (("method", scheme.method), ("quantiser", scheme.quantiser)):
        for param in registry.get(name).info.params if name else ():
            if param.grid and f"{role}.{param.name}" not in scheme.params:
                found[f"{role}.{param.name}"] = param.grid
    return found


def candidates(unit: Unit, search: str, trials: int, seed: int) -> list[dict[str, Any]]:
    """List the params to try: all combinations of a grid, or some of them at random, each once.

    Parameters
    ----------
    unit : Unit
    search : str
        ``grid`` or ``random``.
    trials : int
        Of a random search.
    seed : int

    Returns
    -------
    list of dict
        Combinations that the method refuses at this number of bits are left out, unless it refuses all.
    """
    grids = space(unit.scheme)
    total = math.prod(len(values) for values in grids.values())
    if search == "grid":
        chosen = list(range(total))
    else:
        chosen = sorted(np.random.default_rng(seed).choice(total, min(trials, total), replace=False).tolist())
    every = product(*grids.values())
    found, at = [], 0
    for number in chosen:
        values = next(islice(every, number - at, None))
        at = number + 1
        found.append(dict(zip(grids, values, strict=True)))
    return [one for one in found if _is_possible(unit, one)] or found


def tune(
    unit: Unit, search: str, trials: int, seed: int, score: Callable[[dict[str, Any]], float]
) -> tuple[dict[str, Any], list[Trial]]:
    """Choose the params of the best score, the first of several.

    Parameters
    ----------
    unit, search, trials, seed
        As of :func:`candidates`.
    score : callable
        Gives the score of params on the validation parts, the larger the better.

    Returns
    -------
    chosen : dict
        Empty where the scheme has nothing to choose.
    trials : list of dict
        ``params`` with ``map``, or with ``refused``, why the method refused them.

    Raises
    ------
    ArgumentError
        The method refused all.
    """
    tried: list[Trial] = []
    options = candidates(unit, search, trials, seed)
    if options == [{}]:
        return {}, []
    for params in options:
        try:
            tried.append({"params": params, "map": score(params)})
        except ArgumentError as error:
            tried.append({"params": params, "refused": str(error)})
    scored = [trial for trial in tried if "map" in trial]
    if not scored:
        raise ArgumentError(f"{unit.scheme.name} refused all params that were tried: {tried[0]['refused']}")
    return dict(max(scored, key=lambda trial: trial["map"])["params"]), tried


def _is_possible(unit: Unit, params: dict[str, Any]) -> bool:
    try:
        unit.scheme.complete(unit.n_bits, params)
    except ArgumentError:
        return False
    return True
