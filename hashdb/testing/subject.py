"""What is under check: a method, alone or with a quantiser, fitted on planted data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import registry
from hashdb.codes import unpack
from hashdb.model import Model, fit
from hashdb.plugin import Plugin
from hashdb.testing.planted import Data, planted

N_ROWS = 600
WIDE = 520


@dataclass
class Subject:
    """A method, perhaps with a quantiser, and how to fit it.

    Attributes
    ----------
    method : str
    quantiser : str or None
    n_bits : tuple of int
        Widths to check; the first is used where one is enough.
    params : mapping
    seed : int
    """

    method: str
    quantiser: str | None
    n_bits: tuple[int, ...]
    params: Mapping[str, Any]
    seed: int
    _models: dict[tuple[int, int | None], tuple[Model, Data]] = field(default_factory=dict)

    @property
    def plugin(self) -> Plugin:
        """The method's plugin."""
        return registry.get(self.method, kind="method")

    @property
    def target(self) -> Plugin:
        """The plugin under check: the quantiser if there is one."""
        return self.plugin if self.quantiser is None else registry.get(self.quantiser, kind="quantiser")

    def data(self, n_bits: int, n_rows: int = N_ROWS, seed: int | None = None, dim: int | None = None) -> Data:
        """Make planted clusters for this method."""
        return planted(self.plugin.info, n_bits, n_rows, self.seed if seed is None else seed, dim)

    def fit(self, data: Data, n_bits: int, **changed: Any) -> Model:
        """Fit on data, with its clusters as labels where the method takes labels."""
        arguments: dict[str, Any] = {
            "method": self.method,
            "n_bits": n_bits,
            "quantiser": self.quantiser,
            "params": self.params,
            "labels": data.clusters if self.plugin.info.takes_labels else None,
            "seed": self.seed,
        }
        return fit(data.vectors, **{**arguments, **changed})

    def fitted(self, n_bits: int | None = None, dim: int | None = None) -> tuple[Model, Data]:
        """Fit once on planted clusters, and keep the model."""
        width = self.n_bits[0] if n_bits is None else n_bits
        if (width, dim) not in self._models:
            data = self.data(width, dim=dim)
            self._models[width, dim] = self.fit(data, width), data
        return self._models[width, dim]

    def fitted_narrow_and_wide(self) -> Iterator[tuple[Model, Data]]:
        """Fit for every width of code on rows of few dimensions, then once on rows of many.

        Libraries of linear algebra sum few dimensions in one order whatever the batch, but not many.
        """
        for n_bits in self.n_bits:
            yield self.fitted(n_bits)
        if self.plugin.info.input != "bits":
            yield self.fitted(self.n_bits[0], WIDE)


def modalities_of(model: Model) -> Iterator[str | None]:
    """Go through the modalities of a model, None for one that has none."""
    yield from model.modalities or (None,)


def bits_of(model: Model, rows: NDArray[Any], modality: str | None) -> NDArray[np.bool_]:
    """Encode rows to bool (n, n_stored_bits)."""
    return unpack(model.encode(rows, modality), model.n_stored_bits)
