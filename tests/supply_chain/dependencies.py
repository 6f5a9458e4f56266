"""The dependencies that pyproject.toml declares, and their lowest versions: read there, repeated nowhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[(?P<extras>[^\]]*)\])?\s*(?P<bounds>[^;]*)")


def declared() -> dict[str, list[str]]:
    """Give the requirements of each extra, and those of everyone under the empty name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def requirements(*extras: str) -> dict[str, str]:
    """Give name and bounds of what the project and these extras of it need."""
    lists, found = declared(), {}
    for extra in ("", *extras):
        for line in lists[extra]:
            match = _REQUIREMENT.fullmatch(line.strip())
            if match is None:
                raise ValueError(f"pyproject.toml: {line!r} is not understood, expected NAME[EXTRAS]>=VERSION")
            if match["name"] == "hashdb":
                found |= requirements(*(name.strip() for name in match["extras"].split(",")))
            else:
                found[match["name"]] = match["bounds"].strip()
    return found


def lowest(*extras: str) -> list[str]:
    """Give requirements that allow exactly the lowest version of each."""
    pins = []
    for name, bounds in requirements(*extras).items():
        low = [bound.strip()[2:] for bound in bounds.split(",") if bound.strip().startswith(">=")]
        if len(low) != 1:
            raise ValueError(f"pyproject.toml: {name}{bounds} has no lowest version, expected one >=")
        pins.append(f"{name}=={low[0]}")
    return pins
