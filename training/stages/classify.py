"""Classifiers alone: the first stage of AnonyNoise on raw windows, and fresh attackers on anonymized ones.

Legend of axes: B windows, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from eventveil.models.denoiser import Denoiser
from eventveil.models.kinds import Anonymizer
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step, accuracy, helper_losses
from eventveil.training.evaluation.evaluation import EvaluationSet, find, recognise
from eventveil.training.networks.build import autocast
from eventveil.training.settings import Label, StageSettings, TrainSettings
from eventveil.training.stages.single_network import SingleNetwork


class Attacker(nn.Module):
    """A classifier, which gives embedding and logits, behind a denoiser that learns with it if there is one."""

    def __init__(self, classifier: nn.Module, denoiser: Denoiser | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        self.denoiser = denoiser


class ClassifierStage(SingleNetwork):
    """Train a classifier of the target, or of people, on what an anonymizer that does not change lets through.

    Args:
        name: of the stage.
        label: what it is to tell.
        attacker: the classifier, with its denoiser if it has one.
        anonymizer: what windows go through; raw windows for the first stage.
        settings: of the run.
        schedule: of this stage.
        stand: people for validation.
    """

    def __init__(
        self,
        name: str,
        label: Label,
        attacker: Attacker,
        anonymizer: Anonymizer,
        settings: TrainSettings,
        schedule: StageSettings,
        stand: EvaluationSet,
    ) -> None:
        super().__init__(name, "attacker", attacker, anonymizer, settings, schedule, stand)
        self.score: str | None = "val_accuracy" if label == "target" else "val_mAP"
        self.attacker = attacker
        self._label = label

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step: cross-entropy, of people with the triplet loss, and the denoiser's error if there is one."""
        settings, world = self.settings, self.stand.world
        label_B = batch.target_B if self._label == "target" else batch.person_B
        with autocast(settings, world.device):
            x_BCHW = self.seen(batch)
            values = {}
            if self.attacker.denoiser is not None:
                x_BCHW = self.attacker.denoiser(x_BCHW).float()
                values["denoised_mse"] = functional.mse_loss(x_BCHW, batch.x_BCHW)
            output = self.attacker.classifier(x_BCHW)
            told = helper_losses(output, label_B, settings.triplet if self._label == "identity" else None, world)
        loss = told.loss + settings.attack.denoiser_weight * values.get("denoised_mse", torch.zeros_like(told.loss))
        gradient = self.learner.gradient(loss)
        values |= {"loss": loss, "accuracy": accuracy(told.logits_BK, label_B)}
        if self._label == "identity":
            values["triplet"] = told.triplet
        return Step(values, [gradient])

    def validate(self, epoch: int) -> dict[str, float]:
        """Accuracy of the target, or rank-1 and mAP, on people for validation, with fresh noise."""
        attacker, name = self.attacker, (self.name, epoch)
        if self._label == "target":
            told = recognise(self.stand, attacker.classifier, attacker.denoiser, self.anonymizer, *name)
            return {"val_accuracy": float(told.correct.mean())}
        ranking = find(self.stand, attacker.classifier, attacker.denoiser, self.anonymizer, *name).ranking
        return {"val_rank1": ranking.rank1, "val_mAP": ranking.mean_average_precision}
