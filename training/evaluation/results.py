"""What attackers got, with intervals by person and chance levels beside every figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventveil.training.evaluation.confidence import (
    Chance,
    Interval,
    accuracy_interval,
    bootstrap_by_person,
    chance_ranking,
)
from eventveil.training.evaluation.evaluation import IdentityRanking, Recognised


def target_result(told: Recognised, classes: int) -> dict[str, Any]:
    """Accuracy of the target, its 95 % interval, and chance: always the class that is most frequent here."""
    most = np.bincount(told.target, minlength=classes).max() / len(told.target)
    return {
        "windows": len(told.target),
        "people": len(np.unique(told.persons)),
        "accuracy": _figure(float(told.correct.mean()), accuracy_interval(told.correct, told.persons), float(most)),
    }


def identity_result(found: IdentityRanking, chance: Chance | None = None) -> dict[str, Any]:
    """Rank-1, -5 and -10 and mAP, with 95 % intervals and what a ranking at random would give.

    Args:
        found: how well people were found.
        chance: of the very same queries, gallery and what is left out, where it is known already.
    """
    ranking = found.ranking
    chance = chance or chance_ranking(found.query, found.gallery, found.left_out)
    persons = ranking.persons
    result: dict[str, Any] = {
        "queries": len(persons),
        "queries_without_match": ranking.unmatched,
        "gallery": len(found.gallery),
        "people": len(np.unique(persons)),
    }
    for places, value in ((1, ranking.rank1), (5, ranking.rank5), (10, ranking.rank10)):
        interval = accuracy_interval(ranking.first_match <= places, persons)
        result[f"rank{places}"] = _figure(value, interval, getattr(chance, f"rank{places}"))
    precision = bootstrap_by_person(ranking.average_precision, persons)
    result["mAP"] = _figure(ranking.mean_average_precision, precision, chance.mean_average_precision)
    return result


def _figure(value: float, interval: Interval, chance: float) -> dict[str, float | list[float]]:
    return {"value": value, "interval_95": [interval.low, interval.high], "chance": chance}
