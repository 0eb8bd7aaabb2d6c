"""What one worker does with one recording, in whatever process or on whatever machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from eventveil.errors import (
    AnonymizerError,
    ConfigError,
    CrashError,
    DatasetError,
    EventError,
    EventFileError,
    LineError,
)
from eventveil.host.files import remove_parts
from eventveil.stream.batch.file_pipeline import FilePipeline
from eventveil.stream.batch.manifest import digest_of
from eventveil.stream.batch.recordings import Recording
from eventveil.stream.planning.plan import PipelinePlan


@dataclass(frozen=True, slots=True)
class Task:
    """A recording, and the file that it becomes."""

    recording: Recording
    path: Path


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """What became of a task.

    Attributes:
        recording: its name.
        windows: how many windows the file holds; 0 without a file.
        sha256: SHA-256 of the recording.
        error: why there is no file; None if there is one.
        omissions: how much of the recording was left out or corrected, by reason.
    """

    recording: str
    windows: int = 0
    sha256: str | None = None
    error: str | None = None
    omissions: dict[str, int] = field(default_factory=dict)


class Executor(Protocol):
    """Does tasks, and yields what became of each, in any order."""

    def run(self, plan: PipelinePlan, form: str, tasks: Iterable[Task]) -> Generator[TaskOutcome, None, None]:
        """Do all tasks. Closing the iterator ends the work under way; no partial file remains."""


class Worker:
    """Does tasks one after the other. Arguments and errors: see `FilePipeline`."""

    def __init__(self, plan: PipelinePlan, form: str) -> None:
        self._pipeline = FilePipeline(plan, form)
        self._digests: dict[Path, str] = {}  # a file may hold many trials

    def do(self, task: Task) -> TaskOutcome:
        """Anonymize a recording. One that cannot be read, or that a network refuses, is an outcome without a file.

        Raises:
            ConfigError: the file cannot be written.
            CrashError: a network or its device failed.
            BoundaryError: something that is not anonymized was about to be written.
        """
        recording = task.recording
        remove_parts(task.path)  # of a killed process
        try:
            with ThreadPoolExecutor(1) as pool:
                digest = pool.submit(self._digest, recording.path)
                windows, omissions = self._pipeline.anonymize(recording, task.path, replace=True)
            return TaskOutcome(recording.name, windows, digest.result(), omissions=omissions)
        except CrashError:
            raise
        except OSError as error:
            raise ConfigError(f"{task.path}: cannot be written: {error.strerror or error}; free some space") from error
        except (AnonymizerError, DatasetError, EventError, EventFileError, LineError) as error:
            if isinstance(error, EventFileError) and error.path == task.path:
                raise ConfigError(str(error)) from error  # the next file cannot be written either
            return TaskOutcome(recording.name, error=str(error))

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest_of(path)
        return self._digests[path]


class InProcess:
    """Does tasks in this process."""

    def run(self, plan: PipelinePlan, form: str, tasks: Iterable[Task]) -> Generator[TaskOutcome, None, None]:
        """Do all tasks."""
        worker = Worker(plan, form)
        for task in tasks:
            yield worker.do(task)
