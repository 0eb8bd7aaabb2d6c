"""The recipe: pretrain the classifiers, train the anonymizer against them, set fresh attackers on it.

Each stage stands in a folder of its own and begins with the chosen weights of the ones before it.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from eventveil.errors import ConfigError
from eventveil.models.kinds import Anonymizer
from eventveil.models.resnet import ResNetClassifier
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
from eventveil.training.stages.adversarial import Adversarial
from eventveil.training.stages.attack import attack_on, train_viewer
from eventveil.training.stages.classify import Attacker, ClassifierStage


class Recipe(Run):
    """The stages of one run folder, see `Run` for what it takes and raises."""

    def pretrain(self) -> None:
        """Train classifiers of the target and of people on raw windows."""
        for label in self.labels:
            network = new_classifier(label, self.classes(label), self.settings, "pretrain")
            stage = self.classify(f"pretrain/{label}", label, Attacker(network), baseline(RAW), "pretrain")
            self.train(stage, "pretrain")
            if label == "target":
                self._draw_confusion(stage)

    def adversarial(self) -> None:
        """Train the anonymizer against its helpers, and write the weights that `eventveil run` takes."""
        settings, own = self.settings, self.settings.adversarial
        anonymizer = new_anonymizer(settings)
        kept = self._helper(own.keep, "kept")
        if own.from_pretrained and hasattr(anonymizer, "begin_from"):
            _begin_from(anonymizer, kept)
        adversaries = [self._helper("identity", k, pretrained=k == 0) for k in range(own.adversaries)]
        picture = self.picture if own.objective.name in NEEDS_PICTURES else None
        stage = Adversarial(
            anonymizer, kept, adversaries, lambda k, n: self._helper("identity", k, n, pretrained=False), picture,
            settings, self.stand("val"),
        )  # fmt: skip
        progress = self.train(stage, "adversarial")
        self.load_best(stage)
        if not self.world.leads:
            return
        self._draw_windows(stage)
        note = self.note("adversarial", progress)
        self.export("anonymizer", anonymizer, note)
        if own.keep == "target":
            self.export("target", kept, note)

    def attack(self) -> dict[str, Any]:
        """Set fresh attackers on each subject; returns what they got on test people, by subject."""
        viewer = train_viewer(self)
        results = [attack_on(self, subject, viewer) for subject in self.settings.attack.against]
        return {name: result for found in results for name, result in found.items()}

    def all(self) -> dict[str, Any]:
        """Go through the whole recipe; returns what the attackers got."""
        if self.settings.adversarial.from_pretrained:
            self.pretrain()
        self.adversarial()
        return self.attack()

    def _helper(self, label: Label, *name: Any, pretrained: bool = True) -> ResNetClassifier:
        """A helper of the adversarial stage, as pretraining left it or with weights of its own."""
        network = new_classifier(label, self.classes(label), self.settings, "adversarial", *name)
        if pretrained and self.settings.adversarial.from_pretrained:
            needed_by = "the adversarial stage (unless adversarial.from_pretrained is false)"
            _, states = load_networks(self.folder / "pretrain" / label / BEST, needed_by)
            Attacker(network).load_state_dict(states["attacker"])
        return network

    def _draw_confusion(self, stage: ClassifierStage) -> None:
        if not self.settings.run.pictures:
            return
        self.load_best(stage)
        told = recognise(self.stand("val"), stage.attacker.classifier, None, baseline(RAW), "pretrain")
        self.draw_confusion(stage, told)

    def _draw_windows(self, stage: Adversarial) -> None:
        if not self.settings.run.pictures:
            return
        stand = self.stand("val")
        draw = stand.draw
        # Drawn, not every so-many-th: trials are in order, and that would show one gesture only.
        order = numpy_generator(self.settings.seed, "pictures").permutation(len(draw))
        some = draw[order[: plots.WINDOWS_SHOWN]]
        with torch.inference_mode():
            raw = stand.anonymized(baseline(RAW), ("pictures",), some.start)
            anonymized = stand.anonymized(cast("Anonymizer", stage.anonymizer), ("pictures",), some.start)
        titles = [stand.windows.trials[trial].label or "" for trial in some.trial]
        path = self.folder / stage.name / "windows.png"
        plots.side_by_side(path, raw.cpu().numpy(), anonymized.cpu().numpy(), titles)


def _begin_from(anonymizer: Any, kept: ResNetClassifier) -> None:
    try:
        anonymizer.begin_from(kept)
    except ValueError as error:
        raise ConfigError(f"anonymizer.config: {error}; set it and the classifier alike") from error
