"""What the supervisor knows about a pipeline, for its summary, its status pages and its callers."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from eventveil.stream.histogram.density import Trained, training_mismatch
from eventveil.stream.pipeline.supervisor import Incident
from eventveil.stream.runtime.accounting import SOURCE, PipelineCounters
from eventveil.stream.runtime.accuracy import LiveAccuracy
from eventveil.stream.runtime.reporting import StageReport

PUBLISH = "publish"
MAX_INCIDENTS = 100  # only the latest are kept: the memory of a pipeline that runs for months must not grow


@dataclass(slots=True)
class Status:
    """The state of a pipeline that runs or has ended.

    Attributes:
        seconds: since the sources began.
        stages: the last report of each stage.
        score: live accuracy; None where no ground truth is known.
        counters: where every window went, exact at any moment.
        restarts: number of restarts of stages.
        incidents: the latest of them.
        trained: density of the anonymizer's training windows, if its weights record it.
        failure: why the pipeline failed, or None.
        stopped: whether the user stopped it before its streams had ended.
    """

    seconds: float = 0.0
    stages: dict[str, StageReport] = field(default_factory=dict)
    score: LiveAccuracy | None = None
    restarts: int = 0
    incidents: deque[Incident] = field(default_factory=lambda: deque(maxlen=MAX_INCIDENTS))
    counters: PipelineCounters = field(default_factory=lambda: PipelineCounters((), ()))
    trained: Trained | None = None
    failure: str | None = None
    stopped: bool = False
    omitted_before: Counter[str] = field(default_factory=Counter)
    """By lives of sources that have ended, and whose recordings are not read again from their beginning."""

    def take(self, report: StageReport, *, reread: bool) -> None:
        """Keep the last report of a stage.

        Args:
            report: it counts since the start of its process.
            reread: whether a source that was restarted reads again, and counts, what it had read before.
        """
        last = self.stages.get(report.stage)
        if last is not None and report.life > last.life and not reread:
            self.omitted_before.update(last.omissions)
        self.stages[report.stage] = report

    def note(self, incident: Incident) -> None:
        """Note the restart of a stage."""
        self.restarts += 1
        self.incidents.append(incident)

    def far_from_training(self) -> dict[str, str]:
        """Describe, by stream, how its windows differ from those of the training; only if they differ greatly."""
        sources = {name: report.values for name, report in self.stages.items() if name.startswith(SOURCE)}
        mismatches = {
            name.removeprefix(SOURCE): training_mismatch(
                self.trained, values.get("density"), values.get("density_most")
            )
            for name, values in sources.items()
        }
        return {stream: mismatch for stream, mismatch in mismatches.items() if mismatch is not None}

    def total(self, stage: str, count: str) -> int:
        """Return the sum of a count over the stages whose name begins with `stage`."""
        return sum(report.counts.get(count, 0) for name, report in self.stages.items() if name.startswith(stage))

    def value(self, stage: str, name: str) -> float | None:
        """Return a value of a stage's last report."""
        return self.stages[stage].values.get(name) if stage in self.stages else None

    def omissions(self) -> dict[str, int]:
        """Return what was left out of all recordings or corrected in them, by reason."""
        return dict(sum((Counter(report.omissions) for report in self.stages.values()), self.omitted_before.copy()))

    def gestures(self) -> dict[str, dict[str, int]]:
        """Return the gestures published since the publisher was started, by stream and label."""
        return self.stages[PUBLISH].gestures if PUBLISH in self.stages else {}

    def dropped(self) -> dict[str, int]:
        """Return the windows lost in all stages and on all edges, by reason."""
        return self.counters.dropped()
