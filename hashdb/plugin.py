"""A loaded plugin: its hooks, called one plugin at a time, with what they return checked at the boundary."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import HashDBError, PluginContractError, PluginError
from hashdb.hookspecs import MethodInfo, State

Progress = Callable[[int, int], None]

MAX_STORED_BITS = 4096
_STATE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")


def silent(done: int, total: int) -> None:
    """Report no progress."""


class Plugin:
    """A plugin that can be called.

    Every call checks the shape, dtype and NaN of what comes back. Our own errors pass through; anything else that a
    hook raises becomes a :class:`~hashdb.errors.PluginError` chained to it.

    Attributes
    ----------
    name : str
        Entry-point name.
    info : MethodInfo
    distribution, version : str
        Installed package that provides it.
    """

    def __init__(
        self,
        name: str,
        info: MethodInfo,
        hooks: Mapping[str, Callable[..., Any]],
        arguments: Mapping[str, frozenset[str]],
        distribution: str,
        version: str,
    ) -> None:
        self.name = name
        self.info = info
        self.distribution = distribution
        self.version = version
        self._hooks = dict(hooks)
        self._arguments = dict(arguments)

    def __repr__(self) -> str:
        return f"<Plugin {self.name!r}: {self.info.kind} of {self.distribution} {self.version}>"

    def has(self, hook: str) -> bool:
        """Say whether the plugin implements a hook."""
        return hook in self._hooks

    def takes(self, hook: str, argument: str) -> bool:
        """Say whether the plugin's implementation of a hook asks for an argument."""
        return argument in self._arguments.get(hook, ())

    def fit(
        self,
        vectors: NDArray[Any] | Mapping[str, NDArray[Any]],
        n_bits: int,
        params: Mapping[str, Any],
        labels: NDArray[Any] | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> State:
        """Call ``fit`` and return a checked state; see :func:`hashdb.hookspecs.fit`."""
        relay = _Relay(progress or silent)
        try:
            state = self._call(
                "fit", vectors=vectors, n_bits=n_bits, params=dict(params), labels=labels, seed=seed, progress=relay
            )
        except PluginError:
            if relay.raised is not None:
                raise relay.raised from None
            raise
        first = next(iter(vectors.values())) if isinstance(vectors, Mapping) else vectors
        return self._check_state("fit", state, (len(first), n_bits))

    def encode(
        self, state: State, vectors: NDArray[Any], n_bits: int, modality: str | None = None
    ) -> NDArray[np.bool_]:
        """Give the bits of rows, bool (n, n_bits); see :func:`hashdb.hookspecs.encode`."""
        if not self.has("encode"):
            return self.project(state, vectors, n_bits, modality) > 0
        bits = self._call("encode", state=state, vectors=vectors, modality=modality)
        return self._check_array("encode", bits, np.dtype(np.bool_), (len(vectors), n_bits))

    def project(
        self, state: State, vectors: NDArray[Any], n_bits: int, modality: str | None = None
    ) -> NDArray[np.float32]:
        """Give the projections of rows, float32 (n, n_bits); see :func:`hashdb.hookspecs.project`."""
        projections = self._call("project", state=state, vectors=vectors, modality=modality)
        return self._check_array("project", projections, np.dtype(np.float32), (len(vectors), n_bits))

    def partial_fit(
        self,
        state: State,
        vectors: NDArray[np.float32],
        params: Mapping[str, Any],
        labels: NDArray[Any] | None = None,
        seed: int = 0,
    ) -> State:
        """Give the state after more rows; see :func:`hashdb.hookspecs.partial_fit`."""
        new = self._call("partial_fit", state=state, vectors=vectors, labels=labels, params=dict(params), seed=seed)
        return self._check_state("partial_fit", new, None)

    def n_projections(self, n_bits: int, params: Mapping[str, Any]) -> int:
        """Say how many projections a quantiser wants; see :func:`hashdb.hookspecs.n_projections`."""
        number = self._call("n_projections", n_bits=n_bits, params=dict(params))
        if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, np.integer)) or number < 1:
            raise self.broken("n_projections", "a whole number, at least 1", repr(number))
        return int(number)

    def fit_quantiser(
        self,
        projections: NDArray[np.float32],
        n_bits: int,
        params: Mapping[str, Any],
        neighbours: NDArray[np.int64] | None = None,
        seed: int = 0,
    ) -> State:
        """Learn thresholds; see :func:`hashdb.hookspecs.fit_quantiser`."""
        state = self._call(
            "fit_quantiser",
            projections=projections,
            n_bits=n_bits,
            neighbours=np.empty((0, 2), np.int64) if neighbours is None else neighbours,
            params=dict(params),
            seed=seed,
        )
        return self._check_state("fit_quantiser", state, None)

    def quantise(
        self, state: State, projections: NDArray[np.float32], n_stored_bits: int | None = None
    ) -> NDArray[np.float32]:
        """Give margins, float32 (n, n_stored_bits); see :func:`hashdb.hookspecs.quantise`.

        ``n_stored_bits=None`` takes any width from 1 to 4096.
        """
        margins = self._call("quantise", state=state, projections=projections)
        if n_stored_bits is None:
            width = margins.shape[1] if isinstance(margins, np.ndarray) and margins.ndim == 2 else 0
            if not 1 <= width <= MAX_STORED_BITS:
                expected = f"float32 ({len(projections)}, n_stored_bits) with 1 to {MAX_STORED_BITS} bits"
                raise self.broken("quantise", expected, _describe(margins))
            n_stored_bits = width
        return self._check_array("quantise", margins, np.dtype(np.float32), (len(projections), n_stored_bits))

    def encode_items(self, items: Sequence[Any], params: Mapping[str, Any]) -> NDArray[np.float32]:
        """Turn items into vectors; see :func:`hashdb.hookspecs.encode_items`."""
        vectors = self._call("encode_items", items=items, params=dict(params))
        dim = vectors.shape[1] if isinstance(vectors, np.ndarray) and vectors.ndim == 2 else 1
        vectors = self._check_array("encode_items", vectors, np.dtype(np.float32), (len(items), max(dim, 1)))
        if not np.isfinite(vectors).all():
            raise self.broken("encode_items", "finite vectors", "infinity")
        return vectors

    def broken(self, hook: str, expected: str, got: str) -> PluginContractError:
        """Make the error that says how a hook broke its contract."""
        return PluginContractError(
            f"plugin {self.name!r} of {self.distribution} {self.version} broke its contract: "
            f"{hook} returned {got}, expected {expected}",
            self.name,
            self.distribution,
        )

    def _call(self, hook: str, **arguments: Any) -> Any:
        if hook not in self._hooks:
            raise PluginContractError(
                f"plugin {self.name!r} of {self.distribution} {self.version} has no {hook}",
                self.name,
                self.distribution,
            )
        try:
            return self._hooks[hook](**{name: _guarded(value) for name, value in arguments.items()})
        except HashDBError:
            raise
        except Exception as error:
            raise PluginError(
                f"plugin {self.name!r} of {self.distribution} {self.version} failed in {hook}: "
                f"{type(error).__name__}: {error}",
                self.name,
                self.distribution,
            ) from error

    def _check_array(self, hook: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
            raise self.broken(hook, f"{dtype} of shape {shape}", _describe(array))
        if dtype.kind == "f" and np.isnan(array).any():
            row, column = np.argwhere(np.isnan(array))[0]
            raise self.broken(hook, "no NaN", f"NaN in row {row}, column {column}")
        return array

    def _check_state(self, hook: str, state: Any, codes_shape: tuple[int, int] | None) -> State:
        if not isinstance(state, dict):
            raise self.broken(hook, "a dict of arrays", f"a {type(state).__name__}")
        # A NumPy scalar is what arithmetic makes of an array of no dimensions.
        checked: State = {
            name: np.asarray(value) if isinstance(value, np.generic) else value for name, value in state.items()
        }
        for name, array in checked.items():
            if not isinstance(name, str) or not _STATE_NAME.fullmatch(name):
                raise self.broken(hook, "names of letters, digits, underscores and hyphens", f"the name {name!r}")
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise self.broken(hook, f"a plain array of numbers or bool for {name!r}", _describe(array))
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise self.broken(hook, f"finite numbers in {name!r}", "NaN or infinity")
        codes = checked.get("training_codes")
        if codes is not None and codes_shape is not None and (codes.dtype != np.bool_ or codes.shape != codes_shape):
            raise self.broken(hook, f"training_codes of bool {codes_shape}", _describe(codes))
        return checked


class _Relay:
    """Passes progress on and keeps what the callback raised: stopping a fit is no fault of the plugin."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.raised: Exception | None = None

    def __call__(self, done: int, total: int) -> None:
        try:
            self._progress(int(done), int(total))
        except Exception as error:
            self.raised = error
            raise


def _guarded(value: Any) -> Any:
    """Give a plugin a view that it cannot write to: the memory may be the user's own."""
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    if isinstance(value, Mapping):
        return {name: _guarded(one) for name, one in value.items()}
    return value


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "nothing" if value is None else f"a {type(value).__name__}"
