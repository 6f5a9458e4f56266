"""Spherical hashing (SpH): is a row inside a ball or not.

J.-P. Heo, Y. Lee, J. He, S.-F. Chang, S.-E. Yoon: Spherical Hashing. IEEE Conference on Computer Vision and Pattern
Recognition (CVPR), 2012. Extended: Spherical Hashing: Binary Code Embedding with Hyperspheres. IEEE Transactions on
Pattern Analysis and Machine Intelligence 37(11), 2015.

    (1)  bit_k(x) = [|x - c_k|^2 < r_k^2],    margin  r_k^2 - |x - c_k|^2

Of n training rows every ball should hold half, and every two of them a quarter (bits balanced and independent in
pairs). With o_ij the rows that lie in both of balls i and j, by turns

    (2)  r_k^2 = median of |x - c_k|^2
    (3)  c_i <- c_i + 1/K Σ_j 1/2 (o_ij - n/4) / (n/4) (c_i - c_j)

so that balls which overlap too much push each other away, until

    (4)  mean |o_ij - n/4| ≤ 0.1 n/4   and   standard deviation of o_ij ≤ 0.15 n/4   over all pairs i ≠ j

or for ``iterations`` turns. ``history`` in the state is mean |o_ij / (n/4) - 1| at each.

Margins are linear in (z, |z|^2), z the centred and scaled row: r^2 - |z - c|^2 = 2 c · z - |z|^2 - offset. |z|^2 is
summed in a fixed order and kept as two float32 values, its rounding and what that leaves, so that
:mod:`hashdb.margins` gives bits and margins that depend on their row alone.

Cost: fit n n_bits (dim + n_bits) for each iteration; memory n (dim + n_bits). Encode n dim n_bits. Any number of bits.

Differs from the paper, from whose equations and tolerances this is reconstructed: the paper compares codes by the
spherical Hamming distance |b ⊕ b'| / |b ∧ b'|; here as everywhere the distance is the Hamming distance, |b ⊕ b'|, which
loses part of what the paper reports. The first centres are means of five random rows each, where the paper takes random
rows: on SIFT, GIST and images of digits the Hamming ranking is better by a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl, margins
from hashdb_plugins import _linear
from hashdb_plugins._parallel import blocks
from hashdb_plugins._scaled import scaled, unit_of

_FARTHEST = 2.0**50
_FIRST_ROWS = 5


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="sph",
        title="Spherical hashing",
        paper="Heo, Lee, He, Chang, Yoon, Spherical Hashing, CVPR",
        year=2012,
        params=(
            Param("iterations", int, 100, minimum=1, maximum=10_000, grid=(30, 100, 300), help="turns, at most"),
            Param("mean_tolerance", float, 0.1, minimum=0, maximum=1, grid=(0.05, 0.1, 0.2), help="of overlaps"),
            Param("spread_tolerance", float, 0.15, minimum=0, maximum=1, grid=(0.1, 0.15, 0.3), help="of their spread"),
        ),
        default_train=10_000,
        when="Euclidean neighbours, 16 to 128 bits, where these are more than the dimensions; else itq finds more",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], seed: int, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Move the balls until they are balanced and independent."""
    mean = _linear.mean_of(vectors)
    state = {"mean": mean, "unit": np.asarray(unit_of(vectors, mean))}
    rows = lifted(state, vectors)
    centres = first_centres(rows[:, :-2], n_bits, np.random.default_rng(seed))
    quarter = len(vectors) / 4
    others = ~np.eye(n_bits, dtype=np.bool_)
    history = []
    for iteration in range(params["iterations"]):
        excess = overlaps(rows, centres) / quarter - 1
        history.append(float(np.abs(excess[others]).mean()) if n_bits > 1 else 0.0)
        progress(iteration + 1, params["iterations"])
        if history[-1] <= params["mean_tolerance"] and (
            n_bits == 1 or excess[others].std() <= params["spread_tolerance"]
        ):
            break
        centres = pushed(centres, excess)
    progress(params["iterations"], params["iterations"])
    state["weights"] = _weights(centres)
    state["offset"] = np.median(margins.project(rows, state["weights"]).astype(np.float64), axis=0)
    return state | {"history": np.array(history)}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (1)."""
    return margins.encode(lifted(state, vectors), state["weights"], state["offset"])


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give r^2 - |x - c|^2, in squares of the state's unit."""
    return margins.project(lifted(state, vectors), state["weights"], state["offset"])


def lifted(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give (z, |z|^2) of rows, float32 (n, dim + 2), the square in two parts."""
    n, dim = vectors.shape
    rows = np.empty((n, dim + 2), np.float32)
    for block in blocks(n, dim):
        z = scaled(vectors[block], state["mean"], state["unit"])
        wide = z.astype(np.float64)
        wide *= wide
        # accumulate adds from left to right by definition; a plain sum would add in pairs.
        squares = np.add.accumulate(wide, axis=1, out=wide)[:, -1]
        rows[block, :-2] = z
        rows[block, -2] = squares
        rows[block, -1] = squares - rows[block, -2]
    return rows


def first_centres(rows: np.ndarray, n_bits: int, rng: np.random.Generator) -> np.ndarray:
    """Average a few random training rows for each ball, float64 (n_bits, dim)."""
    chosen = rng.integers(len(rows), size=(n_bits, _FIRST_ROWS))
    return np.array([rows[few].mean(axis=0, dtype=np.float64) for few in chosen])


def overlaps(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Count the rows in both of two balls of median radius, float32 (n_bits, n_bits)."""
    nearness = rows @ _weights(centres)
    inside = (nearness > np.median(nearness, axis=0)).astype(np.float32)
    return inside.T @ inside


def pushed(centres: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Move the centres by equation (3)."""
    force = excess / 2
    shift = (force.sum(axis=1, keepdims=True) * centres - force @ centres) / len(centres)
    return np.clip(centres + shift, -_FARTHEST, _FARTHEST)


def _weights(centres: np.ndarray) -> np.ndarray:
    """Give (2 c, -1, -1) as columns, float32 (dim + 2, n_bits)."""
    ones = np.ones((len(centres), 2))
    return np.ascontiguousarray(np.hstack([2 * centres, -ones]).T, dtype=np.float32)
