"""Attackers who compare pairs of tracks by what tells people in training apart (`evaluation.plda`).

They need features of windows instead of a network, learn in a second, and know the gesture: they compare what differs
from its mean among people in training.

Legend of axes: N windows, F features, K kept features, T tracks, Q queries, G gallery entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eventveil.audit.evaluation.plda import KEPT, Plda, Sessions
from eventveil.audit.evaluation.protocols import Protocol
from eventveil.audit.figures import Knowledge
from eventveil.training.evaluation.evaluation import EvaluationSet

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Features:
    """Features of windows, and whose they are.

    Attributes:
        x_NF: the features.
        person_N, session_N, target_N: of each window.
    """

    x_NF: Floats
    person_N: npt.NDArray[np.str_]
    session_N: npt.NDArray[np.str_]
    target_N: npt.NDArray[np.int64]

    @classmethod
    def of(cls, x_NF: Floats, evaluation_set: EvaluationSet) -> Self:
        """Label the features of all windows of an evaluation set."""
        sessions = np.array([trial.session for trial in evaluation_set.windows.trials])
        return cls(x_NF, evaluation_set.persons, sessions[evaluation_set.draw.trial], evaluation_set.targets)

    def without_means_of(self, training: Features) -> Self:
        """Subtract the mean of each window's target in training; of all targets, for one that is unknown there."""
        x_NF = self.x_NF - training.x_NF.mean(0)
        for target in np.unique(training.target_N):
            rows = self.target_N == target
            x_NF[rows] = self.x_NF[rows] - training.x_NF[training.target_N == target].mean(0)
        return replace(self, x_NF=x_NF)

    def at(self, rows: npt.NDArray[np.bool_]) -> Self:
        """Return some of the windows."""
        return type(self)(self.x_NF[rows], self.person_N[rows], self.session_N[rows], self.target_N[rows])


def most_telling(features: Features, kept: int = KEPT) -> npt.NDArray[np.int64]:
    """Return the numbers of the features, (K,), that differ most between people, compared with their sessions."""
    ratio_F = Sessions.of(features.x_NF, features.person_N, features.session_N).ratio()
    return np.asarray(np.argsort(-ratio_F, kind="stable")[:kept])


def attack_pairs(
    training: Features,
    test: Features,
    protocols: Sequence[Protocol],
    *,
    knowledge: Knowledge,
    architecture: str,
    by_target: bool = False,
    by_window: bool = False,
) -> list[dict[str, Any]]:
    """Fit the model to people in training, and score all pairs of tracks; return the attacks as plain values.

    Args:
        training: of people in training.
        test: of test people, the same features.
        protocols: linked ones.
        knowledge: knowledge of the attacker, for the report.
        architecture: architecture of the attacker, for the report.
        by_target: fit one model for each target, and add up what they say.
        by_window: compare each window with each, and take the surest pair, instead of comparing means: a few
            revealing windows are lost in a mean.
    """
    training, test = training.without_means_of(training), test.without_means_of(training)
    kept_K = most_telling(training)
    training, test = replace(training, x_NF=training.x_NF[:, kept_K]), replace(test, x_NF=test.x_NF[:, kept_K])
    groups = np.unique(training.target_N) if by_target else [None]
    scorer = _Scorer({target: _fit(training, target) for target in groups}, test, by_window)
    return [
        protocol.attack_by_scores(
            scorer.scores(protocol), knowledge=knowledge, architecture=architecture, seed=0
        ).model_dump(mode="json")
        for protocol in protocols
        if protocol.way == "linked"
    ]  # fmt: skip


def _fit(training: Features, target: Any) -> Plda:
    some = training if target is None else training.at(training.target_N == target)
    return Plda.fit(some.x_NF, some.person_N, some.session_N)


@dataclass(frozen=True)
class _Scorer:
    """Models by target, or one for all under None; the latter also by window."""

    models: dict[Any, Plda]
    test: Features
    by_window: bool

    def scores(self, protocol: Protocol) -> Floats:
        """Return the score of each pair of tracks of the same gestures, (Q, G)."""
        if self.by_window:
            return self._surest_pairs(protocol)
        score_QG = np.zeros(protocol.left_out_QG.shape)
        for target, model in self.models.items():
            mean_TK, count_T = self._track_means(protocol, target)
            for count in np.unique(count_T[count_T > 0]).tolist():
                rows_Q, rows_G = (
                    np.flatnonzero(count_T[mask] == count) for mask in (protocol.query_mask_T, ~protocol.query_mask_T)
                )
                if len(rows_Q) and len(rows_G):
                    query, gallery = mean_TK[protocol.query_mask_T][rows_Q], mean_TK[~protocol.query_mask_T][rows_G]
                    score_QG[np.ix_(rows_Q, rows_G)] += model.score(query, gallery, int(count))
        return score_QG

    def _surest_pairs(self, protocol: Protocol) -> Floats:
        """Return the highest score of two windows of each pair of tracks, (Q, G)."""
        model, x_NK = self.models[None], self.test.x_NF
        query_Qn, gallery_Gn = (protocol.members_Tn[mask] for mask in (protocol.query_mask_T, ~protocol.query_mask_T))
        shown_W, place_Gn = np.unique(gallery_Gn, return_inverse=True)
        place_Gn = place_Gn.reshape(gallery_Gn.shape)
        best_QW = (model.score(x_NK[query_n], x_NK[shown_W], 1).max(0) for query_n in query_Qn)
        return np.stack([best_W[place_Gn].max(1) for best_W in best_QW])

    def _track_means(self, protocol: Protocol, target: Any) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return the mean of each track's windows of a target, (T, K), and their number, (T,)."""
        members_Tn = protocol.members_Tn
        if target is None:
            return self.test.x_NF[members_Tn].mean(1), np.full(len(members_Tn), members_Tn.shape[1])
        counted_Tn = self.test.target_N[members_Tn] == target
        total_TK = (self.test.x_NF[members_Tn] * counted_Tn[..., None]).sum(1)
        count_T = counted_Tn.sum(1)
        return total_TK / np.maximum(count_T, 1)[:, None], count_T
