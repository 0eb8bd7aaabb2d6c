"""An upper bound on an attacker's mean success, by betting, which holds however often the audit is repeated.

A gambler starts with 1 and bets against "the mean over people is at least m" at odds that are fair if it is exactly m.
If the mean is m or more, the probability that the stake ever exceeds 1 / level is at most `level` (Ville's inequality,
1939), whatever the distribution of the values, for any number of people, and whenever the gambler stops. So all m for
which the stake exceeds 1 / level are rejected; the *ceiling* is the lowest of them.

The stake of one person with value x is 1 + c (m - x) / (1 - m), for a share c of the most that may be bet. The gambler
divides the money among three shares that suit the number of people and the level, which are known beforehand. So the
result does not depend on the order of people.

The bound holds for people who differ: for independent values with means that average to m or more, the expected
product of the stakes is at most 1 (inequality of the arithmetic and the geometric mean).

Several audits of the same weights share the level: the k-th one gets LEVEL / (k (k + 1)). All of these sum to LEVEL.

Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS-B 86(1), 2024; the
mixture over shares is Cover's universal portfolio, as in Orabona and Jun, Tight concentrations and confidence
sequences from the regret of universal portfolio, 2024. Legend of axes: P people, Q queries, S shares.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.025
"""Probability that any audit of the same weights ever passes wrongly: one end of a 95 % interval."""
MAX_BET = 0.96  # of the money, so that no single person can take it all
FACTORS = (1.2, 2.4, 4.8)
"""Of sqrt(2 log(1 / level) / P): the best shares for values with deviations of about 0.4, 0.2 and 0.1 around a half."""
PRECISION = 1e-4


def level_of(k: int) -> float:
    """Return the level of the k-th audit of the same weights, counted from 1."""
    return LEVEL / (k * (k + 1))


def log_stake(value_P: npt.NDArray[np.floating[Any]], mean: float, level: float) -> float:
    """Return the logarithm of the stake after betting against "the mean is at least this".

    Args:
        value_P: value of each person, from 0 to 1.
        mean: from 0 to below 1.
        level: at which the bet is meant to be decided; it chooses the shares.
    """
    share_S = np.minimum(MAX_BET, math.sqrt(-2 * math.log(level) / len(value_P)) * np.array(FACTORS))
    growth_SP = 1 + share_S[:, None] * (mean - value_P) / (1 - mean)
    return float(np.logaddexp.reduce(np.log(growth_SP).sum(1)) - math.log(len(share_S)))


def ceiling(value_P: npt.NDArray[np.floating[Any]], level: float) -> float:
    """Return an upper bound on the mean of values: the lowest mean that the bet rejects; 1 if it rejects none.

    Args:
        value_P: value of each person, from 0 to 1.
        level: the true mean is higher with at most this probability.
    """
    low, high, enough = float(value_P.mean()), 1.0, -math.log(level)
    while high - low > PRECISION:  # the stake grows with the mean
        middle = (low + high) / 2
        low, high = (low, middle) if log_stake(value_P, middle, level) >= enough else (middle, high)
    return high


def by_person(value_Q: npt.NDArray[np.floating[Any]], person_Q: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the mean of each person's values, (P,)."""
    _, person = np.unique(person_Q, return_inverse=True)
    return np.asarray(np.bincount(person, weights=value_Q) / np.bincount(person))
