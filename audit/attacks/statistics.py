"""Attackers who look for any statistic of a window that tells people apart, without a network.

Every value, the mean and the spread of each pixel and each channel, how often each bit of the published numbers is set,
and the product of each pixel with itself and with that of the *next window*: what links windows of a person only in
pairs or in longer sequences is invisible in single windows. The statistics that differ most between people in training
are kept, and pairs of tracks are compared by them. Nothing is mirrored, so left and right are different here. Tracks of
`sequences` windows are in the order of time. They are also compared by the surest pair of their windows: a few
revealing windows are lost in a mean.

Legend of axes: N windows, B windows of a batch, C channels, H rows, W columns, F features, P pixels, S sessions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.discriminant import Features, attack_pairs
from eventveil.audit.attacks.nearest import embed_bits
from eventveil.audit.evaluation.plda import KEPT, Sessions
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet

LARGEST = 32  # rows and columns in which values are compared; larger windows are averaged

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class StatisticsAttack(AttackJob):
    """The job of one such attacker.

    Attributes:
        subject: name of the subject under attack.
    """

    FILE = "statistics"
    TITLE = "statistics of windows and of pairs of them, on {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Pick the statistics on people in training, and compare test people by them, in tracks and sequences."""
        subject = workspace.subject(self.subject)
        sets = [workspace.evaluation_set(part, subject) for part in ("train", "test")]
        kept = _most_telling(sets[0], subject)
        training, test = (Features.of(_features(one, subject, kept), one) for one in sets)
        attacks = []
        for protocols, name in ((workspace.protocols, "statistics"), (workspace.sequences, "statistics in order")):
            attacks += attack_pairs(training, test, protocols, knowledge="informed", architecture=name)
        attacks += attack_pairs(
            training, test, workspace.sequences, knowledge="informed", architecture="surest windows", by_window=True
        )
        return {"attacks": attacks}


def statistics_of(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the statistics of single windows, (B, F); the means of pixels come first."""
    bits_BE = embed_bits(x_BCHW)
    small = (min(LARGEST, x_BCHW.shape[2]), min(LARGEST, x_BCHW.shape[3]))
    x_BCHW = functional.adaptive_avg_pool2d(x_BCHW, small)
    log_BCHW = x_BCHW.sign() * x_BCHW.abs().log1p()
    parts = (
        log_BCHW.mean(1),
        x_BCHW.std(1, correction=0).log1p(),
        log_BCHW.mean((2, 3)),
        x_BCHW.std((2, 3), correction=0).log1p(),
        bits_BE,
        log_BCHW,
    )
    return torch.cat([part.flatten(1) for part in parts], 1)


def products_of(mean_NP: Floats, evaluation_set: EvaluationSet) -> Floats:
    """Return the products of pixel means with themselves, and with those of the next window of the session: (N, 2P)."""
    features = Features.of(mean_NP, evaluation_set)
    x_NP = features.without_means_of(features).x_NF
    same_N = (features.person_N[1:] == features.person_N[:-1]) & (features.session_N[1:] == features.session_N[:-1])
    next_NP = np.zeros_like(x_NP)
    next_NP[:-1] = x_NP[1:] * same_N[:, None]
    return np.concatenate((x_NP**2, x_NP * next_NP), axis=1)


def _batches(evaluation_set: EvaluationSet, subject: Subject) -> Iterator[tuple[slice, Floats]]:
    """Yield the statistics of all windows, batch by batch, always with the same noise."""
    start = evaluation_set.draw.start
    for number, at in enumerate(range(0, len(start), EVALUATION_BATCH)):
        rows = slice(at, at + EVALUATION_BATCH)
        with torch.inference_mode():
            name = ("audit", subject.name, "statistics", number)
            x_BCHW = evaluation_set.anonymize_rows(subject.anonymizer, name, start[rows])
            yield rows, statistics_of(x_BCHW).cpu().numpy()


def _most_telling(evaluation_set: EvaluationSet, subject: Subject) -> npt.NDArray[np.int64]:
    """Return the numbers of the statistics, products last, that differ most between people; windows are not kept."""
    labels = Features.of(np.zeros((len(evaluation_set.draw), 1)), evaluation_set)
    keys = np.char.add(np.char.add(labels.person_N, "/"), labels.session_N)
    names, first_S, session_N = np.unique(keys, return_index=True, return_inverse=True)
    targets, target_N = np.unique(labels.target_N, return_inverse=True)
    share_ST = np.zeros((len(names), len(targets)))
    np.add.at(share_ST, (session_N, target_N), 1)
    count_S, count_T = share_ST.sum(1), share_ST.sum(0)
    sum_SF, sum_TF, means = None, None, []
    for rows, x_BF in _batches(evaluation_set, subject):
        sum_SF = np.zeros((len(names), x_BF.shape[1])) if sum_SF is None else sum_SF
        sum_TF = np.zeros((len(targets), x_BF.shape[1])) if sum_TF is None else sum_TF
        for total, number_B in ((sum_SF, session_N[rows]), (sum_TF, target_N[rows])):
            for number in np.unique(number_B):
                total[number] += x_BF[number_B == number].sum(0)
        means.append(x_BF[:, : _pixels(evaluation_set)])
    assert sum_SF is not None
    assert sum_TF is not None
    mean_SF = (sum_SF - share_ST @ (sum_TF / count_T[:, None])) / count_S[:, None]
    _, person_S = np.unique(labels.person_N[first_S], return_inverse=True)
    products = Features.of(products_of(np.concatenate(means), evaluation_set), evaluation_set)
    products = products.without_means_of(products)
    ratio_F = np.concatenate(
        (
            Sessions(mean_SF, person_S, count_S.astype(np.int64)).ratio(),
            Sessions.of(products.x_NF, products.person_N, products.session_N).ratio(),
        )
    )
    return np.asarray(np.argsort(-ratio_F, kind="stable")[:KEPT])


def _features(evaluation_set: EvaluationSet, subject: Subject, kept: npt.NDArray[np.int64]) -> Floats:
    """Return the chosen statistics of all windows, (N, K)."""
    singles, means, count = [], [], 0
    for _, x_BF in _batches(evaluation_set, subject):
        count = x_BF.shape[1]
        singles.append(x_BF[:, kept[kept < count]])
        means.append(x_BF[:, : _pixels(evaluation_set)])
    products = products_of(np.concatenate(means), evaluation_set)[:, kept[kept >= count] - count]
    return np.concatenate((np.concatenate(singles), products), axis=1)


def _pixels(evaluation_set: EvaluationSet) -> int:
    return int(np.prod([min(LARGEST, side) for side in evaluation_set.windows.rows.shape[-2:]]))


def jobs(plan: AuditPlan) -> list[StatisticsAttack]:
    """List the jobs for all subjects."""
    return [StatisticsAttack(subject.name) for subject in plan.subjects]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return the attacks on a subject."""
    return {"attacks": read_attacks(results.of(StatisticsAttack(subject.name).name)["attacks"])}
