"""Attackers who look at everything that is sent besides the pictures: headers, lengths, scores and arrival times.

Every number of a header is a feature, and so are its bits and those of every text, the length of each frame, and when a
message arrives. A window's number and time count from where they should be: what is the same for all people is no
feature. Features that never vary are left out; if none is left, there is nothing to compare.

Legend of axes: N windows, F features.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings, read_attacks
from eventveil.audit.attacks.discriminant import Features, attack_pairs
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.messages import Published, Sent, SimulatedPipeline, send
from eventveil.audit.sources import PublishedWindows
from eventveil.audit.stand_in import NOTHING, StandInSource
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.stream.publisher.contents import Provenance
from eventveil.training.data.windows import Windows
from eventveil.training.evaluation.evaluation import EvaluationSet

BITS = 16  # of a number or a text, the last ones
UNKNOWN = "0" * 64  # the digest of a rule, which has no weights
WINDOW_US = 1_000_000  # where a window is a whole recording

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MessagesAttack(AttackJob):
    """The job of one such attacker.

    Attributes:
        subject: name of the subject under attack.
    """

    FILE = "messages"
    TITLE = "headers, lengths and arrival times of {job.subject}"

    subject: str

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Learn from the messages of people in training which of them tell people apart; compare test people."""
        subject = workspace.subject(self.subject)
        sets = [workspace.evaluation_set(part, subject) for part in ("train", "test")]
        table = FeatureTable()
        rows = [_add(one, subject, workspace, table) for one in sets]
        columns = table.columns()
        training, test = (Features.of(columns[row_NM].mean(1), one) for row_NM, one in zip(rows, sets, strict=True))
        attacks = []
        for protocols, name in ((workspace.protocols, "messages"), (workspace.sequences, "messages in order")):
            attacks += attack_pairs(training, test, protocols, knowledge="messages", architecture=name)
        return {"attacks": attacks}


def features_of(sent: Sequence[Sent], before: Sequence[Sent], number: int, window_us: int) -> dict[str, float]:
    """Return the features of a window's messages, by name.

    Args:
        sent: the messages.
        before: those of the window before; none for the first.
        number: number of the window in its session.
        window_us: from the start of one window to that of the next.
    """
    features: dict[str, float] = {}
    last_ns = {message.topic: message.at_ns for message in before}
    for message in sent:
        values = dict(_flat(json.loads(message.header)))
        start_us = number * window_us
        for name, expected in (("seq", number), ("t_start_us", start_us), ("t_end_us", start_us)):
            values[name] -= expected
        values |= {"header bytes": len(message.header), "payload bytes": message.payload}
        values["delay_us"] = (message.at_ns - (number + 1) * window_us * 1000) // 1000
        values["gap_us"] = (message.at_ns - last_ns.get(message.topic, message.at_ns - window_us * 1000)) // 1000
        for name, value in values.items():
            features |= _numbers(f"{message.topic} {name}", value)
    return features


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the numbers and texts in parsed JSON, each with its path."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(part, f"{name}/{key}" if name else str(key))
    elif value is not None:
        yield name, value


