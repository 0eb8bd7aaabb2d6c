"""The stage that trains the network of the stand-in: cross-entropy of the word for the end of each window.

Legend of axes: B windows, C channels, K words, N windows of a recording.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from eventveil.models.stand_in import StandIn
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.training.data.loader import Batch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Learner
from eventveil.training.engine.stage import Step, accuracy
from eventveil.training.networks.build import autocast
from eventveil.training.stand_in.moments import LabelledSpan, Moments
from eventveil.training.stand_in.outcomes import BATCH, Integers, named, probabilities, trials_of, words_of
from eventveil.training.stand_in.settings import StandInSettings

NAMED = len(GESTURES) - 1  # classes below this are gestures with a name; "other gestures" is not
NAME = "stand_in"


class StandInStage:
    """Trains the network, and applies the rule to the validation recordings.

    Args:
        network: the network.
        word_of_class: the word of each class.
        settings: settings of the run.
        validation: the recordings of validation people, and scenes.
        group: the processes that train together.
    """

    name = NAME
    score: str | None = None  # the last epoch: the learning rate is 0 there

    def __init__(
        self,
        network: StandIn,
        word_of_class: tuple[int, ...],
        settings: StandInSettings,
        validation: Moments,
        group: ProcessGroup,
    ) -> None:
        self.epochs = settings.schedule.epochs
        self.network = network
        self._learner = Learner(network, settings.schedule, settings.optimizer, self.epochs, group)
        self.learners = {NAME: self._learner}
        self._word_of_class = torch.tensor(word_of_class, device=group.device)
        self._settings, self._validation, self._group = settings, validation, group

    def begin_epoch(self, epoch: int, step: int) -> None:  # noqa: ARG002 - nothing depends on it
        """Set the learning rate."""
        self._learner.begin_epoch(epoch)

    def step(self, batch: Batch, number: int) -> Step:  # noqa: ARG002 - all steps are alike
        """Compute a step."""
        with autocast(self._settings.run, self._settings.window.size, self._group.device):
            logits_BK = self.network(batch.x_BCHW)
        word_B = self._word_of_class[batch.target_B]
        loss = functional.cross_entropy(logits_BK, word_B, label_smoothing=self._settings.smoothing)
        return Step({"loss": loss, "accuracy": accuracy(logits_BK, word_B)}, [self._learner.gradient(loss)])

    def validate(self, epoch: int) -> dict[str, float]:  # noqa: ARG002 - the windows are always the same
        """Return the share of trials that the rule recognises, their median latency, and wrongly named gestures."""
        trials, wrong, quiet_s, draws = [], 0, 0.0, random.Random(self._settings.seed)
        class_of_word = np.argsort(self._word_of_class.cpu().numpy())
        step_s = self._settings.window.bin_us / 1e6
        for spans, end_us_N, windows in recordings_of(self._validation):
            probability_NK = probabilities(lambda x: self.network(x.to(self._group.device)).cpu(), windows)
            class_N = class_of_word[words_of(probability_NK, end_us_N, self.network.config, draws)]
            trials += trials_of(class_N, end_us_N, spans, len(GESTURES))
            if all(span.target >= len(GESTURES) for span in spans):
                wrong += len(named(class_N, NAMED))
                quiet_s += len(class_N) * step_s
        late = [trial.latency_s if trial.latency_s is not None else np.inf for trial in trials]
        figures = {"val_trials": float(np.mean([trial.recognised for trial in trials]))} if trials else {}
        if trials and np.isfinite(median := float(np.median(late))):
            figures["val_latency_s"] = median
        if quiet_s:
            figures["val_named_per_minute"] = 60 * wrong / quiet_s
        return figures


def recordings_of(
    moments: Moments,
) -> Iterator[tuple[tuple[LabelledSpan, ...], Integers, Iterator[npt.NDArray[np.float32]]]]:
    """Yield for each recording its spans, when its windows end (N,), and the windows in batches, one every bin."""
    shape = moments.windows.shape
    assert shape.row_us is not None
    for recording, (first, end) in zip(moments.recordings, pairwise(moments.windows.first_row), strict=True):
        end_N = np.arange(first + shape.per_window, end + 1, shape.rows_per_bin)
        parts = np.array_split(end_N, range(BATCH, len(end_N), BATCH))
        windows = (moments.cut(part, np.full(len(part), shape.rows_per_bin)) for part in parts)
        yield recording.spans, (end_N - first) * shape.row_us, windows
