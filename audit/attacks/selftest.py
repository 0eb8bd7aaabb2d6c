"""The audit's test of itself: attackers on planted leaks (`audit.planted`), with the people and attackers of the audit.

A leak counts as found if an audit would fail an anonymizer for it: an attacker is certainly above the threshold, or
somebody is surely linked. Each architecture attacks with one seed: an audit with more seeds sees more than this.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventveil.audit.attacks import conditions, gestures, nearest, statistics
from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.evaluation.people import surely_linked
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, PlantedLeak, surest
from eventveil.audit.planted import CONDITION, GESTURES, LEAKS, PLANTED, planted_subject
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan


def planted_subjects(settings: AuditSettings) -> tuple[Subject, ...]:
    """Return the subjects with a leak; without conditions in the settings, there is none under a condition."""
    return tuple(planted_subject(leak) for leak in LEAKS if leak.name != CONDITION or settings.conditions.names)


def jobs(plan: AuditPlan) -> list[AttackJob]:
    """List the jobs on all planted leaks."""
    return [job for subject in plan.planted for job in _jobs_of(subject, plan)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return nothing: planted leaks are about the audit, see `found_leaks`."""
    return {}


def found_leaks(plan: AuditPlan, results: Results) -> tuple[PlantedLeak, ...]:
    """Return what the attackers achieved on each planted leak, once all jobs are done."""
    return tuple(
        leak_found(subject.name.removeprefix(PLANTED), _attacks_of(subject, plan, results), plan.settings.threshold)
        for subject in plan.planted
    )


def leak_found(name: str, attacks: tuple[Attack, ...], threshold: float) -> PlantedLeak:
    """Decide whether a planted leak was found.

    Args:
        name: of the leak.
        attacks: on it.
        threshold: of the audit.
    """
    best, people = surest(attacks), max(attack.people for attack in attacks)
    linked = surely_linked([attack.linked_people for attack in attacks if attack.way == "linked"], people)
    found = best.advantage.low >= threshold or bool(linked)
    return PlantedLeak(name=name, found=found, surest=best, surely_linked=len(linked))


def _jobs_of(subject: Subject, plan: AuditPlan) -> Sequence[AttackJob]:
    settings = plan.settings
    if subject.name == PLANTED + CONDITION:
        some = settings.conditions
        return [conditions.ConditionAttack(subject.name, some.names[0], some.architectures[0], some.seeds[0])]
    if subject.name == PLANTED + GESTURES:
        return [gestures.GestureAttack(subject.name)]
    attackers = settings.attackers
    return [
        *(IdentityAttack(subject.name, name, attackers.seeds[0], (subject.name,)) for name in attackers.architectures),
        *(nearest.NearestAttack(subject.name, name) for name in nearest.EMBEDDINGS),
        statistics.StatisticsAttack(subject.name),
    ]


def _attacks_of(subject: Subject, plan: AuditPlan, results: Results) -> tuple[Attack, ...]:
    found: tuple[Attack, ...] = ()
    for job in _jobs_of(subject, plan):
        values = results.of(job.name)["attacks"]
        found += read_attacks(values[subject.name] if isinstance(values, dict) else values)
    return found
