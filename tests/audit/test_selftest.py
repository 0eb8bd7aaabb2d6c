"""The audit's test of itself: it says which planted leaks its attackers find; to miss one is inconclusive."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from audit_reports import attack
from small_audits import Nothing, audit, settings
from small_trainings import planted

from eventveil.audit.attacks import selftest
from eventveil.audit.attacks.selftest import LeakSearch, jobs, leak_found, planted_subjects, searches_for
from eventveil.audit.figures import PersonLinked
from eventveil.audit.planted import BITS, LEAKS, NO_LEAK, PLANTED, Moment, Planted, PlantedClassifier, PlantedPipeline
from eventveil.audit.report.verdict import decide
from eventveil.audit.workspace.workspace import AuditPlan
from eventveil.models.noise import SeededNoise

AT = {"session": "led", "target": 1, "first": 40, "position": 3, "chosen": "b", "changed": False}
BY_NAME = {leak.name: leak for leak in LEAKS}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """An audit that plants one leak that is easy to find, and one that is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest, "LEAKS", (BY_NAME["an id in the last bits of every value"], NO_LEAK))
        root = planted(tmp_path_factory.mktemp("planted"), train=8, test=8)
        few = {"architectures": ["plain"], "epochs": 1}
        audit_settings = settings(root, linking=[1], sequences=[600], attackers=few, selftest=True)
        return audit(tmp_path_factory.mktemp("audit"), audit_settings, ("nothing", Nothing()))


def test_it_says_which_leaks_were_found(report):
    found = {leak.name: leak.found for leak in report.selftest}
    assert found == {"an id in the last bits of every value": True, "nothing": False}
    assert report.selftest[0].surest.advantage.low > 0.3


def test_planted_leaks_are_not_subjects_of_the_report(report):
    assert [subject.name for subject in report.subjects] == ["raw", "nothing"]


def verdict(**changes):
    attacks, raw = (attack(0.02), attack(0.02)), (attack(0.8),)
    return decide(attacks, raw, threshold=0.1, precision=0.05, **changes)


def test_an_audit_that_misses_a_leak_is_inconclusive_and_says_which():
    assert verdict().status == 0
    missed = verdict(missed=("the spread of one pixel",))
    assert missed.status == 2
    assert "the spread of one pixel" in missed.text
    # What attackers do find counts, whatever they miss.
    assert decide((attack(0.8),), (attack(0.8),), threshold=0.1, precision=0.05, missed=("x",)).status == 1


def found(*attacks, most=2):
    return leak_found("x", attacks, 0.1, most).found


def test_a_leak_is_found_if_an_audit_would_fail_for_it():
    assert found(attack(0.2))
    assert not found(attack(0.12))  # its interval begins below the threshold
    one = PersonLinked(person=3, hits=9, queries=9, chance=0.05, luck=1e-9)
    assert found(attack(0.0).model_copy(update={"linked_people": (one,)}))


def test_luck_is_corrected_for_attackers_who_did_not_have_to_try():
    lucky = attack(0.0).model_copy(
        update={"people": 10, "linked_people": (PersonLinked(person=3, hits=4, queries=4, chance=0.1, luck=1e-4),)}
    )
    assert found(lucky, most=49)
    assert not found(lucky, most=51)


def test_every_leak_is_attacked_by_all_who_could_see_it(tmp_path):
    audit_settings = settings(
        tmp_path, conditions={"names": ["moved"]}, attackers={"architectures": ["plain", "pooled"]}
    )
    kinds = {
        subject.name.removeprefix(PLANTED): [type(job).__name__ for job in searches_for(subject.name, audit_settings)]
        for subject in planted_subjects(audit_settings)
    }
    usual = ["StatisticsAttack", "NearestAttack", "NearestAttack", "IdentityAttack", "IdentityAttack"]
    special = {"recordings under a condition": ["ConditionAttack"]}
    special |= {name: ["GestureAttack", "MessagesAttack"] for name in ("published gestures", "scores of one gesture")}
    special |= {name: ["MessagesAttack"] for name in ("a number in headers", "the length of headers", "arrival times")}
    assert kinds == {leak.name: special.get(leak.name, usual) for leak in LEAKS}
    without = settings(tmp_path, conditions={"names": []})
    plan = AuditPlan(without, (), tmp_path, None, planted_subjects(without))
    assert {job.subject for job in jobs(plan)} == {
        PLANTED + leak.name for leak in LEAKS if leak.name != "recordings under a condition"
    }


class Search:
    """An attack with a given result, and a note that it was tried."""

    def __init__(self, tried, name, advantage):
        self.tried, self.name, self.advantage = tried, name, advantage

    def run(self, _workspace):
        self.tried.append(self.name)
        return {"attacks": [attack(self.advantage).model_dump(mode="json")]}


