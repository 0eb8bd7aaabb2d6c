"""Averaging: attackers who get the same events anonymized more than once.

The pipeline prevents this: it publishes no bin twice. The report shows these attackers for comparison; they are not
part of the verdict. *Averaging* takes the mean of many anonymizations of one window. *Overlapping* takes the mean of
windows that start less than their length apart: each shows a bin in another place, and the mean is over equal bins.

Legend of axes: B windows, C channels, K bins, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Knowledge
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace, Network
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import NoiseGenerator


class Averaged:
    """The mean of several anonymizations of the same window.

    Args:
        anonymizer: whose noise is averaged out.
        times: number of anonymizations.
    """

    def __init__(self, anonymizer: AnonymizerNetwork, times: int) -> None:
        self._anonymizer = anonymizer
        self._times = times

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return the mean of independent results."""
        mean = self._anonymizer.anonymize(x_BCHW, generator) / self._times
        for _ in range(self._times - 1):
            mean += self._anonymizer.anonymize(x_BCHW, generator) / self._times
        return mean


class Overlapped:
    """The mean, bin by bin, of all windows that overlap with a window. Nothing happens before and after it.

    Args:
        anonymizer: whose noise is averaged out.
        bins: K.
        hop: bins from one window to the next; each bin is published K / hop times if hop divides K.
    """

    def __init__(self, anonymizer: AnonymizerNetwork, bins: int, hop: int) -> None:
        self._anonymizer = anonymizer
        self._bins = bins
        self._hop = hop

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return the mean of independent results of every overlapping window, including this one."""
        wide = x_BCHW.reshape(len(x_BCHW), self._bins, -1, *x_BCHW.shape[2:])
        total, count_K = torch.zeros_like(wide), torch.zeros(self._bins, device=x_BCHW.device)
        last = (self._bins - 1) // self._hop * self._hop
        for shift in range(-last, last + 1, self._hop):
            # For a window that begins `shift` bins later: which of our bins it shows, and where.
            here = slice(max(0, shift), self._bins + min(0, shift))
            there = slice(max(0, -shift), self._bins - max(0, shift))
            moved = torch.zeros_like(wide)
            moved[:, there] = wide[:, here]
            total[:, here] += self._anonymizer.anonymize(moved.flatten(1, 2), generator).reshape(wide.shape)[:, there]
            count_K[here] += 1
        return (total / count_K[:, None, None, None]).flatten(1, 2)


@dataclass(frozen=True)
class AveragingAttack(AttackJob):
    """The job of one attacker who averages.

    Attributes:
        subject: name of the average, a separate subject.
        anonymizer: name of the audited subject that is averaged.
        architecture, seed: of the network.
        knowledge: averaging or overlapping.
    """

    FILE = "identity-{job.architecture}-{job.seed}"
    TITLE = "{job.knowledge} {job.architecture}, seed {job.seed}, on {job.subject}"

    subject: str
    anonymizer: str
    architecture: str
    seed: int
    knowledge: Knowledge

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Train the network on averages, and test it on them in every protocol."""
        anonymizer = _average(workspace.subject(self.anonymizer).anonymizer, self.knowledge, workspace.settings)
        average = Subject(self.subject, anonymizer)
        network = Network(average, self.architecture, self.seed, "identity")
        attacks = workspace.attack(
            workspace.train_or_load(network), average, self.subject, network.name,
            knowledge=self.knowledge, architecture=self.architecture, seed=self.seed,
        )  # fmt: skip
        return {"attacks": {self.subject: attacks}}


def _average(anonymizer: AnonymizerNetwork, knowledge: Knowledge, settings: AuditSettings) -> AnonymizerNetwork:
    if knowledge == "averaging":
        return Averaged(anonymizer, settings.averaging)
    bins = settings.window.bins
    hop = -(-bins // settings.averaging)  # so that no bin is published more often than that
    return Overlapped(anonymizer, bins, hop)


def jobs(plan: AuditPlan) -> list[AveragingAttack]:
    """List one attacker for each average of an audited subject, with the first architecture and seed.

    Windows overlap only in mode "windows".
    """
    settings = plan.settings
    kinds: list[Knowledge] = ["averaging"] if settings.averaging else []
    if settings.averaging and settings.window.mode == "windows" and settings.window.bins > 1:
        kinds.append("overlapping")
    architecture, seed = settings.attackers.architectures[0], settings.attackers.seeds[0]
    return [
        AveragingAttack(f"{subject.name}-{kind}", subject.name, architecture, seed, kind)
        for subject in plan.subjects
        if subject.audited and subject.source is None
        for kind in kinds
    ]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the attacks on averages of a subject."""
    attacks = (
        read_attacks(results.of(job.name)["attacks"][job.subject])
        for job in jobs(plan)
        if job.anonymizer == subject.name
    )
    return {"averaging": sum(attacks, ())}
