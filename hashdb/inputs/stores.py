"""Arrays inside HDF5 files and Zarr stores, read by slices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.errors import InputFileError, brief
from hashdb.inputs.files import ByteFile
from hashdb.inputs.formats import choose, missing_file, one_line
from hashdb.inputs.hdf5_check import check_dataset
from hashdb.inputs.source import READ_ERRORS, Array, SliceSource, VectorSource, as_strings, check_dtype, is_images
from hashdb.inputs.zarr_check import arrays_in, check_array_metadata, check_chunks

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
    dataset, name, close = _h5_dataset(file, inner, _IMAGES_OR_VECTORS if items else _VECTORS)
    try:
        is_text = _is_h5_text(dataset)
        array, dtype = (dataset.asstr(), np.dtype("U1")) if is_text else (dataset, dataset.dtype)
        return _open_slices(array, dataset.shape, dtype, name, close, items)
    except BaseException:
        close()
        raise


def load_h5(file: ByteFile, inner: str | None) -> Array:
    """Read a whole dataset of an HDF5 file, for ids and labels."""
    dataset, name, close = _h5_dataset(file, inner, _VALUES)
    try:
        is_text = _is_h5_text(dataset)
        if not is_text:
            check_dtype(name, dataset.dtype)
        array = np.asarray(dataset.asstr()[...] if is_text else dataset[...])
    except InputFileError:
        raise
    except READ_ERRORS as error:
        raise InputFileError(f"{name} cannot be read: {one_line(error)}") from error
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
    check_dtype(name, np.dtype(array.dtype))
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


def _h5_dataset(file: ByteFile, inner: str | None, tiers: Tiers) -> tuple[Any, str, Callable[[], None]]:
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
            store.visititems(lambda name, item: found.update({_as_text(name): item}) if _has_shape(item) else None)
            everything = {name: _described(item) for name, item in found.items()}
        except READ_ERRORS as error:
            raise InputFileError(f"{file.name} is damaged: {one_line(error)}") from error
        candidates = _candidates(found, everything, tiers)
        key = choose(file.name, "dataset that fits", candidates, inner and inner.strip("/"), everything)
        check_dataset(file, found[key], f"{file.name}::{brief(key)}")
        return found[key], f"{file.name}::{brief(key)}", close
    except BaseException:
        close()
        raise


def _as_text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")


def _has_shape(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Dataset) and item.shape is not None


def _described(item: Any) -> str:
    try:
        return brief(f"{item.shape} {item.dtype}")
    except TypeError:  # a type that NumPy does not have
        return f"{item.shape} of another type"


def _zarr_array(path: Path, inner: str | None, tiers: Tiers) -> tuple[Any, str]:
    if not path.is_dir():
        raise (
            InputFileError(f"{path} is a file: expected a Zarr store, a folder")
            if path.exists()
            else missing_file(path)
        )
    try:
        found = dict(arrays_in(path))
    except (*READ_ERRORS, RecursionError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"{path} is no readable Zarr array or group: {one_line(error)}") from error
    if not found and not (path / "zarr.json").is_file() and not (path / ".zgroup").is_file():
        raise InputFileError(f"{path} is no readable Zarr array or group: it has neither zarr.json nor .zgroup")
    if "" in found:
        if inner is not None:
            raise InputFileError(f"{path} is one Zarr array and holds no {brief(inner)!r}: leave ::{brief(inner)} out")
        array = _open_checked(path, found[""])
        check_chunks(path, found[""])
        return array, str(path)
    arrays: dict[str, Any] = {}
    refused: dict[str, InputFileError] = {}
    for name, version in found.items():
        try:
            arrays[name] = _open_checked(path / name, version)
        except InputFileError as error:
            refused[name] = error
    wanted = inner and inner.strip("/")
    if wanted in refused or (refused and not arrays):
        raise refused.get(wanted or "", next(iter(refused.values())))
    everything = {name: brief(f"{item.shape} {item.dtype}") for name, item in arrays.items()}
    candidates = _candidates(arrays, everything, tiers)
    key = choose(str(path), "array that fits", candidates, wanted, everything)
    check_chunks(path / key, found[key])
    return arrays[key], f"{path}::{brief(key)}"


def _open_checked(folder: Path, version: int) -> Any:
    import zarr

    check_array_metadata(folder, version)
    try:
        with warnings.catch_warnings():  # of types that other readers may lack
            warnings.simplefilter("ignore")
            return zarr.open_array(str(folder), mode="r", zarr_format=version)  # type: ignore[arg-type]
    except (*READ_ERRORS, RecursionError) as error:
        raise InputFileError(f"{folder} is no readable Zarr array: {one_line(error)}") from error


def _candidates(found: Mapping[str, Any], everything: Mapping[str, str], tiers: Tiers) -> dict[str, str]:
    for dimensions in tiers:
        fitting = {name: everything[name] for name, item in found.items() if len(item.shape) in dimensions}
        if fitting:
            return fitting
    return {}
