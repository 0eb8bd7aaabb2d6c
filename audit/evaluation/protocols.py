"""The protocols of re-identification.

*search* is the re-identification search of the papers: one trial of each person and gesture is the query, all others
are the gallery, and windows of the same person with the same gesture or session are left out. An attacker whose
embeddings distinguish gestures and not people ranks other people first there, and scores *below* chance.

*linked* is fairer: both sides show the same gestures. A track is n windows of one person in one session; their
embeddings are averaged. A track is compared with all people's tracks of the same gestures in other sessions.

Legend of axes: N windows, E embedding, T tracks, n windows of a track, Q queries, G gallery entries.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.audit.evaluation.betting import by_person, ceiling, level_of
from eventveil.audit.evaluation.crowd import best_of_person, crowd_figures, singling_out_by_chance, wins_over_another
from eventveil.audit.evaluation.people import linked_people
from eventveil.audit.evaluation.verification import (
    certain_links,
    chance_certain_links,
    chance_cost,
    error_interval,
    log_likelihood_cost,
    true_match_rate,
)
from eventveil.audit.figures import Advantage, Attack, Figure, Knowledge, Way
from eventveil.errors import AuditError
from eventveil.training.evaluation.confidence import Chance, bootstrap_by_person, chance_ranking, wilson
from eventveil.training.evaluation.evaluation import EvaluationSet, IdentityRanking, labels_and_sides, window_labels
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
    """Which windows are compared with which.

    Attributes:
        way: search or linked.
        members_Tn: the windows of each track.
        labels: labels of each track, as whole numbers in the order of the names. A person has the same number in all
            protocols, also where others have no track.
        query_mask_T: which tracks are queries; the others are the gallery.
        left_out_QG: pairs that are not compared.
        seconds: length of a track; None for whole recordings.
        audit_number: which audit of the same weights this is, from 1.
    """

    way: Way
    members_Tn: npt.NDArray[np.int64]
    labels: Labels
    query_mask_T: npt.NDArray[np.bool_]
    left_out_QG: npt.NDArray[np.bool_]
    seconds: float | None
    audit_number: int = 1

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
        """The figures of random rankings."""
        return chance_ranking(self.query, self.gallery, self.left_out_QG)

    @cached_property
    def chance_certain_links(self) -> float:
        """The measure D of random scores."""
        return chance_certain_links(self.query, self.gallery, self.left_out_QG)

    @cached_property
    def chance_cost(self) -> float:
        """The cost of the log-likelihood ratio of random scores."""
        return chance_cost(self.query, self.gallery, self.left_out_QG)

    @property
    def can_be_scored(self) -> bool:
        """Whether a query has both a match and another person in its gallery."""
        if not self.left_out_QG.size:
            return False
        same_QG = self.query.person[:, None] == self.gallery.person
        return bool(((same_QG & ~self.left_out_QG).any(1) & (~same_QG & ~self.left_out_QG).any(1)).any())

    def attack(
        self, embedding_NE: npt.NDArray[np.float32], *, knowledge: Knowledge, architecture: str, seed: int
    ) -> Attack:
        """Try to re-identify all people by the embeddings of their windows.

        Raises:
            AuditError: an embedding is not a number.
        """
        _refuse_nan(embedding_NE, f"the {knowledge} attacker {architecture} (seed {seed}) gives embeddings")
        score_QG = self._scores(embedding_NE)
        return self.attack_by_scores(score_QG, knowledge=knowledge, architecture=architecture, seed=seed)

    def attack_by_scores(
        self, score_QG: npt.NDArray[np.floating[Any]], *, knowledge: Knowledge, architecture: str, seed: int
    ) -> Attack:
        """Try to re-identify all people by the score of each pair of tracks: the higher, the more alike.

        Raises:
            AuditError: a score is not a number.
        """
        _refuse_nan(score_QG, f"the {knowledge} attacker {architecture} (seed {seed}) gives scores")
        ranking = rank_scores(score_QG, self.query, self.gallery, self.left_out_QG)
        result = identity_result(IdentityRanking(ranking, self.query, self.gallery, self.left_out_QG), self.chance)
        rank1 = Figure.of(result["rank1"])
        in_first_place = by_person(ranking.first_match == 1, ranking.persons)
        advantages = [Advantage.of("rank-1", rank1, ceiling(in_first_place, level_of(self.audit_number)))]
        pairs = self.way == "linked"
        if pairs:
            advantages.append(self._of_two_people(score_QG))
        return Attack(
            knowledge=knowledge,
            architecture=architecture,
            seed=seed,
            way=self.way,
            windows=self.members_Tn.shape[1],
            seconds=self.seconds,
            people=result["people"],
            queries=result["queries"],
            gallery=result["gallery"],
            rank1=rank1,
            rank5=Figure.of(result["rank5"]),
            rank10=Figure.of(result["rank10"]),
            mean_average_precision=Figure.of(result["mAP"]),
            advantages=tuple(advantages),
            **(self._verified(score_QG) if pairs else {}),
            **(self._about_people(score_QG) if pairs else {}),
        )

    def ranking(self, embedding_NE: npt.NDArray[np.float32]) -> Ranking:
        """Rank the gallery for each query, without intervals."""
        return rank_scores(self._scores(embedding_NE), self.query, self.gallery, self.left_out_QG)

    def _scores(self, embedding_NE: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
        track_TE = _unit(embedding_NE)[self.members_Tn].mean(1)
        return cosine(track_TE[self.query_mask_T], track_TE[~self.query_mask_T])

    def _verified(self, score_QG: npt.NDArray[np.floating[Any]]) -> dict[str, Any]:
        """Return the figures of verification, by their field of `Attack`."""
        pairs = (score_QG, self.query, self.gallery, self.left_out_QG)
        return {
            "equal_error_rate": self._error(score_QG),
            "true_match_rate_1_percent": true_match_rate(*pairs, 0.01),
            "true_match_rate_01_percent": true_match_rate(*pairs, 0.001),
            "certain_links": certain_links(*pairs, self.chance_certain_links),
            "log_likelihood_cost": log_likelihood_cost(*pairs, self.chance_cost),
        }

    def _about_people(self, score_QG: npt.NDArray[np.floating[Any]]) -> dict[str, Any]:
        """Return what is known of single people and of crowds, by its field of `Attack`."""
        score_QP, own_Q = self._scores_of_people(score_QG)
        number_P = np.unique(np.concatenate((self.query.person, self.gallery.person)))
        linked = linked_people(score_QP, own_Q)
        return {
            "linked_people": tuple(one.model_copy(update={"person": int(number_P[one.person])}) for one in linked),
            "crowds": crowd_figures(score_QP, own_Q, self.other_tracks, self.chance_singling_out),
        }

    def _of_two_people(self, score_QG: npt.NDArray[np.floating[Any]]) -> Advantage:
        """Return the advantage of picking the right one of two people."""
        score_QP, own_Q = self._scores_of_people(score_QG)
        wins_Q = wins_over_another(score_QP, own_Q)
        tested_Q = np.isfinite(wins_Q)
        wins_P = by_person(wins_Q[tested_Q], own_Q[tested_Q])
        value, queries = float(wins_P.mean()), int(tested_Q.sum())
        by_people = bootstrap_by_person(wins_P, np.arange(len(wins_P)))
        by_answer = wilson(value * queries, queries)  # a bootstrap of people who are all alike has no width
        low, high = min(by_people.low, by_answer.low), max(by_people.high, by_answer.high)
        share = Figure(value=value, low=low, high=high, chance=0.5)
        return Advantage.of("linkability", share, ceiling(wins_P, level_of(self.audit_number)))

    def _scores_of_people(
        self, score_QG: npt.NDArray[np.floating[Any]]
    ) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]:
        """Return the best score of each query with each person, (Q, P), and the place of its own among them, (Q,)."""
        _, person = np.unique(np.concatenate((self.query.person, self.gallery.person)), return_inverse=True)
        own_Q, person_G = person[: len(self.query)], person[len(self.query) :]
        return best_of_person(score_QG, person_G, self.left_out_QG, int(person.max()) + 1), own_Q

    @cached_property
    def chance_singling_out(self) -> dict[int, float]:
        """The share of crowds, by their size, that a blind rule singles out; measured once for all attackers."""
        score_QP, own_Q = self._scores_of_people(np.zeros(self.left_out_QG.shape))
        return singling_out_by_chance(score_QP, own_Q, self.other_tracks)

    @cached_property
    def other_tracks(self) -> npt.NDArray[np.int64]:
        """Per query, (Q,): another one of the same person and session, with other gestures; -1 if there is none."""
        queries: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, key in enumerate(zip(self.query.person.tolist(), self.query.session.tolist(), strict=True)):
            queries[key].append(number)
        other_Q = np.full(len(self.query), -1)
        for numbers in queries.values():
            if len(numbers) > 1:
                other_Q[numbers] = [*numbers[1:], numbers[0]]
        return other_Q

    def _error(self, score_QG: npt.NDArray[np.floating[Any]]) -> Figure:
        value = equal_error_rate(score_QG, self.query, self.gallery, self.left_out_QG)
        low, high = error_interval(score_QG, self.query, self.gallery, self.left_out_QG)
        return Figure(value=value, low=min(low, value), high=max(high, value), chance=0.5)


def search(evaluation_set: EvaluationSet) -> Protocol:
    """Return the re-identification search of the papers, across sessions only."""
    names, query_mask_N, gallery_mask_N = labels_and_sides(evaluation_set)
    members = np.flatnonzero(query_mask_N | gallery_mask_N)
    labels, query_mask_T = _numbered(names.of(members), evaluation_set), query_mask_N[members]
    out = left_out(labels.of(query_mask_T), labels.of(~query_mask_T), session_disjoint=True)
    return Protocol("search", members[:, None], labels, query_mask_T, out, _seconds(evaluation_set, 1))


def linked(evaluation_set: EvaluationSet, windows: int, seed: int, *, in_order: bool = False) -> Protocol:
    """Return the linked protocol for tracks of this many windows.

    A slot is a gesture and the position of a window among those of that gesture in its session. Slots are put in one
    random order for all people and cut into blocks of `windows`. A track is the windows of one person and session in
    the slots of a block. The queries are one session of each person, drawn at random. The gallery is all sessions, so
    that a query is compared with as many of its own person as of others.

    In order, slots keep the order of gestures and of time instead, so that a track is a sequence: then only slots that
    every session has are used, and tracks are as long as whole sessions if these are shorter than `windows`.
    """
    slots_of = _by_slot(evaluation_set)
    random = numpy_generator(seed, "audit", "tracks")
    query_session = {person: random.choice(sessions) for person, sessions in _sessions(slots_of).items()}
    slots = sorted({slot for windows_at in slots_of.values() for slot in windows_at})
    if in_order:
        slots = [slot for slot in slots if all(slot in windows_at for windows_at in slots_of.values())]
        windows = max(1, min(windows, len(slots)))
    else:
        slots = [slots[number] for number in random.permutation(len(slots))]
    members, person, block, session = [], [], [], []
    for at in range(0, len(slots) - windows + 1, windows):
        for key, windows_at in slots_of.items():
            track = [windows_at[slot] for slot in slots[at : at + windows] if slot in windows_at]
            track = sorted(track) if in_order else track
            if len(track) == windows:
                members.append(track)
                person.append(key[0])
                session.append(key[1])
                block.append(at)
    names = [f"{who}/{when}/{what}" for who, when, what in zip(person, session, block, strict=True)]
    tracks = Labels(np.array(person, np.str_), np.array(block), np.array(names), np.array(session))
    labels = _numbered(tracks, evaluation_set)
    query_mask_T = np.array(
        [query_session[who] == when for who, when in zip(person, session, strict=True)], np.bool_
    )  # fmt: skip
    members_Tn = np.array(members, np.int64).reshape(-1, windows)
    return _linked(members_Tn, labels, np.flatnonzero(query_mask_T), _seconds(evaluation_set, windows))


def all_linked(evaluation_set: EvaluationSet) -> Protocol:
    """Return the linked protocol in which every window is a query, compared with all other sessions.

    It is for validation, on few people: one drawn session of each would give few queries.
    """
    single = linked(evaluation_set, 1, 0)
    members_Tn, labels = single.members_Tn[~single.query_mask_T], single.gallery
    return _linked(members_Tn, labels, np.arange(len(labels)), single.seconds)


def _linked(
    members_Tn: npt.NDArray[np.int64], labels: Labels, queries: npt.NDArray[np.int64], seconds: float | None
) -> Protocol:
    """Return the linked protocol of some tracks as queries, by their numbers, with all tracks as the gallery."""
    both = np.concatenate((queries, np.arange(len(labels))))
    labels, query_mask_T = labels.of(both), np.arange(len(both)) < len(queries)
    return Protocol("linked", members_Tn[both], labels, query_mask_T, _left_out(labels, query_mask_T), seconds)


def _numbered(labels: Labels, evaluation_set: EvaluationSet) -> Labels:
    """Return labels as whole numbers in the order of their names: millions of pairs are compared for each attacker.

    People are numbered among all of the set, whether they have labels here or not.
    """
    people = np.unique([trial.subject for trial in evaluation_set.windows.trials])
    columns = (labels.target, labels.trial, labels.session)
    others = (np.unique(column, return_inverse=True)[1] for column in columns)
    return Labels(np.searchsorted(people, labels.person), *others)


def _left_out(labels: Labels, query_mask_T: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pairs (Q, G) of tracks of different gestures, and of sessions of the same name.

    Sessions of the same name share a light or a camera. An attacker who distinguishes lights would rank other people
    of the same session first.
    """
    query, gallery = labels.of(query_mask_T), labels.of(~query_mask_T)
    return np.asarray((query.target[:, None] != gallery.target) | (query.session[:, None] == gallery.session))


