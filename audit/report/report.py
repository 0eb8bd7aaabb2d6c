"""report.json: all figures of an audit, and everything that is needed to repeat it.

It names no person and no trial. Digests bind it to the data.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventveil.audit.figures import PlantedLeak, ReportModel, SubjectReport
from eventveil.replay.datasets.trials import Dataset
from eventveil.replay.simulation.recipe import is_simulated
from eventveil.stream.protocol.certificate import canonical
from eventveil.training.data.split import PARTS
from eventveil.training.whole_file import write_json
from eventveil.version import __version__

REPORT, SCHEMA, PAGE = "report.json", "report.schema.json", "report.html"
CERTIFICATE_PAGE, PUBLIC_KEY = "certificate.html", "public.pem"
_PATH = re.compile(r"([\w.]+=)?~?/(?:[^/]*/)*([^/]+)/?")  # an absolute path, also as the value of a key
_FOLDERS = re.compile(r"(?<![\w.~:/-])~?/(?:[^/\s,\]]+/)*(?=[^/\s,\]])")  # of an absolute path in a list


class Data(ReportModel):
    """The data of an audit.

    Attributes:
        kind, layout: of the dataset.
        simulated: whether its people are simulated.
        people, trials: of each part; no person is in two parts.
        sessions: sessions of all test people.
        classes: classes of the target.
        index: SHA-256 of the trials: name, person, class, session, duration.
        split: SHA-256 of the assignment of people to parts.
    """

    kind: str
    layout: str
    simulated: bool
    people: dict[str, int]
    trials: dict[str, int]
    sessions: int
    classes: tuple[str, ...]
    index: str
    split: str

    @classmethod
    def of(cls, dataset: Dataset) -> Data:
        """Describe a dataset without naming a person."""
        trials = sorted(dataset.trials, key=lambda trial: trial.name)
        index = [(t.name, t.subject, t.target, t.label, t.session, t.duration_us) for t in trials]
        parts = {part: sorted({trial.subject for trial in dataset.of(part)}) for part in PARTS}
        tested = dataset.of("test")
        return cls(
            kind=dataset.kind,
            layout=dataset.layout,
            simulated=is_simulated(dataset.root),
            people={part: len(people) for part, people in parts.items()},
            trials={part: len(dataset.of(part)) for part in PARTS},
            sessions=len({(trial.subject, trial.session) for trial in tested}),
            classes=dataset.classes,
            index=digest(index),
            split=digest(parts),
        )


class Made(ReportModel):
    """When an audit first ended, and with what it was made; a resumed audit keeps its time.

    Attributes:
        at: when it first ended.
        command: the command line, without the folders of absolute paths.
        eventveil, python, torch, numpy: versions.
        machine: system, processor and workers.
        seconds: of all runs that ended or were stopped.
    """

    at: str
    command: str
    eventveil: str
    python: str
    torch: str
    numpy: str
    machine: str
    seconds: float

    @classmethod
    def of(cls, at: str, command: str, seconds: float, workers: str) -> Made:
        """Describe this process and the workers; `at` is when the audit first ended."""
        return cls(
            at=at,
            command=shlex.join(without_folders(shlex.split(command))),
            eventveil=__version__,
            python=platform.python_version(),
            torch=version("torch"),
            numpy=np.__version__,
            machine=f"{platform.system()} {platform.machine()}, {workers}",
            seconds=seconds,
        )


class Repeated(ReportModel):
    """A job that was begun again because its worker was lost, with a reason for each time."""

    job: str
    reasons: tuple[str, ...]


class AuditReport(ReportModel):
    """An audit.

    Attributes:
        version: version of this list of keys.
        made: when and with what.
        evidence: False for a quick audit, whose figures prove nothing.
        threshold: advantage over blind guessing that no interval may reach.
        precision: how far an interval may reach above its figure.
        people_linked: share of the test people who may be linked with certainty.
        look: which audit of the same weights this is, of those begun with the same key; from 1.
        settings: settings of the audit, all keys.
        data: the data it was made with.
        subjects: raw windows, rules and weights files, each with the figures of all attackers.
        repeated: jobs whose worker was lost.
        selftest: planted leaks, and whether the attackers found them.
    """

    version: Literal[3] = 3
    made: Made
    evidence: bool
    threshold: float
    precision: float
    people_linked: float
    look: int
    settings: dict[str, Any]
    data: Data
    subjects: tuple[SubjectReport, ...]
    repeated: tuple[Repeated, ...] = ()
    selftest: tuple[PlantedLeak, ...] = ()

    @property
    def audited(self) -> tuple[SubjectReport, ...]:
        """The subjects with a verdict."""
        return tuple(subject for subject in self.subjects if subject.audited)

    @property
    def status(self) -> int:
        """Exit status of the audit: 0 if all verdicts are Pass, 1 if one is Fail, otherwise 2."""
        statuses = {subject.verdict.status for subject in self.subjects if subject.verdict is not None}
        return 1 if 1 in statuses else max(statuses, default=0)


def write_report(folder: Path, report: AuditReport) -> None:
    """Write report.json and its schema.

    Raises:
        TrainingError: they cannot be written.
    """
    write_json(folder / REPORT, report.model_dump(mode="json"))
    write_json(folder / SCHEMA, AuditReport.model_json_schema())


def without_folders(value: Any) -> Any:
    """Return an argument or a setting, or all of them in lists and dictionaries, without the folders of absolute paths.

    A report is made to be shared, and a folder may be named after a person.

    >>> without_folders(["--out", "/home/ann/my audit", "--set", "against=[raw, /home/ann/a.safetensors]"])
    ['--out', 'my audit', '--set', 'against=[raw, a.safetensors]']
    """
    if isinstance(value, str):
        path = _PATH.fullmatch(value)
        return (path[1] or "") + path[2] if path else _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    return value


def digest(content: Any) -> str:
    """Return the SHA-256 of plain values; the order of keys does not matter."""
    return hashlib.sha256(canonical(content)).hexdigest()
