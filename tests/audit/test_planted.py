"""The audit detects planted leakage: of raw windows, pure noise, noise of several strengths, and a watermark.

Most tests share one small audit; it has six test people, so intervals are wide and thresholds high.
"""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from small_audits import Nothing, Watermark, audit, settings
from small_trainings import planted

from eventveil.audit.audit_log import AuditLog
from eventveil.audit.figures import Outcome
from eventveil.audit.report.report import AuditReport, write_report
from eventveil.errors import AuditError
from eventveil.models.reconstruction import FireNet
from eventveil.training.networks.baselines import Gaussian, Unchanged

pytestmark = pytest.mark.timeout(600)  # half a minute alone; far more next to trainings

ATTACKERS = {"architectures": ["plain"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"), train=8, test=6)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("audit"), []
    audit_settings = settings(root, attackers=ATTACKERS)
    report = audit(folder, audit_settings, ("nothing", Nothing()), ("watermark", Watermark()), say=lines.append)
    by_name = {subject.name: subject for subject in report.subjects}
    return SimpleNamespace(folder=folder, settings=audit_settings, report=report, by_name=by_name, lines=lines)


def of(subject, knowledge):
    return [attack for attack in subject.attacks if attack.knowledge == knowledge]


def lows(attacks):
    return [advantage.low for attack in attacks for advantage in attack.advantages]


def test_raw_windows_are_seen_through_and_kept_useful(run):
    raw = run.by_name["raw"]
    assert max(lows(raw.attacks)) > 0.3
    assert raw.utility.retrained.value > 0.9
    assert len(raw.utility.classes) == 3
    assert raw.verdict is None


def test_pure_noise_gives_chance_within_every_interval_and_nothing_useful(run):
    nothing = run.by_name["nothing"]
    for attack in nothing.attacks:
        for advantage in attack.advantages:
            assert advantage.low <= 0.02
            assert advantage.high >= 0
    assert nothing.utility.retrained.low < 1 / 3 + 0.05
    assert nothing.utility.as_it_is.low < 1 / 3 + 0.05
    # Six people are too few to distinguish such a small advantage from a large one, and the verdict says so.
    assert nothing.verdict.status == 2
    assert nothing.verdict.people_needed > 6


def test_a_hidden_watermark_is_found_by_an_informed_attacker_alone(run):
    marked = run.by_name["watermark"]
    assert max(lows(of(marked, "informed"))) > 0.5
    assert max(lows(of(marked, "ignorant"))) < run.settings.threshold
    assert marked.verdict.status == 1
    assert marked.verdict.strongest.attack.knowledge == "informed"


def test_progress_names_each_job_and_the_time_left(run):
    jobs = [text for text in run.lines if text.startswith("job ")]
    assert jobs[0] == "job 1 of 17: informed plain, seed 0, on raw"
    assert len(jobs) == 17
    assert all("min left" in text for text in jobs[1:])


def test_the_report_is_whole_and_names_nobody(run, root, tmp_path):
    write_report(tmp_path, run.report)
    text = (tmp_path / "report.json").read_text()
    assert AuditReport.model_validate_json(text) == run.report
    people = [f"user{number:02}" for number in range(1, 15)]
    assert not [name for name in people if name in text]
    assert run.report.settings["data"]["root"] == root.name
    assert str(root.parent) not in text  # a folder may be named after a person
    assert json.loads(text)["data"]["people"] == {"train": 6, "val": 2, "test": 6}
    schema = json.loads((tmp_path / "report.schema.json").read_text())
    assert set(json.loads(text)) == set(schema["properties"])


def test_an_audit_resumes_with_the_same_settings_and_key_alone(run, root, tmp_path):
    subjects = (("nothing", Nothing()), ("watermark", Watermark()))
    with pytest.raises(AuditError, match="continue it with --resume"):
        audit(run.folder, run.settings, *subjects)
    with pytest.raises(AuditError, match="with other settings"):
        audit(run.folder, settings(root, attackers=ATTACKERS, seed=1), *subjects, resume=True)
    lines = []
    again = audit(run.folder, run.settings, *subjects, resume=True, say=lines.append)
    assert lines == ["17 of 17 jobs were done earlier"]  # nothing is trained or tested twice
    assert again.subjects == run.report.subjects
    assert again.made.seconds >= run.report.made.seconds > 1  # of both runs
    for changed in ({"threshold": 0.999}, {"precision": 0.9}, {"people_linked": 1.0}, {"evidence": False}):
        with pytest.raises(AuditError, match="what decides is fixed before data are seen"):
            audit(run.folder, settings(root, attackers=ATTACKERS, **changed), *subjects, resume=True)
    with pytest.raises(AuditError, match="was begun with another key"):
        audit(run.folder, run.settings, *subjects, resume=True, key=tmp_path / "other.pem")


def test_a_second_audit_with_the_same_key_is_counted_and_remembers_the_first(run, tmp_path):
    """The results of the first audit lie in the second folder, so nothing is trained again."""
    shutil.copytree(run.folder, tmp_path / "again")
    (tmp_path / "again" / "work" / "audit.json").unlink()
    key = tmp_path / "again" / "key.pem"
    AuditLog(key).end("another", {"nothing": Outcome(low=0.5, linked=0.0, predicted=False)})
    report = audit(tmp_path / "again", run.settings, ("nothing", Nothing()), ("watermark", Watermark()), key=key)
    assert (run.report.look, report.look) == (1, 2)
    _, nothing, watermark = report.subjects
    assert nothing.verdict.status == 1
    assert "an earlier audit of these weights showed an attack" in nothing.verdict.text
    assert [one.low > 0.5 for one in AuditLog(key).earlier("nobody", "watermark")] == [True, True]
    assert watermark.verdict.text.startswith("Fail: an attacker gained")


@pytest.mark.nightly
def test_unchanged_windows_are_identified_by_every_attacker(root, tmp_path):
    torch.manual_seed(1)
    torch.save(FireNet().state_dict(), tmp_path / "firenet.pth")
    audit_settings = settings(
        root, attackers={"architectures": ["resnet18", "plain"]}, linking=[1],
        inversion={"architectures": ["plain"], "width": 16, "layers": 2, "epochs": 10, "lr": 0.01},
        reconstruction={"weights": str(tmp_path / "firenet.pth"), "architectures": ["plain"]}, guesses=1,
    )  # fmt: skip
    identity = audit(tmp_path / "audit", audit_settings, ("identity", Unchanged())).subjects[1]
    assert identity.verdict.status == 1
    attackers = {(attack.knowledge, attack.architecture) for attack in identity.attacks}
    assert {knowledge for knowledge, _ in attackers} == {
        "ignorant", "informed", "denoising", "inverting", "reconstructing", "untrained", "messages",
    }  # fmt: skip
    # Counts hide nothing in their bits, and what is sent beside the windows is the same for everybody.
    telling = {one for one in attackers if one != ("untrained", "bits") and one[0] != "messages"}
    for knowledge, architecture in telling:
        attacks = [attack for attack in of(identity, knowledge) if attack.architecture == architecture]
        assert max(lows(attacks)) > audit_settings.threshold, (knowledge, architecture)
    assert identity.likeness.ssim.value > 0.99
    assert not identity.replay.noise


@pytest.mark.nightly
def test_stronger_noise_hides_more_and_averaging_removes_it(root, tmp_path):
    audit_settings = settings(root, attackers=ATTACKERS, averaging=64)
    report = audit(tmp_path, audit_settings, ("weak", Gaussian(0.5)), ("strong", Gaussian(8.0)))
    weak, strong = report.subjects[1:]

    def advantage(attacks):
        one_window = [attack for attack in attacks if attack.way == "linked" and attack.windows == 1]
        (one,) = [attack for attack in one_window if attack.architecture == "plain"]
        return one.advantages[0].value

    assert advantage(of(weak, "informed")) > advantage(of(strong, "informed")) + 0.2
    # With the publishing rule an attacker gets each event once; without it, the mean of many anonymizations.
    averages = [attack for attack in strong.averaging if attack.knowledge == "averaging"]
    assert advantage(averages) > advantage(of(strong, "informed")) + 0.2
    assert {attack.knowledge for attack in strong.averaging} == {"averaging", "overlapping"}
    assert not of(strong, "averaging")
