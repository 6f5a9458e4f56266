"""Variable bit quantisation (VBQ): more bits for the projections that tell neighbours apart, none for the others.

S. Moran, V. Lavrenko, M. Osborne: Variable Bit Quantisation for LSH. Proceedings of the 51st Annual Meeting of the
Association for Computational Linguistics (ACL), short papers, 2013.

Of H = B candidate projections, B = n_bits, let F_{h,q} be the highest F_β of NPQ (module ``npq``, equation 1) that
projection h reaches with 2^q regions, q = 0 … Q. With q = 0 all rows are in one region:

    (1)  F_{h,0} = (1 + β^2) m / (β^2 m + n (n - 1) / 2),     m pairs of neighbours among n rows

Projection h gets q bits where z_{h,q} = 1:

    (2)  maximise Σ_h Σ_q F_{h,q} z_{h,q}   subject to   Σ_q z_{h,q} = 1 for each h,   Σ_h Σ_q q z_{h,q} ≤ B

This is a knapsack with one choice of each class; with G_h(b) the highest sum of the first h projections with b bits,

    (3)  G_0(0) = 0,     G_h(b) = max over q of G_{h-1}(b - q) + F_{h,q}

and the solution is the highest G_H(b) of b = 1 … B, exactly. Digits and their distance are those of NPQ: a projection
of q bits is stored as a thermometer of 2^q - 1 bits, so that the width of a code depends on the data (``info`` shows
it) and is fixed with the state.

Cost: fit Σ_q 2^q n^2 / 2 a projection, about five times (n at most 2,000 rows), and H B Q for (3); memory 2^Q n, the
pairs, and H B; encode a subtraction a stored bit. ``bits`` in the state is the q of each projection, ``objective`` has
F_{h,q}.

Differs from the paper: (2) is solved by dynamic programming instead of a solver of linear programs, to the same
optimum; of equal solutions the one of fewest bits is taken, of at least one bit. Where no pair is a neighbour, 1 - Ω
(equation 2 of ``npq``) takes the place of F, and every projection that varies gets a bit. Reconstructed from the
programme alone: Q = 3 by default, and F_{h,0} by the formula of the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _thermometer
from hashdb_plugins._segmentation import column_of
from hashdb_plugins.quantisers.npq import BETA, Objective, search


@hookimpl
def describe() -> MethodInfo:
    """Say what the quantiser is."""
    return MethodInfo(
        name="vbq",
        title="Variable bit quantisation",
        paper="Moran, Lavrenko, Osborne, Variable Bit Quantisation for LSH, ACL",
        year=2013,
        kind="quantiser",
        params=(
            Param("most_bits", int, 3, 1, 4, grid=(2, 3, 4), help="bits of information a projection may get"),
            BETA,
        ),
        when="as npq, for projections of unequal worth (pcah), n_bits of them; on equal ones (itq) npq",
    )


@hookimpl
def n_projections(n_bits: int, params: dict[str, Any]) -> int:
    """Want as many candidates as bits."""
    _thermometer.require_width("vbq", n_bits, params["most_bits"])
    return n_bits


@hookimpl
def fit_quantiser(
    projections: np.ndarray, n_bits: int, neighbours: np.ndarray, params: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Score every projection with every number of bits, and allot the bits."""
    widths = range(params["most_bits"] + 1)
    scores = np.empty((projections.shape[1], len(widths)))
    candidates = []
    for h, projection in enumerate(projections.T):
        column = column_of(projection, neighbours)
        objective = Objective.of(column, 1.0, params["beta"])
        found = [search(column, 2**q, objective) for q in widths]
        scores[h] = [value for _, value in found]
        sizes = map(_thermometer.n_thresholds, widths)
        candidates.append(
            [_thermometer.between(column.values, cuts, n) for n, (cuts, _) in zip(sizes, found, strict=True)]
        )
    bits = allot(scores, n_bits)
    chosen = [candidates[h][q] for h, q in enumerate(bits)]
    return {
        "thresholds": np.concatenate(chosen),
        "columns": np.repeat(np.arange(len(chosen)), [len(one) for one in chosen]),
        "bits": bits,
        "objective": scores,
    }


@hookimpl
def quantise(state: dict[str, np.ndarray], projections: np.ndarray) -> np.ndarray:
    """Give p - t for each threshold, projection by projection."""
    return _thermometer.margins(projections, state["columns"], state["thresholds"])


def allot(scores: np.ndarray, n_bits: int) -> np.ndarray:
    """Solve (2) by (3).

    Parameters
    ----------
    scores : ndarray of float64, shape (n_projections, most_bits + 1)
        F_{h,q}.
    n_bits : int
        B, at least 1.

    Returns
    -------
    ndarray of int64, shape (n_projections,)
        Bits of each projection; their sum is 1 to ``n_bits``.
    """
    sums = np.full(n_bits + 1, -np.inf)
    sums[0] = 0
    choices = np.zeros((len(scores), n_bits + 1), np.int64)
    for h, row in enumerate(scores):
        new = np.full(n_bits + 1, -np.inf)
        for q in range(min(len(row), n_bits + 1)):
            value = sums[: n_bits + 1 - q] + row[q]
            better = value > new[q:]
            new[q:][better] = value[better]
            choices[h, q:][better] = q
        sums = new
    bits = np.zeros(len(scores), np.int64)
    left = 1 + int(sums[1:].argmax())
    for h in range(len(scores) - 1, -1, -1):
        bits[h] = choices[h, left]
        left -= bits[h]
    return bits
