"""What all stages share that train one network on what an anonymizer that does not change lets through."""

from __future__ import annotations

import torch
from torch import nn

from eventveil.models.kinds import Anonymizer
from eventveil.training.data.loader import Batch
from eventveil.training.engine.learner import Learner
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.settings import StageSettings, TrainSettings


class SingleNetwork:
    """A stage without its `step`, `score` and `validate` (`training.step.Stage`), which its heirs bring.

    Args:
        name: of the stage.
        role: of the network, by which it is saved.
        network: what is trained.
        anonymizer: what windows go through.
        settings: of the run.
        schedule: of this stage.
        stand: people for validation.
    """

    def __init__(
        self,
        name: str,
        role: str,
        network: nn.Module,
        anonymizer: Anonymizer,
        settings: TrainSettings,
        schedule: StageSettings,
        stand: EvaluationSet,
    ) -> None:
        self.name = name
        self.epochs = schedule.epochs
        self.learner = Learner(network, schedule, settings.optimizer, schedule.epochs, stand.world)
        self.learners = {role: self.learner}
        self.anonymizer = anonymizer
        self.settings = settings
        self.stand = stand

    def begin_epoch(self, epoch: int, step: int) -> None:  # noqa: ARG002 - nothing depends on it
        """Set the learning rate."""
        self.learner.begin_epoch(epoch)

    @torch.no_grad()
    def seen(self, batch: Batch) -> torch.Tensor:
        """The batch as the network sees it (B, C, H, W): anonymized with the batch's own noise."""
        return self.anonymizer.anonymize(batch.x_BCHW, batch.noise)
