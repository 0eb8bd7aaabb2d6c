"""Re-identification metrics: queries against a gallery, by the cosine similarity of embeddings.

Legend of axes: Q queries, G gallery entries, N entries of any side, M matches, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import DatasetError

Floats = npt.NDArray[np.floating[Any]]
Masks = npt.NDArray[np.bool_]
NEVER = 2**31  # place of the first match of a query without one


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of the entries of one side, queries or gallery; all (N,), of any comparable type.

    Attributes:
        person: the person.
        target: the class; the camera if the dataset has no classes.
        trial: the trial.
        session: the recording session.
    """

    person: npt.NDArray[Any]
    target: npt.NDArray[Any]
    trial: npt.NDArray[Any]
    session: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.person)

    def of(self, which: npt.NDArray[Any]) -> Labels:
        """Return the labels of some entries, selected by a mask or by indices."""
        return Labels(self.person[which], self.target[which], self.trial[which], self.session[which])


@dataclass(frozen=True, slots=True)
class Ranking:
    """Re-identification figures. Queries without any match in the gallery do not count, or count as never found.

    Attributes:
        rank1: share of the queries whose nearest gallery entry shows the same person.
        rank5: share with such an entry among the nearest five.
        rank10: among the nearest ten.
        mean_average_precision: mean of `average_precision`.
        first_match: (M,) place of the first match of each query that counts, from 1; NEVER if it has none.
        average_precision: (M,) average precision of each query that counts.
        persons: (M,) person of each query that counts.
        unmatched: number of queries without a match, because all gallery entries of their person are left out.
    """

    rank1: float
    rank5: float
    rank10: float
    mean_average_precision: float
    first_match: npt.NDArray[np.int64]
    average_precision: npt.NDArray[np.float64]
    persons: npt.NDArray[Any]
    unmatched: int


def left_out(query: Labels, gallery: Labels, *, session_disjoint: bool = False) -> Masks:
    """Return which gallery entries to leave out of the ranking of each query: boolean (Q, G).

    Left out are entries of the same trial, of the same person and target, and, if sessions must be disjoint, of the
    same person and session: a match must show the person, not the gesture or the day.
    """
    same_person = query.person[:, None] == gallery.person
    same_context = query.target[:, None] == gallery.target
    if session_disjoint:
        same_context |= query.session[:, None] == gallery.session
    return np.asarray((same_person & same_context) | (query.trial[:, None] == gallery.trial))


def rank(
    query_QE: Floats,
    gallery_GE: Floats,
    query: Labels,
    gallery: Labels,
    *,
    session_disjoint: bool = False,
    count_unmatched: bool = False,
) -> Ranking:
    """Rank the gallery for each query by the cosine similarity of embeddings.

    Raises:
        DatasetError: no query has a match that is not left out.
        ValueError: an embedding is not finite, or the number of labels differs from that of embeddings.
    """
    score_QG = cosine(query_QE, gallery_GE)
    left_out_QG = left_out(query, gallery, session_disjoint=session_disjoint)
    return rank_scores(score_QG, query, gallery, left_out_QG, count_unmatched=count_unmatched)


def matches(query: Labels, gallery: Labels, left_out_QG: Masks) -> Masks:
    """Return which gallery entries match which query, (Q, G).

    Raises:
        DatasetError: no query has a match that is not left out.
    """
    match_QG = (query.person[:, None] == gallery.person) & ~left_out_QG
    if not match_QG.any():
        raise DatasetError(
            f"none of {len(query)} queries has a match among {len(gallery)} gallery entries: all entries of the same "
            "person share the trial, target or session; add more of each per person, or set session_disjoint to false"
        )
    return np.asarray(match_QG)


def rank_scores(
    score_QG: Floats, query: Labels, gallery: Labels, left_out_QG: Masks, *, count_unmatched: bool = False
) -> Ranking:
    """Rank the gallery for each query by scores, highest first.

    With `count_unmatched`, a query without a match counts as one that is never found, with an average precision of 0,
    as in the code of AnonyNoise, which divides by all queries.

    Ties are broken in a fixed random order: an attacker that cannot tell people apart must score at chance level
    whatever the order of the gallery.

    Raises:
        DatasetError: no query has a match that is not left out.
        ValueError: scores are not (Q, G).
    """
    if score_QG.shape != (len(query), len(gallery)):
        raise ValueError(f"expected scores ({len(query)}, {len(gallery)}), got {score_QG.shape}")
    match_QG = matches(query, gallery, left_out_QG)
    counts_Q = match_QG.any(1)
    match_QG = np.take_along_axis(match_QG, _order(score_QG, left_out_QG), axis=1)[counts_Q]
    first_match = match_QG.argmax(1) + 1
    average_precision = _average_precision(match_QG)
    if count_unmatched:
        found, precision = first_match, average_precision
        first_match = np.full(len(query), NEVER)
        average_precision = np.zeros(len(query))
        first_match[counts_Q], average_precision[counts_Q] = found, precision
    return Ranking(
        rank1=float((first_match <= 1).mean()),
        rank5=float((first_match <= 5).mean()),
        rank10=float((first_match <= 10).mean()),
        mean_average_precision=float(average_precision.mean()),
        first_match=first_match,
        average_precision=average_precision,
        persons=query.person if count_unmatched else query.person[counts_Q],
        unmatched=int((~counts_Q).sum()),
    )


