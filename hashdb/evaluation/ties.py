"""The mathematics of ties: what codes at one distance add to average precision, over all orders they may come in.

Codes at one distance are tied, and which of them comes first is an accident of the sort. Take a tie of t codes, r of
them relevant, behind s codes of which c are relevant. Over all orders of the tie, each as likely,

* the code at position p = s+1 … s+t is relevant with the probability r/t, and then (p-s-1) (r-1)/(t-1) relevant ones
  of the tie stand before it on average, so the tie adds to the sum of precisions at relevant positions on average

      r/t  sum over p of  (c + 1 + (p-s-1) (r-1)/(t-1)) / p
      =  r/t ( (c+1) D + (r-1)/(t-1) (t - (s+1) D) ),       D = 1/(s+1) + … + 1/(s+t)                        (1)

  (McSherry and Najork, Computing information retrieval performance measures efficiently in the presence of tied scores,
  ECIR 2008);
* at best the relevant come first, which adds  r + (c-s) (1/(s+1) + … + 1/(s+r))                               (2)
* at worst they come last, which adds  r + (c-s-t+r) (1/(s+t-r+1) + … + 1/(s+t)).                              (3)

Average precision is the sum over ties divided by the number of relevant codes. A ranking that is cut at R may cut a
tie: h of its relevant codes are then among the m = R-s that are left, with the hypergeometric probability; given h, the
m codes are a tie like any other. So (1) to (3) hold with t = m and r = h, and the mean, maximum and minimum over h,
which also decides the divisor, are exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Doubles = NDArray[np.float64]

_EXACT_TERMS = 64
_HARMONIC = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _EXACT_TERMS + 1))])


def tie_sums(before: Any, total: Any, found: Any, relevant: Any, ties: str) -> Doubles:
    """Give what ties add to the sum of precisions: equations (1), (2) or (3), elementwise; s, t, c, r as above."""
    s, t, c, r = np.broadcast_arrays(before, total, found, relevant)
    if ties == "optimistic":
        return np.asarray(r + (c - s) * harmonic_span(s, r))
    if ties == "pessimistic":
        return np.asarray(r + (c - s - t + r) * harmonic_span(s + t - r, r))
    span = harmonic_span(s, t)
    others = ratio(r - 1.0, t - 1.0) * (t - (s + 1) * span)
    return ratio(r, t) * ((c + 1) * span + others)


def harmonic_span(start: Any, length: Any) -> Doubles:
    """Sum 1/p over p = start+1 … start+length, to the last digits also where start is large.

    Small p are summed; beyond, the difference of two harmonic numbers is that of their Euler-Maclaurin series, whose
    logarithms are taken together.
    """
    start, stop = np.asarray(start), np.asarray(start) + length
    low, high = np.minimum(start, _EXACT_TERMS), np.minimum(stop, _EXACT_TERMS)
    a, b = np.maximum(start, _EXACT_TERMS).astype(np.float64), np.maximum(stop, _EXACT_TERMS).astype(np.float64)

    def tail(n: Doubles) -> Doubles:
        inverse = 1 / (n * n)
        series: Doubles = 0.5 / n - inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))
        return series

    spans: Doubles = _HARMONIC[high] - _HARMONIC[low] + np.log1p((b - a) / a) + (tail(b) - tail(a))
    return spans


def chances(total: int, relevant: int, kept: int) -> tuple[Numbers, Doubles]:
    """Give the numbers of relevant codes that may be among the first ``kept`` of a tie, with their probabilities."""
    few = np.arange(max(0, kept - (total - relevant)), min(relevant, kept) + 1)
    h = few[:-1].astype(np.float64)
    # The hypergeometric distribution by the ratios of its neighbours, so that no large factorials are needed.
    ratios = (relevant - h) * (kept - h) / ((h + 1) * (total - relevant - kept + h + 1))
    logs = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    weights = np.exp(logs - logs.max())
    return few, weights / weights.sum()


def ratio(numerator: Any, denominator: Any) -> Doubles:
    """Divide, 0 where the denominator is not positive."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    quotients: Doubles = np.divide(top, bottom, out=np.zeros(top.shape), where=bottom > 0)
    return quotients