Slots = dict[tuple[str, str], dict[tuple[int, int], int]]
"""By person and session: the window in each slot."""


def _by_slot(evaluation_set: EvaluationSet) -> Slots:
    labels = window_labels(evaluation_set)
    slots: Slots = defaultdict(dict)
    count: dict[tuple[str, str, int], int] = defaultdict(int)
    for number, target in enumerate(evaluation_set.targets.tolist()):
        person, session = str(labels.person[number]), str(labels.session[number])
        slots[person, session][target, count[person, session, target]] = number
        count[person, session, target] += 1
    return dict(sorted(slots.items()))


def _sessions(slots: Slots) -> dict[str, list[str]]:
    sessions: dict[str, list[str]] = defaultdict(list)
    for person, session in slots:
        sessions[person].append(session)
    return sessions


def protocols_of(
    evaluation_set: EvaluationSet, linking: tuple[int, ...], seed: int, audit_number: int = 1
) -> list[Protocol]:
    """Return the protocols that the data of these people allows, for one of several audits of the same weights."""
    protocols = [search(evaluation_set), *(linked(evaluation_set, windows, seed) for windows in linking)]
    return [replace(protocol, audit_number=audit_number) for protocol in protocols if protocol.can_be_scored]


def sequences_of(
    evaluation_set: EvaluationSet, lengths: tuple[int, ...], seed: int, audit_number: int = 1
) -> list[Protocol]:
    """Return the linked protocols of windows in order; lengths above those of sessions all mean whole sessions."""
    protocols = [
        replace(linked(evaluation_set, windows, seed, in_order=True), audit_number=audit_number) for windows in lengths
    ]
    by_length = {protocol.members_Tn.shape[1]: protocol for protocol in protocols if protocol.can_be_scored}
    return list(by_length.values())


def _seconds(evaluation_set: EvaluationSet, windows: int) -> float | None:
    window = evaluation_set.settings.window
    return None if window.bin_us is None else windows * window.bins * window.bin_us / 1e6


def _refuse_nan(values: npt.NDArray[np.floating[Any]], what: str) -> None:
    """Refuse an attacker that has diverged: what has no score would count as what cannot be tested, not as failure."""
    if np.isnan(values).any():
        raise AuditError(
            f"{what} that are not numbers, so it shows nothing; lower its learning rate (attackers.lr), and check that "
            "the weights give finite values"
        )


def _unit(x_NE: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(x_NE, axis=1, keepdims=True)
    return np.asarray(x_NE / np.where(length > 0, length, 1))
