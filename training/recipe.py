"""The recipe: pretrain the classifiers, train the anonymizer against them, set fresh attackers on it.

Each stage stands in a folder of its own and begins with the chosen weights of the ones before it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from eventveil.errors import ConfigError
from eventveil.models.kinds import Anonymizer
from eventveil.models.resnet import ResNetClassifier
from eventveil.models.weights import load_weights
from eventveil.replay.trials import Dataset
from eventveil.training import pictures
from eventveil.training.adversarial import Adversarial
from eventveil.training.checkpoint import Progress, load_networks
from eventveil.training.classify import Attacker, Classify
from eventveil.training.evaluation import Stand, find, recognise
from eventveil.training.export import export
from eventveil.training.feed import Feed, mirrored_targets, people_of
from eventveil.training.loop import BEST, Reporter, run_stage
from eventveil.training.networks import check_precision, new_anonymizer, new_classifier, new_denoiser
from eventveil.training.objectives import NEEDS_ADVERSARIES, NEEDS_PICTURES, OBJECTIVES
from eventveil.training.parallel import World
from eventveil.training.people import Watch, open_split, windows_of
from eventveil.training.randomness import numpy_generator
from eventveil.training.reconstruct import Picture, picture_maker, picture_result
from eventveil.training.results import identity_result, target_result
from eventveil.training.run_folder import begin, digest_of, read_json, write_json
from eventveil.training.scene import trained_scene
from eventveil.training.settings import Label, TrainSettings
from eventveil.training.step import Stage
from eventveil.training.subjects import ANONYMIZER, ONLY_COUNTS, baseline, folder_of
from eventveil.training.windows import Windows

RAW = "raw"


class Recipe:
    """The stages of one run folder.

    Args:
        settings: of the run.
        folder: the run folder.
        world: the processes that train together.
        reporter: shows how a stage goes.
        watch: shows how the making of data goes.
        resume: go on with stages that were begun.

    Raises:
        ConfigError: settings that do not go together, or with the device.
        EventVeilError: the dataset cannot be read, or has too few people.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path,
        world: World,
        reporter: Reporter,
        watch: Watch,
        *,
        resume: bool = False,
    ) -> None:
        self._settings, self._folder, self._world = settings, folder, world
        self._reporter, self._watch, self._resume = reporter, watch, resume
        _check(settings, world)
        self._dataset: Dataset = self._in_turn(lambda: open_split(settings.data, folder, watch))
        self._check_dataset()
        self._parts: dict[str, Windows] = {}

    def pretrain(self) -> None:
        """Train classifiers of the target and of people on raw windows."""
        for label in self._labels:
            network = new_classifier(label, self._classes(label), self._settings, "pretrain")
            stage = self._classify(f"pretrain/{label}", label, Attacker(network), baseline(RAW), "pretrain")
            self._train(stage, "pretrain")
            if label == "target":
                self._draw_confusion(stage, "pretrain", baseline(RAW))

    def adversarial(self) -> None:
        """Train the anonymizer against its helpers, and write the weights that `eventveil run` takes."""
        settings, own = self._settings, self._settings.adversarial
        anonymizer = new_anonymizer(settings)
        kept = self._helper(own.keep, "kept")
        if own.from_pretrained and hasattr(anonymizer, "begin_from"):
            _begin_from(anonymizer, kept)
        adversaries = [self._helper("identity", k, pretrained=k == 0) for k in range(own.adversaries)]
        picture = self._picture() if own.objective.name in NEEDS_PICTURES else None
        stage = Adversarial(
            anonymizer, kept, adversaries, lambda k, n: self._helper("identity", k, n, pretrained=False), picture,
            settings, self._stand("val"),
        )  # fmt: skip
        progress = self._train(stage, "adversarial")
        self._load_best(stage)
        if not self._world.leads:
            return
        self._draw_windows(stage)
        note = self._note("adversarial", progress)
        self._export("anonymizer", anonymizer, note)
        if own.keep == "target":
            self._export("target", kept, note)

    def attack(self) -> dict[str, Any]:
        """Set fresh attackers on each subject; returns what they got on test people, by subject."""
        results = {subject: self._attack_on(subject) for subject in self._settings.attack.against}
        return {name: result for result in results.values() for name, result in result.items()}

    def all(self) -> dict[str, Any]:
        """Go through the whole recipe; returns what the attackers got."""
        if self._settings.adversarial.from_pretrained:
            self.pretrain()
        self.adversarial()
        return self.attack()

    def _attack_on(self, subject: str) -> dict[str, Any]:
        own = self._settings.attack
        anonymizer = self._subject(subject)
        name = folder_of(subject) if own.weights is None or subject != ANONYMIZER else f"weights-{own.weights.stem}"
        name += ("-denoised" if own.denoiser else "") + (f"-seed{own.seed}" if own.seed else "")
        folder = self._folder / "attack" / name
        done = read_json(folder / "result.json")
        for label in own.of:
            if label not in self._labels:
                raise ConfigError(f"attack.of: {self._dataset.kind} has no classes to tell; leave {label} out")
            named = ("attack", own.seed, label, name)
            network = new_classifier(label, self._classes(label), self._settings, *named)
            denoiser = new_denoiser(self._settings, *named) if own.denoiser else None
            stage = self._classify(f"attack/{name}/{label}", label, Attacker(network, denoiser), anonymizer, "attack")
            progress = self._train(stage, "attack")
            # Test people are looked at once, with the weights that validation chose.
            if label in done:
                continue
            self._load_best(stage)
            done[label] = self._tested(stage, label, anonymizer) | {"epoch": progress.best_epoch}
            if label == "identity" and self._settings.adversarial.reconstruction is not None:
                before = stage.attacker.denoiser  # which has learned to turn the anonymizer back
                done["picture"] = picture_result(self._stand("test"), self._picture(), before, anonymizer, stage.name)
            if self._world.leads:
                write_json(folder / "result.json", done)
                if label == "target" and subject == ANONYMIZER and own.weights is None and not own.denoiser:
                    self._export("target", network, self._note("attack", progress))
        if self._world.leads:
            path = self._folder / "results.json"
            write_json(path, read_json(path) | {name: done})
        return {name: done}

    def _tested(self, stage: Classify, label: Label, anonymizer: Anonymizer) -> dict[str, Any]:
        stand, attacker = self._stand("test"), stage.attacker
        if label == "identity":
            return identity_result(find(stand, attacker.classifier, attacker.denoiser, anonymizer, stage.name))
        told = recognise(stand, attacker.classifier, attacker.denoiser, anonymizer, stage.name)
        if self._world.leads and self._settings.run.pictures:
            labels = self._dataset.classes
            pictures.confusion(self._folder / stage.name / "confusion.png", told.said, told.target, labels)
        return target_result(told, len(self._dataset.classes))

    def _picture(self) -> Picture:
        path = self._settings.adversarial.reconstruction
        assert path is not None
        return picture_maker(path, self._world.device)

    def _subject(self, subject: str) -> Anonymizer:
        if subject != ANONYMIZER:
            return baseline(subject)
        own = self._settings.attack.weights
        if own is not None:
            network = load_weights(own).model
        else:
            network = new_anonymizer(self._settings)
            _, states = load_networks(self._folder / "adversarial" / BEST, "the attack on the anonymizer")
            network.load_state_dict(states["anonymizer"])
        network = network.eval().requires_grad_(False).to(self._world.device)
        return cast("Anonymizer", network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def _helper(self, label: Label, *name: Any, pretrained: bool = True) -> ResNetClassifier:
        """A helper of the adversarial stage, as pretraining left it or with weights of its own."""
        network = new_classifier(label, self._classes(label), self._settings, "adversarial", *name)
        if pretrained and self._settings.adversarial.from_pretrained:
            needed_by = "the adversarial stage (unless adversarial.from_pretrained is false)"
            _, states = load_networks(self._folder / "pretrain" / label / BEST, needed_by)
            Attacker(network).load_state_dict(states["attacker"])
        return network

    def _classify(self, name: str, label: Label, attacker: Attacker, anonymizer: Anonymizer, stage: str) -> Classify:
        schedule = self._settings.pretrain if stage == "pretrain" else self._settings.attack
        return Classify(name, label, attacker, anonymizer, self._settings, schedule, self._stand("val"))

    def _train(self, stage: Stage, kind: str) -> Progress:
        settings, folder = self._settings, self._folder / stage.name
        if self._world.leads:
            begin(folder, settings, resume=self._resume)
        self._world.wait()
        mirrored = mirrored_targets(self._dataset.kind, len(self._dataset.classes))
        feed = Feed(self._part("train"), settings, stage.name, mirrored, self._world)
        progress = run_stage(
            stage, feed, folder, settings.run, self._world, self._reporter, digest=digest_of(settings, kind)
        )
        if self._world.leads and settings.run.pictures and progress.history:
            pictures.curves(folder / "curves.png", progress.history, progress.best_epoch)
        return progress

    def _load_best(self, stage: Stage) -> None:
        _, states = load_networks(self._folder / stage.name / BEST, stage.name)
        for name, learner in stage.learners.items():
            learner.network.load_state_dict(states[name])
            learner.network.eval()

    def _draw_confusion(self, stage: Classify, kind: str, anonymizer: Anonymizer) -> None:
        if not self._settings.run.pictures:
            return
        self._load_best(stage)
        told = recognise(self._stand("val"), stage.attacker.classifier, None, anonymizer, kind)
        if self._world.leads:
            path = self._folder / stage.name / "confusion.png"
            pictures.confusion(path, told.said, told.target, self._dataset.classes)

    def _draw_windows(self, stage: Adversarial) -> None:
        if not self._settings.run.pictures:
            return
        stand = self._stand("val")
        draw = stand.draw
        # Drawn, not every so-many-th: trials are in order, and that would show one gesture only.
        order = numpy_generator(self._settings.seed, "pictures").permutation(len(draw))
        some = draw[order[: pictures.WINDOWS_SHOWN]]
        with torch.inference_mode():
            raw = stand.anonymized(baseline(RAW), ("pictures",), some.start)
            anonymized = stand.anonymized(cast("Anonymizer", stage.anonymizer), ("pictures",), some.start)
        titles = [stand.windows.trials[trial].label or "" for trial in some.trial]
        path = self._folder / stage.name / "windows.png"
        pictures.side_by_side(path, raw.cpu().numpy(), anonymized.cpu().numpy(), titles)

    @property
    def _labels(self) -> tuple[Label, ...]:
        return ("target", "identity") if self._dataset.classes else ("identity",)

    def _classes(self, label: Label) -> int:
        return len(self._dataset.classes) if label == "target" else len(people_of(self._dataset.of("train")))

    def _stand(self, part: str) -> Stand:
        return Stand(part, self._dataset, self._part(part), self._settings, self._world)

    def _part(self, part: str) -> Windows:
        if part not in self._parts:
            settings = self._settings
            self._parts[part] = self._in_turn(
                lambda: windows_of(self._dataset, part, settings.data, settings.window, self._folder, self._watch)
            )
        return self._parts[part]

    def _in_turn(self, make: Callable[[], Any]) -> Any:
        """Let one process of each machine make something, and the others find it made."""
        made = make() if self._world.local_rank == 0 else None
        self._world.wait()
        return make() if made is None else made

    def _export(self, role: Literal["anonymizer", "target"], network: nn.Module, note: str) -> None:
        """Write the weights that `eventveil run` takes."""
        name, labels = ("gestures", self._dataset.classes) if role == "target" else ("anonymizer", ())
        path, scene = self._folder / "weights" / f"{name}.safetensors", trained_scene(self._part("train"))
        export(path, network, role, self._settings, scene=scene, labels=labels, note=note)

    def _note(self, stage: str, progress: Progress) -> str:
        return f"eventveil train, settings {digest_of(self._settings, stage)[:16]}, epoch {progress.best_epoch + 1}"

    def _check_dataset(self) -> None:
        if self._settings.adversarial.keep == "target" and not self._dataset.classes:
            raise ConfigError(f"adversarial.keep: {self._dataset.kind} has no classes to keep; set it to identity")


def _check(settings: TrainSettings, world: World) -> None:
    own = settings.adversarial
    name = own.objective.name
    if name not in OBJECTIVES:
        raise ConfigError(f"adversarial.objective.name: expected {', '.join(OBJECTIVES)}, got {name!r}")
    if name in NEEDS_ADVERSARIES and own.adversaries < 1:
        raise ConfigError(f"adversarial.adversaries: the objective {name} needs at least one")
    if name in NEEDS_PICTURES and own.reconstruction is None:
        raise ConfigError(f"adversarial.reconstruction: the objective {name} needs FireNet's weights; name the file")
    check_precision(settings, world.device)
    for subject in settings.attack.against:
        if subject != ANONYMIZER:
            baseline(subject)
        if settings.window.mode == "voxel" and subject.startswith(ONLY_COUNTS):
            raise ConfigError(
                f"attack.against: {subject} needs counts of events, and voxel grids are none; leave it out"
            )
    if own.reconstruction is not None and settings.window.mode != "voxel":
        raise ConfigError("adversarial.reconstruction: FireNet makes pictures of voxel grids; set window.mode to voxel")
    world.part(settings.batch)


def _begin_from(anonymizer: Any, kept: ResNetClassifier) -> None:
    try:
        anonymizer.begin_from(kept)
    except ValueError as error:
        raise ConfigError(f"anonymizer.config: {error}; set it and the classifier alike") from error
