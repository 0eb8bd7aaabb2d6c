"""The bench that jobs work at: people, their windows, and networks trained on what a subject lets through."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eventveil.audit.architectures import POOLED, build
from eventveil.audit.evaluation.protocols import Protocol, all_linked, protocols_of
from eventveil.audit.figures import Knowledge
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.identity_stage import IdentityStage
from eventveil.errors import AuditError
from eventveil.models.denoiser import Denoiser, DenoiserConfig
from eventveil.replay.datasets.trials import Dataset
from eventveil.training.data.loader import BatchLoader, mirrored_targets, people_of
from eventveil.training.data.split import PARTS, Watch, load_or_build_windows
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import load_networks
from eventveil.training.engine.loop import BEST, ProgressReporter, run_stage
from eventveil.training.engine.run_folder import digest_of
from eventveil.training.engine.stage import Stage
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.networks.build import channels
from eventveil.training.randomness import seed_of
from eventveil.training.settings import Label, TrainSettings
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.single_network import StageInputs


@dataclass(frozen=True)
class AuditPlan:
    """All that a bench is made of; it can be sent to another process.

    Attributes:
        settings: of the audit.
        subjects: what is attacked, and what is shown beside.
        work: folder of windows, networks and results; private.
        dataset: its trials, in parts by person.
    """

    settings: AuditSettings
    subjects: tuple[Subject, ...]
    work: Path
    dataset: Dataset


@dataclass(frozen=True)
class Network:
    """A network to be trained.

    Attributes:
        subject: on whose windows.
        architecture: of its build.
        seed: of its first weights and all that is drawn.
        label: identity for an attacker, target for a user.
        denoised: whether a denoiser before it learns with it.
        channels: of what it looks at; None of windows.
    """

    subject: Subject
    architecture: str
    seed: int
    label: Label
    denoised: bool = False
    channels: int | None = None

    @property
    def name(self) -> str:
        """Of its folder."""
        before = "denoised-" if self.denoised else ""
        return f"attackers/{self.subject.folder}/{before}{self.label}-{self.architecture}-{self.seed}"


class AuditWorkspace:
    """People, their windows, and the networks that are trained on them.

    Args:
        plan: of the audit.
        world: the process, and its device.
        reporter: shows how a training goes.
        watch: shows how the making of windows goes.

    Raises:
        AuditError: the folder of the plan cannot be seen from here.
    """

    def __init__(
        self,
        plan: AuditPlan,
        world: ProcessGroup,
        reporter: ProgressReporter,
        watch: Watch = lambda _what, _done, _of: None,
    ) -> None:
        if not plan.work.is_dir():
            raise AuditError(
                f"{plan.work}: is not to be seen from here; give --out and the data on a folder that all machines share"
            )
        self.settings, self.work, self.dataset, self.world = plan.settings, plan.work, plan.dataset, world
        self._reporter, self._watch = reporter, watch
        self._subjects = {subject.name: subject for subject in plan.subjects}
        for subject in plan.subjects:
            if isinstance(subject.anonymizer, nn.Module):
                subject.anonymizer.to(world.device)
        self._parts: dict[str, Windows] = {}

    def subject(self, name: str) -> Subject:
        """The subject of this name."""
        return self._subjects[name]

    def prepare(self) -> None:
        """Make the windows of all parts, or find them, before several processes want them.

        Raises:
            TrainingError: they cannot be written.
            EventVeilError: a trial cannot be read.
        """
        for part in PARTS:
            self._part(part)

    @cached_property
    def test(self) -> EvaluationSet:
        """The people whom attackers look for."""
        return self.stand("test")

    @cached_property
    def protocols(self) -> list[Protocol]:
        """All ways in which they are looked for."""
        return protocols_of(self.test, self.settings.linking, self.settings.seed)

    @cached_property
    def validation(self) -> Protocol:
        """How validation people are looked for, who choose the epoch.

        Raises:
            AuditError: none of them can be looked for.
        """
        protocol = all_linked(self.stand("val"))
        if not protocol.can_be_asked:
            raise AuditError(
                f"{self.dataset.root}: none of the validation people has the same gesture in two sessions, so nobody "
                "can choose when attackers are to stop; raise data.val_people, or give people a second session"
            )
        return protocol

    def trained(self, asked: Network) -> nn.Module:
        """Train a network that has no denoiser; return it as validation chose it. See `attacker`."""
        return self.attacker(asked).classifier

    def attacker(self, asked: Network) -> Attacker:
        """Train a network, and its denoiser if it has one, to the end; return both as validation chose them.

        Raises:
            Interrupted: somebody asked to stop; everything is saved.
            TrainingError: a loss is not finite, or a file cannot be written.
        """
        pooled = asked.architecture == POOLED
        schedule = self.settings.inversion if asked.denoised else self.settings.attackers
        settings = train_settings(self.settings, pooled=pooled, schedule=schedule)
        own = self.settings.attackers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(settings.seed, asked.name))
            network = build(
                asked.architecture, asked.channels or channels(settings), self._classes(asked.label),
                width=own.width, embedding=own.embedding, pool=own.pool,
            )  # fmt: skip
        attacker = Attacker(network, self.denoiser(asked.name) if asked.denoised else None)
        anonymizer, validation = asked.subject.anonymizer, self.stand("val", pooled=pooled)
        inputs = StageInputs(asked.name, anonymizer, settings, settings.attack, validation)
        if asked.label == "identity":
            self.train(IdentityStage(inputs, attacker, self.validation), settings)
        else:
            self.train(ClassifierStage(inputs, asked.label, attacker), settings)
        return attacker

    def denoiser(self, *name: Any) -> Denoiser:
        """Build a denoiser as the settings have it, untrained."""
        own = self.settings.inversion
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.settings.seed, "denoiser", *name))
            count = channels(train_settings(self.settings, pooled=False))
            return Denoiser(DenoiserConfig(channels=count, width=own.width, layers=own.layers))

    def train(self, stage: Stage, settings: TrainSettings) -> None:
        """Train a stage from where its folder says that it is to the end, and leave its networks as was chosen.

        Raises:
            Interrupted: somebody asked to stop; everything is saved.
            TrainingError: a loss is not finite, or a file cannot be written.
        """
        mirrored = mirrored_targets(self.dataset.kind, len(self.dataset.classes))
        feed = BatchLoader(self._part("train"), settings, stage.name, mirrored, self.world)
        folder, digest = self.work / stage.name, digest_of(settings, "attack")
        run_stage(stage, feed, folder, settings.run, self.world, self._reporter, digest=digest)
        _, states = load_networks(folder / BEST, stage.name)
        for name, learner in stage.learners.items():
            learner.network.load_state_dict(states[name])
            learner.network.eval()

    def asked(
        self, embedding_NE: npt.NDArray[np.float32], *, knowledge: Knowledge, architecture: str, seed: int
    ) -> list[dict[str, Any]]:
        """Look for the test people by embeddings of all their windows, in every protocol: attacks as plain values."""
        found = [
            protocol.attack(embedding_NE, knowledge=knowledge, architecture=architecture, seed=seed)
            for protocol in self.protocols
        ]
        return [attack.model_dump(mode="json") for attack in found]

    def stand(self, part: str, *, pooled: bool = False) -> EvaluationSet:
        """People to be looked at."""
        return EvaluationSet(
            part, self.dataset, self._part(part), train_settings(self.settings, pooled=pooled), self.world
        )

    def _classes(self, label: Label) -> int:
        return len(self.dataset.classes) if label == "target" else len(people_of(self.dataset.of("train")))

    def _part(self, part: str) -> Windows:
        if part not in self._parts:
            settings = self.settings
            self._parts[part] = load_or_build_windows(
                self.dataset, part, settings.data, settings.window, self.work, self._watch
            )
        return self._parts[part]
