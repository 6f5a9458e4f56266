"""Deterministic thresholding: margins and bits of a row that depend on that row alone.

A plain float32 matrix product rounds differently with the number of rows, the number of threads, the library and the
machine, and flips bits near the threshold. Two functions give the same bits always:

* :func:`project` is the **ordered product**. With z = x - mean, elementwise in float32, the margin of output k is

      margin_k = round32( (((0 + z_1 w_1k) + z_2 w_2k) + … + z_d w_dk) - offset_k )

  where products and sums are float64. The product of two float32 values is exact in float64, so only additions round,
  in an order that is fixed; whether a processor fuses multiply and add makes no difference, and nothing overflows or
  underflows on the way. Values outside float32 are drawn in to its largest value.
* :func:`encode` is the **guard**: the float32 product of the linear algebra library, then the entries that its error
  bound cannot tell from the threshold are summed again in the order above. Its bits are those of ``project(…) > 0``,
  one for one, at a fraction of the time.

The mean is subtracted from the row first, not folded into the offset: for data far from the origin the products stay
small and the projection keeps its digits.

Why the guard is right. Let u = 2^-24, γ = (d + 3) u / (1 - (d + 3) u), and let each column of weights be scaled by a
power of two (exact, and no sign changes) so that its norm is below 1. Any order of summation, fused or not, gives p
with

    |p - z·w| ≤ γ |z||w| + 2 d t,      t = 2^-126 (what an operation may lose to underflow),

by Cauchy-Schwarz on Σ |z_j w_j|. The ordered sum in float64 errs by less than 2^-28 of that, which the 3 in γ covers,
as it covers the roundings of the scaled weights. The row's norm is itself computed in float32, r ≥ |z| (1 - γ) - √d
2^-63. The offset, rounded to float32, adds 2^-23 of its size. Rounding a margin to float32 keeps its sign unless it is
below 2^-149, that is 2^(-149 - e) in a column scaled by 2^-e. Where |p - offset| exceeds the sum of these bounds, both
ways of summing are on one side of the threshold. As long as r is finite no partial sum overflows; where it is not, the
bound is infinite. The comparison is written so that a NaN counts as near.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hashdb.errors import ArgumentError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_LARGEST = np.finfo(np.float32).max
# Multiply-adds up to which NumPy does the ordered product (a few hundredths of a second), and nothing is compiled.
_SMALL_WORK = 1 << 25
# Multiply-adds from which a second thread is worth starting.
_THREADED_WORK = 1 << 24
# Outputs that the kernel goes through at a time.
_TILE_COLUMNS = 256
# Values (rows times their dimensions and outputs) of one block of the guard: what stays in the outer caches.
_BLOCK_VALUES = 3 << 19


def project(
    vectors: ArrayLike, weights: ArrayLike, offset: ArrayLike | None = None, *, mean: ArrayLike | None = None
) -> Floats:
    """Project rows by the ordered product; 0 is the threshold.

    Takes 2 to 3.5 times as long as a float32 matrix product.

    Parameters
    ----------
    vectors : array of float32, shape (n, dim)
        Finite values.
    weights : array of float32, shape (dim, m)
        One column per output, finite.
    offset : array of float64, shape (m,), optional
        Subtracted from the sums, in float64.
    mean : array of float32, shape (dim,), optional
        Subtracted from each row, in float32.

    Returns
    -------
    ndarray of float32, shape (n, m)
        Finite; each row is a function of that row of ``vectors`` alone, the same on every machine.

    Raises
    ------
    ArgumentError
        Shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> project(np.array([[1, 2]], np.float32), np.array([[1, 0], [1, -1]], np.float32)).tolist()
    [[3.0, -2.0]]
    """
    x, w, o, centre = _checked(vectors, weights, offset, mean)
    return _project(x, w, o, centre, may_compile=x.size * w.shape[1] > _SMALL_WORK)


def encode(
    vectors: ArrayLike, weights: ArrayLike, offset: ArrayLike | None = None, *, mean: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """Threshold the projections of rows at 0: bit for bit ``project(vectors, weights, offset, mean=mean) > 0``.

    Takes about a fifth to a half longer than a float32 matrix product; up to 5 times as long where most projections are
    zero but for rounding, as in directions along which the data do not vary.

    Parameters
    ----------
    vectors : array of float32, shape (n, dim)
        Finite values.
    weights : array of float32, shape (dim, m)
    offset : array of float64, shape (m,), optional
        Subtracted from the sums.
    mean : array of float32, shape (dim,), optional
        Subtracted from each row, in float32.

    Returns
    -------
    ndarray of bool, shape (n, m)

    Raises
    ------
    ArgumentError
        Shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> encode(np.array([[1, 2]], np.float32), np.array([[1, 0], [1, -1]], np.float32)).tolist()
    [[True, False]]
    """
    x, w, o, centre = _checked(vectors, weights, offset, mean)
    bits = np.empty((x.shape[0], w.shape[1]), np.bool_)
    n_block = min(max(1, _BLOCK_VALUES // sum(w.shape)), x.shape[0])
    # Overflow and underflow are part of the reckoning: such entries count as near the threshold.
    with np.errstate(all="ignore"):
        guard = _Guard(w, o, centre, n_block, may_compile=x.size * w.shape[1] > _SMALL_WORK)
        for start in range(0, x.shape[0], n_block or 1):
            guard.encode_block(x[start : start + n_block], bits[start : start + n_block])
    return bits


class _Guard:
    """The scaled weights, the bounds and the memory of one call of :func:`encode`."""

    def __init__(
        self, weights: Floats, offset: Doubles | None, mean: Floats | None, n_block: int, may_compile: bool
    ) -> None:
        dim, m = weights.shape
        self.weights, self.offset, self.mean, self.may_compile = weights, offset, mean, may_compile
        # Arrays of a few megabytes go back to the system when freed, and cost more to get than to fill.
        self._centred = np.empty((0 if mean is None else n_block, dim), np.float32)
        self._products, self._far = np.empty((n_block, m), np.float32), np.empty((n_block, m), np.bool_)
        wide = weights.astype(np.float64)
        # frexp gives norm = fraction * 2^e with a fraction below 1; half a unit more keeps rounding out of it.
        exponents = np.frexp(np.sqrt(np.einsum("jk,jk->k", wide, wide)) * (1 + 1e-9))[1]
        self.scaled = np.ldexp(wide, -exponents).astype(np.float32)
        gamma = (dim + 3) * 2.0**-24
        gamma = gamma / (1 - gamma) if gamma < 0.25 else math.inf
        # The bound of a row of norm r is r * slope + floor; 1.0001 covers the roundings of this line itself.
        self.slope = np.float32(1.0001 * gamma * (1 + gamma))
        floor = (
            gamma * math.sqrt(dim) * 2.0**-62 + (4 * dim + 8) * 2.0**-126 + math.ldexp(1.0, -148 - int(exponents.min()))
        )
        self.scaled_offset: Floats | None = None
        if offset is not None:
            wide_offset = np.ldexp(offset, -exponents)
            floor += 2.0**-22 * float(np.abs(wide_offset).max())
            self.scaled_offset = wide_offset.astype(np.float32)
        self.floor = np.float32(1.0001 * floor)

    def encode_block(self, rows: Floats, bits: NDArray[np.bool_]) -> None:
        """Write the bits of some rows."""
        n = len(rows)
        z = rows if self.mean is None else np.subtract(rows, self.mean, out=self._centred[:n])
        products = np.matmul(z, self.scaled, out=self._products[:n])
        if self.scaled_offset is not None:
            products -= self.scaled_offset
        np.greater(products, 0, out=bits)
        norms = np.sqrt(np.einsum("ij,ij->i", z, z))
        bounds = norms * self.slope + self.floor
        far = np.greater(np.abs(products, out=products), bounds[:, None], out=self._far[:n])
        n_near = far.size - int(np.count_nonzero(far))
        if n_near * 64 > far.size:
            self._resolve_many(rows, far, bits)
        elif n_near:
            self._resolve_few(rows, far, bits)

    def _resolve_many(self, rows: Floats, far: NDArray[np.bool_], bits: NDArray[np.bool_]) -> None:
        """Sum every row and every column that has a near entry: cheaper than picking out so many."""
        i, k = np.flatnonzero(~far.all(axis=1)), np.flatnonzero(~far.all(axis=0))
        near_rows = rows if i.size == rows.shape[0] else rows[i]
        offset = None if self.offset is None else self.offset[k]
        margins = _project(near_rows, self.weights[:, k], offset, self.mean, self.may_compile)
        bits[i[:, None], k] = margins > 0

    def _resolve_few(self, rows: Floats, far: NDArray[np.bool_], bits: NDArray[np.bool_]) -> None:
        """Sum each near entry."""
        near_rows, near_columns = np.divmod(np.flatnonzero(~far), far.shape[1])
        n_chunk = max(1, (1 << 19) // rows.shape[1])
        for start in range(0, near_rows.size, n_chunk):
            i, k = near_rows[start : start + n_chunk], near_columns[start : start + n_chunk]
            terms = _centred(rows[i], self.mean) * self.weights.T[k]
            # accumulate adds from left to right, by definition; add.reduce would add in pairs.
            sums = np.add.accumulate(terms, axis=1, out=terms)[:, -1]
            bits[i, k] = _finish(sums, None if self.offset is None else self.offset[k]) > 0


def _project(x: Floats, w: Floats, offset: Doubles | None, mean: Floats | None, may_compile: bool) -> Floats:
    out = np.empty((x.shape[0], w.shape[1]), np.float32)
    if may_compile:
        _project_compiled(x, w, offset, mean, out)
    else:
        _project_small(x, w, offset, mean, out)
    return out


def _project_small(x: Floats, w: Floats, offset: Doubles | None, mean: Floats | None, out: Floats) -> None:
    """Write the ordered product, one dimension at a time over a block of rows."""
    wide = w.astype(np.float64)
    n_block = max(1, (1 << 14) // max(1, w.shape[1]))
    with np.errstate(all="ignore"):
        for start in range(0, x.shape[0], n_block):
            z = np.ascontiguousarray(_centred(x[start : start + n_block], mean).T)
            sums = np.zeros((z.shape[1], w.shape[1]), np.float64)
            terms = np.empty_like(sums)
            for j in range(w.shape[0]):
                np.multiply(z[j][:, None], wide[j], out=terms)
                np.add(sums, terms, out=sums)
            out[start : start + n_block] = _finish(sums, offset)


def _project_compiled(x: Floats, w: Floats, offset: Doubles | None, mean: Floats | None, out: Floats) -> None:
    """Write the ordered product by the kernel, which adds in the same order."""
    from hashdb.search.kernels.margins import project_rows

    # Zeros subtract to the same bits as no mean and no offset: x - 0 = x, and a sum that starts at +0 is never -0.
    centre = np.zeros(w.shape[0], np.float32) if mean is None else mean
    shift = np.zeros(w.shape[1], np.float64) if offset is None else offset
    wide = w.astype(np.float64)
    # Tiles of columns, so that the weights and sums which a kernel goes through again and again stay in the caches.
    lefts = range(0, w.shape[1], _TILE_COLUMNS)
    tiles = [np.ascontiguousarray(wide[:, left : left + _TILE_COLUMNS]) for left in lefts]
    shifts = [np.ascontiguousarray(shift[left : left + _TILE_COLUMNS]) for left in lefts]
    n_threads = _n_threads() if x.size * w.shape[1] >= _THREADED_WORK else 1
    edges = [x.shape[0] * t // n_threads for t in range(n_threads + 1)]

    def run(t: int) -> None:
        for left, tile, shift in zip(lefts, tiles, shifts, strict=True):
            project_rows(x, tile, centre, shift, out, left, edges[t], edges[t + 1])

    if n_threads == 1:
        run(0)
        return
    # A pool for this call only: it cannot be inherited, broken, by a forked child.
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(run, range(n_threads)))


def _centred(rows: Floats, mean: Floats | None) -> Doubles:
    z = rows if mean is None else np.clip(rows - mean, -_LARGEST, _LARGEST)
    return z.astype(np.float64)


def _finish(sums: Doubles, offset: Doubles | None) -> Floats:
    margins = sums if offset is None else sums - offset
    return np.clip(margins, -_LARGEST, _LARGEST).astype(np.float32)


def _n_threads() -> int:
    asked = os.environ.get("HASHDB_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(
    vectors: Any, weights: Any, offset: Any, mean: Any
) -> tuple[Floats, Floats, Doubles | None, Floats | None]:
    """Return C-contiguous arrays of the right dtypes whose shapes fit, or raise ArgumentError."""
    w = np.ascontiguousarray(weights, dtype=np.float32)
    if w.ndim != 2 or 0 in w.shape:
        raise ArgumentError(f"weights have shape {w.shape}, expected (dim, m) with at least one of each")
    x = np.ascontiguousarray(vectors, dtype=np.float32)
    if x.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ArgumentError(f"vectors have shape {x.shape}, expected (n, {w.shape[0]}) for weights of shape {w.shape}")
    o = None if offset is None else np.ascontiguousarray(offset, dtype=np.float64)
    if o is not None and o.shape != (w.shape[1],):
        raise ArgumentError(f"offset has shape {o.shape}, expected ({w.shape[1]},) for weights of shape {w.shape}")
    centre = None if mean is None else np.ascontiguousarray(mean, dtype=np.float32)
    if centre is not None and centre.shape != (w.shape[0],):
        raise ArgumentError(f"mean has shape {centre.shape}, expected ({w.shape[0]},) for weights of shape {w.shape}")
    return x, w, o, centre
