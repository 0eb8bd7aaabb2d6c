"""Confidence intervals and chance levels.

Windows of one person are similar, so a figure from many windows of few people is less certain than their number
suggests. The bootstrap therefore resamples people.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eventveil.training.evaluation.retrieval_metrics import Labels, Masks, matches

Z95 = NormalDist().inv_cdf(0.975)


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Chance(NamedTuple):
    """The expected figures of a ranking by random scores."""

    rank1: float
    rank5: float
    rank10: float
    mean_average_precision: float


def bootstrap_by_person(
    values_N: npt.ArrayLike,
    persons_N: npt.ArrayLike,
    statistic: Callable[[npt.NDArray[Any]], Any] = np.mean,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the 95 % percentile interval of a statistic over people, drawn with replacement with all their values.

    A plain bootstrap of few people is too narrow, so the percentiles are moved outwards depending on their number. In
    simulations the interval contains the truth 95 times in 100 with 40 people, and 93 times with six. If all people
    have equal values, its width is zero; for proportions see `accuracy_interval`.

    Args:
        values_N: one measurement for each query, window or trial.
        persons_N: the person of each measurement.
        statistic: maps values (M,) to a number.
        draws: number of bootstrap samples.
        seed: seed of the draws; the same seed gives the same interval.

    Raises:
        ValueError: there are no values, or their number differs from that of the persons.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap, 2015, on the expanded percentile interval;
    Davison, Hinkley, Bootstrap Methods and their Application, 1997, on resampling clusters.
    """
    values, persons = np.asarray(values_N), np.asarray(persons_N)
    if not len(values) or len(values) != len(persons):
        raise ValueError(f"expected values and as many persons, got {len(values)} and {len(persons)}")
    names, person = np.unique(persons, return_inverse=True)
    samples = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    if statistic is np.mean:  # the usual one, for which sums by person are enough
        sums, counts = np.bincount(person, weights=values), np.bincount(person)
        figures = sums[samples].sum(1) / counts[samples].sum(1)
    else:
        of_person = [values[person == index] for index in range(len(names))]
        figures = np.array([statistic(np.concatenate([of_person[index] for index in sample])) for sample in samples])
    tail = expanded_tail(len(names))
    low, high = np.quantile(figures, (tail, 1 - tail))
    return Interval(float(low), float(high))


def wilson(successes: float, trials: float) -> Interval:
    """Return the 95 % interval of a proportion of independent trials.

    Raises:
        ValueError: not 0 <= successes <= trials, or no trials.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if not (trials > 0 and 0 <= successes <= trials):
        raise ValueError(f"expected at least one trial and at most as many successes, got {trials} and {successes}")
    share, z2 = successes / trials, Z95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def accuracy_interval(correct_N: npt.ArrayLike, persons_N: npt.ArrayLike, draws: int = 2000, seed: int = 0) -> Interval:
    """Return the 95 % interval of an accuracy or rank-1 rate: by person, but at least as wide as for single answers.

    If all people have the same accuracy, their bootstrap has zero width, however few they are. The result is therefore
    the smallest interval that contains both the bootstrap's and Wilson's interval of independent answers.

    Args:
        correct_N: booleans, one for each answer.
        persons_N: the person of each answer.
        draws: as in `bootstrap_by_person`.
        seed: as in `bootstrap_by_person`.
    """
    correct = np.asarray(correct_N, np.bool_)
    by_person = bootstrap_by_person(correct, persons_N, draws=draws, seed=seed)
    by_answer = wilson(int(correct.sum()), len(correct))
    return Interval(min(by_person.low, by_answer.low), max(by_person.high, by_answer.high))


def chance_ranking(query: Labels, gallery: Labels, left_out_QG: Masks, *, count_unmatched: bool = False) -> Chance:
    """Return the chance level of a ranking: the mean result of random scores, with the same entries left out.

    It is not one in the number of people, but depends on the number of gallery entries that are left for a query, g,
    and the number of those that match, m. In a random order the first k contain no match with probability
    C(g - m, k) / C(g, k). At a match in place i, the expected precision is (1 + (i - 1) r) / i, with
    r = (m - 1) / (g - 1); just before it, it is r, or 1 if the match comes first. Average precision is the mean of both
    over all matches: (H + r (g - H) + m) / 2g, where H is the sum of 1/i up to g.

    With `count_unmatched`, queries without a match count as never found.

    Raises:
        DatasetError: no query has a match that is not left out.

    Source: after Bestgen, Exact expected average precision of the random baseline for system evaluation, 2015.
    """
    match_QG = matches(query, gallery, left_out_QG)
    counts_Q = match_QG.any(1)
    m = match_QG[counts_Q].sum(1)
    g = (~left_out_QG[counts_Q]).sum(1)
    harmonic = np.cumsum(1 / np.arange(1, g.max() + 1))[g - 1]
    precision = (harmonic + (m - 1) / np.maximum(g - 1, 1) * (g - harmonic) + m) / (2 * g)
    share = float(counts_Q.mean()) if count_unmatched else 1.0
    rank1, rank5, rank10 = (share * float(_found_within(k, m, g).mean()) for k in (1, 5, 10))
    return Chance(rank1, rank5, rank10, share * float(precision.mean()))


def _found_within(k: int, m: npt.NDArray[np.int64], g: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    none_found = np.ones(len(g))
    for drawn in range(k):
        none_found *= np.maximum(g - m - drawn, 0) / np.maximum(g - drawn, 1)
    return 1 - none_found


def expanded_tail(people: int) -> float:
    """Return the share of bootstrap samples beyond either end of the interval: 2.5 % for many people, less for few.

    A bootstrap underestimates the spread by a factor of sqrt((n - 1) / n), and its distribution is normal, whereas that
    of a mean of n values is Student's; Phi(-t sqrt(n / (n - 1))) corrects both.
    """
    if people == 1:
        return 0.0
    # Student's t with n - 1 degrees of freedom is sqrt(n - 1) tan(angle), where the angle's density is cos^(n - 2).
    angle = np.linspace(-math.pi / 2, math.pi / 2, 100_001)
    density = np.cos(angle) ** (people - 2)
    below = np.cumsum(density) - density / 2
    t = math.sqrt(people - 1) * math.tan(float(np.interp(0.975 * density.sum(), below, angle)))
    return NormalDist().cdf(-t * math.sqrt(people / (people - 1)))
