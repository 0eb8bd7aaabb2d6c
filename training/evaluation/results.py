"""The results of attackers: each figure with its confidence interval by person and its chance level."""

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
from eventveil.training.evaluation.evaluation import ClassPredictions, IdentityRanking

CURVE = 20  # places of the rank curve


def target_result(predictions: ClassPredictions, classes: int) -> dict[str, Any]:
    """Return the accuracy of the target, its 95 % interval, and chance: the share of the most frequent class."""
    target, correct, persons = predictions.target, predictions.correct, predictions.persons
    chance = np.bincount(target, minlength=classes).max() / len(target)
    return {
        "windows": len(target),
        "people": len(np.unique(persons)),
        "accuracy": _figure(float(correct.mean()), accuracy_interval(correct, persons), float(chance)),
    }


def identity_result(identities: IdentityRanking, chance: Chance | None = None) -> dict[str, Any]:
    """Return rank-1, -5 and -10 and mAP, with 95 % intervals and the figures of a random ranking.

    `curve` holds rank-1 to rank-20, without intervals.

    Args:
        identities: ranking of the gallery for each query.
        chance: chance level of the same queries and gallery with the same entries left out, if already known.
    """
    ranking = identities.ranking
    counted = len(ranking.persons) == len(identities.query)
    chance = chance or chance_ranking(
        identities.query, identities.gallery, identities.left_out, count_unmatched=counted
    )
    persons = ranking.persons
    result: dict[str, Any] = {
        "queries": len(persons),
        "queries_without_match": ranking.unmatched,
        "gallery": len(identities.gallery),
        "people": len(np.unique(persons)),
    }
    for places, value in ((1, ranking.rank1), (5, ranking.rank5), (10, ranking.rank10)):
        interval = accuracy_interval(ranking.first_match <= places, persons)
        result[f"rank{places}"] = _figure(value, interval, getattr(chance, f"rank{places}"))
    result["curve"] = [float((ranking.first_match <= place).mean()) for place in range(1, CURVE + 1)]
    precision = bootstrap_by_person(ranking.average_precision, persons)
    result["mAP"] = _figure(ranking.mean_average_precision, precision, chance.mean_average_precision)
    return result


def _figure(value: float, interval: Interval, chance: float) -> dict[str, float | list[float]]:
    return {"value": value, "interval_95": [interval.low, interval.high], "chance": chance}
