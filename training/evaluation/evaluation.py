"""What a network gets right about people it has not seen, on windows as a line would cut them.

Legend of axes: N windows, B windows of a batch, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eventveil.models.kinds import Anonymizer
from eventveil.replay.datasets.retrieval import draw_retrieval, read_retrieval
from eventveil.replay.datasets.trials import Dataset
from eventveil.training.data.loader import prepared, targets_of
from eventveil.training.data.sampling import Draw, in_order
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.evaluation.retrieval_metrics import Labels, Ranking, embed, left_out, rank
from eventveil.training.networks.build import autocast
from eventveil.training.randomness import NamedNoise, torch_generator
from eventveil.training.settings import TrainSettings

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class EvaluationSet:
    """People to be evaluated on, and how.

    Attributes:
        part: "val" or "test".
        dataset: of all parts.
        windows: of this part.
        settings: of the run.
        world: the processes that share the work.
    """

    part: str
    dataset: Dataset
    windows: Windows
    settings: TrainSettings
    world: ProcessGroup

    @property
    def draw(self) -> Draw:
        """The windows."""
        window = self.settings.window
        hop = window.hop or window.bins
        return in_order(self.windows, hop * self.windows.shape.rows_per_bin if window.mode != "voxel" else 1)

    def anonymized(self, anonymizer: Anonymizer, name: tuple[Any, ...], rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return windows that begin with `rows`, anonymized with fresh noise that belongs to `name`."""
        device = self.world.device
        x_BCHW = prepared(torch.from_numpy(self.windows.cut(rows)).to(device), self.settings)
        generator = torch_generator(device, self.settings.seed, "evaluation", self.part, *name)
        return anonymizer.anonymize(x_BCHW, NamedNoise(generator))

    def outputs(
        self, ask: Callable[[torch.Tensor], torch.Tensor], anonymizer: Anonymizer, *name: Any
    ) -> npt.NDArray[np.float32]:
        """Ask about every anonymized window, each process about its share: float32 (N, ...)."""
        start = self.draw.start
        batches = [start[at : at + EVALUATION_BATCH] for at in range(0, len(start), EVALUATION_BATCH)]
        answers: torch.Tensor | None = None
        with torch.inference_mode(), autocast(self.settings, self.world.device):
            for number in range(self.world.rank, len(batches), self.world.size):
                answer = ask(self.anonymized(anonymizer, (*name, number), batches[number])).float()
                if answers is None:
                    answers = answer.new_zeros((len(start), *answer.shape[1:]))
                at = number * EVALUATION_BATCH
                answers[at : at + len(answer)] = answer
        if answers is None:  # fewer batches than processes
            with torch.inference_mode():
                answers = ask(self.anonymized(anonymizer, (*name, 0), batches[0])).float()
                answers = answers.new_zeros((len(start), *answers.shape[1:]))
        return np.asarray(self.world.total(answers).cpu().numpy())

    @property
    def persons(self) -> npt.NDArray[np.str_]:
        """(N,) whose each window is."""
        return np.array([trial.subject for trial in self.windows.trials])[self.draw.trial]

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """(N,) the class of each window."""
        return targets_of(self.windows.trials)[self.draw.trial]


@dataclass(frozen=True, slots=True)
class Recognised:
    """How a classifier of the target did: the class it said (N,), the right one (N,), whose window it was (N,)."""

    said: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    persons: npt.NDArray[np.str_]

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(N,) whether it was right."""
        return np.asarray(self.said == self.target)


@dataclass(frozen=True, slots=True)
class IdentityRanking:
    """How well people were found, with what is needed to say what chance would give."""

    ranking: Ranking
    query: Labels
    gallery: Labels
    left_out: npt.NDArray[np.bool_]


def recognise(
    stand: EvaluationSet, network: nn.Module, before: nn.Module | None, anonymizer: Anonymizer, *name: Any
) -> Recognised:
    """Let a classifier of the target, in eval mode and behind a denoiser if there is one, say what it sees."""
    logits = stand.outputs(lambda x: network(_through(before, x)).logits, anonymizer, *name)
    return Recognised(logits.argmax(1), stand.targets, stand.persons)


def find(
    stand: EvaluationSet, network: nn.Module, before: nn.Module | None, anonymizer: Anonymizer, *name: Any
) -> IdentityRanking:
    """Let a network that tells people apart find the person of each query among the others."""
    embedding_NE = embedded(stand, network, before, anonymizer, *name)
    labels, asked = labels_of(stand)
    query, gallery = labels.of(asked), labels.of(~asked)
    disjoint = stand.settings.attack.session_disjoint
    ranking = rank(embedding_NE[asked], embedding_NE[~asked], query, gallery, session_disjoint=disjoint)
    return IdentityRanking(ranking, query, gallery, left_out(query, gallery, session_disjoint=disjoint))


def embedded(
    stand: EvaluationSet, network: nn.Module, before: nn.Module | None, anonymizer: Anonymizer, *name: Any
) -> npt.NDArray[np.float32]:
    """Embed every anonymized window, summed with its mirror image: float32 (N, E)."""

    def ask(x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BCHW = _through(before, x_BCHW)
        return torch.from_numpy(embed(network, x_BCHW, len(x_BCHW), mirrored=True)).to(x_BCHW.device)

    return stand.outputs(ask, anonymizer, *name)


def _through(before: nn.Module | None, x_BCHW: torch.Tensor) -> torch.Tensor:
    return x_BCHW if before is None else before(x_BCHW)


def labels_of(stand: EvaluationSet) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """What is known of each window, (N,), and which of them are queries."""
    data = stand.settings.data
    trials = stand.dataset.of(stand.part)
    if data.queries is not None and stand.part == "test":
        asked = read_retrieval(stand.dataset, data.queries, data.gallery, split=stand.part).query
    else:
        asked = draw_retrieval(trials, data.seed).query
    names = {trial.name for trial in asked}
    labels = known_of(stand)
    return labels, np.array([name in names for name in labels.trial])


def known_of(stand: EvaluationSet) -> Labels:
    """What is known of each window, (N,)."""
    own = [stand.windows.trials[number] for number in stand.draw.trial]
    return Labels(
        person=np.array([trial.subject for trial in own]),
        target=np.array([trial.label or trial.session for trial in own]),
        trial=np.array([trial.name for trial in own]),
        session=np.array([trial.session for trial in own]),
    )
