"""What one figure of a report draws, and how: schemes a few at a time, their colours, markers and legend."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hashdb.evaluation.report.document import Cell, Document
from hashdb.evaluation.report.palette import MARKERS, N_HUES, stand_in

Key = tuple[str, str]  # a scheme and its kind of database codes


@dataclass(frozen=True)
class Group:
    """What one figure draws: the cells of a few schemes in one direction.

    Attributes
    ----------
    slots : dict of str to int
        Place of each scheme in the palette, 0 for the baseline.
    others : list of Cell
        Cells of the same direction that other figures draw.
    words : str
        What to add to a caption.
    """

    name: str
    cells: list[Cell]
    slots: dict[str, int]
    others: list[Cell]
    words: str


def groups(document: Document) -> Iterator[Group]:
    """Give the figures of one kind of chart: at most six schemes and the baseline each, in one direction."""
    rivals = [name for name in document.schemes if name != document.baseline]
    parts = [rivals[start : start + N_HUES] for start in range(0, len(rivals), N_HUES)] or [[]]
    for place, direction in enumerate(document.directions):
        here = [cell for cell in document.cells if cell.direction == direction]
        for part, names in enumerate(parts):
            slots = {name: slot for slot, name in enumerate(names, 1)}
            if document.baseline:
                slots[document.baseline] = 0
            words = [direction] if direction else []
            words += [f"part {part + 1} of {len(parts)}"] if len(parts) > 1 else []
            yield Group(
                f"{place}-{part}",
                [cell for cell in here if cell.scheme in slots],
                slots,
                [cell for cell in here if cell.scheme not in slots],
                f" ({', '.join(words)})" if words else "",
            )


def style(group: Group, scheme: str, codes: str) -> dict[str, Any]:
    """Colour and marker are the scheme's; learned database codes are dashed, with hollow markers."""
    slot = group.slots[scheme]
    colour = stand_in(f"series-{slot}")
    learned = codes == "learned"
    return {
        "color": colour,
        "marker": MARKERS[slot],
        "linestyle": (0, (4, 2)) if learned else "solid",
        "markerfacecolor": stand_in("page") if learned else colour,
        "zorder": 2 if slot == 0 else 3,
    }


def legend(document: Document, figure: Any, group: Group, keys: Collection[Key]) -> None:
    """Name the lines below the panels."""
    from matplotlib.lines import Line2D

    if not keys:
        return
    handles = [Line2D([], [], **style(group, *key)) for key in keys]
    # matplotlib leaves out names that begin with an underscore; a space of no width keeps them.
    labels = [f"\u200b{name}" if (name := document.label(*key)).startswith("_") else name for key in keys]
    figure.legend(handles, labels, loc="outside lower center", ncols=_columns(keys))


def _columns(keys: Iterable[Key]) -> int:
    return 3 if max(len(scheme) for scheme, _ in keys) < 14 else 2


def legend_height(keys: Collection[Key]) -> float:
    """Give the height that a legend takes, in inches."""
    return 0.19 * math.ceil(len(keys) / _columns(keys)) if keys else 0.0
