"""Column sampling based discrete supervised hashing (COSDISH).

W.-C. Kang, W.-J. Li, Z.-H. Zhou: Column Sampling Based Discrete Supervised Hashing. Proceedings of the 30th AAAI
Conference on Artificial Intelligence, 2016.

With S_ij = 1 for rows that share a class and -s for rows that do not, s such that S sums to 0, find codes B in
{-1, 1}^(n, q), q = n_bits, whose inner products are S:

    (1)  Q = |q S - B B'|^2

Again and again draw some rows Ω, and with Γ the others take only these columns of S:

    (2)  Q_Ω = |q S_ΓΩ - B_Γ B_Ω'|^2 + |q S_ΩΩ - B_Ω B_Ω'|^2

    (3)  B_Γ = sgn(S_ΓΩ B_Ω), which for S of 1 and -1 minimises the sum of absolute errors of the first term
    (4)  B_Ω one column b after the other: with c the column of B_Γ, and R what q S has beyond the other columns,
         maximise  b' R_ΩΩ b + (R_ΓΩ' c)' b,     a binary quadratic programme

(4) is solved to within a constant factor. With A the matrix of the quadratic form, made homogeneous by one more
variable, and its diagonal raised until A = U'U, maximising b'A b is to cluster the N columns u_i of U, up to their
signs, about one centre: D(b) = min_v Σ_i |u_i - b_i v|^2 = tr A - b'A b / N. Taking a column u_j for the centre gives
b_i = sgn(A_ij). Averaged over j, Σ_i min_± |u_i ∓ u_j|^2 is at most (1/N) Σ_ij |b_i u_i - b_j u_j|^2 = 2 D(b), for any
b and so for the best: the best of these starts has at most twice the least D. From it, and from the b there was, single
bits are turned while that raises b'A b, and the better of both is taken, so that Q_Ω never rises in (4).

Rows get the codes of the round with the lowest Q. A linear function on standardised features, by ridge regression,
gives new rows theirs:

    (5)  bit(x) = [W'(x - μ) + β > 0]

Learned codes find more than predicted ones: ``training_codes`` are B, which a database of the training rows may hold
(database_codes "learned"); the numbers of the paper are of such databases.

S is kept by the sets of labels that rows have (module ``_label_pairs``). Labels may be several a row. Rows without a
label are left out.

Cost: with t rows drawn and s sets of labels, fit takes n q^2 + n q + t s q + q t^2 min(t, 128) for each of rounds ×
turns, and s^2 q more a round; then n dim^2 + dim^3 for W. Memory 3 n q doubles. Encode n dim q.
``history`` in the state is Q / (q n)^2 after each round.

Differs from the paper: (4) takes the best of the starts (of 128 where there are more) and goes on from there. By
default more than q rows are drawn, 8 times the classes, and 512 at most. Rows that share no class with a row drawn keep
their codes, for (3) would give them all the same. The codes of the best round are kept, not those of the last. With
``features=kernel`` the function of (5) is one of the kernel at anchors, as in SDH. Reconstructed from the objective and
the outline of the algorithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl, margins
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchors, _discrete
from hashdb_plugins._label_pairs import LabelPairs
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins._parallel import workers

_MOST_CLASSES = 10_000
_DRAWS_OF_A_CLASS = 4
_MOST_DRAWN = 512
_MOST_STARTS = 128


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="cosdish",
        title="Column sampling based discrete supervised hashing",
        paper="Kang, Li, Zhou, Column Sampling Based Discrete Supervised Hashing, AAAI",
        year=2016,
        params=(
            Param("rounds", int, 10, minimum=1, maximum=1000, grid=(5, 10, 20), help="times that rows are drawn"),
            Param("turns", int, 3, minimum=1, maximum=100, grid=(1, 3), help="turns of both steps for each draw"),
            Param("columns", int, None, minimum=1, maximum=_MOST_DRAWN, help="rows drawn; None: from bits and classes"),
            Param(
                "features", str, "linear", choices=("linear", "kernel"), grid=("linear", "kernel"), help="of new rows"
            ),
            Param("anchors", int, 1000, minimum=1, maximum=20_000, help="rows of the kernel, for features=kernel"),
            Param(
                "ridge",
                float,
                1e-4,
                minimum=1e-9,
                maximum=1e4,
                grid=(1e-5, 1e-3),
                help="of W, as a share of the variance",
            ),
        ),
        supervision="labels",
        default_train=100_000,
        when="labels of all stored rows: database_codes=learned finds classes best; features=kernel for better queries",
    )


@hookimpl
def fit(
    vectors: np.ndarray,
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Learn the codes from the labels, then the function from the codes."""
    known = labelled("cosdish", vectors, labels, _MOST_CLASSES)
    rng = np.random.default_rng(seed)
    n_drawn = params["columns"] or min(max(n_bits, 8 * known.n_classes), _MOST_DRAWN)
    if n_drawn * params["rounds"] < _DRAWS_OF_A_CLASS * known.n_classes:
        raise ArgumentError(
            f"cosdish draws {n_drawn} rows in each of {params['rounds']} rounds, too few for {known.n_classes} "
            f"classes; ask for at least {-(-_DRAWS_OF_A_CLASS * known.n_classes // n_drawn)} rounds"
        )
    total = params["rounds"] + 1
    # Thousands of small products: threads of the library would wait for each other all the time.
    with workers():
        codes, history = learn_codes(
            known, n_bits, n_drawn, params["rounds"], params["turns"], rng, lambda done: progress(done, total)
        )
    if params["features"] == "kernel":
        features = _discrete.kernel_ridge(known.vectors, params["anchors"], None, 1e-2, rng)
        state = features.state_of(features.fit(codes)[0])
    else:
        state = _discrete.linear_ridge(known.vectors, codes, params["ridge"])
    progress(total, total)
    learned = _discrete.codes_of_all(len(vectors), known, codes, lambda: encode(state, vectors))
    return state | {"history": history, "training_codes": learned}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (5)."""
    if "anchors" in state:
        return _anchors.encode(state, vectors)
    return margins.encode(vectors, state["weights"], state["offset"], mean=state["mean"])


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give W'(x - μ) + β."""
    if "anchors" in state:
        return _anchors.project(state, vectors)
    return margins.project(vectors, state["weights"], state["offset"], mean=state["mean"])


