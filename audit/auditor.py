"""The audit: every attacker on every subject, the verdicts, and a report of it.

OUT/work/    windows, who is who, networks: private
OUT/work/results/   what each attacker got; whoever goes on looks there first
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from eventveil.audit.architectures import RESNET
from eventveil.audit.attackers import Bench, Job
from eventveil.audit.figures import Attack, Class, Figure, Knowledge, SubjectReport, Utility
from eventveil.audit.protocols import Protocol, protocols_of
from eventveil.audit.report import Data, Made, Report, digest
from eventveil.audit.settings import RAW, AuditSettings
from eventveil.audit.subjects import Averaged, Subject
from eventveil.audit.verdict import decide
from eventveil.errors import AuditError
from eventveil.models.kinds import Anonymizer
from eventveil.training.evaluation import embedded, recognise
from eventveil.training.loop import Reporter
from eventveil.training.parallel import World
from eventveil.training.people import Watch
from eventveil.training.results import target_result
from eventveil.training.run_folder import read_json, write_json

Tell = Callable[[str], object]


class Auditor:
    """One audit.

    Args:
        settings: of the audit.
        subjects: what is attacked; `raw` must be among them.
        folder: OUT.
        world: the process, and its device.
        reporter: shows how a training goes.
        watch: shows how the making of windows goes.
        tell: says what begins, and how long all of it will take.
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
        world: World,
        reporter: Reporter,
        watch: Watch,
        tell: Tell,
        *,
        resume: bool = False,
    ) -> None:
        self._settings, self._subjects = settings, tuple(subjects)
        self._work = folder / "work"
        self._begin(resume=resume)
        self._bench = Bench(settings, self._work, world, reporter, watch)
        self._device = world.device.type
        self._pace = _Pace(tell, self._count())
        self._stand = self._bench.stand("test")
        self._protocols = protocols_of(self._stand, settings.linking, settings.seed)
        if not any(protocol.way == "linked" for protocol in self._protocols):
            raise AuditError(
                f"{self._bench.dataset.root}: could not be measured: none of the test people has the same gesture in "
                "two sessions, so nobody can be looked for; give people a second session"
            )

    def run(self, command: str = "") -> Report:
        """Train all attackers, test each once, and decide.

        Raises:
            Interrupted: somebody asked to stop; everything is saved.
            TrainingError: a training cannot go on, or a file cannot be written.
        """
        began, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        raw = next(subject for subject in self._subjects if subject.name == RAW)
        reports = [self._examine(subject, raw) for subject in self._subjects]
        on_raw = next(report.attacks for report in reports if report.name == RAW)
        own = self._settings
        judged = [
            report.model_copy(
                update={
                    "verdict": decide(
                        report.attacks, on_raw,
                        threshold=own.threshold, precision=own.precision, evidence=own.evidence,
                    ),
                }
            ) if report.audited else report
            for report in reports
        ]  # fmt: skip
        return Report(
            made=Made.of(at, command, round(time.monotonic() - began, 1), self._device),
            evidence=own.evidence,
            threshold=own.threshold,
            precision=own.precision,
            settings=own.model_dump(mode="json"),
            data=Data.of(self._bench.dataset),
            subjects=with_dominated(judged),
        )

    def _examine(self, subject: Subject, raw: Subject) -> SubjectReport:
        attacks: list[Attack] = []
        for architecture in self._settings.attackers.architectures:
            for seed in self._settings.attackers.seeds:
                if subject.name != RAW:
                    job = Job(raw, architecture, seed, "identity")
                    attacks += self._attacked(subject, job, "ignorant", subject.anonymizer)
                job = Job(subject, architecture, seed, "identity")
                attacks += self._attacked(subject, job, "informed", subject.anonymizer)
        return SubjectReport(
            name=subject.name,
            audited=subject.audited,
            weights=subject.digest,
            about=subject.about,
            attacks=tuple(attacks),
            averaging=self._averaged(subject),
            utility=self._utility(subject, raw),
        )

    def _averaged(self, subject: Subject) -> tuple[Attack, ...]:
        times = self._settings.averaging
        if not times or not subject.audited:
            return ()
        averaged = Subject(f"{subject.name}-averaged-{times}", Averaged(subject.anonymizer, times))
        own = self._settings.attackers
        job = Job(averaged, own.architectures[0], own.seeds[0], "identity")
        return self._attacked(averaged, job, "averaging", averaged.anonymizer)

    def _attacked(self, subject: Subject, job: Job, knowledge: Knowledge, anonymizer: Anonymizer) -> tuple[Attack, ...]:
        """What one attacker gets in every protocol; whoever was tested is not tested again."""
        path = self._work / "results" / subject.folder / f"{knowledge}-{job.architecture}-{job.seed}.json"
        done = read_json(path).get("attacks")
        if done is None:
            words = f"{knowledge} {job.architecture}, seed {job.seed}, on {subject.name}"
            network = self._trained(job, words)
            embedding_NE = embedded(self._stand, network, None, anonymizer, "audit", subject.name, job.name)
            named = {"knowledge": knowledge, "architecture": job.architecture, "seed": job.seed}
            found = [self._asked(protocol, embedding_NE, named) for protocol in self._protocols]
            done = [attack.model_dump(mode="json") for attack in found]
            write_json(path, {"attacks": done})
        return tuple(Attack.model_validate(attack) for attack in done)

    @staticmethod
    def _asked(protocol: Protocol, embedding_NE: Any, named: dict[str, Any]) -> Attack:
        return protocol.attack(embedding_NE, **named)

    def _utility(self, subject: Subject, raw: Subject) -> Utility | None:
        if not self._bench.dataset.classes:
            return None
        path = self._work / "results" / subject.folder / "utility.json"
        done = read_json(path)
        if not done:
            seed = self._settings.attackers.seeds[0]
            told = {}
            for name, on in (("retrained", subject), ("as_it_is", raw)):
                network = self._trained(Job(on, RESNET, seed, "target"), f"classifier of the target, on {on.name}")
                told[name] = recognise(self._stand, network, None, subject.anonymizer, "audit", subject.name, name)
            classes = self._bench.dataset.classes
            figures = {name: Figure.of(target_result(one, len(classes))["accuracy"]) for name, one in told.items()}
            target, correct = told["retrained"].target, told["retrained"].correct
            done = Utility(
                retrained=figures["retrained"],
                as_it_is=figures["as_it_is"],
                classes=tuple(_class(classes[k], correct[target == k]) for k in np.unique(target)),
            ).model_dump(mode="json")
            write_json(path, done)
        return Utility.model_validate(done)

    def _trained(self, job: Job, words: str) -> nn.Module:
        self._pace.begin(job.name, words)
        network = self._bench.trained(job)
        self._pace.end(job.name)
        return network

    def _count(self) -> int:
        """How many networks are to be trained, at most."""
        own, subjects = self._settings.attackers, len(self._subjects)
        averaged = sum(subject.audited for subject in self._subjects) if self._settings.averaging else 0
        return (
            subjects * len(own.architectures) * len(own.seeds)
            + averaged
            + (subjects if self._bench.dataset.classes else 0)
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


def _class(name: str, correct: npt.NDArray[np.bool_]) -> Class:
    return Class(name=name, windows=len(correct), accuracy=float(correct.mean()))


class _Pace:
    """Says which network is trained, and how long the others will take."""

    def __init__(self, tell: Tell, networks: int) -> None:
        self._tell = tell
        self._networks = networks
        self._seen: set[str] = set()
        self._seconds: list[float] = []
        self._began = 0.0

    def begin(self, name: str, words: str) -> None:
        if name in self._seen:
            return
        left = self._networks - len(self._seen)
        text = f"network {len(self._seen) + 1} of {self._networks}: {words}"
        if self._seconds:
            mean = sum(self._seconds) / len(self._seconds)
            text += f"; about {max(1, round(mean * left / 60))} min left"
        self._tell(text)
        self._began = time.monotonic()

    def end(self, name: str) -> None:
        if name not in self._seen:
            self._seen.add(name)
            self._seconds.append(time.monotonic() - self._began)


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
