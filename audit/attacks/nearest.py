"""Attackers who learn nothing: nearest neighbours of published windows, and of the bits of their values.

*squares* compares log counts in squares of the picture: figure, place, clothes. *bits* compares how often each bit of
the published numbers is set: something hidden in the last bits of every pixel is invisible to networks, which see
sums. Both know the gesture, as everyone does who receives it: they compare what differs from its mean.

An attacker who learned should find more. If these find more in raw windows, the others were trained too little, and
the audit is inconclusive.

Legend of axes: N windows, B windows of a batch, C channels, H rows, W columns, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace

SQUARES = 16  # in each direction
BITS = 32  # of a float32


@dataclass(frozen=True)
class NearestAttack(AttackJob):
    """The job of one such attacker.

    Attributes:
        subject: name of the subject under attack.
        architecture: what is compared, one of `EMBEDDINGS`.
    """

    FILE = "nearest-{job.architecture}"
    TITLE = "nearest neighbours by {job.architecture}, on {job.subject}"

    subject: str
    architecture: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Embed the test windows, and compare them in every protocol."""
        subject = workspace.subject(self.subject)
        test, embed = workspace.evaluation_set("test", subject), EMBEDDINGS[self.architecture]
        embedding_NE = test.compute_outputs(embed, subject.anonymizer, "audit", self.subject, "nearest")
        embedding_NE = without_class_means(embedding_NE, test.targets)
        attacks = workspace.attack_embeddings(
            embedding_NE, knowledge="untrained", architecture=self.architecture, seed=0
        )
        return {"attacks": attacks}


def embed_squares(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of the mean values in squares of each channel, (B, E)."""
    pooled = functional.adaptive_avg_pool2d(x_BCHW, (min(SQUARES, x_BCHW.shape[2]), min(SQUARES, x_BCHW.shape[3])))
    return (pooled.sign() * pooled.abs().log1p()).flatten(1)


def embed_bits(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the share of values in which each bit of the float32 is set, lowest bit first, (B, 32)."""
    bits_BV = x_BCHW.float().contiguous().view(torch.int32).flatten(1)
    return torch.stack([(bits_BV >> bit & 1).float().mean(1) for bit in range(BITS)], dim=1)


EMBEDDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"squares": embed_squares, "bits": embed_bits}


def without_class_means(
    embedding_NE: npt.NDArray[np.float32], target_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return what is left of embeddings without the mean of their class, each number scaled to a deviation of 1."""
    left_NE = embedding_NE.astype(np.float64)
    for target in np.unique(target_N):
        left_NE[target_N == target] -= left_NE[target_N == target].mean(0)
    deviation_E = left_NE.std(0)
    return np.asarray(left_NE / np.where(deviation_E > 0, deviation_E, 1), np.float32)


def jobs(plan: AuditPlan) -> list[NearestAttack]:
    """List the jobs for all subjects."""
    return [NearestAttack(subject.name, name) for subject in plan.subjects for name in EMBEDDINGS]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return the attacks on a subject."""
    by_job = [results.of(NearestAttack(subject.name, name).name)["attacks"] for name in EMBEDDINGS]
    return {"attacks": tuple(attack for attacks in by_job for attack in read_attacks(attacks))}
