"""Attackers who receive the topic `gesture` alone: of each window the label and the rounded probability.

Nothing is learned. Two windows are the more alike the closer their probabilities are among those of the same label, and
not at all alike if their labels differ. A person whom the classifier labels in a certain way, or with a certain
certainty, is alike in all sessions. Subscribers to windows can classify them as well, so this attack is for those who
have nothing else.

A stand-in publishes the label of its word, without a probability: windows are alike if their steps show the same
labels.

Legend of axes: N windows, K labels, S steps of a window, G grid points, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.nearest import without_class_means
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.sources import PublishedWindows
from eventveil.audit.stand_in import StandInSource
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.stream.protocol.gesture import published_gesture

GRID = np.linspace(0, 1, 21)  # of the ranks of probabilities
WIDTH = 0.1  # of a bump on that grid


@dataclass(frozen=True)
class GestureAttack(AttackJob):
    """The job of re-identifying people by their published gestures.

    Attributes:
        subject: name of the anonymizer.
    """

    FILE = "gestures"
    TITLE = "published gestures of {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Classify the test windows as the pipeline does, and compare what it would publish in every protocol."""
        subject = workspace.subject(self.subject)
        if isinstance(subject.source, StandInSource):
            return {"attacks": _attack_labels(workspace, subject, subject.source)}
        assert subject.classifier is not None
        network = subject.classifier.network
        scores_NK = workspace.test.compute_outputs(
            lambda x: network(x).logits.softmax(1), subject.anonymizer, "audit", self.subject, "gestures"
        )
        published = [published_gesture(scores_K) for scores_K in scores_NK]
        label_N, probability_N = (np.array(column) for column in zip(*published, strict=True))
        embedding_NE = embed_gestures(label_N, probability_N, scores_NK.shape[1])
        attacks = workspace.attack_embeddings(embedding_NE, knowledge="gestures", architecture="kernel", seed=0)
        return {"attacks": attacks}


def _attack_labels(workspace: AuditWorkspace, subject: Subject, source: StandInSource) -> list[dict[str, Any]]:
    test = workspace.evaluation_set("test", subject)
    assert isinstance(test.windows, PublishedWindows)
    _, number_K = np.unique([word.label for word in source.book.words], return_inverse=True)
    label_NS = np.append(number_K, number_K.max() + 1)[test.windows.words(test.draw.start)]  # the last: nothing yet
    share_NK = np.stack([(label_NS == label).mean(1) for label in range(number_K.max() + 2)], axis=1)
    embedding_NE = without_class_means(share_NK.astype(np.float32), test.targets)
    return workspace.attack_embeddings(embedding_NE, knowledge="gestures", architecture="labels", seed=0)


def embed_gestures(
    label_N: npt.NDArray[np.int64], probability_N: npt.NDArray[np.float64], labels: int
) -> npt.NDArray[np.float32]:
    """Embed published gestures, so that the mean over windows describes how their probabilities are distributed.

    Args:
        label_N: number of the published label of each window.
        probability_N: its published probability.
        labels: K.

    Returns:
        float32 (N, K * G): for its label a bump around the rank of its probability among all windows of that label.

    Source: a kernel mean embedding (Smola et al., A Hilbert Space Embedding for Distributions, ALT 2007).
    """
    embedding_NKG = np.zeros((len(label_N), labels, len(GRID)), np.float32)
    for label in np.unique(label_N):
        rows = np.flatnonzero(label_N == label)
        ordered = np.sort(probability_N[rows])
        below, up_to = (np.searchsorted(ordered, probability_N[rows], side=side) for side in ("left", "right"))
        rank = (below + up_to) / 2 / len(rows)
        embedding_NKG[rows, label] = np.exp(-(((GRID - rank[:, None]) / WIDTH) ** 2) / 2)
    return embedding_NKG.reshape(len(label_N), -1)


def jobs(plan: AuditPlan) -> list[GestureAttack]:
    """List the jobs for all subjects that publish gestures: with a classifier, or as words of a book."""
    return [GestureAttack(subject.name) for subject in plan.subjects if _has_gestures(subject)]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return the attacks on the published gestures of a subject."""
    if not _has_gestures(subject):
        return {}
    return {"attacks": read_attacks(results.of(GestureAttack(subject.name).name)["attacks"])}


def _has_gestures(subject: Subject) -> bool:
    return subject.classifier is not None or isinstance(subject.source, StandInSource)
