"""Noise replay: one who knows the weights guesses the seed of the noise, and takes the noise off.

He stood before the camera once, so he knows one raw window and what was published of it. He anonymizes it himself with
every seed that he can think of, in the generators that programs usually have, keeps the seed that comes nearest, and
foretells with it what is published of the windows that follow. Live noise is made under 128 bits that are fresh for
each batch (`models/noise.py`): against that this must fail, and here it is tried.

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

from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Figure, Replay
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditWorkspace
from eventveil.models.kinds import Anonymizer
from eventveil.models.noise import LiveNoise, NoiseGenerator, SeededNoise
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.networks.baselines import Unchanged as Unchanged
from eventveil.training.networks.subjects import folder_of
from eventveil.training.randomness import NamedNoise, numpy_generator

WINDOWS = 33  # the one that is known, and those that are foretold
FRESH = 4  # times that each of these is anonymized anew, to know how far apart independent noise is
FORETOLD = 0.5  # share of the noise; by chance it is 0


class _PCG64:
    """NumPy's usual generator, which many programs draw from."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        return torch.from_numpy(self._generator.standard_normal(tuple(shape), dtype=np.float32)).to(device)


def _mersenne(seed: int) -> NoiseGenerator:
    """PyTorch's own generator on a CPU."""
    return NamedNoise(torch.Generator().manual_seed(seed))


GENERATORS: tuple[Callable[[int], NoiseGenerator], ...] = (SeededNoise, _mersenne, _PCG64)


@dataclass(frozen=True)
class Guessing:
    """The job of one who guesses.

    Attributes:
        subject: name of what is attacked.
        guesses: seeds that are tried, from 0 on.
    """

    subject: str
    guesses: int

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.subject)}/replay"

    @property
    def title(self) -> str:
        """What it does."""
        return f"guessing the noise of {self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Guess, against noise as the line draws it."""
        stand = bench.test
        some = numpy_generator(bench.settings.seed, "audit", "replay").permutation(len(stand.draw))[:WINDOWS]
        with torch.inference_mode():
            x_NCHW = stand.anonymize_rows(Unchanged(), ("replay",), stand.draw[some].start)
            # The known window shows something: of an empty one there may be nothing to tell.
            order = x_NCHW.abs().sum((1, 2, 3)).argsort(descending=True)
            persons = stand.persons[some][order.cpu().numpy()]
            anonymizer = bench.subject(self.subject).anonymizer
            found = replay(anonymizer, x_NCHW[order], persons, LiveNoise(), self.guesses)
        return {"replay": found.model_dump(mode="json")}


def replay(
    anonymizer: Anonymizer,
    x_NCHW: torch.Tensor,
    persons_N: npt.NDArray[np.str_],
    noise: NoiseGenerator,
    guesses: int,
) -> Replay:
    """Guess the seed of the noise.

    Args:
        anonymizer: whose weights are known.
        x_NCHW: windows that are published one after the other; the first is known to him who guesses.
        persons_N: whose they are.
        noise: what the windows are anonymized with.
        guesses: seeds that are tried with each generator, from 0 on.
    """
    published = [anonymizer.anonymize(x_1CHW, noise) for x_1CHW in torch.split(x_NCHW, 1)]
    fresh = [_independent() for _ in range(FRESH)]
    if torch.equal(*(anonymizer.anonymize(x_NCHW[:1], generator) for generator in fresh[:2])):
        return Replay(noise=False, guesses=0, explained=None, succeeded=False)
    tried = [(make, seed) for make in GENERATORS for seed in range(guesses)]
    distances = [_distance(anonymizer.anonymize(x_NCHW[:1], make(seed)), published[0]) for make, seed in tried]
    make, seed = tried[int(np.argmin(distances))]
    generator = make(seed)
    error_N2 = np.array(
        [
            (
                _distance(anonymizer.anonymize(x_1CHW, generator), seen),
                float(np.mean([_distance(anonymizer.anonymize(x_1CHW, other), seen) for other in fresh])),
            )
            for x_1CHW, seen in zip(torch.split(x_NCHW, 1), published, strict=True)
        ]
    )[1:]  # the first was chosen by
    low, high = bootstrap_by_person(error_N2, persons_N[1:], _explained)
    value = _explained(error_N2)
    explained = Figure(value=value, low=min(low, value), high=max(high, value), chance=0.0)
    return Replay(noise=True, guesses=len(tried), explained=explained, succeeded=explained.low > FORETOLD)


def _independent() -> NoiseGenerator:
    return SeededNoise(secrets.randbits(128))


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean())


def _explained(error_N2: Any) -> float:
    """1 - squared error of what was foretold / that of independent noise."""
    foretold, independent = error_N2.sum(0)
    return float(1 - foretold / max(independent, 1e-30))


def replay_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[Guessing]:
    """The jobs of those who guess the noise of audited anonymizers."""
    if not settings.guesses:
        return []
    return [Guessing(subject.name, settings.guesses) for subject in subjects if subject.audited]


def replay_on(subject: Subject, settings: AuditSettings, results: Results) -> Replay | None:
    """What guessing brought, once the job is done."""
    for job in replay_jobs(settings, (subject,)):
        return Replay.model_validate(results.of(job.name)["replay"])
    return None
