"""partial_fit: from a model and more rows to a new model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hashdb import registry
from hashdb.errors import ArgumentError
from hashdb.model import checks
from hashdb.model.fitted import Model
from hashdb.model.fitting import _frozen, _with_check_rows


def partial_fit(model: Model, vectors: Any, *, labels: Any = None, seed: int | None = None) -> Model:
    """Go on learning from more rows, where the method's mathematics is incremental.

    The model given stays as it is, and so do the codes of an index made with it: codes of the two models do not belong
    in one index. What is exact and what is approximate, the method says.

    Parameters
    ----------
    model : Model
        Of one modality and without a quantiser.
    vectors : array_like of numbers, shape (n, dim)
        Rows that it has not learned from, at least one; finite.
    labels : array_like, optional
        As for :func:`hashdb.fit`.
    seed : int, optional
        Default: that of the model.

    Returns
    -------
    Model

    Raises
    ------
    ArgumentError
        The method cannot go on, the model has a quantiser, labels are missing, or rows that cannot be used.
    PluginError
        The plugin is missing or broken.

    Examples
    --------
    >>> import numpy as np, hashdb
    >>> rows = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    >>> model = partial_fit(hashdb.fit(rows[:50], "pcah", 8), rows[50:])
    >>> model.n_train, np.array_equal(model.encode(rows), hashdb.fit(rows, "pcah", 8).encode(rows))
    (200, True)
    """
    document = model._document
    plugin = registry.get(model.method, kind="method")
    if not plugin.has("partial_fit"):
        raise ArgumentError(f"method {model.method} has no partial_fit; fit anew on all rows")
    if document.quantiser is not None:
        raise ArgumentError(
            f"the thresholds of quantiser {model.quantiser} rest on the rows of the first fit, which a model does not "
            "keep; fit anew on all rows"
        )
    rows = checks.training_rows(vectors, plugin.info)
    if rows[""].shape[1] != model.dims[""]:
        raise ArgumentError(f"vectors have dim {rows[''].shape[1]}, expected dim {model.dims['']} as in training")
    if labels is None and plugin.info.needs_labels:
        raise ArgumentError(f"method {model.method} learns from labels, got none (labels=)")
    used = None if labels is None or not plugin.info.takes_labels else checks.as_labels(labels, len(rows[""]))
    prepared = checks.l2_normalise(rows[""]) if model.normalise == "l2" else rows[""]
    state = plugin.partial_fit(model.state, prepared, model.params, used, model.seed if seed is None else seed)
    state.pop("training_codes", None)
    part = replace(
        document.method,
        distribution=plugin.distribution,
        version=plugin.version,
        state={name: _frozen(array) for name, array in state.items()},
    )
    n_new = len(rows[""])
    found = _with_check_rows(replace(document, method=part, n_train=n_new), rows, None)
    return Model(replace(found._document, n_train=model.n_train + n_new), checked=True)
