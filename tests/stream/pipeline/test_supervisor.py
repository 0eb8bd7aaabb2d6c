"""Supervision: how failures of a stage are found, how long a silent stage may live, and how often it is restarted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pipeline_helpers import raw_message, stage_counters

from eventveil.cli.run_output import Ticker
from eventveil.stream.pipeline import supervisor
from eventveil.stream.pipeline.status import MAX_INCIDENTS, Status
from eventveil.stream.pipeline.supervisor import START_S, Incident, StageSupervisor

HANG_S = 2.0


class Member:
    """A stand-in for a process."""

    def __init__(self, made):
        self.exitcode = None
        made.append(self)

    def start(self):
        pass

    def is_alive(self):
        return self.exitcode is None

    def kill(self):
        self.exitcode = -9

    def join(self, seconds):
        pass


@pytest.fixture
def now(monkeypatch):
    """The time in seconds, for the supervisor and the counters."""
    at = SimpleNamespace(s=1000.0)
    clock = SimpleNamespace(monotonic=lambda: at.s, monotonic_ns=lambda: round(at.s * 1e9))
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr("eventveil.stream.runtime.accounting.time", clock)
    return at


@pytest.fixture
def made():
    return []


@pytest.fixture
def supervised(now, made):
    stage = StageSupervisor(stage_counters(), lambda limit_s: Member(made), restarts=2, hang_s=HANG_S)
    stage.start()
    return stage


def at_work(supervised):
    """Make the stage ready, with one window sent."""
    supervised.mark_ready()
    supervised.counters["0"].arrived(raw_message(0))
    supervised.counters["0"].sent += 1
    supervised.counters.pulse()


@pytest.mark.parametrize(
    ("code", "message"),
    [(-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV"), (-40, "killed by signal 40"), (3, "exit status 3")],
)
def test_a_process_that_is_gone_is_reported_with_what_ended_it(supervised, made, code, message):
    assert supervised.failure() is None
    made[0].exitcode = code
    assert supervised.failure() == f"the stage {'was' if code < 0 else 'ended with'} {message}"


def test_a_stage_at_work_that_gives_no_sign_of_life_hangs(supervised, now):
    at_work(supervised)
    now.s += HANG_S - 0.1
    assert supervised.failure() is None
    now.s += 0.2
    assert supervised.failure() == "gave no sign of life for 2.1 s"
    supervised.counters.pulse()
    assert supervised.failure() is None


def test_a_stage_that_has_handed_nothing_on_may_load_and_compile(supervised, now):
    now.s += START_S - 1
    assert supervised.failure() is None
    supervised.mark_ready()
    assert supervised.failure() is None
    now.s += 2
    assert supervised.failure() is not None


def test_a_stage_that_needs_long_for_a_batch_is_given_ten_times_that(supervised, now):
    at_work(supervised)
    supervised.counters.work_ns = 1_500_000_000
    now.s += 14
    assert supervised.failure() is None
    now.s += 2
    assert supervised.failure() is not None


def test_threads_do_not_hang(now, made):
    stage = StageSupervisor(stage_counters(), lambda limit_s: Member(made), restarts=0, hang_s=None)
    stage.start()
    at_work(stage)
    now.s += 1e6
    assert stage.failure() is None
    assert not stage.may_restart()


def test_a_restart_counts_what_was_in_flight_and_how_long_it_took(supervised, now, made):
    at_work(supervised)
    supervised.counters["0"].arrived(raw_message(1))
    incident = supervised.restart("why", 12.3456)
    assert (made[0].exitcode, len(made), supervised.counters.life) == (
        -9,
        2,
        3,
    )  # the counters began with a life
    assert supervised.counters.dropped() == {"crash": 1}
    assert (incident.stage, incident.reason, incident.at_s, incident.back_s) == ("anonymize", "why", 12.346, None)
    now.s += 0.75
    supervised.mark_ready()
    assert incident.back_s == 0.75


def test_restarts_within_a_minute_are_limited(supervised, now):
    allowed = []
    for _ in range(4):
        allowed.append(supervised.may_restart())
        if allowed[-1]:
            supervised.restart("why", 0)
        now.s += 15
    assert allowed == [True, True, False, False]
    now.s += 1  # 61 s after the first one, 46 s after the second
    assert supervised.may_restart()
    supervised.restart("why", 0)
    assert not supervised.may_restart()


def test_the_last_incidents_are_kept_and_each_is_reported_once(capsys):
    status, ticker = Status(), Ticker()
    ticker(status)
    for number in range(MAX_INCIDENTS + 3):
        status.note(Incident("anonymize", f"reason {number};", at_s=number))
        ticker(status)
        ticker(status)
    reasons = [line.split()[3] for line in capsys.readouterr().err.splitlines() if "restarted" in line]
    assert reasons == [f"{number};;" for number in range(MAX_INCIDENTS + 3)]
    assert [incident.at_s for incident in status.incidents] == list(range(3, MAX_INCIDENTS + 3))
