"""Build: settle how the input is read, sample, fit, encode everything, commit version 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import registry
from hashdb.codes import check_n_bits
from hashdb.errors import ArgumentError
from hashdb.inputs import read_ids, read_labels
from hashdb.inputs.formats import nearest
from hashdb.model import Encoder, Model, fit, without_encoder
from hashdb.progress import Progress, silent
from hashdb.reading import Reader, modality_of, open_reader, open_sources, turn_items
from hashdb.search import TableMaker, check_budget
from hashdb.storage.folder import check_free
from hashdb.storage.store import Store
from hashdb.stored_vectors import METRICS, VECTOR_STORES, Keeping
from hashdb.writing import check_ids_fit, encode_into


@dataclass(frozen=True)
class BuildOptions:
    """What a user asks of a build; see :func:`hashdb.build` for the meaning of each.

    Attributes
    ----------
    method, quantiser : str or None
    n_bits : int or None
        None: 64, or the width of the codes where the input is codes.
    params : mapping
    encoder : str or None
    labels, ids : array, file or None
    train : int or None
        Training rows; None: the method's default.
    seed : int
    normalise, metric, input_type, database_codes : str
    store_vectors : str or None
    modality, store : str or None
    table_budget : float or None
        Bytes a code that bucket tables may take; None: the default.
    """

    method: str = "itq"
    n_bits: int | None = None
    quantiser: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    encoder: str | None = None
    labels: Any = None
    ids: Any = None
    train: int | None = None
    seed: int = 0
    normalise: str = "none"
    metric: str = "cosine"
    store_vectors: str | None = None
    input_type: str = "auto"
    modality: str | None = None
    store: str | None = None
    database_codes: str = "predicted"
    table_budget: float | None = None

    def check(self) -> None:
        """Raise ArgumentError for a value outside its choices."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)) or self.seed < 0:
            raise ArgumentError(f"seed is {self.seed!r}, expected a whole number of at least 0")
        if self.n_bits is not None:
            check_n_bits(self.n_bits)
        _one_of("normalise", self.normalise, ("none", "l2"))
        _one_of("metric", self.metric, METRICS)
        _one_of("database_codes", self.database_codes, ("predicted", "learned"))
        if self.table_budget is not None:
            check_budget(self.table_budget)
        if self.store_vectors is not None:
            _one_of("store_vectors", self.store_vectors, VECTOR_STORES)


@dataclass(frozen=True)
class Trained:
    """A model with what else was learnt from the training sample."""

    model: Model
    keeping: Keeping | None
    learned: NDArray[np.uint64] | None = None


def build(path: Path, vectors: Any, options: BuildOptions, model: Model | None, progress: Progress = silent) -> Store:
    """Fit unless a model is given, encode everything, commit version 1.

    Raises
    ------
    IndexExistsError
        There is an index at ``path``.
    ArgumentError
        A value, file or row that cannot be used; nothing is left behind.
    """
    encoder = model.encoder if isinstance(model, Model) else Encoder.asked(options.encoder, options.params)
    sources = open_sources(vectors, path.parent, items=bool(encoder or options.encoder))
    try:
        options.check()
        if model is not None:
            _check_model(model, options)
        check_free(path)
        if encoder is not None:
            turn_items(sources, encoder, path.parent, progress, must=options.encoder is not None)
        readers = _readers(sources, options, model)
        name = _stored_modality(readers, options, model)
        ids = None if options.ids is None else read_ids(options.ids)
        check_ids_fit(ids, readers[name])
        trained = _train(readers, name, options, model, encoder, progress)
        return _write(path, readers[name], ids, name or None, trained, options, progress)
    finally:
        for source in sources.values():
            source.close()


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ArgumentError(f"{name} is {value!r}, expected one of {', '.join(choices)}")


def _readers(sources: dict[str, Any], options: BuildOptions, model: Model | None) -> dict[str, Reader]:
    if model is not None:
        ((name, source),) = sources.items() if len(sources) == 1 else _one_source(sources)
        key = modality_of(name, options.modality)
        return {key or "": open_reader(source, model, key, options.input_type)}
    info = registry.get(options.method, kind="method").info
    wants_bits = info.input == "bits"
    readers = {
        name: Reader.open(source, options.input_type, wants_bits=wants_bits, n_bits=options.n_bits)
        for name, source in sources.items()
    }
    # Row i of one modality is paired with row i of the others: a sample draws the same rows of each.
    if len({reader.n_rows for reader in readers.values()}) > 1:
        counts = ", ".join(f"{name} {reader.n_rows}" for name, reader in readers.items())
        raise ArgumentError(f"the modalities have different numbers of rows ({counts}), expected paired rows")
    return readers


def _check_model(model: Any, options: BuildOptions) -> None:
    """Raise ArgumentError for options that only a fit could follow."""
    if not isinstance(model, Model):
        raise ArgumentError(
            f"model is a {type(model).__name__}, expected what hashdb.fit returns; method= takes a name"
        )
    fixed: dict[str, tuple[Any, Any]] = {
        "n_bits": (options.n_bits, model.n_bits),
        "quantiser": (options.quantiser, model.quantiser),
        "normalise": (None if options.normalise == "none" else options.normalise, model.normalise),
        "params": (options.params or None, None),
        "labels": (options.labels, None),
        "train": (options.train, None),
        "encoder": (options.encoder, model.encoder and model.encoder.name),
        "database_codes": (None if options.database_codes == "predicted" else options.database_codes, None),
    }
    for name, (asked, fitted) in fixed.items():
        if asked is not None and (fitted is None or asked != fitted):
            shown = "" if name == "labels" else f" ({asked!r})"
            raise ArgumentError(f"the model is fitted already, so {name}{shown} cannot be followed; leave it out")


