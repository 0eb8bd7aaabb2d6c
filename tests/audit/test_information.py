"""Information about windows: closed forms of planted channels and words, and nothing where nothing is sent."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from small_audits import settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks.information import (
    FALSE_ALARMS,
    _missed_by_codes,
    _missed_by_words,
    collect,
    jobs,
    missed_shares,
    word_bits,
)
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.configs import NoisyChannelConfig
from eventveil.models.noisy_channel import NoisyChannel
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Unchanged

NORMAL = NormalDist()


def missed_of_gaussians(distance):
    """Return the closed form for two Gaussians this many standard deviations apart."""
    return [NORMAL.cdf(NORMAL.inv_cdf(1 - alpha) - distance) for alpha in FALSE_ALARMS]


def test_the_trade_off_of_codes_is_that_of_gaussians_as_far_apart():
    """1,000 draws, and a limit estimated from as many: five standard errors are 0.11."""
    mean = np.array([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0], [0.6, 0.8], [0.0, 0.0], [0.6, 0.8]])
    missed = _missed_by_codes(mean, np.ones((6, 2)), 0)
    assert missed(np.array([0]), np.array([1])).tolist() == pytest.approx(missed_of_gaussians(1), abs=0.11)
    longer = missed(np.array([0, 2, 4]), np.array([1, 3, 5]))
    assert longer.tolist() == pytest.approx(missed_of_gaussians(3**0.5), abs=0.11)
    assert missed(np.array([0]), np.array([2])).tolist() == [1.0, 1.0, 1.0]  # nothing differs, so no test says B


def test_a_test_takes_no_more_of_a_for_b_than_it_may():
    score = np.arange(1000.0)
    assert missed_shares(score, score).tolist() == pytest.approx([0.99, 0.9, 0.5], abs=0.002)
    assert missed_shares(score, score + 5000).tolist() == [0, 0, 0]


def test_words_tell_two_people_apart_only_where_they_differ():
    missed = _missed_by_words(np.array([[1, 2], [1, 2], [1, 3]]))
    assert missed(np.array([0]), np.array([1])).tolist() == pytest.approx([0.99, 0.9, 0.5])
    assert missed(np.array([0]), np.array([2])).tolist() == [0, 0, 0]


def bits_of_words(words, rows=600, steps=10):
    random = np.random.default_rng(0)
    target, person = random.integers(0, 2, rows), random.integers(0, 20, rows).astype(str)
    return word_bits(words(random, target, (rows, steps)), 4, target, person).mean()


def test_words_that_follow_from_the_gesture_carry_nothing_more_and_random_ones_their_entropy():
    """With 285 windows of other people, each prediction costs about 0.02 bits a step too much."""
    assert bits_of_words(lambda _random, target, shape: np.broadcast_to(target[:, None], shape)) < 0.2
    drawn = bits_of_words(lambda random, _target, shape: random.integers(0, 4, shape))
    assert 20 <= drawn < 21  # 10 steps of 2 bits
    constant = bits_of_words(
        lambda random, _target, shape: np.broadcast_to(random.integers(0, 4, shape[:1])[:, None], shape)
    )
    assert 2 <= constant < 2.4  # chosen once


class Sends(NoisyChannel):
    """Sends one of two far codes, by a window's own number of events, or always the same."""

    def __init__(self, anything):
        super().__init__(NoisyChannelConfig(channels=4, code=2, width=4, pen=4))
        self.anything = anything

    def read(self, x_BCHW):
        far = 40.0 * self.anything * (x_BCHW.flatten(1)[:, ::3].sum(1) % 2)
        code = torch.stack((far, torch.zeros_like(far)), 1)
        return code, torch.ones_like(code)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root, work = planted(tmp_path_factory.mktemp("planted"), train=4, test=8), tmp_path_factory.mktemp("work")
    audit_settings = settings(root, linking=[1], sequences=[600])
    subjects = (
        Subject("raw", Unchanged()),
        Subject("bit", Sends(1).eval(), True),
        Subject("none", Sends(0).eval(), True),
    )
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    for job in jobs(plan):
        perform(job, workspace)
    return {subject.name: collect(subject, plan, Results(work)).get("information") for subject in subjects}


def test_a_channel_that_sends_a_bit_carries_one_and_one_that_sends_nothing_none(found):
    """Two codes that both occur; 48 windows of a gesture may not have them in equal shares, which costs little."""
    assert 0.5 < found["bit"].bits.value <= 1.001
    assert found["bit"].bits.low > 0.3
    assert found["bit"].bits_per_second == pytest.approx(found["bit"].bits.value / 0.12)
    assert found["none"].bits.high < 1e-6
    assert found["raw"] is None


def test_more_windows_tell_people_better_apart_if_anything_is_sent(found):
    by_windows = {one.windows: one.missed for one in found["bit"].trade_offs if one.false_alarms == 0.1}
    assert list(by_windows) == [1, 9]
    assert by_windows[9] < by_windows[1] < 0.9
    assert all(one.missed > 0.99 for one in found["none"].trade_offs if one.false_alarms == 0.01)
