"""Decides whether an anonymizer stays below the threshold: Pass, Fail or Inconclusive."""

from __future__ import annotations

import math

from eventveil.audit.figures import Advantage, Attack, Verdict, decisive, strongest

FEWEST = 6  # people: with fewer, no interval can be trusted
PASS, FAIL, INCONCLUSIVE = 0, 1, 2


def decide(
    attacks: tuple[Attack, ...],
    on_raw: tuple[Attack, ...],
    *,
    threshold: float,
    precision: float,
    evidence: bool = True,
    predicted: bool = False,
) -> Verdict:
    """Compare the highest upper end of all intervals with the threshold.

    It is at least the upper end of the strongest attacker: with many attackers, it errs on the side of caution.

    Args:
        attacks: on the anonymizer.
        on_raw: the same on raw windows, as a control: attackers that fail there prove nothing by failing elsewhere.
        threshold: advantage over blind guessing, from 0 to 1.
        precision: how far an interval may reach above its figure; beyond that, there are too few test people.
        evidence: whether the attackers were trained long enough to mean anything.
        predicted: whether a guess of the noise's seed succeeded, so that the noise can be subtracted.
    """
    top, last = strongest(attacks), decisive(attacks)
    surest = _surest(attacks)
    reach = last.advantage.high - last.advantage.value
    people = last.attack.people
    needed = max(FEWEST, math.ceil(people * (reach / precision) ** 2))
    control = _surest(on_raw)

    def verdict(status: int, text: str, people_needed: int | None = None) -> Verdict:
        return Verdict.model_validate(
            {"status": status, "text": text, "strongest": top, "decisive": last, "people_needed": people_needed}
        )

    if predicted:
        return verdict(FAIL, "Fail: the noise was predicted from a guessed seed, so an attacker can subtract it.")
    if surest.low >= threshold:
        return verdict(
            FAIL, f"Fail: an attacker gained {_words(surest)} over blind guessing; the threshold is {threshold:.0%}."
        )
    if control.low < threshold:
        return verdict(
            INCONCLUSIVE,
            f"Inconclusive: even in raw windows no attacker certainly reached the threshold of {threshold:.0%}; the "
            f"best gained {_words(control)}. That attackers fail on this anonymizer proves nothing; train them longer, "
            "or on more people.",
        )
    if people < FEWEST or (last.advantage.high >= threshold and reach > precision):
        return verdict(
            INCONCLUSIVE,
            f"Inconclusive: with {people} test people the deciding figure is {_words(last.advantage)}. To know it to "
            f"within {precision:.0%} takes about {needed} test people.",
            needed,
        )
    if last.advantage.high >= threshold:
        return verdict(
            FAIL,
            f"Fail: an attacker may gain up to {last.advantage.high:.1%} over blind guessing; the threshold is "
            f"{threshold:.0%}.",
        )
    if not evidence:
        return verdict(
            INCONCLUSIVE,
            f"Inconclusive: no attacker gained more than {last.advantage.high:.1%} over blind guessing, but this was a "
            "quick audit with attackers that were trained too little. Audit with the full configuration.",
        )
    return verdict(
        PASS,
        f"Pass: none of {len({attack.title for attack in attacks})} attackers gained more than "
        f"{last.advantage.high:.1%} over blind guessing; the threshold is {threshold:.0%}.",
    )


def below_chance(attacks: tuple[Attack, ...]) -> bool:
    """Return whether an attacker did significantly worse than blind guessing."""
    return any(advantage.high < 0 for attack in attacks for advantage in attack.advantages)


def _surest(attacks: tuple[Attack, ...]) -> Advantage:
    return max((advantage for attack in attacks for advantage in attack.advantages), key=lambda one: one.low)


def _words(advantage: Advantage) -> str:
    return f"{advantage.value:.1%} (95 % interval {advantage.low:.1%} to {advantage.high:.1%}, by {advantage.by})"
