"""Regularised cross-modal hashing (RCMH): bits of the annotations, smoothed over a graph, which all else predicts.

S. Moran, V. Lavrenko: Regularised Cross-Modal Hashing. ACM SIGIR Conference, 2015. Reconstructed from its abstract and
from graph regularised hashing (GRH, ``grh`` here), which it applies to the modality of annotations, mostly texts.

S_ij = 1 for pairs whose annotations are alike, i = j too, else 0; D = diag(S 1). With labels that is to share a class;
without, that one of the two annotations is among the k nearest of the other. From codes B_0 in {-1, 1} of the
annotations by an unsupervised method, M times:

    (A)  B <- sgn(α D^-1 S B + (1 - α) B_0),   sgn(0) = 1                       codes are smoothed over the graph
    (B)  a support vector machine for each bit, annotations to B, with as much weight on the rows of either value
    (C)  B <- what the machines say

and at the end, for each other modality,

    (D)  a support vector machine for each bit, rows of the modality to B

    (1)  bit_k(x) = [w_k · (x - μ) + b_k > 0]                                     kernel ``linear``, of (B) and (D)
    (2)  bit_k(x) = [Σ_i a_ik exp(-γ |x - x_i|^2) + b_k > 0]                      kernel ``rbf``, of (B) and (D)

with γ = ``gamma`` / (mean of |x - μ|^2) and the planes of (1) found on vectors scaled to mean square length 1, in each
modality on its own. The annotation is the modality that the param ``annotation`` names, by default the one given last.
There may be more than two modalities. Where labels are given, pairs without one are left out.

There is no code of a pair beside B, which is what (1) or (2) says of its annotation, so that there are no training
codes: a database of annotations has them. With ``rbf`` the machines of (D) come near B on the rows they have seen, and
much less so on others: a database of training rows is found far better than one of new rows.

Cost: M + 1 times n_bits machines for two modalities, n dim for each of some hundred steps for ``linear``, n^2 to n^3
for ``rbf``, which keeps n^2 doubles and takes at most 10,000 rows; n^2 dim for neighbours. S is never made where a row
has one label, goes by blocks of rows where it has several, and is sparse without labels. Memory n dim doubles. Encode
n dim n_bits, or n m (dim + n_bits) for m support vectors. There is no objective, so no ``history``.

Differs from the paper, as far as is known of it: a bit that (A) makes equal for all rows keeps what it was before,
since no machine can be trained on one class. α, M, C, γ and k, which the paper tunes on validation queries, are params.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _graph_regularised as _graph
from hashdb_plugins._labelled_views import labelled_views
from hashdb_plugins._views import named, view_of


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="rcmh",
        title="Regularised cross-modal hashing",
        paper="Moran, Lavrenko, Regularised Cross-Modal Hashing, SIGIR",
        year=2015,
        params=(
            Param("annotation", str, None, help="modality whose bits the others learn to predict; None: the last one"),
            _graph.INITIAL,
            Param("kernel", str, "linear", choices=("rbf", "linear"), grid=("rbf", "linear"), help="of the machines"),
            Param(
                "alpha",
                float,
                0.95,
                minimum=0.0,
                maximum=1.0,
                grid=(0.5, 0.75, 0.9, 0.95, 1.0),
                help="weight of the codes of neighbours in the graph against the first codes",
            ),
            Param("iterations", int, 3, minimum=1, maximum=100, grid=(1, 2, 3, 5), help="M"),
            Param(
                "neighbours",
                int,
                25,
                minimum=1,
                maximum=10_000,
                grid=(10, 25, 50, 100),
                help="without labels: k of the graph of annotations",
            ),
            _graph.C,
            _graph.GAMMA,
        ),
        supervision="paired modalities and optional labels",
        default_train=5000,
        when="labels, or annotations (texts, tags) whose neighbours are alike; two modalities or more, linear bits",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray | None,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Learn smooth bits of the annotations, then to predict them from the other modalities."""
    name = _annotation(vectors, params["annotation"])
    known = None
    if labels is not None:
        known, vectors = labelled_views("rcmh", vectors, labels)
    rows, others = vectors[name], {other: part for other, part in vectors.items() if other != name}
    first = _graph.first_bits("rcmh", rows, n_bits, params["initial"], seed)
    machines = _graph.Machines.on("rcmh", rows, params)
    averages = _graph.neighbour_averages(rows, params["neighbours"]) if known is None else _graph.class_averages(known)
    done, total = params["iterations"] * n_bits, (params["iterations"] + len(others)) * n_bits
    learned = _graph.take_turns(
        machines, first, averages, params["alpha"], params["iterations"], lambda done: progress(done, total)
    )
    bits, state = machines.bits(*learned), named(machines.state(*learned), name)
    for other, part in others.items():
        machines = _graph.Machines.on("rcmh", part, params)
        learned = machines.learn(bits, lambda more, before=done: progress(before + more, total))
        state |= named(machines.state(*learned), other)
        done += n_bits
    return state


def _annotation(vectors: Mapping[str, np.ndarray], chosen: str | None) -> str:
    """Find the modality of annotations."""
    name = list(vectors)[-1] if chosen is None else chosen
    if name not in vectors:
        raise ArgumentError(f"annotation is {name!r}, expected one of the modalities: {', '.join(vectors)}")
    return name


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (1) or (2)."""
    return _graph.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the margins of equation (1), in units of the vectors, or (2)."""
    return _graph.project(view_of(state, modality), vectors)
