"""Attributes: what is a person like, and under what light were they seen? Probes that learn from other people.

One network tells all attributes, each by outputs of its own; for a linear probe that is the same as one probe for each.

Legend of axes: B windows of a batch, N windows, C channels, H rows, W columns, K classes of an attribute, A attributes.
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
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attribute, Figure
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.traits import Trait, traits_of
from eventveil.audit.workspace.workspace import AuditWorkspace
from eventveil.models.resnet import Classified
from eventveil.replay.datasets.trials import Dataset
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step
from eventveil.training.evaluation.confidence import bootstrap_by_person, wilson
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.networks.build import autocast, channels
from eventveil.training.networks.subjects import RAW, folder_of
from eventveil.training.randomness import seed_of
from eventveil.training.stages.single_network import SingleNetwork, StageInputs

LINEAR, CNN = "linear", "cnn"
SEEN = 16  # rows and columns that a linear probe looks at


@dataclass(frozen=True)
class Probing:
    """The job of one probe.

    Attributes:
        subject: name of what is looked at.
        probe: linear or cnn.
    """

    subject: str
    probe: str

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.subject)}/attributes-{self.probe}"

    @property
    def title(self) -> str:
        """What it does."""
        return f"{self.probe} probe of attributes, on {self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Train it, and let it tell the attributes of test people."""
        traits, subject, own = traits_of(bench.dataset), bench.subject(self.subject), bench.settings.probes
        settings = train_settings(bench.settings, pooled=False, schedule=own)
        folder = f"attackers/{subject.folder}/probe-{self.probe}"
        network = _network(self.probe, traits, bench.settings, folder)
        inputs = StageInputs(folder, subject.anonymizer, settings, own, bench.stand("val"))
        bench.train(Probe(inputs, network, traits), settings)
        logits_NK = bench.test.compute_outputs(lambda x: network(x).logits, subject.anonymizer, "audit", folder)
        return {
            "attributes": [
                _told(trait, self.probe, said_N, bench.test).model_dump(mode="json")
                for trait, said_N in zip(traits, _said(logits_NK, traits), strict=True)
            ]
        }


class LinearProbe(nn.Module):
    """One matrix, on logarithms of counts in 16x16 squares."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels * SEEN**2, classes)

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Classify windows (B, C, H, W)."""
        seen = functional.adaptive_avg_pool2d(x_BCHW.sign() * x_BCHW.abs().log1p(), SEEN).flatten(1)
        return Classified(seen, self.classifier(seen))


class Probe(SingleNetwork):
    """The stage that trains a probe; each class of an attribute counts alike, however many windows it has.

    Args:
        inputs: what every stage needs.
        network: what is trained; its logits are those of all attributes, one behind the other.
        traits: what it is to tell.
    """

    score: str | None = "val_balanced"

    def __init__(self, inputs: StageInputs, network: nn.Module, traits: Sequence[Trait]) -> None:
        super().__init__(inputs, "probe", network)
        self._network = network
        self._traits = traits
        trained = [trial.name for trial in self.evaluation_set.dataset.of("train")]
        self._weights = [_balance(trait, trained).to(self.evaluation_set.group.device) for trait in traits]

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step: the sum of the attributes' cross-entropies."""
        group = self.evaluation_set.group
        names = batch.trials[group.part(batch.global_size)]
        with autocast(self.settings, group.device):
            logits_BK = self._network(self.anonymize(batch)).logits.float()
        loss = torch.zeros((), device=group.device)
        for trait, weight_K, own_BK in zip(self._traits, self._weights, _parted(logits_BK, self._traits), strict=True):
            label_B = torch.tensor([trait.of[name] for name in names], device=group.device)
            loss = loss + functional.cross_entropy(own_BK, label_B, weight_K)
        return Step({"loss": loss}, [self.learner.gradient(loss)])

    def validate(self, epoch: int) -> dict[str, float]:
        """Mean over the attributes of the balanced accuracy on validation people, with fresh noise."""
        logits_NK = self.evaluation_set.compute_outputs(
            lambda x: self._network(x).logits, self.anonymizer, self.name, epoch
        )
        values = [
            balanced_accuracy(np.stack((said_N, _labels(trait, self.evaluation_set)), axis=1))
            for trait, said_N in zip(self._traits, _said(logits_NK, self._traits), strict=True)
        ]
        return {"val_balanced": float(np.mean(values))}


