"""The stage that trains a classifier alone: on raw windows first (as in AnonyNoise), later as a fresh attacker.

Legend of axes: B windows, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from eventveil.models.denoiser import Denoiser
from eventveil.training.data.loader import Batch
from eventveil.training.engine.stage import Step, accuracy, helper_losses
from eventveil.training.evaluation.evaluation import rank_identities, recognise
from eventveil.training.networks.build import autocast
from eventveil.training.settings import Label
from eventveil.training.stages.single_network import SingleNetwork, StageInputs


class Attacker(nn.Module):
    """A classifier that returns embedding and logits, optionally with a denoiser in front that is trained with it."""

    def __init__(self, classifier: nn.Module, denoiser: Denoiser | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        self.denoiser = denoiser


class ClassifierStage(SingleNetwork):
    """Trains a classifier of the target, or of people, on the output of a fixed anonymizer.

    Args:
        inputs: what every stage needs.
        label: what the classifier predicts.
        attacker: the classifier, with its denoiser if it has one.
    """

    def __init__(self, inputs: StageInputs, label: Label, attacker: Attacker) -> None:
        super().__init__(inputs, "attacker", attacker)
        self.score: str | None = "val_accuracy" if label == "target" else "val_mAP"
        if inputs.evaluation_set.empty:
            self.score = None
        self.attacker = attacker
        self._label = label

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step: cross-entropy, for identity the triplet loss, and the denoiser's error if there is one."""
        settings, group = self.settings, self.evaluation_set.group
        label_B = batch.target_B if self._label == "target" else batch.person_B
        with autocast(settings.run, settings.window.size, group.device):
            x_BCHW = self.anonymize(batch)
            values = {}
            if self.attacker.denoiser is not None:
                x_BCHW = self.attacker.denoiser(x_BCHW).float()
                values["denoised_mse"] = functional.mse_loss(x_BCHW, batch.x_BCHW)
            triplet = settings.triplet if self._label == "identity" else None
            output = helper_losses(self.attacker.classifier(x_BCHW), label_B, triplet, group)
        loss = output.loss + settings.attack.denoiser_weight * values.get("denoised_mse", torch.zeros_like(output.loss))
        gradient = self.learner.gradient(loss)
        values |= {"loss": loss, "accuracy": accuracy(output.logits_BK, label_B)}
        if self._label == "identity":
            values["triplet"] = output.triplet
        return Step(values, [gradient])

    def validate(self, epoch: int) -> dict[str, float]:
        """Return the accuracy of the target, or rank-1 and mAP, on validation people, if any, with fresh noise."""
        if self.evaluation_set.empty:
            return {}
        classifier, denoiser = self.attacker.classifier, self.attacker.denoiser
        name = (self.name, epoch)
        if self._label == "target":
            predictions = recognise(self.evaluation_set, classifier, denoiser, self.anonymizer, *name)
            return {"val_accuracy": float(predictions.correct.mean())}
        ranking = rank_identities(self.evaluation_set, classifier, denoiser, self.anonymizer, *name).ranking
        return {"val_rank1": ranking.rank1, "val_mAP": ranking.mean_average_precision}
