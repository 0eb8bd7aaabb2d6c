"""Jobs of an audit: their order, several processes, and the same figures after workers are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import yaml
from rich.console import Console
from small_audits import audit, left_behind, settings, values
from small_trainings import planted
from typer.testing import CliRunner

from eventveil.audit.execution import executors
from eventveil.audit.execution.progress import AuditProgress, Eta
from eventveil.audit.execution.scheduler import TRIES, Ended, Lost, Moved, Results, RetryLog, run_jobs
from eventveil.audit.report.report import AuditReport
from eventveil.cli import app
from eventveil.errors import AuditError, TrainingError
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.weights import load_weights, save_weights
from eventveil.training.engine.loop import Interrupted
from eventveil.training.whole_file import write_json

FEW = {"architectures": ["plain"], "epochs": 12}
SMALL = {"attackers": FEW, "window": {"per_trial": 4, "size": [8, 8]}, "linking": [1], "run": {"validate_every": 4}}
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Thing:
    """A job that does nothing."""

    name: str
    after: tuple[str, ...] = ()

    @property
    def title(self):
        return f"the job {self.name}"


class FakeExecutor:
    """An executor that does every job at once; jobs in `losses` are lost this many times first."""

    machine = "a test"

    def __init__(self, work, slots, losses=()):
        self.slots, self.begun, self.under_way = slots, [], []
        self._results, self._losses = Results(work), dict(losses)

    def begin(self, job):
        self.begun.append(job.name)
        self.under_way.append(job)
        assert len(self.under_way) <= self.slots
        assert all(self._results.has(name) for name in job.after)

    def poll(self):
        job = self.under_way.pop()
        if self._losses.get(job.name, 0):
            self._losses[job.name] -= 1
            return [Moved(job.name, 0.5), Lost(job.name, "it vanished")]
        write_json(self._results.path(job.name), {"found": job.name})
        return [Moved(job.name, 0.5), Ended(job.name)]


def progress(lines):
    return AuditProgress(Console(quiet=True), lines.append)


def test_a_job_waits_for_those_it_needs_and_is_not_done_twice(tmp_path):
    jobs = [Thing("late", ("early", "done")), Thing("early"), Thing("done"), Thing("last", ("late",))]
    write_json(Results(tmp_path).path("done"), {})
    executor = FakeExecutor(tmp_path, 2)
    run_jobs(jobs, executor, progress([]), tmp_path)
    assert executor.begun == ["early", "late", "last"]


def test_a_lost_job_is_begun_again_and_noted_for_good(tmp_path):
    lines = []
    executor = FakeExecutor(tmp_path, 2, {"a": TRIES - 1})
    run_jobs([Thing("a"), Thing("b")], executor, progress(lines), tmp_path)
    assert sorted(executor.begun) == ["a"] * TRIES + ["b"]
    assert Results(tmp_path).has("a")
    assert RetryLog(tmp_path).reasons == {"the job a": ["it vanished"] * (TRIES - 1)}
    assert "lost: the job a (it vanished)" in lines


def test_a_job_that_is_lost_too_often_ends_the_audit(tmp_path):
    executor = FakeExecutor(tmp_path, 1, {"a": TRIES})
    with pytest.raises(AuditError, match=r"the job a: its worker was lost 3 times \(it vanished\).*fewer --jobs"):
        run_jobs([Thing("a"), Thing("b")], executor, progress([]), tmp_path)


def test_the_time_left_is_that_of_all_jobs_and_leaves_out_what_was_done_earlier():
    now = [100.0]
    eta = Eta(lambda: now[0])
    eta.plan(jobs=5, done=1)
    assert eta.left_s is None
    eta.moved("a", 0.5)  # in a resumed audit
    eta.moved("b", 0.0)
    assert eta.left_s is None
    now[0] = 110.0
    eta.moved("a", 0.75)
    eta.moved("b", 0.25)  # half a job in ten seconds
    assert eta.left_s == pytest.approx(3.0 / 0.05)  # 4 to do, 1 of them done
    eta.moved("b", 0.0)  # begun again: no time is gained by it
    assert eta.left_s == pytest.approx(3.0 / 0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed audit, in one process."""
    folder = tmp_path_factory.mktemp("whole")
    root = planted(folder / "planted", train=5, test=3)
    audit_settings = settings(root, **SMALL)
    model = initialise("anonynoise", {"channels": 4, "noise_std": 0.1}, seed=0)
    window = {"bins": 2, "bin_us": 60_000, "hop": 2, "size": (8, 8)}
    save_weights(folder / "noisy.safetensors", model, Metadata.of(model, role="anonymizer", trained=False, **window))
    report = audit(folder / "out", audit_settings, noisy(folder))
    return SimpleNamespace(folder=folder, root=root, settings=audit_settings, report=report)


