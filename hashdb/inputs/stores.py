"""Arrays inside HDF5 files and Zarr stores, read by slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import choose, missing_file, one_line
from hashdb.inputs.source import READ_ERRORS, Array, SliceSource, VectorSource, as_strings


def open_h5(file: ByteFile, inner: str | None) -> VectorSource:
    """Open a dataset of an HDF5 file.

    Raises
    ------
    InputFileError
        h5py is not installed, the file is damaged, or the dataset is not there or not the only one.
    """
    dataset, close = _h5_dataset(file, inner, 2)
    name = f"{file.name}::{dataset.name.lstrip('/')}"
    is_text = _is_h5_text(dataset)
    try:
        return SliceSource(
            dataset.asstr() if is_text else dataset,
            dataset.shape,
            np.dtype("U1") if is_text else dataset.dtype,
            name,
            close,
        )
    except BaseException:
        close()
        raise


def load_h5(file: ByteFile, inner: str | None) -> Array:
    """Read a whole dataset of an HDF5 file, for ids and labels."""
    dataset, close = _h5_dataset(file, inner, 1)
    try:
        array = np.asarray(dataset.asstr()[...] if _is_h5_text(dataset) else dataset[...])
    except READ_ERRORS as error:
        raise InputFileError(f"{file.name}::{dataset.name} cannot be read: {one_line(error)}") from error
    finally:
        close()
    return array


def open_zarr(path: Path, inner: str | None) -> VectorSource:
    """Open an array of a Zarr store, a folder; see `open_h5` for what is raised."""
    array, name = _zarr_array(path, inner, 2)
    return SliceSource(array, array.shape, np.dtype(array.dtype), name)


def load_zarr(path: Path, inner: str | None) -> Array:
    """Read a whole array of a Zarr store, for ids and labels."""
    array, name = _zarr_array(path, inner, 1)
    try:
        values = np.asarray(array[...])
    except READ_ERRORS as error:
        raise InputFileError(f"{name} cannot be read: {one_line(error)}") from error
    return as_strings(name, values) if values.dtype.kind in "SUT" else values


def _is_h5_text(dataset: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(dataset.dtype) is not None


def _h5_dataset(file: ByteFile, inner: str | None, n_dimensions: int) -> tuple[Any, Any]:
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
        candidates = {name: everything[name] for name, item in found.items() if len(item.shape) == n_dimensions}
        return found[choose(file.name, "dataset that fits", candidates, inner and inner.strip("/"), everything)], close
    except BaseException:
        close()
        raise


def _zarr_array(path: Path, inner: str | None, n_dimensions: int) -> tuple[Any, str]:
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
    candidates = {name: everything[name] for name, item in found.items() if len(item.shape) == n_dimensions}
    key = choose(str(path), "array that fits", candidates, inner and inner.strip("/"), everything)
    return found[key], f"{path}::{key}"
