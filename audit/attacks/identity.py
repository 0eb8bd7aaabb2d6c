"""Attackers who learn to tell people apart: ignorant ones from raw windows, informed ones from anonymized windows.

A network is trained on one subject and tested on it; a network trained on raw windows is tested on all others, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, Knowledge
from eventveil.audit.settings import AttackerSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.training.networks.subjects import RAW


@dataclass(frozen=True)
class IdentityAttack(AttackJob):
    """The job of one attacker.

    Attributes:
        subject: name of the subject to train on.
        architecture, seed: of the network.
        tested_on: names of the subjects to test on, `subject` among them.
    """

    FILE = "identity-{job.architecture}-{job.seed}"
    TITLE = "informed {job.architecture}, seed {job.seed}, on {job.subject}"

    subject: str
    architecture: str
    seed: int
    tested_on: tuple[str, ...]

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the network, and test it in every protocol: attacks by the name of the subject under attack."""
        network = Network(workspace.subject(self.subject), self.architecture, self.seed, "identity")
        attacker = workspace.train_or_load(network)
        attacks: dict[str, Any] = {}
        for name in self.tested_on:
            knowledge: Knowledge = "informed" if name == self.subject else "ignorant"
            attacks[name] = workspace.attack(
                attacker, workspace.subject(name), name, network.name,
                knowledge=knowledge, architecture=self.architecture, seed=self.seed,
            )  # fmt: skip
        return {"attacks": attacks}


def jobs(plan: AuditPlan) -> list[IdentityAttack]:
    """List the jobs of all attackers; those that train on raw windows come first."""
    names = [subject.name for subject in plan.subjects]
    return [
        IdentityAttack(name, architecture, seed, tuple(names) if name == RAW else (name,))
        for name in sorted(names, key=lambda name: name != RAW)
        for architecture, seed in _networks(plan.settings.attackers)
    ]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the attacks of ignorant and informed attackers on a subject."""
    attacks: list[Attack] = []
    for architecture, seed in _networks(plan.settings.attackers):
        for trained_on in dict.fromkeys((RAW, subject.name)):
            result = results.of(IdentityAttack(trained_on, architecture, seed, ()).name)
            attacks += read_attacks(result["attacks"][subject.name])
    return {"attacks": tuple(attacks)}


def _networks(settings: AttackerSettings) -> Iterator[tuple[str, int]]:
    return ((architecture, seed) for architecture in settings.architectures for seed in settings.seeds)
