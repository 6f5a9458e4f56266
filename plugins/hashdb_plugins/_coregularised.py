"""The objective of co-regularised hashing for one bit, and its minimum by the concave-convex procedure.

A pair of directions v = (v_x, v_y) gives rows of two views the values z = x·v_x and z = y·v_y, and a pair of an item of
each the deviation d = z_x - z_y. With weights ω_p of the pairs, a distribution,

    (1)  F(v) = mean_i [1 - |x_i·v_x|]_+ + mean_j [1 - |y_j·v_y|]_+ + γ Σ_p ω_p ℓ_p(d_p) + 1/2 Σ_k c_k v_k^2
    (2)  ℓ(d) = d^2 for a similar pair, τ(d) for a dissimilar one
    (3)  τ(d) = (a λ^2 - d^2) / 2 for |d| <= λ,   (|d| - a λ)^2 / (2 (a - 1)) for λ < |d| <= a λ,   0 beyond

τ and its slope have no jumps. Each term is a difference of two convex functions:

    (4)  [1 - |z|]_+ = max(1, |z|) - |z|
    (5)  τ(d) = τ_1(d) - τ_2(d),   τ_2(d) = (d^2 - a λ^2) / 2,
         τ_1(d) = 0 for |d| <= λ,   a (|d| - λ)^2 / (2 (a - 1)) for λ < |d| <= a λ,   τ_2(d) beyond

A round replaces what is taken away by its tangent at v^t, with slopes sgn(z^t) and d^t. That gives a convex function
that lies above F and touches it at v^t: whatever lowers the one lowers the other as much or more. The slopes of its
terms are

    (6)  sgn(z) [|z| > 1] - sgn(z^t) of a row,   2 d of a similar pair,   τ_1'(d) - d^t of a dissimilar one

and it is minimised in both views at once by stochastic sub-gradient descent: a step is made with some rows at random
and some pairs drawn by ω, and is η / (1 + q/10) times their slope at batch q. The later half of the steps are averaged.
F itself is then evaluated on all rows and pairs: if it has fallen, the round counts, else v stays and η is halved. So F
never rises, whatever the noise of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hashdb_plugins._cross_pairs import CrossPairs

_TOLERANCE = 1e-3
_MOST_FAILURES = 2
_FADING = 0.1


@dataclass(frozen=True)
class Schedule:
    """How long to search: ``rounds`` of the procedure, ``batches`` steps in each, ``batch`` rows and pairs a step."""

    rounds: int
    batches: int
    batch: int


@dataclass(frozen=True)
class Values:
    """Values of all rows, float (n,) each, and deviations of all pairs, float (n_pairs,), at one v."""

    x: np.ndarray
    y: np.ndarray
    d: np.ndarray


@dataclass(frozen=True)
class Objective:
    """F of equation (1).

    Attributes
    ----------
    x, y : ndarray of float32 or float64, shape (n, dim)
        The two views.
    pairs : CrossPairs
    ridge : ndarray of float64, shape (dim_x + dim_y,)
        c of equation (1).
    gamma, a, clip : float
        γ, a above 1, and λ.
    """

    x: np.ndarray
    y: np.ndarray
    pairs: CrossPairs
    ridge: np.ndarray
    gamma: float
    a: float
    clip: float

    def values(self, v: np.ndarray) -> Values:
        """Evaluate all rows and pairs at v, float64 (dim_x + dim_y,)."""
        z_x, z_y = (rows @ part.astype(rows.dtype) for rows, part in zip((self.x, self.y), self.split(v), strict=True))
        return Values(z_x, z_y, z_x[self.pairs.left] - z_y[self.pairs.right])

    def split(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give v_x and v_y."""
        return v[: self.x.shape[1]], v[self.x.shape[1] :]

    def of(self, v: np.ndarray, at: Values, omega: np.ndarray) -> float:
        """Give F(v), where ``at`` are the values at v."""
        loss = np.where(self.pairs.signs > 0, at.d * at.d, clipped_inverse(at.d, self.a, self.clip))
        outside = sum(float(np.maximum(0, 1 - np.abs(z)).mean(dtype=np.float64)) for z in (at.x, at.y))
        return outside + self.gamma * float(omega @ loss) + 0.5 * float(self.ridge @ (v * v))

    def slope(self, v: np.ndarray, tangent: Values, rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Give a sub-gradient of the convex function of a round at v, from some rows and pairs.

        Parameters
        ----------
        v : ndarray of float64, shape (dim_x + dim_y,)
        tangent : Values
            The values at v^t.
        rows : ndarray of int64
            Rows of either view, drawn alike.
        chosen : ndarray of int64
            Pairs, drawn by ω.
        """
        v_x, v_y = (part.astype(self.x.dtype) for part in self.split(v))
        x, y = self.x[self.pairs.left[chosen]], self.y[self.pairs.right[chosen]]
        d = x @ v_x - y @ v_y
        dissimilar = _convex_slope(d, self.a, self.clip) - tangent.d[chosen]
        of_pairs = np.where(self.pairs.signs[chosen] > 0, 2 * d, dissimilar) * (self.gamma / len(chosen))
        of_pairs = of_pairs.astype(self.x.dtype)
        own = [part[rows] for part in (self.x, self.y)]
        of_rows = [
            (_margin_slope(part @ w, z[rows]) / len(rows)).astype(self.x.dtype)
            for part, w, z in zip(own, (v_x, v_y), (tangent.x, tangent.y), strict=True)
        ]
        return np.concatenate([of_rows[0] @ own[0] + of_pairs @ x, of_rows[1] @ own[1] - of_pairs @ y]) + self.ridge * v


def clipped_inverse(d: np.ndarray, a: float, clip: float) -> np.ndarray:
    """Give τ(d) of equation (3): the smoothly clipped inverted squared deviation."""
    size = np.abs(d)
    between = np.maximum(a * clip - size, 0) ** 2 / (2 * (a - 1))
    return np.where(size <= clip, (a * clip * clip - d * d) / 2, between)


def _convex_slope(d: np.ndarray, a: float, clip: float) -> np.ndarray:
    """Give the derivative of τ_1 of equation (5)."""
    size = np.abs(d)
    return np.sign(d) * np.minimum(np.maximum(size - clip, 0) * (a / (a - 1)), size)


def _margin_slope(z: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """Give the slope of max(1, |z|) less the tangent's; 0 counts as negative, as in a code."""
    return np.sign(z) * (np.abs(z) > 1) - np.where(tangent > 0, 1.0, -1.0)


def minimise(
    objective: Objective, start: np.ndarray, omega: np.ndarray, schedule: Schedule, rng: np.random.Generator
) -> tuple[np.ndarray, Values, np.ndarray]:
    """Lower F from a start.

    Parameters
    ----------
    objective : Objective
    start : ndarray of float64, shape (dim_x + dim_y,)
    omega : ndarray of float64, shape (n_pairs,)
    schedule : Schedule
    rng : Generator

    Returns
    -------
    v : ndarray of float64, shape (dim_x + dim_y,)
    at : Values
        The values at v.
    history : ndarray of float64, shape (schedule.rounds + 1,)
        F at the start and after each round; it never rises, and stays where the search has ended.
    """
    v, at = start, objective.values(start)
    value = objective.of(v, at, omega)
    history = [value]
    rate, failures = 1.0 / (4.0 * objective.gamma + 1.0), 0
    cumulative = np.cumsum(omega)
    for _ in range(schedule.rounds):
        trial = _descend(objective, v, at, cumulative, rate, schedule, rng)
        then = objective.values(trial)
        reached = objective.of(trial, then, omega)
        gain = value - reached
        if gain > 0:
            v, at, value = trial, then, reached
        else:
            rate, failures = rate / 2, failures + 1
        history.append(value)
        if 0 < gain <= _TOLERANCE * abs(value) or failures == _MOST_FAILURES:
            break
    history += [value] * (schedule.rounds + 1 - len(history))
    return v, at, np.array(history)


def _descend(
    objective: Objective,
    v: np.ndarray,
    tangent: Values,
    cumulative: np.ndarray,
    rate: float,
    schedule: Schedule,
    rng: np.random.Generator,
) -> np.ndarray:
    """Take the steps of a round and average the later half of them."""
    shape = (schedule.batches, schedule.batch)
    rows = rng.integers(0, len(objective.x), shape)
    drawn = np.searchsorted(cumulative, rng.random(shape) * cumulative[-1], side="right")
    drawn = np.minimum(drawn, len(cumulative) - 1)
    total, first = np.zeros_like(v), schedule.batches // 2
    for q in range(schedule.batches):
        v = v - rate / (1 + _FADING * q) * objective.slope(v, tangent, rows[q], drawn[q])
        if q >= first:
            total += v
    return total / (schedule.batches - first)
