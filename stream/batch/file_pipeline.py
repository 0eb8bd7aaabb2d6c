"""The stages of a pipeline in one thread, from one recording to one file: read, cut, anonymize, classify, publish.

They are the stages of `eventveil run`, the publisher included, so the same checks hold: only sealed windows are
written, no bin twice, and of a stand-in only what its book says, with as many changes a second as it may have.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import load_same
from eventveil.replay.player.player import Excerpt, Player
from eventveil.replay.playlist import Clip, Playlist
from eventveil.stream.archive.message_writer import EVENT_FORMATS, MessageWriter, message_writer
from eventveil.stream.batch.recordings import Recording
from eventveil.stream.planning.books import read_planned
from eventveil.stream.planning.plan import PipelinePlan
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.protocol.wire import decode
from eventveil.stream.publisher.gesture_filter import GestureFilter
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.stage import Transform
from eventveil.stream.runtime.windows import Origin, RawWindow, Seal
from eventveil.stream.settings.models import ModelSettings
from eventveil.stream.stages.transform import AnonymizeTransform, ChooseWordTransform, ClassifyTransform

DAY_US = 86_400_000_000
LONGEST_SILENCE_US = DAY_US


class FilePipeline:
    """Anonymizes recordings, one after the other.

    Args:
        plan: plan of the networks, and how events become windows.
        form: format of the files.

    Raises:
        WeightsError: a weights file has changed since it was checked.
        BookError: the book has.
    """

    def __init__(self, plan: PipelinePlan, form: str) -> None:
        self._plan = plan
        self._form = form
        self._book = None if plan.book is None else read_planned(plan.book)
        self._seal = Seal(Seal.new_key())
        self._stand_in: StandInRuntime | None = None
        self._transforms: list[Transform] = [self._anonymizer(), *self._classifier()]

    def anonymize(self, recording: Recording, path: Path, *, replace: bool) -> tuple[int, dict[str, int]]:
        """Write the anonymized file of a recording.

        The name of the file is that of its stream in the headers; the run is a new one for each file.

        Returns:
            How many windows the file holds, and how much of the recording was left out or corrected, by reason.

        Raises:
            EventVeilError: the recording cannot be read, or a network failed. No file is written.
            OSError: the file cannot be written.
        """
        stream, plan = path.stem, self._plan
        counters = PipelineCounters(("publish",), (stream,))["publish"]
        counters.life = 1
        classify = plan.settings.classify
        with message_writer(path, self._form, replace=replace) as writer:
            publisher = Publisher(
                _Outlet(writer),
                self._seal,
                plan.provenance,
                counters,
                run=secrets.token_hex(8),
                max_age_ms=None,
                gestures=GestureFilter(classify.min_probability, classify.hold),
                book=self._book,
                events=self._form in EVENT_FORMATS,
                clock_ns=lambda: 0,  # the file must not show how long the work took
            )
            publisher.certify()
            made, omissions = self._publish(recording, stream, publisher)
            publisher.take(StageMessage(stream, None, made=made))
            publisher.announce("ended")
            if not made:
                raise EventError(f"{recording.name}: has no events, so there is no window to write; leave it out")
        return made, omissions

    def _publish(self, recording: Recording, stream: str, publisher: Publisher) -> tuple[int, dict[str, int]]:
        """Pass the windows of a recording to the publisher; return how many there were, and what was left out."""
        made = 0
        with recording.open() as events:
            sensor = events.sensor
        playlist = Playlist(sensor, lambda _: (Clip(recording.open),), begins_us=recording.begins_us)
        player = Player(playlist, Excerpt())
        try:
            with (
                closing(_without_endless_silence(player, recording.name)) as packets,
                closing(self._windows(packets, sensor, stream)) as windows,
            ):
                while batch := list(islice(windows, self._plan.settings.anonymize.batch)):
                    made += len(batch)
                    for window in self._transform(batch):
                        publisher.take(StageMessage(stream, window))
        finally:
            if self._stand_in is not None:
                self._stand_in.forget(stream)
        return made, dict(player.omissions)

    def _transform(self, windows: Sequence[Any]) -> Sequence[Any]:
        for transform in self._transforms:
            windows = transform.process(windows)
        return windows

    def _windows(self, player: Iterable[EventPacket], sensor: Sensor, stream: str) -> Generator[RawWindow, None, None]:
        plan, scene_settings = self._plan.window, self._plan.settings.sources[0].scene
        view = View.of(sensor, scene_settings, plan.shape, plan.field)
        scene, histogrammer = SceneFilter(sensor, scene_settings, view), plan.histogrammer(view)

        def raw(windows: Iterable[Any]) -> Iterator[RawWindow]:
            for window in windows:
                origin = Origin(stream, sensor, window.seq, window.t_start_us, window.t_end_us, ended_ns=0)
                yield RawWindow(origin, window.counts)

        for packet in player:
            yield from raw(histogrammer.push(scene.see(packet)))
        yield from raw(histogrammer.finish())

    def _anonymizer(self) -> Transform:
        settings, plan = self._plan.settings.anonymize, self._plan
        assert settings.weights is not None
        weights = load_same(settings.weights, plan.provenance.anonymizer)
        if self._book is not None:
            self._stand_in = StandInRuntime(weights, device=settings.device, precision=_precision(settings))
            return ChooseWordTransform(self._stand_in, self._seal, self._book.step_us)
        runtime = Anonymizer(weights, device=settings.device, precision=_precision(settings))
        return AnonymizeTransform(runtime, self._seal, plan.min_density)

    def _classifier(self) -> Iterator[Transform]:
        settings = self._plan.settings.classify
        if settings.weights is not None:
            weights = load_same(settings.weights, self._plan.provenance.classifier)
            yield ClassifyTransform(Classifier(weights, device=settings.device, precision=_precision(settings)))


def _precision(settings: ModelSettings) -> str:
    """Return fp32 for auto: what is written of a recording must not depend on what was faster that day."""
    return "fp32" if settings.precision == "auto" else settings.precision


def _without_endless_silence(player: Player, name: str) -> Generator[EventPacket, None, None]:
    """Yield the packets of a recording up to a silence of days, which would become millions of empty windows.

    A last event whose time is damaged contradicts nothing, so readers keep it.

    Raises:
        EventError: there is such a silence.
    """
    last_us: int | None = None
    with closing(iter(player)) as packets:
        for packet in packets:
            last_us = int(packet.t[0]) if last_us is None and len(packet) else last_us
            reached_us = packet.until_us if packet.until_us is not None else int(packet.t[-1]) if len(packet) else None
            if last_us is not None and reached_us is not None and reached_us - last_us > LONGEST_SILENCE_US:
                gaps_us = np.diff(packet.t, prepend=last_us, append=reached_us)
                if int(gaps_us.max()) > LONGEST_SILENCE_US:
                    raise EventError(
                        f"{name}: nothing happens for {int(gaps_us.max()) / DAY_US:,.1f} days before "
                        f"{last_us + int(gaps_us[: gaps_us.argmax() + 1].sum())} us: its times are damaged, or it is "
                        "more than one recording; cut it there"
                    )
            last_us = reached_us if reached_us is not None else last_us
            yield packet


class _Outlet:
    """Writes what the publisher sends to a file instead of a socket."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer

    def send_multipart(self, msg_parts: Sequence[Any], *, copy: bool) -> None:  # noqa: ARG002 - as the socket's
        self._writer.write(decode([bytes(frame) for frame in msg_parts]))
