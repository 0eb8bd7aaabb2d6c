"""Reads a source in steps of a tenth of a second, including steps without events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from eventveil.events import EventPacket, Sensor
from eventveil.io.camera.live import LiveCamera
from eventveil.io.camera.uri import CameraUri
from eventveil.replay.player.player import Player
from eventveil.replay.player.sources import open_playlist
from eventveil.stream.settings.pipeline import SourceSettings

STEP_US = 100_000
MAX_AGE_MS = 1000  # events of a camera that have waited longer are dropped: this process is too slow for them
LONGEST_SILENCE = 600  # steps of a recording without an event


class LongSilenceError(Exception):
    """A recording has a silence that is too long to show."""


class StoppedError(Exception):
    """The page was closed before the camera was open."""


@contextmanager
def opened(source: SourceSettings, stop: Callable[[], bool]) -> Iterator[tuple[Sensor, Iterator[EventPacket]]]:
    """Open a source; yield its geometry, and its packets: of a camera as they come, of others as fast as possible.

    Args:
        source: the source.
        stop: ends the waiting for a camera, and for its events, when it returns True.

    Raises:
        EventVeilError: it cannot be opened; the packets raise if it cannot be read.
        StoppedError: it was stopped before the camera was open.
    """
    if source.where.is_camera:
        camera = LiveCamera(CameraUri.parse(source.uri), max_age_ms=MAX_AGE_MS, quiet_ms=source.camera.quiet_ms)
        try:
            camera.connect(0, partial(_sleep, stop))
            yield camera.sensor, _packets(camera, stop)
        finally:
            camera.close()
        return
    playlist = open_playlist(
        source.where, sensor=source.sensor, on_disorder=source.on_disorder, on_damage=source.on_damage, shuffle=False,
        seed=None,
    )  # fmt: skip
    with closing(iter(Player(playlist, replace(source.excerpt, loop=False)))) as packets:
        yield playlist.sensor, packets


def _packets(camera: LiveCamera, stop: Callable[[], bool]) -> Iterator[EventPacket]:
    while not stop():
        packet = camera.read()
        if packet is not None:
            yield packet


def _sleep(stop: Callable[[], bool], seconds: float) -> None:
    if stop():
        raise StoppedError
    time.sleep(seconds)


def in_steps(packets: Iterator[EventPacket], stop: Callable[[], bool] = lambda: False) -> Iterator[EventPacket]:
    """Yield the events of each step, on a grid of steps; `until_us` is its end.

    Args:
        packets: in the order of time.
        stop: ends the iteration when it returns True; called for each packet.

    Raises:
        LongSilenceError: nothing happens for more than `LONGEST_SILENCE` steps before an event.
    """
    waiting: list[EventPacket] = []
    end_us: int | None = None
    for packet in packets:
        if stop():
            return
        if end_us is None and len(packet):
            end_us = int(packet.t[0]) // STEP_US * STEP_US + STEP_US
        reached_us = packet.until_us if packet.until_us is not None else int(packet.t[-1]) if len(packet) else None
        silent = 0
        while end_us is not None and reached_us is not None and reached_us >= end_us:
            at = int(packet.t.searchsorted(end_us))
            silent = 0 if at or waiting else silent + 1
            if silent > LONGEST_SILENCE:
                raise LongSilenceError
            yield _joined([*waiting, packet[:at]], end_us)
            waiting, packet = [], EventPacket(packet.t[at:], packet.x[at:], packet.y[at:], packet.p[at:])
            end_us += STEP_US
        if len(packet):
            waiting.append(packet)
    if end_us is not None and waiting:
        yield _joined(waiting, end_us)


def _joined(packets: list[EventPacket], until_us: int) -> EventPacket:
    """Return the events of some packets as one, copied: a source may reuse its arrays."""
    t, x, y, p = (np.concatenate([getattr(packet, name) for packet in packets]) for name in ("t", "x", "y", "p"))
    return EventPacket(t, x, y, p, until_us)
