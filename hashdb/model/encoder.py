"""Encoder: a plugin that turns items into vectors, with its params, as a model keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import params as declared
from hashdb import registry
from hashdb.errors import ArgumentError, UnknownMethodError
from hashdb.model.document import Part

_OWN = "encoder."


@dataclass(frozen=True)
class Encoder:
    """Turns items into vectors.

    Attributes
    ----------
    part : Part
        The plugin and its params; an encoder has no state.
    """

    part: Part

    @classmethod
    def asked(cls, name: Any, params: Mapping[str, Any]) -> Encoder | None:
        """Take the installed encoder of a name, None where there is no name.

        Parameters
        ----------
        name : str or None
        params : mapping
            All params of a build; the encoder's are those whose keys begin with ``encoder.``

        Raises
        ------
        UnknownMethodError
            There is no encoder of that name.
        ArgumentError
            The name is none, or a param is unknown or out of its range.
        """
        if name is None:
            return None
        if not isinstance(name, str):
            raise ArgumentError(f"encoder is {name!r}, expected the name of an encoder")
        plugin = registry.get(name, kind="encoder")
        own = {key.removeprefix(_OWN): value for key, value in params.items() if key.startswith(_OWN)}
        return cls(Part(name, plugin.distribution, plugin.version, declared.resolve(plugin.info, own), {}))

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.part.name

    def __call__(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Turn items, images as uint8 arrays or strings, into float32 (n, dim)."""
        part = self.part
        try:
            plugin = registry.get(part.name, kind="encoder")
        except UnknownMethodError as error:
            raise UnknownMethodError(
                f"encoder {part.name!r} is not installed; the model was made with that of {part.distribution} "
                f"{part.version}: install that package, or give vectors instead of items",
                part.name,
                part.distribution,
            ) from error
        return plugin.encode_items(items, part.params)


def without_encoder(params: Mapping[str, Any]) -> dict[str, Any]:
    """Give the params of a build that are not its encoder's."""
    return {key: value for key, value in params.items() if not key.startswith(_OWN)}
