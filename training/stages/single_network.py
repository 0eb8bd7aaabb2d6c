"""The base of stages that train a single network on the output of a fixed anonymizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from eventveil.models.kinds import AnonymizerNetwork
from eventveil.training.data.loader import Batch
from eventveil.training.engine.learner import Learner
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.settings import StageSettings, TrainSettings


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What every stage with a single network needs besides the network.

    Attributes:
        name: name of the stage, and path of its folder.
        anonymizer: anonymizes the windows that the network gets; it is not trained.
        settings: settings of the run.
        schedule: epochs and learning rate of this stage.
        evaluation_set: the validation people.
    """

    name: str
    anonymizer: AnonymizerNetwork
    settings: TrainSettings
    schedule: StageSettings
    evaluation_set: EvaluationSet


class SingleNetwork:
    """A stage (`training.engine.stage.Stage`) except for `step`, `score` and `validate`, which subclasses add.

    Args:
        inputs: what every stage needs.
        role: role of the network; names it in checkpoints.
        network: the network to train.
    """

    def __init__(self, inputs: StageInputs, role: str, network: nn.Module) -> None:
        self.name = inputs.name
        self.anonymizer = inputs.anonymizer
        self.settings = inputs.settings
        self.evaluation_set = inputs.evaluation_set
        schedule, group = inputs.schedule, inputs.evaluation_set.group
        self.epochs = schedule.epochs
        self.learner = Learner(network, schedule, inputs.settings.optimizer, schedule.epochs, group)
        self.learners = {role: self.learner}

    def begin_epoch(self, epoch: int, step: int) -> None:  # noqa: ARG002 - nothing depends on it
        """Set the learning rate."""
        self.learner.begin_epoch(epoch)

    @torch.no_grad()
    def anonymize(self, batch: Batch) -> torch.Tensor:
        """Anonymize a batch with its own noise: the input of the network, (B, C, H, W)."""
        return self.anonymizer.anonymize(batch.x_BCHW, batch.noise)
