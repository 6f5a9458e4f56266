"""What a quantiser promises by itself, on projections, without a method."""

from __future__ import annotations

import re
import warnings

import numpy as np
from numpy.typing import NDArray

from hashdb import params as declared
from hashdb.errors import ArgumentError
from hashdb.hookspecs import State
from hashdb.plugin import Plugin
from hashdb.testing.expect import CheckFailure, expect, expect_equal, works_or_refuses
from hashdb.testing.planted import at_thresholds
from hashdb.testing.subject import Subject

_N_ROWS = 500


def check_n_projections(subject: Subject) -> None:
    """Check that more bits never want fewer projections, and that a refused width names the nearest that works."""
    plugin, params = subject.target, _params(subject)
    low, high = plugin.info.min_bits, min(plugin.info.max_bits or 256, 256)
    numbers: dict[int, int] = {}
    refused: dict[int, str] = {}
    for n_bits in range(low, high + 1):
        try:
            numbers[n_bits] = plugin.n_projections(n_bits, params)
        except ArgumentError as error:
            refused[n_bits] = str(error)
    expect(numbers, f"n_projections refuses every width from {low} to {high}")
    wanted = [numbers[n_bits] for n_bits in sorted(numbers)]
    expect(wanted == sorted(wanted), f"n_projections falls as n_bits grows: {numbers}")
    for n_bits, message in refused.items():
        gap = min(abs(width - n_bits) for width in numbers)
        named = {int(text) for text in re.findall(r"\d+", message)}
        expect(
            any(width in numbers and abs(width - n_bits) == gap for width in named),
            f"n_projections refuses {n_bits} bits without naming the nearest width, {gap} away: {message}",
        )


def check_margins(subject: Subject) -> None:
    """Check that margins have one width at every call and are a row's own, also on thresholds."""
    plugin = subject.target
    for n_bits in subject.n_bits:
        state, projections = _fitted(subject, n_bits)
        width = plugin.quantise(state, projections[:1]).shape[1]

        def bits(rows: NDArray[np.float32], state: State = state, width: int = width) -> NDArray[np.bool_]:
            return plugin.quantise(state, rows, width) > 0

        rows = np.vstack([projections, at_thresholds(bits, projections, 100, subject.seed), 0 * projections[:1]])
        whole = plugin.quantise(state, rows, width)
        for size in (1, 7, 100):
            parts = [plugin.quantise(state, rows[first : first + size], width) for first in range(0, len(rows), size)]
            expect_equal(np.concatenate(parts), whole, f"margins of {n_bits} bits in batches of {size} rows")


def check_projections_unchanged(subject: Subject) -> None:
    """Check that neither fit_quantiser nor quantise writes into the projections, and that a seed gives one state."""
    n_bits = subject.n_bits[0]
    projections = _projections(subject, n_bits)
    before = projections.copy()
    state, again = _fit(subject, projections, n_bits), _fit(subject, before.copy(), n_bits)
    subject.target.quantise(state, projections)
    expect_equal(projections, before, "the projections were changed")
    expect(sorted(state) == sorted(again), f"two fits with one seed learned {sorted(state)} and {sorted(again)}")
    for name, array in state.items():
        expect_equal(again[name], array, f"two fits with one seed differ in state {name!r}")


def check_degenerate_projections(subject: Subject) -> None:
    """Check that degenerate projections give margins or an ArgumentError, never NaN, never a failure of the plugin."""
    n_bits = subject.n_bits[0]
    projections = _projections(subject, n_bits)
    cases = {
        "all zeros": 0 * projections,
        "all rows equal": np.repeat(projections[:1], _N_ROWS, axis=0),
        "one row": projections[:1],
        "two rows": projections[:2],
        "two values": np.sign(projections),
        "few values": np.round(projections),
        "all positive": np.abs(projections) + 1,
        "values of 1e18": projections * np.float32(1e18),
        "values of 1e-18": projections * np.float32(1e-18),
    }
    for what, rows in cases.items():
        rows = np.ascontiguousarray(rows.astype(np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            state = works_or_refuses(what, _fit, subject, rows, n_bits)
            if state is not None:
                widths = {subject.target.quantise(state, part).shape[1] for part in (rows, projections)}
                if len(widths) > 1:
                    raise CheckFailure(f"{what}: margins have widths {sorted(widths)}, expected one")


def _params(subject: Subject) -> dict[str, object]:
    _, own = declared.split(subject.plugin.info, subject.target.info, subject.params)
    return own


def _fitted(subject: Subject, n_bits: int) -> tuple[State, NDArray[np.float32]]:
    projections = _projections(subject, n_bits)
    return _fit(subject, projections, n_bits), projections


def _projections(subject: Subject, n_bits: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([subject.seed, n_bits])
    width = subject.target.n_projections(n_bits, _params(subject))
    spread = rng.uniform(0.5, 3, width)
    return np.asarray(spread * rng.standard_normal((_N_ROWS, width)), np.float32)


def _fit(subject: Subject, projections: NDArray[np.float32], n_bits: int) -> State:
    plugin: Plugin = subject.target
    wide = projections.astype(np.float64)
    distances = np.linalg.norm(wide[:, None, :] - wide[None, :, :], axis=2)
    pairs = np.argwhere(np.triu(distances <= np.median(distances) / 2, 1)).astype(np.int64)
    return plugin.fit_quantiser(projections, n_bits, _params(subject), pairs, subject.seed)
