"""Recordings with a label for every moment, and windows that end at any of them.

The stand-in decides about the present from the last second alone. So the label of a window is what was true shortly
before its end, not what fills most of it. Recordings are binned whole, because a gesture begins while something else is
still in the window.

Legend of axes: R rows, N windows, B windows of a batch, C channels, H rows of pixels, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.replay.datasets.clip_source import open_cut
from eventveil.replay.datasets.trials import Trial
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.loader import UNLABELLED
from eventveil.training.data.split import Watch
from eventveil.training.data.windows import Windows, build

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelledSpan:
    """A span of a recording with one class, microseconds from its beginning; the end is excluded.

    The beginning is that of its rows, before the first event. A span that begins earlier starts below 0.
    """

    start_us: int
    end_us: int
    target: int


@dataclass(frozen=True, slots=True)
class LabelledRecording:
    """A recording from its first label to its last, and the spans in between, in order.

    Attributes:
        whole: all of it.
        spans: the spans.
        alone: whether it is one trial, which has a file of its own.
    """

    whole: Trial
    spans: tuple[LabelledSpan, ...]
    alone: bool


@dataclass(frozen=True)
class Moments:
    """The rows of recordings, with their labels.

    Attributes:
        recordings: sorted by subject and session.
        windows: their rows; one of `windows.trials` for each recording.
        label_R: class of each row; -1 where there is none.
        begin_R: the first row that a window which holds this row may begin with.
    """

    recordings: tuple[LabelledRecording, ...]
    windows: Windows
    label_R: Integers
    begin_R: Integers

    def ends(self, before: int) -> tuple[Integers, Integers]:
        """Return where windows may end, (N,), and their labels, (N,).

        A window that ends at `end` holds the rows before it, and its label is that of row `end - 1 - before`.
        """
        end = np.arange(self.windows.shape.per_window, len(self.label_R) + 1)
        begin, label = self.begin_R[end - 1], self.label_R[end - 1 - before]
        fits = (end - self.windows.shape.per_window >= begin) & (end - 1 - before >= begin) & (label != UNLABELLED)
        return end[fits], label[fits]

    def rows_per_bin(self, end_B: Integers, wanted_B: Integers) -> Integers:
        """Return how many rows the bins of windows that end at these rows have, (B,): as many as wanted, or as are."""
        available_B = (end_B - self.begin_R[end_B - 1]) // self.windows.shape.bins
        return np.asarray(np.minimum(wanted_B, available_B))

    def cut(self, end_B: Integers, rows_per_bin_B: Integers) -> npt.NDArray[np.float32]:
        """Return the windows that end at these rows: float32 (B, C, H, W).

        With other rows per bin than usual a window shows more or less time, so motion is faster or slower in it. Where
        that would reach too far back, it has as many as there are: `rows_per_bin`.
        """
        shape = self.windows.shape
        out = np.empty((len(end_B), shape.bins, *shape.row), np.float32)
        for window, end, rows in zip(out, end_B, self.rows_per_bin(end_B, rows_per_bin_B), strict=True):
            part = self.windows.rows[end - shape.bins * rows : end]
            part.reshape(shape.bins, rows, *shape.row).sum(1, dtype=np.float32, out=window)
        return out.reshape(len(end_B), shape.bins * shape.row[0], *shape.row[1:])


def whole_recordings(trials: Iterable[Trial]) -> list[LabelledRecording]:
    """Join the trials that are spans of one file; a trial in a file of its own is a recording with one span."""
    recordings = []
    for path, parts in groupby(sorted(trials, key=lambda one: (str(one.path), one.start_us)), key=lambda one: one.path):
        spans = list(parts)
        first, end_us = spans[0], max(span.start_us + span.duration_us for span in spans)
        labelled = tuple(
            LabelledSpan(at := span.start_us - first.start_us, at + span.duration_us, span.target)
            for span in spans
            if span.target is not None
        )
        alone = "#" not in first.name  # the dataset opens it without cutting it
        recordings.append(LabelledRecording(first if alone else _joined(path, first, end_us), labelled, alone))
    return recordings


def _joined(path: Path, first: Trial, end_us: int) -> Trial:
    return replace(
        first,
        name=path.name,
        target=None,
        label=None,
        duration_us=end_us - first.start_us,
        opener=partial(open_cut, path, first.start_us, end_us),
    )


def _from_first_event(recording: LabelledRecording, row_us: int) -> LabelledRecording:
    """Return a recording whose spans count from its first event, as its rows do, in whole rows."""
    whole = recording.whole
    if recording.alone:
        return recording
    with whole.open() as packets:
        first_us = next((int(packet.t[0]) for packet in packets if len(packet)), whole.start_us)
    late_us = (first_us - whole.start_us) // row_us * row_us
    spans = (LabelledSpan(span.start_us - late_us, span.end_us - late_us, span.target) for span in recording.spans)
    return replace(recording, spans=tuple(spans))


def load_moments(trials: Iterable[Trial], shape: RowShape, folder: Path, workers: int, watch: Watch) -> Moments:
    """Bin whole recordings, or find the rows of an earlier run, and label every row.

    Args:
        trials: trials of one part of a dataset.
        shape: shape of the rows.
        folder: folder of prepared windows.
        workers: processes that read recordings.
        watch: shows progress.

    Raises:
        TrainingError: the rows cannot be kept.
        EventVeilError: a recording cannot be read.
    """
    by_name = {recording.whole.name: recording for recording in whole_recordings(trials)}
    wholes = [recording.whole for recording in by_name.values()]
    progress = partial(watch, "windows of recordings")
    windows = build(wholes, shape, folder, workers=workers, watch=progress)
    assert shape.row_us is not None
    label_R = np.full(int(windows.first_row[-1]), UNLABELLED)
    recordings = tuple(_from_first_event(by_name[trial.name], shape.row_us) for trial in windows.trials)
    for recording, (first, end) in zip(recordings, pairwise(windows.first_row), strict=True):
        for span in recording.spans:
            bounds = (first + round(at_us / shape.row_us) for at_us in (span.start_us, span.end_us))
            label_R[slice(*np.clip(list(bounds), first, end))] = span.target
    # Trials of one session in files of their own follow each other, as if the person changed from one to the next.
    begins = np.where([recording.alone for recording in recordings], windows.session_rows[:, 0], windows.first_row[:-1])
    return Moments(recordings, windows, label_R, np.repeat(begins, np.diff(windows.first_row)))
