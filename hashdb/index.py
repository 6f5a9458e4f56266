"""The index: what ``hashdb build``, ``add``, ``query`` and ``delete`` are, as one object."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from hashdb import querying, reading, writing
from hashdb.codes import Codes, check_codes
from hashdb.errors import ArgumentError, HashDBError
from hashdb.inputs import normalise_ids, read_ids
from hashdb.model import Model
from hashdb.progress import Progress, silent
from hashdb.results import Neighbours, RadiusNeighbours
from hashdb.storage.snapshot import Snapshot
from hashdb.storage.store import Store
from hashdb.stored_vectors import Keeping


class Index:
    """An open index: a snapshot that moves by its own commits or :meth:`refresh` only.

    Made by :func:`hashdb.build` and :func:`hashdb.open`; a context manager; safe to share between threads.

    Attributes
    ----------
    path : Path
    version : int
        Number of the commit that is seen.
    model : Model
        What turns vectors into codes.
    """

    def __init__(self, store: Store, model: Model | None = None) -> None:
        self._store = store
        document, arrays = store.read_model()
        self.model: Model = model if model is not None else Model.from_document(document, arrays)
        self._settings: dict[str, Any] = dict(store.attributes.settings)
        kind = self.store_vectors
        self._keeping = None if kind == "none" else Keeping.read(kind, arrays, self.path / "zarr.json")
        self._closed = False

    @property
    def path(self) -> Path:
        """Folder of the index."""
        return Path(self._store.path)

    @property
    def version(self) -> int:
        """Number of the commit that is seen."""
        return self._snapshot().version

    @property
    def id_kind(self) -> str:
        """Kind of ids: ``int64`` or ``string``."""
        return self._store.attributes.id_kind

    @property
    def input_type(self) -> str:
        """How rows are read unless told otherwise; recorded at the build."""
        return str(self._settings.get("input_type", "auto"))

    @property
    def store_vectors(self) -> str:
        """How vectors are kept for re-ranking: ``none``, ``float32``, ``float16`` or ``int8``."""
        return str(self._settings.get("store_vectors", "none"))

    def __len__(self) -> int:
        return self._snapshot().n_rows

    def __contains__(self, one: object) -> bool:
        try:
            ids = normalise_ids([one])
            return bool((self._snapshot().rows_of(ids)[1] >= 0).all())
        except ArgumentError:
            return False

    def __repr__(self) -> str:
        if self._closed:
            return f"<Index {self.path.name}: closed>"
        method = self.model.method + (f" + {self.model.quantiser}" if self.model.quantiser else "")
        codes = f"{len(self):,} code{'s' * (len(self) != 1)} of {self.model.n_bits} bits by {method}"
        return f"<Index {self.path.name}: {codes}, version {self.version}>"

    def info(self) -> dict[str, Any]:
        """Describe the index: rows, model, settings, segments, bytes.

        Returns
        -------
        dict
            JSON-able.
        """
        from hashdb.describing import describe

        return describe(self._store, self._snapshot(), self.model, self._settings)

    def versions(self) -> list[Any]:
        """List the versions that can still be opened, oldest first."""
        self._check_open()
        return self._store.versions()

    def get(self, ids: Any) -> Codes:
        """Return the codes of ids.

        Parameters
        ----------
        ids : int, str, or sequence of either

        Returns
        -------
        ndarray of uint64, shape (n, n_words)

        Raises
        ------
        UnknownIdError
            An id is not in the index.
        """
        return self._codes_of(self._snapshot(), ids)

    def _codes_of(self, snapshot: Snapshot, ids: Any) -> Codes:
        wanted = read_ids(ids, kind=self.id_kind) if isinstance(ids, os.PathLike) else normalise_ids(ids)
        return querying.codes_of(snapshot, wanted, self.model.n_stored_bits)

    def codes(self, batch_rows: int = 65_536) -> Iterator[tuple[NDArray[Any], Codes]]:
        """Yield batches of (ids, codes), ids ascending."""
        for batch in self._snapshot().iter_id_order(max(1, querying.check_k(batch_rows))):
            self._check_open()
            yield batch

    def encode(self, vectors: Any, *, modality: str | None = None, input_type: str | None = None) -> Codes:
        """Encode vectors as the index would.

        Parameters
        ----------
        vectors : ndarray, shape (n, dim), or file

        Returns
        -------
        ndarray of uint64, shape (n, n_words)
        """
        self._check_open()
        return reading.encode_all(self.model, vectors, modality, input_type or self.input_type)

    def query(
        self,
        vectors: Any,
        k: int = 10,
        *,
        rescore: int | None = None,
        metric: str | None = None,
        modality: str | None = None,
        input_type: str | None = None,
        n_threads: int | None = None,
    ) -> Neighbours:
        """Find the k nearest rows of each query, exactly in Hamming distance, ordered by (distance, id).

        Parameters
        ----------
        vectors : ndarray, shape (n_queries, dim), or file
            One vector of shape (dim,) is a batch of one.
        k : int
            Neighbours wanted; at most as many as there are rows are returned.
        rescore : int, optional
            Re-rank the first ``rescore * k`` by stored vectors, or by the query's margins where none are stored.
        metric : {"cosine", "l2", "ip"}, optional
            For re-ranking by stored vectors; default as recorded at the build.
        modality : str, optional
            Which modality the queries are of.
        input_type : str, optional
            As in :func:`hashdb.build`; default as recorded.
        n_threads : int, optional
            Default ``HASHDB_NUM_THREADS``, else the CPUs this process may use.

        Returns
        -------
        Neighbours
        """
        k = querying.check_k(k)
        if metric is not None and rescore is None:
            raise ArgumentError(f"metric {metric!r} orders what rescore re-ranks; give rescore too, or leave it out")
        snapshot = self._snapshot()
        if rescore is None:
            codes = self.encode(vectors, modality=modality, input_type=input_type)
            return querying.nearest(snapshot, codes, k, self.model.n_stored_bits, n_threads)
        rows = reading.read_all(self.model, vectors, modality, input_type or self.input_type)
        return querying.rescored(
            snapshot,
            self.model,
            None if self._keeping is None else self._keeping.of(modality),
            rows,
            k,
            rescore=rescore,
            metric=metric or self._settings.get("metric", "cosine"),
            metric_asked=metric is not None,
            modality=modality,
            n_threads=n_threads,
        )

    def query_radius(
        self,
        vectors: Any,
        radius: int,
        *,
        modality: str | None = None,
        input_type: str | None = None,
        n_threads: int | None = None,
    ) -> RadiusNeighbours:
        """Find every row within ``radius`` bits of each query; the radius is inclusive.

        Parameters
        ----------
        vectors : ndarray, shape (n_queries, dim), or file
        radius : int
            In bits; 0 finds equal codes.
        modality, input_type, n_threads
            As in :meth:`query`.

        Returns
        -------
        RadiusNeighbours
        """
        radius = querying.check_radius(radius)
        codes = self.encode(vectors, modality=modality, input_type=input_type)
        return querying.within(self._snapshot(), codes, radius, self.model.n_stored_bits, n_threads)

    def query_ids(
        self, ids: Any, *, k: int | None = None, radius: int | None = None, n_threads: int | None = None
    ) -> Neighbours | RadiusNeighbours:
        """Find the neighbours of rows that are in the index, by their ids; each finds itself too.

        Raises
        ------
        UnknownIdError
            An id is not in the index.
        """
        snapshot = self._snapshot()
        return self._query(snapshot, self._codes_of(snapshot, ids), k, radius, n_threads)

    def query_codes(
        self, codes: Any, *, k: int | None = None, radius: int | None = None, n_threads: int | None = None
    ) -> Neighbours | RadiusNeighbours:
        """Find the neighbours of codes.

        Parameters
        ----------
        codes : ndarray of uint64, shape (n_queries, n_words)
        k, radius : int
            One of them.

        Returns
        -------
        Neighbours for ``k``, RadiusNeighbours for ``radius``
        """
        return self._query(self._snapshot(), check_codes(codes, self.model.n_stored_bits), k, radius, n_threads)

    def _query(
        self, snapshot: Snapshot, queries: Codes, k: int | None, radius: int | None, n_threads: int | None
    ) -> Neighbours | RadiusNeighbours:
        if (k is None) == (radius is None):
            raise ArgumentError("give either k or radius")
        n_bits = self.model.n_stored_bits
        if radius is not None:
            return querying.within(snapshot, queries, querying.check_radius(radius), n_bits, n_threads)
        return querying.nearest(snapshot, queries, querying.check_k(k), n_bits, n_threads)

    def add(
        self,
        vectors: Any,
        ids: Any = None,
        *,
        upsert: bool = False,
        modality: str | None = None,
        input_type: str | None = None,
        auto_compact: bool = True,
        progress: Progress = silent,
    ) -> NDArray[Any]:
        """Add rows in one commit.

        Parameters
        ----------
        vectors : ndarray, shape (n, dim), or file
        ids : optional
            One id a row; by default an index of int64 ids goes on from its next id.
        upsert : bool
            Replace rows whose ids are in the index, instead of refusing them.
        modality, input_type
            As in :meth:`query`.
        auto_compact : bool
            Merge small segments by size class.

        Returns
        -------
        ndarray
            Ids of the rows, in their order.

        Raises
        ------
        DuplicateIdError
            An id appears twice, or is in the index and ``upsert`` is False.
        """
        self._check_open()
        return writing.add(
            self._store,
            self.model,
            self._keeping,
            reading.as_rows(self.model, vectors),
            ids,
            upsert=upsert,
            modality=modality,
            input_type=input_type or self.input_type,
            auto_compact=auto_compact,
            progress=progress,
        )

    def delete(self, ids: Any, *, ignore_missing: bool = False) -> int:
        """Delete rows by id in one commit.

        Parameters
        ----------
        ids : int, str, sequence of either, or a path object to a file of ids
        ignore_missing : bool
            Pass over ids that are not in the index.

        Returns
        -------
        int
            Rows deleted.

        Raises
        ------
        UnknownIdError
            An id is not in the index; nothing is deleted.
        """
        self._check_open()
        return writing.delete(self._store, ids, ignore_missing=ignore_missing)

    def compact(
        self, *, prune: bool = False, keep: int = 1, table_budget: float | None = None, progress: Progress = silent
    ) -> Any:
        """Merge segments, fold deletes, make bucket tables that are missing or damaged, sweep leftovers.

        Parameters
        ----------
        prune : bool
            Drop all but the newest ``keep`` versions.
        keep : int
        table_budget : float, optional
            Make tables anew where others than there are fit so many bytes a code, and drop them where none do. By
            default what was given to the build holds for new tables, and those that are there stay.

        Returns a CompactReport.
        """
        self._check_open()
        shown = _staged("compacting", progress)
        return writing.compact(self._store, prune=prune, keep=keep, table_budget=table_budget, progress=shown)

    def verify(self, *, deep: bool = False, progress: Progress = silent) -> Any:
        """Check the index; ``deep`` reads every byte and compares with an independent Zarr reader."""
        self._check_open()
        return self._store.verify(deep=deep, progress=_staged("verifying", progress))

    def refresh(self) -> bool:
        """Move to the newest version; return whether it changed."""
        self._check_open()
        return self._store.refresh()

    def close(self) -> None:
        """Let go of the mapped files."""
        self._closed = True
        self._store.close()

    def __enter__(self) -> Index:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise ArgumentError(f"an open index is not pickled or copied: open {self.path} anew where it is needed")

    def _check_open(self) -> None:
        if self._closed:
            raise HashDBError(f"the index {self.path.name} is closed; open it again with hashdb.open")

    def _snapshot(self) -> Snapshot:
        self._check_open()
        return self._store.snapshot


def _staged(what: str, progress: Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)
