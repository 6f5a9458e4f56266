"""hashdb: an index database for binary codes learned from your data.

>>> import numpy as np, tempfile, hashdb
>>> vectors = np.random.default_rng(0).standard_normal((1000, 32)).astype(np.float32)
>>> path = tempfile.mkdtemp() + "/toy.hashdb"
>>> with hashdb.build(path, vectors, method="itq", n_bits=16) as index:
...     found = index.query(vectors[:2], k=3)
>>> found.ids.shape
(2, 3)

Names are loaded when first used, so that ``import hashdb`` costs neither numba nor zarr.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashdb import codes, errors, margins
    from hashdb.api import build, open, repair, verify
    from hashdb.errors import HashDBError
    from hashdb.hookspecs import MethodInfo, Param, hookimpl
    from hashdb.index import Index
    from hashdb.model import Model, fit
    from hashdb.results import Neighbours, RadiusNeighbours

__version__ = "0.1.0"

__all__ = [
    "build",
    "open",
    "verify",
    "repair",
    "fit",
    "Index",
    "Model",
    "Neighbours",
    "RadiusNeighbours",
    "HashDBError",
    "errors",
    "codes",
    "margins",
    "hookimpl",
    "MethodInfo",
    "Param",
]

_HOMES = {
    "build": "hashdb.api",
    "open": "hashdb.api",
    "verify": "hashdb.api",
    "repair": "hashdb.api",
    "fit": "hashdb.model",
    "Index": "hashdb.index",
    "Model": "hashdb.model",
    "Neighbours": "hashdb.results",
    "RadiusNeighbours": "hashdb.results",
    "HashDBError": "hashdb.errors",
    "hookimpl": "hashdb.hookspecs",
    "MethodInfo": "hashdb.hookspecs",
    "Param": "hashdb.hookspecs",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "codes", "margins"):
        return import_module(f"hashdb.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'hashdb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
