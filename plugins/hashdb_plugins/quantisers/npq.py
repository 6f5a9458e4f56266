"""Neighbourhood preserving quantisation (NPQ): thresholds that keep true neighbours in one region.

S. Moran, V. Lavrenko, M. Osborne: Neighbourhood Preserving Quantisation for LSH. Proceedings of the 36th International
ACM SIGIR Conference, 2013.

2^q - 1 thresholds T cut a projection of the training rows into 2^q regions. Of the pairs of rows, let TP be the true
neighbours in one region, FN those in two, FP the pairs in one region that are no neighbours. With m = TP + FN and
C = TP + FP, all pairs in one region:

    (1)  F_β(T) = (1 + β^2) P R / (β^2 P + R) = (1 + β^2) TP / (β^2 m + C),     P = TP / C,  R = TP / m
    (2)  Ω(T) = Σ_regions Σ_{p in region} (p - mean)^2 / Σ_p (p - mean of all)^2
    (3)  Z(T) = α F_β(T) + (1 - α) (1 - Ω(T)),     to be maximised
    (4)  digit(x) = number of thresholds below p(x);  distance of codes: Σ |digit(x) - digit(y)|

Thresholds stand in the middle between two neighbouring values. A digit is stored as its thermometer of 2^q - 1 bits
(module ``_thermometer``), q of them information.

TP, C and Ω are sums over regions, so that for given weights of the three the best T follows by dynamic programming over
the sorted values. F is a ratio; with the slopes of Z at the last T as weights,

    (5)  T <- argmax α (1 + β^2) (TP - TP_T / (β^2 m + C_T) * C) / (β^2 m + C_T) - (1 - α) Ω

until Z rises no more. For α = 1 this is Dinkelbach's iteration for a ratio and ends at the highest Z there is; for
α = 0 one step does. Between them it starts from both of these ends, and from the better result single thresholds move
to their best place until none can, which on small examples always was the best T.

Cost: fit 2^q n^2 / 2 a projection for each of about five iterations (n at most 2,000 rows), memory 2^q n and the pairs;
encode a subtraction a stored bit. ``objective`` in the state is Z of each projection.

Differs from the paper: the search, and the default of α. The authors' genetic algorithm of 15 generations finds a good
T; the iteration above needs no chance and finds the best one for α = 1. Regions are never empty. The paper chooses α by
validation; the authors' code has 1. By (1) alone, on a projection that tells neighbours no better than chance, TP is a
fixed share of C, F rises with C, and the best thresholds split off single rows at the ends: codes that say nothing,
seen with labels on random projections. Ω works against that; on real data α = 0.9 was better there, and elsewhere as
good as 1 by precision over recall and better by mean average precision. Where no pair is a neighbour F says nothing and
α counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _thermometer
from hashdb_plugins._segmentation import Column, best_cuts, column_of, totals, totals_of_one_cut

# What rounding may do to Z; a rise must be more.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Objective:
    """Z of equation (3).

    Attributes
    ----------
    alpha : float
        0 to 1.
    beta : float
        Above 0.
    n_neighbours : int
        Pairs of neighbours, m.
    spread : float
        Denominator of Ω.
    """

    alpha: float
    beta: float
    n_neighbours: int
    spread: float

    @classmethod
    def of(cls, column: Column, alpha: float, beta: float) -> Objective:
        """Make the objective of one projection."""
        n_neighbours = len(column.lows)
        return cls(alpha if n_neighbours else 0.0, beta, n_neighbours, column.spread or 1.0)

    def value(self, kept: Any, sizes: Any, spread: Any) -> Any:
        """Give Z for TP, C and the squared error."""
        return self.alpha * self._ratio(kept, sizes) + (1 - self.alpha) * (1 - spread / self.spread)

    def slopes(self, kept: float, sizes: float) -> tuple[float, float, float]:
        """Give what a pair of neighbours gains, what a pair of rows costs, and what the squared error costs."""
        gain = self.alpha * (1 + self.beta**2) / self._base(sizes)
        return gain, self.alpha * self._ratio(kept, sizes) / self._base(sizes), (1 - self.alpha) / self.spread

    def _ratio(self, kept: Any, sizes: Any) -> Any:
        return (1 + self.beta**2) * kept / self._base(sizes)

    def _base(self, sizes: Any) -> Any:
        # Without neighbours α is 0, and the ratio may be anything finite.
        return self.beta**2 * self.n_neighbours + sizes if self.n_neighbours else 1.0


BETA = Param("beta", float, 1.0, 0.01, 100.0, grid=(0.5, 1.0, 2.0), help="weight of recall against precision")


@hookimpl
def describe() -> MethodInfo:
    """Say what the quantiser is."""
    return MethodInfo(
        name="npq",
        title="Neighbourhood preserving quantisation",
        paper="Moran, Lavrenko, Osborne, Neighbourhood Preserving Quantisation for LSH, SIGIR",
        year=2013,
        kind="quantiser",
        params=(
            Param("q", int, 2, 1, 4, grid=(1, 2, 3, 4), help="bits of information a projection"),
            Param("alpha", float, 0.9, 0.0, 1.0, grid=(0.5, 0.9, 1.0), help="weight of F, the rest for squared error"),
            BETA,
        ),
        when="neighbours within a distance, found by radius; on itq or pcah projections; n_bits a multiple of q",
    )


@hookimpl
def n_projections(n_bits: int, params: dict[str, Any]) -> int:
    """Want a projection for q bits."""
    return _thermometer.n_projections("npq", n_bits, params["q"])


@hookimpl
def fit_quantiser(projections: np.ndarray, neighbours: np.ndarray, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Find the thresholds of each projection."""
    n = _thermometer.n_thresholds(params["q"])
    thresholds, values = [], []
    for projection in projections.T:
        column = column_of(projection, neighbours)
        cuts, value = search(column, n + 1, Objective.of(column, params["alpha"], params["beta"]))
        thresholds.append(_thermometer.between(column.values, cuts, n))
        values.append(value)
    return {"thresholds": np.array(thresholds, np.float32), "objective": np.array(values)}


