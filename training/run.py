"""A run folder and what its stages share: dataset, windows, training a stage, and exporting weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from torch import nn

from eventveil.errors import ConfigError
from eventveil.host.extras import install_hint
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.replay.datasets.trials import Dataset, people_of
from eventveil.training.data.event_rules import changes_events
from eventveil.training.data.loader import BatchLoader, mirrored_targets
from eventveil.training.data.split import Watch, load_or_build_windows, open_split, origin
from eventveil.training.data.statistics import measure_scene
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import StageProgress, load_networks
from eventveil.training.engine.loop import BEST, ProgressReporter, run_stage
from eventveil.training.engine.run_folder import check_run_folder, digest_of, prepare_stage_folder
from eventveil.training.engine.stage import Stage
from eventveil.training.evaluation.evaluation import ClassPredictions, EvaluationSet
from eventveil.training.networks.build import check_precision
from eventveil.training.networks.export import export
from eventveil.training.networks.subjects import ANONYMIZER, ONLY_COUNTS, baseline
from eventveil.training.objectives.objectives import NEEDS_ADVERSARIES, NEEDS_PICTURES, OBJECTIVES
from eventveil.training.settings import Label, TrainSettings
from eventveil.training.stages import plots
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.reconstruction import Picture, picture_maker
from eventveil.training.stages.single_network import StageInputs

EXTRAS = {"tensorboard": "tensorboardX", "pictures": "matplotlib"}  # optional packages needed by settings of `run`


class Run:
    """A run folder.

    Args:
        settings: settings of the run.
        folder: the run folder.
        group: the processes that train together.
        reporter: shows the progress of stages.
        watch: shows the progress of data preparation.
        resume: resume stages that were started earlier.

    Attributes:
        dataset: the dataset, all parts.

    Raises:
        ConfigError: settings contradict each other, or the device does not support them.
        TrainingError: the folder holds files that a run would replace.
        EventVeilError: the dataset cannot be read, or has too few people.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path,
        group: ProcessGroup,
        reporter: ProgressReporter,
        watch: Watch,
        *,
        resume: bool = False,
    ) -> None:
        self.settings, self.folder, self.group = settings, folder, group
        self._reporter, self._watch, self._resume = reporter, watch, resume
        _check(settings, group)
        if group.leads:
            check_run_folder(folder)
        self.dataset: Dataset = self._once_per_machine(lambda: open_split(settings.data, folder, watch))
        if settings.adversarial.keep == "target" and not self.dataset.classes:
            raise ConfigError(f"adversarial.keep: {self.dataset.kind} has no classes to keep; set it to identity")
        self._parts: dict[tuple[str, str | None], Windows] = {}

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels that the dataset has."""
        return ("target", "identity") if self.dataset.classes else ("identity",)

    def classes(self, label: Label) -> int:
        """Return the number of targets, or of training people."""
        return len(self.dataset.classes) if label == "target" else len(people_of(self.dataset.of("train")))

    def evaluation_set(self, part: str, rule: str | None = None) -> EvaluationSet:
        """Return the people of a part, to evaluate on; a rule changes their events, see `data.event_rules`."""
        return EvaluationSet(part, self.dataset, self._part(part, rule), self.settings, self.group)

    @cached_property
    def picture(self) -> Picture:
        """Reconstructs pictures from windows, with the weights of `adversarial.reconstruction`."""
        path = self.settings.adversarial.reconstruction
        assert path is not None
        return picture_maker(path, self.group.device)

    def classifier_stage(
        self,
        name: str,
        label: Label,
        attacker: Attacker,
        anonymizer: AnonymizerNetwork,
        kind: Literal["pretrain", "attack"],
        rule: str | None = None,
    ) -> ClassifierStage:
        """Build a stage that trains a classifier alone, on the schedule of `pretrain` or `attack`."""
        schedule = self.settings.pretrain if kind == "pretrain" else self.settings.attack
        inputs = StageInputs(name, anonymizer, self.settings, schedule, self.evaluation_set("val", rule))
        return ClassifierStage(inputs, label, attacker)

    def train(self, stage: Stage, kind: str, *, people_only: bool = False, rule: str | None = None) -> StageProgress:
        """Train a stage to its end, or resume it; `kind` is pretrain, adversarial or attack.

        With `people_only`, windows in which no person is seen are left out.
        """
        settings, folder = self.settings, self.folder / stage.name
        if self.group.leads:
            prepare_stage_folder(folder, settings, resume=self._resume)
        self.group.wait()
        mirrored = mirrored_targets(self.dataset.kind, len(self.dataset.classes))
        windows = self._part("train", rule)
        loader = BatchLoader(windows, settings, stage.name, mirrored, self.group, people_only=people_only)
        progress = run_stage(
            stage, loader, folder, settings.run, self.group, self._reporter, digest=digest_of(settings, kind)
        )
        if self.group.leads and settings.run.pictures and progress.history:
            plots.curves(folder / "curves.png", progress.history, progress.best_epoch)
        return progress

    def load_best(self, stage: Stage) -> None:
        """Load the weights of the best epoch into the networks of a stage."""
        _, states = load_networks(self.folder / stage.name / BEST, stage.name)
        for name, learner in stage.learners.items():
            learner.network.load_state_dict(states[name])
            learner.network.eval()

    def draw_confusion(self, stage: Stage, predictions: ClassPredictions) -> None:
        """Plot the confusion matrix of a target classifier into the folder of its stage."""
        if self.group.leads and self.settings.run.pictures:
            path = self.folder / stage.name / "confusion.png"
            plots.confusion(path, predictions.predicted, predictions.target, self.dataset.classes)

    def export(self, role: Literal["anonymizer", "target"], network: nn.Module, note: str) -> None:
        """Write the weights file of a network for `eventveil run`."""
        name, labels = ("gestures", self.dataset.classes) if role == "target" else ("anonymizer", ())
        path, scene = self.folder / "weights" / f"{name}.safetensors", measure_scene(self._part("train"))
        export(path, network, role, self.settings, scene=scene, labels=labels, note=note)

    def note(self, kind: str, progress: StageProgress) -> str:
        """Return the note about the origin of weights."""
        command = f"eventveil train, settings {digest_of(self.settings, kind)[:16]}, epoch {progress.best_epoch + 1}"
        return origin(self.dataset, command)

    def _part(self, part: str, rule: str | None = None) -> Windows:
        if (part, rule) not in self._parts:
            data, window = self.settings.data, self.settings.window
            self._parts[part, rule] = self._once_per_machine(
                lambda: load_or_build_windows(self.dataset, part, data, window, self.folder, self._watch, rule)
            )
        return self._parts[part, rule]

    def _once_per_machine(self, make: Callable[[], Any]) -> Any:
        """Call `make` in one process of each machine first; the others then find the files it wrote."""
        result = make() if self.group.local_rank == 0 else None
        self.group.wait()
        return make() if result is None else result


def _check(settings: TrainSettings, group: ProcessGroup) -> None:
    adversarial = settings.adversarial
    name = adversarial.objective.name
    if name not in OBJECTIVES:
        raise ConfigError(f"adversarial.objective.name: expected {', '.join(OBJECTIVES)}, got {name!r}")
    if name in NEEDS_ADVERSARIES and adversarial.adversaries < 1:
        raise ConfigError(f"adversarial.adversaries: the objective {name} needs at least one")
    if name in NEEDS_PICTURES and adversarial.reconstruction is None:
        raise ConfigError(
            f"adversarial.reconstruction: the objective {name} needs weights of FireNet or E2VID; name the file"
        )
    check_precision(settings.run, settings.window.size, group.device)
    if group.leads:  # this process plots and logs
        for key, package in EXTRAS.items():
            if getattr(settings.run, key) and find_spec(package) is None:
                raise ConfigError(f"run.{key}: {package} is not installed; {install_hint('train')}, or set it to false")
    for subject in settings.attack.against:
        if subject != ANONYMIZER:
            baseline(subject)
        if settings.window.mode == "voxel" and subject.startswith(ONLY_COUNTS) and not changes_events(subject):
            raise ConfigError(f"attack.against: {subject} needs event counts, not voxel grids; remove it")
    if adversarial.reconstruction is not None and settings.window.mode != "voxel":
        raise ConfigError("adversarial.reconstruction: it makes pictures of voxel grids; set window.mode to voxel")
    if settings.attack.inversion and adversarial.reconstruction is None:
        raise ConfigError("attack.inversion: it attacks pictures; name FireNet or E2VID in adversarial.reconstruction")
    group.part(settings.batch)
    if settings.last_batch == "keep" and group.size > 1:
        raise ConfigError("last_batch: several processes cannot share a remainder evenly; set it to drop")
