"""What an index stores of a model: a JSON document and plain arrays, without needing any plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import MAX_BITS, n_words_of
from hashdb.errors import CorruptIndexError, UnsupportedFormatError
from hashdb.hookspecs import State

FORMAT = 1

_METHOD = "state."
_QUANTISER = "quantiser."
_CHECK_VECTORS = "check.vectors"
_CHECK_CODES = "check.codes"

CheckRows = dict[str, tuple[NDArray[Any], NDArray[np.uint64]]]


@dataclass(frozen=True)
class Part:
    """What a method or a quantiser gives to a model.

    Attributes
    ----------
    name, distribution, version : str
        The plugin that learned it.
    params : dict
        Complete.
    state : dict of str to ndarray
    """

    name: str
    distribution: str
    version: str
    params: dict[str, Any]
    state: State

    def to_json(self) -> dict[str, Any]:
        """Give everything but the state."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "params": dict(self.params),
        }

    @classmethod
    def read(cls, document: Any, state: State) -> Part:
        """Make it of what :meth:`to_json` gave."""
        name, distribution, version = (_field(document, key, str) for key in ("name", "distribution", "version"))
        return cls(name, distribution, version, dict(_field(document, "params", dict)), state)


@dataclass(frozen=True)
class Document:
    """A model as data.

    Attributes
    ----------
    method : Part
    quantiser : Part or None
    n_bits, n_projections, n_stored_bits : int
    seed : int
    normalise : str
    modalities : tuple of str, or None
    dims : dict of str to int
        The key is "" without modalities.
    input, supervision : str
    has_project : bool
    n_train : int
    check_rows : dict of str to (rows, codes)
        Some training rows as they were given, by modality, with the codes that they must get.
    encoder : Part or None
        What turns items into the vectors, where the model was made with images or strings; it has no state.
    """

    method: Part
    quantiser: Part | None
    n_bits: int
    n_projections: int
    n_stored_bits: int
    seed: int
    normalise: str
    modalities: tuple[str, ...] | None
    dims: dict[str, int]
    input: str
    supervision: str
    has_project: bool
    n_train: int
    check_rows: CheckRows = field(default_factory=dict)
    encoder: Part | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the JSON document."""
        return {
            "format": FORMAT,
            "method": self.method.to_json(),
            "quantiser": self.quantiser.to_json() if self.quantiser else None,
            "n_bits": self.n_bits,
            "n_projections": self.n_projections,
            "n_stored_bits": self.n_stored_bits,
            "seed": self.seed,
            "normalise": self.normalise,
            "modalities": list(self.modalities) if self.modalities else None,
            "dims": dict(self.dims),
            "input": self.input,
            "supervision": self.supervision,
            "has_project": self.has_project,
            "n_train": self.n_train,
            **({} if self.encoder is None else {"encoder": self.encoder.to_json()}),
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays, by names that are safe for folders."""
        arrays = {_METHOD + name: array for name, array in self.method.state.items()}
        if self.quantiser:
            arrays.update({_QUANTISER + name: array for name, array in self.quantiser.state.items()})
        for modality, (rows, codes) in self.check_rows.items():
            arrays[_suffixed(_CHECK_VECTORS, modality)] = rows
            arrays[_suffixed(_CHECK_CODES, modality)] = codes
        return arrays

    @classmethod
    def read(cls, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Document:
        """Make it of what :meth:`to_json` and :meth:`to_arrays` gave.

        Raises
        ------
        UnsupportedFormatError, CorruptIndexError
        """
        number = _field(document, "format", int)
        if number != FORMAT:
            raise UnsupportedFormatError(
                f"the model is of format {number}, this hashdb reads format {FORMAT}; upgrade it"
            )
        quantiser = document.get("quantiser")
        encoder = document.get("encoder")
        modalities = document.get("modalities")
        if modalities is not None and not (
            isinstance(modalities, list) and all(type(one) is str for one in modalities)
        ):
            raise CorruptIndexError(f"the model's modalities are {str(modalities)[:80]}, expected a list of names")
        dims = _field(document, "dims", dict)
        names = tuple(modalities) if modalities else None
        if set(dims) != set(names or ("",)) or not all(type(dim) is int and dim > 0 for dim in dims.values()):
            raise CorruptIndexError(f"the model's dims are {json.dumps(dims)[:200]}, expected one for each modality")
        n_stored_bits = _bits(document, "n_stored_bits")
        return cls(
            method=Part.read(_field(document, "method", dict), _starting(arrays, _METHOD)),
            quantiser=Part.read(quantiser, _starting(arrays, _QUANTISER)) if quantiser is not None else None,
            n_bits=_bits(document, "n_bits"),
            n_projections=_bits(document, "n_projections"),
            n_stored_bits=n_stored_bits,
            seed=_field(document, "seed", int),
            normalise=_field(document, "normalise", str),
            modalities=names,
            dims=dict(dims),
            input=_field(document, "input", str),
            supervision=_field(document, "supervision", str),
            has_project=_field(document, "has_project", bool),
            n_train=_field(document, "n_train", int),
            check_rows=_read_check_rows(arrays, dims, n_stored_bits),
            encoder=Part.read(encoder, {}) if encoder is not None else None,
        )


def _read_check_rows(arrays: Mapping[str, NDArray[Any]], dims: dict[str, int], n_bits: int) -> CheckRows:
    found: CheckRows = {}
    for modality, dim in dims.items():
        rows = arrays.get(_suffixed(_CHECK_VECTORS, modality))
        codes = arrays.get(_suffixed(_CHECK_CODES, modality))
        if rows is None and codes is None:
            continue
        if rows is None or codes is None or rows.shape != (*codes.shape[:1], dim):
            raise CorruptIndexError("the model's check rows and their codes do not belong together; restore them")
        if codes.shape[1:] != (n_words_of(n_bits),):
            raise CorruptIndexError("the model's check rows and their codes do not belong together; restore them")
        found[modality] = rows, codes
    return found


def _starting(arrays: Mapping[str, NDArray[Any]], prefix: str) -> State:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _suffixed(name: str, modality: str) -> str:
    return f"{name}.{modality}" if modality else name


def _bits(document: Mapping[str, Any], name: str) -> int:
    value: int = _field(document, name, int)
    if not 1 <= value <= MAX_BITS:
        raise CorruptIndexError(f"the model's {name} is {value}, expected 1 to {MAX_BITS}")
    return value


def _field(document: Any, name: str, kind: type) -> Any:
    value = document.get(name) if isinstance(document, Mapping) else None
    if type(value) is not kind:
        raise CorruptIndexError(f"the model's {name} is {repr(value)[:80]}, expected a value of type {kind.__name__}")
    return value
