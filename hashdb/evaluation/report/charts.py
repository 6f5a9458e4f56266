"""The four charts of a report, drawn for a few schemes at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.evaluation.report.document import CODES, Cell, Curve, Document
from hashdb.evaluation.report.grouping import Group, Key, groups, legend, legend_height, style
from hashdb.evaluation.report.measures import decimals
from hashdb.evaluation.report.palette import stand_in
from hashdb.evaluation.report.svg import draw

_COLUMNS = 3
_MOST_POINTS = 64
_HALVES = tuple(half / 2 for half in range(2, 20))
_TENTHS = tuple(tenth / 10 for tenth in range(10, 100))
_DIGITS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8), _HALVES, _TENTHS)
_MAP = "mean average precision"
_STEPS = ("fit", "encode", "query")


@dataclass(frozen=True)
class Chart:
    """A figure of the page: ``svg`` is an element, the caption is plain text."""

    svg: str
    caption: str


def quality_against_bits(document: Document) -> list[Chart]:
    """Draw mean average precision against the length of the code."""
    return [_quality(document, group) for group in groups(document) if _lines(group.cells, _bits_point)]


def quality_against_time(document: Document) -> list[Chart]:
    """Draw mean average precision against the time to fit, to encode and to query."""
    return [_time(document, group) for group in groups(document) if _steps(group)]


def precision_recall(document: Document) -> list[Chart]:
    """Draw precision against recall, a panel for each length of code."""
    title = "Precision against recall"
    settings = {"xlabel": "recall", "ylabel": "precision", "xlim": (0, 1.02), "ylim": (0, 1.02)}
    remark = (
        "Up and to the right is better. A line begins at the smallest distance within which all runs find something."
    )
    return _curves(document, "pr", title, ("precision_recall", "recall", "precision"), settings, remark)


def recall_against_candidates(document: Document) -> list[Chart]:
    """Draw recall against how many rows of the database are looked at, a panel for each length of code."""
    title = "Recall against candidates"
    settings = {"xlabel": "rows looked at", "ylabel": "recall", "xscale": "log", "ylim": (0, 1.02)}
    remark = "Up and to the left is better: more of what is relevant among fewer rows."
    return _curves(document, "candidates", title, ("candidates", "candidates", "recall"), settings, remark)


def _quality(document: Document, group: Group) -> Chart:
    lines = _lines(group.cells, _bits_point)

    def plan(figure: Any) -> None:
        axis = figure.add_subplot()
        for points in _lines(group.others, _bits_point).values():
            axis.plot(*points[:2], color=stand_in("context"), linewidth=0.8, zorder=1)
        for place, (key, (x, y, low, high)) in enumerate(lines.items()):
            # Side by side, so that intervals at one length do not cover each other.
            shifted = x * 2 ** ((place - (len(lines) - 1) / 2) * 0.03)
            look = style(group, *key)
            axis.vlines(shifted, low, high, color=look["color"], linewidth=1)
            axis.plot(shifted, y, **look)
        axis.set_xscale("log", base=2)
        axis.set_xticks(document.bits, [str(bits) for bits in document.bits])
        axis.minorticks_off()
        axis.grid(visible=False, axis="x")
        axis.set(xlabel="bits of a code", ylabel=_MAP)
        legend(document, figure, group, lines)

    title = f"Mean average precision against bits{group.words}"
    text = _best(document, group.cells)
    svg = draw(f"bits-{group.name}", title, text, (6.4, 3.4 + legend_height(lines)), plan)
    return Chart(svg, f"{title}. {text} Vertical lines: 95 % intervals.{_context(group)}")


def _time(document: Document, group: Group) -> Chart:
    steps = _steps(group)
    keys = list(dict.fromkeys(key for step in steps for key in _lines(group.cells, step)))

    def plan(figure: Any) -> None:
        axes = figure.subplots(1, len(steps), sharey=True, squeeze=False)[0]
        for axis, step in zip(axes, steps, strict=True):
            for points in _lines(group.others, step).values():
                axis.plot(*points[:2], color=stand_in("context"), linewidth=0.8, zorder=1)
            for key, (x, y, *_rest) in _lines(group.cells, step).items():
                look = style(group, *key)
                axis.plot(x, y, **{**look, "marker": None}, alpha=0.6)
                for place, point in enumerate(zip(x, y, strict=True)):
                    axis.plot(*point, **{**look, "markersize": 4 + 1.5 * place})
            axis.set(xscale="log", title=step.step, xlabel="seconds")
            _round_ticks(axis)
        axes[0].set_ylabel(_MAP)
        legend(document, figure, group, keys)

    title = f"Quality against time{group.words}"
    text = (
        "Median times over runs. Up and to the left is better. A line joins the lengths of code of one scheme; the "
        "largest marker is the longest."
    )
    svg = draw(f"time-{group.name}", title, text, (8.2, 3.2 + legend_height(keys)), plan)
    return Chart(svg, f"{title}. {text}{_context(group)}")


def _curves(
    document: Document, name: str, title: str, curve: tuple[str, str, str], settings: dict[str, Any], remark: str
) -> list[Chart]:
    return [
        _curve_chart(document, group, f"{name}-{group.name}", f"{title}{group.words}", found, settings, remark)
        for group in groups(document)
        if (found := [(cell, points) for cell in group.cells if (points := cell.curve(*curve))])
    ]


def _curve_chart(
    document: Document,
    group: Group,
    name: str,
    title: str,
    found: list[tuple[Cell, Curve]],
    settings: dict[str, Any],
    remark: str,
) -> Chart:
    lengths = sorted({cell.bits for cell, _ in found})
    keys = list(dict.fromkeys((cell.scheme, cell.codes) for cell, _ in found))
    n_columns = min(_COLUMNS, len(lengths))
    n_rows = -(-len(lengths) // n_columns)

    def plan(figure: Any) -> None:
        axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
        for axis, bits in zip(axes.flat, lengths, strict=False):
            for cell, points in found:
                if cell.bits == bits:
                    place = keys.index((cell.scheme, cell.codes))
                    look = style(group, cell.scheme, cell.codes)
                    # Markers of two lines that lie on each other stand apart.
                    axis.plot(*_thinned(points), **look, markevery=(place * 0.02, 0.16))
            axis.set(**settings, title=f"{bits} bits")
            axis.label_outer()
            _round_ticks(axis)
        for axis in axes.flat[len(lengths) :]:
            axis.set_visible(False)
        for axis in axes.flat[max(0, len(lengths) - n_columns) : len(lengths)]:
            axis.xaxis.set_tick_params(labelbottom=True)
            axis.set_xlabel(settings["xlabel"])
        legend(document, figure, group, keys)

    size = (1.2 + 2.6 * n_columns if n_columns > 1 else 5.2, 0.6 + 2.4 * n_rows + legend_height(keys))
    caption = f"{title}, mean over runs. {remark}"
    return Chart(draw(name, title, caption, size, plan), caption)


def _round_ticks(axis: Any) -> None:
    """Write the numbers of a horizontal axis plainly, and few of them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullLocator

    if axis.get_xscale() == "log":
        axis.xaxis.set_major_locator(FixedLocator(_log_ticks(*axis.get_xlim())))
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.xaxis.set_major_locator(MultipleLocator(0.25))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}"))


