"""What a plugin may implement: the markers, the description it gives of itself, and every hook.

A plugin is a module (or any object with functions) named by an entry point of group ``hashdb``. It marks functions
with ``@hashdb.hookimpl``; each takes any subset of the hook's arguments, by name, none with a default. A plugin is
called alone, by name, never as one of many. What it learns is a ``dict`` of arrays that the core stores: no pickle.

==============  ==========================================================================
kind            hooks
==============  ==========================================================================
``method``      describe, fit, and encode or project or both; partial_fit if it can
``quantiser``   describe, n_projections, fit_quantiser, quantise
``encoder``     describe, encode_items
==============  ==========================================================================

Raise :class:`hashdb.errors.ArgumentError` for what the caller can mend (too few rows, one class only, more bits than
the data has directions). A plugin's name is a promise about codes: other bits for the same state is a new name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pluggy
from numpy.typing import NDArray

hookspec = pluggy.HookspecMarker("hashdb")
hookimpl = pluggy.HookimplMarker("hashdb")

KINDS = ("method", "quantiser", "encoder")
INPUTS = ("vectors", "bits", "items")
SUPERVISIONS = (
    "none",
    "labels",
    "optional labels",
    "paired modalities",
    "paired modalities and labels",
    "paired modalities and optional labels",
)

State = dict[str, NDArray[Any]]
"""What fit learns: names of letters, digits, underscores and hyphens; arrays of numbers or bool; floats finite."""


@dataclass(frozen=True)
class Param:
    """A parameter that the user may choose.

    Attributes
    ----------
    name : str
        Letters, digits and underscores.
    type : type
        ``int``, ``float``, ``str`` or ``bool``.
    default : int, float, str, bool or None
        None means that the method decides from the data.
    minimum, maximum : int or float, optional
        Inclusive bounds of a number.
    choices : tuple, optional
        The only values allowed.
    grid : tuple
        Values worth trying in a search over parameters.
    help : str
        One line.
    """

    name: str
    type: type
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    grid: tuple[Any, ...] = ()
    help: str = ""


@dataclass(frozen=True)
class MethodInfo:
    """What a plugin says of itself.

    Attributes
    ----------
    name : str
        The name of its entry point.
    title : str
        Its name as people write it.
    paper : str
        Authors and venue; empty where there is none.
    year : int
        Of the paper; 0 where there is none.
    kind : str
        ``method``, ``quantiser`` or ``encoder``.
    input : str
        ``vectors``; ``bits`` for a method of codes that exist already; ``items`` for an encoder.
    params : tuple of Param
    supervision : str
        ``none``, ``labels``, ``optional labels``, ``paired modalities``, ``paired modalities and labels``, or ``paired
        modalities and optional labels``.
    default_train : int or None
        Rows to train on unless the user says otherwise; None is all rows.
    min_bits, max_bits : int
        Limits of ``n_bits``. Limits that depend on the data are for ``fit`` to check; ``max_bits=None`` says that the
        data alone decides.
    when : str
        When to use it, in one line.
    """

    name: str
    title: str
    paper: str
    year: int
    kind: str = "method"
    input: str = "vectors"
    params: tuple[Param, ...] = ()
    supervision: str = "none"
    default_train: int | None = None
    min_bits: int = 1
    max_bits: int | None = 4096
    when: str = ""

    @property
    def is_paired(self) -> bool:
        """Whether ``fit`` takes a mapping of modalities."""
        return self.supervision.startswith("paired")

    @property
    def needs_labels(self) -> bool:
        """Whether ``fit`` cannot do without labels."""
        return self.supervision in ("labels", "paired modalities and labels")

    @property
    def takes_labels(self) -> bool:
        """Whether ``fit`` can use labels."""
        return "labels" in self.supervision


@hookspec(firstresult=True)
def describe() -> MethodInfo:  # type: ignore[empty-body]
    """Say what the plugin is. Every plugin has this hook.

    Returns
    -------
    MethodInfo
        Its name is that of the entry point.
    """


@hookspec(firstresult=True)
def fit(  # type: ignore[empty-body]
    vectors: NDArray[np.float32] | Mapping[str, NDArray[np.float32]],
    n_bits: int,
    params: dict[str, Any],
    labels: NDArray[Any] | None,
    seed: int,
    progress: Callable[[int, int], None],
) -> State:
    """Learn what encoding needs. A method's hook.

    The same arguments give the same state. The arrays are the core's: do not write into them.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim), or mapping of modality to (n, dim)
        Training rows, C-contiguous and finite, n >= 1. With paired modalities a mapping, row i of one belonging to
        row i of the others, the order of its keys being the user's. Bool (n, n_bits) where the input is ``bits``.
    n_bits : int
        Bits of a code, within the limits of ``describe``.
    params : dict
        Every declared param, complete and validated.
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes), or None
        Classes, -1 for an unlabelled row; or multi-hot rows.
    seed : int
        For ``numpy.random.default_rng(seed)``, the only source of randomness.
    progress : callable
        ``progress(done, total)``, to be called now and then; it may raise to stop the fit.

    Returns
    -------
    dict of str to ndarray
        The state. ``history``, if there, is the objective at each iteration. ``training_codes``, if there, is bool
        (n, n_bits), the codes learned for the training rows; the core takes it out of the state.
    """


@hookspec(firstresult=True)
def encode(  # type: ignore[empty-body]
    state: State, vectors: NDArray[np.float32], modality: str | None
) -> NDArray[np.bool_]:
    """Give rows their bits. A method's hook; without it the bits are ``project(...) > 0``.

    Row i of the result depends on row i of the vectors only, bit for bit, whatever else is in the batch
    (``hashdb.margins.encode`` sees to that for linear methods).

    Parameters
    ----------
    state : dict of str to ndarray
        As ``fit`` returned it, without ``training_codes``; perhaps read-only.
    vectors : ndarray of float32, shape (n, dim)
        C-contiguous and finite. Bool (n, n_bits) where the input is ``bits``.
    modality : str or None
        The modality of these rows, None for methods of one modality.

    Returns
    -------
    ndarray of bool, shape (n, n_bits)
    """


@hookspec(firstresult=True)
def project(  # type: ignore[empty-body]
    state: State, vectors: NDArray[np.float32], modality: str | None
) -> NDArray[np.float32]:
    """Give rows the real values whose sign is the code. A method's hook; quantisers and re-ranking build on it.

    Where both exist, ``encode == (project > 0)`` bit for bit. As there, a row's values are its own
    (``hashdb.margins.project`` sees to that for linear methods).

    Parameters
    ----------
    state : dict of str to ndarray
    vectors : ndarray of float32, shape (n, dim)
    modality : str or None

    Returns
    -------
    ndarray of float32, shape (n, n_bits)
        0 is the threshold. No NaN.
    """


@hookspec(firstresult=True)
def n_projections(n_bits: int, params: dict[str, Any]) -> int:  # type: ignore[empty-body]
    """Say how many projections make a code of ``n_bits`` information bits. A quantiser's hook.

    Parameters
    ----------
    n_bits : int
        Information bits that the user asks for.
    params : dict
        The quantiser's params, complete and validated.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ArgumentError
        Where ``n_bits`` cannot be divided so; the message names the nearest that can.
    """


@hookspec(firstresult=True)
def fit_quantiser(  # type: ignore[empty-body]
    projections: NDArray[np.float32],
    n_bits: int,
    neighbours: NDArray[np.int64],
    params: dict[str, Any],
    seed: int,
) -> State:
    """Learn thresholds. A quantiser's hook.

    Parameters
    ----------
    projections : ndarray of float32, shape (n, n_projections)
        Projections of the training rows. For a quantiser that takes ``neighbours``, of the at most 2,000 training rows
        that the seed picks, so that every pair which is not listed is a pair of rows that are no neighbours.
    n_bits : int
        Information bits.
    neighbours : ndarray of int64, shape (m, 2)
        Pairs of rows i < j of ``projections`` that are true neighbours: they share a label where labels are given, else
        they lie within epsilon of one another (the mean distance of a row to its 50th nearest). Computed only for
        quantisers that take this argument.
    params : dict
        Complete and validated.
    seed : int

    Returns
    -------
    dict of str to ndarray
        The state of the quantiser.
    """


@hookspec(firstresult=True)
def quantise(state: State, projections: NDArray[np.float32]) -> NDArray[np.float32]:  # type: ignore[empty-body]
    """Turn projections into margins, one a stored bit. A quantiser's hook.

    The margin of a bit is projection minus threshold, or its negative; what the bits of one projection mean together is
    the quantiser's choice. Hamming distance on the stored bits is the distance: a Manhattan quantiser stores the
    thermometer of its digit.

    Parameters
    ----------
    state : dict of str to ndarray
    projections : ndarray of float32, shape (n, n_projections)

    Returns
    -------
    ndarray of float32, shape (n, n_stored_bits)
        bit = margin > 0. The width, 1 to 4096, is the same at every call. No NaN.
    """


@hookspec(firstresult=True)
def partial_fit(  # type: ignore[empty-body]
    state: State,
    vectors: NDArray[np.float32],
    labels: NDArray[Any] | None,
    params: dict[str, Any],
    seed: int,
) -> State:
    """Learn from more rows. A method's hook, where its mathematics is incremental.

    Parameters
    ----------
    state : dict of str to ndarray
        Not to be changed.
    vectors : ndarray of float32, shape (n, dim)
    labels : ndarray or None
        As for ``fit``.
    params : dict
    seed : int

    Returns
    -------
    dict of str to ndarray
        A new state, which makes a new model.
    """


@hookspec(firstresult=True)
def encode_items(items: Sequence[Any], params: dict[str, Any]) -> NDArray[np.float32]:  # type: ignore[empty-body]
    """Turn raw items into vectors. An encoder's hook.

    Parameters
    ----------
    items : sequence
        Images, each uint8 (height, width, 3) or (height, width), or strings.
    params : dict
        Complete and validated.

    Returns
    -------
    ndarray of float32, shape (n, dim)
        Finite.
    """
