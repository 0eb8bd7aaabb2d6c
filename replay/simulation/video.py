"""A video as a source of events: its frames are shown to the simulated sensor.

Between two pictures the sensor assumes that the logarithm of the light changes linearly, so a video of 25 pictures a
second gives events whose times are smooth guesses, and fast movements stay jumps.

Source: how Ahmad et al., Person Re-Identification without Identification via Event Anonymization, ICCV 2023, made
events of the SoftBio data set, with another simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.host.extras import require
from eventveil.replay.simulation.sensor import FULL, EventSensor, Pixels

GAMMA = 2.2  # of the brightness that a video stores
PICTURES = 16  # decoded at a time
LIGHT = np.round(FULL * (np.arange(256) / 255) ** GAMMA).astype(np.uint16)
"""Linear light intensity, as `EventSensor` takes it, for each 8-bit brightness."""


class VideoSource:
    """The events of a video: a context manager and an iterator of packets.

    Args:
        path: a video file, of any format that PyAV decodes.
        size: (width, height) to which its pictures are scaled; None: their own.
        pixels: properties of the sensor's pixels; None for the default.
        seed: seed of the sensor's mismatch and noise; the same seed gives the same events.

    Attributes:
        sensor: geometry.
        step_us: time between pictures, from the average rate of the video.

    Raises:
        ConfigError: PyAV is not installed.
        EventFileError: the file is missing, holds no video, or states no usable rate.
    """

    def __init__(
        self, path: Path, *, size: tuple[int, int] | None = None, pixels: Pixels | None = None, seed: int = 0
    ) -> None:
        with require("av", extra="video"):
            import av
        self._path, self._damaged = path, av.error.FFmpegError
        try:
            self._container: Any = av.open(str(path))
        except (av.error.FFmpegError, OSError) as error:
            raise self._fault("expected a video", f"found none ({error})") from None
        streams = self._container.streams.video
        rate = streams[0].average_rate if streams else None
        if not rate:
            self._container.close()
            raise self._fault("expected a video with a picture rate", "found none")
        self._stream = streams[0]
        width, height = size or (self._stream.width, self._stream.height)
        self.sensor = Sensor(width, height)
        self.step_us = round(1e6 / float(rate))
        self._sensor = EventSensor(self.sensor, pixels=pixels, seed=seed, noise=seed, step_us=self.step_us)
        self._pictures = self._decoded()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventPacket:
        """Return the events of the next pictures.

        Raises:
            EventFileError: a picture cannot be decoded.
        """
        pictures = [picture for _, picture in zip(range(PICTURES), self._pictures, strict=False)]
        if not pictures:
            raise StopIteration
        return self._sensor.watch(np.stack(pictures))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def _decoded(self) -> Iterator[npt.NDArray[np.uint16]]:
        try:
            for frame in self._container.decode(self._stream):
                grey = frame.reformat(width=self.sensor.width, height=self.sensor.height, format="gray")
                yield LIGHT[grey.to_ndarray()]
        except self._damaged as error:
            raise self._fault("expected pictures", f"one cannot be decoded ({error})") from None

    def _fault(self, expected: str, found: str) -> EventFileError:
        return EventFileError(
            self._path, format="video", expected=f"{expected}, {found}", remedy="check the path, or convert the file"
        )
