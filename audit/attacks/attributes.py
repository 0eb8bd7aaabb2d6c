"""Attributes: probes, trained on other people, predict what a person is like and under which light they were recorded.

One network predicts all attributes, each with its own outputs; for a linear probe that equals one probe for each.

Legend of axes: B windows of a batch, N windows, C channels, H rows, W columns, K classes of an attribute, A of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from eventveil.audit.architectures import PLAIN, build
from eventveil.audit.attacks.base import AttackJob, Findings
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attribute, Figure
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.traits import Trait, traits_of
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.resnet import Classified
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step
from eventveil.training.evaluation.confidence import bootstrap_by_person, wilson
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.networks.build import autocast, channels
from eventveil.training.networks.subjects import RAW
from eventveil.training.randomness import seed_of
from eventveil.training.stages.single_network import SingleNetwork, StageInputs

LINEAR, CNN = "linear", "cnn"
SQUARES = 16  # rows and columns that a linear probe gets


@dataclass(frozen=True)
class Probing(AttackJob):
    """The job of one probe.

    Attributes:
        subject: name of the subject under attack.
        probe: linear or cnn.
    """

    FILE = "attributes-{job.probe}"
    TITLE = "{job.probe} probe of attributes, on {job.subject}"

    subject: str
    probe: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the probe, and predict the attributes of test people."""
        traits, subject = traits_of(workspace.dataset), workspace.subject(self.subject)
        schedule, test = workspace.settings.probes, workspace.evaluation_set("test", subject)
        settings = workspace.train_settings(subject, schedule=schedule)
        # A mirrored window of a left-handed person looks like one of a right-handed person.
        settings = settings.model_copy(update={"augment": settings.augment.model_copy(update={"mirror": False})})
        folder = f"attackers/{subject.folder}/probe-{self.probe}"
        network = _network(self.probe, traits, workspace.settings, folder)
        validation = workspace.evaluation_set("val", subject)
        inputs = StageInputs(folder, subject.anonymizer, settings, schedule, validation)
        workspace.train(Probe(inputs, network, traits), settings, subject)
        logits_NA = test.compute_outputs(lambda x: network(x).logits, subject.anonymizer, "audit", folder)
        return {
            "attributes": [
                _attribute(trait, self.probe, predicted_N, test).model_dump(mode="json")
                for trait, predicted_N in zip(traits, _predictions(logits_NA, traits), strict=True)
            ]
        }


class LinearProbe(nn.Module):
    """One matrix on logarithms of counts in 16x16 squares."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels * SQUARES**2, classes)

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Classify windows (B, C, H, W)."""
        features = functional.adaptive_avg_pool2d(x_BCHW.sign() * x_BCHW.abs().log1p(), SQUARES).flatten(1)
        return Classified(features, self.classifier(features))


class Probe(SingleNetwork):
    """The stage that trains a probe. All classes of an attribute have equal weight, however many windows they have.

    Args:
        inputs: what every stage needs.
        network: the network to train; its logits are those of all attributes, concatenated.
        traits: the attributes.
    """

    score: str | None = "val_balanced"

    def __init__(self, inputs: StageInputs, network: nn.Module, traits: Sequence[Trait]) -> None:
        super().__init__(inputs, "probe", network)
        self._network = network
        self._traits = traits
        trials = [trial.name for trial in self.evaluation_set.dataset.of("train")]
        self._weights = [_class_weights(trait, trials).to(self.evaluation_set.group.device) for trait in traits]

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step: the sum of the attributes' cross-entropies."""
        group = self.evaluation_set.group
        names = batch.trials[group.part(batch.global_size)]
        with autocast(self.settings.run, self.settings.window.size, group.device):
            logits_BA = self._network(self.anonymize(batch)).logits.float()
        loss = torch.zeros((), device=group.device)
        for trait, weight_K, logits_BK in zip(
            self._traits, self._weights, _split(logits_BA, self._traits), strict=True
        ):
            label_B = torch.tensor([trait.of[name] for name in names], device=group.device)
            loss = loss + functional.cross_entropy(logits_BK, label_B, weight_K)
        return Step({"loss": loss}, [self.learner.gradient(loss)])

    def validate(self, epoch: int) -> dict[str, float]:
        """Return the balanced accuracy on validation people, averaged over the attributes, with fresh noise."""
        logits_NA = self.evaluation_set.compute_outputs(
            lambda x: self._network(x).logits, self.anonymizer, self.name, epoch
        )
        values = [
            balanced_accuracy(np.stack((predicted_N, _labels(trait, self.evaluation_set)), axis=1))
            for trait, predicted_N in zip(self._traits, _predictions(logits_NA, self._traits), strict=True)
        ]
        return {"val_balanced": float(np.mean(values))}


