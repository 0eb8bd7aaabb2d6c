"""Decides whether an anonymizer stays below the threshold: Pass, Fail or Inconclusive.

Repeating an audit until the result is good gains nothing: with probability 0.975 no audit of the same weights passes
wrongly, however many there are, because all their ceilings hold together; and an attack that worked once stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from eventveil.audit.architectures import ARCHITECTURES
from eventveil.audit.evaluation.people import linked_with_certainty
from eventveil.audit.figures import (
    Advantage,
    Attack,
    Outcome,
    PersonLinked,
    StrongestAttack,
    Verdict,
    decisive,
    strongest,
    surest,
)

MIN_PEOPLE = 6  # people: with fewer, no interval can be trusted
PASS, FAIL, INCONCLUSIVE = 0, 1, 2


def decide(
    attacks: tuple[Attack, ...],
    on_raw: tuple[Attack, ...],
    *,
    threshold: float,
    precision: float,
    people_linked: float = 0.0,
    evidence: bool = True,
    missed: tuple[str, ...] = (),
    predicted: bool = False,
    audit_number: int = 1,
    earlier: Sequence[Outcome] = (),
) -> Verdict:
    """Compare the highest ceiling of all attackers with the threshold, and look for single people who are linked.

    The ceiling is at least that of the strongest attacker: with many attackers, it errs on the side of caution. Too
    few people come first: nothing is concluded from them, not even a failure.

    Args:
        attacks: on the anonymizer.
        on_raw: the same on raw windows, as a control: attackers that fail there prove nothing by failing elsewhere.
        threshold: advantage over blind guessing, from 0 to 1.
        precision: how far a ceiling may lie above its figure; beyond that, there are too few test people.
        people_linked: share of the test people who may be linked with certainty, see `evaluation.people`.
        evidence: whether the attackers were trained long enough to mean anything.
        missed: planted leaks that the attackers of this audit did not find.
        predicted: whether a guess of the noise's seed succeeded, so that the noise can be subtracted.
        audit_number: which audit of the same weights this is; it has chosen the level of the ceilings.
        earlier: what other audits of these weights have shown.
    """
    top, last = strongest(attacks), decisive(attacks)
    sure = surest(attacks)
    reach, repeated = last.advantage.ceiling - last.advantage.value, _repeated(audit_number)
    people = last.attack.people
    needed = max(MIN_PEOPLE, math.ceil(people * (reach / precision) ** 2))
    linked = linked_with_certainty([attack.linked_people for attack in attacks if attack.way == "linked"], people)

    def verdict(status: int, text: str, by: StrongestAttack = last, people_needed: int | None = None) -> Verdict:
        return Verdict.model_validate(
            {
                "status": status, "text": text, "strongest": top, "decisive": by, "surest": sure,
                "surely_linked": linked,
                "people_needed": people_needed, "predicted": predicted,
            }
        )  # fmt: skip

    if predicted:
        return verdict(FAIL, "Fail: the noise was predicted from a guessed seed, so an attacker can subtract it.")
    if people < MIN_PEOPLE:
        return verdict(
            INCONCLUSIVE,
            f"Inconclusive: nothing can be concluded from {people} test people; at least {MIN_PEOPLE} are needed, and "
            f"about {needed} to know the deciding figure to within {precision:.0%}.",
            people_needed=needed,
        )
    if sure.advantage.low >= threshold:
        return verdict(
            FAIL,
            f"Fail: an attacker gained {_words(sure.advantage)} over blind guessing; the threshold is {threshold:.0%}.",
            sure,
        )
    if len(linked) > people_linked * people:
        return verdict(FAIL, _linked_words(linked, people, people_linked))
    if any(one.predicted or one.low >= threshold or one.linked > people_linked for one in earlier):
        return verdict(
            FAIL,
            "Fail: an earlier audit of these weights showed an attack that works. That the attackers of this one found "
            "less does not undo it; train other weights.",
        )
    if (reason := weakness(on_raw, missed, threshold)) is not None:
        return verdict(INCONCLUSIVE, f"Inconclusive: {reason}")
    if last.advantage.ceiling >= threshold and reach > precision:
        return verdict(
            INCONCLUSIVE,
            f"Inconclusive: with {people} test people the deciding figure is {_words(last.advantage)}, and may be "
            f"{last.advantage.ceiling:.1%}{repeated}. To know it to within {precision:.0%} takes about {needed} "
            "test people.",
            people_needed=needed,
        )
    if last.advantage.ceiling >= threshold:
        return verdict(
            FAIL,
            f"Fail: an attacker may gain up to {last.advantage.ceiling:.1%} over blind guessing{repeated}; the "
            f"threshold is {threshold:.0%}.",
        )
    if not evidence:
        return verdict(
            INCONCLUSIVE,
            f"Inconclusive: no attacker gained more than {last.advantage.ceiling:.1%} over blind guessing, but this "
            "was a quick audit with attackers that were trained too little. Audit with the full configuration.",
        )
    return verdict(
        PASS,
        f"Pass: none of {len({attack.title for attack in attacks})} attackers gained more than "
        f"{last.advantage.ceiling:.1%} over blind guessing{repeated}; the threshold is {threshold:.0%}. "
        + (
            f"{len(linked)} of {people} test people {'is' if len(linked) == 1 else 'are'} linked with certainty."
            if linked
            else f"None of {people} test people is linked with certainty."
        ),
    )


def weakness(on_raw: tuple[Attack, ...], missed: Sequence[str], threshold: float) -> str | None:
    """Return why the attackers of an audit are too weak for their failure to mean anything; None if they are not.

    Args:
        on_raw: their attacks on raw windows.
        missed: planted leaks that they did not find.
        threshold: threshold of the audit.
    """
    control = surest(on_raw)
    if control.advantage.low < threshold:
        return (
            f"even in raw windows no attacker certainly reached the threshold of {threshold:.0%}; the best gained "
            f"{_words(control.advantage)}. That attackers fail on an anonymizer proves nothing; train them longer, "
            "or on more people."
        )
    if (unlearned := _better_untrained(on_raw)) is not None:
        return (
            f"in raw windows, nearest neighbours by {unlearned.attack.architecture} gained "
            f"{_words(unlearned.advantage)}, more than any attacker that was trained. So the trained ones learned too "
            "little for their failure to mean anything; train them longer, or on more people."
        )
    if missed:
        return (
            f"the audit planted leaks to test itself, and its attackers missed {', '.join(missed)}. They may miss such "
            "leaks of an anonymizer, too; train them longer, or on more people."
        )
    return None


def outcome_of(verdict: Verdict) -> Outcome:
    """Return what a verdict leaves behind for later audits of the same weights."""
    people = verdict.surest.attack.people
    enough = people >= MIN_PEOPLE
    return Outcome(
        low=verdict.surest.advantage.low if enough else 0.0,
        linked=len(verdict.surely_linked) / people if enough else 0.0,
        predicted=verdict.predicted,
    )


def _repeated(audit_number: int) -> str:
    return "" if audit_number == 1 else f" (audit {audit_number} of these weights, and so held to a stricter level)"


def _better_untrained(on_raw: tuple[Attack, ...]) -> StrongestAttack | None:
    """Return an attack on raw windows that learned nothing and was certainly better than all networks, if any."""
    untrained = tuple(attack for attack in on_raw if attack.knowledge == "untrained")
    networks = [attack for attack in on_raw if attack.architecture in ARCHITECTURES]
    trained = tuple(attack for attack in networks if attack.knowledge != "untrained")
    if not untrained or not trained:
        return None
    best = surest(untrained)
    return best if best.advantage.low > strongest(trained).advantage.value else None


def below_chance(attacks: tuple[Attack, ...]) -> bool:
    """Return whether an attacker did significantly worse than blind guessing."""
    return any(advantage.high < 0 for attack in attacks for advantage in attack.advantages)


def _linked_words(linked: tuple[PersonLinked, ...], people: int, allowed: float) -> str:
    one = min(linked, key=lambda person: person.luck)
    return (
        f"Fail: {len(linked)} of {people} test people {'is' if len(linked) == 1 else 'are'} linked with certainty, "
        f"where {math.floor(allowed * people)} may be: an attacker named the most certain one correctly {one.hits} of "
        f"{one.queries} times (blind guessing: {one.chance:.1%})."
    )


def _words(advantage: Advantage) -> str:
    return f"{advantage.value:.1%} (95 % interval {advantage.low:.1%} to {advantage.high:.1%}, by {advantage.by})"