def balanced_accuracy(pairs_N2: npt.NDArray[np.int64]) -> float:
    """Mean over the classes that there are of the share that is right; rows are what was said, and what is."""
    said_N, right_N = pairs_N2.T
    return float(np.mean([(said_N[right_N == k] == k).mean() for k in np.unique(right_N)]))


def _told(trait: Trait, probe: str, said_N: npt.NDArray[np.int64], stand: EvaluationSet) -> Attribute:
    """Whoever says the same of all windows is right in one of K classes: that is chance."""
    pairs_N2 = np.stack((said_N, _labels(trait, stand)), axis=1)
    people = len(np.unique(stand.persons))
    value = balanced_accuracy(pairs_N2)
    by_person = bootstrap_by_person(pairs_N2, stand.persons, balanced_accuracy)
    # Where all people are told alike a bootstrap has no width, however few they are. What is alike in all windows of a
    # person was told once of them, however many windows there are.
    told = len(set(zip(stand.persons.tolist(), pairs_N2[:, 1].tolist(), strict=True)))
    by_case = wilson(value * told, told)
    low, high = min(by_person.low, by_case.low), max(by_person.high, by_case.high)
    chance = 1 / len(np.unique(pairs_N2[:, 1]))
    accuracy = Figure(value=value, low=low, high=high, chance=chance)
    return Attribute(name=trait.name, probe=probe, classes=trait.classes, people=people, accuracy=accuracy)


def _labels(trait: Trait, stand: EvaluationSet) -> npt.NDArray[np.int64]:
    own = np.array([trait.of[trial.name] for trial in stand.windows.trials])
    return np.asarray(own[stand.draw.trial])


def _parted(logits_BK: torch.Tensor, traits: Sequence[Trait]) -> tuple[torch.Tensor, ...]:
    return torch.split(logits_BK, [len(trait.classes) for trait in traits], dim=1)


def _said(logits_NK: npt.NDArray[np.float32], traits: Sequence[Trait]) -> list[npt.NDArray[np.int64]]:
    return [own_NK.argmax(1).numpy() for own_NK in _parted(torch.from_numpy(logits_NK), traits)]


def _balance(trait: Trait, trials: Sequence[str]) -> torch.Tensor:
    counts_K = np.bincount([trait.of[name] for name in trials], minlength=len(trait.classes))
    return torch.tensor(len(trials) / (len(counts_K) * counts_K), dtype=torch.float32)


def _network(probe: str, traits: Sequence[Trait], settings: AuditSettings, name: str) -> nn.Module:
    own, classes = settings.attackers, sum(len(trait.classes) for trait in traits)
    count = channels(train_settings(settings, pooled=False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, name))
        if probe == LINEAR:
            return LinearProbe(count, classes)
        return build(PLAIN, count, classes, width=own.width, embedding=own.embedding, pool=own.pool)


def attribute_jobs(settings: AuditSettings, subjects: Sequence[Subject], dataset: Dataset) -> list[Probing]:
    """The jobs of all probes: of audited anonymizers, and of raw windows to compare with."""
    if not traits_of(dataset):
        return []
    names = [subject.name for subject in subjects if subject.audited or subject.name == RAW]
    return [Probing(name, probe) for name in names for probe in settings.probes.probes]


def attributes_on(
    subject: Subject, settings: AuditSettings, dataset: Dataset, results: Results
) -> tuple[Attribute, ...]:
    """What probes told of a subject's windows, once their jobs are done."""
    return tuple(
        Attribute.model_validate(one)
        for job in attribute_jobs(settings, (subject,), dataset)
        for one in results.of(job.name)["attributes"]
    )
