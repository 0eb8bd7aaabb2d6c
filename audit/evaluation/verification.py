"""Verification, "is it the same person?": error rates, true-match rates, and two measures over all thresholds.

Legend of axes: Q queries, G gallery entries, P people, S steps of the score, D draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.audit.figures import Figure
from eventveil.errors import AuditError
from eventveil.host.extras import require
from eventveil.training.evaluation.confidence import Interval, accuracy_interval, expanded_tail, wilson
from eventveil.training.evaluation.retrieval_metrics import Labels

with require("scipy", extra="audit", error=AuditError):
    from scipy.optimize import isotonic_regression

STEPS = 512
LINK_STEPS = 20
COST_STEPS = 64
FALSE_MATCHES = 30
"""False matches that a rate needs to be known: the "rule of 30" of ISO/IEC 19795-1."""
DRAWS = 1000
CHANCE_DRAWS = 10
AT_ONCE = 50


def error_interval(
    score_QG: npt.NDArray[np.floating[Any]],
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the 95 % interval of `retrieval_metrics.equal_error_rate` from a bootstrap over people.

    A person who is drawn brings all of their windows, on both sides. So a pair of the same person counts as often as
    that person was drawn, and a pair of two people as often as the product of both. Scores are sorted into 512 steps
    of equal numbers of pairs, a resolution of 0.002.

    Args:
        score_QG: score of each pair.
        query: labels of one side.
        gallery: labels of the other side.
        left_out_QG: pairs that do not count.
        draws: number of bootstrap samples.
        seed: seed of the bootstrap.

    The interval is at least as wide as Wilson's of as many independent answers as there are pairs of one person: the
    bootstrap of few people who are all alike has no width.

    Source: percentiles moved outwards for few people as in `confidence.bootstrap_by_person`; dependent pairs as in
    Field and Welsh, Bootstrapping clustered data, 2007 (resampling of whole clusters).
    """
    counts = _counts(score_QG, query, gallery, left_out_QG, STEPS)
    low, high = _resampled(*counts, _error, draws, seed)
    pairs = int(counts[0].sum())
    by_answer = wilson(float(_error(*_unweighted(*counts))[0]) * pairs, pairs)
    return Interval(min(low, by_answer.low), max(high, by_answer.high))


def true_match_rate(
    score_QG: npt.NDArray[np.floating[Any]],
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    false_match_rate: float,
) -> Figure | None:
    """Return the share of pairs of one person that are accepted where few pairs of two people are.

    The threshold is the lowest score that accepts no more than `false_match_rate` of the pairs of two people. An equal
    error rate hides what happens there, and there is where an attacker works who must not accuse the wrong person. The
    95 % interval is by person, for this threshold; chance is the false-match rate.

    Args:
        score_QG: score of each pair.
        query: labels of one side.
        gallery: labels of the other side.
        left_out_QG: pairs that do not count.
        false_match_rate: from 0 to 1.

    Returns:
        None if fewer than 30 false matches are expected: too few to know the threshold. A pair that is compared from
        both of its sides is one pair.
    """
    same_QG = query.person[:, None] == gallery.person
    impostor_QG = ~same_QG & ~left_out_QG
    impostor = score_QG[impostor_QG]
    # A gallery that holds the queries as well holds each pair of two queries twice.
    twice_QG = impostor_QG & np.isin(gallery.trial, query.trial) & np.isin(query.trial, gallery.trial)[:, None]
    pairs = len(impostor) - int(twice_QG.sum()) // 2
    row, column = np.nonzero(same_QG & ~left_out_QG)
    if int(false_match_rate * pairs) < FALSE_MATCHES or not len(row):
        return None
    allowed = int(false_match_rate * len(impostor))
    threshold = np.partition(impostor, -(allowed + 1))[-(allowed + 1)]
    accepted = score_QG[row, column] > threshold
    low, high = accuracy_interval(accepted, query.person[row])
    return Figure(value=float(accepted.mean()), low=low, high=high, chance=false_match_rate)


