"""The attacks away from the training data: they catch an anonymizer that protects only what it knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_audits import Nothing, settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks.conditions import collect, jobs
from eventveil.audit.conditions import CONDITIONS, Conditioned, TwoPeople, moved, under
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.models.noise import SeededNoise
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Unchanged


class ProtectsWhatItKnows:
    """Returns noise alone, but passes windows whose right quarter of columns is all that moves."""

    def anonymize(self, x_BCHW, generator, /):
        noise = generator.normal(x_BCHW.shape, x_BCHW.device)
        unknown = x_BCHW[..., : x_BCHW.shape[3] // 4].flatten(1).sum(1) == 0  # nothing at the left: it was moved
        return torch.where(unknown[:, None, None, None], x_BCHW, noise)


@pytest.fixture(scope="module")
def attacks(tmp_path_factory):
    """The linked attacks of one window when moved, by subject."""
    root = planted(tmp_path_factory.mktemp("planted"), train=8, test=8)
    audit_settings = settings(
        root, linking=[1], conditions={"names": ["moved"]}, attackers={"architectures": ["plain"], "epochs": 3}
    )
    work = tmp_path_factory.mktemp("work")
    subjects = (Subject("raw", Unchanged()), Subject("leaks", ProtectsWhatItKnows(), True), Subject("rule", Nothing()))
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    for job in jobs(plan):
        perform(job, workspace)
    found = {subject.name: collect(subject, plan, Results(work))["attacks"] for subject in subjects}
    return {name: [attack for attack in all_ if attack.way == "linked"] for name, all_ in found.items()}


def test_a_leak_away_from_the_training_data_is_found(attacks):
    (attack,) = attacks["leaks"]
    assert attack.condition == "moved"
    assert attack.title == "informed plain, seed 0, moved"
    assert max(advantage.low for advantage in attack.advantages) > 0.2


def test_raw_windows_are_attacked_too_and_rules_for_comparison_are_not(attacks):
    assert len(attacks["raw"]) == 1
    assert attacks["rule"] == []


def test_conditions_do_what_they_say():
    x = torch.zeros(1, 2, 16, 16)
    x[0, 1, 6:10, 6:10] = 40.0
    noise = SeededNoise(0)
    few = CONDITIONS["fewer-events"](x, noise)
    assert (few == few.round()).all()
    assert few[x == 0].sum() == 0
    assert few.sum() == pytest.approx(x.sum().item() / 10, rel=0.05)
    small = CONDITIONS["half-size"](x, noise)
    assert small[0, 1, 7:9, 7:9].tolist() == [[40, 40], [40, 40]]
    assert small.sum() == 4 * 40
    assert np.argwhere(CONDITIONS["moved"](x, noise)[0, 1].numpy()).min(0).tolist() == [6, 10]
    x[0, 1, 8, 8] = 99
    turned = CONDITIONS["rotated"](x, noise)
    assert turned.max() == 99
    assert turned.sum() == pytest.approx(x.sum().item(), rel=0.2)


def test_a_gesture_that_begins_midway_leaves_the_first_half_empty():
    bins = torch.arange(1.0, 6)  # five bins of two polarities
    x = bins.repeat_interleave(2).reshape(1, 10, 1, 1).expand(1, 10, 3, 3)
    assert CONDITIONS["midway"](x, SeededNoise(0))[0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_another_sensor_has_other_gains_and_noise():
    """In 90,000 pixels the mean of rounded counts has a standard error below 0.002; five of them are 0.01."""
    x = torch.tensor([4.0, 4.0, 0, 0]).reshape(1, 4, 1, 1).expand(1, 4, 300, 300)
    seen = CONDITIONS["other-sensor"](x, SeededNoise(2))
    assert (seen == seen.round()).all()
    assert seen.mean((0, 2, 3)).tolist() == pytest.approx([6.05, 2.05, 0.05, 0.05], abs=0.01)


class Recorded:
    """Bins of other people: the number of the bin in the left half of both polarities, nothing in the right one."""

    rows = np.zeros((50, 2, 4, 8), np.uint8)
    rows[..., :4] = np.arange(1, 51)[:, None, None, None]


def test_another_person_stands_aside_at_a_moment_of_their_own():
    x = torch.zeros(40, 6, 4, 8)
    x[:, :, 0, 0] = 100.0
    seen = TwoPeople(Recorded)(x, SeededNoise(0))
    assert (seen[:, :, 0, 0] == 100).all()
    assert not seen[..., 6:].any()
    bins = seen[:, ::2, 1, 2]  # moved to the right by two of eight columns
    assert torch.equal(seen[:, 1::2, 1, 5], bins)
    assert torch.equal((bins[:, 1:] - 1) % 50, bins[:, :-1] % 50)  # three in a row
    assert len(bins[:, 0].unique()) > 15  # of 50; 28 are expected of 40 draws


def test_in_a_stream_the_other_person_moves_on_from_bin_to_bin():
    seen = TwoPeople(Recorded)(torch.zeros(60, 2, 4, 8), SeededNoise(0))[:, 0, 0, 2]
    assert torch.equal((seen[1:] - 1) % 50, seen[:-1] % 50)


def test_two_people_are_seen_in_windows_of_counts_alone(tmp_path):
    for mode, expected in (("windows", ["two-people"]), ("voxel", [])):
        audit_settings = settings(tmp_path, conditions={"names": ["two-people"]}, window={"mode": mode})
        plan = AuditPlan(audit_settings, (Subject("raw", Unchanged()),), tmp_path, None)
        assert [job.condition for job in jobs(plan)] == expected
    subject = under(Subject("raw", Unchanged()), "two-people", Recorded)
    assert subject.anonymizer.anonymize(torch.zeros(1, 2, 4, 8), SeededNoise(0)).any()


def test_a_stream_needs_no_gestures_midway(tmp_path):
    audit_settings = settings(planted(tmp_path / "planted"), conditions={"names": ["moved", "midway"]})
    stream = Subject("stream", Unchanged(), audited=True, source=object())
    plan = AuditPlan(audit_settings, (Subject("raw", Unchanged()), stream), tmp_path, None)
    assert [(job.subject, job.condition) for job in jobs(plan)] == [
        ("raw", "moved"), ("raw", "midway"), ("stream", "moved"),
    ]  # fmt: skip


def test_thinning_keeps_the_mean():
    """100,000 counts of 3: a mean of 0.3, with a standard error of 0.0015; five of them are 0.0075."""
    few = CONDITIONS["fewer-events"](torch.full((10, 1, 100, 100), 3.0), SeededNoise(1))
    assert few.mean() == pytest.approx(0.3, abs=0.0075)
    assert set(few.unique().tolist()) == {0.0, 1.0}


def test_a_condition_comes_before_the_anonymizer():
    x = torch.ones(1, 1, 8, 8)
    assert Conditioned(Unchanged(), moved).anonymize(x, SeededNoise(0))[0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
