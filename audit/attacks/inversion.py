"""Inversion: attackers who first try to undo the anonymization.

*Denoising*: a denoiser and the identifier after it are trained together on the identity and the raw window.
*Inverting*: the denoiser is trained alone on the raw window, and identifiers trained on raw windows get its output.

Source: Bendig et al., AnonyNoise, WACV 2025 (the denoiser before the identifier); Ahmad et al., ICCV 2023 (inversion).
Legend of axes: B windows of a batch, N windows, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Figure
from eventveil.audit.settings import train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.models.denoiser import Denoiser
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import NoiseGenerator
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.networks.build import autocast
from eventveil.training.networks.subjects import RAW
from eventveil.training.stages.classify import Attacker
from eventveil.training.stages.single_network import SingleNetwork, StageInputs


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
        seed: of the denoiser.
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
        restored = restored_share(workspace.test, denoiser, subject.anonymizer, "audit", folder)
        attacks: list[dict[str, Any]] = []
        for architecture, seed in self.identifiers:
            network = Network(workspace.subject(RAW), architecture, seed, "identity")
            identifier = workspace.train_or_load(network).classifier
            attacks += workspace.attack(
                Attacker(identifier, denoiser), subject, folder, architecture,
                knowledge="inverting", architecture=architecture, seed=seed,
            )  # fmt: skip
        return {"attacks": attacks, "restored": restored.model_dump(mode="json")}


class Invert(SingleNetwork):
    """The stage that trains a denoiser to restore raw windows, by mean squared error.

    Args:
        inputs: what every stage needs.
        denoiser: the network to train.
    """

    score: str | None = "val_restored"

    def __init__(self, inputs: StageInputs, denoiser: Denoiser) -> None:
        super().__init__(inputs, "denoiser", denoiser)
        self._denoiser = denoiser

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step."""
        with autocast(self.settings, self.evaluation_set.group.device):
            loss = functional.mse_loss(self._denoiser(self.anonymize(batch)).float(), batch.x_BCHW)
        return Step({"loss": loss}, [self.learner.gradient(loss)])

    def validate(self, epoch: int) -> dict[str, float]:
        """Return the restored share of windows of validation people, with fresh noise."""
        restored = restored_share(self.evaluation_set, self._denoiser, self.anonymizer, self.name, epoch)
        return {"val_restored": restored.value}


def restored_share(
    evaluation_set: EvaluationSet, denoiser: Denoiser, anonymizer: AnonymizerNetwork, *name: Any
) -> Figure:
    """Measure how much of raw windows a denoiser restores: 1 - squared error / squared distance from the mean window.

    0, which is chance, is what the mean window in the place of every window would get. 1 is every window, exactly.
    Below 0 the denoiser does worse than the mean window.
    """
    mean_CHW = _mean_window(evaluation_set)

    def errors(both_BCHW: torch.Tensor) -> torch.Tensor:
        raw_BCHW, anonymized_BCHW = both_BCHW.chunk(2, dim=1)
        restored_BCHW = denoiser(anonymized_BCHW.contiguous(memory_format=torch.channels_last)).float()
        parts = [(guess - raw_BCHW).square().mean((1, 2, 3)) for guess in (restored_BCHW, mean_CHW)]
        return torch.stack(parts, dim=1)

    error_N2 = evaluation_set.compute_outputs(errors, _WithRaw(anonymizer), *name)

    def share(values_N2: Any) -> float:
        error, distance = values_N2.sum(0, dtype=np.float64)
        return float(1 - error / max(distance, 1e-12))

    low, high = bootstrap_by_person(error_N2, evaluation_set.persons, share)
    value = share(error_N2)
    return Figure(value=value, low=min(low, value), high=max(high, value), chance=0.0)


class _WithRaw:
    """Returns raw and anonymized windows, concatenated along the channels: (B, 2C, H, W)."""

    def __init__(self, anonymizer: AnonymizerNetwork) -> None:
        self._anonymizer = anonymizer

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        return torch.cat((x_BCHW, self._anonymizer.anonymize(x_BCHW, generator)), dim=1)


def _mean_window(evaluation_set: EvaluationSet) -> torch.Tensor:
    start = evaluation_set.draw.start
    parts = [start[at : at + EVALUATION_BATCH] for at in range(0, len(start), EVALUATION_BATCH)]
    sums = [evaluation_set.anonymize_rows(Unchanged(), ("mean",), part).double().sum(0) for part in parts]
    return (torch.stack(sums).sum(0) / len(start)).float()


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
