"""White-box attackers: they know the weights, and compare what a published window was made of.

The window of a noisy channel follows from its noisy code, and that of a stand-in from the numbers of its words. Anyone
who knows the weights can undo the last step, so these attackers get codes and words themselves: nothing that is
published shows more. Codes are also compared with one model for each gesture, because a person may differ in one
gesture only.

Legend of axes: N windows, B windows of a batch, D numbers of a code, S steps of a window, K words, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.discriminant import Features, attack_pairs
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.sources import PublishedWindows
from eventveil.audit.stand_in import StandInSource
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.noise import NoiseGenerator
from eventveil.models.noisy_channel import GRID, NoisyChannel
from eventveil.training.evaluation.evaluation import EvaluationSet

MAX_PAIRED_WORDS = 64  # with more words, their pairs are too many to count
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class WhiteBoxAttack(AttackJob):
    """The job of one such attacker.

    Attributes:
        subject: name of the subject under attack.
    """

    FILE = "white-box"
    TITLE = "white box, on {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Compare codes or words, in tracks and sequences, with one model for all gestures and one for each."""
        subject = workspace.subject(self.subject)
        training, test = (
            Features.of(_features(one, subject), one)
            for one in (workspace.evaluation_set(part, subject) for part in ("train", "test"))
        )
        attacks = []
        for protocols, order in ((workspace.protocols, ""), (workspace.sequences, " in order")):
            for by_target, name in ((False, "plda"), (True, "plda by gesture")):
                attacks += attack_pairs(
                    training, test, protocols,
                    knowledge="white-box", architecture=name + order, by_target=by_target,
                )  # fmt: skip
        return {"attacks": attacks}


@dataclass(frozen=True)
class Codes:
    """Returns the noisy codes of windows, (B, D), as the decoder of a noisy channel gets them."""

    network: NoisyChannel

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Encode windows, add noise, and round."""
        mean_BD, std_BD = self.network.read(x_BCHW)
        noisy_BD = mean_BD + std_BD * self.network.draw_noise(len(x_BCHW), generator)
        return (noisy_BD * GRID).round() / GRID


def word_features(word_NS: npt.NDArray[np.int64], words: int) -> Floats:
    """Describe the words of windows: which word each step has, how often one follows another, how often they change.

    Args:
        word_NS: word of each step; -1 where nothing is published yet.
        words: K.
    """
    step_NSK = word_NS[..., None] == np.arange(words)
    parts = [step_NSK.reshape(len(word_NS), -1), step_NSK.mean(1), (np.diff(word_NS) != 0).sum(1)[:, None]]
    if words <= MAX_PAIRED_WORDS:
        parts.append((step_NSK[:, :-1, :, None] & step_NSK[:, 1:, None]).sum(1).reshape(len(word_NS), -1))
    return np.concatenate(parts, axis=1).astype(np.float64)


def _features(evaluation_set: EvaluationSet, subject: Subject) -> Floats:
    if isinstance(evaluation_set.windows, PublishedWindows):
        assert isinstance(subject.source, StandInSource)
        words = evaluation_set.windows.words(evaluation_set.draw.start)
        return word_features(words, len(subject.source.book.words))
    assert isinstance(subject.anonymizer, NoisyChannel)
    code_ND = evaluation_set.compute_outputs(lambda x: x, Codes(subject.anonymizer), "audit", subject.name, "codes")
    return np.concatenate((code_ND, code_ND**2), axis=1).astype(np.float64)


def jobs(plan: AuditPlan) -> list[WhiteBoxAttack]:
    """List the jobs for all subjects whose published windows follow from a code or from words."""
    return [WhiteBoxAttack(subject.name) for subject in plan.subjects if _is_open(subject)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return the attacks on a subject."""
    if not _is_open(subject):
        return {}
    return {"attacks": read_attacks(results.of(WhiteBoxAttack(subject.name).name)["attacks"])}


def _is_open(subject: Subject) -> bool:
    return isinstance(subject.source, StandInSource) or isinstance(subject.anonymizer, NoisyChannel)
