"""Results as a report reads them: checked, named, and put in order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError

Results = Mapping[str, Any]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

CODES = {"predicted": "predicted codes", "learned": "learned codes"}
_FORMAT = 1
_CELL_KEYS = ("method", "bits", "runs", "summary")


@dataclass(frozen=True)
class Cell:
    """One scheme at one length of code, in one direction, with one kind of database codes.

    Attributes
    ----------
    scheme : str
        The method, its quantiser, and its parameters where those tell two schemes apart.
    direction : str
        ``text → image``, or empty where there is one modality.
    codes : str
        ``predicted`` or ``learned``.
    raw : mapping
        The cell as in the results.
    """

    scheme: str
    bits: int
    direction: str
    codes: str
    raw: Mapping[str, Any]

    def summary(self, metric: str, key: str) -> float | None:
        """Give a number of a metric's summary; None where it is missing or not finite."""
        return number(self.raw["summary"].get(metric, {}).get(key))

    def seconds(self, step: str) -> float | None:
        """Give the median time of a step over the runs."""
        found = [number(run.get("seconds", {}).get(step)) for run in self.raw["runs"]]
        finite = [one for one in found if one is not None]
        return median(finite) if finite else None

    def curve(self, name: str, x: str, y: str) -> Curve | None:
        """Give the mean of a curve over the runs, in the order of its points."""
        curves = [run.get("curves", {}).get(name) for run in self.raw["runs"]]
        found = [_found(_finite(one[x]), _finite(one[y])) for one in curves if one and one.get(x)]
        return _mean(found) if found else None


class Document:
    """The results of ``hashdb eval``, format 1.

    Parameters
    ----------
    results : mapping

    Raises
    ------
    ArgumentError
        The format is another, there are no cells, or a cell lacks what a report needs.
    """

    def __init__(self, results: Results) -> None:
        _check(results)
        self.results = results
        self.protocol: Mapping[str, Any] = results["protocol"]
        names = _scheme_names(results["cells"])
        self.cells = [
            Cell(name, int(raw["bits"]), _direction(raw), raw.get("database_codes") or "predicted", raw)
            for name, raw in zip(names, results["cells"], strict=True)
        ]

    @cached_property
    def bits(self) -> list[int]:
        """The lengths of code, ascending."""
        return sorted({cell.bits for cell in self.cells})

    @cached_property
    def directions(self) -> list[str]:
        """The directions, in the order of the results."""
        return list(dict.fromkeys(cell.direction for cell in self.cells))

    @cached_property
    def schemes(self) -> list[str]:
        """The schemes, in the order of the results."""
        return list(dict.fromkeys(cell.scheme for cell in self.cells))

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics that any summary has."""
        return list(dict.fromkeys(name for cell in self.cells for name in cell.raw["summary"]))

    @cached_property
    def baseline(self) -> str | None:
        """The scheme that others are compared with."""
        name = self.protocol.get("baseline")
        return next((cell.scheme for cell in self.cells if scheme_name(cell.raw) == name), None)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of database codes that occur."""
        return [kind for kind in CODES if any(cell.codes == kind for cell in self.cells)]

    def label(self, scheme: str, codes: str) -> str:
        """Name a scheme, and its database codes where both kinds occur or they are learned."""
        return scheme if self.kinds == ["predicted"] else f"{scheme}, {CODES[codes]}"

    def reference(self, cell: Cell) -> Cell | None:
        """Find the baseline's cell that a cell is compared with; None for the baseline itself."""
        wanted = (self.baseline, cell.bits, cell.direction, cell.codes)
        found = (one for one in self.cells if (one.scheme, one.bits, one.direction, one.codes) == wanted)
        return None if cell.scheme == self.baseline else next(found, None)


def number(value: Any) -> float | None:
    """Read a number; None where there is none, or it is not finite."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def scheme_name(raw: Mapping[str, Any]) -> str:
    """Name a method with its quantiser, as the command line writes it."""
    return f"{raw['method']}+{raw['quantiser']}" if raw.get("quantiser") else str(raw["method"])


def settings_text(settings: Mapping[str, Any]) -> str:
    """Write settings as ``name=value``, by name."""
    return ", ".join(f"{name}={_plain(settings[name])}" for name in sorted(settings))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _check(results: Results) -> None:
    if results.get("format") != _FORMAT:
        raise ArgumentError(f"results are of format {results.get('format')!r}, expected {_FORMAT}")
    if not isinstance(results.get("protocol"), Mapping):
        raise ArgumentError("results have no protocol, expected what `hashdb eval` writes")
    if not results.get("cells"):
        raise ArgumentError("results have no cells, expected one for each method and length of code")
    for place, cell in enumerate(results["cells"]):
        absent = [key for key in _CELL_KEYS if key not in cell]
        if absent:
            raise ArgumentError(f"cell {place} of the results lacks {', '.join(absent)}")
        if cell.get("database_codes") not in (None, *CODES):
            raise ArgumentError(
                f"cell {place} of the results has database_codes {cell['database_codes']!r}, "
                "expected predicted or learned"
            )


def _direction(raw: Mapping[str, Any]) -> str:
    asked, searched = raw.get("query"), raw.get("database")
    return f"{asked} → {searched}" if asked or searched else ""


def _scheme_names(cells: list[Mapping[str, Any]]) -> list[str]:
    """Name the schemes; parameters are named where a method and quantiser occur with several."""
    base = [scheme_name(cell) for cell in cells]
    params = [settings_text(cell.get("params") or {}) for cell in cells]
    variants: dict[str, set[str]] = {}
    for name, text in zip(base, params, strict=True):
        variants.setdefault(name, set()).add(text)
    return [
        f"{name} ({text or 'defaults'})" if len(variants[name]) > 1 else name
        for name, text in zip(base, params, strict=True)
    ]


def _finite(values: list[Any]) -> NDArray[np.float64]:
    return np.array([math.nan if number(one) is None else float(one) for one in values], np.float64)


def _found(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Take away the points where nothing is found: within a small radius there is no precision."""
    nothing = (x == 0) & (y == 0)
    return np.where(nothing, np.nan, x), np.where(nothing, np.nan, y)


def _mean(curves: list[Curve]) -> Curve | None:
    """Average point by point where the runs have the same points, else on the first run's, within what all reach."""
    if len({len(x) for x, _ in curves}) == 1:
        x, y = (np.mean([curve[part] for curve in curves], axis=0) for part in (0, 1))
    else:
        x = curves[0][0]
        x = x[(x >= max(np.nanmin(one) for one, _ in curves)) & (x <= min(np.nanmax(one) for one, _ in curves))]
        y = np.mean([np.interp(x, *_ascending(curve)) for curve in curves], axis=0)
    kept = np.isfinite(x) & np.isfinite(y)
    return (x[kept], y[kept]) if kept.any() else None


def _ascending(curve: Curve) -> Curve:
    x, y = curve
    kept = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[kept], kind="stable")
    return x[kept][order], y[kept][order]
