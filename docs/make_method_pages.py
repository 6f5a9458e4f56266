"""Write docs/methods/ from what the plugins say of themselves and from the measured cells; ``--check`` compares."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from hashdb import registry
from hashdb.describing import GROUPS, describe_plugin, describe_plugins

FOLDER = Path(__file__).parent / "methods"
sys.path.insert(0, str(Path(__file__).parent.parent))

TITLES = {
    "unsupervised": "Unsupervised projections",
    "supervised": "Semi-supervised and supervised projections",
    "cross-modal": "Cross-modal",
    "quantisers": "Quantisers",
    "encoders": "Encoders",
}
HEAD = """# Methods

Every method is a plugin: a module with `fit` and `encode`, found by entry point. Each page has the paper, when to use
the method, its params, what it costs and how it differs from the paper; the figures are from
[the tables](../results.md#every-method-on-cifar-10). `hashdb methods` prints this list.
"""


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    ours = [entry for entry in describe_plugins()[0] if entry["distribution"] == "hashdb"]
    made = {"README.md": _index(ours)}
    for entry in ours:
        made[f"{entry['name']}.md"] = _page(describe_plugin(entry["name"]))
    return made


def _index(listed: list[dict[str, Any]]) -> str:
    lines = [HEAD]
    for group in GROUPS:
        entries = [entry for entry in listed if entry["group"] == group]
        if entries:
            lines += [f"## {TITLES[group]}\n", "| name | paper | learns from | when to use it |", "|---|---|---|---|"]
            lines += [
                f"| [`{entry['name']}`]({entry['name']}.md) | {entry['paper'] or '–'} | {_needs(entry)} "
                f"| {entry['when']} |"
                for entry in entries
            ]
            lines.append("")
    return "\n".join(lines)


def _page(entry: dict[str, Any]) -> str:
    from benchmarks.methods.lines import measured

    lines = [f"# {entry['title']} (`{entry['name']}`)\n", f"**When to use it:** {entry['when']}.\n"]
    if entry["paper"]:
        lines.append(f"*{entry['paper']}.*\n")
    lines += [
        f"* **Learns from:** {_needs(entry)}",
        f"* **Bits:** {entry['n_bits']}",
        f"* **Rows it trains on** unless told otherwise: {_count(entry['default_train'])}",
        "",
    ]
    if entry["params"]:
        lines += ["| param | type | default | range | worth trying | help |", "|---|---|---|---|---|---|"]
        lines += [
            f"| `{one['param']}` | {one['type']} | {_value(one['default'])} | {one['range'].replace('|', '/')} "
            f"| {', '.join(map(str, one['grid'])) or '–'} | {one['help']} |"
            for one in entry["params"]
        ]
        lines.append("")
    figures = measured(entry["name"])
    if figures:
        lines += ["## Measured\n", figures, ""]
    lines += ["## The method\n", "```text", _module(entry["name"]).strip(), "```", ""]
    return "\n".join(lines)


def _needs(entry: dict[str, Any]) -> str:
    if entry["kind"] == "quantiser":
        plugin = registry.get(entry["name"])
        return "projections and pairs of neighbours" if plugin.takes("fit_quantiser", "neighbours") else "projections"
    named = {
        "none": "bits" if entry["input"] == "bits" else "vectors",
        "labels": "vectors and labels",
        "optional labels": "vectors, and labels if there are any",
    }
    return named.get(entry["supervision"], entry["supervision"])


def _count(number: int | None) -> str:
    return "all" if number is None else f"{number:,}"


def _value(default: Any) -> str:
    return "from the data" if default is None else f"`{default}`"


def _module(name: str) -> str:
    """Return the docstring of the module behind an entry point."""
    (point,) = [one for one in importlib.metadata.entry_points(group="hashdb") if one.name == name]
    return importlib.import_module(point.module).__doc__ or ""


def main() -> None:
    """Write the pages, or say which differ."""
    made = pages()
    if "--check" in sys.argv:
        there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
        odd = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
        sys.exit(f"run python docs/make_method_pages.py: {', '.join(odd)} differ" if odd else 0)
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.md"):
        path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
