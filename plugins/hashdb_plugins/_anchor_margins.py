"""Margins and codes of a kernel model that depend on their row alone.

The state is ``anchors`` float32 (m, dim), ``gamma`` float64 (), ``weights`` float32 (m, n_bits), ``bias`` float64
(n_bits,); the margins of a row x are

    (1)  f(x) = Σ_j k_j(x) w_j + b,     k_j(x) = exp(-γ |x - a_j|^2)

:func:`project` is the definition: in float64 it sums (x_i - a_ij)^2 in the order of dimensions, takes the exponential
of :mod:`hashdb_plugins._elementary` (additions and multiplications alone, so the same on every machine), sums k_j w_j
in the order of anchors, adds b, and rounds to float32. NumPy does little work, a compiled kernel much, with equal bits.

:func:`encode` is the guard. Its bits are those of ``project(…) > 0``, one for one. It computes the margins by matrix
products in float32, with a bound on their error; rows with a bit that the bound leaves open go through the same in
float64; what is open still, hardly ever a row, goes through the ordered sums.

Why the guard is right. Let u be 2^-24 for float32, 2^-53 for float64. With c a centre and 2^e a power of two, chosen so
that g = γ 4^-e is about 1, and y = (x - c) 2^e, α_j = (a_j - c) 2^e rounded once an element,

    (2)  γ |x - a_j|^2  ≈  g |y|^2 + g |α_j|^2 - y · (2 g α_j),          N_j = g |y|^2 + g |α_j|^2

Products go over L dimensions at a time, whose p parts are added one by one: by Cauchy-Schwarz and 2 g |y||α_j| ≤ N_j
any order of summation errs by (L + p) u N_j at most (terms of second order are left to the factors below). The squares
are summed in float64. Rounding y and α_j moves the distance by u (|y| + |α_j|), hence g times its square by 4 u N_j;
rounding 2 g α_j costs u N_j, the two subtractions 4 u N_j, rounding the squares u N_j. In all the exponent errs by at
most

    (3)  η_j = u (C N_j + 1),     C = 1.05 (L + p) + 12 + 4 (dim + 4) 2^-53 / u

where the last term is the error of the squares and of the ordered sum, and 1 is for underflow: elements of y, products
and squares that fall below 2^-126 lose at most 2^-126 each, together far below u. Where η_j ≤ 2^-6 the kernel errs by
k_j (1.02 η_j + 9 u), NumPy's exponential being right to 4 units in the last place, or by 2^-125 where it underflows.
The weighted sum is one of float64, as is the ordered one, whose exponential errs by 2^-36. As Σ k_j |w_j| N_j ≤
|k| (g |y|^2 |w| + |w ∘ r|) with r_j = g |α_j|^2, the margin of the guard and the ordered one differ by at most

    (4)  u |k| ((1.02 C g |y|^2 + D) |w| + 1.02 C |w ∘ r|)  +  2^-51 |b| + 2^-125 Σ |w_j| + 2^-148
         D = 11 + ((m + 8) 2^-51 + 2^-36) / u

where 2^-148 keeps a margin from being rounded to 0. A factor of 1.01 covers the arithmetic of (4) itself. Whatever
overflows makes a bound that is infinite or not a number, which counts as open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from hashdb_plugins import _parallel
from hashdb_plugins._elementary import exponential

_LARGEST = float(np.finfo(np.float32).max)
# Multiply-adds up to which NumPy does the ordered sums (a hundredth of a second), and nothing is compiled.
_SMALL_WORK = 1 << 22
# Multiply-adds from which our threads are worth starting; those of the library are slow with products so narrow.
_THREADED_WORK = 1 << 24
# Rows up to which the ordered sums take less time than making ready for products in float32, and in float64.
_FEW_ROWS = 16, 64
# Kernel values that the guard goes through at a time: what stays in the caches.
_BLOCK_VALUES = 1 << 18
# Rows that a thread takes at a time, so that those left open make a product of many rows.
_SHARE_ROWS = 4096
# L in float32: long enough for fast products, short enough for a tight bound.
_CHUNK = 64
# Share of rows left open from which the float32 products cost more than they save.
_HOPELESS = 0.5


def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of a kernel model, bool (n, n_bits): ``project(state, vectors) > 0``, bit for bit.

    Takes about twice as long as the kernel by float32 products, 4 times as long where weights of opposite signs leave
    little of large sums.
    """
    if len(vectors) <= _FEW_ROWS[0]:
        return project(state, vectors) > 0
    bits = np.empty((len(vectors), state["weights"].shape[1]), np.bool_)
    guard = _Guard(state)

    def fill(block: slice) -> np.ndarray:
        guard.encode(vectors[block], bits[block])
        return np.zeros(())

    parts = [slice(i, i + _SHARE_ROWS) for i in range(0, len(vectors), _SHARE_ROWS)]
    _for_blocks(parts, fill, len(vectors) * state["anchors"].size)
    return bits


