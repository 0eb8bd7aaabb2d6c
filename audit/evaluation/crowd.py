"""Linkability and singling out: what attackers achieve among a crowd of a given size.

Rank-1 depends on how many people the test happens to have. These two figures state the size of the crowd:

*linkability* is the probability that an attacker, shown a track of a person, picks that person's other session among
those of N people. Blind guessing is right once in N.

*singling out* is the probability that a rule that the attacker made from one session of a person ("looks like this")
fits exactly one of N people. The rule is a threshold on the score, placed so that it fits exactly one of the same
people in tracks of other gestures. A rule that knows nothing fits exactly one person in some 28 % of crowds, because
its threshold rests on one track; the exact share is measured with random scores.

Both answer criteria of the Article 29 Working Party's Opinion 05/2014 on anonymisation techniques.

Source: Vauquier, Srivastava, Hosseini, Vincent, Legally validated evaluation framework for voice anonymization,
Interspeech 2025. Where scores are equal, their package decides for the attacker; here the attacker guesses.
Legend of axes: Q queries, G gallery entries, E those of one person, P people, R crowds drawn, N people of a crowd.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.audit.figures import CrowdFigures, Figure
from eventveil.errors import AuditError
from eventveil.host.extras import require
from eventveil.training.evaluation.confidence import bootstrap_by_person

with require("scipy", extra="audit", error=AuditError):
    from scipy.special import gammaln

Floats = npt.NDArray[np.floating[Any]]
CROWDS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
DRAWS = 5


def crowd_figures(
    score_QP: Floats,
    own_Q: npt.NDArray[np.int64],
    other_Q: npt.NDArray[np.int64],
    chance: Mapping[int, float],
    seed: int = 0,
) -> tuple[CrowdFigures, ...]:
    """Return linkability and singling out for crowds of several sizes, with 95 % intervals by person.

    Args:
        score_QP: score of each query with each person; NaN where they are not compared.
        own_Q: number of each query's person.
        other_Q: another query of the same person, with other gestures, to place thresholds by; -1 if there is none.
        chance: chance of singling out, by the size of the crowd, see `singling_out_by_chance`.
        seed: draws the crowds of singling out.
    """
    calibration_QP = np.where((other_Q >= 0)[:, None], score_QP[other_Q], np.nan)
    random = np.random.default_rng(seed)
    figures = []
    for crowd in crowds_up_to(int(np.isfinite(score_QP).sum(1).max(initial=0))):
        linked_Q = linked_in_crowd(score_QP, own_Q, crowd)
        singled_Q = singled_out_in_crowd(score_QP, calibration_QP, own_Q, crowd, random)
        linkability = _figure(linked_Q, own_Q, 1 / crowd)
        if linkability is not None:
            singling_out = _figure(singled_Q, own_Q, chance[crowd])
            figures.append(CrowdFigures(people=crowd, linkability=linkability, singling_out=singling_out))
    return tuple(figures)


def singling_out_by_chance(
    compared_QP: Floats, own_Q: npt.NDArray[np.int64], other_Q: npt.NDArray[np.int64], seed: int = 0
) -> dict[int, float]:
    """Return in which share of crowds a rule that knows nothing fits exactly one person, by the size of the crowd.

    It depends only on who is compared with whom, so it is the same for all attackers.

    Args:
        compared_QP: any number where a query is compared with a person; NaN elsewhere.
        own_Q: number of each query's person.
        other_Q: as in `crowd_figures`.
        seed: draws the crowds and the scores.
    """
    calibration_QP = np.where((other_Q >= 0)[:, None], compared_QP[other_Q], np.nan)
    random = np.random.default_rng(seed)
    chance = {}
    for crowd in crowds_up_to(int(np.isfinite(compared_QP).sum(1).max(initial=0))):
        both = (compared_QP, calibration_QP)
        blind_QP, rule_QP = (np.where(np.isnan(one), np.nan, random.random(one.shape)) for one in both)
        luck_Q = singled_out_in_crowd(blind_QP, rule_QP, own_Q, crowd, random)
        chance[crowd] = float(np.nanmean(luck_Q)) if np.isfinite(luck_Q).any() else 0.0
    return chance


def wins_over_another(score_QP: Floats, own_Q: npt.NDArray[np.int64]) -> Floats:
    """Return the probability, (Q,), that a query's own person wins against a random other one; NaN: not testable.

    It is the linkability in a crowd of two, in which half of all ties are won.

    Args:
        score_QP: score of each query with each person; NaN where they are not compared.
        own_Q: number of each query's person.
    """
    own_score_Q = score_QP[np.arange(len(own_Q)), own_Q]
    with np.errstate(invalid="ignore", divide="ignore"):  # of queries that are not testable
        below_Q = (score_QP < own_score_Q[:, None]).sum(1)
        same_Q = (score_QP == own_score_Q[:, None]).sum(1) - 1
        others_Q = np.isfinite(score_QP).sum(1) - 1
        wins_Q = (below_Q + same_Q / 2) / others_Q
    return np.where(np.isfinite(own_score_Q) & (others_Q > 0), wins_Q, np.nan)


def _figure(value_Q: Floats, own_Q: npt.NDArray[np.int64], chance: float) -> Figure | None:
    known_Q = np.isfinite(value_Q)
    if not known_Q.any():
        return None
    low, high = bootstrap_by_person(value_Q[known_Q], own_Q[known_Q])
    value = float(value_Q[known_Q].mean())
    return Figure(value=value, low=min(low, value), high=max(high, value), chance=chance)


def best_of_person(
    score_QG: Floats, person_G: npt.NDArray[np.int64], left_out_QG: npt.NDArray[np.bool_], people: int
) -> Floats:
    """Return the highest score of each query among the entries of each person, (Q, P); NaN where none is compared.

    The highest of two is higher than a single one, even of blind guesses. So if people have unequal numbers of entries
    that a query is compared with, as many are drawn of each as of the one with the fewest.

    Args:
        score_QG: score of each pair.
        person_G: number of the person of each gallery entry, from 0.
        left_out_QG: pairs that are not compared.
        people: P.
    """
    of_person = [np.flatnonzero(person_G == person) for person in range(people)]
    count_QP = np.stack([(~left_out_QG[:, entries]).sum(1) for entries in of_person], axis=1)
    fewest_Q = np.where(count_QP > 0, count_QP, np.iinfo(count_QP.dtype).max).min(1)
    allowed_QG = np.where(left_out_QG, -np.inf, score_QG)
    best_QP = np.full(count_QP.shape, np.nan)
    random = np.random.default_rng(0)
    for person, entries in enumerate(of_person):
        score_QE, compared_Q = allowed_QG[:, entries], count_QP[:, person] > 0
        if (count_QP[compared_Q, person] > fewest_Q[compared_Q]).any():
            order_QE = np.argsort(random.random(score_QE.shape) + left_out_QG[:, entries], axis=1)
            drawn_QE = np.arange(len(entries)) < fewest_Q[:, None]
            score_QE = np.where(drawn_QE, np.take_along_axis(score_QE, order_QE, axis=1), -np.inf)
        best_QP[compared_Q, person] = score_QE[compared_Q].max(1, initial=-np.inf)
    return best_QP


def linked_in_crowd(score_QP: Floats, own_Q: npt.NDArray[np.int64], crowd: int) -> Floats:
    """Return the probability, (Q,), that a query's own person wins in a random crowd; NaN where it cannot be tested.

    The crowd is the query's person and `crowd - 1` others, drawn without replacement. With n others, m of which score
    higher and t the same, none of the m may be drawn, and the attacker guesses among those with the same score:
    (C(n - m + 1, k + 1) - C(n - m - t, k + 1)) / ((t + 1) C(n, k)) for k = crowd - 1.

    Args:
        score_QP: score of each query with each person; NaN where they are not compared.
        own_Q: number of each query's person.
        crowd: number of people in the crowd, 2 or more.
    """
    own_score_Q = score_QP[np.arange(len(own_Q)), own_Q]
    with np.errstate(invalid="ignore"):
        higher_Q = (score_QP > own_score_Q[:, None]).sum(1)
        same_Q = (score_QP == own_score_Q[:, None]).sum(1) - 1
    others_Q, drawn = np.isfinite(score_QP).sum(1) - 1, crowd - 1
    testable_Q = np.isfinite(own_score_Q) & (others_Q >= drawn)
    good_Q = np.where(testable_Q, others_Q - higher_Q, drawn)
    total = _log_choose(np.where(testable_Q, others_Q, drawn), np.full(len(own_Q), drawn))
    with_own = _log_choose(good_Q + 1, np.full(len(own_Q), drawn + 1))
    without = _log_choose(good_Q - np.where(testable_Q, same_Q, 0), np.full(len(own_Q), drawn + 1))
    wins_Q = (np.exp(with_own - total) - np.exp(without - total)) / (np.where(testable_Q, same_Q, 0) + 1)
    return np.where(testable_Q, wins_Q, np.nan)


def singled_out_in_crowd(
    test_QP: Floats, calibration_QP: Floats, own_Q: npt.NDArray[np.int64], crowd: int, random: np.random.Generator
) -> Floats:
    """Return in which share of random crowds, (Q,), the attacker's rule fits exactly one person; NaN: not testable.

    Args:
        test_QP: score of the person that the rule is about with each person; NaN where they are not compared.
        calibration_QP: the same in other tracks, to place the threshold: between the highest and the second score.
        own_Q: number of the person that the rule is about.
        crowd: number of people in the crowd, that person among them; 2 or more.
        random: draws the crowds.
    """
    known_QP = np.isfinite(test_QP) & np.isfinite(calibration_QP)
    rows = np.arange(len(own_Q))
    testable_Q = known_QP[rows, own_Q] & (known_QP.sum(1) >= crowd)
    singled_Q = np.full(len(own_Q), np.nan)
    chosen = np.flatnonzero(testable_Q)
    if not len(chosen):
        return singled_Q
    key_QP = np.where(known_QP[chosen], 0.0, 2.0)  # who is not compared comes last, the person itself first
    key_QP[np.arange(len(chosen)), own_Q[chosen]] = -1.0
    outcomes = []
    for _ in range(DRAWS):
        drawn_QN = np.argsort(key_QP + random.random(key_QP.shape), axis=1)[:, :crowd]
        calibration_QN = np.take_along_axis(calibration_QP[chosen], drawn_QN, axis=1)
        second_Q, first_Q = np.sort(calibration_QN, axis=1)[:, -2:].T
        fits_QN = np.take_along_axis(test_QP[chosen], drawn_QN, axis=1) > ((first_Q + second_Q) / 2)[:, None]
        outcomes.append(fits_QN.sum(1) == 1)
    singled_Q[chosen] = np.mean(outcomes, axis=0)
    return singled_Q


def crowds_up_to(people: int) -> tuple[int, ...]:
    """Return the sizes of crowds to report for this many people: the usual ones below, and all of them."""
    return (*(crowd for crowd in CROWDS if crowd < people), *([people] if people >= CROWDS[0] else []))


def _log_choose(n: npt.NDArray[Any], k: npt.NDArray[Any]) -> Floats:
    """Return log C(n, k); minus infinity where k is above n."""
    possible = n >= k
    safe = np.where(possible, n, k).astype(np.float64)
    value = gammaln(safe + 1) - gammaln(k + 1.0) - gammaln(safe - k + 1)
    return np.asarray(np.where(possible, value, -np.inf))
