"""Whether a difference is more than chance: intervals over queries, tests over runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hashdb.evaluation.counts import Counts
from hashdb.evaluation.ties import ratio

Doubles = NDArray[np.float64]

N_RESAMPLES = 1000
_BOOTSTRAP = 0xB0075  # keeps the draws apart from those of splits and methods


def resamples(n_queries: int, seed: int) -> Doubles:
    """Draw the queries with replacement, many times.

    Parameters
    ----------
    n_queries : int
    seed : int

    Returns
    -------
    ndarray of float64, shape (1000, n_queries)
        How often each query was drawn; rows sum to ``n_queries``.
    """
    rng = np.random.default_rng([seed, _BOOTSTRAP])
    return rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), N_RESAMPLES).astype(np.float64)


def resampled_auprc(counts: Counts, seed: int) -> Doubles:
    """Compute the area under the pooled curve for each resample, (1000,)."""
    drawn = resamples(len(counts.total), seed)
    found, hits = (np.cumsum(drawn @ part.astype(np.float64), axis=1) for part in (counts.total, counts.relevant))
    n_radii = int(np.flatnonzero(counts.total.sum(axis=0)).max(initial=0))
    precision, recall = ratio(hits, found)[:, :n_radii], ratio(hits, hits[:, -1:])[:, :n_radii]
    return np.asarray(np.trapezoid(precision, recall, axis=1), np.float64)


def interval(replicates: Sequence[Doubles]) -> tuple[float, float]:
    """Give the 95 % interval of a mean over runs.

    Parameters
    ----------
    replicates : sequence of ndarray, shape (n_resamples,)
        The value in each resample of a run's queries, for each run.

    Returns
    -------
    low, high : float
        2.5 and 97.5 percentiles of the mean over runs.

    Examples
    --------
    >>> interval([np.arange(1001.0), np.arange(1001.0)])
    (25.0, 975.0)
    """
    low, high = np.percentile(np.mean(replicates, axis=0), [2.5, 97.5])
    return float(low), float(high)


def paired_p(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Test by Wilcoxon's signed ranks whether paired values differ, two-sided.

    Parameters
    ----------
    values, baseline : sequence of float
        One a run, in the same order.

    Returns
    -------
    float or None
        None below two runs. 1 where no pair differs. With n runs nothing is below 2^(1-n).

    Examples
    --------
    >>> paired_p([2.0, 3.0, 4.0, 5.5, 6.5], [1.0, 1.5, 2.0, 3.0, 3.5])
    0.0625
    """
    differences = np.asarray(values) - np.asarray(baseline)
    if len(differences) < 2:
        return None
    if not differences.any():
        return 1.0
    from scipy.stats import wilcoxon

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few runs, or ties among them: the value says it
        return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1, is no less than those before it, and at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    m = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, np.float64)[order] * (m - np.arange(m))
    corrected = np.empty(m)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in corrected]
