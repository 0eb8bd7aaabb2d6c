"""Fits the view of a camera to the scenes that the network was trained on.

The view is first turned upright; then its centre is cropped to the aspect ratio of the training scenes and thinned out
to their resolution. This costs nothing per event: it is part of the tables of `PixelMap`, and a quarter turn swaps
columns and rows. `NoiseFilter` removes sensor noise before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from eventveil.errors import ConfigError
from eventveil.events import EventPacket, Sensor
from eventveil.stream.histogram.pixel_map import centred
from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile
from eventveil.stream.preprocess.hot_pixels import HotPixelSearch
from eventveil.stream.preprocess.noise_filter import NoiseFilter
from eventveil.stream.settings.pipeline import SceneSettings

SEARCH_S = 3.0  # how long to search for hot pixels; until then their events are kept


@dataclass(frozen=True, slots=True)
class View:
    """A sensor turned upright, and the part of it that is used.

    Attributes:
        sensor: upright geometry, in whose pixels the other attributes are given.
        crop: (x, y, width, height) that is kept; None keeps all of it.
        field: (width, height) in pixels to which the crop is thinned out; None uses all pixels.
        flip_x: mirror left and right.
        flip_y: mirror top and bottom.
        turned: whether its rows are columns of the camera.
    """

    sensor: Sensor
    crop: tuple[int, int, int, int] | None = None
    field: tuple[int, int] | None = None
    flip_x: bool = False
    flip_y: bool = False
    turned: bool = False

    @classmethod
    def of(
        cls, sensor: Sensor, scene: SceneSettings, shape: tuple[int, int] | None, trained: tuple[int, int] | None = None
    ) -> Self:
        """Return the view of a sensor that the settings describe.

        Args:
            sensor: geometry of the camera.
            scene: how the camera is mounted, and which part of its view is used.
            shape: (width, height) of the windows; None where they are boxes around events, which need no centre.
            trained: (width, height) in pixels that windows covered in training, if known.
        """
        # A quarter turn clockwise swaps rows and columns and mirrors left and right; two of them mirror both ways.
        turned = scene.rotate in (90, 270)
        upright = Sensor(sensor.height, sensor.width) if turned else sensor
        crop: tuple[int, int, int, int] | None = None
        if scene.crop == "centre":
            aspect = trained or shape
            crop = None if aspect is None else centred(upright, aspect)
        elif scene.crop != "all":
            x, y, width, height = scene.crop
            crop = (y, x, height, width) if turned else (x, y, width, height)
        return cls(
            upright,
            crop,
            trained if scene.pixels == "trained" else None,
            flip_x=(scene.rotate in (90, 180)) != scene.mirror,
            flip_y=scene.rotate in (180, 270),
            turned=turned,
        )


class SceneFilter:
    """Filters the packets of one source for the histogrammer.

    Args:
        sensor: geometry of the camera.
        scene: the settings of the scene.
        view: `View.of` both.
        serial: serial number of a live camera, whose hot pixels are stored.

    Attributes:
        view: as given.
        masks: whether hot pixels are removed.
    """

    def __init__(self, sensor: Sensor, scene: SceneSettings, view: View, *, serial: str | None = None) -> None:
        self.view = view
        self._swap = scene.swap_polarity
        self._filter = NoiseFilter(sensor, scene.noise_us)
        self._search: HotPixelSearch | None = None
        self._file: HotPixelFile | None = None
        self._unsaved = 0
        self.masks = scene.hot_pixels not in ("auto", "off") or (scene.hot_pixels == "auto" and serial is not None)
        if not self.masks:
            return
        if serial is not None:
            self._file = HotPixelFile(serial, sensor, days=scene.hot_pixels_days)
            if scene.hot_pixels != "anew":
                self._filter.hot = self._file.load()
        if self._filter.hot is None:
            self._search = HotPixelSearch(sensor, SEARCH_S)

    def counts(self) -> dict[str, int]:
        """Return the events removed so far and the number of hot pixels; `unkept` if those could not be saved."""
        hot = 0 if self._filter.hot is None else int(np.count_nonzero(self._filter.hot))
        counts = {"hot_pixels": hot, "hot": self._filter.masked, "noise": self._filter.isolated}
        return counts | ({"unkept": self._unsaved} if self._unsaved else {})

    def see(self, packet: EventPacket) -> EventPacket:
        """Return a packet as the histogrammer of `view` expects it."""
        if self._search is not None:
            self._search.add(packet)
            if self._search.is_over:
                self.mask(self._search.hot_pixels())
        packet = self._filter(packet)
        p = ~packet.p if self._swap else packet.p
        if self.view.turned:
            return EventPacket(packet.t, packet.y, packet.x, p, packet.until_us)
        return EventPacket(packet.t, packet.x, packet.y, p, packet.until_us) if self._swap else packet

    def mask(self, hot: npt.NDArray[np.bool_]) -> None:
        """Remove hot pixels, bool (height, width), from now on; store them if the camera has a serial number."""
        self._search = None
        self._filter.hot = hot
        if self._file is not None:
            try:
                self._file.save(hot)
            except ConfigError:  # the mask works for this run without the file, so the run continues
                self._unsaved = 1
