"""The audit's test of itself: attackers on planted leaks (`audit.planted`), with the people and attackers of the audit.

A leak counts as found if an audit would fail an anonymizer for it: an attacker is certainly above the threshold, or
a person is linked with certainty. Attackers try one after the other, those that learn fastest first, until one has
found it. Each architecture attacks with one seed: an audit with more seeds sees more than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eventveil.audit.attacks import conditions, gestures, messages, nearest, statistics
from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.evaluation.people import linked_with_certainty
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, PlantedLeak, surest
from eventveil.audit.planted import CONDITION, GESTURES, IN_MESSAGES, LEAKS, PLANTED, SCORES, planted_subject
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace


@dataclass(frozen=True)
class LeakSearch(AttackJob):
    """The job of looking for one planted leak.

    Attributes:
        subject: name of the subject with the leak.
    """

    FILE = "search"
    TITLE = "search for a {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Attack until an attack finds the leak."""
        searches = searches_for(self.subject, workspace.settings)
        most = len(searches) * len(workspace.protocols + workspace.sequences)
        done: list[Any] = []
        for search in searches:
            attacks = search.run(workspace)["attacks"]
            done += attacks[self.subject] if isinstance(attacks, dict) else attacks
            if leak_found(self.subject, read_attacks(done), workspace.settings.threshold, most).found:
                break
        return {"attacks": done, "most": most}


def planted_subjects(settings: AuditSettings) -> tuple[Subject, ...]:
    """Return the subjects with a leak; without conditions in the settings, none is under a condition."""
    return tuple(planted_subject(leak) for leak in LEAKS if leak.name != CONDITION or settings.conditions.names)


def jobs(plan: AuditPlan) -> list[LeakSearch]:
    """List the searches for all planted leaks."""
    return [LeakSearch(subject.name) for subject in plan.planted]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return nothing: planted leaks are about the audit, see `found_leaks`."""
    return {}


def found_leaks(plan: AuditPlan, results: Results) -> tuple[PlantedLeak, ...]:
    """Return what the attackers achieved on each planted leak, once all jobs are done."""
    done = {job.subject: results.of(job.name) for job in jobs(plan)}
    return tuple(
        leak_found(name, read_attacks(result["attacks"]), plan.settings.threshold, result["most"])
        for name, result in done.items()
    )


def leak_found(subject: str, attacks: tuple[Attack, ...], threshold: float, most: int) -> PlantedLeak:
    """Decide whether a planted leak was found.

    Args:
        subject: name of the subject with the leak.
        attacks: on it, so far.
        threshold: threshold of the audit.
        most: number of attacks there would be without a find; luck is corrected for all of them.
    """
    best, people = surest(attacks), max(attack.people for attack in attacks)
    of_attacks = [attack.linked_people for attack in attacks if attack.way == "linked"]
    linked = linked_with_certainty([*of_attacks, *[()] * (most - len(of_attacks))], people)
    found = best.advantage.low >= threshold or bool(linked)
    return PlantedLeak(name=subject.removeprefix(PLANTED), found=found, surest=best, surely_linked=len(linked))


def searches_for(subject: str, settings: AuditSettings) -> Sequence[AttackJob]:
    """Return the attacks that could find the leak of a subject, those that take least time first."""
    leak = subject.removeprefix(PLANTED)
    if leak in IN_MESSAGES:
        return [messages.MessagesAttack(subject)]
    if leak in (GESTURES, SCORES):
        return [gestures.GestureAttack(subject), messages.MessagesAttack(subject)]
    if leak == CONDITION:
        some = settings.conditions
        return [conditions.ConditionAttack(subject, some.names[0], some.architectures[0], some.seeds[0])]
    attackers = settings.attackers
    return [
        statistics.StatisticsAttack(subject),
        *(nearest.NearestAttack(subject, name) for name in nearest.EMBEDDINGS),
        *(IdentityAttack(subject, name, attackers.seeds[0], (subject,)) for name in attackers.architectures),
    ]
