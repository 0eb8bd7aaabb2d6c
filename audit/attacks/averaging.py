"""Averaging: what is known to whoever gets the same events anonymized more than once.

Our line publishes no bin twice, which is what prevents this; attackers who have it anyway are shown beside, and are no
part of the verdict. *Averaging* is the mean of many anonymizations of one window, *overlapping* that of windows that
move on by less than they are long: each shows a bin in another place, and a mean is taken where they show the same.

Legend of axes: B windows, C channels, K bins, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eventveil.audit.attacks.identity import IdentityAttack
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack, Knowledge
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.models.kinds import Anonymizer
from eventveil.models.noise import NoiseGenerator


class Averaged:
    """The mean of several anonymizations of the same window.

    Args:
        anonymizer: whose noise is averaged away.
        times: how often.
    """

    def __init__(self, anonymizer: Anonymizer, times: int) -> None:
        self._anonymizer = anonymizer
        self._times = times

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return the mean of independent results."""
        mean = self._anonymizer.anonymize(x_BCHW, generator) / self._times
        for _ in range(self._times - 1):
            mean += self._anonymizer.anonymize(x_BCHW, generator) / self._times
        return mean


class Overlapped:
    """The mean of all windows that overlap with one, where they do; before and behind it nothing happened.

    Args:
        anonymizer: whose noise is averaged away.
        bins: K.
        hop: bins by which windows move on; each bin is seen K / hop times, if hop divides K.
    """

    def __init__(self, anonymizer: Anonymizer, bins: int, hop: int) -> None:
        self._anonymizer = anonymizer
        self._bins = bins
        self._hop = hop

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return the mean of independent results of every window that overlaps, this one among them."""
        wide = x_BCHW.reshape(len(x_BCHW), self._bins, -1, *x_BCHW.shape[2:])
        total, seen = torch.zeros_like(wide), torch.zeros(self._bins, device=x_BCHW.device)
        last = (self._bins - 1) // self._hop * self._hop
        for shift in range(-last, last + 1, self._hop):
            # Of a window that begins `shift` bins later: which of our bins it shows, and where.
            here = slice(max(0, shift), self._bins + min(0, shift))
            there = slice(max(0, -shift), self._bins - max(0, shift))
            moved = torch.zeros_like(wide)
            moved[:, there] = wide[:, here]
            total[:, here] += self._anonymizer.anonymize(moved.flatten(1, 2), generator).reshape(wide.shape)[:, there]
            seen[here] += 1
        return (total / seen[:, None, None, None]).flatten(1, 2)


def averaged(settings: AuditSettings, subjects: Sequence[Subject]) -> list[Subject]:
    """What is known of audited subjects to whoever averages; windows overlap only in mode "windows"."""
    times, window = settings.averaging, settings.window
    if not times:
        return []
    found: list[Subject] = []
    for subject in subjects:
        if subject.audited:
            found.append(Subject(f"{subject.name}-averaging", Averaged(subject.anonymizer, times)))
            if window.mode == "windows" and window.bins > 1:
                hop = -(-window.bins // times)  # so that no bin is seen more often than that
                overlapped = Overlapped(subject.anonymizer, window.bins, hop)
                found.append(Subject(f"{subject.name}-overlapping", overlapped))
    return found


def averaging_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[IdentityAttack]:
    """The jobs of all who average: one attacker each, of the first build and seed."""
    own, jobs = settings.attackers, []
    for subject in averaged(settings, subjects):
        knowledge: Knowledge = "overlapping" if isinstance(subject.anonymizer, Overlapped) else "averaging"
        jobs.append(IdentityAttack(subject.name, own.architectures[0], own.seeds[0], (subject.name,), knowledge))
    return jobs


def averaging_on(subject: Subject, settings: AuditSettings, results: Results) -> tuple[Attack, ...]:
    """What those got who average a subject's windows, once their jobs are done."""
    return tuple(
        Attack.model_validate(attack)
        for job in averaging_jobs(settings, (subject,))
        for attack in results.of(job.name)["attacks"][job.learned_on]
    )
