"""What a method promises, one check a promise. The same checks hold a quantiser on top of a method."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import MAX_BITS, n_words_of
from hashdb.errors import ArgumentError
from hashdb.hookspecs import Param
from hashdb.model import Model
from hashdb.storage.store import Store
from hashdb.testing.expect import expect, expect_equal, expect_refused, works_or_refuses
from hashdb.testing.planted import N_CLUSTERS, Data, at_thresholds, degenerate
from hashdb.testing.subject import Subject, bits_of, modalities_of

_N_SINGLE = 60
_LIFT = 0.15  # precision above chance that clusters far apart must give


def check_shapes(subject: Subject) -> None:
    """Check that codes have the width asked for, for every width and for no rows."""
    for n_bits in subject.n_bits:
        model, data = subject.fitted(n_bits)
        expect(model.n_bits == n_bits, f"a model of {n_bits} bits says {model.n_bits}")
        if model.quantiser is None:
            expect(
                model.n_stored_bits == n_bits, f"{n_bits} bits without a quantiser are stored as {model.n_stored_bits}"
            )
        for modality in modalities_of(model):
            rows = data.rows[modality or ""]
            for part in (rows, rows[:1], rows[:0]):
                codes = model.encode(part, modality)
                shape = (len(part), n_words_of(model.n_stored_bits))
                expect(codes.shape == shape, f"codes have shape {codes.shape}, expected {shape}")
                if model.has_project:
                    margins = model.project(part, modality)
                    expect(margins.shape == (len(part), model.n_stored_bits), f"margins have shape {margins.shape}")
        if model.training_codes is not None:
            shape = (len(data.clusters), n_words_of(n_bits))
            expect(model.training_codes.shape == shape, f"training codes are {model.training_codes.shape}, not {shape}")


def check_reproducible(subject: Subject) -> None:
    """Check that the same seed gives the same state, bit for bit; any seed from 0 on is taken."""
    model, data = subject.fitted()
    again = subject.fit(data.copy(), subject.n_bits[0])
    for left, right in ((model.state, again.state), (model.quantiser_state, again.quantiser_state)):
        expect(sorted(left) == sorted(right), f"two fits with one seed learned {sorted(left)} and {sorted(right)}")
        for name, array in left.items():
            expect_equal(array, right[name], f"two fits with one seed differ in state {name!r}")
    subject.fit(data, subject.n_bits[0], seed=2**31 + 5)


def check_input_unchanged(subject: Subject) -> None:
    """Check that neither fit nor encode writes into what it is given."""
    data = subject.data(subject.n_bits[0], seed=subject.seed + 1)
    before = data.copy()
    model = subject.fit(data, subject.n_bits[0])
    for modality in modalities_of(model):
        model.encode(data.rows[modality or ""], modality)
        if model.has_project:
            model.project(data.rows[modality or ""], modality)
    for name, rows in data.rows.items():
        expect_equal(rows, before.rows[name], "the rows given to fit, encode or project were changed")
    expect_equal(data.clusters, before.clusters, "the labels given to fit were changed")


def check_encode_is_sign_of_project(subject: Subject) -> None:
    """Check that a bit is set exactly where its margin is above 0, also on thresholds."""
    for model, data in subject.fitted_narrow_and_wide():
        if model.has_project:
            for modality in modalities_of(model):
                rows = _hard_rows(model, data, modality)
                bits, margins = bits_of(model, rows, modality), model.project(rows, modality)
                expect_equal(bits, margins > 0, f"{_of(model)}: encode is not project > 0")


def check_row_independence(subject: Subject) -> None:
    """Check that a row's code and margins are its own, whatever else is in the batch; rows on thresholds included."""
    for model, data in subject.fitted_narrow_and_wide():
        for modality in modalities_of(model):
            rows = _hard_rows(model, data, modality)
            for what, function in _outputs(model):
                _expect_own(partial(function, modality=modality), rows, f"{what}, {_of(model)}", subject.seed)


def check_threads(subject: Subject) -> None:
    """Check that threads of ours and of the linear algebra library change nothing."""
    for model, data in subject.fitted_narrow_and_wide():
        for modality in modalities_of(model):
            rows = np.tile(_hard_rows(model, data, modality), (4, 1))
            for what, function in _outputs(model):
                whole = function(rows, modality)
                with ThreadPoolExecutor(4) as pool:
                    futures = [pool.submit(function, rows, modality) for _ in range(4)]
                for future in futures:
                    expect_equal(future.result(), whole, f"{what}, {_of(model)}, in 4 threads at once")
                # Not one of the core's dependencies; scikit-learn usually brings it.
                if find_spec("threadpoolctl"):
                    limits = import_module("threadpoolctl").threadpool_limits
                    for n_threads in (1, 2, 4):
                        with limits(n_threads):
                            again = function(rows, modality)
                        expect_equal(again, whole, f"{what}, {_of(model)}, with {n_threads} BLAS threads")