def _numbers(name: str, value: Any) -> dict[str, float]:
    """Return a value as numbers: that it is there, its size, and its last bits; of a text, those of its digest."""
    numbers = {name: 1.0}
    if isinstance(value, str):
        bits = int.from_bytes(hashlib.blake2b(value.encode(), digest_size=BITS // 8).digest(), "big")
    else:
        numbers[f"{name} value"] = math.copysign(math.log1p(abs(value)), value)
        bits = round(100 * value) if isinstance(value, float) else int(value)
    return numbers | {f"{name} bit {bit}": float(bits >> bit & 1) for bit in range(BITS)}


class FeatureTable:
    """Features of many messages, as rows: as dictionaries they would take many gigabytes."""

    def __init__(self) -> None:
        self._column: dict[str, int] = {}  # by the feature's name
        self._rows: list[npt.NDArray[np.float32]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, features: Mapping[str, float]) -> None:
        """Add a row."""
        column = self._column
        at = [column.setdefault(name, len(column)) for name in features]
        row = np.zeros(len(column), np.float32)
        row[at] = list(features.values())
        self._rows.append(row)

    def columns(self) -> Floats:
        """Return the table, (N, F), 0 where a feature is missing; without those that never vary, but a column of 0."""
        low, high = np.zeros((2, len(self._column)), np.float32)
        for number, row in enumerate(self._rows):
            whole = np.pad(row, (0, len(low) - len(row)))
            low, high = (whole, whole) if number == 0 else (np.minimum(low, whole), np.maximum(high, whole))
        # By name: the order in which features are found must not decide anything.
        order = np.array([at for _, at in sorted(self._column.items()) if high[at] > low[at]], np.int64)
        table = np.zeros((len(self._rows), max(len(order), 1)))
        for number, row in enumerate(self._rows):
            found = np.flatnonzero(order < len(row))
            table[number, found] = row[order[found]]
        return table


def _add(evaluation_set: EvaluationSet, subject: Subject, workspace: AuditWorkspace, table: FeatureTable) -> Integers:
    """Add the features of all messages of a part; return the rows of each window, (N, messages)."""
    if isinstance(subject.source, StandInSource):
        recordings = workspace.recordings(evaluation_set.part, subject)
        return _add_words(evaluation_set, subject.source, recordings, table)
    draw, window = evaluation_set.draw, evaluation_set.settings.window
    window_us = WINDOW_US if window.bin_us is None else window.bins * window.bin_us
    classifier, begin = subject.classifier, len(table)
    session_N = evaluation_set.windows.session_rows[draw.trial, 0]
    for session in np.unique(session_N).tolist():
        start = draw.start[session_N == session]
        with torch.inference_mode():
            name = ("audit", subject.name, "messages", session)
            x_BCHW = evaluation_set.anonymize_rows(subject.anonymizer, name, start)
            scores_NK = None if classifier is None else classifier.network(x_BCHW).logits.softmax(1)
        published = [
            Published(counts, values.cpu().numpy(), None if scores_NK is None else scores_NK[at].float().cpu().numpy())
            for at, (counts, values) in enumerate(zip(evaluation_set.windows.cut(start), x_BCHW, strict=True))
        ]
        provenance = Provenance(
            anonymizer=subject.digest or UNKNOWN,
            trained=True,
            classifier=None if classifier is None else UNKNOWN,
            classifier_trained=classifier is not None,
            labels=() if scores_NK is None else tuple(str(label) for label in range(scores_NK.shape[1])),
        )
        _add_sent(send(subject.pipeline, published, provenance, window_us=window_us), window_us, table)
    return begin + np.arange(len(draw))[:, None]


def _add_words(evaluation_set: EvaluationSet, source: StandInSource, raw: Windows, table: FeatureTable) -> Integers:
    windows, book, config = evaluation_set.windows, source.book, source.network.config
    assert isinstance(windows, PublishedWindows)
    provenance = Provenance(
        anonymizer=UNKNOWN,
        trained=True,
        labels=tuple(dict.fromkeys(word.label for word in book.words)),
        book=book.digest,
        changes_per_second=config.changes_per_second,
        bits_per_second=source.bits_per_second,
    )
    row_R = np.full(len(windows.word_R), len(table))
    table.add({})  # of steps before the first word
    for first, end in np.unique(windows.session_rows, axis=0).tolist():
        steps = first + np.flatnonzero(windows.word_R[first:end] != NOTHING)
        published = [Published(raw.rows[step], word=int(windows.word_R[step])) for step in steps.tolist()]
        row_R[steps] = len(table) + np.arange(len(steps))
        sent = send(SimulatedPipeline(), published, provenance, window_us=book.step_us, book=book)
        _add_sent(sent, book.step_us, table)
    rows: Integers = row_R[evaluation_set.draw.start[:, None] + np.arange(windows.shape.per_window)]
    return rows


def _add_sent(sent: Sequence[Sequence[Sent]], window_us: int, table: FeatureTable) -> None:
    for number, (messages, before) in enumerate(zip(sent, [(), *sent[:-1]], strict=True)):
        table.add(features_of(messages, before, number, window_us))


def jobs(plan: AuditPlan) -> list[MessagesAttack]:
    """List the jobs for all audited subjects: others have no pipeline that would publish them."""
    return [MessagesAttack(subject.name) for subject in plan.subjects if subject.audited]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return the attacks on a subject."""
    if not subject.audited:
        return {}
    return {"attacks": read_attacks(results.of(MessagesAttack(subject.name).name)["attacks"])}
