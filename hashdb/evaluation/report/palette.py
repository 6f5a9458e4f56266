"""Colours of the pages, for light and for dark.

The colours of series were chosen by search: any two, the baseline's grey among them, lie at least 0.11 apart in OKLab
as seen with normal vision, protanopia, deuteranopia and tritanopia, and each has a contrast of 3 to the page. A marker
goes with each, so that nothing hangs on colour alone.
"""

from __future__ import annotations

# The baseline's grey is the first of a palette; hues follow.
LIGHT = ("#4d5560", "#618cfc", "#8f3601", "#338461", "#d04eb4", "#9b961f", "#6d008f")
DARK = ("#aab2bd", "#5a92f3", "#fe8939", "#90f4dc", "#b9426c", "#f5db01", "#744ecc")
MARKERS = ("X", "o", "s", "^", "D", "v", "P")
N_HUES = len(LIGHT) - 1

# What charts and pages are drawn with, (light, dark).
TONES = {
    "page": ("#ffffff", "#15181d"),
    "ink": ("#1b1f24", "#e6e9ed"),
    "quiet": ("#565e68", "#a3abb6"),
    "line": ("#d5d9de", "#363c45"),
    "shade": ("#f4f6f8", "#1e2228"),
    "context": ("#c9ced5", "#414852"),
    "good": ("#1a6b4a", "#6fdcb0"),
    "bad": ("#a13a12", "#ff9a6b"),
}


def variables() -> dict[str, tuple[str, str]]:
    """Give the name of each CSS variable with its colour in light and in dark."""
    series = {f"series-{place}": pair for place, pair in enumerate(zip(LIGHT, DARK, strict=True))}
    return {**TONES, **series}


def stand_in(name: str) -> str:
    """Give the colour that matplotlib draws with where the page is to use a variable."""
    return f"#fe{list(variables()).index(name):02x}ef"
