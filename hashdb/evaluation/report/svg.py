"""matplotlib figures as SVG inside a page: small, the same every time, in the page's colours and typeface."""

from __future__ import annotations

import html
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hashdb.errors import HashDBError
from hashdb.evaluation.report.palette import stand_in, variables

_FACE = "DejaVu Sans"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hashdb",  # names of parts do not change from run to run
    "font.family": "sans-serif",
    "font.sans-serif": [_FACE],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "text.parse_math": False,  # a name may hold a dollar
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw(name: str, title: str, description: str, size: tuple[float, float], plan: Callable[[Any], None]) -> str:
    """Draw a figure and return it as an ``<svg>`` element.

    Parameters
    ----------
    name : str
        Unique on the page, letters, digits and hyphens; ids of the element begin with it.
    title, description : str
        What the figure is and what it shows, for those who cannot see it.
    size : tuple of float
        Width and height in inches.
    plan : callable
        Gets the empty figure and draws.
    """
    _import_matplotlib()
    import matplotlib.style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    text = io.StringIO()
    with warnings.catch_warnings(), matplotlib.style.context(["default", _STYLE | _tones()]):
        # The browser draws the text: what the typeface that measures it lacks does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        plan(figure)
        figure.savefig(text, format="svg", metadata=_NO_METADATA, transparent=True)
    return _for_page(text.getvalue(), name, title, description)


def _import_matplotlib() -> None:
    """Import it whatever ``MPLBACKEND`` names; it would refuse an unknown one, though pictures in pages need none."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # as its import does, for windows that a caller may open


def _tones() -> dict[str, str]:
    ink, quiet, line = (stand_in(name) for name in ("ink", "quiet", "line"))
    text = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), ink)
    return {**text, **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), quiet), "grid.color": line}


def _for_page(svg: str, name: str, title: str, description: str) -> str:
    head = re.search(r'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', svg)
    if head is None:
        raise HashDBError("matplotlib drew a chart of no size, so the page cannot hold it; try another version of it")
    body = svg[head.end() :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # it would hold for the whole page
    body = re.sub(r"<[^>]+>", lambda tag: _tidy(tag[0]), body)
    body = re.sub(r"\s*\n\s*", "", body)
    body = _rename(body, name)
    width, height = (float(part) * 4 / 3 for part in head.groups())
    return (
        f'<svg viewBox="0 0 {head[1]} {head[2]}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>{body}'
    )


def _tidy(tag: str) -> str:
    """Shorten one tag, and let it take colours and typeface from the page."""
    tag = " ".join(tag.split()).replace("xlink:href", "href").replace(f"'{_FACE}', sans-serif", f"'{_FACE}'")
    tag = tag.replace(f"'{_FACE}'", "var(--face)").replace(' transform="rotate(-0 ', ' data-none="(')
    tag = re.sub(r' data-none="[^"]*"', "", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    for variable in variables():
        tag = tag.replace(stand_in(variable), f"var(--{variable})")
    return tag


def _rename(body: str, name: str) -> str:
    """Drop ids that nothing refers to; the others begin with the name."""
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', body))
    wanted = {one or other for one, other in used}

    def new_id(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in wanted else ""

    body = re.sub(r' id="([^"]*)"', new_id, body)
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    return body.replace("<defs></defs>", "").replace("<g></g>", "")
