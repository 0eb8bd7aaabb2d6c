"""The ways in which people are looked for.

*search* is that of the papers: one trial of each person and gesture asks, all others are the gallery, and windows of
the same person that show the same gesture or are of the same session are left out. An attacker whose embeddings
tell gestures and not people ranks others first there, and comes out *below* chance.

*linked* is fairer: both sides show the same gestures. A track is n windows of one person in one session; their
embeddings are averaged. A track is compared with tracks of the very same gestures, of other sessions, of everybody.

Legend of axes: N windows, E embedding, T tracks, n windows of a track, Q queries, G gallery entries.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.audit.evaluation.verification import chance_linkability, error_interval, linkability
from eventveil.audit.figures import Advantage, Attack, Figure, Knowledge, Way
from eventveil.training.evaluation.confidence import Chance, chance_ranking
from eventveil.training.evaluation.evaluation import EvaluationSet, IdentityRanking, labels_and_queries, window_labels
from eventveil.training.evaluation.results import identity_result
from eventveil.training.evaluation.retrieval_metrics import (
    Labels,
    Ranking,
    cosine,
    equal_error_rate,
    left_out,
    rank_scores,
)
from eventveil.training.randomness import numpy_generator


@dataclass(frozen=True)
class Protocol:
    """Who is compared with whom.

    Attributes:
        way: search or linked.
        members_Tn: the windows of each track.
        labels: of each track.
        query_mask_T: which tracks are queries; the others are the gallery.
        left_out_QG: what is not compared.
        seconds: that a track lasts; None of whole recordings.
    """

    way: Way
    members_Tn: npt.NDArray[np.int64]
    labels: Labels
    query_mask_T: npt.NDArray[np.bool_]
    left_out_QG: npt.NDArray[np.bool_]
    seconds: float | None

    @cached_property
    def query(self) -> Labels:
        """Labels of the queries."""
        return self.labels.of(self.query_mask_T)

    @cached_property
    def gallery(self) -> Labels:
        """Labels of the gallery."""
        return self.labels.of(~self.query_mask_T)

    @cached_property
    def chance(self) -> Chance:
        """What rankings at random give."""
        return chance_ranking(self.query, self.gallery, self.left_out_QG)

    @cached_property
    def chance_linkability(self) -> float:
        """What linkability of random scores comes out at."""
        return chance_linkability(self.query, self.gallery, self.left_out_QG)

    @property
    def can_be_asked(self) -> bool:
        """Whether a query has both a match and another person to be told from."""
        if not self.left_out_QG.size:
            return False
        same_QG = self.query.person[:, None] == self.gallery.person
        return bool(((same_QG & ~self.left_out_QG).any(1) & (~same_QG & ~self.left_out_QG).any(1)).any())

    def attack(
        self, embedding_NE: npt.NDArray[np.float32], *, knowledge: Knowledge, architecture: str, seed: int
    ) -> Attack:
        """Look for everybody by these embeddings of all windows."""
        score_QG = self._scores(embedding_NE)
        ranking = rank_scores(score_QG, self.query, self.gallery, self.left_out_QG)
        held = identity_result(IdentityRanking(ranking, self.query, self.gallery, self.left_out_QG), self.chance)
        rank1 = Figure.of(held["rank1"])
        pairs = self.way == "linked"
        error = self._error(score_QG) if pairs else None
        return Attack(
            knowledge=knowledge,
            architecture=architecture,
            seed=seed,
            way=self.way,
            windows=self.members_Tn.shape[1],
            seconds=self.seconds,
            people=held["people"],
            queries=held["queries"],
            gallery=held["gallery"],
            rank1=rank1,
            rank5=Figure.of(held["rank5"]),
            rank10=Figure.of(held["rank10"]),
            mean_average_precision=Figure.of(held["mAP"]),
            equal_error_rate=error,
            linkability=self._linkability(score_QG) if pairs else None,
            advantages=(Advantage.of_rank(rank1), *([] if error is None else [Advantage.of_error(error)])),
        )

    def ranking(self, embedding_NE: npt.NDArray[np.float32]) -> Ranking:
        """Rank the gallery for each query, without saying how sure that is."""
        return rank_scores(self._scores(embedding_NE), self.query, self.gallery, self.left_out_QG)

    def _scores(self, embedding_NE: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
        track_TE = _unit(embedding_NE)[self.members_Tn].mean(1)
        return cosine(track_TE[self.query_mask_T], track_TE[~self.query_mask_T])

    def _linkability(self, score_QG: npt.NDArray[np.floating[Any]]) -> Figure:
        return linkability(score_QG, self.query, self.gallery, self.left_out_QG, self.chance_linkability)

    def _error(self, score_QG: npt.NDArray[np.floating[Any]]) -> Figure:
        value = equal_error_rate(score_QG, self.query, self.gallery, self.left_out_QG)
        low, high = error_interval(score_QG, self.query, self.gallery, self.left_out_QG)
        return Figure(value=value, low=min(low, value), high=max(high, value), chance=0.5)


def search(stand: EvaluationSet) -> Protocol:
    """Return the protocol of the papers, with other sessions only."""
    labels, asked = labels_and_queries(stand)
    members = np.arange(len(labels))[:, None]
    out = left_out(labels.of(asked), labels.of(~asked), session_disjoint=True)
    return Protocol("search", members, labels, asked, out, _seconds(stand, 1))


def linked(stand: EvaluationSet, windows: int, seed: int) -> Protocol:
    """Return the protocol for tracks of so many windows.

    A slot is a gesture and which window of it in its session. Slots are put in one random order for everybody and
    cut into blocks of `windows`; a track is the windows of one person and session in the slots of a block. One
    session of each person, drawn, asks.
    """
    held = _by_slot(stand)
    random = numpy_generator(seed, "audit", "tracks")
    asking = {person: random.choice(own) for person, own in _sessions(held).items()}
    slots = sorted({slot for own in held.values() for slot in own})
    slots = [slots[number] for number in random.permutation(len(slots))]
    members, person, block, session = [], [], [], []
    for at in range(0, len(slots) - windows + 1, windows):
        for key, own in held.items():
            track = [own[slot] for slot in slots[at : at + windows] if slot in own]
            if len(track) == windows:
                members.append(track)
                person.append(key[0])
                session.append(key[1])
                block.append(at)
    names = [f"{who}/{when}/{what}" for who, when, what in zip(person, session, block, strict=True)]
    labels = Labels(np.array(person, np.str_), np.array(block), np.array(names, np.str_), np.array(session, np.str_))
    asked = np.array([asking[who] == when for who, when in zip(person, session, strict=True)], np.bool_)
    members_Tn = np.array(members, np.int64).reshape(-1, windows)
    return Protocol("linked", members_Tn, labels, asked, _unlike(labels, asked), _seconds(stand, windows))


def all_linked(stand: EvaluationSet) -> Protocol:
    """Return the protocol in which every window asks, and every other session answers: for validation, of few people.

    Where one drawn session of each person asks, it may be that those of two people never meet.
    """
    one = linked(stand, 1, 0)
    twice = np.arange(2 * len(one.labels)) % len(one.labels)
    labels, asked = one.labels.of(twice), np.arange(len(twice)) < len(one.labels)
    return Protocol("linked", one.members_Tn[twice], labels, asked, _unlike(labels, asked), one.seconds)


def _unlike(labels: Labels, query_mask_T: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(Q, G) tracks of other gestures, and of sessions of the same name.

    These have the same light or camera: with them, whoever tells lights apart would rank others first.
    """
    query, gallery = labels.of(query_mask_T), labels.of(~query_mask_T)
    return np.asarray((query.target[:, None] != gallery.target) | (query.session[:, None] == gallery.session))


