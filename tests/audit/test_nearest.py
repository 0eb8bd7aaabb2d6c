"""Attackers that learn nothing: they find people in raw windows, and an id in the last bits of noise; not in noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_audits import Nothing, settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks.nearest import collect, embed_bits, embed_squares, jobs, without_class_means
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Unchanged

ID_BITS = 10


class LastBits:
    """Publishes noise alone, with an id of the person in the last bits of every value."""

    def __init__(self):
        self._projection = torch.randn(8 * 16, ID_BITS, generator=torch.Generator().manual_seed(0))

    def anonymize(self, x_BCHW, generator, /):
        pattern = x_BCHW.sum(1)[:, 8:].flatten(1)  # of the person, in the lower half of a window
        bits = ((pattern @ self._projection) > 0).int()
        ids = (bits << torch.arange(ID_BITS)).sum(1).int()
        noise = generator.normal(x_BCHW.shape, x_BCHW.device).contiguous().view(torch.int32)
        return ((noise >> ID_BITS << ID_BITS) | ids[:, None, None, None]).view(torch.float32)


@pytest.fixture(scope="module")
def attacks(tmp_path_factory):
    """The attacks in the linked protocol, by subject and by what is compared."""
    root = planted(tmp_path_factory.mktemp("planted"), train=4, test=16)
    audit_settings, work = settings(root, linking=[1]), tmp_path_factory.mktemp("work")
    subjects = (Subject("raw", Unchanged()), Subject("noise", Nothing(), True), Subject("bits", LastBits(), True))
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    for job in jobs(plan):
        perform(job, workspace)
    found = {subject.name: collect(subject, plan, Results(work))["attacks"] for subject in subjects}
    return {
        (name, attack.architecture): attack for name, all_ in found.items() for attack in all_ if attack.way == "linked"
    }


def lows(attack):
    return max(advantage.low for advantage in attack.advantages)


def test_they_find_people_in_raw_windows(attacks):
    assert lows(attacks["raw", "squares"]) > 0.3
    assert attacks["raw", "squares"].knowledge == "untrained"


def test_they_are_at_chance_in_noise(attacks):
    for what in ("squares", "bits"):
        for advantage in attacks["noise", what].advantages:
            assert advantage.low <= 0.02


def test_an_id_in_the_last_bits_is_found_by_its_bits_alone(attacks):
    assert lows(attacks["bits", "bits"]) > 0.15
    assert lows(attacks["bits", "squares"]) <= 0.02


def test_bits_are_counted_from_the_lowest():
    x = torch.tensor([[[[1.0, 1.0]]], [[[-1.0, 0.0]]]])
    x.view(torch.int32)[0] |= 1
    shares = embed_bits(x).numpy()
    expected = np.zeros((2, 32))
    expected[0, 0], expected[0, 23:30] = 1, 1  # 1 is 0x3F800000
    expected[1, 31], expected[1, 23:30] = 0.5, 0.5
    assert np.array_equal(shares, expected)


def test_squares_keep_place_polarity_and_sign():
    x = torch.zeros(1, 2, 32, 32)
    x[0, 1, :2, :2] = -3
    left = embed_squares(x).reshape(2, 16, 16)
    assert left[1, 0, 0] == pytest.approx(-np.log(4))
    assert left.abs().sum() == pytest.approx(np.log(4))


def test_what_a_class_has_in_common_is_left_out():
    target = np.array([0, 0, 1, 1])
    embedding = np.array([[1, 5], [3, 5], [101, 5], [103, 5]], np.float32)
    assert without_class_means(embedding, target).tolist() == [[-1, 0], [1, 0], [-1, 0], [1, 0]]
