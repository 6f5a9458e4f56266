"""What an index and the installed plugins are, as plain dicts for people and machines."""

from __future__ import annotations

from typing import Any

from hashdb import registry
from hashdb.hookspecs import MethodInfo, Param
from hashdb.model import Model
from hashdb.storage.snapshot import Segment, Snapshot
from hashdb.storage.store import Store


def describe(store: Store, snapshot: Snapshot, model: Model, settings: dict[str, Any]) -> dict[str, Any]:
    """Describe an index: rows, model, settings, segments, bytes.

    Returns
    -------
    dict
        JSON-able.
    """
    segments = [_describe_segment(segment) for segment in snapshot.segments]
    n_in_all = sum(segment.n for segment in snapshot.segments)
    sizes = _sizes(snapshot)
    return {
        "path": str(store.path),
        "uuid": store.attributes.uuid,
        "version": snapshot.version,
        "rows": snapshot.n_rows,
        "deleted_rows": n_in_all - snapshot.n_rows,
        "method": model.method,
        "quantiser": model.quantiser,
        "plugin": _plugins(model),
        "encoder": None if model.encoder is None else model.encoder.name,
        "params": {**model.params, **(model.quantiser_params or {})},
        "n_bits": model.n_bits,
        "n_stored_bits": model.n_stored_bits,
        "dim": model.dims.get("") if not model.modalities else dict(model.dims),
        "modalities": list(model.modalities or ()),
        "normalise": model.normalise,
        "metric": settings.get("metric"),
        "input_type": settings.get("input_type"),
        "store_vectors": settings.get("store_vectors"),
        "ids": snapshot.id_kind,
        "bytes": sizes,
        "bytes_per_row": round(sum(sizes.values()) / snapshot.n_rows, 2) if snapshot.n_rows else None,
        "n_segments": len(segments),
        "segments": segments,
    }


def describe_plugins() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Describe every installed plugin.

    Returns
    -------
    described : list of dict
    broken : dict
        Name to the reason why it cannot be used.
    """
    described: list[dict[str, Any]] = []
    broken: dict[str, str] = {}
    for name, found in sorted(registry.describe_all().items()):
        if isinstance(found, Exception):
            broken[name] = str(found)
        else:
            described.append(_describe(found))
    described.sort(key=lambda entry: (GROUPS.index(entry["group"]), entry["name"]))
    return described, broken


def describe_plugin(name: str) -> dict[str, Any]:
    """Describe one plugin with its params.

    Raises
    ------
    UnknownMethodError
        No plugin has that name.
    """
    return _describe(registry.get(name))


GROUPS = ("unsupervised", "supervised", "cross-modal", "quantisers", "encoders")


def _describe(plugin: Any) -> dict[str, Any]:
    info: MethodInfo = plugin.info
    return {
        "name": info.name,
        "title": info.title,
        "kind": info.kind,
        "group": _group(info),
        "paper": f"{info.paper} ({info.year})" if info.year else info.paper,
        "supervision": info.supervision,
        "input": info.input,
        "when": info.when,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "n_bits": f"{info.min_bits} to {info.max_bits if info.max_bits is not None else 'dim'}",
        "default_train": info.default_train,
        "params": [_describe_param(param) for param in info.params],
    }


def _group(info: MethodInfo) -> str:
    if info.kind != "method":
        return f"{info.kind}s"
    if info.is_paired:
        return "cross-modal"
    return "supervised" if info.takes_labels else "unsupervised"


def _describe_param(param: Param) -> dict[str, Any]:
    if param.choices:
        allowed = ", ".join(map(str, param.choices))
    else:
        low = "" if param.minimum is None else f"{param.minimum} ≤ "
        high = "" if param.maximum is None else f" ≤ {param.maximum}"
        allowed = f"{low}{param.name}{high}" if low or high else ""
    return {
        "param": param.name,
        "type": param.type.__name__,
        "default": param.default,
        "range": allowed,
        "grid": list(param.grid),
        "help": param.help,
    }


def _describe_segment(segment: Segment) -> dict[str, Any]:
    return {
        "uuid": segment.uuid,
        "rows": segment.n,
        "deleted_rows": segment.n - segment.n_alive,
        "modality": segment.modality,
        "database_codes": segment.database_codes,
        "tables": _describe_tables(segment),
    }


def _describe_tables(segment: Segment) -> dict[str, Any] | None:
    """Describe the bucket tables of a segment, None where it has none."""
    found = segment.tables
    if found is None:
        return None if segment.tables_problem is None else {"problem": segment.tables_problem}
    first = found.tables[0].description
    return {
        "layout": first.get("layout"),
        "n_substrings": len(found.tables),
        "bytes_per_code": round(found.n_bytes / segment.n, 2),
    }


def _plugins(model: Model) -> str:
    """Name the distributions that the model was made with."""
    document, _ = model.to_document()
    parts = [document[kind] for kind in ("encoder", "method", "quantiser") if document.get(kind)]
    return ", ".join(dict.fromkeys(f"{part['distribution']} {part['version']}" for part in parts))


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    """Bytes on disk of the arrays that the snapshot uses, by what they hold."""
    sizes: dict[str, int] = {}
    for segment in snapshot.segments:
        for name, n_bytes in segment.sizes().items():
            kind = "ids" if name.startswith("id") else name
            sizes[kind] = sizes.get(kind, 0) + n_bytes
    return {kind: n_bytes for kind, n_bytes in sizes.items() if n_bytes}
