"""Inversion: attackers who first try to undo the anonymization.

*Denoising*: a denoiser and the identifier after it are trained together on the identity and the raw window.
*Inverting*: the denoiser is trained alone on the raw window, and identifiers trained on raw windows get its output.

Source: Bendig et al., AnonyNoise, WACV 2025 (the denoiser before the identifier); Ahmad et al., ICCV 2023 (inversion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Figure
from eventveil.audit.settings import train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.training.networks.subjects import RAW
from eventveil.training.stages.classify import Attacker
from eventveil.training.stages.inversion import Invert, restored_share
from eventveil.training.stages.single_network import StageInputs


@dataclass(frozen=True)
class Denoising(AttackJob):
    """The job of one attacker whose denoiser and identifier are trained together.

    Attributes:
        subject: name of the subject under attack.
        architecture, seed: of the identifier.
    """

    FILE = "denoising-{job.architecture}-{job.seed}"
    TITLE = "denoising {job.architecture}, seed {job.seed}, on {job.subject}"

    subject: str
    architecture: str
    seed: int

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train both networks, and test them in every protocol."""
        subject = workspace.subject(self.subject)
        network = Network(subject, self.architecture, self.seed, "identity", denoised=True)
        attacks = workspace.attack(
            workspace.train_or_load(network), subject, self.subject, network.name,
            knowledge="denoising", architecture=self.architecture, seed=self.seed,
        )  # fmt: skip
        return {"attacks": attacks}


@dataclass(frozen=True)
class Inverting(AttackJob):
    """The job of a denoiser that is trained alone, and of identifiers trained on raw windows that get its output.

    Attributes:
        subject: name of the subject under attack.
        seed: seed of the denoiser.
        identifiers: architectures and seeds of the identifiers.
    """

    FILE = "inverting-{job.seed}"
    TITLE = "denoiser, seed {job.seed}, on {job.subject}"

    subject: str
    seed: int
    identifiers: tuple[tuple[str, int], ...]

    @property
    def after(self) -> tuple[str, ...]:
        """The jobs that train the identifiers."""
        return tuple(IdentityAttack(RAW, architecture, seed, ()).name for architecture, seed in self.identifiers)

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the denoiser, measure how much of raw windows it restores, and test the identifiers on its output."""
        subject, schedule = workspace.subject(self.subject), workspace.settings.inversion
        settings = train_settings(workspace.settings, pooled=False, schedule=schedule)
        folder = f"attackers/{subject.folder}/denoiser-{self.seed}"
        denoiser = workspace.build_denoiser(folder)
        validation = workspace.evaluation_set("val")
        inputs = StageInputs(folder, subject.anonymizer, settings, schedule, validation)
        workspace.train(Invert(inputs, denoiser), settings, subject)
        share = restored_share(workspace.test, denoiser, subject.anonymizer, "audit", folder)
        restored = Figure(value=share.value, low=share.low, high=share.high, chance=0.0)
        attacks: list[dict[str, Any]] = []
        for architecture, seed in self.identifiers:
            network = Network(workspace.subject(RAW), architecture, seed, "identity")
            identifier = workspace.train_or_load(network).classifier
            attacks += workspace.attack(
                Attacker(identifier, denoiser), subject, folder, architecture,
                knowledge="inverting", architecture=architecture, seed=seed,
            )  # fmt: skip
        return {"attacks": attacks, "restored": restored.model_dump(mode="json")}


def jobs(plan: AuditPlan) -> list[Denoising | Inverting]:
    """List the jobs of inversion on audited anonymizers."""
    settings, attackers = plan.settings.inversion, plan.settings.attackers
    identifiers = tuple((architecture, attackers.seeds[0]) for architecture in attackers.architectures)
    listed: list[Denoising | Inverting] = []
    for subject in plan.subjects:
        if subject.audited and subject.source is None and settings.architectures:
            listed += [Inverting(subject.name, seed, identifiers) for seed in settings.seeds]
            listed += [
                Denoising(subject.name, architecture, seed)
                for architecture in settings.architectures
                for seed in settings.seeds
            ]
    return listed


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the attacks on a subject, and how much of raw windows the best denoiser restored."""
    outcomes = [results.of(job.name) for job in jobs(plan) if job.subject == subject.name]
    restored = [Figure.model_validate(result["restored"]) for result in outcomes if "restored" in result]
    return {
        "attacks": sum((read_attacks(result["attacks"]) for result in outcomes), ()),
        "restored": max(restored, key=lambda figure: figure.value, default=None),
    }