Slots = dict[tuple[str, str], dict[tuple[int, int], int]]
"""By person and session: the window in each slot."""


def _by_slot(stand: EvaluationSet) -> Slots:
    labels = window_labels(stand)
    held: Slots = defaultdict(dict)
    seen: dict[tuple[str, str, int], int] = defaultdict(int)
    for number, target in enumerate(stand.targets.tolist()):
        person, session = str(labels.person[number]), str(labels.session[number])
        held[person, session][target, seen[person, session, target]] = number
        seen[person, session, target] += 1
    return dict(sorted(held.items()))


def _sessions(held: Slots) -> dict[str, list[str]]:
    sessions: dict[str, list[str]] = defaultdict(list)
    for person, session in held:
        sessions[person].append(session)
    return sessions


def protocols_of(stand: EvaluationSet, linking: tuple[int, ...], seed: int) -> list[Protocol]:
    """Return all protocols that the people of a stand allow for."""
    held = [search(stand), *(linked(stand, windows, seed) for windows in linking)]
    return [protocol for protocol in held if protocol.can_be_asked]


def _seconds(stand: EvaluationSet, windows: int) -> float | None:
    window = stand.settings.window
    return None if window.bin_us is None else windows * window.bins * window.bin_us / 1e6


def _unit(x_NE: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(x_NE, axis=1, keepdims=True)
    return np.asarray(x_NE / np.where(length > 0, length, 1))
