"""Attackers who learn who is who: ignorant ones from raw windows, informed ones afresh from anonymized ones.

A network learns on one subject, and is then tested on that and, where it learned on raw windows, on all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, Knowledge
from eventveil.audit.settings import AttackerSettings, AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditWorkspace, Network
from eventveil.training.evaluation.evaluation import embed_windows
from eventveil.training.networks.subjects import RAW, folder_of


@dataclass(frozen=True)
class IdentityAttack:
    """The job of one attacker.

    Attributes:
        learned_on: name of the subject.
        architecture, seed: of its network.
        tested_on: names of subjects, that of `learned_on` among them.
        knowledge: what it is called on the subject that it learned on.
    """

    learned_on: str
    architecture: str
    seed: int
    tested_on: tuple[str, ...]
    knowledge: Knowledge = "informed"

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.learned_on)}/identity-{self.architecture}-{self.seed}"

    @property
    def title(self) -> str:
        """What it does."""
        return f"{self.knowledge} {self.architecture}, seed {self.seed}, on {self.learned_on}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Train it, and test it in every protocol: attacks by the subject they are on."""
        asked = Network(bench.subject(self.learned_on), self.architecture, self.seed, "identity")
        network = bench.trained(asked)
        found: dict[str, Any] = {}
        for name in self.tested_on:
            anonymizer = bench.subject(name).anonymizer
            embedding_NE = embed_windows(bench.test, network, None, anonymizer, "audit", name, asked.name)
            knowledge = self.knowledge if name == self.learned_on else "ignorant"
            found[name] = bench.asked(embedding_NE, knowledge=knowledge, architecture=self.architecture, seed=self.seed)
        return {"attacks": found}


def identity_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[IdentityAttack]:
    """The jobs of all attackers; those who learn on raw windows come first."""
    names = [subject.name for subject in subjects]
    return [
        IdentityAttack(name, architecture, seed, tuple(names) if name == RAW else (name,))
        for name in sorted(names, key=lambda name: name != RAW)
        for architecture, seed in _networks(settings.attackers)
    ]


def attacks_on(name: str, settings: AuditSettings, results: Results) -> tuple[Attack, ...]:
    """What ignorant and informed attackers got on a subject, once their jobs are done."""
    found: list[Attack] = []
    for architecture, seed in _networks(settings.attackers):
        for learned_on in dict.fromkeys((RAW, name)):
            done = results.of(IdentityAttack(learned_on, architecture, seed, ()).name)
            found += [Attack.model_validate(attack) for attack in done["attacks"][name]]
    return tuple(found)


def _networks(own: AttackerSettings) -> Iterator[tuple[str, int]]:
    return ((architecture, seed) for architecture in own.architectures for seed in own.seeds)
