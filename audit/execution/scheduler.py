"""An audit as a list of jobs: an attacker or a user each, who writes what came out into a file of its own.

OUT/work/results/NAME.json   what the job of this name found; whoever goes on looks there first

A job is a small frozen dataclass that can be pickled: it names subjects and architectures and holds no network, so that
it can be done in this process, in another, or on another machine. All that it works with is the bench's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eventveil.errors import AuditError
from eventveil.training.engine.run_folder import read_json, write_json

if TYPE_CHECKING:
    from eventveil.audit.execution.progress import AuditProgress
    from eventveil.audit.workspace.workspace import AuditWorkspace

TRIES = 3  # how often a job is begun whose worker is lost each time


class Job(Protocol):
    """What is done in one go.

    Attributes:
        name: of its file of results; no other job has it. It may have folders, as "SUBJECT/identity-plain-0".
        title: what it does, in words, for whoever waits.
        after: names of the jobs whose networks or results it needs.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above

    @property
    def title(self) -> str: ...  # noqa: D102

    @property
    def after(self) -> tuple[str, ...]: ...  # noqa: D102

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Do it, and return plain values that name no person.

        Raises:
            Interrupted: somebody asked to stop; what can be gone on with is saved.
            TrainingError: a training cannot go on, or a file cannot be written.
        """
        ...


class Results:
    """What jobs found.

    Args:
        work: OUT/work.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / "results"

    def path(self, name: str) -> Path:
        """Where the job of this name writes."""
        return self._folder / f"{name}.json"

    def has(self, name: str) -> bool:
        """Whether the job of this name is done."""
        return self.path(name).exists()

    def of(self, name: str) -> dict[str, Any]:
        """What the job of this name found; nothing where it is not done."""
        return read_json(self.path(name))


def perform(job: Job, bench: AuditWorkspace) -> None:
    """Do a job, wherever this process runs, and write what came out.

    Raises:
        Interrupted: somebody asked to stop.
        TrainingError: a training cannot go on, or a file cannot be written.
    """
    results = Results(bench.work)
    if not results.has(job.name):
        write_json(results.path(job.name), job.run(bench))


@dataclass(frozen=True)
class Moved:
    """So much of a job is done, from 0 to 1."""

    name: str
    share: float


@dataclass(frozen=True)
class Ended:
    """A job is done, and its results are written."""

    name: str


@dataclass(frozen=True)
class Lost:
    """Who did a job is gone, and it is not done."""

    name: str
    why: str


News = Moved | Ended | Lost


class Executor(Protocol):
    """Who does jobs. A context manager: whoever leaves it with jobs under way stops them, and all is saved.

    Attributes:
        slots: how many jobs are done at once; one at least, and it may change.
        machine: what on, in words.
    """

    @property
    def slots(self) -> int: ...  # noqa: D102 - see above

    @property
    def machine(self) -> str: ...  # noqa: D102

    def begin(self, job: Job) -> None:
        """Begin a job; not more than there are hands."""
        ...

    def poll(self) -> Sequence[News]:
        """Wait a moment for something to happen to the jobs that were begun.

        Raises:
            AuditError: a job cannot be done.
            Interrupted: somebody asked to stop.
        """
        ...


class RetryLog:
    """Jobs that were begun again because a worker was lost; kept, so that the report of a resumed audit names them.

    Args:
        work: OUT/work.
    """

    def __init__(self, work: Path) -> None:
        self._path = work / "repeated.json"
        self.reasons: dict[str, list[str]] = read_json(self._path)

    def note(self, title: str, why: str) -> None:
        """Write down that a job's worker was lost."""
        self.reasons.setdefault(title, []).append(why)
        write_json(self._path, self.reasons)


def run_jobs(jobs: Sequence[Job], executor: Executor, board: AuditProgress, work: Path) -> None:
    """Do all jobs that are not done yet, each after those that it needs.

    Raises:
        AuditError: a job cannot be done, or its worker was lost too often.
        Interrupted, KeyboardInterrupt: somebody asked to stop; everything is saved.
    """
    results, lostlings = Results(work), RetryLog(work)
    by_name = {job.name: job for job in jobs}
    assert len(by_name) == len(jobs), "two jobs have one name"
    done = {job.name for job in jobs if results.has(job.name)}
    waiting = [job for job in jobs if job.name not in done]
    losses: dict[str, int] = {}
    board.plan(len(jobs), len(done))
    under_way: set[str] = set()
    while waiting or under_way:
        free = max(0, executor.slots - len(under_way))
        for job in [job for job in waiting if done.issuperset(job.after)][:free]:
            waiting.remove(job)
            under_way.add(job.name)
            board.begin(job.name, job.title)
            executor.begin(job)
        assert under_way, f"jobs wait for one another or for jobs that there are not: {[job.name for job in waiting]}"
        for news in executor.poll():
            match news:
                case Moved(name, share):
                    board.moved(name, share)
                case Ended(name):
                    under_way.remove(name)
                    done.add(name)
                    board.end(name)
                case Lost(name, why):
                    under_way.remove(name)
                    job = by_name[name]
                    lostlings.note(job.title, why)
                    losses[name] = losses.get(name, 0) + 1
                    board.lost(name, why)
                    if losses[name] == TRIES:
                        raise AuditError(
                            f"{job.title}: its worker was lost {TRIES} times ({why}). Where memory is short, use fewer "
                            "--jobs; go on with --resume"
                        )
                    waiting.insert(0, job)
