"""Evaluates networks on people they have not seen, on windows as a live pipeline would cut them.

Legend of axes: N windows, B windows of a batch, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import NoiseGenerator
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
    """The validation or test people, their windows, and how to evaluate networks on them.

    Attributes:
        part: "val" or "test".
        dataset: the dataset, all parts.
        windows: windows of this part.
        settings: settings of the run.
        group: the processes that share the work.
        people_only: leave out trials in which no person is seen.
    """

    part: str
    dataset: Dataset
    windows: Windows
    settings: TrainSettings
    group: ProcessGroup
    people_only: bool = False

    @property
    def empty(self) -> bool:
        """Whether the part has no people, as val may have none."""
        return not self.windows.trials

    @property
    def draw(self) -> Draw:
        """The windows to evaluate on."""
        window = self.settings.window
        hop = window.hop or window.bins
        draw = in_order(self.windows, hop * self.windows.shape.rows_per_bin if window.mode != "voxel" else 1)
        if not self.people_only:
            return draw
        return draw[np.flatnonzero(np.array([trial.person for trial in self.windows.trials])[draw.trial])]

    def anonymize_rows(
        self, anonymizer: AnonymizerNetwork, name: tuple[Any, ...], rows: npt.NDArray[np.int64]
    ) -> torch.Tensor:
        """Anonymize the windows that start at `rows`, with the noise of `name`."""
        device = self.group.device
        x_BCHW = prepared(torch.from_numpy(self.windows.cut(rows)).to(device), self.settings)
        generator = torch_generator(device, self.settings.seed, "evaluation", self.part, *name)
        return anonymizer.anonymize(x_BCHW, NamedNoise(generator))

    def compute_outputs(
        self, function: Callable[[torch.Tensor], torch.Tensor], anonymizer: AnonymizerNetwork, *name: Any
    ) -> npt.NDArray[np.float32]:
        """Apply a function to every anonymized window, each process to its share of them: float32 (N, ...)."""
        start = self.draw.start
        batches = [start[at : at + EVALUATION_BATCH] for at in range(0, len(start), EVALUATION_BATCH)]
        outputs: torch.Tensor | None = None
        with torch.inference_mode(), autocast(self.settings.run, self.settings.window.size, self.group.device):
            for number in range(self.group.rank, len(batches), self.group.size):
                output = function(self.anonymize_rows(anonymizer, (*name, number), batches[number])).float()
                if outputs is None:
                    outputs = output.new_zeros((len(start), *output.shape[1:]))
                at = number * EVALUATION_BATCH
                outputs[at : at + len(output)] = output
        if outputs is None:  # fewer batches than processes
            with torch.inference_mode():
                output = function(self.anonymize_rows(anonymizer, (*name, 0), batches[0])).float()
                outputs = output.new_zeros((len(start), *output.shape[1:]))
        return np.asarray(self.group.total(outputs).cpu().numpy())

    @property
    def persons(self) -> npt.NDArray[np.str_]:
        """(N,) whose each window is."""
        return np.array([trial.subject for trial in self.windows.trials])[self.draw.trial]

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """(N,) the class of each window."""
        return targets_of(self.windows.trials)[self.draw.trial]


@dataclass(frozen=True, slots=True)
class ClassPredictions:
    """The predictions of a target classifier: predicted class, true class and person of each window, all (N,)."""

    predicted: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    persons: npt.NDArray[np.str_]

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(N,) whether each prediction is correct."""
        return np.asarray(self.predicted == self.target)


@dataclass(frozen=True, slots=True)
class IdentityRanking:
    """How well people were re-identified, with what is needed to compute the chance level."""

    ranking: Ranking
    query: Labels
    gallery: Labels
    left_out: npt.NDArray[np.bool_]


def recognise(
    evaluation_set: EvaluationSet,
    network: nn.Module,
    denoiser: nn.Module | None,
    anonymizer: AnonymizerNetwork,
    *name: Any,
) -> ClassPredictions:
    """Predict the target of every anonymized window; the classifier is in eval mode, its denoiser optional."""
    logits = evaluation_set.compute_outputs(lambda x: network(_denoise(denoiser, x)).logits, anonymizer, *name)
    return ClassPredictions(logits.argmax(1), evaluation_set.targets, evaluation_set.persons)


