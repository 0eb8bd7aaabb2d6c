"""The stage that trains the anonymizer against its adversaries, with a single forward pass of each network per step.

The helpers are the adversaries and the network for the kept label. The published code runs each helper twice: once to
train it on anonymized windows, once for the anonymizer's loss. Here each helper sees the anonymized windows once,
detached from the anonymizer. From this graph `autograd.grad` computes the gradient of each helper's own loss with
respect to its weights, and the gradient of the anonymizer's objective with respect to the windows, which is then
propagated through the anonymizer. All gradients are taken at the same weights, before any update. Every objective
contains the loss of the kept label, so one backward pass through that helper serves both.

AnonyNoise and the Event-ReId method differ only in roles. AnonyNoise keeps the target and hides the person from
adversaries; Event-ReId keeps the person and hides the picture, which a frozen network reconstructs.

Legend of axes: B windows, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.resnet import ResNetClassifier
from eventveil.training.data.loader import Batch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Gradient, Learner
from eventveil.training.engine.stage import Step, accuracy, helper_losses
from eventveil.training.evaluation.evaluation import EvaluationSet, rank_identities, recognise
from eventveil.training.networks.build import autocast
from eventveil.training.objectives.objectives import OBJECTIVES, ForwardPass, HelperOutput
from eventveil.training.settings import TrainSettings, TripletSettings

KEPT = "kept"


class AdversarialStage:
    """Trains the anonymizer and its helpers.

    Args:
        anonymizer: the network to train.
        kept: the helper for the label to keep.
        adversaries: networks that identify people.
        fresh: builds an adversary with fresh weights, from the index of the adversary and of the restart.
        picture: reconstructs pictures from windows, if pictures are the secret.
        settings: settings of the run.
        evaluation_set: the validation people.
    """

    name = "adversarial"

    def __init__(
        self,
        anonymizer: nn.Module,
        kept: ResNetClassifier,
        adversaries: list[ResNetClassifier],
        fresh: Callable[[int, int], ResNetClassifier],
        picture: Callable[[torch.Tensor], torch.Tensor] | None,
        settings: TrainSettings,
        evaluation_set: EvaluationSet,
    ) -> None:
        chosen = settings.adversarial
        self.epochs = chosen.epochs
        self.score = "val_score" if chosen.best_by == "trade-off" else None
        self.anonymizer, self.kept, self.adversaries = anonymizer, kept, adversaries
        helpers: dict[str, nn.Module] = {KEPT: kept, **{f"adversary{k}": net for k, net in enumerate(adversaries)}}
        group = evaluation_set.group
        self._anonymizer = Learner(anonymizer, chosen.anonymizer, settings.optimizer, chosen.epochs, group)
        self._helpers = {
            name: Learner(network, chosen.helpers, settings.optimizer, chosen.epochs, group)
            for name, network in helpers.items()
        }
        self.learners = {"anonymizer": self._anonymizer, **self._helpers}
        self._fresh = fresh
        self._picture = picture
        self._settings = settings
        self._evaluation_set = evaluation_set

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Set the learning rates, and restart an adversary if it is due."""
        for learner in self.learners.values():
            learner.begin_epoch(epoch)
        every = self._settings.adversarial.restart_every
        if every is None or epoch == 0 or epoch % every or step > 0:
            return
        # In turn, so that one of several adversaries has always had time to learn.
        restart = epoch // every
        index = restart % len(self.adversaries)
        fresh = self._fresh(index, restart).state_dict()
        self.adversaries[index].load_state_dict(fresh)
        self._helpers[f"adversary{index}"].restart()

    def step(self, batch: Batch, number: int) -> Step:
        """Compute a step of the helpers, and in every `helper_steps`-th step one of the anonymizer."""
        settings = self._settings
        anonymizing = (number + 1) % settings.adversarial.helper_steps == 0
        with autocast(settings.run, settings.window.size, self._group.device):
            with torch.set_grad_enabled(anonymizing):
                anonymized_BCHW, rate = self._anonymize(batch)
            detached_BCHW = anonymized_BCHW.detach().requires_grad_(anonymizing)
            outputs = {
                name: self._helper_output(name, learner, detached_BCHW, batch)
                for name, learner in self._helpers.items()
            }
            adversaries = tuple(output for name, output in outputs.items() if name != KEPT)
            kept_loss = outputs[KEPT].loss.detach().requires_grad_(anonymizing)
            forward = ForwardPass(
                batch.x_BCHW, detached_BCHW, kept_loss, adversaries, self._picture, self._group.largest
            )
            chosen = settings.adversarial.objective
            objective = OBJECTIVES[chosen.name](forward, chosen) if anonymizing else None
        values = self._values(outputs[KEPT], forward, batch)
        if objective is None:
            return Step(values, [learner.gradient(outputs[name].loss) for name, learner in self._helpers.items()])
        gradients, through_kept_BCHW = self._helper_gradients(outputs, detached_BCHW)
        direct_BCHW, kept_weight = torch.autograd.grad(objective, [detached_BCHW, kept_loss])
        values["objective"] = objective
        gradient_BCHW = direct_BCHW + kept_weight * through_kept_BCHW
        gradients.append(self._anonymizer_gradient(gradient_BCHW, anonymized_BCHW, rate, values))
        return Step(values, gradients)

    def _helper_gradients(
        self, outputs: dict[str, HelperOutput], detached_BCHW: torch.Tensor
    ) -> tuple[list[Gradient], torch.Tensor]:
        """Return the gradients of the helpers, and that of the kept label's loss with respect to the windows."""
        kept = self._helpers[KEPT]
        of_kept = torch.autograd.grad(outputs[KEPT].loss, [*kept.parameters, detached_BCHW], allow_unused=True)
        gradients = [kept.as_gradient(of_kept[:-1])]
        for name, learner in self._helpers.items():
            if name != KEPT:
                gradients.append(learner.gradient(outputs[name].loss, keep_graph=True))
        return gradients, of_kept[-1]

    def _helper_output(self, name: str, learner: Learner, detached_BCHW: torch.Tensor, batch: Batch) -> HelperOutput:
        keeps_target = name == KEPT and self._settings.adversarial.keep == "target"
        label_B = batch.target_B if keeps_target else batch.person_B
        triplet = None if keeps_target else self._triplet(name)
        return helper_losses(learner.network(detached_BCHW), label_B, triplet, self._group)

    def _triplet(self, name: str) -> TripletSettings:
        triplet = self._settings.triplet
        if name != KEPT and self._settings.adversarial.normalise:
            return triplet.model_copy(update={"normalise": True})
        return triplet

    @property
    def _group(self) -> ProcessGroup:
        return self._evaluation_set.group

    def _anonymize(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Anonymize a batch; also return the information rate, if the anonymizer computes one.

        Such an anonymizer has `rated(windows, noise)` besides `anonymize`. Each process rates its part of the batch.
        """
        anonymizer: Any = self.anonymizer
        if not hasattr(anonymizer, "rated"):
            return anonymizer.anonymize(batch.x_BCHW, batch.noise), None
        noise = anonymizer.draw_noise(len(batch.x_BCHW), batch.noise)
        anonymized_BCHW, rate = anonymizer.rated(batch.x_BCHW, noise)
        return anonymized_BCHW, rate

    def _anonymizer_gradient(
        self,
        gradient_BCHW: torch.Tensor,
        anonymized_BCHW: torch.Tensor,
        rate: torch.Tensor | None,
        values: dict[str, torch.Tensor],
    ) -> Gradient:
        """Propagate the objective's gradient through the anonymizer, together with that of its rate if it has one."""
        outputs, incoming = [anonymized_BCHW], [gradient_BCHW]
        if rate is not None:
            values["rate_nats"] = rate
            outputs.append(rate)
            incoming.append(torch.full_like(rate, self._settings.adversarial.objective.rate_weight))
        parts = torch.autograd.grad(outputs, self._anonymizer.parameters, incoming, allow_unused=True)
        return self._anonymizer.as_gradient(parts)

    def _values(self, kept: HelperOutput, forward: ForwardPass, batch: Batch) -> dict[str, torch.Tensor]:
        keep = self._settings.adversarial.keep
        kept_B = batch.target_B if keep == "target" else batch.person_B
        change = (forward.anonymized_BCHW.detach() - forward.raw_BCHW).abs().mean()
        values = {
            "kept_loss": kept.loss,
            "kept_accuracy": accuracy(kept.logits_BK, kept_B),
            "mean_change": change,
        }
        if forward.adversaries:
            accuracies = [accuracy(output.logits_BK, batch.person_B) for output in forward.adversaries]
            values["adversary_loss"] = torch.stack([output.loss for output in forward.adversaries]).mean()
            values["adversary_accuracy"] = torch.stack(accuracies).mean()
        return values

    def validate(self, epoch: int) -> dict[str, float]:
        """Return how well the kept label and, by the adversaries of this run, people are recognised in validation.

        The score is their difference. Adversaries that train alongside are easily fooled, so the score only guides the
        choice of the epoch; use fresh attackers to measure anonymity. Without validation people there are no figures.
        """
        if self._evaluation_set.empty:
            return {}
        anonymizer, name = cast("AnonymizerNetwork", self.anonymizer), (self.name, epoch)
        evaluation_set = self._evaluation_set
        if self._settings.adversarial.keep == "target":
            kept = float(recognise(evaluation_set, self.kept, None, anonymizer, *name).correct.mean())
            figures = {"val_accuracy": kept}
        else:
            kept = rank_identities(evaluation_set, self.kept, None, anonymizer, *name).ranking.rank1
            figures = {"val_kept_rank1": kept}
        rank1 = [
            rank_identities(evaluation_set, adversary, None, anonymizer, *name).ranking.rank1
            for adversary in self.adversaries
        ]
        if rank1:
            figures["val_rank1"] = max(rank1)
        return figures | {"val_score": kept - max(rank1, default=0.0)}
