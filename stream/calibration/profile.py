"""Looks at a source the way the line would, and tells what it is like: rate, hot pixels, density, one window.

A source is looked at twice for the same time: first as it is, to find its hot pixels, and then as the network would see
it. A recording is played twice for that, a camera goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket, Sensor, Window
from eventveil.io.camera.device import Tuning
from eventveil.io.camera.live import LiveCamera
from eventveil.io.camera.uri import CameraUri
from eventveil.replay.player.player import Player
from eventveil.replay.player.sources import open_playlist
from eventveil.stream.histogram.density import training_mismatch
from eventveil.stream.plan import WindowPlan
from eventveil.stream.preprocess.hot_pixels import HotPixelSearch
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.settings import CameraSettings, SourceSettings

PATIENCE_S = 5.0  # that a camera is given beyond the time that is asked for: it may see nothing at all

Watch = Callable[[float], object]
"""Called with the seconds of the source's time that have been looked at so far."""


@dataclass(slots=True)
class SourceProfile:
    """What a source is like.

    Attributes:
        sensor: geometry of the camera.
        view: what is looked at of it.
        serial: of a live camera.
        seconds: of the source's time that were looked at.
        events: how many came in that time.
        on: how many of them were ON.
        per_pixel: uint32 (height, width), how many came from each pixel.
        hot: bool (height, width), the pixels that stand out.
        density: of the windows that were full: events per pixel of the window, in the order they came.
        window: float32 (H, W), the densest window, bins and polarities added up; of a source shorter than one window,
            what there was. Raw: it shows a person.
    """

    sensor: Sensor
    view: View
    per_pixel: npt.NDArray[np.uint32]
    hot: npt.NDArray[np.bool_]
    serial: str | None = None
    seconds: float = 0.0
    events: int = 0
    on: int = 0
    density: list[float] = field(default_factory=list)
    window: npt.NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        # What was seen stays out of logs.
        return f"Look({self.sensor})"

    def training_mismatch(self, trained: tuple[float, float, float] | None) -> str | None:
        """How its windows differ from those of the training, if they do by far."""
        if not self.density:
            return None
        return training_mismatch(trained, float(np.median(self.density)), max(self.density))


def profile_source(
    source: SourceSettings, plan: WindowPlan, seconds: float, watch: Watch = lambda _: None
) -> SourceProfile:
    """Look at a source for a while, and see it as the network would.

    Args:
        source: any that can be played or opened; its scene says how it is mounted and looked at.
        plan: how windows are cut for the network.
        seconds: of the source's own time, twice.
        watch: for progress.

    Raises:
        EventVeilError: the source cannot be opened or read, or is smaller than a window.
    """
    with _opened(source, seconds) as (sensor, serial, play):
        view = View.of(sensor, source.scene, plan.size, plan.field)
        search = HotPixelSearch(sensor, seconds)
        seen = SourceProfile(sensor, view, search.counts, np.zeros(search.counts.shape, np.bool_), serial)
        first_us: int | None = None
        for packet in play():
            search.add(packet)
            if len(packet):
                first_us = int(packet.t[0]) if first_us is None else first_us
                seen.events += len(packet)
                seen.on += int(np.count_nonzero(packet.p))
                seen.seconds = (int(packet.t[-1]) - first_us) / 1e6
            watch(seen.seconds)
        # Of a recording that is shorter, the whole of it is the time in which a hot pixel fires all along.
        seen.hot = search.found() if search.over else _over_its_own_time(search, sensor, play, seen)
        _as_the_network_sees_it(seen, SceneFilter(sensor, source.scene, view, serial=serial), plan, play(), watch)
    return seen


def _over_its_own_time(
    search: HotPixelSearch, sensor: Sensor, play: Callable[[], Iterator[EventPacket]], seen: SourceProfile
) -> npt.NDArray[np.bool_]:
    if seen.seconds <= 0 or seen.serial is not None:
        return search.found()
    again = HotPixelSearch(sensor, seen.seconds)
    for packet in play():
        again.add(packet)
    return again.found()


def _as_the_network_sees_it(
    seen: SourceProfile, scene: SceneFilter, plan: WindowPlan, packets: Iterator[EventPacket], watch: Watch
) -> None:
    if scene.masks:
        scene.mask(seen.hot)
    histogrammer = plan.histogrammer(scene.view)
    densest = -1
    began_us: int | None = None

    def keep(window: Window) -> None:
        nonlocal densest
        if window.events > densest:
            densest = window.events
            seen.window = window.counts.sum(axis=tuple(range(window.counts.ndim - 2)), dtype=np.float32)

    def full(window: Window) -> None:
        seen.density.append(window.events / (plan.size[0] * plan.size[1]))
        keep(window)

    for packet in packets:
        for window in histogrammer.push(scene.see(packet)):
            full(window)
        if len(packet):
            began_us = int(packet.t[0]) if began_us is None else began_us
            watch(seen.seconds + (int(packet.t[-1]) - began_us) / 1e6)
    for window in histogrammer.finish():
        if plan.mode == "recording":
            full(window)
        elif not seen.density:
            keep(window)  # what there is of it; it tells nothing of density


@contextmanager
def _opened(
    source: SourceSettings, seconds: float
) -> Iterator[tuple[Sensor, str | None, Callable[[], Iterator[EventPacket]]]]:
    """Open a source; yields its geometry, its serial number where it has one, and what plays so many seconds of it."""
    if source.where.is_camera:
        told = source.camera or CameraSettings()
        tuning = Tuning(biases=told.biases, roi=told.roi, max_event_rate=told.max_event_rate)
        with closing(LiveCamera(CameraUri.parse(source.uri), tuning, quiet_ms=told.quiet_ms)) as camera:
            camera.connect(None if told.wait else 0.0)
            yield camera.sensor, camera.info.serial, lambda: _watched(camera, seconds)
        return
    given: dict[str, Any] = {"sensor": source.sensor, "on_disorder": source.on_disorder}
    programme = open_playlist(source.where, **given, shuffle=source.shuffle, seed=source.seed)
    excerpt = replace(source.excerpt, stop_us=source.excerpt.start_us + round(seconds * 1e6), loop=False)
    yield programme.sensor, None, lambda: iter(Player(programme, excerpt))


def _watched(camera: LiveCamera, seconds: float) -> Iterator[EventPacket]:
    """What a camera sees from now on, for so many seconds of its own time, and not much longer of ours."""
    end_us: int | None = None
    deadline = time.monotonic() + seconds + PATIENCE_S
    while time.monotonic() < deadline:
        packet = camera.read()
        if packet is None:
            continue
        come_to = packet.until_us if packet.until_us is not None else int(packet.t[-1]) if len(packet) else None
        if end_us is None and len(packet):
            end_us = int(packet.t[0]) + round(seconds * 1e6)
        yield packet
        if end_us is not None and come_to is not None and come_to >= end_us:
            return
