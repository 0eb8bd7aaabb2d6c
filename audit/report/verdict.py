"""Is the threshold held? Not, yes, or: nobody can tell."""

from __future__ import annotations

import math

from eventveil.audit.figures import Advantage, Attack, Verdict, decisive, strongest

FEWEST = 6  # people: of fewer, no interval is to be trusted
HELD, NOT_HELD, NOT_MEASURED = 0, 1, 2


def decide(
    attacks: tuple[Attack, ...],
    on_raw: tuple[Attack, ...],
    *,
    threshold: float,
    precision: float,
    evidence: bool = True,
    foretold: bool = False,
) -> Verdict:
    """Hold the highest upper end of all intervals against the threshold.

    It is the upper end of the strongest attacker or higher, and with many attackers errs on the side of caution.

    Args:
        attacks: on the anonymizer.
        on_raw: the same on raw windows. Who finds nobody there tells nothing by finding nobody elsewhere.
        threshold: of the advantage over blind guessing, from 0 to 1.
        precision: how far an interval may reach above its figure; beyond, there were too few people.
        evidence: whether the attackers were trained long enough to mean anything.
        foretold: whether somebody guessed the seed of the noise, who can then take it off.
    """
    top, last = strongest(attacks), decisive(attacks)
    sure = max((advantage for attack in attacks for advantage in attack.advantages), key=lambda found: found.low)
    half = last.advantage.high - last.advantage.value
    people = last.attack.people
    needed = max(FEWEST, math.ceil(people * (half / precision) ** 2))
    control = max((advantage for attack in on_raw for advantage in attack.advantages), key=lambda found: found.low)

    def verdict(status: int, text: str, people_needed: int | None = None) -> Verdict:
        return Verdict.model_validate(
            {"status": status, "text": text, "strongest": top, "decisive": last, "people_needed": people_needed}
        )

    if foretold:
        return verdict(NOT_HELD, "Not private: the noise was foretold from a guessed seed, so anybody may take it off.")
    if sure.low >= threshold:
        return verdict(
            NOT_HELD, f"Not private: an attacker gained {_words(sure)} over blind guessing, threshold {threshold:.0%}."
        )
    if control.low < threshold:
        return verdict(
            NOT_MEASURED,
            f"Could not be measured: even in raw windows no attacker surely reached the threshold of {threshold:.0%}; "
            f"the best gained {_words(control)}. That they find nobody behind this anonymizer shows nothing; train "
            "them longer, or on more people.",
        )
    if people < FEWEST or (last.advantage.high >= threshold and half > precision):
        return verdict(
            NOT_MEASURED,
            f"Could not be measured: with {people} test people the figure that decides is {_words(last.advantage)}. To "
            f"know it to within {precision:.0%} takes about {needed} test people.",
            needed,
        )
    if last.advantage.high >= threshold:
        return verdict(
            NOT_HELD,
            f"Not private: an attacker may gain up to {last.advantage.high:.1%} over blind guessing, "
            f"threshold {threshold:.0%}.",
        )
    if not evidence:
        return verdict(
            NOT_MEASURED,
            f"Not evidence: no attacker gained more than {last.advantage.high:.1%} over blind guessing, but this was a "
            "quick look with attackers that learned too little. Audit with the full configuration.",
        )
    return verdict(
        HELD,
        f"Held: of {len({attack.title for attack in attacks})} attackers none gained more than "
        f"{last.advantage.high:.1%} over blind guessing, threshold {threshold:.0%}.",
    )


def below_chance(attacks: tuple[Attack, ...]) -> bool:
    """Whether an attacker did worse than blind guessing, and not by accident."""
    return any(advantage.high < 0 for attack in attacks for advantage in attack.advantages)


def _words(advantage: Advantage) -> str:
    return f"{advantage.value:.1%} (95 % interval {advantage.low:.1%} to {advantage.high:.1%}, by {advantage.by})"