def _order(score_QG: Floats, left_out_QG: Masks) -> npt.NDArray[np.int64]:
    """Return the gallery of each query by score, highest first, ties in a fixed random order, what is left out last."""
    key_QG = np.where(left_out_QG, np.inf, -score_QG)
    order_QG = np.argsort(key_QG, axis=1)
    # Sorting by several keys takes ten times as long, and few queries of a network have ties.
    sorted_QG, out_QG = (np.take_along_axis(each, order_QG, axis=1) for each in (key_QG, left_out_QG))
    tied_Q = ((sorted_QG[:, 1:] == sorted_QG[:, :-1]) & ~(out_QG[:, 1:] & out_QG[:, :-1])).any(1)
    if tied_Q.any():
        tie_break_QG = np.random.default_rng(0).random(score_QG.shape)[tied_Q]
        order_QG[tied_Q] = np.lexsort((tie_break_QG, key_QG[tied_Q], left_out_QG[tied_Q]))
    return order_QG


def equal_error_rate(score_QG: Floats, query: Labels, gallery: Labels, left_out_QG: Masks) -> float:
    """Return the equal error rate of verifying that two windows show the same person.

    All pairs count that are not left out. A pair is accepted if its score reaches the threshold. The threshold is the
    score (or a value above all scores) at which the false rejection and the false acceptance rate differ least, the
    lowest in a tie; the result is the mean of both rates there.

    Raises:
        DatasetError: no pair of the same person, or none of different people, is left.
    """
    same_QG = query.person[:, None] == gallery.person
    genuine = np.sort(score_QG[same_QG & ~left_out_QG])
    impostor = np.sort(score_QG[~same_QG & ~left_out_QG])
    if not len(genuine) or not len(impostor):
        raise DatasetError(
            f"expected pairs of the same person and of different people, got {len(genuine)} and {len(impostor)}; add "
            "trials"
        )
    thresholds = np.append(np.unique(np.concatenate((genuine, impostor))), np.inf)
    refused = np.searchsorted(genuine, thresholds)
    accepted = len(impostor) - np.searchsorted(impostor, thresholds)
    # Compared as whole numbers: rounded rates would decide ties.
    nearest = np.argmin(np.abs(refused * len(impostor) - accepted * len(genuine)))
    return float((refused[nearest] / len(genuine) + accepted[nearest] / len(impostor)) / 2)


def cosine(query_QE: Floats, gallery_GE: Floats) -> Floats:
    """Return the cosine similarity of every pair, (Q, G); 0 if an embedding is all zero.

    Raises:
        ValueError: an embedding is not finite.
    """
    return np.asarray(_unit(query_QE) @ _unit(gallery_GE).T)


def embed(
    network: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
    x_NCHW: torch.Tensor,
    batch: int,
    *,
    mirrored: bool = False,
) -> npt.NDArray[np.float32]:
    """Embed windows, `batch` at a time, without gradients.

    Args:
        network: a classifier in eval mode, or any function whose first output is the embedding (B, E).
        x_NCHW: windows on the network's device.
        batch: windows per batch.
        mirrored: add the embedding of each window's mirror image (W reversed; bins and polarities keep their channels),
            as AnonyNoise's identity test does.

    Returns:
        float32 (N, E).
    """
    parts = []
    with torch.inference_mode():
        for x_BCHW in torch.split(x_NCHW, batch):
            embedding_BE = network(x_BCHW)[0].float()
            if mirrored:
                embedding_BE = embedding_BE + network(x_BCHW.flip(3))[0].float()
            parts.append(embedding_BE.cpu())
    return np.asarray(torch.cat(parts).numpy())


def _unit(x_NE: Floats) -> Floats:
    x_NE = np.asarray(x_NE, np.float64)
    if not np.isfinite(x_NE).all():
        raise ValueError("embeddings are not finite: the network that made them has diverged")
    length_N1 = np.linalg.norm(x_NE, axis=1, keepdims=True)
    return np.asarray(x_NE / np.where(length_N1 > 0, length_N1, 1))


def _average_precision(match_QG: Masks) -> npt.NDArray[np.float64]:
    """Return the area under the precision-recall curve by the trapezoidal rule; matches are in ranking order.

    This is the metric of Market-1501 (Zheng et al., ICCV 2015), which published re-identification figures use: at each
    match, the mean of the precision at it and the precision just before it.
    """
    row_M, column_M = np.nonzero(match_QG)
    hits_Q, place_M = match_QG.sum(1), column_M + 1
    hit_M = np.arange(1, len(row_M) + 1) - (hits_Q.cumsum() - hits_Q)[row_M]  # its number among those of its query
    before_M = np.where(place_M > 1, (hit_M - 1) / np.maximum(place_M - 1, 1), 1.0)
    area_M = (hit_M / place_M + before_M) / 2
    return np.asarray(np.bincount(row_M, area_M, minlength=len(match_QG)) / hits_Q)
