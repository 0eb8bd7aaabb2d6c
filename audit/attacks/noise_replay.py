"""Noise replay: an attacker who knows the weights guesses the seed of the noise, and subtracts the noise.

The attacker once stood in front of the camera, and so knows one raw window and its published version. They anonymize
the raw window with many seeds, in the generators that programs usually use, keep the seed whose result is nearest, and
predict with it the noise on the windows that follow. Live noise is drawn under 128 bits that are fresh for each batch
(`models/noise.py`), so the attack must fail; this module checks that it does.

Legend of axes: N windows, C channels, H rows, W columns.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Figure, Replay
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import LiveNoise, NoiseGenerator, SeededNoise
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.randomness import NamedNoise, numpy_generator

WINDOWS = 33  # the known one, and those whose noise is predicted
FRESH = 4  # further anonymizations of each window, to measure how far apart independent noise is
PREDICTED = 0.5  # share of the noise from which it counts as predicted; chance is 0


class _PCG64:
    """NumPy's default generator, which many programs use."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        return torch.from_numpy(self._generator.standard_normal(tuple(shape), dtype=np.float32)).to(device)


def _mersenne(seed: int) -> NoiseGenerator:
    """PyTorch's default generator on a CPU."""
    return NamedNoise(torch.Generator().manual_seed(seed))


GENERATORS: tuple[Callable[[int], NoiseGenerator], ...] = (SeededNoise, _mersenne, _PCG64)


@dataclass(frozen=True)
class Guessing(AttackJob):
    """The job of guessing the seed.

    Attributes:
        subject: name of the subject under attack.
        guesses: number of seeds to try, from 0 on.
    """

    FILE = "replay"
    TITLE = "guessing the noise of {job.subject}"

    subject: str
    guesses: int

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Guess, against noise drawn as the pipeline draws it."""
        test, seed = workspace.test, workspace.settings.seed
        chosen = numpy_generator(seed, "audit", "replay").permutation(len(test.draw))[:WINDOWS]
        with torch.inference_mode():
            x_NCHW = test.anonymize_rows(Unchanged(), ("replay",), test.draw[chosen].start)
            # The known window must show something: an empty one may be the same under all seeds.
            order = x_NCHW.abs().sum((1, 2, 3)).argsort(descending=True)
            persons = test.persons[chosen][order.cpu().numpy()]
            anonymizer = workspace.subject(self.subject).anonymizer
            result = replay(anonymizer, x_NCHW[order], persons, LiveNoise(), self.guesses)
        return {"replay": result.model_dump(mode="json")}


def replay(
    anonymizer: AnonymizerNetwork,
    x_NCHW: torch.Tensor,
    persons_N: npt.NDArray[np.str_],
    noise: NoiseGenerator,
    guesses: int,
) -> Replay:
    """Guess the seed of the noise.

    Args:
        anonymizer: whose weights are known.
        x_NCHW: windows that are published one after the other; the attacker knows the first.
        persons_N: the person in each window.
        noise: what the windows are anonymized with.
        guesses: number of seeds to try with each generator, from 0 on.
    """
    published = [anonymizer.anonymize(x_1CHW, noise) for x_1CHW in torch.split(x_NCHW, 1)]
    fresh = [_independent() for _ in range(FRESH)]
    if torch.equal(*(anonymizer.anonymize(x_NCHW[:1], generator) for generator in fresh[:2])):
        return Replay(noise=False, guesses=0, explained=None, succeeded=False)
    candidates = [(make, seed) for make in GENERATORS for seed in range(guesses)]
    distances = [_distance(anonymizer.anonymize(x_NCHW[:1], make(seed)), published[0]) for make, seed in candidates]
    make, seed = candidates[int(np.argmin(distances))]
    generator = make(seed)
    error_N2 = np.array(
        [
            (
                _distance(anonymizer.anonymize(x_1CHW, generator), target),
                float(np.mean([_distance(anonymizer.anonymize(x_1CHW, other), target) for other in fresh])),
            )
            for x_1CHW, target in zip(torch.split(x_NCHW, 1), published, strict=True)
        ]
    )[1:]  # the first chose the seed
    low, high = bootstrap_by_person(error_N2, persons_N[1:], _explained)
    value = _explained(error_N2)
    explained = Figure(value=value, low=min(low, value), high=max(high, value), chance=0.0)
    return Replay(noise=True, guesses=len(candidates), explained=explained, succeeded=explained.low > PREDICTED)


def _independent() -> NoiseGenerator:
    return SeededNoise(secrets.randbits(128))


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean())


def _explained(error_N2: Any) -> float:
    """1 - squared error of the prediction / squared error of independent noise."""
    predicted, independent = error_N2.sum(0)
    return float(1 - predicted / max(independent, 1e-30))


def jobs(plan: AuditPlan) -> list[Guessing]:
    """List the jobs of guessing the noise of audited anonymizers."""
    guesses = plan.settings.guesses
    return [
        Guessing(subject.name, guesses)
        for subject in plan.subjects
        if subject.audited and subject.source is None and guesses
    ]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:
    """Return the outcome of guessing."""
    outcomes = [results.of(job.name)["replay"] for job in jobs(plan) if job.subject == subject.name]
    return {"replay": Replay.model_validate(outcomes[0]) if outcomes else None}