def rank_identities(
    evaluation_set: EvaluationSet,
    network: nn.Module,
    denoiser: nn.Module | None,
    anonymizer: AnonymizerNetwork,
    *name: Any,
) -> IdentityRanking:
    """Rank the gallery for each query by an identity network; windows in which no person is seen are left out."""
    evaluation_set = replace(evaluation_set, people_only=True)
    embedding_NE = embed_windows(evaluation_set, network, denoiser, anonymizer, *name)
    labels, query_mask_N, gallery_mask_N = labels_and_sides(evaluation_set)
    query, gallery = labels.of(query_mask_N), labels.of(gallery_mask_N)
    attack = evaluation_set.settings.attack
    disjoint = attack.session_disjoint
    ranking = rank(
        embedding_NE[query_mask_N],
        embedding_NE[gallery_mask_N],
        query,
        gallery,
        session_disjoint=disjoint,
        count_unmatched=attack.unmatched == "miss",
    )
    return IdentityRanking(ranking, query, gallery, left_out(query, gallery, session_disjoint=disjoint))


def embed_windows(
    evaluation_set: EvaluationSet,
    network: nn.Module,
    denoiser: nn.Module | None,
    anonymizer: AnonymizerNetwork,
    *name: Any,
) -> npt.NDArray[np.float32]:
    """Embed every anonymized window, and add the embedding of its mirror image: float32 (N, E).

    Mirrored is what is published, as an attacker can; or, with `attack.mirror: raw`, the raw window, which is then
    anonymized with noise of its own, as in the code of AnonyNoise.
    """
    after = evaluation_set.settings.attack.mirror == "published"

    def embed_batch(x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BCHW = _denoise(denoiser, x_BCHW)
        return torch.from_numpy(embed(network, x_BCHW, len(x_BCHW), mirrored=after)).to(x_BCHW.device)

    embedding_NE = evaluation_set.compute_outputs(embed_batch, anonymizer, *name)
    if after:
        return embedding_NE
    mirrored = _Mirrored(anonymizer)
    return embedding_NE + evaluation_set.compute_outputs(embed_batch, mirrored, *name, "mirrored")


class _Mirrored:
    """Mirrors windows left and right, and then anonymizes them."""

    def __init__(self, anonymizer: AnonymizerNetwork) -> None:
        self._anonymizer = anonymizer

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Anonymize the mirror image of windows (B, C, H, W)."""
        return self._anonymizer.anonymize(x_BCHW.flip(3), generator)


def _denoise(denoiser: nn.Module | None, x_BCHW: torch.Tensor) -> torch.Tensor:
    return x_BCHW if denoiser is None else denoiser(x_BCHW)


def labels_and_sides(
    evaluation_set: EvaluationSet,
) -> tuple[Labels, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the labels of each window, (N,), and masks of the queries and of the gallery among them."""
    data = evaluation_set.settings.data
    trials = [trial for trial in evaluation_set.dataset.of(evaluation_set.part) if trial.person]
    if data.queries is not None and evaluation_set.part == "test":
        sides = read_retrieval(evaluation_set.dataset, data.queries, data.gallery, split=evaluation_set.part)
    else:
        sides = draw_retrieval(trials, data.seed)
    labels = window_labels(evaluation_set)
    query_mask_N, gallery_mask_N = (np.isin(labels.trial, [trial.name for trial in side]) for side in sides)
    return labels, query_mask_N, gallery_mask_N


def window_labels(evaluation_set: EvaluationSet) -> Labels:
    """Return the labels of each window, (N,)."""
    trials = [evaluation_set.windows.trials[number] for number in evaluation_set.draw.trial]
    return Labels(
        person=np.array([trial.subject for trial in trials]),
        target=np.array([trial.label or trial.session for trial in trials]),
        trial=np.array([trial.name for trial in trials]),
        session=np.array([trial.session for trial in trials]),
    )
