"""What was shown beside what was recognised: the live score of a line that knows what is being done.

Two private notes meet here, at the supervisor. The source, who knows the truth, says for each window what it shows; the
publisher says for each gesture what was recognised. Both come with the stages' reports (`stream/runtime/reporting.py`),
which stay on this machine. The publisher, whose socket leaves it, is never told the truth.
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
        label: what is done in it.
        subject: who does it; out of logs.
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
    """What was recognised in a window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["seen"] = "seen"
    stream: str
    seq: int
    label: str


Note = GroundTruth | Prediction
NOTES: TypeAdapter[list[Note]] = TypeAdapter(list[Note])


MOST_WAITING = 50_000  # notes a stream, far above what can be on its way at once


@dataclass(frozen=True, slots=True)
class Outcome:
    """A window that was judged: the `label` of what it shows, and the one that was `recognised`."""

    label: str
    recognised: str


class LiveAccuracy:
    """Keeps the score.

    Notes of each side come in the order of their windows. One without its counterpart is passed over: the window was
    given up on its way, or shows nothing. What is kept does not grow with the time.

    Args:
        labels: the classes of the classifier; a window that shows anything else is not judged.
        streams: the streams that are judged.

    Attributes:
        last: of each stream, the window that was judged last.
    """

    def __init__(self, labels: Collection[str], streams: Collection[str]) -> None:
        self.last: dict[str, Outcome] = {}
        self._labels = labels
        self._shown: dict[str, deque[GroundTruth]] = {stream: deque(maxlen=MOST_WAITING) for stream in streams}
        self._seen: dict[str, deque[Prediction]] = {stream: deque(maxlen=MOST_WAITING) for stream in streams}
        self._trial = dict.fromkeys(streams, -1)  # judged last
        self._undecided: set[str] = set()  # streams whose trial has not been recognised yet
        self._judged, self._right, self._trials, self._trials_right = 0, 0, 0, 0
        self._first_right = Latency()
        self._subjects: set[str] = set()

    def take(self, notes: Iterable[Note]) -> None:
        """Take notes of one side or of both."""
        for note in notes:
            if note.stream not in self._trial:
                continue
            if isinstance(note, GroundTruth):
                if note.label in self._labels:
                    self._shown[note.stream].append(note)
            else:
                self._seen[note.stream].append(note)
            self._match(self._shown[note.stream], self._seen[note.stream])

    def _match(self, shown: deque[GroundTruth], seen: deque[Prediction]) -> None:
        while shown and seen:
            if shown[0].seq < seen[0].seq:
                shown.popleft()
            elif shown[0].seq > seen[0].seq:
                seen.popleft()
            else:
                self._judge(shown.popleft(), seen.popleft())

    def _judge(self, shown: GroundTruth, seen: Prediction) -> None:
        if shown.trial != self._trial[shown.stream]:
            self._trial[shown.stream] = shown.trial
            self._trials += 1
            self._subjects.add(shown.subject)
            self._undecided.add(shown.stream)
        self._judged += 1
        self.last[shown.stream] = Outcome(shown.label, seen.label)
        if shown.label == seen.label:
            self._right += 1
            if shown.stream in self._undecided:
                self._undecided.remove(shown.stream)
                self._trials_right += 1
                self._first_right.add(shown.since_us / 1e3)

    def figures(self) -> dict[str, float | int | None]:
        """The score so far, as plain values; no label and nobody's name.

        `judged` windows of `trials` by `people` different people, of which `right` showed what was recognised:
        `accuracy`, beside `chance`, that of guessing among the labels. In `trials_right` trials a window was right, the
        first one ending `first_right_s` after the trial's beginning (median, to 2 %; camera time).
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
