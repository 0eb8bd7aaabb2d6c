"""How sure an equal error rate is.

Legend of axes: Q queries, G gallery entries, P people, S steps of the score, D draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.training.metrics import Labels
from eventveil.training.statistics import Interval, expanded_tail

STEPS = 512
DRAWS = 1000
AT_ONCE = 50


def error_interval(
    score_QG: npt.NDArray[np.floating[Any]],
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """95 % interval of `training.metrics.equal_error_rate`, people drawn with replacement.

    A pair of two people counts as often as the product of how often both were drawn, one of the same person as often as
    that person was: whoever is drawn comes with all of their windows, on both sides. Scores are sorted into 512
    steps of equal numbers of pairs, which is as fine as 0.002.

    Args:
        score_QG: of each pair.
        query: labels of one side.
        gallery: of the other.
        left_out_QG: pairs that do not count.
        draws: how often people are drawn.
        seed: of the draws.

    Source: percentiles moved outwards for few people as in `training.statistics.bootstrap_by_person`; dependent pairs
    as in Field and Welsh, Bootstrapping clustered data, 2007 (resampling of whole clusters).
    """
    genuine_SP, impostor_SPP = _counts(score_QG, query, gallery, left_out_QG)
    people = genuine_SP.shape[1]
    random = np.random.default_rng(seed)
    errors: list[npt.NDArray[np.float64]] = []
    for _ in range(0, draws, AT_ONCE):
        weight_DP = random.multinomial(people, np.full(people, 1 / people), size=AT_ONCE).astype(np.float64)
        genuine_DS = weight_DP @ genuine_SP.T
        partly_DSP = (weight_DP @ impostor_SPP.reshape(-1, people).T).reshape(AT_ONCE, -1, people)
        impostor_DS = np.einsum("dsp,dp->ds", partly_DSP, weight_DP)
        errors.append(_error(genuine_DS, impostor_DS))
    error_D = np.concatenate(errors)
    tail = expanded_tail(people)
    low, high = np.quantile(error_D[np.isfinite(error_D)], (tail, 1 - tail))
    return Interval(float(low), float(high))


def _counts(
    score_QG: npt.NDArray[np.floating[Any]], query: Labels, gallery: Labels, left_out_QG: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pairs in each step of the score: of each person (S, P), and of a query's and an entry's person (S, P, P)."""
    names, person = np.unique(np.concatenate((query.person, gallery.person)), return_inverse=True)
    people = len(names)
    row, column = np.nonzero(~left_out_QG)
    score = score_QG[row, column]
    edges = np.quantile(score, np.linspace(0, 1, STEPS + 1)[1:-1])
    step = np.searchsorted(edges, score, side="right")
    one, other = person[row], person[len(query) + column]
    pair = np.zeros((STEPS, people, people))
    np.add.at(pair, (step, one, other), 1)
    genuine_SP = np.einsum("spp->sp", pair).copy()
    pair[:, np.arange(people), np.arange(people)] = 0
    return genuine_SP, pair


def _error(genuine_DS: npt.NDArray[np.float64], impostor_DS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Equal error rate of each draw; not a number where one kind of pair is missing."""
    with np.errstate(invalid="ignore"):  # 0 / 0 where a draw has no pairs of one kind
        refused = np.cumsum(genuine_DS, axis=1) / genuine_DS.sum(1, keepdims=True)
        accepted = 1 - np.cumsum(impostor_DS, axis=1) / impostor_DS.sum(1, keepdims=True)
    # Below the lowest step nobody is refused and everybody accepted.
    refused = np.pad(refused, ((0, 0), (1, 0)), constant_values=0.0)
    accepted = np.pad(accepted, ((0, 0), (1, 0)), constant_values=1.0)
    nearest = np.abs(refused - accepted).argmin(1)  # not a number where there is one: it is taken for the least
    rows = np.arange(len(nearest))
    return np.asarray((refused[rows, nearest] + accepted[rows, nearest]) / 2)