def _one_source(sources: dict[str, Any]) -> Any:
    raise ArgumentError(
        f"{len(sources)} modalities with a model that is fitted already, expected the one to store; add others later"
    )


def _stored_modality(readers: dict[str, Reader], options: BuildOptions, model: Model | None) -> str:
    if model is not None and model.modalities:
        return next(iter(readers))
    if options.modality is not None:
        raise ArgumentError("modality= goes with a fitted model (model=); name the modality to keep with store=")
    name = options.store or next(iter(readers))
    if options.store and "" in readers:
        raise ArgumentError(f"store is {options.store!r}, but the input has no modalities; leave it out")
    if name not in readers:
        raise ArgumentError(
            f"store is {name!r}, expected one of the modalities given: {', '.join(readers)}{nearest(name, readers)}"
        )
    return name


def _train(
    readers: dict[str, Reader],
    name: str,
    options: BuildOptions,
    model: Model | None,
    encoder: Encoder | None,
    progress: Progress,
) -> Trained:
    reader = readers.get(name) or next(iter(readers.values()))
    keep = options.store_vectors
    if keep is not None and reader.n_bits is not None:
        raise ArgumentError("store_vectors keeps vectors for re-ranking, but the input is codes; leave it out")
    if model is not None:
        sample = reader.sample(_STORE_SAMPLE, options.seed)[0] if keep == "int8" and reader.n_rows else _NO_ROWS
        return Trained(model, None if keep is None else Keeping.learn(keep, {name: sample}))
    info = registry.get(options.method, kind="method").info
    if reader.n_rows == 0 and reader.n_bits is None:
        raise ArgumentError(
            f"{reader.source.name} has no rows, and {options.method} learns from them; give at least one"
        )
    n_train = train_rows(reader, options.train, info.default_train)
    learned = options.database_codes == "learned"
    if learned and n_train < reader.n_rows:
        raise ArgumentError(
            f"database_codes='learned' needs every row in training: {n_train} of {reader.n_rows} do; "
            f"give train={reader.n_rows} (--train {reader.n_rows})"
        )
    progress("reading the training rows", 0, n_train)
    rows, numbers = reader.sample(n_train, options.seed)
    training = {key: rows if each is reader else each.take(numbers) for key, each in readers.items()}
    labels = None if options.labels is None else _labels_of(options.labels, reader, numbers)
    fitted = fit(
        training.get("", training),
        method=options.method,
        n_bits=reader.n_bits or (64 if options.n_bits is None else options.n_bits),
        quantiser=options.quantiser,
        params=options.params if encoder is None else without_encoder(options.params),
        labels=labels,
        seed=options.seed,
        normalise=options.normalise,
        progress=lambda done, total: progress(f"fitting {options.method}", done, total),
    )
    if learned and fitted.training_codes is None:
        raise ArgumentError(
            f"method {options.method} learns no codes of its training rows; use database_codes='predicted'"
        )
    return Trained(
        fitted if encoder is None else fitted.with_encoder(encoder),
        None if keep is None else Keeping.learn(keep, training),
        fitted.training_codes if learned else None,
    )


_STORE_SAMPLE = 65_536  # rows that show the range of each dimension
_NO_ROWS = np.empty((0, 0), np.float32)


def _labels_of(labels: Any, reader: Reader, numbers: NDArray[np.int64]) -> NDArray[Any]:
    values = read_labels(labels)
    if len(values) != reader.n_rows:
        raise ArgumentError(
            f"{len(values)} labels for {reader.n_rows} rows of {reader.source.name}, expected one label a row"
        )
    return values[numbers]


def _write(
    path: Path,
    reader: Reader,
    ids: Any,
    modality: str | None,
    trained: Trained,
    options: BuildOptions,
    progress: Progress,
) -> Store:
    model, keeping = trained.model, trained.keeping
    settings = {
        "metric": options.metric,
        "input_type": reader.input_type,
        "store_vectors": options.store_vectors or "none",
        **({} if options.table_budget is None else {"table_budget": float(options.table_budget)}),
    }
    store = Store.create(
        path,
        id_kind="string" if isinstance(ids, list) else "int64",
        n_bits=model.n_bits,
        n_stored_bits=model.n_stored_bits,
        settings=settings,
        tables=TableMaker(options.table_budget),
    )
    try:
        document, arrays = model.to_document()
        uuid = store.write_model(document, {**arrays, **(keeping.arrays() if keeping else {})})
        segment = None
        if reader.n_rows:
            segment = encode_into(
                store,
                model,
                reader,
                ids,
                stored=keeping.of(modality) if keeping else None,
                modality=modality,
                learned=trained.learned,
                progress=progress,
            )
        store.commit_build(uuid, segment)
    except BaseException:
        store.close()
        raise
    return store


def train_rows(reader: Reader, n_train: int | None, default: int | None) -> int:
    """Decide how many rows train: what was asked, else the method's default, at most all."""
    if n_train is not None:
        if isinstance(n_train, bool) or not isinstance(n_train, (int, np.integer)) or n_train < 1:
            raise ArgumentError(f"train is {n_train!r}, expected a whole number of rows, at least 1")
        return min(int(n_train), reader.n_rows)
    return reader.n_rows if default is None else min(default, reader.n_rows)
