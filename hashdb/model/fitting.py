"""fit: from training rows to a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import params as declared
from hashdb import registry
from hashdb.codes import MAX_BITS, check_n_bits, pack
from hashdb.errors import ArgumentError
from hashdb.hookspecs import MethodInfo, State
from hashdb.memory import check_memory
from hashdb.model import checks, pairs
from hashdb.model.document import Document, Part
from hashdb.model.fitted import Model
from hashdb.plugin import Plugin, Progress

logger = logging.getLogger(__name__)

_CHECK_ROWS = 16
_BLOCK_VALUES = 1 << 24


def fit(
    vectors: Any,
    method: str = "itq",
    n_bits: int = 64,
    *,
    quantiser: str | None = None,
    params: Mapping[str, Any] | None = None,
    labels: Any = None,
    seed: int = 0,
    normalise: str = "none",
    progress: Progress | None = None,
) -> Model:
    """Learn a model from training rows.

    Parameters
    ----------
    vectors : array_like of numbers, shape (n, dim), or mapping of modality to such
        Finite, at least one row. A mapping of paired rows for cross-modal methods; bool (n, n_bits) for methods of
        bits.
    method : str
        Name of a method; ``hashdb methods`` lists them.
    n_bits : int
        Information bits of a code, 1 to 4096.
    quantiser : str, optional
        Name of a quantiser, for a method with projections; without one the threshold is 0.
    params : mapping, optional
        Params of the method and of the quantiser; where both declare a name, ``method.NAME`` and ``quantiser.NAME``.
    labels : array_like, optional
        Whole numbers (n,), -1 for unlabelled, or 0 and 1 (n, n_classes).
    seed : int
        At least 0. The same seed gives the same model.
    normalise : str
        ``none``, or ``l2``: rows are scaled to length 1 before anything else, in training and ever after.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    Model

    Raises
    ------
    ArgumentError
        A value, row, label or param that cannot be used.
    PluginError
        The plugin is missing or broken.

    Examples
    --------
    >>> vectors = np.random.default_rng(0).standard_normal((200, 16))
    >>> fit(vectors, "pcah", 8).encode(vectors).shape
    (200, 1)
    """
    check_memory()
    return _fit(_Task.plan(method, n_bits, quantiser, params, seed, normalise), vectors, labels, progress)


def check_fit(
    method: str, n_bits: int, *, quantiser: str | None = None, params: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Refuse what :func:`fit` would refuse before it looks at any row.

    Parameters
    ----------
    method, n_bits, quantiser, params
        As of :func:`fit`.

    Returns
    -------
    tuple of dict
        Complete params of the method, and of the quantiser (empty without one).

    Raises
    ------
    ArgumentError
        A value or param that cannot be used.
    PluginError
        The plugin is missing or broken.

    Examples
    --------
    >>> check_fit("lsh", 8)
    ({}, {})
    """
    task = _Task.plan(method, n_bits, quantiser, params, 0, "none")
    return task.params, task.quantiser_params


def _fit(task: _Task, vectors: Any, labels: Any, progress: Progress | None) -> Model:
    rows = checks.training_rows(vectors, task.method.info)
    n_train = len(next(iter(rows.values())))
    task.check_bits(rows)
    checked_labels = task.check_labels(labels, n_train)
    prepared = {name: _normalised(part, task.normalise) for name, part in rows.items()}
    state = task.method.fit(
        prepared if task.method.info.is_paired else prepared[""],
        task.n_projections,
        task.params,
        checked_labels if task.method.info.takes_labels else None,
        task.seed,
        progress,
    )
    learned = state.pop("training_codes", None)
    method_part = _part(task.method, task.params, state)
    quantiser_part, n_stored_bits = None, task.n_projections
    if task.quantiser is not None:
        learned = None
        quantiser_part, n_stored_bits = _fit_quantiser(task, task.quantiser, method_part, prepared[""], checked_labels)
    info = task.method.info
    document = Document(
        method=method_part,
        quantiser=quantiser_part,
        n_bits=task.n_bits,
        n_projections=task.n_projections,
        n_stored_bits=n_stored_bits,
        seed=task.seed,
        normalise=task.normalise,
        modalities=tuple(rows) if info.is_paired else None,
        dims={name: part.shape[1] for name, part in rows.items()},
        input=info.input,
        supervision=info.supervision,
        has_project=task.method.has("project"),
        n_train=n_train,
    )
    return _with_check_rows(document, rows, None if learned is None else pack(learned))


