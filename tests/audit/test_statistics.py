"""Attackers by statistics and by codes find leaks that single windows of a network do not show, and none in noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_audits import settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks import statistics, white_box
from eventveil.audit.attacks.discriminant import Features, attack_pairs
from eventveil.audit.attacks.statistics import statistics_of
from eventveil.audit.attacks.white_box import word_features
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.planted import IN_MESSAGES, LEAKS, NO_LEAK, PLANTED, Planted, PlantedSource, planted_subject
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.configs import NoisyChannelConfig
from eventveil.models.noisy_channel import NoisyChannel
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup

ELSEWHERE = {*IN_MESSAGES, "recordings under a condition", "published gestures", "scores of one gesture"}
NOT_HERE = {*ELSEWHERE, "a tenth of the windows"}  # of 15 windows a session; in a third of sessions, none of them tells
FOUND_BY_STATISTICS = [leak for leak in LEAKS if leak.name not in NOT_HERE]


class Encoder(NoisyChannel):
    """A noisy channel whose code is the person's planted pattern, or 0; in one gesture alone, if asked."""

    def __init__(self, shown, gesture=None):
        super().__init__(NoisyChannelConfig(channels=8, code=6, width=4, pen=4))
        self.shown, self.gesture = shown, gesture
        self.projection = torch.randn(8 * 16, 6, generator=torch.Generator().manual_seed(0))

    def read(self, x_BCHW):
        lower = x_BCHW.sum(1)[:, 8:].flatten(1)
        code = self.shown * (lower / lower.norm(dim=1, keepdim=True).clamp(min=1)) @ self.projection
        if self.gesture is not None:  # the gesture is the row of the upper half that has most events
            row = x_BCHW.sum((1, 3))[:, :6].unflatten(1, (3, 2)).sum(2).argmax(1)
            code = code * (row == self.gesture)[:, None]
        return code, torch.ones_like(code)


@pytest.fixture(scope="module")
def attacks(tmp_path_factory):
    """The linked attacks, by subject."""
    root = planted(tmp_path_factory.mktemp("planted"), train=14, test=12)
    window = {"bins": 4, "bin_us": 20_000}
    audit_settings, work = settings(root, linking=[1], sequences=[600], window=window), tmp_path_factory.mktemp("work")
    subjects = [planted_subject(leak) for leak in FOUND_BY_STATISTICS]
    subjects.append(Subject("noise", Planted(NO_LEAK.name), source=PlantedSource(NO_LEAK.name)))
    for name, network in {"code": Encoder(6.0), "gesture": Encoder(9.0, 1), "blind": Encoder(0.0)}.items():
        subjects.append(Subject(name, network.eval(), True))
    plan = AuditPlan(audit_settings, tuple(subjects), work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    found = {}
    for family, chosen in ((statistics, subjects[:-3]), (white_box, subjects[-3:])):
        for job in family.jobs(plan):
            if job.subject in {subject.name for subject in chosen}:
                perform(job, workspace)
        for subject in chosen:
            found[subject.name.removeprefix(PLANTED)] = family.collect(subject, plan, Results(work))["attacks"]
    return found


def low(attacks):
    return max(advantage.low for attack in attacks for advantage in attack.advantages)


@pytest.mark.parametrize("leak", [leak.name for leak in FOUND_BY_STATISTICS if leak.name != "one test person"])
def test_a_planted_leak_is_found(attacks, leak):
    assert low(attacks[leak]) > 0.1


def test_one_person_who_leaks_is_linked_with_certainty(attacks):
    assert low(attacks["one test person"]) < 0.3  # the average hides them
    assert any(one.luck < 1e-5 for attack in attacks["one test person"] for one in attack.linked_people)


class Scores:
    """A protocol that keeps the scores: sessions of 40 windows, the first of each person against the second."""

    way = "linked"

    def __init__(self, people):
        self.members_Tn = np.arange(80 * people).reshape(2 * people, 40)
        self.query_mask_T = np.arange(2 * people) % 2 == 0
        self.left_out_QG = np.zeros((people, people), bool)

    def attack_by_scores(self, score_QG, **_):
        self.score_QG = score_QG
        return SimpleNamespace(model_dump=lambda mode: {})


def in_a_tenth(people, random):
    """Windows of noise; in a tenth of them, the person's pattern of 10 numbers."""
    tells = random.random(80 * people) < 0.1
    pattern = np.repeat(random.choice([-6.0, 6.0], (people, 10)), 80, axis=0)
    x_NF = random.normal(size=(80 * people, 10)) + tells[:, None] * pattern
    names, sessions = np.repeat(np.arange(people).astype(str), 80), np.tile(np.repeat(["a", "b"], 40), people)
    return Features(x_NF, names, sessions, np.zeros(len(x_NF), np.int64))


def test_few_windows_that_tell_are_found_by_the_surest_pair():
    """Of 40 windows of a session, none tells in 1.5 % of sessions; by chance, one of 20 people is right."""
    random, protocol = np.random.default_rng(0), Scores(20)
    training, test = in_a_tenth(40, random), in_a_tenth(20, random)
    attack_pairs(training, test, [protocol], knowledge="informed", architecture="surest windows", by_window=True)
    assert (protocol.score_QG.argmax(1) == np.arange(20)).sum() >= 18


def test_there_is_nothing_in_noise(attacks):
    """Of 16 intervals, one or two begin above 0 by luck, but not far; the seeds are fixed."""
    assert low(attacks["noise"]) < 0.1
    assert low(attacks["blind"]) < 0.1


def test_codes_of_a_noisy_channel_that_show_the_person_are_found(attacks):
    assert low(attacks["code"]) > 0.3
    assert {attack.knowledge for attack in attacks["code"]} == {"white-box"}


def test_a_person_who_differs_in_one_gesture_is_found_by_the_model_of_that_gesture(attacks):
    assert low([attack for attack in attacks["gesture"] if attack.architecture == "plda by gesture"]) > 0.1


def test_sequences_are_in_the_order_of_time_and_as_long_as_sessions(attacks):
    in_order = [attack for attack in attacks["noise"] if attack.architecture == "statistics in order"]
    assert [attack.windows for attack in in_order] == [12]  # 3 gestures of 4 windows; 600 are too long


def test_statistics_of_a_window_are_what_they_say():
    x = torch.zeros(2, 3, 4, 5)
    x[0, 1, 2, 3] = 6.0
    parts = torch.split(statistics_of(x), [20, 20, 3, 3, 32, 60], dim=1)
    assert parts[0][0].reshape(4, 5)[2, 3] == pytest.approx(np.log(7) / 3)
    assert parts[1][0].reshape(4, 5)[2, 3] == pytest.approx(np.log1p(np.std([0, 6, 0])))
    assert parts[2][0].tolist() == pytest.approx([0, np.log(7) / 20, 0])
    assert parts[3][0, 1] == pytest.approx(np.log1p(np.std([6, *[0] * 19])))
    assert parts[5][0].reshape(3, 4, 5)[1, 2, 3] == pytest.approx(np.log(7))
    assert not statistics_of(x)[1].any()


def test_words_are_counted_step_by_step_and_pair_by_pair():
    features = word_features(np.array([[-1, 2, 2, 0]]), 3)[0]
    assert features[:12].reshape(4, 3).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert features[12:15].tolist() == [0.25, 0, 0.5]
    assert features[15] == 2
    pairs = features[16:].reshape(3, 3)
    assert pairs[2].tolist() == [1, 0, 1]
    assert pairs.sum() == 2
