"""The workspace of jobs: people, their windows, and networks trained on the windows of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eventveil.audit.architectures import IN_GROUPS, build
from eventveil.audit.conditions import TWO_PEOPLE
from eventveil.audit.evaluation.protocols import Protocol, all_linked, protocols_of, sequences_of
from eventveil.audit.figures import Knowledge
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.identity_stage import IdentityStage
from eventveil.errors import AuditError
from eventveil.models.configs import DenoiserConfig
from eventveil.models.denoiser import Denoiser
from eventveil.replay.datasets.trials import Dataset, people_of
from eventveil.training.data.loader import BatchLoader, mirrored_targets
from eventveil.training.data.split import PARTS, Watch, load_or_build_windows
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import load_networks
from eventveil.training.engine.loop import BEST, ProgressReporter, run_stage
from eventveil.training.engine.run_folder import digest_of
from eventveil.training.engine.stage import Stage
from eventveil.training.evaluation.evaluation import EvaluationSet, embed_windows
from eventveil.training.networks.build import channels
from eventveil.training.randomness import seed_of
from eventveil.training.settings import AugmentSettings, Label, StageSettings, TrainSettings
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.single_network import StageInputs


@dataclass(frozen=True)
class AuditPlan:
    """Everything that a workspace is built from; it can be sent to another process.

    Attributes:
        settings: settings of the audit.
        subjects: the audited ones, and those for comparison.
        work: folder of windows, networks and results; private.
        dataset: its trials, in parts by person.
        planted: subjects with a planted leak, by which the audit tests itself.
        audit_number: which audit of the same weights this is, from 1.
    """

    settings: AuditSettings
    subjects: tuple[Subject, ...]
    work: Path
    dataset: Dataset
    planted: tuple[Subject, ...] = ()
    audit_number: int = 1


@dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes:
        subject: the subject on whose windows it is trained.
        architecture: one of `architectures.ARCHITECTURES`.
        seed: part of its name, from which initial weights and all random draws of the training follow.
        label: identity for an attacker, target for a classifier of gestures.
        denoised: whether a denoiser before it is trained with it.
        channels: channels of its input; None: those of windows.
    """

    subject: Subject
    architecture: str
    seed: int
    label: Label
    denoised: bool = False
    channels: int | None = None

    @property
    def name(self) -> str:
        """Path of its folder in the work folder."""
        before = "denoised-" if self.denoised else ""
        return f"attackers/{self.subject.folder}/{before}{self.label}-{self.architecture}-{self.seed}"


