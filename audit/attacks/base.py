"""What all attacks share: the base class of their jobs, and what a family of attacks offers to the auditor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

from eventveil.audit.execution.scheduler import Results
from eventveil.audit.figures import Attack
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.training.networks.subjects import folder_of

Findings = dict[str, Any]
"""Values for fields of `figures.SubjectReport`. The auditor concatenates the "attacks" of all families."""


class AttackJob(ABC):
    """Base class of the jobs of attackers and classifiers, see `execution.scheduler.Job`.

    Subclasses are frozen dataclasses. `FILE` and `TITLE` are templates over their fields, as "{job.seed}".

    Attributes:
        FILE: name of the results file in the subject's folder. A resumed audit finds earlier results by it.
        TITLE: what the job does, for progress messages and the report.
        subject: name of the subject whose folder holds the results.
    """

    FILE: ClassVar[str]
    TITLE: ClassVar[str]
    subject: str

    @property
    def name(self) -> str:
        """Path of the results file, without its suffix."""
        return f"{folder_of(self.subject)}/{self.FILE.format(job=self)}"

    @property
    def title(self) -> str:
        """What the job does."""
        return self.TITLE.format(job=self)

    @property
    def after(self) -> tuple[str, ...]:
        """Names of the jobs that must be done first."""
        return ()

    @abstractmethod
    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Do the job, and return its results; see `execution.scheduler.Job.run`."""


class AttackFamily(Protocol):
    """A module with one kind of attack, from its jobs to its figures. `attacks.FAMILIES` lists them."""

    def jobs(self, plan: AuditPlan) -> Sequence[AttackJob]:
        """List the jobs that the settings request."""
        ...

    def collect(self, subject: Subject, plan: AuditPlan, results: Results) -> Findings:
        """Return the findings about a subject, once all jobs are done."""
        ...


def read_attacks(values: Iterable[Any]) -> tuple[Attack, ...]:
    """Parse the attacks in a job's results."""
    return tuple(Attack.model_validate(value) for value in values)
