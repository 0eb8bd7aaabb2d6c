"""The bench that jobs work at: people, their windows, and networks trained on what a subject lets through."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from eventveil.audit.architectures import POOLED, build
from eventveil.audit.protocols import Protocol, protocols_of
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.errors import AuditError
from eventveil.replay.trials import Dataset
from eventveil.training.checkpoint import load_networks
from eventveil.training.classify import Attacker, Classify
from eventveil.training.evaluation import Stand
from eventveil.training.feed import Feed, mirrored_targets, people_of
from eventveil.training.loop import BEST, Reporter, run_stage
from eventveil.training.networks import channels
from eventveil.training.parallel import World
from eventveil.training.people import PARTS, Watch, windows_of
from eventveil.training.randomness import seed_of
from eventveil.training.run_folder import digest_of
from eventveil.training.settings import Label
from eventveil.training.windows import Windows


@dataclass(frozen=True)
class Plan:
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
    """

    subject: Subject
    architecture: str
    seed: int
    label: Label

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"attackers/{self.subject.folder}/{self.label}-{self.architecture}-{self.seed}"


class Bench:
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
        self, plan: Plan, world: World, reporter: Reporter, watch: Watch = lambda _what, _done, _of: None
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
    def test(self) -> Stand:
        """The people whom attackers look for."""
        return self.stand("test")

    @cached_property
    def protocols(self) -> list[Protocol]:
        """All ways in which they are looked for."""
        return protocols_of(self.test, self.settings.linking, self.settings.seed)

    def trained(self, asked: Network) -> nn.Module:
        """Train a network to the end, from where its folder says that it is; return it as validation chose it.

        Raises:
            Interrupted: somebody asked to stop; everything is saved.
            TrainingError: a loss is not finite, or a file cannot be written.
        """
        settings = train_settings(self.settings, pooled=asked.architecture == POOLED)
        own = self.settings.attackers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(settings.seed, asked.name))
            network = build(
                asked.architecture, channels(settings), self._classes(asked.label),
                width=own.width, embedding=own.embedding, pool=own.pool,
            )  # fmt: skip
        stand = self.stand("val", pooled=asked.architecture == POOLED)
        attacker = Attacker(network)
        stage = Classify(asked.name, asked.label, attacker, asked.subject.anonymizer, settings, settings.attack, stand)
        mirrored = mirrored_targets(self.dataset.kind, len(self.dataset.classes))
        feed = Feed(self._part("train"), settings, asked.name, mirrored, self.world)
        digest = digest_of(settings, "attack")
        run_stage(stage, feed, self.work / asked.name, settings.run, self.world, self._reporter, digest=digest)
        _, states = load_networks(self.work / asked.name / BEST, asked.name)
        attacker.load_state_dict(states["attacker"])
        return attacker.eval().classifier

    def stand(self, part: str, *, pooled: bool = False) -> Stand:
        """People to be looked at."""
        return Stand(part, self.dataset, self._part(part), train_settings(self.settings, pooled=pooled), self.world)

    def _classes(self, label: Label) -> int:
        return len(self.dataset.classes) if label == "target" else len(people_of(self.dataset.of("train")))

    def _part(self, part: str) -> Windows:
        if part not in self._parts:
            settings = self.settings
            self._parts[part] = windows_of(self.dataset, part, settings.data, settings.window, self.work, self._watch)
        return self._parts[part]
