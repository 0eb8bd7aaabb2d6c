"""The anonymizer as a transform of events, for tonic pipelines and PyTorch data loaders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import BookError
from eventveil.events import EventPacket, Sensor, Window
from eventveil.models.book import Book
from eventveil.models.rate_limit import WordLimiter
from eventveil.models.runtime import Anonymizer
from eventveil.models.stand_in import StandIn
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import Weights
from eventveil.stream.histogram import WindowedHistogrammer

BATCH = 8  # windows anonymized at once
STREAM = "events"


class AnonymizeEvents:
    """Turns the events of one recording into the windows that a pipeline would publish of it.

    It can stand in `tonic.transforms.Compose`. Each call draws new noise: two results of the same events could be
    averaged, so publish at most one of them. Nothing here is published, and no check of a publisher is made.

    Args:
        weights: weights of an anonymizer.
        sensor_size: width and height of the camera in pixels, and the polarities, as tonic states it.
        book: the book of a stand-in; None for other anonymizers.
        device: cpu, cuda or auto. The default is the CPU, because CUDA does not work in the workers of a data loader.

    Raises:
        WeightsError: the weights are not those of an anonymizer.
        BookError: a stand-in without its book, or a book for another anonymizer.
        ConfigError: there is no such device.

    Example:
        >>> from eventveil.models import load_weights
        >>> from eventveil.models.shipped import BOOK, STAND_IN
        >>> anonymize = AnonymizeEvents(load_weights(STAND_IN), (128, 128, 2), Book.read(BOOK))
        >>> fields = [("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "?")]
        >>> events = np.array([(5, 7, 0, 1), (6, 7, 1_250_000, 0)], fields)
        >>> anonymize(events).shape
        (4, 2, 128, 128)
    """

    def __init__(
        self, weights: Weights, sensor_size: Sequence[int], book: Book | None = None, *, device: str = "cpu"
    ) -> None:
        config = weights.model.config if isinstance(weights.model, StandIn) else None
        expected = None if config is None else config.book
        if expected != (book and book.digest):
            raise BookError(
                f"expected the book {expected}, with which the stand-in was trained, got {book and book.digest}"
                if expected
                else f"expected no book, because {weights.metadata.kind} does not use one; leave it out"
            )
        self._sensor = Sensor(*sensor_size[:2])
        self._metadata = weights.metadata
        self._book = book
        self._anonymizer = Anonymizer(weights, device=device) if book is None else None
        self._stand_in = StandInRuntime(weights, device=device) if book is not None else None
        self._most_changes = 0 if config is None else config.changes_per_second

    def __call__(self, events: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Anonymize the events of a recording.

        Args:
            events: structured array with the fields t (microseconds, in order), x, y and p, as tonic has them.

        Returns:
            float32 (N, C, H, W), N windows, of a histogram channel 2k + p; of a stand-in, a window for each step that
            it has decided on.

        Raises:
            AnonymizerError: the anonymizer failed. No window is returned.
            EventError: events or sensor do not fit the windows of the weights.
        """
        windows = self._windows(EventPacket.of(events["t"], events["x"], events["y"], events["p"]))
        width, height = self._metadata.size if self._book is None else self._book.metadata.sensor
        channels = self._metadata.channels if self._book is None else 2 * self._book.bins
        limiter = None
        if self._stand_in is not None:
            self._stand_in.forget(STREAM)  # of an earlier call
            limiter = WordLimiter(self._most_changes)
        batches = [windows[at : at + BATCH] for at in range(0, len(windows), BATCH)]
        return np.concatenate([
            np.empty((0, channels, height, width), np.float32),  # without events, there are no windows
            *(self._published(batch, limiter) for batch in batches),
        ])  # fmt: skip

    def _windows(self, packet: EventPacket) -> list[Window]:
        metadata, overlap = self._metadata, self._book is not None
        fixed = metadata.bin_us is not None
        hop = metadata.hop if overlap else metadata.bins  # no bin is published twice
        histogrammer = WindowedHistogrammer(
            self._sensor,
            metadata.size,
            metadata.bins,
            metadata.bin_us,
            hop=hop,
            mode="voxel" if metadata.representation == "voxel" else metadata.mode,
            field=None if metadata.scene is None else metadata.scene.field,
            grid_us=(hop or 1) * (metadata.bin_us or 1) if fixed else None,
        )
        return [*histogrammer.push(packet), *histogrammer.finish()]

    def _published(self, windows: Sequence[Window], limiter: WordLimiter | None) -> npt.NDArray[np.float32]:
        counts = [window.counts for window in windows]
        if self._anonymizer is not None:
            return self._anonymizer(counts)
        assert self._stand_in is not None
        assert self._book is not None
        assert limiter is not None
        ends_us = [window.t_end_us for window in windows]
        words = self._stand_in(counts, [STREAM] * len(counts), ends_us)
        steps = [(word, end_us - self._book.step_us) for word, end_us in zip(words, ends_us, strict=True)]
        return np.stack([self._book.window(limiter.limit(word, start_us), start_us) for word, start_us in steps])