def check_degenerate(subject: Subject) -> None:
    """Check that degenerate data give codes or an ArgumentError; never NaN, never a failure of the plugin."""
    for n_bits in subject.n_bits:
        for what, data in degenerate(subject.plugin.info, n_bits, subject.seed).items():
            with warnings.catch_warnings():
                # A documented fallback may warn; a division by zero that nobody looked at may not.
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", RuntimeWarning)
                model = works_or_refuses(what, subject.fit, data, n_bits)
                for modality in modalities_of(model) if model else ():
                    for _, function in _outputs(model):
                        function(data.rows[modality or ""], modality)


def check_bad_rows_refused(subject: Subject) -> None:
    """Check that NaN, infinity, no rows and another dim are refused, in fit and in encode."""
    n_bits = subject.n_bits[0]
    model, data = subject.fitted()
    if model.input == "bits":
        expect_refused("codes of another width", model.encode, data.rows[""][:, :-1])
        return
    for value in (np.nan, np.inf, -np.inf):

        def spoil(rows: NDArray[Any], value: float = value) -> NDArray[Any]:
            rows[3, 2] = value
            return rows

        spoilt = data.changed(spoil)
        expect_refused(f"{value} in fit", subject.fit, spoilt, n_bits)
        for modality in modalities_of(model):
            expect_refused(f"{value} in encode", model.encode, spoilt.rows[modality or ""], modality)
    expect_refused("no rows in fit", subject.fit, data.part(slice(0, 0)), n_bits)
    for modality in modalities_of(model):
        expect_refused("another dim in encode", model.encode, data.rows[modality or ""][:, :-1], modality)


def check_round_trip(subject: Subject) -> None:
    """Check that a model read back from an index gives the same codes and margins."""
    for n_bits in subject.n_bits:
        model, data = subject.fitted(n_bits)
        with tempfile.TemporaryDirectory() as folder:
            document, arrays = model.to_document()
            _store(Path(folder) / "a.hashdb", model, json.loads(json.dumps(document)), arrays)
            with Store.open(Path(folder) / "a.hashdb") as store:
                again = Model.from_document(*store.read_model())
                for modality in modalities_of(model):
                    rows = _hard_rows(model, data, modality)
                    for (what, before), (_, after) in zip(_outputs(model), _outputs(again), strict=True):
                        expect_equal(after(rows, modality), before(rows, modality), f"{what} after reopening")


def check_params(subject: Subject) -> None:
    """Check that params that are unknown or out of range are refused; every value of a grid fits or is refused."""
    n_bits = subject.n_bits[0]
    data = subject.data(n_bits)
    role = "method" if subject.quantiser is None else "quantiser"

    def fit_with(name: str, value: Any) -> Model:
        others = {key: kept for key, kept in subject.params.items() if key.rpartition(".")[2] != name}
        return subject.fit(data, n_bits, params={**others, f"{role}.{name}": value})

    expect_refused("an unknown param", fit_with, "no_such_param", 1)
    for param in subject.target.info.params:
        for value in _outside(param):
            expect_refused(f"{param.name}={value!r}", fit_with, param.name, value)
        for value in param.grid:
            works_or_refuses(f"{param.name}={value!r} of its grid", fit_with, param.name, value)


def check_limits(subject: Subject) -> None:
    """Check that widths outside the declared limits are refused."""
    info = subject.target.info
    data = subject.data(subject.n_bits[0])
    for n_bits in (0, info.min_bits - 1, (info.max_bits or MAX_BITS) + 1, MAX_BITS + 1):
        expect_refused(f"n_bits={n_bits}", subject.fit, data, n_bits)


def check_labels(subject: Subject) -> None:
    """Check that labels are asked for where they are needed; partly labelled and multi-hot rows fit or are refused."""
    info, n_bits = subject.plugin.info, subject.n_bits[0]
    if not info.takes_labels:
        return
    data = subject.data(n_bits)
    if info.needs_labels:
        expect_refused("labels missing", subject.fit, data, n_bits, labels=None)
    expect_refused("labels of another length", subject.fit, data, n_bits, labels=data.clusters[:-1])
    partly = np.where(np.arange(len(data.clusters)) % 3 == 0, -1, data.clusters)
    multi_hot = data.clusters[:, None] == np.arange(N_CLUSTERS)
    for what, labels in (("unlabelled rows", partly), ("multi-hot labels", multi_hot), ("one class", 0 * partly)):
        works_or_refuses(what, subject.fit, data, n_bits, labels=labels)