def learn_codes(
    known: Labelled,
    n_bits: int,
    n_drawn: int,
    n_rounds: int,
    n_turns: int,
    rng: np.random.Generator,
    progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise (1) by rounds of (3) and (4).

    Parameters
    ----------
    known : Labelled
    n_bits, n_drawn, n_rounds, n_turns : int
    rng : numpy.random.Generator
    progress : callable
        Called with rounds done.

    Returns
    -------
    codes : ndarray of float64, shape (n, n_bits)
        1 and -1, those of the lowest (1) after a round.
    history : ndarray of float64, shape (n_rounds,)
        Q / (q n)^2 after each round.
    """
    pairs = balanced_pairs(known)
    n = len(pairs.of_rows)
    codes = _discrete.random_signs(n, n_bits, rng)
    best, history = codes, np.empty(n_rounds)
    for number in range(n_rounds):
        progress(number)
        drawn = rng.choice(n, min(n_drawn, n), replace=False)
        columns = pairs.table(pairs.of_rows[drawn])
        unseen = ~(columns == 1.0).any(axis=0)
        for _ in range(n_turns):
            codes[drawn] = solve_drawn(codes, drawn, columns, pairs, rng)
            wanted = columns.T @ codes[drawn]
            wanted[unseen] = 0.0
            new = _discrete.signs(wanted[pairs.of_rows], codes)
            new[drawn] = codes[drawn]
            codes = new
        history[number] = loss(codes, pairs)
        if history[number] <= history[:number].min(initial=np.inf):
            best = codes.copy()
    return best, history


def balanced_pairs(known: Labelled) -> LabelPairs:
    """Give S, whose values sum to 0 over all pairs; rows share a class in half of the pairs at least: -1 for others."""
    pairs = LabelPairs(known, other=0.0)
    sharing = float(pairs.counts @ pairs.times(pairs.counts.astype(np.float64)))
    others = float(len(pairs.of_rows)) ** 2 - sharing
    pairs.other = -min(1.0, sharing / others) if others else -1.0
    return pairs


def loss(codes: np.ndarray, pairs: LabelPairs) -> float:
    """Give Q / (q n)^2 = |S|^2 / n^2 - 2 tr(B'S B) / (q n^2) + |B'B|^2 / (q n)^2."""
    n, n_bits = codes.shape
    sums = pairs.sums(codes)
    agreement = float((sums * pairs.times(sums)).sum())
    # T is 1 or -s, so that T^2 = 1 or s^2, and (T + s) / (1 + s) says which.
    s, counts = -pairs.other, pairs.counts.astype(np.float64)
    sharing = float(counts @ (pairs.times(counts) + s * n)) / (1 + s)
    squares = sharing + s**2 * (float(n) ** 2 - sharing)
    inner = codes.T @ codes
    return (squares - 2 * agreement / n_bits + float((inner**2).sum()) / n_bits**2) / n**2


def solve_drawn(
    codes: np.ndarray, drawn: np.ndarray, columns: np.ndarray, pairs: LabelPairs, rng: np.random.Generator
) -> np.ndarray:
    """Take step (4): give new codes of the rows drawn, float64 (t, n_bits).

    Parameters
    ----------
    codes : ndarray of float64, shape (n, n_bits)
        B.
    drawn : ndarray of int64, shape (t,)
        Ω.
    columns : ndarray of float64, shape (t, n_sets)
        S of the rows drawn and all sets of labels.
    pairs : LabelPairs
    rng : numpy.random.Generator
        Chooses starts where there are many.

    Returns
    -------
    ndarray of float64, shape (t, n_bits)
    """
    n_bits, t = codes.shape[1], len(drawn)
    own = codes[drawn]
    among = columns[:, pairs.of_rows[drawn]]
    # Sums over Γ are those over all rows less those over Ω.
    seen = columns @ pairs.sums(codes) - among @ own
    inner = codes.T @ codes - own.T @ own
    rest = n_bits * among - own @ own.T
    form = np.zeros((t + 1, t + 1))
    for k in range(n_bits):
        column = own[:, k]
        rest += np.outer(column, column)
        linear = n_bits * seen[:, k] - own @ inner[:, k] + column * inner[k, k]
        form[:t, :t] = rest
        form[t, :t] = form[:t, t] = linear / 2
        np.fill_diagonal(form, 0.0)
        own[:, k] = maximise(form, np.append(column, 1.0), rng)[:t]
        rest -= np.outer(own[:, k], own[:, k])
    return own


def maximise(form: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Find b in {-1, 1}^N, its last element 1, of large b'A b; at least that of the b given.

    Parameters
    ----------
    form : ndarray of float64, shape (N, N)
        A, symmetric, its diagonal 0.
    present : ndarray of float64, shape (N,)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (N,)
    """
    size = len(form)
    which = np.arange(size) if size <= _MOST_STARTS else rng.choice(size, _MOST_STARTS, replace=False)
    starts = _discrete.signs(form[:, which], np.ones((size, len(which))))
    # The diagonal, once raised, has u_j on the side of itself.
    starts[which, np.arange(len(which))] = 1.0
    values = np.einsum("ij,ij->j", starts, form @ starts)
    tried = [_turn_bits(form, start) for start in (present, starts[:, values.argmax()])]
    best = max(tried, key=lambda b: float(b @ form @ b))
    return best * best[-1]


def _turn_bits(form: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Turn the bit that raises b'A b most, again and again."""
    b = start.copy()
    slopes = form @ b
    # Turning b_i adds -4 b_i (A b)_i. A bit is worth turning where that is above rounding.
    least = 1e-9 * np.abs(form).sum(axis=1).max()
    for _ in range(10 * len(b)):
        gains = -b * slopes
        i = int(gains.argmax())
        if gains[i] <= least:
            break
        slopes -= 2 * b[i] * form[i]
        b[i] = -b[i]
    return b