def _log_ticks(low: float, high: float) -> list[float]:
    """Choose three to five round numbers where there are so many, on an axis that may be shorter than a decade."""
    ticks: list[float] = []
    for digits in _DIGITS:
        decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        # From text, so that the numbers are those that are written.
        ticks = [value for power in decades for digit in digits if low <= (value := float(f"{digit}e{power}")) <= high]
        if len(ticks) >= 3:
            break
    most = 5 if low >= 0.001 or len(ticks) < 3 or high / low > 10 else 3  # long numbers need room
    return ticks[:: math.ceil(len(ticks) / most) or 1]


Point = tuple[float | None, float | None, float | None, float | None]


def _bits_point(cell: Cell) -> Point:
    mean = cell.summary("map", "mean")
    low, high = (cell.summary("map", key) for key in ("low", "high"))
    return float(cell.bits), mean, mean if low is None else low, mean if high is None else high


@dataclass(frozen=True)
class _Step:
    """The point of a cell in a chart of one step's time."""

    step: str

    def __call__(self, cell: Cell) -> Point:
        taken = cell.seconds(self.step)
        # A logarithmic axis has no place for 0: what took no time was not measured.
        return taken if taken and taken > 0 else None, cell.summary("map", "mean"), 0.0, 0.0


def _steps(group: Group) -> list[_Step]:
    return [step for step in map(_Step, _STEPS) if _lines(group.cells, step)]


def _lines(cells: list[Cell], point: Any) -> dict[Key, NDArray[np.float64]]:
    """Give the points of each scheme and kind of codes by length of code, (4, n); incomplete points are left out."""
    found: dict[Key, list[Point]] = {}
    for cell in sorted(cells, key=lambda cell: cell.bits):
        place = point(cell)
        if None not in place:
            found.setdefault((cell.scheme, cell.codes), []).append(place)
    return {key: np.array(points, np.float64).T for key, points in found.items()}


def _thinned(points: Curve) -> Curve:
    """Keep the ends of a long curve and points between them, closer where it begins."""
    x, y = points
    if len(x) <= _MOST_POINTS:
        return points
    kept = np.unique(np.geomspace(1, len(x), _MOST_POINTS).round().astype(int)) - 1
    return x[kept], y[kept]


def _best(document: Document, cells: list[Cell]) -> str:
    """Say which cell is best with each kind of database codes."""
    found = []
    for kind in document.kinds:
        ranked = [
            (value, cell) for cell in cells if cell.codes == kind and (value := cell.summary("map", "mean")) is not None
        ]
        if ranked:
            value, cell = max(ranked, key=lambda pair: pair[0])
            found.append(f"{decimals(value)} with {CODES[kind]} ({cell.scheme}, {cell.bits} bits)")
    return f"Highest: {', '.join(found)}." if found else ""


def _context(group: Group) -> str:
    return " Grey lines: the schemes of the other parts." if group.others else ""