@pytest.mark.parametrize(("advantages", "tried"), [((0.0, 0.5, 0.5), "ab"), ((0.0, 0.0, 0.0), "abc")])
def test_a_search_ends_with_the_first_attack_that_finds_the_leak(tmp_path, monkeypatch, advantages, tried):
    names = []
    searches = [Search(names, name, advantage) for name, advantage in zip("abc", advantages, strict=True)]
    monkeypatch.setattr(selftest, "searches_for", lambda _subject, _settings: searches)
    workspace = SimpleNamespace(settings=settings(tmp_path), protocols=[1], sequences=[2, 3])
    result = LeakSearch("x").run(workspace)
    assert "".join(names) == tried
    assert (len(result["attacks"]), result["most"]) == (len(tried), 9)


def bits(leak, person="a", **changes):
    return BY_NAME[leak].bits(Moment(person, **(AT | changes)))


def test_leaks_let_out_what_they_say():
    someone = bits("an id in the pixels")
    assert set(someone) <= {0, 1}
    assert np.array_equal(someone, bits("an id in the pixels", session="natural", first=7, target=2))
    assert not np.array_equal(someone, bits("an id in the pixels", "b"))
    assert set(bits("one test person")) == {0.5}
    assert np.array_equal(bits("one test person", chosen="a"), someone)
    assert set(bits("one gesture")) == {0.5}
    assert np.array_equal(bits("one gesture", target=0), someone)
    assert set(bits("recordings under a condition")) == {0.5}
    assert np.array_equal(bits("recordings under a condition", changed=True), someone)
    shown = [set(bits("a tenth of the windows", first=first)) != {0.5} for first in range(1000)]
    assert 60 < sum(shown) < 140  # 100 are expected, with a standard deviation of 9.5
    pairs = [bits("pairs of windows", position=position) for position in range(4)]
    assert np.array_equal(np.abs(pairs[1] - pairs[0]), 1 - someone)
    assert np.array_equal(pairs[2], pairs[0])


def shown(leak, bit, windows=400):
    carrier = torch.zeros(windows, 2, 4, 8)
    carrier.flatten(1)[:, :BITS] = torch.as_tensor(bit, dtype=torch.float32)
    return Planted(leak).anonymize(carrier, SeededNoise(0))


def test_planted_windows_are_noise_with_the_leak_in_it():
    """Means of 800 values have a standard error of 0.035; five of them are 0.18."""
    bit = np.array([1, 0] * 5)
    pixels = shown("an id in the pixels", bit).flatten(2).mean((0, 1))
    assert pixels.tolist() == pytest.approx([2, -2] * 5 + [0] * 22, abs=0.18)
    integers = shown("an id in the last bits of every value", bit).contiguous().view(torch.int32)
    assert (integers & 1023).unique().tolist() == [sum(1 << k for k in range(0, 10, 2))]
    spread = shown("the spread of one pixel", np.ones(BITS)).flatten(2).std((0, 1))
    assert spread.tolist() == pytest.approx([10] + [1] * 31, rel=0.2)
    sides = shown("the side of the picture", np.ones(BITS)).mean((0, 1, 2))
    assert sides.tolist() == pytest.approx([0] * 7 + [2], abs=0.1)
    assert shown("nothing", np.full(BITS, 0.5)).mean() == pytest.approx(0, abs=0.03)


def test_the_planted_classifier_tells_the_id_by_label_and_certainty():
    windows = shown("an id in the pixels", np.array([1, 0, 1, 1, 1, 1, 0, 0, 0, 0]), windows=50)
    share = PlantedClassifier()(windows.mean(0, keepdim=True)).logits.exp()
    assert share.sum().item() == pytest.approx(1)
    assert share.argmax().item() == 2
    assert share.max().item() == pytest.approx(0.9)
    certain = PlantedClassifier(1)(windows.mean(0, keepdim=True)).logits.exp()
    assert (certain.argmax().item(), certain.max().item()) == (0, pytest.approx(0.9))


def test_a_planted_pipeline_tells_the_id_in_one_place_each():
    carrier = np.zeros((2, 4, 8), np.float32)
    carrier.reshape(-1)[:BITS] = [1, 0, 1] + [0] * 7
    leaks = ("a number in headers", "the length of headers", "arrival times", "nothing")
    said = [
        (pipeline.incidents(carrier), len(pipeline.header(b"{}", carrier)), pipeline.delay_ns(carrier))
        for pipeline in map(PlantedPipeline, leaks)
    ]
    assert said == [({"overflow": 5}, 2, 0), ({}, 7, 0), ({}, 2, 100_000), ({}, 2, 0)]
