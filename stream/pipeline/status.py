"""What the supervisor knows of a line: for its summary, its pages, and whoever waits for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from eventveil.stream.histogram.density import Trained, training_mismatch
from eventveil.stream.pipeline.supervisor import Incident
from eventveil.stream.runtime.accounting import SOURCE, PipelineCounters
from eventveil.stream.runtime.accuracy import LiveAccuracy
from eventveil.stream.runtime.reporting import StageReport

MAX_INCIDENTS = 100  # that are told of, the last ones: a line that runs for months must not grow with them


@dataclass(slots=True)
class Status:
    """What is known of a running line, or of one that has ended.

    Attributes:
        seconds: since the sources began.
        stages: the last report of each stage.
        score: what was recognised, held against what is known to be shown; None where nothing is.
        books: what became of every window, exact at any moment.
        restarts: how often stages were started anew.
        incidents: the last of these.
        trained: density of the anonymizer's training windows, where its weights tell it.
        failure: why the line failed, or None.
        stopped: True where somebody stopped it before its streams had ended.
    """

    seconds: float = 0.0
    stages: dict[str, StageReport] = field(default_factory=dict)
    score: LiveAccuracy | None = None
    restarts: int = 0
    incidents: deque[Incident] = field(default_factory=lambda: deque(maxlen=MAX_INCIDENTS))
    books: PipelineCounters = field(default_factory=lambda: PipelineCounters((), ()))
    trained: Trained | None = None
    failure: str | None = None
    stopped: bool = False

    def note(self, incident: Incident) -> None:
        """Note that a stage was started anew."""
        self.restarts += 1
        self.incidents.append(incident)

    def far_from_training(self) -> dict[str, str]:
        """How the windows of each stream differ from those of the training, of those that do by far."""
        sources = {name: one.values for name, one in self.stages.items() if name.startswith(SOURCE)}
        said = {
            name.removeprefix(SOURCE): training_mismatch(
                self.trained, values.get("density"), values.get("density_most")
            )
            for name, values in sources.items()
        }
        return {stream: words for stream, words in said.items() if words is not None}

    def total(self, stage: str, count: str) -> int:
        """The sum of a count over the stages whose name begins so."""
        return sum(report.counts.get(count, 0) for name, report in self.stages.items() if name.startswith(stage))

    def value(self, stage: str, name: str) -> float | None:
        """A figure of a stage's last report."""
        return self.stages[stage].values.get(name) if stage in self.stages else None

    def dropped(self) -> dict[str, int]:
        """Windows lost, by reason, in all stages together and on the way between them."""
        return self.books.dropped()
