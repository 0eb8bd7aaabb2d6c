"""An audit as a list of jobs: each trains and tests an attacker or a classifier, and writes its results to a file.

OUT/work/results/NAME.json   results of the job of this name; a job whose file exists is done

A job is a small frozen dataclass that can be pickled: it names subjects and architectures and holds no network, so that
this process, another one, or another machine can do it. Everything that it works with is in the workspace.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eventveil.errors import AuditError
from eventveil.training.whole_file import read_json, write_json

if TYPE_CHECKING:
    from eventveil.audit.execution.progress import AuditProgress
    from eventveil.audit.workspace.workspace import AuditWorkspace

TRIES = 3  # how often a job is begun if its worker is lost each time


class Job(Protocol):
    """The unit of work.

    Attributes:
        name: name of its results file, unique among the jobs. It may have folders, as "SUBJECT/identity-plain-0".
        title: what it does, for progress messages.
        after: names of the jobs whose networks or results it needs.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above

    @property
    def title(self) -> str: ...  # noqa: D102

    @property
    def after(self) -> tuple[str, ...]: ...  # noqa: D102

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Do the job, and return plain values that name no person.

        Raises:
            Interrupted: the audit was asked to stop; everything that can be resumed is saved.
            TrainingError: a training cannot continue, or a file cannot be written.
        """
        ...


class Results:
    """The results of jobs.

    Args:
        work: OUT/work.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / "results"

    def path(self, name: str) -> Path:
        """Return the results file of a job."""
        return self._folder / f"{name}.json"

    def has(self, name: str) -> bool:
        """Return whether a job is done."""
        return self.path(name).exists()

    def of(self, name: str) -> dict[str, Any]:
        """Return the results of a job; empty if it is not done."""
        return read_json(self.path(name))


def perform(job: Job, workspace: AuditWorkspace) -> None:
    """Do a job in this process, and write its results.

    Raises:
        Interrupted: the audit was asked to stop.
        TrainingError: a training cannot continue, or a file cannot be written.
    """
    results = Results(workspace.work)
    if not results.has(job.name):
        write_json(results.path(job.name), job.run(workspace))


@dataclass(frozen=True)
class Moved:
    """A job has made progress; `share` of it is done, from 0 to 1."""

    name: str
    share: float


@dataclass(frozen=True)
class Ended:
    """A job is done, and its results are written."""

    name: str


@dataclass(frozen=True)
class Lost:
    """A job's worker is gone, and the job is not done."""

    name: str
    why: str


JobEvent = Moved | Ended | Lost


class JobExecutor(Protocol):
    """Does jobs. A context manager: leaving it with jobs under way stops them, and all progress is saved.

    Attributes:
        slots: how many jobs it does at once; at least one, and it may change.
        machine: a description of the hardware.
    """

    @property
    def slots(self) -> int: ...  # noqa: D102 - see above

    @property
    def machine(self) -> str: ...  # noqa: D102

    def begin(self, job: Job) -> None:
        """Begin a job; the caller begins no more jobs than there are slots."""
        ...

    def poll(self) -> Sequence[JobEvent]:
        """Wait briefly for events of the jobs under way.

        Raises:
            AuditError: a job cannot be done.
            Interrupted: the audit was asked to stop.
        """
        ...


class RetryLog:
    """Jobs that were begun again because a worker was lost; saved, so that the report of a resumed audit names them.

    Args:
        work: OUT/work.
    """

    def __init__(self, work: Path) -> None:
        self._path = work / "repeated.json"
        self.reasons: dict[str, list[str]] = read_json(self._path)

    def note(self, title: str, why: str) -> None:
        """Record that a job's worker was lost."""
        self.reasons.setdefault(title, []).append(why)
        write_json(self._path, self.reasons)


class WorkTime:
    """Measures how long the jobs of an audit take, over all of its runs; a run that was killed is not counted.

    Args:
        work: OUT/work.

    Attributes:
        seconds: of the runs that have ended or were stopped, this one included once its block is left.
    """

    def __init__(self, work: Path) -> None:
        self._path = work / "time.json"
        self._start_s = 0.0
        self.seconds = float(read_json(self._path).get("seconds", 0.0))

    def __enter__(self) -> WorkTime:
        self._start_s = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = round(self.seconds + time.monotonic() - self._start_s, 1)
        write_json(self._path, {"seconds": self.seconds})


def run_jobs(jobs: Sequence[Job], executor: JobExecutor, progress: AuditProgress, work: Path) -> None:
    """Do all jobs that are not done yet, each after those that it needs.

    Raises:
        AuditError: a job cannot be done, or its worker was lost too often.
        Interrupted, KeyboardInterrupt: the audit was asked to stop; everything is saved.
    """
    queue = _JobQueue(jobs, progress, work)
    while queue.unfinished:
        queue.begin_ready(executor)
        for event in executor.poll():
            queue.update(event)


class _JobQueue:
    """The jobs that wait, are under way, and are done.

    Args:
        jobs: all of them; those with results are done.
        progress: shows what happens to them.
        work: OUT/work.
    """

    def __init__(self, jobs: Sequence[Job], progress: AuditProgress, work: Path) -> None:
        results = Results(work)
        self._jobs = {job.name: job for job in jobs}
        assert len(self._jobs) == len(jobs), "two jobs have one name"
        self._done = {name for name in self._jobs if results.has(name)}
        self._waiting = [job for job in jobs if job.name not in self._done]
        self._under_way: set[str] = set()
        self._losses: dict[str, int] = {}
        self._retries = RetryLog(work)
        self._progress = progress
        progress.plan(len(jobs), len(self._done))

    @property
    def unfinished(self) -> bool:
        """Whether a job waits or is under way."""
        return bool(self._waiting or self._under_way)

    def begin_ready(self, executor: JobExecutor) -> None:
        """Begin jobs whose predecessors are done, as far as the executor has free slots."""
        free = max(0, executor.slots - len(self._under_way))
        for job in [job for job in self._waiting if self._done.issuperset(job.after)][:free]:
            self._waiting.remove(job)
            self._under_way.add(job.name)
            self._progress.begin(job.name, job.title)
            executor.begin(job)
        waiting = [job.name for job in self._waiting]
        assert self._under_way, f"jobs wait for one another or for unknown jobs: {waiting}"

    def update(self, event: JobEvent) -> None:
        """Apply an event.

        Raises:
            AuditError: a worker was lost too often.
        """
        match event:
            case Moved(name, share):
                self._progress.moved(name, share)
            case Ended(name):
                self._under_way.remove(name)
                self._done.add(name)
                self._progress.end(name)
            case Lost(name, why):
                self._under_way.remove(name)
                self._retry(self._jobs[name], why)

    def _retry(self, job: Job, why: str) -> None:
        self._retries.note(job.title, why)
        self._losses[job.name] = self._losses.get(job.name, 0) + 1
        self._progress.lost(job.name, why)
        if self._losses[job.name] == TRIES:
            raise AuditError(
                f"{job.title}: its worker was lost {TRIES} times ({why}). If memory is short, use fewer --jobs; "
                "continue with --resume"
            )
        self._waiting.insert(0, job)
