"""What is sent besides windows: a pipeline as built reveals nothing there, and planted leaks in it are found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_audits import settings
from small_trainings import Silent, planted, watch

from eventveil.audit.attacks import messages
from eventveil.audit.attacks.messages import FeatureTable, features_of
from eventveil.audit.execution.scheduler import Results, perform
from eventveil.audit.messages import Published, SimulatedPipeline, send
from eventveil.audit.planted import IN_MESSAGES, LEAKS, NO_LEAK, PLANTED, planted_subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.stream.publisher.contents import Provenance
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup

ABOUT = Provenance(
    anonymizer="0" * 64, trained=True, classifier="1" * 64, classifier_trained=True, labels=("wave", "clap")
)
STEP_US = 100_000


def session(*counts, sure=0.9):
    values = np.zeros((2, 4, 4), np.float32)
    scores = np.array([sure, 1 - sure], np.float32)
    return [Published(np.full((2, 4, 4), count, np.float32), values, scores) for count in counts]


def table_of(*sessions, pipeline=None):
    table = FeatureTable()
    for windows in sessions:
        sent = send(pipeline or SimulatedPipeline(), windows, ABOUT, window_us=STEP_US)
        for at, (one, last) in enumerate(zip(sent, [(), *sent[:-1]], strict=True)):
            table.add(features_of(one, last, at, STEP_US))
    return table.columns()


def test_features_that_are_found_late_are_missing_before_and_those_that_never_vary_are_left_out():
    table = FeatureTable()
    for row in ({}, {"b": 2.0, "always": 1.0}, {"a": 3.0, "always": 1.0}, {"b": 5.0, "always": 1.0}):
        table.add(row)
    assert table.columns().tolist() == [[0, 0, 0], [0, 1, 2], [3, 1, 0], [0, 1, 5]]
    same = FeatureTable()
    for _ in range(3):
        same.add({"always": 1.0})
    assert same.columns().tolist() == [[0], [0], [0]]


def test_the_messages_of_a_pipeline_do_not_depend_on_what_moved():
    assert not table_of(session(0, 9, 0, 400), session(3, 0, 0, 1)).any()


def test_the_published_score_is_a_feature_and_all_windows_of_a_session_leave_in_turn():
    table = table_of(session(0, 9), session(0, 9, sure=0.8))
    assert len(table) == 4
    assert np.array_equal(table[:2], table[:2][[1, 0]])
    assert (table[0] != table[2]).all()
    sent = send(SimulatedPipeline(), session(0, 9, 0), ABOUT, window_us=STEP_US)
    assert [json.loads(message.header)["seq"] for window in sent for message in window] == [0, 0, 1, 1, 2, 2]
    # 250 ms after its end, whether it was complete 1 or 200 ms after it.
    assert [window[0].at_ns for window in sent] == [350_000_000, 450_000_000, 550_000_000]


class Late(SimulatedPipeline):
    """Sends what moved later by a microsecond."""

    def delay_ns(self, raw):
        return 1000 * bool(raw.any())


class Numbered(SimulatedPipeline):
    """Counts what moved among the incidents."""

    def incidents(self, raw):
        return {"clock": int(raw.sum())}


class Padded(SimulatedPipeline):
    """Adds a byte to headers of what moved."""

    def header(self, header, raw):
        return header + b" " * bool(raw.any())


@pytest.mark.parametrize("pipeline", [Late(), Numbered(), Padded()])
def test_a_pipeline_that_tells_what_moved_has_features(pipeline):
    assert table_of(session(0, 9), session(0, 0), pipeline=pipeline).any()


@pytest.fixture(scope="module")
def lows(tmp_path_factory):
    """The lower end of the highest linked advantage, by leak, and how certainly anybody is linked."""
    root, work = planted(tmp_path_factory.mktemp("planted"), train=6, test=6), tmp_path_factory.mktemp("work")
    audit_settings = settings(root, linking=[1], sequences=[], window={"bins": 4, "bin_us": 50_000})
    leaks = [leak for leak in (*LEAKS, NO_LEAK) if leak.name in (*IN_MESSAGES, NO_LEAK.name)]
    subjects = tuple(planted_subject(leak) for leak in leaks)
    plan = AuditPlan(audit_settings, (), work, open_split(audit_settings.data, work, watch), subjects)
    workspace, found = AuditWorkspace(plan, ProcessGroup(), Silent()), {}
    for subject in subjects:
        job = messages.MessagesAttack(subject.name)
        perform(job, workspace)
        attacks = messages.read_attacks(Results(work).of(job.name)["attacks"])
        found[subject.name.removeprefix(PLANTED)] = max(
            advantage.low for attack in attacks for advantage in attack.advantages
        )
    return found


@pytest.mark.parametrize("leak", IN_MESSAGES)
def test_an_id_in_headers_lengths_or_times_is_found(lows, leak):
    assert lows[leak] > 0.2


def test_a_pipeline_without_a_leak_tells_nobody_apart(lows):
    assert lows[NO_LEAK.name] <= 0


def test_only_what_a_pipeline_publishes_is_attacked(tmp_path):
    audit_settings = settings(tmp_path)
    subject = planted_subject(NO_LEAK)
    plan = AuditPlan(audit_settings, (subject,), tmp_path, None)
    assert not messages.jobs(plan)
    assert messages.collect(subject, plan, Results(tmp_path)) == {}
