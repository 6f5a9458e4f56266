"""Finished cells in files, so that an experiment that stopped goes on where it was.

::

    OUTPUT/
      protocol.json          what all cells share; another protocol is refused
      splits/run-00.npz      the split of each run
      cells/NAME.json        a unit's record, written last; NAME.npz, its values by query
      truths/                ground truths by distance
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hashdb.errors import ArgumentError, InputFileError, brief
from hashdb.evaluation.experiment.units import Unit
from hashdb.evaluation.saving import Arrays, load_arrays, save_arrays, write_text
from hashdb.inputs.formats import one_line

_FORMAT = 1


class Cells:
    """The folder of an experiment.

    Parameters
    ----------
    folder : Path
    facts : mapping
        The protocol and what else all cells share; JSON-able.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self._facts: dict[str, Any] = json.loads(json.dumps({"format": _FORMAT, **facts}))

    @property
    def truths(self) -> Path:
        """Where ground truths are kept."""
        return self.folder / "truths"

    def open(self) -> None:
        """Make the folder, or check that its cells are of this protocol.

        Raises
        ------
        ArgumentError
            They are of another; the first differences are named.
        StorageError
            The folder cannot be written.
        """
        path = self.folder / "protocol.json"
        if path.exists():
            self._compare(_read(path))
        elif any((self.folder / "cells").glob("*.json")):
            raise ArgumentError(f"{self.folder} holds cells without a protocol.json; choose another output folder")
        else:
            write_text(path, json.dumps(self._facts, indent=1) + "\n")

    def has(self, unit: Unit) -> bool:
        """Tell whether a unit is finished.

        Raises
        ------
        ArgumentError
            It is, but with other params.
        """
        path = self._path(unit)
        if not path.exists():
            return False
        record = _read(path)
        if "refused" not in record and not path.with_suffix(".npz").exists():
            return False
        kept, asked = record.get("given"), _given(unit)
        if kept != asked:
            raise ArgumentError(
                f"{path} was measured with params {kept or 'by default'}, now {asked or 'by default'} are asked for; "
                "choose another output folder, or remove that file"
            )
        return True

    def keep(self, unit: Unit, record: Mapping[str, Any], arrays: Arrays) -> None:
        """Write a finished unit: first the arrays, then the record that vouches for them."""
        path = self._path(unit)
        if arrays:
            save_arrays(path.with_suffix(".npz"), arrays)
        facts = {"method": unit.scheme.method, "quantiser": unit.scheme.quantiser, "bits": unit.n_bits, "run": unit.run}
        write_text(path, json.dumps({**facts, "given": _given(unit), **record}) + "\n")

    def read(self, unit: Unit) -> tuple[dict[str, Any], Arrays]:
        """Read a finished unit.

        Raises
        ------
        InputFileError
            A file cannot be read.
        """
        path = self._path(unit)
        record = _read(path)
        if "refused" in record:
            return record, {}
        try:
            return record, load_arrays(path.with_suffix(".npz"))
        except (OSError, ValueError) as error:
            raise _damaged(path.with_suffix(".npz"), error) from error

    def _path(self, unit: Unit) -> Path:
        return self.folder / "cells" / f"{unit.name}.json"

    def _compare(self, kept: dict[str, Any]) -> None:
        names = [name for name in {**kept, **self._facts} if kept.get(name) != self._facts.get(name)]
        if names:
            changes = "; ".join(
                f"{brief(name)} was {brief(repr(kept.get(name)))}, now {brief(repr(self._facts.get(name)))}"
                for name in names[:3]
            )
            raise ArgumentError(
                f"{self.folder} holds cells of another protocol ({changes}); choose another output folder, or remove "
                "this one to begin again"
            )


def _given(unit: Unit) -> dict[str, str]:
    return {name: str(value) for name, value in sorted(unit.scheme.params.items())}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(found, dict):
        raise _damaged(path, ValueError("it is no JSON object"))
    return found


def _damaged(path: Path, error: Exception) -> InputFileError:
    return InputFileError(f"{path} cannot be read ({one_line(error)}); remove it, and it is measured again")