@dataclass(frozen=True)
class _Task:
    """What is to be fitted, checked before any row is looked at."""

    method: Plugin
    quantiser: Plugin | None
    n_bits: int
    n_projections: int
    params: dict[str, Any]
    quantiser_params: dict[str, Any]
    seed: int
    normalise: str

    @classmethod
    def plan(
        cls,
        method: str,
        n_bits: int,
        quantiser: str | None,
        params: Mapping[str, Any] | None,
        seed: int,
        normalise: str,
    ) -> _Task:
        n_bits = check_n_bits(n_bits)
        if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ArgumentError(f"seed is {seed!r}, expected a whole number, at least 0")
        if normalise not in checks.NORMALISATIONS:
            raise ArgumentError(f"normalise is {normalise!r}, expected one of: {', '.join(checks.NORMALISATIONS)}")
        plugin = registry.get(method, kind="method")
        if normalise != "none" and plugin.info.input == "bits":
            raise ArgumentError(f"normalise is {normalise!r}, expected 'none': method {method} takes bits")
        second = None if quantiser is None else registry.get(quantiser, kind="quantiser")
        own, quantisers = declared.split(plugin.info, second.info if second else None, params)
        n_projections = n_bits
        if second is not None:
            _check_composition(plugin, second)
            _check_limits(second.info, n_bits, "n_bits")
            n_projections = second.n_projections(n_bits, quantisers)
        what = "n_bits" if second is None else f"n_bits of {n_bits} with quantiser {quantiser}: number of projections"
        _check_limits(plugin.info, n_projections, what)
        return cls(plugin, second, n_bits, n_projections, own, quantisers, int(seed), normalise)

    def check_bits(self, rows: Mapping[str, NDArray[Any]]) -> None:
        width = rows[""].shape[1] if self.method.info.input == "bits" else self.n_bits
        if width != self.n_bits:
            raise ArgumentError(f"vectors have {width} bits, n_bits is {self.n_bits}; expected the same")

    def check_labels(self, labels: Any, n_rows: int) -> NDArray[Any] | None:
        info = self.method.info
        if labels is None:
            if info.needs_labels:
                raise ArgumentError(f"method {info.name} learns from labels, got none (labels=, --labels FILE)")
            return None
        checked = checks.as_labels(labels, n_rows)
        if not info.takes_labels and not self.wants_neighbours:
            logger.warning("method %s takes no labels; they are ignored", info.name)
        return checked

    @property
    def wants_neighbours(self) -> bool:
        return self.quantiser is not None and self.quantiser.takes("fit_quantiser", "neighbours")


def _check_composition(method: Plugin, quantiser: Plugin) -> None:
    if not method.has("project"):
        raise ArgumentError(
            f"quantiser {quantiser.name} needs projections, which method {method.name} does not have; "
            "leave the quantiser out or choose another method"
        )
    if method.info.is_paired:
        raise ArgumentError(
            f"quantiser {quantiser.name} works on one modality, but method {method.name} has several; "
            "leave the quantiser out"
        )


def _check_limits(info: MethodInfo, n_bits: int, what: str) -> None:
    high = MAX_BITS if info.max_bits is None else min(info.max_bits, MAX_BITS)
    if not info.min_bits <= n_bits <= high:
        raise ArgumentError(f"{what} is {n_bits}, expected {info.min_bits} to {high} for {info.name}")


def _fit_quantiser(
    task: _Task, quantiser: Plugin, part: Part, vectors: NDArray[np.float32], labels: NDArray[Any] | None
) -> tuple[Part, int]:
    """Fit the quantiser on projections of the training rows; say how wide its codes are."""
    neighbours = None
    if task.wants_neighbours:
        chosen = pairs.choose_rows(len(vectors), labels, task.seed)
        if labels is None:
            neighbours = pairs.within_epsilon(vectors, chosen, task.seed)
        else:
            neighbours = pairs.by_label(labels[chosen])
        vectors = np.ascontiguousarray(vectors[chosen])
    projections = np.empty((len(vectors), task.n_projections), np.float32)
    for start, stop in _blocks(*vectors.shape):
        projections[start:stop] = task.method.project(part.state, vectors[start:stop], task.n_projections)
    state = quantiser.fit_quantiser(projections, task.n_bits, task.quantiser_params, neighbours, task.seed)
    learned = _part(quantiser, task.quantiser_params, state)
    return learned, quantiser.quantise(learned.state, projections[:_CHECK_ROWS]).shape[1]


def _part(plugin: Plugin, params: dict[str, Any], state: State) -> Part:
    return Part(plugin.name, plugin.distribution, plugin.version, params, {k: _frozen(v) for k, v in state.items()})


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    # As it will come back from an index: little-endian, C-contiguous, read-only.
    kept = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C", copy=True)
    kept.setflags(write=False)
    return kept


def _normalised(rows: NDArray[Any], normalise: str) -> NDArray[Any]:
    return checks.l2_normalise(rows) if normalise == "l2" else rows


def _blocks(n_rows: int, dim: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_VALUES // dim)
    for start in range(0, n_rows, step):
        yield start, min(start + step, n_rows)


def _with_check_rows(
    document: Document, rows: Mapping[str, NDArray[Any]], training_codes: NDArray[np.uint64] | None
) -> Model:
    """Encode some training rows, evenly spread, and keep them with their codes."""
    if document.n_train == 0:
        return Model(document, checked=True)
    chosen = np.unique(np.linspace(0, document.n_train - 1, _CHECK_ROWS).astype(np.int64))
    kept = {name: _frozen(part[chosen]) for name, part in rows.items()}
    model = Model(document, checked=True)
    codes = {name: _frozen(model.encode(part, name or None)) for name, part in kept.items()}
    checked = replace(document, check_rows={name: (kept[name], codes[name]) for name in kept})
    return Model(checked, checked=True, training_codes=training_codes)
