"""The protocols: which windows are compared, the level of chance, and the interval of an equal error rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_audits import settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks import information
from eventveil.audit.evaluation import protocols
from eventveil.audit.evaluation.protocols import all_linked, linked, protocols_of, search
from eventveil.audit.evaluation.verification import (
    certain_links,
    chance_certain_links,
    error_interval,
    true_match_rate,
)
from eventveil.audit.figures import Advantage, Figure
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.evaluation.retrieval_metrics import Labels, equal_error_rate

NAMED = {"knowledge": "informed", "architecture": "plain", "seed": 0}


@pytest.fixture(scope="module")
def evaluation_set(tmp_path_factory):
    root = planted(tmp_path_factory.mktemp("planted"), train=4, test=6, sessions=("led", "natural", "lab"))
    audit_settings = settings(root, window={"size": [8, 8]})
    work = tmp_path_factory.mktemp("work")
    plan = AuditPlan(audit_settings, (), work, open_split(audit_settings.data, work, watch))
    return AuditWorkspace(plan, ProcessGroup(), Silent()).evaluation_set("test")


def embeddings(evaluation_set, of):
    """Return one-hot embeddings (N, E) of the person, the gesture or the session of each window."""
    names = {
        "person": evaluation_set.persons,
        "gesture": evaluation_set.targets,
        "session": np.array([evaluation_set.windows.trials[k].session for k in evaluation_set.draw.trial]),
    }[of]
    return np.eye(len(np.unique(names)), dtype=np.float32)[np.unique(names, return_inverse=True)[1]]


def test_linked_pairs_differ_in_session_and_agree_in_gesture(evaluation_set):
    protocol = linked(evaluation_set, 1, 0)
    window = protocol.members_Tn[:, 0]
    trials = [evaluation_set.windows.trials[k] for k in evaluation_set.draw.trial[window]]
    queries = [trial for trial, asks in zip(trials, protocol.query_mask_T, strict=True) if asks]
    others = [trial for trial, asks in zip(trials, protocol.query_mask_T, strict=True) if not asks]
    compared = np.argwhere(~protocol.left_out_QG)
    assert len(compared)
    for query, entry in compared:
        assert queries[query].label == others[entry].label
        assert queries[query].session != others[entry].session
    assert len({trial.subject for trial in queries}) == 6
    assert all(len({t.session for t in queries if t.subject == person}) == 1 for person in {t.subject for t in queries})


def test_tracks_are_of_one_person_and_session_and_of_the_same_slots(evaluation_set):
    protocol = linked(evaluation_set, 3, 0)
    assert protocol.members_Tn.shape[1] == 3
    tested = [evaluation_set.windows.trials[k] for k in evaluation_set.draw.trial]
    people, sessions = (sorted({getattr(trial, name) for trial in tested}) for name in ("subject", "session"))
    for members, person, session in zip(
        protocol.members_Tn, protocol.labels.person, protocol.labels.session, strict=True
    ):
        trials = [evaluation_set.windows.trials[k] for k in evaluation_set.draw.trial[members]]
        assert {trial.subject for trial in trials} == {people[person]}
        assert {trial.session for trial in trials} == {sessions[session]}
    by_block = {}
    for members, block in zip(protocol.members_Tn, protocol.labels.target, strict=True):
        by_block.setdefault(block, set()).add(tuple(evaluation_set.targets[members]))
    assert all(len(gestures) == 1 for gestures in by_block.values())


def test_each_pair_of_two_people_is_drawn_once(evaluation_set, monkeypatch):
    """The tracks of queries are in the gallery as well."""
    monkeypatch.setattr(information, "PAIRS", 1_000_000)
    pairs = information._pairs(linked(evaluation_set, 1, 0), 0)
    found = {frozenset((int(one[0]), int(other[0]))) for one, other in pairs}
    assert len(found) == len(pairs) > 0
    persons = evaluation_set.persons
    assert all(len({persons[window] for window in pair}) == 2 for pair in found)


def test_people_have_one_number_in_all_protocols(evaluation_set, monkeypatch):
    """Those whom several attackers link are counted together; long tracks may not exist of all people."""
    slots_of = protocols._by_slot(evaluation_set)
    first, *others = sorted({person for person, _ in slots_of})
    numbers = []
    for slots in (slots_of, {key: slots for key, slots in slots_of.items() if key[0] != first}):
        monkeypatch.setattr(protocols, "_by_slot", lambda _, slots=slots: slots)
        attack = linked(evaluation_set, 1, 0).attack(embeddings(evaluation_set, "person"), **NAMED)
        numbers.append([one.person for one in attack.linked_people])
    assert numbers == [[*range(len(others) + 1)], [*range(1, len(others) + 1)]]


@pytest.mark.parametrize("windows", [1, 3])
def test_who_knows_people_finds_and_verifies_everybody(evaluation_set, windows):
    result = linked(evaluation_set, windows, 0).attack(embeddings(evaluation_set, "person"), **NAMED)
    assert result.rank1.value == result.mean_average_precision.value == 1
    assert result.equal_error_rate.value == 0
    assert result.equal_error_rate.high < 0.1  # of 36 pairs of one person without an error
    assert result.certain_links.value > 0.9
    assert [advantage.value for advantage in result.advantages] == [1, 1]
    assert 0 < result.rank1.chance < 0.3
    assert result.seconds == pytest.approx(0.12 * windows)


def test_an_attacker_whose_numbers_overflow_is_no_attacker_that_finds_nothing(evaluation_set):
    """Half of its embeddings are not numbers: left out, they would hide the people that it knows best."""
    known = embeddings(evaluation_set, "person")
    known[::2] = np.nan
    for protocol in (linked(evaluation_set, 1, 0), search(evaluation_set)):
        with pytest.raises(AuditError, match=r"informed attacker plain .* embeddings that are not numbers"):
            protocol.attack(known, **NAMED)
    scores = np.zeros(protocol.left_out_QG.shape)
    scores[0, 0] = np.nan
    with pytest.raises(AuditError, match=r"informed attacker plain .* scores that are not numbers"):
        protocol.attack_by_scores(scores, **NAMED)


@pytest.mark.parametrize("of", ["gesture", "session"])
def test_who_knows_gestures_or_sessions_is_at_chance_where_both_sides_show_the_same(evaluation_set, of):
    result = linked(evaluation_set, 1, 0).attack(embeddings(evaluation_set, of), **NAMED)
    for advantage in result.advantages:
        assert advantage.low <= 0 <= advantage.high
        assert abs(advantage.value) < 0.2


def test_for_validation_every_session_asks_every_other_one(evaluation_set):
    protocol = all_linked(evaluation_set)
    queries, others = protocol.members_Tn[protocol.query_mask_T, 0], protocol.members_Tn[~protocol.query_mask_T, 0]
    trials = [evaluation_set.windows.trials[k] for k in evaluation_set.draw.trial]
    expected = {
        (one, other)
        for one, a in enumerate(trials)
        for other, b in enumerate(trials)
        if a.session != b.session and slot_of(trials, one) == slot_of(trials, other)
    }
    compared = {(int(queries[q]), int(others[g])) for q, g in np.argwhere(~protocol.left_out_QG)}
    assert compared == expected
    assert protocol.ranking(embeddings(evaluation_set, "person")).mean_average_precision == 1
    assert protocol.ranking(embeddings(evaluation_set, "gesture")).mean_average_precision < 0.7


def slot_of(trials, number):
    """Return the gesture of a window, and its position in its trial."""
    return trials[number].label, sum(trial == trials[number] for trial in trials[:number])


def test_who_knows_gestures_is_below_chance_in_the_search_of_the_papers(evaluation_set):
    result = search(evaluation_set).attack(embeddings(evaluation_set, "gesture"), **NAMED)
    assert result.rank1.value < result.rank1.chance / 2
    assert result.advantages[0].value < 0
    assert result.equal_error_rate is None


def test_lengths_that_nobody_was_watched_for_are_left_out(evaluation_set):
    assert [(p.way, p.members_Tn.shape[1]) for p in protocols_of(evaluation_set, (1, 3, 1000), 0)] == [
        ("search", 1), ("linked", 1), ("linked", 3),
    ]  # fmt: skip


def test_every_protocol_of_a_later_audit_is_held_to_its_level(evaluation_set, tmp_path):
    audit_settings = settings(evaluation_set.dataset.root, window={"size": [8, 8]})
    plan = AuditPlan(audit_settings, (), tmp_path, evaluation_set.dataset, audit_number=3)
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    protocols = [*workspace.protocols, *workspace.sequences]
    assert {protocol.audit_number for protocol in protocols} == {3}
    first, third = (
        replace(protocols[1], audit_number=number).attack(embeddings(evaluation_set, "session"), **NAMED)
        for number in (1, 3)
    )
    assert all(a.ceiling < b.ceiling for a, b in zip(first.advantages, third.advantages, strict=True))
    assert [a.high for a in first.advantages] == [a.high for a in third.advantages]


def test_an_advantage_is_a_share_of_the_way_from_chance_to_certainty():
    rank1 = Advantage.of("rank-1", Figure(value=0.6, low=0.2, high=0.8, chance=0.2), 0.9)
    assert (rank1.value, rank1.low, rank1.high, rank1.ceiling) == pytest.approx((0.5, 0.0, 0.75, 0.875))
    two = Advantage.of("linkability", Figure(value=0.6, low=0.5, high=0.7, chance=0.5), 0.65)
    assert (two.value, two.low, two.high, two.ceiling) == pytest.approx((0.2, 0.0, 0.4, 0.4))


def _sides(people, each):
    names = np.repeat(np.arange(people), each)
    return Labels(names, np.zeros(len(names), int), np.arange(len(names)), np.zeros(len(names), int))


def test_the_interval_of_an_error_holds_what_a_slow_bootstrap_of_people_gives():
    random = np.random.default_rng(3)
    query, gallery = _sides(8, 4), _sides(8, 5)
    person_E = random.normal(size=(8, 4))
    one, other = (person_E[side.person] + 1.2 * random.normal(size=(len(side), 4)) for side in (query, gallery))
    score = one @ other.T
    none = np.zeros(score.shape, bool)
    low, high = error_interval(score, query, gallery, none, draws=1000)
    slow = []
    for _ in range(400):
        drawn = random.integers(8, size=8)
        rows, columns = (np.concatenate([np.flatnonzero(side.person == name) for name in drawn])
                         for side in (query, gallery))  # fmt: skip
        part = np.ix_(rows, columns)
        slow.append(equal_error_rate(score[part], query.of(rows), gallery.of(columns), none[part]))
    # Percentiles are moved outwards for few people: the interval must be a little wider, and not much.
    inner = np.quantile(slow, (0.025, 0.975))
    assert low <= inner[0] + 0.01
    assert high >= inner[1] - 0.01
    assert high - low < 2 * (inner[1] - inner[0])
    assert low < equal_error_rate(score, query, gallery, none) < high


@pytest.mark.parametrize(("blocks", "known"), [(49, False), (50, True)])
def test_a_rate_of_false_matches_needs_30_of_distinct_pairs(blocks, known):
    """Four people in two sessions: per block, each has one query, compared with the three others in the other session.

    Half of the people have their query in either session, so 4 of these 8 pairs of two people are compared twice.
    """
    person, session, block = (axis.ravel() for axis in np.indices((4, 2, blocks)))
    tracks = Labels(person, block, np.arange(len(person)), session)
    protocol = protocols._linked(np.arange(len(person))[:, None], tracks, np.flatnonzero(session == person % 2), None)
    query, gallery = protocol.query, protocol.gallery
    compared = np.argwhere((query.person[:, None] != gallery.person) & ~protocol.left_out_QG)
    distinct = {tuple(sorted((query.trial[one], gallery.trial[other]))) for one, other in compared}
    assert (len(compared), len(distinct)) == (12 * blocks, 8 * blocks)
    scores = np.random.default_rng(0).random(protocol.left_out_QG.shape)
    rate = 30 / (8 * 50)
    found = true_match_rate(scores, query, gallery, protocol.left_out_QG, rate)
    assert (found is not None) == known


def _d_of_pairs(genuine, impostor, steps):
    """Compute the measure D from its definition, with histograms whose steps hold equal weight of both kinds."""
    weighted = sorted([(s, 0.5 / len(genuine)) for s in genuine] + [(s, 0.5 / len(impostor)) for s in impostor])
    edges, total = [], 0.0
    for score, weight in weighted:
        total += weight
        if len(edges) < steps - 1 and total >= (len(edges) + 1) / steps - 1e-9:
            edges.append(score)
    d = 0.0
    for step in range(steps):
        low, high = ([-np.inf, *edges])[step], ([*edges, np.inf])[step]
        one, two = (sum(low < s <= high for s in side) / len(side) for side in (genuine, impostor))
        if one > two:
            ratio = one / two if two else np.inf
            d += one * (1.0 if np.isinf(ratio) else 2 * ratio / (1 + ratio) - 1)
    return d


@pytest.mark.parametrize("noise", [0.0, 0.4, 1.5])
def test_certain_links_are_their_slow_twin_and_its_interval_holds_it(noise):
    random = np.random.default_rng(5)
    query, gallery = _sides(7, 5), _sides(7, 6)
    person_E = random.normal(size=(7, 4))
    one, other = (person_E[side.person] + noise * random.normal(size=(len(side), 4)) for side in (query, gallery))
    score = one @ other.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1)
    none = np.zeros(score.shape, bool)
    same = query.person[:, None] == gallery.person
    got = certain_links(score, query, gallery, none, chance=0.0)
    assert got.value == pytest.approx(_d_of_pairs(score[same], score[~same], 20), abs=1e-9)
    assert got.low <= got.value <= got.high
    if noise == 0:
        assert got.value == pytest.approx(1)


def test_blind_scores_link_as_much_as_chance_says_and_that_is_more_than_nothing():
    query, gallery = _sides(7, 5), _sides(7, 6)
    none = np.zeros((len(query), len(gallery)), bool)
    chance = chance_certain_links(query, gallery, none)
    assert 0 < chance < 0.15
    random = np.random.default_rng(9)
    blind = [certain_links(random.random(none.shape), query, gallery, none, chance, draws=50).value for _ in range(20)]
    assert np.mean(blind) == pytest.approx(chance, abs=0.03)
