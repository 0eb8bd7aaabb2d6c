"""Attackers and users: networks trained on what a subject lets through, each in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from eventveil.audit.architectures import POOLED, build
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.training.checkpoint import load_networks
from eventveil.training.classify import Attacker, Classify
from eventveil.training.evaluation import Stand
from eventveil.training.feed import Feed, mirrored_targets, people_of
from eventveil.training.loop import BEST, Reporter, run_stage
from eventveil.training.networks import channels
from eventveil.training.parallel import World
from eventveil.training.people import Watch, open_split, windows_of
from eventveil.training.randomness import seed_of
from eventveil.training.run_folder import digest_of
from eventveil.training.settings import Label
from eventveil.training.windows import Windows


@dataclass(frozen=True)
class Job:
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
        settings: of the audit.
        folder: where windows and networks are kept; private.
        world: the process, and its device.
        reporter: shows how a training goes.
        watch: shows how the making of windows goes.

    Raises:
        EventVeilError: the dataset cannot be read or made, or has too few people.
    """

    def __init__(self, settings: AuditSettings, folder: Path, world: World, reporter: Reporter, watch: Watch) -> None:
        self._settings, self._folder, self._world = settings, folder, world
        self._reporter, self._watch = reporter, watch
        self.dataset = open_split(settings.data, folder, watch)
        self._parts: dict[str, Windows] = {}

    def trained(self, job: Job) -> nn.Module:
        """Train a network to the end, from where its folder says that it is; return it as validation chose it.

        Raises:
            Interrupted: somebody asked to stop; everything is saved.
            TrainingError: a loss is not finite, or a file cannot be written.
        """
        settings = train_settings(self._settings, pooled=job.architecture == POOLED)
        own = self._settings.attackers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(settings.seed, job.name))
            network = build(
                job.architecture, channels(settings), self._classes(job.label),
                width=own.width, embedding=own.embedding, pool=own.pool,
            )  # fmt: skip
        stand = self.stand("val", pooled=job.architecture == POOLED)
        attacker = Attacker(network)
        stage = Classify(job.name, job.label, attacker, job.subject.anonymizer, settings, settings.attack, stand)
        mirrored = mirrored_targets(self.dataset.kind, len(self.dataset.classes))
        feed = Feed(self._part("train"), settings, job.name, mirrored, self._world)
        digest = digest_of(settings, "attack")
        run_stage(stage, feed, self._folder / job.name, settings.run, self._world, self._reporter, digest=digest)
        _, states = load_networks(self._folder / job.name / BEST, job.name)
        attacker.load_state_dict(states["attacker"])
        return attacker.eval().classifier

    def stand(self, part: str, *, pooled: bool = False) -> Stand:
        """People to be looked at."""
        return Stand(part, self.dataset, self._part(part), train_settings(self._settings, pooled=pooled), self._world)

    def _classes(self, label: Label) -> int:
        return len(self.dataset.classes) if label == "target" else len(people_of(self.dataset.of("train")))

    def _part(self, part: str) -> Windows:
        if part not in self._parts:
            settings = self._settings
            self._parts[part] = windows_of(
                self.dataset, part, settings.data, settings.window, self._folder, self._watch
            )
        return self._parts[part]