def noisy(folder):
    # In the memory format of the command: the order of sums changes their last digits.
    model = load_weights(folder / "noisy.safetensors").model
    return "noisy", model.to(memory_format=torch.channels_last)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_several_processes_find_the_same_and_a_killed_one_is_replaced_and_named(whole, tmp_path, monkeypatch):
    victim, killed = "noisy/identity-plain-0", []

    def kill():
        deadline = time.monotonic() + PATIENCE_S
        while not killed and time.monotonic() < deadline:
            for worker in [worker for executor in started for worker in executor._workers if worker is not None]:
                begun = list((tmp_path / "work" / "attackers").glob("noisy/identity-plain-0/last.pt"))
                if begun and worker.job is not None and worker.job.name == victim:
                    os.kill(worker.process.pid, signal.SIGKILL)
                    killed.append(worker.process.pid)
                    return
            time.sleep(0.005)

    started = []
    enter = executors.ProcessExecutor.__enter__
    monkeypatch.setattr(executors.ProcessExecutor, "__enter__", lambda self: (started.append(self), enter(self))[1])
    hunter = threading.Thread(target=kill)
    hunter.start()
    report = audit(tmp_path, whole.settings, noisy(whole.folder), jobs=2)
    hunter.join()
    assert killed
    assert report.subjects == whole.report.subjects
    ((job, reasons),) = [(one.job, one.reasons) for one in report.repeated]
    assert job == "informed plain, seed 0, on noisy"
    assert reasons == ("its process was killed by SIGKILL",)
    assert report.made.machine.endswith("cpu, 2 processes of 1 threads")


def test_an_error_of_ours_comes_back_as_one_and_a_defect_with_its_traceback():
    def workspace(error):
        raise error

    failed = executors.attempt(Thing("a"), lambda: workspace(TrainingError("the disk is full")))
    assert str(executors.to_exception(failed)) == "the job a: the disk is full"
    assert isinstance(executors.to_exception(failed), AuditError)
    failed = executors.attempt(Thing("a"), lambda: workspace(ZeroDivisionError("oh")))
    assert isinstance(executors.to_exception(failed), RuntimeError)
    assert "Traceback" in str(executors.to_exception(failed))
    with pytest.raises(Interrupted):
        executors.attempt(Thing("a"), lambda: workspace(Interrupted()))


def until(condition, process):
    """Wait until a process has done something."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_ctrl_c_and_kill_in_the_middle_lose_nothing(whole, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values(whole.root, **SMALL)))
    weights, out = str(whole.folder / "noisy.safetensors"), tmp_path / "out"
    command = ["audit", "--weights", weights, "--config", str(tmp_path / "mine.yaml"), "--json", "--out", str(out)]

    def begin(*more):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        program = [sys.executable, "-m", "eventveil.cli", *command, "--jobs", "2", *more]
        return subprocess.Popen(program, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True, **pipes)

    def checkpoints():
        return {path: path.stat().st_mtime_ns for path in out.glob("work/attackers/*/*/last.pt")}

    first = begin()
    until(checkpoints, first)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: all processes get it
    _, stderr = first.communicate()
    assert first.returncode == 130, stderr
    assert "holds all results so far" in stderr
    assert "Traceback" not in stderr
    assert not left_behind(first.pid, PATIENCE_S)

    before = checkpoints()
    second = begin("--resume")
    until(lambda: checkpoints() != before, second)
    second.kill()
    second.communicate()
    assert not left_behind(second.pid, PATIENCE_S)
    assert not (out / "report.json").exists()

    outcome = CliRunner().invoke(app, [*command, "--resume"])
    assert outcome.exit_code == whole.report.status
    report = AuditReport.model_validate(json.loads(outcome.stdout)["report"])
    assert [one.attacks for one in report.subjects] == [one.attacks for one in whole.report.subjects]
    assert [one.utility for one in report.subjects] == [one.utility for one in whole.report.subjects]
