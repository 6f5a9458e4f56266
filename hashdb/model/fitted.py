"""Model: a method, perhaps a quantiser, their params and what they learned; rows in, codes or margins out.

A row's code is that of the row alone. The model keeps up to 16 training rows (raw, evenly spread) with their codes: the
first encode after opening must reproduce them, so an index never mixes codes of two versions of a plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import registry
from hashdb.codes import Codes, n_words_of, pack
from hashdb.errors import ArgumentError, PluginMismatchError, UnknownMethodError
from hashdb.forks import lock_of
from hashdb.hookspecs import State
from hashdb.model import checks
from hashdb.model.document import Document, Part
from hashdb.model.encoder import Encoder
from hashdb.plugin import Plugin

# Rows and values of one internal batch: 64 MiB of float32 at most.
_BATCH_ROWS = 1 << 16
_BATCH_VALUES = 1 << 24


class Model:
    """What turns rows into codes. Made by :func:`fit` or read from an index; safe to share between threads.

    Attributes
    ----------
    method : str
    quantiser : str or None
    n_bits : int
        Information bits asked for.
    n_stored_bits : int
        Width of a code; other than ``n_bits`` with some quantisers.
    params, quantiser_params : dict
        Complete; the quantiser's is empty without one.
    seed : int
    normalise : str
        ``none`` or ``l2``, done to every row first.
    modalities : tuple of str, or None
    dims : dict of str to int
        Columns of a row by modality; the key is "" without modalities.
    input : str
        ``vectors`` or ``bits``.
    supervision : str
    has_project : bool
        Whether there are margins.
    encoder : Encoder or None
        What turns images or strings into vectors first, where the model has one.
    n_train : int
        Rows that trained it.
    training_codes : ndarray of uint64, shape (n_train, n_words), or None
        Codes that the method learned for its training rows, where it does; not kept in an index's model.
    """

    def __init__(
        self, document: Document, checked: bool = False, training_codes: NDArray[np.uint64] | None = None
    ) -> None:
        self._document = document
        self._checked = checked
        self._lock = lock_of(self)
        self._plugins: tuple[Plugin, Plugin | None] | None = None
        self.training_codes = training_codes
        self.method = document.method.name
        self.quantiser = document.quantiser.name if document.quantiser else None
        self.n_bits = document.n_bits
        self.n_stored_bits = document.n_stored_bits
        self.params = dict(document.method.params)
        self.quantiser_params = dict(document.quantiser.params) if document.quantiser else {}
        self.seed = document.seed
        self.normalise = document.normalise
        self.modalities = document.modalities
        self.dims = dict(document.dims)
        self.input = document.input
        self.supervision = document.supervision
        self.has_project = document.has_project
        self.n_train = document.n_train
        self.encoder = Encoder(document.encoder) if document.encoder else None

    def __repr__(self) -> str:
        names = self.method if self.quantiser is None else f"{self.method} + {self.quantiser}"
        bits = f"{self.n_bits} bits" + (f" in {self.n_stored_bits}" if self.n_stored_bits != self.n_bits else "")
        dims = ", ".join(f"{name} {dim}" if name else f"dim {dim}" for name, dim in self.dims.items())
        return f"<hashdb.Model {names}: {bits}, {dims}, trained on {self.n_train:,} rows>"

    @property
    def state(self) -> State:
        """Arrays that the method learned."""
        return dict(self._document.method.state)

    @property
    def quantiser_state(self) -> State:
        """Arrays that the quantiser learned, none without one."""
        return dict(self._document.quantiser.state) if self._document.quantiser else {}

    def encode(self, vectors: Any, modality: str | None = None) -> NDArray[np.uint64]:
        """Give rows their codes.

        Parameters
        ----------
        vectors : array_like of numbers, shape (n, dim), or bool (n, n_bits)
            Finite; bool where the input is ``bits``.
        modality : str, optional
            Which modality the rows are of; needed where the model has several.

        Returns
        -------
        ndarray of uint64, shape (n, n_words)

        Raises
        ------
        ArgumentError
            Another dim than that of training, NaN, or an unknown modality.
        UnknownMethodError
            The plugin is not installed.
        PluginMismatchError
            The installed plugin gives other codes than those stored with the model.
        """
        rows = self._rows(vectors, modality)
        codes = np.empty((len(rows), n_words_of(self.n_stored_bits)), np.uint64)
        if len(rows):
            self._load(check=True)
        for start, batch in self._batches(rows):
            codes[start : start + len(batch)] = self._encode_batch(batch, modality)
        return codes

    def project(self, vectors: Any, modality: str | None = None) -> NDArray[np.float32]:
        """Give rows their margins: bit = margin > 0, and its size says how sure the bit is.

        Parameters
        ----------
        vectors : array_like of numbers, shape (n, dim)
        modality : str, optional

        Returns
        -------
        ndarray of float32, shape (n, n_stored_bits)

        Raises
        ------
        ArgumentError
            As for :meth:`encode`, and where the method has no margins.
        """
        if not self.has_project:
            raise ArgumentError(
                f"method {self.method} has no projections, expected one that has; `hashdb methods` tells"
            )
        rows = self._rows(vectors, modality)
        margins = np.empty((len(rows), self.n_stored_bits), np.float32)
        if len(rows):
            self._load(check=True)
        for start, batch in self._batches(rows):
            margins[start : start + len(batch)] = self._margins(batch, modality)
        return margins

    def with_encoder(self, encoder: Encoder) -> Model:
        """Give the same model with an encoder to put before it."""
        document = replace(self._document, encoder=encoder.part)
        return Model(document, self._checked, self.training_codes)

    def to_document(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Give what an index stores: a JSON document, and arrays by name.

        Names of arrays are made of letters, digits, ``_``, ``-`` and ``.``: ``state.*`` is the method's,
        ``quantiser.*`` the quantiser's, ``check.*`` the training rows with their codes.
        """
        return self._document.to_json(), self._document.to_arrays()

    @classmethod
    def from_document(cls, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Make a model of what :meth:`to_document` gave; arrays of other names are passed over.

        No plugin is needed until rows are encoded.

        Raises
        ------
        UnsupportedFormatError
            The document is of a newer format.
        CorruptIndexError
            A part is missing or not as it should be.
        """
        return cls(Document.read(document, arrays))

    def _rows(self, vectors: Any, modality: str | None) -> NDArray[Any]:
        if self.modalities and modality is None:
            raise ArgumentError(f"the model has the modalities {', '.join(self.modalities)}; name one (modality=)")
        if modality is not None and modality not in (self.modalities or ()):
            raise checks.unknown_modality(modality, self.modalities or ())
        rows = checks.as_bits(vectors) if self.input == "bits" else checks.numbers(vectors)
        dim = self.dims[modality or ""]
        if rows.shape[1] != dim:
            of = f" of modality {modality!r}" if modality else ""
            unit = "bits" if self.input == "bits" else "dim"
            raise ArgumentError(f"vectors{of} have {unit} {rows.shape[1]}, expected {unit} {dim} as in training")
        return rows

    def _batches(self, rows: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
        width = max(rows.shape[1], self._document.n_projections, self.n_stored_bits)
        step = max(1, min(_BATCH_ROWS, _BATCH_VALUES // width))
        for start in range(0, len(rows), step):
            batch = rows[start : start + step]
            yield start, (batch if self.input == "bits" else checks.as_vectors(batch, first_row=start))

    def _load(self, check: bool) -> tuple[Plugin, Plugin | None]:
        with self._lock:
            if self._plugins is None:
                quantiser = self._document.quantiser
                self._plugins = (
                    _installed(self._document.method, "method"),
                    _installed(quantiser, "quantiser") if quantiser else None,
                )
            if check and not self._checked:
                self._check_codes(*self._plugins)
                self._checked = True
            return self._plugins

    def _check_codes(self, method: Plugin, quantiser: Plugin | None) -> None:
        for name, (rows, codes) in self._document.check_rows.items():
            if np.array_equal(self._encode_batch(rows, name or None), codes):
                continue
            recorded, installed = [_versions(self._document.method)], [f"{method.distribution} {method.version}"]
            if quantiser and self._document.quantiser:
                recorded.append(_versions(self._document.quantiser))
                installed.append(f"{quantiser.distribution} {quantiser.version}")
            raise PluginMismatchError(
                f"{' and '.join(recorded)} made this model, but what is installed ({' and '.join(installed)}) gives "
                "other codes; install the recorded version, or build the index anew",
                self.method,
                method.distribution,
            )

    def _encode_batch(self, rows: NDArray[Any], modality: str | None) -> Codes:
        method, quantiser = self._load(check=False)
        if quantiser is not None:
            return pack(self._margins(rows, modality) > 0)
        state = self._document.method.state
        return pack(method.encode(state, self._prepare(rows), self._document.n_projections, modality))

    def _margins(self, rows: NDArray[Any], modality: str | None) -> NDArray[np.float32]:
        method, quantiser = self._load(check=False)
        state = self._document.method.state
        projections = method.project(state, self._prepare(rows), self._document.n_projections, modality)
        if quantiser is None or self._document.quantiser is None:
            return projections
        return quantiser.quantise(self._document.quantiser.state, projections, self.n_stored_bits)

    def _prepare(self, rows: NDArray[Any]) -> NDArray[Any]:
        return checks.l2_normalise(rows) if self.normalise == "l2" else rows


def _installed(part: Part, kind: str) -> Plugin:
    try:
        return registry.get(part.name, kind=kind)
    except UnknownMethodError as error:
        raise UnknownMethodError(
            f"{kind} {part.name!r} is not installed; the model was made by {part.name} of {part.distribution} "
            f"{part.version}: install that package to encode (stored codes and ids can be searched without)",
            part.name,
            part.distribution,
        ) from error


def _versions(part: Part) -> str:
    return f"{part.name} of {part.distribution} {part.version}"
