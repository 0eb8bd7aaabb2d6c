"""The attack on published gestures: it finds what a label or a published probability tells of a person, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_audits import settings
from small_trainings import Silent, planted, watch
from torch import nn
from weights_helpers import anonymizer, classifier

from eventveil.audit.attacks.gestures import collect, embed_gestures, jobs
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.figures import Attack
from eventveil.audit.subjects import GestureClassifier, Subject, read_weights, subjects_of
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError, WeightsError
from eventveil.models import save_weights
from eventveil.models.resnet import Classified
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.baselines import Unchanged

LABELS = 6


class Planted(nn.Module):
    """Reads the person's pattern in the lower half of a window, and gives it away by its label or its probability.

    Otherwise its label depends on the gesture alone, the row of the upper half that has most events.
    """

    def __init__(self, *, by_label=False, by_probability=0.0):
        super().__init__()
        self._by_label, self._by_probability = by_label, by_probability
        self._projection = torch.randn(8 * 16, LABELS, generator=torch.Generator().manual_seed(0))

    def forward(self, x_BCHW):
        lower = x_BCHW.sum(1)[:, 8:].flatten(1)
        person = (lower / lower.norm(dim=1, keepdim=True).clamp(min=1)) @ self._projection
        gesture = x_BCHW.sum((1, 3))[:, :6].unflatten(1, (3, 2)).sum(2).argmax(1)
        label = person.argmax(1) if self._by_label else gesture
        best = 0.7 + self._by_probability * person[:, 0].tanh()
        share = ((1 - best) / (LABELS - 1))[:, None].repeat(1, LABELS)
        share[torch.arange(len(share)), label] = best
        return Classified(person, share.log())


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = planted(tmp_path_factory.mktemp("planted"), train=4, test=16)
    work = tmp_path_factory.mktemp("work")
    networks = {
        "label": Planted(by_label=True),
        "probability": Planted(by_probability=0.2),
        "gesture": Planted(by_probability=0.0004),  # the person is in the scores, and rounded away
    }
    subjects = [Subject("raw", Unchanged())]
    for name, network in networks.items():
        subjects.append(Subject(name, Unchanged(), True, classifier=GestureClassifier(network, name)))
    audit_settings = settings(root, linking=[1])
    return AuditPlan(audit_settings, tuple(subjects), work, open_split(audit_settings.data, work, watch))


@pytest.fixture(scope="module")
def attacks(plan):
    """The attacks on each subject, as the auditor collects them."""
    workspace = AuditWorkspace(plan, ProcessGroup(), Silent())
    for job in jobs(plan):
        perform(job, workspace)
    return {subject.name: collect(subject, plan, Results(plan.work)).get("attacks", ()) for subject in plan.subjects}


def advantages(attacks):
    return [advantage for attack in attacks if attack.way == "linked" for advantage in attack.advantages]


def test_only_subjects_with_a_classifier_are_attacked(plan, attacks):
    names = ("label", "probability", "gesture")
    assert [job.name for job in jobs(plan)] == [f"{name}/gestures" for name in names]
    assert attacks["raw"] == ()
    for attack in attacks["label"]:
        assert isinstance(attack, Attack)
        assert (attack.knowledge, attack.architecture, attack.people) == ("gestures", "kernel", 16)


@pytest.mark.parametrize("name", ["label", "probability"])
def test_a_classifier_whose_published_gestures_depend_on_the_person_is_caught(attacks, name):
    assert max(advantage.low for advantage in advantages(attacks[name])) > 0.3


def test_a_classifier_whose_published_gestures_do_not_is_at_chance(attacks):
    for advantage in advantages(attacks["gesture"]):
        assert advantage.low <= 0
        assert advantage.value < 0.1


def test_an_embedding_is_a_bump_at_the_rank_among_windows_of_its_label():
    random = np.random.default_rng(0)
    label, probability = random.integers(0, 3, 60), random.integers(0, 6, 60) / 10
    embedding = embed_gestures(label, probability, 4).reshape(60, 4, 21)
    for row in range(60):
        same = probability[label == label[row]]
        rank = sum(0.5 * (other < probability[row]) + 0.5 * (other <= probability[row]) for other in same) / len(same)
        np.testing.assert_allclose(
            embedding[row, label[row]], np.exp(-(((np.linspace(0, 1, 21) - rank) / 0.1) ** 2) / 2), rtol=1e-5
        )
        assert embedding[row].sum() == pytest.approx(embedding[row, label[row]].sum())


@pytest.fixture
def files(tmp_path):
    for name, parts in {"hiding": anonymizer(), "other": anonymizer(), "naming": classifier()}.items():
        save_weights(tmp_path / f"{name}.safetensors", *parts)
    save_weights(tmp_path / "wide.safetensors", *classifier(size=(17, 12)))
    return lambda *names: [tmp_path / f"{name}.safetensors" for name in names]


def test_the_classifier_of_the_weights_belongs_to_every_audited_anonymizer(files, tmp_path):
    weights, found = read_weights(files("hiding", "naming", "other"))
    assert (list(weights), found.metadata.role) == (["hiding", "other"], "target")
    subjects = subjects_of(weights, found, settings(tmp_path))
    assert [(subject.name, subject.classifier and subject.classifier.digest) for subject in subjects] == [
        ("raw", None), ("hiding", found.digest), ("other", found.digest),
    ]  # fmt: skip
    assert read_weights(files("hiding"))[1] is None


def test_what_cannot_be_attacked_together_is_refused(files):
    with pytest.raises(AuditError, match="got only a classifier"):
        read_weights(files("naming"))
    with pytest.raises(AuditError, match="a second classifier"):
        read_weights(files("hiding", "naming", "wide"))
    with pytest.raises(WeightsError, match="the classifier has"):
        read_weights(files("hiding", "wide"))
