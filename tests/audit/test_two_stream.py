"""The attacker of two streams: motion within a window, shape over several; it finds people where they are seen."""

from __future__ import annotations

import pytest
import torch
from small_audits import Nothing, settings
from small_trainings import Silent, planted, watch

from eventveil.audit.architectures import TWO_STREAM, build
from eventveil.audit.attacks.identity import collect, jobs
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Unchanged


def network(channels=8):
    torch.manual_seed(0)
    return build(TWO_STREAM, channels, 3, width=8, embedding=12, pool=2)


def windows():
    return torch.poisson(torch.full((4, 8, 16, 12), 0.5), generator=torch.Generator().manual_seed(0))


def test_only_motion_depends_on_the_order_of_bins():
    model, x = network().eval(), windows()
    reversed_ = x.unflatten(1, (4, 2)).flip(1).flatten(1, 2)
    one, other = model(x).embedding, model(reversed_).embedding
    assert torch.allclose(one[:, 6:], other[:, 6:], atol=1e-5)
    assert not torch.allclose(one[:, :6], other[:, :6], atol=1e-3)
    assert model(x).logits.shape == (4, 3)


def test_in_training_shape_is_that_of_the_windows_of_a_person():
    shape = network().train()(windows()).embedding[:, 6:]
    assert torch.equal(shape[0], shape[1])
    assert torch.equal(shape[2], shape[3])
    assert not torch.equal(shape[0], shape[2])
    assert not torch.equal(*network().eval()(windows()).embedding[:2, 6:])


def test_it_takes_an_odd_number_of_channels():
    assert network(5).eval()(torch.zeros(2, 5, 16, 12)).embedding.shape == (2, 12)


@pytest.fixture(scope="module")
def low(tmp_path_factory):
    """The highest lower end of its advantages, by subject."""
    root, work = planted(tmp_path_factory.mktemp("planted"), train=8, test=8), tmp_path_factory.mktemp("work")
    audit_settings = settings(root, linking=[1], attackers={"architectures": [TWO_STREAM]})
    subjects = (Subject("raw", Unchanged()), Subject("nothing", Nothing(), True))
    plan = AuditPlan(audit_settings, subjects, work, open_split(audit_settings.data, work, watch))
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    for job in jobs(plan):
        perform(job, workspace)
    found = {subject.name: collect(subject, plan, Results(work))["attacks"] for subject in subjects}
    return {
        name: max(one.low for attack in attacks if attack.way == "linked" for one in attack.advantages)
        for name, attacks in found.items()
    }


@pytest.mark.nightly
def test_it_finds_people_in_raw_windows_and_none_in_noise(low):
    assert low["raw"] > 0.2
    assert low["nothing"] < 0.1
