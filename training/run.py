"""What the stages of a run share: its folder, its people, and how a network is trained and its weights written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from torch import nn

from eventveil.errors import ConfigError
from eventveil.extras import install_hint
from eventveil.models.kinds import Anonymizer
from eventveil.replay.datasets.trials import Dataset
from eventveil.training.data.loader import BatchLoader, mirrored_targets, people_of
from eventveil.training.data.split import Watch, open_split, windows_of
from eventveil.training.data.statistics import trained_scene
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import Progress, load_networks
from eventveil.training.engine.loop import BEST, ProgressReporter, run_stage
from eventveil.training.engine.run_folder import begin, digest_of
from eventveil.training.engine.stage import Stage
from eventveil.training.evaluation.evaluation import EvaluationSet, Recognised
from eventveil.training.networks.build import check_precision
from eventveil.training.networks.export import export
from eventveil.training.networks.subjects import ANONYMIZER, ONLY_COUNTS, baseline
from eventveil.training.objectives.objectives import NEEDS_ADVERSARIES, NEEDS_PICTURES, OBJECTIVES
from eventveil.training.settings import Label, TrainSettings
from eventveil.training.stages import plots
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.reconstruction import Picture, picture_maker

EXTRAS = {"tensorboard": "tensorboardX", "pictures": "matplotlib"}  # what settings of `run` need besides


class Run:
    """One run folder.

    Args:
        settings: of the run.
        folder: the run folder.
        world: the processes that train together.
        reporter: shows how a stage goes.
        watch: shows how the making of data goes.
        resume: go on with stages that were begun.

    Attributes:
        dataset: of all parts.

    Raises:
        ConfigError: settings that do not go together, or with the device.
        EventVeilError: the dataset cannot be read, or has too few people.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path,
        world: ProcessGroup,
        reporter: ProgressReporter,
        watch: Watch,
        *,
        resume: bool = False,
    ) -> None:
        self.settings, self.folder, self.world = settings, folder, world
        self._reporter, self._watch, self._resume = reporter, watch, resume
        _check(settings, world)
        self.dataset: Dataset = self._in_turn(lambda: open_split(settings.data, folder, watch))
        if settings.adversarial.keep == "target" and not self.dataset.classes:
            raise ConfigError(f"adversarial.keep: {self.dataset.kind} has no classes to keep; set it to identity")
        self._parts: dict[str, Windows] = {}

    @property
    def labels(self) -> tuple[Label, ...]:
        """What there is to tell of windows."""
        return ("target", "identity") if self.dataset.classes else ("identity",)

    def classes(self, label: Label) -> int:
        """How many targets there are, or people for training."""
        return len(self.dataset.classes) if label == "target" else len(people_of(self.dataset.of("train")))

    def stand(self, part: str) -> EvaluationSet:
        """People to be evaluated on."""
        return EvaluationSet(part, self.dataset, self._part(part), self.settings, self.world)

    @cached_property
    def picture(self) -> Picture:
        """What makes pictures of windows, by the weights of `adversarial.reconstruction`."""
        path = self.settings.adversarial.reconstruction
        assert path is not None
        return picture_maker(path, self.world.device)

    def classify(
        self, name: str, label: Label, attacker: Attacker, anonymizer: Anonymizer, stage: str
    ) -> ClassifierStage:
        """A stage that trains a classifier alone, as `pretrain` or `attack` say."""
        schedule = self.settings.pretrain if stage == "pretrain" else self.settings.attack
        return ClassifierStage(name, label, attacker, anonymizer, self.settings, schedule, self.stand("val"))

    def train(self, stage: Stage, kind: str) -> Progress:
        """Train a stage to its end, or go on with it; `kind` is pretrain, adversarial or attack."""
        settings, folder = self.settings, self.folder / stage.name
        if self.world.leads:
            begin(folder, settings, resume=self._resume)
        self.world.wait()
        mirrored = mirrored_targets(self.dataset.kind, len(self.dataset.classes))
        feed = BatchLoader(self._part("train"), settings, stage.name, mirrored, self.world)
        progress = run_stage(
            stage, feed, folder, settings.run, self.world, self._reporter, digest=digest_of(settings, kind)
        )
        if self.world.leads and settings.run.pictures and progress.history:
            plots.curves(folder / "curves.png", progress.history, progress.best_epoch)
        return progress

    def load_best(self, stage: Stage) -> None:
        """Give the networks of a stage the weights that validation chose."""
        _, states = load_networks(self.folder / stage.name / BEST, stage.name)
        for name, learner in stage.learners.items():
            learner.network.load_state_dict(states[name])
            learner.network.eval()

    def draw_confusion(self, stage: Stage, told: Recognised) -> None:
        """Draw which targets a classifier takes for which, into the folder of its stage."""
        if self.world.leads and self.settings.run.pictures:
            path = self.folder / stage.name / "confusion.png"
            plots.confusion(path, told.said, told.target, self.dataset.classes)

    def export(self, role: Literal["anonymizer", "target"], network: nn.Module, note: str) -> None:
        """Write the weights that `eventveil run` takes."""
        name, labels = ("gestures", self.dataset.classes) if role == "target" else ("anonymizer", ())
        path, scene = self.folder / "weights" / f"{name}.safetensors", trained_scene(self._part("train"))
        export(path, network, role, self.settings, scene=scene, labels=labels, note=note)

    def note(self, stage: str, progress: Progress) -> str:
        """What weights say of where they come from."""
        return f"eventveil train, settings {digest_of(self.settings, stage)[:16]}, epoch {progress.best_epoch + 1}"

    def _part(self, part: str) -> Windows:
        if part not in self._parts:
            settings = self.settings
            self._parts[part] = self._in_turn(
                lambda: windows_of(self.dataset, part, settings.data, settings.window, self.folder, self._watch)
            )
        return self._parts[part]

    def _in_turn(self, make: Callable[[], Any]) -> Any:
        """Let one process of each machine make something, and the others find it made."""
        made = make() if self.world.local_rank == 0 else None
        self.world.wait()
        return make() if made is None else made


def _check(settings: TrainSettings, world: ProcessGroup) -> None:
    own = settings.adversarial
    name = own.objective.name
    if name not in OBJECTIVES:
        raise ConfigError(f"adversarial.objective.name: expected {', '.join(OBJECTIVES)}, got {name!r}")
    if name in NEEDS_ADVERSARIES and own.adversaries < 1:
        raise ConfigError(f"adversarial.adversaries: the objective {name} needs at least one")
    if name in NEEDS_PICTURES and own.reconstruction is None:
        raise ConfigError(f"adversarial.reconstruction: the objective {name} needs FireNet's weights; name the file")
    check_precision(settings, world.device)
    if world.leads:  # who draws and logs
        for key, package in EXTRAS.items():
            if getattr(settings.run, key) and find_spec(package) is None:
                raise ConfigError(f"run.{key}: {package} is not installed; {install_hint('train')}, or set it to false")
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