@hookimpl
def quantise(state: dict[str, np.ndarray], projections: np.ndarray) -> np.ndarray:
    """Give p - t for each threshold, projection by projection."""
    thresholds = state["thresholds"]
    columns = np.repeat(np.arange(len(thresholds)), thresholds.shape[1])
    return _thermometer.margins(projections, columns, thresholds.reshape(-1))


def search(column: Column, n_regions: int, objective: Objective) -> tuple[np.ndarray, float]:
    """Maximise Z over cuts into regions that are not empty.

    Parameters
    ----------
    column : Column
    n_regions : int
        At least 1; as many as there are distinct values where that is less.
    objective : Objective

    Returns
    -------
    cuts : ndarray of int64, shape (n_regions - 1 or fewer,)
    value : float
        Z.
    """
    n_regions = min(n_regions, len(column.values))
    cuts = best_cuts(column, n_regions, spread_cost=1.0)
    if objective.alpha > 0:
        ends = [cuts, _climb(column, cuts, replace(objective, alpha=1.0))]
        if objective.alpha == 1:
            cuts = ends[1]
        else:
            tried = [_climb(column, end, objective) for end in ends]
            cuts = _settle(column, max(tried, key=lambda one: objective.value(*totals(column, one))), objective)
    return cuts, float(objective.value(*totals(column, cuts)))


def _climb(column: Column, cuts: np.ndarray, objective: Objective) -> np.ndarray:
    """Iterate (5)."""
    now = totals(column, cuts)
    while True:
        new = best_cuts(column, len(cuts) + 1, *objective.slopes(*now[:2]))
        then = totals(column, new)
        if objective.value(*then) <= objective.value(*now) + _ROUNDING:
            return cuts
        cuts, now = new, then


def _settle(column: Column, cuts: np.ndarray, objective: Objective) -> np.ndarray:
    """Move single cuts to their best place until none can be moved."""
    cuts, value = cuts.copy(), objective.value(*totals(column, cuts))
    still = 0
    while still < len(cuts):
        for k in range(len(cuts)):
            places, *parts = totals_of_one_cut(column, cuts, k)
            found = objective.value(*parts)
            best = int(found.argmax())
            still += 1
            if found[best] > value + _ROUNDING:
                cuts[k], value, still = places[best], found[best], 0
    return cuts
