"""Arrays inside HDF5 files and Zarr stores, read by slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import choose, missing_file, one_line
from hashdb.inputs.source import READ_ERRORS, Array, SliceSource, VectorSource, as_strings, is_images

Tiers = tuple[tuple[int, ...], ...]

# Numbers of dimensions of what is taken when nothing is named; the first tier that any array fits counts.
_VECTORS: Tiers = ((2,),)
_VALUES: Tiers = ((1,),)
_IMAGES_OR_VECTORS: Tiers = ((3, 4), (2,), (1,))


def open_h5(file: ByteFile, inner: str | None, *, items: bool = False) -> VectorSource:
    """Open a dataset of an HDF5 file; with `items` it may hold images.

    Raises
    ------
    InputFileError
        h5py is not installed, the file is damaged, or the dataset is not there or not the only one.
    """
    dataset, close = _h5_dataset(file, inner, _IMAGES_OR_VECTORS if items else _VECTORS)
    name = f"{file.name}::{dataset.name.lstrip('/')}"
    is_text = _is_h5_text(dataset)
    try:
        array, dtype = (dataset.asstr(), np.dtype("U1")) if is_text else (dataset, dataset.dtype)
        return _open_slices(array, dataset.shape, dtype, name, close, items)
    except BaseException:
        close()
        raise


def load_h5(file: ByteFile, inner: str | None) -> Array:
    """Read a whole dataset of an HDF5 file, for ids and labels."""
    dataset, close = _h5_dataset(file, inner, _VALUES)
    try:
        array = np.asarray(dataset.asstr()[...] if _is_h5_text(dataset) else dataset[...])
    except READ_ERRORS as error:
        raise InputFileError(f"{file.name}::{dataset.name} cannot be read: {one_line(error)}") from error
    finally:
        close()
    return array


def open_zarr(path: Path, inner: str | None, *, items: bool = False) -> VectorSource:
    """Open an array of a Zarr store, a folder; see `open_h5` for what is raised."""
    array, name = _zarr_array(path, inner, _IMAGES_OR_VECTORS if items else _VECTORS)
    return _open_slices(array, array.shape, np.dtype(array.dtype), name, None, items)


def load_zarr(path: Path, inner: str | None) -> Array:
    """Read a whole array of a Zarr store, for ids and labels."""
    array, name = _zarr_array(path, inner, _VALUES)
    try:
        values = np.asarray(array[...])
    except READ_ERRORS as error:
        raise InputFileError(f"{name} cannot be read: {one_line(error)}") from error
    return as_strings(name, values) if values.dtype.kind in "SUT" else values


def _open_slices(
    array: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    name: str,
    close: Callable[[], None] | None,
    items: bool,
) -> VectorSource:
    if not (items and is_images(shape, dtype)):
        return SliceSource(array, shape, dtype, name, close)
    source = SliceSource(array, (shape[0], math.prod(shape[1:])), dtype, name, close)
    source.item_shape = tuple(shape[1:])
    return source


def _is_h5_text(dataset: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(dataset.dtype) is not None


def _h5_dataset(file: ByteFile, inner: str | None, tiers: Tiers) -> tuple[Any, Any]:
    try:
        import h5py
    except ImportError as error:
        raise InputFileError(f"{file.name} is HDF5, which needs h5py: pip install hashdb[formats]") from error
    try:
        store = h5py.File(file.handle, "r")
    except READ_ERRORS as error:
        file.close()
        raise InputFileError(f"{file.name} is not a readable HDF5 file: {one_line(error)}") from error

    def close() -> None:
        store.close()
        file.close()

    try:
        found: dict[str, Any] = {}
        try:
            store.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        except READ_ERRORS as error:
            raise InputFileError(f"{file.name} is damaged: {one_line(error)}") from error
        everything = {name: f"{item.shape} {item.dtype}" for name, item in found.items()}
        candidates = _candidates(found, everything, tiers)
        return found[choose(file.name, "dataset that fits", candidates, inner and inner.strip("/"), everything)], close
    except BaseException:
        close()
        raise


def _zarr_array(path: Path, inner: str | None, tiers: Tiers) -> tuple[Any, str]:
    import zarr

    if not path.is_dir():
        raise (
            InputFileError(f"{path} is a file: expected a Zarr store, a folder")
            if path.exists()
            else missing_file(path)
        )
    try:
        root = zarr.open(str(path), mode="r")
    except READ_ERRORS as error:
        raise InputFileError(f"{path} is no readable Zarr array or group: {one_line(error)}") from error
    if isinstance(root, zarr.Array):
        if inner is not None:
            raise InputFileError(f"{path} is one Zarr array and holds no {inner!r}: leave ::{inner} out")
        return root, str(path)
    found = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
    everything = {name: f"{item.shape} {item.dtype}" for name, item in found.items()}
    candidates = _candidates(found, everything, tiers)
    key = choose(str(path), "array that fits", candidates, inner and inner.strip("/"), everything)
    return found[key], f"{path}::{key}"


def _candidates(found: Mapping[str, Any], everything: Mapping[str, str], tiers: Tiers) -> dict[str, str]:
    for dimensions in tiers:
        fitting = {name: everything[name] for name, item in found.items() if len(item.shape) in dimensions}
        if fitting:
            return fitting
    return {}