def check_progress(subject: Subject) -> None:
    """Check that progress goes from 0 to total and never back, and what the callback raises stops the fit."""
    data = subject.data(subject.n_bits[0])
    calls: list[tuple[int, int]] = []
    subject.fit(data, subject.n_bits[0], progress=lambda done, total: calls.append((done, total)))
    expect(all(0 <= done <= total for done, total in calls), f"progress is outside 0 to total: {calls}")
    expect(sorted(done for done, _ in calls) == [done for done, _ in calls], f"progress goes back: {calls}")

    def stop(done: int, total: int) -> None:
        raise ArgumentError("stopped")

    if calls:
        expect_refused("stopping a fit", subject.fit, data, subject.n_bits[0], progress=stop)


def check_better_than_chance(subject: Subject) -> None:
    """Check that nearest codes of rows it has not seen come from the row's own cluster; across modalities too."""
    for n_bits in subject.n_bits:
        both = subject.data(n_bits, n_rows=800)
        data, unseen = both.part(slice(0, 600)), both.part(slice(600, 800))
        model = subject.fit(data, n_bits)
        for asked in modalities_of(model):
            for stored in modalities_of(model):
                queries = bits_of(model, unseen.rows[asked or ""], asked)
                database = bits_of(model, data.rows[stored or ""], stored)
                distances = (queries[:, None, :] != database[None, :, :]).sum(axis=2)
                nearest = np.argsort(distances, axis=1, kind="stable")[:, :10]
                precision = float((data.clusters[nearest] == unseen.clusters[:, None]).mean())
                expect(
                    precision > 1 / N_CLUSTERS + _LIFT,
                    f"precision at 10 with {n_bits} bits is {precision:.2f}, chance is {1 / N_CLUSTERS:.2f}"
                    + (f" ({asked} finds {stored})" if asked else ""),
                )


def check_partial_fit(subject: Subject) -> None:
    """Check that a state learned further encodes, and the state it came from is as it was."""
    plugin = subject.plugin
    if not plugin.has("partial_fit") or plugin.info.is_paired:
        return
    model, _ = subject.fitted()
    before = {name: array.copy() for name, array in model.state.items()}
    more = subject.data(model.n_bits, seed=subject.seed + 2)
    labels = more.clusters if plugin.info.takes_labels else None
    state = plugin.partial_fit(model.state, more.rows[""], model.params, labels, subject.seed)
    state.pop("training_codes", None)
    plugin.encode(state, more.rows[""], model.n_bits)
    for name, array in before.items():
        expect_equal(model.state[name], array, f"partial_fit changed the state {name!r} that it was given")


def _outputs(model: Model) -> list[tuple[str, Any]]:
    return [("codes", model.encode)] + ([("margins", model.project)] if model.has_project else [])


def _expect_own(function: Callable[[NDArray[Any]], NDArray[Any]], rows: NDArray[Any], what: str, seed: int) -> None:
    """Compare what rows get all together with what they get in other company."""
    whole = function(rows)
    for size in (7, 64):
        parts = [function(rows[first : first + size]) for first in range(0, len(rows), size)]
        expect_equal(np.concatenate(parts), whole, f"{what}, in batches of {size} rows")
    single = np.concatenate([function(rows[row : row + 1]) for row in range(_N_SINGLE)])
    expect_equal(single, whole[:_N_SINGLE], f"{what}, row by row")
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    expect_equal(function(rows[shuffled]), whole[shuffled], f"{what}, shuffled")
    expect_equal(function(np.tile(rows, (6, 1))), np.tile(whole, (6, 1)), f"{what}, in a batch six times as large")


def _of(model: Model) -> str:
    return f"{model.n_bits} bits of {'/'.join(str(dim) for dim in model.dims.values())} dimensions"


def _hard_rows(model: Model, data: Data, modality: str | None) -> NDArray[Any]:
    """Take rows on thresholds, rows like those of training, and rows unlike them."""
    rows = data.rows[modality or ""][:100]
    if model.input == "bits":
        return rows
    near = at_thresholds(lambda part: bits_of(model, part, modality), rows, 40, model.seed)
    zeros = np.zeros((3, rows.shape[1]), np.float32)
    return np.ascontiguousarray(np.vstack([near, rows, rows[:10] * 1000, rows[:10] / 1000, zeros, np.round(rows[:10])]))


def _store(path: Path, model: Model, document: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    with Store.create(
        path, id_kind="int64", n_bits=model.n_bits, n_stored_bits=model.n_stored_bits, settings={}
    ) as store:
        store.commit_build(store.write_model(document, arrays), None)


def _outside(param: Param) -> list[Any]:
    values: list[Any] = ["no such value", "", None] if param.type is not str else [3]
    if param.default is None and None in values:
        values.remove(None)
    if param.minimum is not None:
        values.append(param.type(param.minimum - 1))
    if param.maximum is not None:
        values.append(param.type(param.maximum + 1))
    if param.choices is not None and param.type is str:
        values.append("no such value")
    if param.type is float:
        values += [float("nan"), float("inf")]
    return values
