"""The anonymizer against its adversaries: one step of everybody from one forward pass.

The published code runs each helper twice: once to train it on anonymized windows, once for the anonymizer's loss. Here
helpers see the anonymized windows once, cut off from the anonymizer. From that one graph come, by `autograd.grad`, the
gradient of each helper's own loss for its own weights, and the gradient of the anonymizer's objective for the windows
alone; this last one then goes on through the anonymizer. Both are taken at the same weights, before anybody moves.
Every objective holds the loss of what is kept, so one pass backward through that helper gives both.

AnonyNoise and the Event-ReId method are this with other roles: what is kept is the target or the person, and the secret
is the person, who has adversaries, or the picture, which a frozen network makes.

Legend of axes: B windows, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from eventveil.models.kinds import Anonymizer
from eventveil.models.resnet import ResNetClassifier
from eventveil.training.data.loader import Batch
from eventveil.training.engine.learner import Gradient, Learner
from eventveil.training.engine.stage import Step, accuracy, helper_losses
from eventveil.training.evaluation.evaluation import EvaluationSet, find, recognise
from eventveil.training.networks.build import autocast
from eventveil.training.objectives.objectives import OBJECTIVES, ForwardPass, HelperOutput
from eventveil.training.settings import TrainSettings, TripletSettings

KEPT = "kept"


class Adversarial:
    """Train the anonymizer and its helpers.

    Args:
        anonymizer: to be trained.
        kept: the helper of what is to be kept.
        adversaries: those that tell people apart.
        fresh: makes the first weights of an adversary anew: number of the adversary, number of the restart.
        picture: makes pictures of windows, where pictures are the secret.
        settings: of the run.
        stand: people for validation.
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
        stand: EvaluationSet,
    ) -> None:
        own = settings.adversarial
        self.epochs = own.epochs
        self.score = "val_score" if own.best_by == "trade-off" else None
        self.anonymizer, self.kept, self.adversaries = anonymizer, kept, adversaries
        helpers: dict[str, nn.Module] = {KEPT: kept, **{f"adversary{k}": net for k, net in enumerate(adversaries)}}
        self._anonymizer = Learner(anonymizer, own.anonymizer, settings.optimizer, own.epochs, stand.world)
        self._helpers = {
            name: Learner(network, own.helpers, settings.optimizer, own.epochs, stand.world)
            for name, network in helpers.items()
        }
        self.learners = {"anonymizer": self._anonymizer, **self._helpers}
        self._fresh = fresh
        self._picture = picture
        self._settings = settings
        self._stand = stand

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Set the learning rates, and give adversaries fresh weights where it is time to."""
        for learner in self.learners.values():
            learner.begin_epoch(epoch)
        every = self._settings.adversarial.restart_every
        if every is None or epoch == 0 or epoch % every or step > 0:
            return
        # In turn, so that there is always one who has had time to learn.
        number = epoch // every
        which = number % len(self.adversaries)
        fresh = self._fresh(which, number).state_dict()
        self.adversaries[which].load_state_dict(fresh)
        self._helpers[f"adversary{which}"].restart()

    def step(self, batch: Batch, number: int) -> Step:
        """Compute a step of the helpers, and in every `helper_steps`-th one of the anonymizer."""
        settings, world = self._settings, self._stand.world
        anonymizing = (number + 1) % settings.adversarial.helper_steps == 0
        with autocast(settings, world.device):
            with torch.set_grad_enabled(anonymizing):
                anonymized_BCHW, rate = self._anonymize(batch)
            seen_BCHW = anonymized_BCHW.detach().requires_grad_(anonymizing)
            answers = {name: self._ask(name, learner, seen_BCHW, batch) for name, learner in self._helpers.items()}
            adversaries = tuple(told for name, told in answers.items() if name != KEPT)
            kept_loss = answers[KEPT].loss.detach().requires_grad_(anonymizing)
            evidence = ForwardPass(batch.x_BCHW, seen_BCHW, kept_loss, adversaries, self._picture)
            chosen = settings.adversarial.objective
            objective = OBJECTIVES[chosen.name](evidence, chosen) if anonymizing else None
        values = self._values(answers[KEPT], evidence, batch)
        if objective is None:
            return Step(values, [learner.gradient(answers[name].loss) for name, learner in self._helpers.items()])
        gradients, through_kept_BCHW = self._helped(answers, seen_BCHW)
        beyond_BCHW, weight = torch.autograd.grad(objective, [seen_BCHW, kept_loss])
        values["objective"] = objective
        gradient_BCHW = beyond_BCHW + weight * through_kept_BCHW
        gradients.append(self._through(gradient_BCHW, anonymized_BCHW, rate, values))
        return Step(values, gradients)

    def _helped(self, answers: dict[str, HelperOutput], seen_BCHW: torch.Tensor) -> tuple[list[Gradient], torch.Tensor]:
        """Return the gradients of the helpers, and that of the loss of what is kept for the windows."""
        kept = self._helpers[KEPT]
        of_kept = torch.autograd.grad(answers[KEPT].loss, [*kept.parameters, seen_BCHW], allow_unused=True)
        gradients = [kept.as_gradient(of_kept[:-1])]
        for name, learner in self._helpers.items():
            if name != KEPT:
                gradients.append(learner.gradient(answers[name].loss, keep_graph=True))
        return gradients, of_kept[-1]

    def _ask(self, name: str, learner: Learner, seen_BCHW: torch.Tensor, batch: Batch) -> HelperOutput:
        keeps_target = name == KEPT and self._settings.adversarial.keep == "target"
        label_B = batch.target_B if keeps_target else batch.person_B
        return helper_losses(
            learner.network(seen_BCHW), label_B, None if keeps_target else self._triplet(name), self._world
        )

    def _triplet(self, name: str) -> TripletSettings:
        triplet = self._settings.triplet
        if name != KEPT and self._settings.adversarial.normalise:
            return triplet.model_copy(update={"normalise": True})
        return triplet

    @property
    def _world(self) -> Any:
        return self._stand.world

    def _anonymize(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Anonymize a batch; with the rate of information that comes through, where an anonymizer tells it.

        Such a one has `rated(windows, noise)` beside its `anonymize`. Processes rate their own parts of the batch.
        """
        anonymizer: Any = self.anonymizer
        if not hasattr(anonymizer, "rated"):
            return anonymizer.anonymize(batch.x_BCHW, batch.noise), None
        noise = anonymizer.draw_noise(len(batch.x_BCHW), batch.noise)
        anonymized_BCHW, rate = anonymizer.rated(batch.x_BCHW, noise)
        return anonymized_BCHW, rate

    def _through(
        self,
        gradient_BCHW: torch.Tensor,
        anonymized_BCHW: torch.Tensor,
        rate: torch.Tensor | None,
        values: dict[str, torch.Tensor],
    ) -> Gradient:
        """Lead the objective's gradient for the windows on to the anonymizer, with its rate if it has one."""
        outputs, incoming = [anonymized_BCHW], [gradient_BCHW]
        if rate is not None:
            values["rate_nats"] = rate
            outputs.append(rate)
            incoming.append(torch.full_like(rate, self._settings.adversarial.objective.rate_weight))
        parts = torch.autograd.grad(outputs, self._anonymizer.parameters, incoming, allow_unused=True)
        return self._anonymizer.as_gradient(parts)

    def _values(self, kept: HelperOutput, evidence: ForwardPass, batch: Batch) -> dict[str, torch.Tensor]:
        keep = self._settings.adversarial.keep
        kept_B = batch.target_B if keep == "target" else batch.person_B
        change = (evidence.anonymized_BCHW.detach() - evidence.raw_BCHW).abs().mean()
        values = {
            "kept_loss": kept.loss,
            "kept_accuracy": accuracy(kept.logits_BK, kept_B),
            "mean_change": change,
        }
        if evidence.adversaries:
            told = evidence.adversaries
            values["adversary_loss"] = torch.stack([one.loss for one in told]).mean()
            values["adversary_accuracy"] = torch.stack([accuracy(one.logits_BK, batch.person_B) for one in told]).mean()
        return values

    def validate(self, epoch: int) -> dict[str, float]:
        """How much is kept, and how much the adversaries of this run find, on people for validation.

        The score is their difference. Adversaries that train along are easily fooled, so it is a guide and not a
        figure: only fresh attackers tell.
        """
        anonymizer, name = cast("Anonymizer", self.anonymizer), (self.name, epoch)
        if self._settings.adversarial.keep == "target":
            kept = float(recognise(self._stand, self.kept, None, anonymizer, *name).correct.mean())
            figures = {"val_accuracy": kept}
        else:
            kept = find(self._stand, self.kept, None, anonymizer, *name).ranking.rank1
            figures = {"val_kept_rank1": kept}
        found = [find(self._stand, adversary, None, anonymizer, *name).ranking.rank1 for adversary in self.adversaries]
        if found:
            figures["val_rank1"] = max(found)
        return figures | {"val_score": kept - max(found, default=0.0)}
