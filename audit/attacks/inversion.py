"""Inversion: attackers who first try to turn the anonymizer back.

*Denoising*: a denoiser and the identifier behind it learn together, from whom a window is and what it was. *Inverting*:
the denoiser learns alone what a window was, and whoever learned on raw windows then looks at what it makes of it.

Source: Bendig et al., AnonyNoise, WACV 2025 (the denoiser before the identifier); Ahmad et al., ICCV 2023 (inversion).
Legend of axes: B windows of a batch, N windows, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, Figure
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditWorkspace, Network
from eventveil.models.denoiser import Denoiser
from eventveil.models.kinds import Anonymizer
from eventveil.models.noise import NoiseGenerator
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet, embed_windows
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.networks.build import autocast
from eventveil.training.networks.subjects import RAW, folder_of
from eventveil.training.stages.single_network import SingleNetwork, StageInputs


@dataclass(frozen=True)
class Denoising:
    """The job of one attacker whose denoiser and identifier learn together.

    Attributes:
        subject: name of what is attacked.
        architecture, seed: of the identifier.
    """

    subject: str
    architecture: str
    seed: int

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.subject)}/denoising-{self.architecture}-{self.seed}"

    @property
    def title(self) -> str:
        """What it does."""
        return f"denoising {self.architecture}, seed {self.seed}, on {self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Train it, and test it in every protocol."""
        subject = bench.subject(self.subject)
        asked = Network(subject, self.architecture, self.seed, "identity", denoised=True)
        attacker = bench.attacker(asked)
        embedding_NE = embed_windows(
            bench.test, attacker.classifier, attacker.denoiser, subject.anonymizer, "audit", self.subject, asked.name
        )
        attacks = bench.asked(embedding_NE, knowledge="denoising", architecture=self.architecture, seed=self.seed)
        return {"attacks": attacks}


@dataclass(frozen=True)
class Inverting:
    """The job of a denoiser alone, and of those who learned on raw windows behind it.

    Attributes:
        subject: name of what is attacked.
        seed: of the denoiser.
        identifiers: architectures and seeds of those who look at what it makes.
    """

    subject: str
    seed: int
    identifiers: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.subject)}/inverting-{self.seed}"

    @property
    def title(self) -> str:
        """What it does."""
        return f"denoiser, seed {self.seed}, on {self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        """Those who learned on raw windows."""
        return tuple(IdentityAttack(RAW, architecture, seed, ()).name for architecture, seed in self.identifiers)

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Train the denoiser, measure how much of raw windows it gives back, and let the others look at that."""
        subject, own = bench.subject(self.subject), bench.settings.inversion
        settings = train_settings(bench.settings, pooled=False, schedule=own)
        folder = f"attackers/{subject.folder}/denoiser-{self.seed}"
        denoiser = bench.denoiser(folder)
        inputs = StageInputs(folder, subject.anonymizer, settings, own, bench.stand("val"))
        bench.train(Invert(inputs, denoiser), settings)
        restored = restored_share(bench.test, denoiser, subject.anonymizer, "audit", folder)
        attacks: list[dict[str, Any]] = []
        for architecture, seed in self.identifiers:
            identifier = bench.attacker(Network(bench.subject(RAW), architecture, seed, "identity")).classifier
            embedding_NE = embed_windows(
                bench.test, identifier, denoiser, subject.anonymizer, "audit", folder, architecture
            )
            attacks += bench.asked(embedding_NE, knowledge="inverting", architecture=architecture, seed=seed)
        return {"attacks": attacks, "restored": restored.model_dump(mode="json")}


class Invert(SingleNetwork):
    """The stage that trains a denoiser to give raw windows back, by mean squared error.

    Args:
        inputs: what every stage needs.
        denoiser: what is trained.
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
        """How much of the windows of validation people is given back, with fresh noise."""
        return {
            "val_restored": restored_share(self.evaluation_set, self._denoiser, self.anonymizer, self.name, epoch).value
        }


def restored_share(stand: EvaluationSet, denoiser: Denoiser, anonymizer: Anonymizer, *name: Any) -> Figure:
    """How much of what raw windows differ by is given back: 1 - squared error / squared distance from the mean window.

    0, which is chance, is what the mean window in the place of every window would get; 1 is every window, exactly.
    Below 0 the denoiser does worse than that.
    """
    mean_CHW = _mean_window(stand)

    def errors(both_BCHW: torch.Tensor) -> torch.Tensor:
        raw_BCHW, anonymized_BCHW = both_BCHW.chunk(2, dim=1)
        guess_BCHW = denoiser(anonymized_BCHW.contiguous(memory_format=torch.channels_last)).float()
        parts = [(other - raw_BCHW).square().mean((1, 2, 3)) for other in (guess_BCHW, mean_CHW)]
        return torch.stack(parts, dim=1)

    error_N2 = stand.compute_outputs(errors, _WithRaw(anonymizer), *name)

    def share(values_N2: Any) -> float:
        wrong, whole = values_N2.sum(0, dtype=np.float64)
        return float(1 - wrong / max(whole, 1e-12))

    low, high = bootstrap_by_person(error_N2, stand.persons, share)
    value = share(error_N2)
    return Figure(value=value, low=min(low, value), high=max(high, value), chance=0.0)


class _WithRaw:
    """Gives raw and anonymized windows, one behind the other: (B, 2C, H, W)."""

    def __init__(self, anonymizer: Anonymizer) -> None:
        self._anonymizer = anonymizer

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        return torch.cat((x_BCHW, self._anonymizer.anonymize(x_BCHW, generator)), dim=1)


def _mean_window(stand: EvaluationSet) -> torch.Tensor:
    start = stand.draw.start
    parts = [start[at : at + EVALUATION_BATCH] for at in range(0, len(start), EVALUATION_BATCH)]
    sums = [stand.anonymize_rows(Unchanged(), ("mean",), part).double().sum(0) for part in parts]
    return (torch.stack(sums).sum(0) / len(start)).float()


def inversion_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[Denoising | Inverting]:
    """The jobs of all who turn audited anonymizers back."""
    own = settings.inversion
    first = tuple((architecture, settings.attackers.seeds[0]) for architecture in settings.attackers.architectures)
    jobs: list[Denoising | Inverting] = []
    for subject in subjects:
        if subject.audited and own.architectures:
            jobs += [Inverting(subject.name, seed, first) for seed in own.seeds]
            jobs += [Denoising(subject.name, build, seed) for build in own.architectures for seed in own.seeds]
    return jobs


def inversion_on(
    subject: Subject, settings: AuditSettings, results: Results
) -> tuple[tuple[Attack, ...], Figure | None]:
    """What they got on a subject, once their jobs are done, and how much of raw windows the best denoiser gave back."""
    done = [results.of(job.name) for job in inversion_jobs(settings, (subject,))]
    attacks = tuple(Attack.model_validate(attack) for one in done for attack in one["attacks"])
    restored = [Figure.model_validate(one["restored"]) for one in done if "restored" in one]
    return attacks, max(restored, key=lambda figure: figure.value, default=None)
