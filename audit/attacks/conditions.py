"""Attackers who learn away from the anonymizer's training data: as `audit.conditions` lists them.

Both the attacker and the test see windows under the condition, as an attacker does who watches that camera. Raw windows
are attacked under the same conditions, to show that something can be seen there at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.conditions import OF_WINDOWS, TWO_PEOPLE, under
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.training.networks.subjects import RAW


@dataclass(frozen=True)
class ConditionAttack(AttackJob):
    """The job of one attacker.

    Attributes:
        subject: name of the subject under attack.
        condition: one of `conditions.CONDITIONS`.
        architecture, seed: of the network.
    """

    FILE = "{job.condition}-{job.architecture}-{job.seed}"
    TITLE = "informed {job.architecture}, seed {job.seed}, on {job.subject}, {job.condition}"

    subject: str
    condition: str
    architecture: str
    seed: int

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the network under the condition, and test it under the same."""
        others = workspace.bystanders if self.condition == TWO_PEOPLE else None
        changed = under(workspace.subject(self.subject), self.condition, others)
        network = Network(changed, self.architecture, self.seed, "identity")
        attacks = workspace.attack(
            workspace.train_or_load(network), changed, changed.name, network.name,
            knowledge="informed", architecture=self.architecture, seed=self.seed,
        )  # fmt: skip
        return {"attacks": [attack | {"condition": self.condition} for attack in attacks]}


def jobs(plan: AuditPlan) -> list[ConditionAttack]:
    """List the jobs for raw windows and every audited subject."""
    return [job for subject in plan.subjects for job in _jobs_of(subject, plan)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the attacks on a subject under all conditions."""
    by_job = [results.of(job.name)["attacks"] for job in _jobs_of(subject, plan)]
    return {"attacks": tuple(attack for attacks in by_job for attack in read_attacks(attacks))}


def _jobs_of(subject: Subject, plan: AuditPlan) -> list[ConditionAttack]:
    if not (subject.audited or subject.name == RAW):
        return []
    settings = plan.settings.conditions
    return [
        ConditionAttack(subject.name, condition, architecture, seed)
        for condition in settings.names
        if subject.source is None or condition not in OF_WINDOWS
        if condition != TWO_PEOPLE or plan.settings.window.mode == "windows"
        for architecture in settings.architectures
        for seed in settings.seeds
    ]