def log_likelihood_cost(
    score_QG: npt.NDArray[np.floating[Any]],
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    chance: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> Figure:
    """Return the smallest cost of the log-likelihood ratio: from 0, scores tell who is who, to 1, they tell nothing.

    It is the mean information, in bits, that is still missing about "the same person?" after seeing the score, if both
    answers are equally likely before and the score is turned into a probability as well as possible: by the increasing
    function that fits best, in 64 steps of the score.

    Args:
        score_QG: score of each pair.
        query: labels of one side.
        gallery: labels of the other side.
        left_out_QG: pairs that do not count.
        chance: chance of the same pairs, see `chance_cost`.
        draws: number of bootstrap samples over people, for the 95 % interval.
        seed: seed of the bootstrap.

    Source: Brummer and du Preez, Application-independent evaluation of speaker detection, 2006: Cllr-min.
    """
    counts = _counts(score_QG, query, gallery, left_out_QG, COST_STEPS, balanced=True)
    return _figure(counts, _cost, chance, draws, seed)


def certain_links(
    score_QG: npt.NDArray[np.floating[Any]],
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    chance: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> Figure:
    """Return D: how certainly scores link pairs of one person, from 0, no score does, to 1, all scores do.

    The global measure D is the mean of 2 p / (1 + p) - 1 over the scores s of pairs of one person, with p the ratio of
    the densities of both kinds of pair at s; it is 0 where p is below 1. Unlike an error rate at one threshold, D
    detects scores that link some people with certainty. Densities are histograms of 20 steps, each with a twentieth of
    all pairs, both kinds of pair with equal weight.

    Args:
        score_QG: score of each pair.
        query: labels of one side.
        gallery: labels of the other side.
        left_out_QG: pairs that do not count.
        chance: chance of the same pairs, see `chance_certain_links`.
        draws: number of bootstrap samples over people, for the 95 % interval.
        seed: seed of the bootstrap.

    Source: Gomez-Barrero, Galbally, Rathgeb, Busch, General framework to evaluate unlinkability in biometric template
    protection systems, 2018, with both kinds of pair equally likely.
    """
    counts = _counts(score_QG, query, gallery, left_out_QG, LINK_STEPS, balanced=True)
    return _figure(counts, _linked, chance, draws, seed)


def _figure(
    counts: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    statistic: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    chance: float,
    draws: int,
    seed: int,
) -> Figure:
    """Return a statistic of pairs in steps of the score, with its interval by person."""
    value = float(statistic(*_unweighted(*counts))[0])
    low, high = _resampled(*counts, statistic, draws, seed)
    return Figure(value=value, low=min(low, value), high=max(high, value), chance=chance)


def chance_certain_links(
    query: Labels, gallery: Labels, left_out_QG: npt.NDArray[np.bool_], draws: int = CHANCE_DRAWS, seed: int = 0
) -> float:
    """Return the mean measure D of random scores. It is above 0, because densities of few pairs differ by chance.

    Args:
        query: labels of one side.
        gallery: labels of the other side.
        left_out_QG: pairs that do not count.
        draws: number of random draws of all scores.
        seed: seed of the draws.
    """
    return _by_chance(_linked, LINK_STEPS, query, gallery, left_out_QG, draws, seed)


def chance_cost(
    query: Labels, gallery: Labels, left_out_QG: npt.NDArray[np.bool_], draws: int = CHANCE_DRAWS, seed: int = 0
) -> float:
    """Return the mean cost of the log-likelihood ratio of random scores: slightly below 1, as the best fit to luck.

    Args:
        query: labels of one side.
        gallery: labels of the other side.
        left_out_QG: pairs that do not count.
        draws: number of random draws of all scores.
        seed: seed of the draws.
    """
    return _by_chance(_cost, COST_STEPS, query, gallery, left_out_QG, draws, seed)


def _by_chance(
    statistic: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    steps: int,
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    draws: int,
    seed: int,
) -> float:
    """Return the mean of a statistic of random scores."""
    random = np.random.default_rng(seed)
    counts = [
        _counts(random.random(left_out_QG.shape), query, gallery, left_out_QG, steps, balanced=True)
        for _ in range(draws)
    ]
    return float(np.mean([statistic(*_unweighted(*one))[0] for one in counts]))


def _resampled(
    genuine_SP: npt.NDArray[np.float64],
    impostor_SPP: npt.NDArray[np.float64],
    statistic: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    draws: int,
    seed: int,
) -> Interval:
    people = genuine_SP.shape[1]
    random = np.random.default_rng(seed)
    values: list[npt.NDArray[np.float64]] = []
    for _ in range(0, draws, AT_ONCE):
        weight_DP = random.multinomial(people, np.full(people, 1 / people), size=AT_ONCE).astype(np.float64)
        values.append(statistic(*_weighted(genuine_SP, impostor_SPP, weight_DP)))
    value_D = np.concatenate(values)
    tail = expanded_tail(people)
    low, high = np.quantile(value_D[np.isfinite(value_D)], (tail, 1 - tail))
    return Interval(float(low), float(high))


def _weighted(
    genuine_SP: npt.NDArray[np.float64], impostor_SPP: npt.NDArray[np.float64], weight_DP: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Count pairs of both kinds in each step, (D, S) each, with weights for people."""
    people = weight_DP.shape[1]
    genuine_DS = weight_DP @ genuine_SP.T
    partly_DSP = (weight_DP @ impostor_SPP.reshape(-1, people).T).reshape(len(weight_DP), -1, people)
    return genuine_DS, np.einsum("dsp,dp->ds", partly_DSP, weight_DP)


def _unweighted(
    genuine_SP: npt.NDArray[np.float64], impostor_SPP: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Count pairs of both kinds in each step, (1, S) each, with weight 1 for all people."""
    return _weighted(genuine_SP, impostor_SPP, np.ones((1, genuine_SP.shape[1])))


def _counts(
    score_QG: npt.NDArray[np.floating[Any]],
    query: Labels,
    gallery: Labels,
    left_out_QG: npt.NDArray[np.bool_],
    steps: int,
    *,
    balanced: bool = False,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Count pairs in each step of the score: of one person (S, P), and of the query's and the entry's person (S, P, P).

    Steps hold equal numbers of pairs; if balanced, both kinds of pair have equal weight in that.
    """
    names, person = np.unique(np.concatenate((query.person, gallery.person)), return_inverse=True)
    people = len(names)
    row, column = np.nonzero(~left_out_QG)
    score = score_QG[row, column]
    one, other = person[row], person[len(query) + column]
    part = np.linspace(0, 1, steps + 1)[1:-1]
    if balanced:
        step = np.searchsorted(_quantiles(score, _balanced_weights(one == other), part), score, side="left")
    else:
        step = np.searchsorted(np.quantile(score, part), score, side="right")
    flat = np.bincount((step * people + one) * people + other, minlength=steps * people**2)
    pair = flat.reshape(steps, people, people).astype(np.float64)
    genuine_SP = np.einsum("spp->sp", pair).copy()
    pair[:, np.arange(people), np.arange(people)] = 0
    return genuine_SP, pair


def _balanced_weights(same_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return weights of pairs with which both kinds sum to one half."""
    share = same_N.mean()
    return np.asarray(np.where(same_N, 0.5 / max(share, 1e-12), 0.5 / max(1 - share, 1e-12)))


def _quantiles(
    score_N: npt.NDArray[np.floating[Any]], weight_N: npt.NDArray[np.float64], part_S: npt.NDArray[np.float64]
) -> npt.NDArray[np.floating[Any]]:
    """Return weighted quantiles of scores; NumPy has weights only from 2.0 on."""
    order = np.argsort(score_N)
    below_N = np.cumsum(weight_N[order]) / weight_N.sum()
    return np.asarray(score_N[order][np.searchsorted(below_N, part_S - 1e-9)])  # sums are inexact


def _error(genuine_DS: npt.NDArray[np.float64], impostor_DS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the equal error rate of each draw; NaN where one kind of pair is missing."""
    with np.errstate(invalid="ignore"):  # 0 / 0 where a draw has no pairs of one kind
        refused = np.cumsum(genuine_DS, axis=1) / genuine_DS.sum(1, keepdims=True)
        accepted = 1 - np.cumsum(impostor_DS, axis=1) / impostor_DS.sum(1, keepdims=True)
    # Below the lowest step all pairs are accepted.
    refused = np.pad(refused, ((0, 0), (1, 0)), constant_values=0.0)
    accepted = np.pad(accepted, ((0, 0), (1, 0)), constant_values=1.0)
    nearest = np.abs(refused - accepted).argmin(1)  # argmin picks NaN where there is one
    rows = np.arange(len(nearest))
    return np.asarray((refused[rows, nearest] + accepted[rows, nearest]) / 2)


def _linked(genuine_DS: npt.NDArray[np.float64], impostor_DS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return D of each draw; NaN where one kind of pair is missing."""
    with np.errstate(invalid="ignore"):  # 0 / 0 where a draw has no pairs of one kind, or a step no pairs at all
        genuine = genuine_DS / genuine_DS.sum(1, keepdims=True)
        impostor = impostor_DS / impostor_DS.sum(1, keepdims=True)
        # 2 p / (1 + p) - 1 of p = genuine / impostor, above 0 where p is above 1; also where impostor is 0.
        local = np.maximum(0.0, (genuine - impostor) / (genuine + impostor))
    missing = np.isnan(genuine[:, 0]) | np.isnan(impostor[:, 0])
    return np.where(missing, np.nan, (genuine * np.nan_to_num(local)).sum(1))


def _cost(genuine_DS: npt.NDArray[np.float64], impostor_DS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return Cllr-min of each draw; NaN where one kind of pair is missing."""
    with np.errstate(invalid="ignore"):  # 0 / 0 where a draw has no pairs of one kind
        genuine = genuine_DS / genuine_DS.sum(1, keepdims=True)
        impostor = impostor_DS / impostor_DS.sum(1, keepdims=True)
    return np.array([_cost_of(*one) for one in zip(genuine, impostor, strict=True)])


def _cost_of(genuine_S: npt.NDArray[np.float64], impostor_S: npt.NDArray[np.float64]) -> float:
    if np.isnan(genuine_S).any() or np.isnan(impostor_S).any():
        return float("nan")
    weight = genuine_S + impostor_S
    some = weight > 0
    genuine, impostor, weight = genuine_S[some], impostor_S[some], weight[some]
    same = isotonic_regression(genuine / weight, weights=weight).x  # the probability of "the same person"
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 counts 0
        bits = np.nan_to_num(genuine * -np.log2(same), nan=0.0) + np.nan_to_num(impostor * -np.log2(1 - same), nan=0.0)
    return float(bits.sum() / 2)
