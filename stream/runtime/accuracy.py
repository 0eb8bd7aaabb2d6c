"""Live accuracy: compares what each window shows with what was recognised in it, where the ground truth is known.

Two kinds of private note meet at the supervisor: the source notes the ground truth of each window, the publisher each
gesture that was recognised. Both travel with the stages' reports (`stream/runtime/reporting.py`), which stay on this
machine. The publisher, whose socket leaves it, never receives the ground truth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from eventveil.stream.runtime.latency import Latency


class GroundTruth(BaseModel):
    """What a window shows.

    Attributes:
        stream: name of the source.
        seq: number of the window in its stream.
        trial: number of the trial in its stream.
        label: the gesture.
        subject: the person; kept out of logs.
        since_us: from the beginning of the trial to the end of the window.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["shown"] = "shown"
    stream: str
    seq: int
    trial: int
    label: str
    subject: str = Field(repr=False)
    since_us: int


class Prediction(BaseModel):
    """What was recognised in a window; a label of None is no gesture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["seen"] = "seen"
    stream: str
    seq: int
    label: str | None


Note = GroundTruth | Prediction
NOTES: TypeAdapter[list[Note]] = TypeAdapter(list[Note])


MAX_WAITING = 50_000  # notes per stream, far more than can be in flight at once


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """A judged window: the `label` of what it shows, and the label that was `recognised`, None for no gesture."""

    label: str
    recognised: str | None


class LiveAccuracy:
    """Matches ground truth with predictions and counts how many are right.

    Notes of each kind come in the order of their windows. One without its counterpart is skipped: the window was
    dropped on its way, or shows nothing. Memory is bounded, however long the pipeline runs.

    Args:
        labels: the classes of the classifier; a window that shows anything else is not judged.
        streams: the streams that are judged.

    Attributes:
        last: the last judged window of each stream.
    """

    def __init__(self, labels: Collection[str], streams: Collection[str]) -> None:
        self.last: dict[str, JudgedWindow] = {}
        self._labels = labels
        self._truths: dict[str, deque[GroundTruth]] = {stream: deque(maxlen=MAX_WAITING) for stream in streams}
        self._predictions: dict[str, deque[Prediction]] = {stream: deque(maxlen=MAX_WAITING) for stream in streams}
        self._trial = dict.fromkeys(streams, -1)  # judged last
        self._undecided: set[str] = set()  # streams whose trial has not been recognised yet
        self._judged, self._right, self._trials, self._trials_right = 0, 0, 0, 0
        self._first_right = Latency()
        self._subjects: set[str] = set()

    def take(self, notes: Iterable[Note]) -> None:
        """Take notes of one kind or of both."""
        for note in notes:
            if note.stream not in self._trial:
                continue
            if isinstance(note, GroundTruth):
                if note.label in self._labels:
                    self._truths[note.stream].append(note)
            else:
                self._predictions[note.stream].append(note)
            self._match(self._truths[note.stream], self._predictions[note.stream])

    def _match(self, truths: deque[GroundTruth], predictions: deque[Prediction]) -> None:
        while truths and predictions:
            if truths[0].seq < predictions[0].seq:
                truths.popleft()
            elif truths[0].seq > predictions[0].seq:
                predictions.popleft()
            else:
                self._judge(truths.popleft(), predictions.popleft())

    def _judge(self, truth: GroundTruth, prediction: Prediction) -> None:
        if truth.trial != self._trial[truth.stream]:
            self._trial[truth.stream] = truth.trial
            self._trials += 1
            self._subjects.add(truth.subject)
            self._undecided.add(truth.stream)
        self._judged += 1
        self.last[truth.stream] = JudgedWindow(truth.label, prediction.label)
        if truth.label == prediction.label:
            self._right += 1
            if truth.stream in self._undecided:
                self._undecided.remove(truth.stream)
                self._trials_right += 1
                self._first_right.add(truth.since_us / 1e3)

    def figures(self) -> dict[str, float | int | None]:
        """Return the figures so far as plain values, without labels or names of people.

        `judged` windows from `trials` of `people` different people; `right` of them were recognised correctly, which
        gives `accuracy`; `chance` is the accuracy of guessing among the labels. `trials_right` trials had a window that
        was right, and the first such window ended `first_right_s` after the trial began (median, to 2 %; camera time).
        """
        first_right_ms = self._first_right.percentile(0.5)
        return {
            "judged": self._judged,
            "right": self._right,
            "accuracy": round(self._right / self._judged, 4) if self._judged else None,
            "chance": round(1 / len(self._labels), 4),
            "people": len(self._subjects),
            "trials": self._trials,
            "trials_right": self._trials_right,
            "first_right_s": None if first_right_ms is None else round(first_right_ms / 1e3, 3),
        }
