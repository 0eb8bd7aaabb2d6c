"""The audit: all jobs, the verdicts, and a report of it.

OUT/work/    windows, who is who, networks, what each job found: private
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from eventveil.audit.attacks.attributes import attribute_jobs, attributes_on
from eventveil.audit.attacks.averaging import averaged, averaging_jobs, averaging_on
from eventveil.audit.attacks.before_after import recording_jobs
from eventveil.audit.attacks.identity import attacks_on, identity_jobs
from eventveil.audit.attacks.inversion import inversion_jobs, inversion_on
from eventveil.audit.attacks.noise_replay import replay_jobs, replay_on
from eventveil.audit.attacks.reconstruction import check_reconstruction, reconstruction_jobs, reconstruction_on
from eventveil.audit.attacks.utility import target_jobs, utility_on
from eventveil.audit.execution.executors import Steps
from eventveil.audit.execution.progress import AuditProgress
from eventveil.audit.execution.scheduler import Executor, Job, Results, RetryLog, run_jobs
from eventveil.audit.figures import SubjectReport
from eventveil.audit.report.report import AuditReport, Data, Made, Repeated, digest
from eventveil.audit.report.verdict import decide
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError
from eventveil.training.data.split import open_split
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.run_folder import read_json, write_json
from eventveil.training.networks.subjects import RAW

MakeExecutor = Callable[[AuditPlan, AuditProgress], AbstractContextManager[Executor]]


class Auditor:
    """One audit.

    Args:
        settings: of the audit.
        subjects: what is attacked; `raw` must be among them.
        folder: OUT.
        board: shows how it goes.
        resume: go on with an audit that was begun.

    Raises:
        AuditError: it was begun already and is not to be gone on with, or with other settings; or nobody can be looked
            for in these data.
        EventVeilError: the dataset cannot be read, or has too few people.
    """

    def __init__(
        self,
        settings: AuditSettings,
        subjects: Sequence[Subject],
        folder: Path,
        board: AuditProgress,
        *,
        resume: bool = False,
    ) -> None:
        self._settings, self._subjects, self._board = settings, tuple(subjects), board
        self._work = folder.absolute() / "work"
        check_reconstruction(settings)
        self._begin(resume=resume)
        dataset = open_split(settings.data, self._work, board.watch)
        self._plan = AuditPlan(settings, (*self._subjects, *averaged(settings, self._subjects)), self._work, dataset)
        bench = AuditWorkspace(self._plan, ProcessGroup(), Steps(), board.watch)
        bench.prepare()
        if not any(protocol.way == "linked" for protocol in bench.protocols):
            raise AuditError(
                f"{dataset.root}: could not be measured: none of the test people has the same gesture in two sessions, "
                "so nobody can be looked for; give people a second session"
            )
        _ = bench.validation  # now, and not in the first job

    @property
    def jobs(self) -> list[Job]:
        """All that is to be done."""
        found: list[Job] = [*identity_jobs(self._settings, self._subjects)]
        found += averaging_jobs(self._settings, self._subjects)
        if self._plan.dataset.classes:
            found += target_jobs(self._settings, self._subjects)
        found += inversion_jobs(self._settings, self._subjects)
        found += reconstruction_jobs(self._settings, self._subjects)
        found += recording_jobs(self._settings, self._subjects)
        found += replay_jobs(self._settings, self._subjects)
        found += attribute_jobs(self._settings, self._subjects, self._plan.dataset)
        return found

    def run(self, make_executor: MakeExecutor, command: str = "") -> AuditReport:
        """Do all jobs, and decide.

        Args:
            make_executor: makes the crew that does them.
            command: how the program was called.

        Raises:
            Interrupted, KeyboardInterrupt: somebody asked to stop; everything is saved.
            AuditError: a job cannot be done.
            TrainingError: a training cannot go on, or a file cannot be written.
        """
        began, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        with make_executor(self._plan, self._board) as executor:
            run_jobs(self.jobs, executor, self._board, self._work)
            machine = executor.machine
        reports = [self._subject(subject) for subject in self._subjects]
        on_raw = next(report.attacks for report in reports if report.name == RAW)
        own = self._settings
        judged = [
            report.model_copy(
                update={
                    "verdict": decide(
                        report.attacks, on_raw,
                        threshold=own.threshold, precision=own.precision, evidence=own.evidence,
                        foretold=report.replay is not None and report.replay.succeeded,
                    ),
                }
            ) if report.audited else report
            for report in reports
        ]  # fmt: skip
        lost = RetryLog(self._work).reasons
        return AuditReport(
            made=Made.of(at, command, round(time.monotonic() - began, 1), machine),
            evidence=own.evidence,
            threshold=own.threshold,
            precision=own.precision,
            settings=own.model_dump(mode="json"),
            data=Data.of(self._plan.dataset),
            subjects=with_dominated(judged),
            repeated=tuple(Repeated(job=job, reasons=tuple(reasons)) for job, reasons in lost.items()),
        )

    def _subject(self, subject: Subject) -> SubjectReport:
        settings, results = self._settings, Results(self._work)
        inverted, restored = inversion_on(subject, settings, results)
        by_picture, likeness = reconstruction_on(subject.name, settings, results)
        return SubjectReport(
            name=subject.name,
            audited=subject.audited,
            weights=subject.digest,
            about=subject.about,
            attacks=(*attacks_on(subject.name, settings, results), *inverted, *by_picture),
            restored=restored,
            likeness=likeness,
            replay=replay_on(subject, settings, results),
            attributes=attributes_on(subject, settings, self._plan.dataset, results),
            averaging=averaging_on(subject, settings, results),
            utility=utility_on(subject.name, results) if self._plan.dataset.classes else None,
        )

    def _begin(self, *, resume: bool) -> None:
        path = self._work / "audit.json"
        values = self._settings.model_dump(mode="json", exclude={"threshold", "precision", "evidence", "run"})
        own = {"digest": digest([values, [(subject.name, subject.digest) for subject in self._subjects]])}
        held = read_json(path)
        if held and not resume:
            raise AuditError(f"{self._work}: an audit was begun here; go on with --resume, or name another --out")
        if held and held != own:
            raise AuditError(
                f"{self._work}: the audit that was begun here is of other settings or weights; name another --out"
            )
        write_json(path, own)


def with_dominated(reports: Sequence[SubjectReport]) -> tuple[SubjectReport, ...]:
    """Mark subjects for whom another keeps as much of the target and less of the person, or more and as much."""
    places = {
        report.name: (report.utility.retrained.value, report.strongest.advantage.value)
        for report in reports
        if report.utility is not None
    }
    marked = []
    for report in reports:
        better: tuple[str, ...] = ()
        if report.name in places:
            use, leak = places[report.name]
            better = tuple(name for name, (u, v) in places.items() if u >= use and v <= leak and (u, v) != (use, leak))
        marked.append(report.model_copy(update={"dominated_by": better}))
    return tuple(marked)