def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the margins of a kernel model, float32 (n, n_bits), each row a function of that row alone.

    Takes 4 to 8 times as long as the kernel by float32 products.
    """
    ordered = _Ordered(state)
    out = np.empty((len(vectors), state["weights"].shape[1]), np.float32)

    def fill(block: slice) -> np.ndarray:
        out[block] = ordered.margins(vectors[block])
        return np.zeros(())

    work = len(vectors) * state["anchors"].size
    ordered.may_compile = work > _SMALL_WORK
    _for_blocks([slice(i, i + 256) for i in range(0, len(vectors), 256)], fill, work)
    return out


def _for_blocks(parts: list[slice], fill: Callable[[slice], np.ndarray], work: int) -> None:
    """Fill each part, in several threads where that is worth while and nobody else has them.

    A fit may have the threads for minutes, and its limit of one library thread a call holds for us too meanwhile.
    """
    turn = _parallel._turn
    if work >= _THREADED_WORK and turn.acquire(blocking=False):
        try:
            _parallel.sum_over(parts, fill)
        finally:
            turn.release()
        return
    for part in parts:
        fill(part)


class _Ordered:
    """Margins by the ordered sums; serial, for the threads of :func:`encode` come here too."""

    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self.may_compile = True
        self._anchors = np.ascontiguousarray(state["anchors"].T, dtype=np.float64)
        self._gamma = float(state["gamma"])
        self._weights = np.ascontiguousarray(state["weights"], dtype=np.float64)
        self._bias = np.ascontiguousarray(state["bias"])

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """Give margins, float32 (n, n_bits)."""
        if not self.may_compile:
            return self._by_numpy(rows)
        from hashdb_plugins._kernels.anchors import project_rows

        out = np.empty((len(rows), len(self._bias)), np.float32)
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        project_rows(rows, self._anchors, self._gamma, self._weights, self._bias, out, 0, len(rows))
        return out

    def _by_numpy(self, rows: np.ndarray) -> np.ndarray:
        (dim, m), n_bits = self._anchors.shape, len(self._bias)
        out = np.empty((len(rows), n_bits), np.float32)
        step = max(1, (1 << 18) // (m * n_bits))
        for start in range(0, len(rows), step):
            z = rows[start : start + step].T.astype(np.float64)
            squares = np.zeros((z.shape[1], m))
            terms = np.empty_like(squares)
            for j in range(dim):
                np.subtract(z[j][:, None], self._anchors[j], out=terms)
                np.multiply(terms, terms, out=terms)
                squares += terms
            squares *= -self._gamma
            terms = exponential(squares)[:, :, None] * self._weights
            # accumulate adds from left to right by definition; a plain sum would add in pairs.
            sums = np.add.accumulate(terms, axis=1, out=terms)[:, -1] + self._bias
            out[start : start + step] = np.clip(sums, -_LARGEST, _LARGEST)
        return out


class _Guard:
    """The two precisions of :func:`encode`."""

    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self._state = state
        self._single = _Products(state, np.float32, _CHUNK)
        self._double: _Products | None = None
        # A bit without weights is that of its bias, and must not leave every row open.
        self._constant = ~state["weights"].any(axis=0)
        self._constant_bits = state["bias"][self._constant].astype(np.float32) > 0

    def encode(self, rows: np.ndarray, bits: np.ndarray) -> None:
        """Write the bits of rows."""
        left = self._settle(self._single, rows, np.arange(len(rows)), bits)
        if len(left) > _FEW_ROWS[1]:
            if self._double is None:
                # Two threads may both make it: the same twice.
                self._double = _Products(self._state, np.float64, self._state["anchors"].shape[1])
            left = self._settle(self._double, rows, left, bits)
        if len(left):
            ordered = _Ordered(self._state)
            ordered.may_compile = len(left) * self._state["anchors"].size > _SMALL_WORK
            bits[left] = ordered.margins(rows[left]) > 0
        bits[:, self._constant] = self._constant_bits

    def _settle(self, products: _Products, rows: np.ndarray, which: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Write the bits of some rows, and say which rows have a bit that is open still, or were not looked at."""
        left: list[np.ndarray] = []
        for start, margins, bounds in products.margins(rows, which):
            some = which[start : start + len(margins)]
            bits[some] = margins > 0
            settled = np.abs(margins) > bounds
            settled |= self._constant
            left.append(some[~settled.all(axis=1)])
            if products is self._single and len(left[-1]) > max(16, _HOPELESS * len(some)):
                left.append(which[start + len(some) :])
                break
        return np.concatenate(left) if left else which


