"""What an attacker achieves on single people: a leak of one person disappears in an average over all.

An attacker names a person for each query. Those named too often for luck are *linked with certainty*: in a binomial
test at the chance level of each query, corrected for the number of people and attackers (Bonferroni), at most one audit
in twenty of a perfect anonymizer finds anyone. Queries of one person resemble each other, so an attacker may name one
and the same wrong person for all of them. A person therefore counts only if wrong people are named that often so rarely
that less than 0.05 of such people would be found by chance.

Legend of axes: Q queries, P people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.audit.figures import PersonLinked
from eventveil.errors import AuditError
from eventveil.host.extras import require

with require("scipy", extra="audit", error=AuditError):
    from scipy.stats import binom

LEVEL = 0.05
WORTH_KEEPING = 1e-3
"""Probabilities of luck above this are not kept: they would count only with fewer than 50 people times attackers."""


def named_people(score_QP: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """Return the number of the person that each query is taken for, (Q,); ties are broken in a fixed random order.

    Args:
        score_QP: score of each query with each person; NaN where they are not compared. Each query has a score.
    """
    order_QP = np.lexsort((np.random.default_rng(0).random(score_QP.shape), np.nan_to_num(score_QP, nan=-np.inf)))
    return np.asarray(order_QP[:, -1])


def linked_people(score_QP: npt.NDArray[np.floating[Any]], own_Q: npt.NDArray[np.int64]) -> tuple[PersonLinked, ...]:
    """Return the people whom this attacker names so often that luck is unlikely, before any correction.

    Args:
        score_QP: score of each query with each person; NaN where they are not compared.
        own_Q: number of each query's person.
    """
    compared_Q = np.isfinite(score_QP[np.arange(len(own_Q)), own_Q]) & (np.isfinite(score_QP).sum(1) > 1)
    score_QP, own_Q = score_QP[compared_Q], own_Q[compared_Q]
    people = score_QP.shape[1]
    named_PP = np.zeros((people, people))
    np.add.at(named_PP, (own_Q, named_people(score_QP)), 1)
    queries_P = named_PP.sum(1)
    queried = np.flatnonzero(queries_P)
    share_PP = named_PP[queried] / queries_P[queried, None]
    chance_P = np.array([(1 / np.isfinite(score_QP[own_Q == person]).sum(1)).mean() for person in queried])
    own_share_P = share_PP[np.arange(len(queried)), queried]
    wrong = np.sort(share_PP[np.arange(people) != queried[:, None]])
    # By luck, as many people would reach a share as there are wrong names with that share, divided by the wrong people.
    expected_P = (len(wrong) - np.searchsorted(wrong, own_share_P)) / max(people - 1, 1)
    luck_P = binom.sf(named_PP[queried, queried] - 1, queries_P[queried], chance_P)
    return tuple(
        PersonLinked(
            person=int(person),
            hits=int(named_PP[person, person]),
            queries=int(queries_P[person]),
            chance=float(chance),
            luck=float(luck),
        )
        for person, chance, luck, expected in zip(queried, chance_P, luck_P, expected_P, strict=True)
        if luck < WORTH_KEEPING and expected <= LEVEL
    )


def linked_with_certainty(of_attacks: Sequence[tuple[PersonLinked, ...]], people: int) -> tuple[PersonLinked, ...]:
    """Return each person whom some attacker links with certainty, with that attacker's figures, after the correction.

    Args:
        of_attacks: the result of `linked_people` for every attacker.
        people: number of test people.
    """
    limit = LEVEL / max(1, people * len(of_attacks))
    sure = sorted((one for linked in of_attacks for one in linked if one.luck <= limit), key=lambda one: -one.luck)
    surest = {one.person: one for one in sure}  # of several attackers, the surest comes last
    return tuple(surest[person] for person in sorted(surest))