class AuditWorkspace:
    """People, their windows, and the networks that are trained on them.

    Args:
        plan: plan of the audit.
        group: this process and its device.
        reporter: receives the progress of a training.
        watch: receives the progress of preparing windows.

    Raises:
        AuditError: the plan's folder does not exist on this machine.
    """

    def __init__(
        self,
        plan: AuditPlan,
        group: ProcessGroup,
        reporter: ProgressReporter,
        watch: Watch = lambda _what, _done, _of: None,
    ) -> None:
        if not plan.work.is_dir():
            raise AuditError(
                f"{plan.work}: does not exist on this machine; give --out and the data on a folder that all machines "
                "share"
            )
        self.settings, self.work, self.dataset, self.group = plan.settings, plan.work, plan.dataset, group
        self._audit_number = plan.audit_number
        self._reporter, self._watch = reporter, watch
        self._subjects = {subject.name: subject for subject in (*plan.subjects, *plan.planted)}
        for subject in self._subjects.values():
            if isinstance(subject.anonymizer, nn.Module):
                subject.anonymizer.to(group.device)
            if subject.classifier is not None:
                subject.classifier.network.to(group.device)
        self._parts: dict[tuple[str, str], Windows] = {}

    def subject(self, name: str) -> Subject:
        """Return the subject of this name."""
        return self._subjects[name]

    def prepare(self) -> None:
        """Prepare or find the windows of all parts, before several processes need them.

        Raises:
            TrainingError: they cannot be written.
            EventVeilError: a trial cannot be read.
        """
        for part in PARTS:
            self._raw(part)
            beside = part == "val" and TWO_PEOPLE in self.settings.conditions.names
            if beside or any(subject.source is not None for subject in self._subjects.values()):
                self._raw(part, whole_bins=True)

    @cached_property
    def test(self) -> EvaluationSet:
        """The people whom attackers try to re-identify, by raw windows."""
        return self.evaluation_set("test")

    @cached_property
    def protocols(self) -> list[Protocol]:
        """All protocols by which attacks on test people are scored."""
        return protocols_of(self.test, self.settings.linking, self.settings.seed, self._audit_number)

    @cached_property
    def sequences(self) -> list[Protocol]:
        """The protocols of windows in the order of time."""
        return sequences_of(self.test, self.settings.sequences, self.settings.seed, self._audit_number)

    @cached_property
    def validation(self) -> Protocol:
        """The protocol that picks the epoch, on validation people.

        Raises:
            AuditError: none of them has the same gesture in two sessions.
        """
        protocol = all_linked(self.evaluation_set("val"))
        if not protocol.can_be_scored:
            raise AuditError(
                f"{self.dataset.root}: none of the validation people has the same gesture in two sessions, so no epoch "
                "of an attacker can be picked; raise data.val_people, or give people a second session"
            )
        return protocol

    def train_or_load(self, network: Network) -> Attacker:
        """Train a network, and its denoiser if it has one, to the end; load both as validation picked them.

        A training that was interrupted continues, and one that is finished is only loaded.

        Raises:
            Interrupted: the audit was asked to stop; everything is saved.
            TrainingError: a loss is not finite, or a file cannot be written.
        """
        pooled = network.architecture in IN_GROUPS
        schedule = self.settings.inversion if network.denoised else self.settings.attackers
        settings = self.train_settings(network.subject, pooled=pooled, schedule=schedule)
        sizes = self.settings.attackers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(settings.seed, network.name))
            classifier = build(
                network.architecture, network.channels or channels(settings), self._classes(network.label),
                width=sizes.width, embedding=sizes.embedding, pool=sizes.pool,
            )  # fmt: skip
        attacker = Attacker(classifier, self.build_denoiser(network.name) if network.denoised else None)
        validation = self.evaluation_set("val", network.subject, pooled=pooled)
        inputs = StageInputs(network.name, network.subject.anonymizer, settings, settings.attack, validation)
        if network.label == "identity":
            self.train(IdentityStage(inputs, attacker, self.validation), settings, network.subject)
        else:
            self.train(ClassifierStage(inputs, network.label, attacker), settings, network.subject)
        return attacker

    def build_denoiser(self, *name: Any) -> Denoiser:
        """Build an untrained denoiser of the size in the settings; its initial weights follow from the name."""
        sizes = self.settings.inversion
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.settings.seed, "denoiser", *name))
            count = channels(train_settings(self.settings, pooled=False))
            return Denoiser(DenoiserConfig(channels=count, width=sizes.width, layers=sizes.layers))

    def train_settings(
        self, subject: Subject, *, pooled: bool = False, schedule: StageSettings | None = None
    ) -> TrainSettings:
        """Return the settings for the training of an attacker of a subject.

        Pictures of a book are always the same, so an attacker gains nothing by moving or mirroring them.
        """
        settings = train_settings(self.settings, pooled=pooled, schedule=schedule)
        if subject.source is None:
            return settings
        return settings.model_copy(update={"augment": AugmentSettings(padding=0, rotation_deg=0, mirror=False)})

    def train(self, stage: Stage, settings: TrainSettings, subject: Subject) -> None:
        """Train a stage to the end, from its last checkpoint if there is one; load its networks of the best epoch.

        Args:
            stage: what to train.
            settings: settings of the training.
            subject: whose windows it learns from.

        Raises:
            Interrupted: the audit was asked to stop; everything is saved.
            TrainingError: a loss is not finite, or a file cannot be written.
        """
        mirrored = mirrored_targets(self.dataset.kind, len(self.dataset.classes))
        loader = BatchLoader(self._part("train", subject), settings, stage.name, mirrored, self.group)
        folder, digest = self.work / stage.name, digest_of(settings, "attack")
        run_stage(stage, loader, folder, settings.run, self.group, self._reporter, digest=digest)
        _, states = load_networks(folder / BEST, stage.name)
        for name, learner in stage.learners.items():
            learner.network.load_state_dict(states[name])
            learner.network.eval()

    def attack(
        self,
        attacker: Attacker,
        subject: Subject,
        *noise: Any,
        knowledge: Knowledge,
        architecture: str,
        seed: int,
    ) -> list[dict[str, Any]]:
        """Try to re-identify the test people, in every protocol; return the attacks as plain values.

        Args:
            attacker: trained.
            subject: under attack.
            noise: names the fresh noise of the test windows.
            knowledge: knowledge of the attacker, for the report.
            architecture: architecture of the attacker, for the report.
            seed: seed of the attacker, for the report.
        """
        test, networks = self.evaluation_set("test", subject), (attacker.classifier, attacker.denoiser)
        embedding_NE = embed_windows(test, *networks, subject.anonymizer, "audit", *noise)
        return self.attack_embeddings(embedding_NE, knowledge=knowledge, architecture=architecture, seed=seed)

    def attack_embeddings(
        self, embedding_NE: npt.NDArray[np.float32], *, knowledge: Knowledge, architecture: str, seed: int
    ) -> list[dict[str, Any]]:
        """Try to re-identify the test people by embeddings of their windows, as in `attack`."""
        attacks = [
            protocol.attack(embedding_NE, knowledge=knowledge, architecture=architecture, seed=seed)
            for protocol in self.protocols
        ]
        return [attack.model_dump(mode="json") for attack in attacks]

    def evaluation_set(self, part: str, subject: Subject | None = None, *, pooled: bool = False) -> EvaluationSet:
        """Return the people of a part, for evaluation on the windows of a subject; None: on raw ones."""
        settings = train_settings(self.settings, pooled=pooled)
        return EvaluationSet(part, self.dataset, self._part(part, subject), settings, self.group)

    @property
    def bystanders(self) -> Windows:
        """Recordings of the validation people, who stand beside others where a condition shows two people."""
        return self._raw("val", whole_bins=True)

    def recordings(self, part: str, subject: Subject) -> Windows:
        """Return the raw rows of a part, those from which a subject's published windows were made."""
        return self._raw(part, whole_bins=subject.source is not None)

    def _classes(self, label: Label) -> int:
        return len(self.dataset.classes) if label == "target" else len(people_of(self.dataset.of("train")))

    def _part(self, part: str, subject: Subject | None = None) -> Windows:
        """Return the windows that a subject's anonymizer gets."""
        if subject is None or subject.source is None:
            return self._raw(part)
        key = (subject.name, part)
        if key not in self._parts:
            raw = self._raw(part, whole_bins=True)
            self._parts[key] = subject.source.publish(raw, self.settings.seed, self.group.device)
        return self._parts[key]

    def _raw(self, part: str, *, whole_bins: bool = False) -> Windows:
        """Return raw windows; those of whole bins begin at bins only."""
        key = ("", part + "-bins" * whole_bins)
        if key not in self._parts:
            settings = self.settings
            window = settings.window.model_copy(update={"offsets": 1}) if whole_bins else settings.window
            self._parts[key] = load_or_build_windows(
                self.dataset, part, settings.data, window, self.work, self._watch
            )  # fmt: skip
        return self._parts[key]