def balanced_accuracy(pairs_N2: npt.NDArray[np.int64]) -> float:
    """Return the accuracy averaged over the classes that occur; rows are (predicted class, true class)."""
    predicted_N, true_N = pairs_N2.T
    return float(np.mean([(predicted_N[true_N == k] == k).mean() for k in np.unique(true_N)]))


def _attribute(
    trait: Trait, probe: str, predicted_N: npt.NDArray[np.int64], evaluation_set: EvaluationSet
) -> Attribute:
    """Measure the accuracy. Chance is a constant prediction, which is right in one of K classes."""
    pairs_N2 = np.stack((predicted_N, _labels(trait, evaluation_set)), axis=1)
    persons = evaluation_set.persons
    value = balanced_accuracy(pairs_N2)
    by_person = bootstrap_by_person(pairs_N2, persons, balanced_accuracy)
    # Where all people get the same prediction a bootstrap has no width, however few people there are. All windows of a
    # person with the same true class count as one case, however many windows there are.
    cases = len(set(zip(persons.tolist(), pairs_N2[:, 1].tolist(), strict=True)))
    by_case = wilson(value * cases, cases)
    low, high = min(by_person.low, by_case.low), max(by_person.high, by_case.high)
    chance = 1 / len(np.unique(pairs_N2[:, 1]))
    accuracy = Figure(value=value, low=low, high=high, chance=chance)
    people = len(np.unique(persons))
    return Attribute(name=trait.name, probe=probe, classes=trait.classes, people=people, accuracy=accuracy)


def _labels(trait: Trait, evaluation_set: EvaluationSet) -> npt.NDArray[np.int64]:
    labels = np.array([trait.of[trial.name] for trial in evaluation_set.windows.trials])
    return np.asarray(labels[evaluation_set.draw.trial])


def _split(logits_BA: torch.Tensor, traits: Sequence[Trait]) -> tuple[torch.Tensor, ...]:
    return torch.split(logits_BA, [len(trait.classes) for trait in traits], dim=1)


def _predictions(logits_NA: npt.NDArray[np.float32], traits: Sequence[Trait]) -> list[npt.NDArray[np.int64]]:
    return [logits_NK.argmax(1).numpy() for logits_NK in _split(torch.from_numpy(logits_NA), traits)]


def _class_weights(trait: Trait, trials: Sequence[str]) -> torch.Tensor:
    counts_K = np.bincount([trait.of[name] for name in trials], minlength=len(trait.classes))
    return torch.tensor(len(trials) / (len(counts_K) * counts_K), dtype=torch.float32)


def _network(probe: str, traits: Sequence[Trait], settings: AuditSettings, name: str) -> nn.Module:
    attackers, classes = settings.attackers, sum(len(trait.classes) for trait in traits)
    count = channels(train_settings(settings, pooled=False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, name))
        if probe == LINEAR:
            return LinearProbe(count, classes)
        return build(
            PLAIN, count, classes, width=attackers.width, embedding=attackers.embedding, pool=attackers.pool
        )  # fmt: skip


def jobs(plan: AuditPlan) -> list[Probing]:
    """List the jobs of all probes: of audited anonymizers, and of raw windows for comparison."""
    if not traits_of(plan.dataset):
        return []
    names = [subject.name for subject in plan.subjects if subject.audited or subject.name == RAW]
    return [Probing(name, probe) for name in names for probe in plan.settings.probes.probes]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the attributes that probes predicted from a subject's windows."""
    attributes = tuple(
        Attribute.model_validate(values)
        for job in jobs(plan)
        if job.subject == subject.name
        for values in results.of(job.name)["attributes"]
    )
    return {"attributes": attributes}
