"""The recipe: pretrain the classifiers, train the anonymizer against them, attack it with fresh attackers.

Each stage has its own folder and starts from the best weights of the stages before it.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from eventveil.errors import ConfigError
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.resnet import ResNetClassifier
from eventveil.training.attack import attack_on, train_picture_identifier
from eventveil.training.engine.checkpoint import load_networks
from eventveil.training.engine.loop import BEST
from eventveil.training.evaluation.evaluation import recognise
from eventveil.training.networks.build import new_anonymizer, new_classifier
from eventveil.training.networks.subjects import RAW, baseline
from eventveil.training.objectives.objectives import NEEDS_PICTURES
from eventveil.training.randomness import numpy_generator
from eventveil.training.run import Run
from eventveil.training.settings import Label
from eventveil.training.stages import plots
from eventveil.training.stages.adversarial import AdversarialStage
from eventveil.training.stages.classify import Attacker, ClassifierStage


class Recipe(Run):
    """The stages of a run folder; see `Run` for arguments and errors."""

    def pretrain(self) -> None:
        """Train classifiers of the target and of people on raw windows."""
        for label in self.labels:
            network = new_classifier(label, self.classes(label), self.settings, "pretrain")
            stage = self.classifier_stage(f"pretrain/{label}", label, Attacker(network), baseline(RAW), "pretrain")
            self.train(stage, "pretrain", people_only=label == "identity")
            if label == "target":
                self._draw_validation_confusion(stage)

    def train_anonymizer(self) -> None:
        """Train the anonymizer against its helpers, and write the weights for `eventveil run`."""
        settings, adversarial = self.settings, self.settings.adversarial
        anonymizer = new_anonymizer(settings)
        kept = self._helper(adversarial.keep, "kept")
        if adversarial.from_pretrained and hasattr(anonymizer, "begin_from"):
            _begin_from(anonymizer, kept)
        adversaries = [self._helper("identity", k, pretrained=k == 0) for k in range(adversarial.adversaries)]
        picture = self.picture if adversarial.objective.name in NEEDS_PICTURES else None
        stage = AdversarialStage(
            anonymizer, kept, adversaries, lambda k, n: self._helper("identity", k, n, pretrained=False), picture,
            settings, self.evaluation_set("val"),
        )  # fmt: skip
        progress = self.train(stage, "adversarial")
        self.load_best(stage)
        if not self.group.leads:
            return
        self._draw_windows(stage)
        note = self.note("adversarial", progress)
        self.export("anonymizer", anonymizer, note)
        if adversarial.keep == "target":
            self.export("target", kept, note)

    def attack(self) -> dict[str, Any]:
        """Train fresh attackers on each subject; return their results on test people, by subject."""
        picture_identifier = train_picture_identifier(self)
        results: dict[str, Any] = {}
        for subject in self.settings.attack.against:
            results |= attack_on(self, subject, picture_identifier)
        return results

    def run_all(self) -> dict[str, Any]:
        """Run all stages; return the results of the attackers."""
        if self.settings.adversarial.from_pretrained:
            self.pretrain()
        self.train_anonymizer()
        return self.attack()

    def _helper(self, label: Label, *name: Any, pretrained: bool = True) -> ResNetClassifier:
        """Build a helper of the adversarial stage, with pretrained or fresh weights."""
        network = new_classifier(label, self.classes(label), self.settings, "adversarial", *name)
        if pretrained and self.settings.adversarial.from_pretrained:
            needed_by = "the adversarial stage (unless adversarial.from_pretrained is false)"
            _, states = load_networks(self.folder / "pretrain" / label / BEST, needed_by)
            Attacker(network).load_state_dict(states["attacker"])
        return network

    def _draw_validation_confusion(self, stage: ClassifierStage) -> None:
        evaluation_set = self.evaluation_set("val")
        if not self.settings.run.pictures or evaluation_set.empty:
            return
        self.load_best(stage)
        predictions = recognise(evaluation_set, stage.attacker.classifier, None, baseline(RAW), "pretrain")
        self.draw_confusion(stage, predictions)

    def _draw_windows(self, stage: AdversarialStage) -> None:
        if not self.settings.run.pictures:
            return
        evaluation_set = self.evaluation_set("val")
        if evaluation_set.empty:
            evaluation_set = self.evaluation_set("train")
        draw = evaluation_set.draw
        # At random, not at regular intervals: trials are sorted, and intervals could pick a single gesture.
        order = numpy_generator(self.settings.seed, "pictures").permutation(len(draw))
        shown = draw[order[: plots.WINDOWS_SHOWN]]
        with torch.inference_mode():
            raw = evaluation_set.anonymize_rows(baseline(RAW), ("pictures",), shown.start)
            anonymizer = cast("AnonymizerNetwork", stage.anonymizer)
            anonymized = evaluation_set.anonymize_rows(anonymizer, ("pictures",), shown.start)
        titles = [evaluation_set.windows.trials[trial].label or "" for trial in shown.trial]
        path = self.folder / stage.name / "windows.png"
        plots.side_by_side(path, raw.cpu().numpy(), anonymized.cpu().numpy(), titles)


def _begin_from(anonymizer: Any, kept: ResNetClassifier) -> None:
    try:
        anonymizer.begin_from(kept)
    except ValueError as error:
        raise ConfigError(f"anonymizer.config: {error}; set it to match the classifier") from error
