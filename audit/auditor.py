"""The audit: all jobs, the verdicts, and their report.

OUT/work/    windows, identities, networks, results of jobs: not to be shared
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from eventveil.audit.attacks import FAMILIES
from eventveil.audit.attacks.reconstruction import check_reconstruction
from eventveil.audit.attacks.selftest import found_leaks, planted_subjects
from eventveil.audit.audit_log import AuditLog
from eventveil.audit.execution.executors import Steps
from eventveil.audit.execution.progress import AuditProgress
from eventveil.audit.execution.scheduler import Job, JobExecutor, Results, RetryLog, WorkTime, run_jobs
from eventveil.audit.figures import SubjectReport, surest
from eventveil.audit.report.report import (
    CERTIFICATE_PAGE,
    PAGE,
    PUBLIC_KEY,
    REPORT,
    SCHEMA,
    AuditReport,
    Data,
    Made,
    Repeated,
    digest,
    without_folders,
)
from eventveil.audit.report.verdict import decide, outcome_of
from eventveil.audit.settings import AuditSettings
from eventveil.audit.stand_in import StandInSource
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError
from eventveil.host.files import private_folder, write_atomic
from eventveil.stream.protocol.certificate import CERTIFICATE
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.networks.subjects import RAW
from eventveil.training.whole_file import read_json

MakeExecutor = Callable[[AuditPlan, AuditProgress], AbstractContextManager[JobExecutor]]


class Auditor:
    """One audit.

    Args:
        settings: settings of the audit.
        subjects: the anonymizers under attack; `raw` must be among them.
        folder: OUT.
        progress: shows the progress.
        log: all audits that were begun with the key that will sign this one.
        resume: continue an audit that was begun.

    Raises:
        AuditError: the audit was begun before, without `resume`, with other settings or with another key; the folder
            holds the results of another audit, or cannot be written; or the data has no person with the same gesture in
            two sessions.
        EventVeilError: the dataset cannot be read, or has too few people.
    """

    def __init__(
        self,
        settings: AuditSettings,
        subjects: Sequence[Subject],
        folder: Path,
        progress: AuditProgress,
        log: AuditLog,
        *,
        resume: bool = False,
    ) -> None:
        self._settings, self._subjects, self._progress, self._log = settings, tuple(subjects), progress, log
        self._work = folder.absolute() / "work"
        check_reconstruction(settings)
        self._name = self._begin(resume=resume)
        dataset = open_split(settings.data, self._work, progress.watch)
        # Windows that show no person cannot identify one.
        dataset = replace(dataset, trials=tuple(trial for trial in dataset.trials if trial.person))
        planted = planted_subjects(settings) if settings.selftest else ()
        self._plan = AuditPlan(settings, self._subjects, self._work, dataset, planted, log.number(self._name))
        workspace = AuditWorkspace(self._plan, ProcessGroup(), Steps(), progress.watch)
        workspace.prepare()
        if not any(protocol.way == "linked" for protocol in workspace.protocols):
            raise AuditError(
                f"{dataset.root}: Inconclusive: none of the test people has the same gesture in two sessions, so no "
                "attacker can be tested; give people a second session"
            )
        _ = workspace.validation  # fail now, and not in the first job

    @property
    def jobs(self) -> list[Job]:
        """The jobs of all families of attacks."""
        return [job for family in FAMILIES for job in family.jobs(self._plan)]

    def run(self, make_executor: MakeExecutor, command: str = "") -> AuditReport:
        """Do all jobs, and decide.

        Args:
            make_executor: makes the executor of the jobs.
            command: the command line, for the report.

        Raises:
            Interrupted, KeyboardInterrupt: the audit was asked to stop; everything is saved.
            AuditError: a job cannot be done.
            TrainingError: a training cannot continue, or a file cannot be written.
        """
        work_time = WorkTime(self._work)
        with work_time, make_executor(self._plan, self._progress) as executor:
            run_jobs(self.jobs, executor, self._progress, self._work)
            machine = executor.machine
        settings = self._settings
        retries, leaks = RetryLog(self._work).reasons, found_leaks(self._plan, Results(self._work))
        missed = tuple(leak.name for leak in leaks if not leak.found)
        subjects = self._judged([self._collect(subject) for subject in self._subjects], missed)
        at = self._log.end(
            self._name, {one.weights or one.name: outcome_of(one.verdict) for one in subjects if one.verdict}
        )
        return AuditReport(
            made=Made.of(at, command, work_time.seconds, machine),
            evidence=settings.evidence,
            threshold=settings.threshold,
            precision=settings.precision,
            people_linked=settings.people_linked,
            look=self._plan.audit_number,
            settings=without_folders(settings.model_dump(mode="json")),
            data=Data.of(self._plan.dataset),
            subjects=subjects,
            selftest=leaks,
            repeated=tuple(Repeated(job=job, reasons=tuple(reasons)) for job, reasons in retries.items()),
        )

    def _collect(self, subject: Subject) -> SubjectReport:
        findings: dict[str, Any] = {"attacks": ()}
        for family in FAMILIES:
            values = family.collect(subject, self._plan, Results(self._work))
            findings |= values | {"attacks": findings["attacks"] + values.get("attacks", ())}
        return SubjectReport(
            name=subject.name,
            audited=subject.audited,
            weights=subject.digest,
            classifier=None if subject.classifier is None else subject.classifier.digest,
            about=subject.about,
            bits_per_second=subject.source.bits_per_second if isinstance(subject.source, StandInSource) else None,
            **findings,
        )

    def _judged(self, reports: Sequence[SubjectReport], missed: tuple[str, ...]) -> tuple[SubjectReport, ...]:
        """Add verdicts, and mark dominated subjects if attackers saw something in raw windows."""
        settings = self._settings
        on_raw = next(report.attacks for report in reports if report.name == RAW)
        judged = [
            report.model_copy(
                update={
                    "verdict": decide(
                        report.attacks, on_raw,
                        threshold=settings.threshold, precision=settings.precision, evidence=settings.evidence,
                        people_linked=settings.people_linked, missed=missed,
                        predicted=report.replay is not None and report.replay.succeeded,
                        audit_number=self._plan.audit_number,
                        earlier=self._log.earlier(self._name, report.weights or report.name),
                    ),
                }
            ) if report.audited else report
            for report in reports
        ]  # fmt: skip
        return with_dominated(judged) if surest(on_raw).advantage.low >= settings.threshold else tuple(judged)

    def _begin(self, *, resume: bool) -> str:
        """Fix everything that decides, before any data is seen, and return the name of this audit in the key's log."""
        path = self._work / "audit.json"
        values = self._settings.model_dump(mode="json", exclude={"run"})
        current = digest([values, [_digests(subject) for subject in self._subjects]])
        earlier = read_json(path)
        if not earlier:
            return self._claim(path, current)
        if not resume:
            raise AuditError(
                f"{self._work}: holds an audit already; continue it with --resume, or choose another --out"
            )
        if earlier.get("digest") != current:
            raise AuditError(
                f"{self._work}: holds an audit with other settings or weights, and what decides is fixed before data "
                "are seen; choose another --out"
            )
        return str(earlier["look"])

    def _claim(self, path: Path, current: str) -> str:
        """Begin an audit in a folder that holds no results of another one."""
        out = self._work.parent
        results = (REPORT, SCHEMA, PAGE, CERTIFICATE, CERTIFICATE_PAGE, PUBLIC_KEY)
        existing = [name for name in results if os.path.lexists(out / name)]
        if existing:
            raise AuditError(
                f"{out / existing[0]}: exists, and no audit that can be resumed made it; choose another --out"
            )
        try:
            private_folder(self._work)
            # A quick audit never passes, so it is not counted; what it shows counts all the same.
            counted = [one.digest or one.name for one in self._subjects if one.audited and self._settings.evidence]
            name = self._log.begin(counted)
            write_atomic(path, json.dumps({"digest": current, "look": name}).encode(), replace=False)
        except OSError as error:
            raise AuditError(f"{path}: cannot be written ({error.strerror}); check --out") from error
        return name


def _digests(subject: Subject) -> tuple[str | None, ...]:
    classifier = () if subject.classifier is None else (subject.classifier.digest,)
    return (subject.name, subject.digest, *classifier)


def with_dominated(reports: Sequence[SubjectReport]) -> tuple[SubjectReport, ...]:
    """Mark subjects that another one dominates: no less utility and no more leakage, and better in one of them."""
    points = {
        report.name: (report.utility.retrained.value, report.strongest.advantage.value)
        for report in reports
        if report.utility is not None
    }
    marked = []
    for report in reports:
        better: tuple[str, ...] = ()
        if report.name in points:
            use, leak = points[report.name]
            better = tuple(name for name, (u, v) in points.items() if u >= use and v <= leak and (u, v) != (use, leak))
        marked.append(report.model_copy(update={"dominated_by": better}))
    return tuple(marked)