class _Products:
    """Margins by matrix products in one precision, with bounds of their error."""

    def __init__(self, state: dict[str, np.ndarray], dtype: type, chunk: int) -> None:
        anchors, weights = state["anchors"], state["weights"].astype(np.float64)
        m, dim = anchors.shape
        self._dtype = dtype
        self._parts = [slice(i, i + chunk) for i in range(0, dim, chunk)]
        self._unit = u = float(np.finfo(dtype).eps) / 2
        gamma = float(state["gamma"])
        exponent = min(max(math.frexp(gamma)[1] // 2, -126), 126)
        self._g, self._scale = math.ldexp(gamma, -2 * exponent), dtype(2.0**exponent)
        with np.errstate(all="ignore"):
            # Any centre is right; this one keeps N_j small.
            self._centre = anchors.mean(axis=0, dtype=dtype)
            away = self._scaled(anchors)
            squares = self._squares(away)
            self._lines = away * dtype(2 * self._g)
            self._squares_of_anchors = squares.astype(dtype)
            self._weights, self._bias = weights, np.asarray(state["bias"])
            slope = 1.02 * (1.05 * (min(chunk, dim) + len(self._parts)) + 12 + 4 * (dim + 4) * 2.0**-53 / u)
            fixed = 11 + ((m + 8) * 2.0**-51 + 2.0**-36) / u
            self._largest = (2.0**-6 / u - 1) / slope - squares.max()
            norms = np.sqrt(np.einsum("jk,jk->k", weights, weights))
            weighted = weights * squares[:, None]
            self._of_squares = norms * slope
            self._of_kernel = norms * fixed + np.sqrt(np.einsum("jk,jk->k", weighted, weighted)) * slope
            self._floor = 1.01 * (2.0**-51 * np.abs(self._bias) + 2.0**-125 * np.abs(weights).sum(axis=0) + 2.0**-148)

    def margins(self, rows: np.ndarray, which: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Go through some rows in blocks: first place, margins, and bounds of equation (4), float64 (n, n_bits)."""
        m = len(self._lines)
        step = min(len(which), max(32, _BLOCK_VALUES // m))
        # Arrays of this size go back to the system when freed, and cost more to get than to fill.
        products, more = np.empty((step, m), self._dtype), np.empty((step, m), self._dtype)
        kernel = products if self._dtype is np.float64 else np.empty((step, m))
        for start in range(0, len(which), step or 1):
            some = rows[which[start : start + step]]
            yield start, *self._block(some, products[: len(some)], more[: len(some)], kernel[: len(some)])

    def _block(
        self, rows: np.ndarray, products: np.ndarray, more: np.ndarray, kernel: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        # Overflow and underflow are part of the reckoning.
        with np.errstate(all="ignore"):
            y = self._scaled(rows)
            squares = self._squares(y)
            np.matmul(y[:, self._parts[0]], self._lines[:, self._parts[0]].T, out=products)
            for part in self._parts[1:]:
                products += np.matmul(y[:, part], self._lines[:, part].T, out=more)
            products -= self._squares_of_anchors
            products -= squares.astype(self._dtype)[:, None]
            np.exp(products, out=products)
            if kernel is not products:
                kernel[:] = products
            margins = kernel @ self._weights
            margins += self._bias
            bounds = np.multiply.outer(squares, self._of_squares)
            bounds += self._of_kernel
            bounds *= 1.01 * self._unit * np.sqrt(np.vecdot(kernel, kernel))[:, None]
            bounds += self._floor
            bounds[~(squares <= self._largest)] = np.inf
            return margins, bounds

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        y = rows - self._centre
        y *= self._scale
        return y

    def _squares(self, y: np.ndarray) -> np.ndarray:
        """Give g |y|^2 of rows, float64."""
        wide = y.astype(np.float64, copy=False)
        return self._g * np.vecdot(wide, wide)
