"""Measures a source as the pipeline would process it: rate, hot pixels, density, and one window.

It reads the source twice for the same time: first unprocessed, to find its hot pixels, and then as the network would
receive it. A recording is played twice for this; a camera simply continues.
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
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.preprocess.hot_pixels import HotPixelSearch
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.settings.pipeline import CameraSettings, SourceSettings

PATIENCE_S = 5.0  # how much longer than requested to wait for a camera, which may see no motion at all

Progress = Callable[[float], object]
"""Called with the seconds of the source's time that have been read so far."""


@dataclass(slots=True)
class SourceProfile:
    """The measured properties of a source.

    Attributes:
        sensor: geometry of the camera.
        view: the part of the sensor that is used.
        serial: serial number of a live camera.
        seconds: how much of the source's time was read.
        events: number of events in that time.
        on: number of ON events among them.
        per_pixel: uint32 (height, width), number of events of each pixel.
        hot: bool (height, width), the hot pixels.
        density: events per pixel of each complete window, in temporal order.
        window: float32 (H, W), the densest window, summed over bins and polarities; of a source shorter than one
            window, the incomplete window. Raw: it shows a person.
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
        # Raw data stays out of logs.
        return f"SourceProfile({self.sensor})"

    def training_mismatch(self, trained: tuple[float, float, float] | None) -> str | None:
        """Describe how the windows differ from those of the training, if they differ greatly; else return None."""
        if not self.density:
            return None
        return training_mismatch(trained, float(np.median(self.density)), max(self.density))


def profile_source(
    source: SourceSettings, plan: WindowPlan, seconds: float, progress: Progress = lambda _: None
) -> SourceProfile:
    """Read a source for some seconds and measure it as the network would receive it.

    Args:
        source: a source that can be played or opened; its scene states how it is mounted and cropped.
        plan: how windows are cut for the network.
        seconds: how much of the source's own time to read, twice.
        progress: called after each packet.

    Raises:
        EventVeilError: the source cannot be opened or read, or is smaller than a window.
    """
    with _opened(source, seconds) as (sensor, serial, play):
        view = View.of(sensor, source.scene, plan.shape, plan.field)
        search = HotPixelSearch(sensor, seconds)
        profile = SourceProfile(sensor, view, search.counts, np.zeros(search.counts.shape, np.bool_), serial)
        first_us: int | None = None
        for packet in play():
            search.add(packet)
            if len(packet):
                first_us = int(packet.t[0]) if first_us is None else first_us
                profile.events += len(packet)
                profile.on += int(np.count_nonzero(packet.p))
                profile.seconds = (int(packet.t[-1]) - first_us) / 1e6
            progress(profile.seconds)
        # In a shorter recording, a hot pixel is one that fires during the whole recording.
        profile.hot = search.hot_pixels() if search.is_over else _hot_in_recording(search, sensor, play, profile)
        scene = SceneFilter(sensor, source.scene, view, serial=serial)
        _measure_windows(profile, scene, plan, play(), progress)
    return profile


def _hot_in_recording(
    search: HotPixelSearch, sensor: Sensor, play: Callable[[], Iterator[EventPacket]], profile: SourceProfile
) -> npt.NDArray[np.bool_]:
    if profile.seconds <= 0 or profile.serial is not None:
        return search.hot_pixels()
    shorter = HotPixelSearch(sensor, profile.seconds)
    for packet in play():
        shorter.add(packet)
    return shorter.hot_pixels()


def _measure_windows(
    profile: SourceProfile, scene: SceneFilter, plan: WindowPlan, packets: Iterator[EventPacket], progress: Progress
) -> None:
    """Fill in the density and the densest window of a profile."""
    if scene.masks:
        scene.mask(profile.hot)
    histogrammer = plan.histogrammer(scene.view)
    densest = -1
    first_us: int | None = None

    def keep_densest(window: Window) -> None:
        nonlocal densest
        if window.events > densest:
            densest = window.events
            profile.window = window.counts.sum(axis=tuple(range(window.counts.ndim - 2)), dtype=np.float32)

    def add_complete(window: Window) -> None:
        profile.density.append(window.events / (plan.size[0] * plan.size[1]))
        keep_densest(window)

    for packet in packets:
        for window in histogrammer.push(scene.see(packet)):
            add_complete(window)
        if len(packet):
            first_us = int(packet.t[0]) if first_us is None else first_us
            progress(profile.seconds + (int(packet.t[-1]) - first_us) / 1e6)
    for window in histogrammer.finish():
        if plan.mode == "recording":
            add_complete(window)
        elif not profile.density:
            keep_densest(window)  # incomplete, so it says nothing about density


@contextmanager
def _opened(
    source: SourceSettings, seconds: float
) -> Iterator[tuple[Sensor, str | None, Callable[[], Iterator[EventPacket]]]]:
    """Open a source; yield its geometry, its serial number if any, and a function that plays `seconds` of it."""
    if source.where.is_camera:
        settings = source.camera or CameraSettings()
        tuning = Tuning(biases=settings.biases, roi=settings.roi, max_event_rate=settings.max_event_rate)
        with closing(LiveCamera(CameraUri.parse(source.uri), tuning, quiet_ms=settings.quiet_ms)) as camera:
            camera.connect(None if settings.wait else 0.0)
            yield camera.sensor, camera.info.serial, lambda: _read_camera(camera, seconds)
        return
    options: dict[str, Any] = {"sensor": source.sensor, "on_disorder": source.on_disorder}
    playlist = open_playlist(source.where, **options, shuffle=source.shuffle, seed=source.seed)
    excerpt = replace(source.excerpt, stop_us=source.excerpt.start_us + round(seconds * 1e6), loop=False)
    yield playlist.sensor, None, lambda: iter(Player(playlist, excerpt))


def _read_camera(camera: LiveCamera, seconds: float) -> Iterator[EventPacket]:
    """Yield packets of a camera for some seconds of its time, with a limit on the machine's time."""
    end_us: int | None = None
    deadline = time.monotonic() + seconds + PATIENCE_S
    while time.monotonic() < deadline:
        packet = camera.read()
        if packet is None:
            continue
        reached_us = packet.until_us if packet.until_us is not None else int(packet.t[-1]) if len(packet) else None
        if end_us is None and len(packet):
            end_us = int(packet.t[0]) + round(seconds * 1e6)
        yield packet
        if end_us is not None and reached_us is not None and reached_us >= end_us:
            return
