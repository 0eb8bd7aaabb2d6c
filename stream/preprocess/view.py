"""The scene is not the dataset: makes what a camera sees look like what the network was trained on.

How the camera hangs there is set right first, then its middle is looked at in the shape of the training scenes, with as
many pixels as those had. All of this costs nothing for an event: it is in the tables of `PixelMap`, and a camera on its
side has columns for rows. Events that nobody caused are left out before, by `Cleaner`.
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
from eventveil.stream.preprocess.noise_filter import Cleaner
from eventveil.stream.settings import SceneSettings

SEARCH_S = 3.0  # how long hot pixels are searched for; until then they count


@dataclass(frozen=True, slots=True)
class View:
    """A sensor set upright, and what is looked at of it.

    Attributes:
        sensor: its geometry upright, in which the next three are meant.
        crop: (x, y, width, height) that is kept; None keeps all of it.
        field: (width, height) in pixels that are looked at of that; None looks at all.
        flip_x, flip_y: mirror left and right, top and bottom.
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
        cls, sensor: Sensor, scene: SceneSettings, size: tuple[int, int], trained: tuple[int, int] | None = None
    ) -> Self:
        """Look at a sensor as the settings say.

        Args:
            sensor: geometry of the camera.
            scene: how it is mounted, and what of it is looked at.
            size: (width, height) of the windows.
            trained: (width, height) in pixels of what windows showed in training, where that is known.
        """
        # A quarter turn clockwise is rows for columns, mirrored left and right; two of them mirror both ways.
        turned = scene.rotate in (90, 270)
        upright = Sensor(sensor.height, sensor.width) if turned else sensor
        crop: tuple[int, int, int, int] | None = None
        if scene.crop == "centre":
            crop = centred(upright, trained or size)
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
    """One source on its way to the histogrammer.

    Args:
        sensor: geometry of the camera.
        scene: how it is to be seen.
        view: made of both.
        serial: of a live camera, whose hot pixels are remembered.

    Attributes:
        view: as given.
        masks: whether hot pixels are left out.
    """

    def __init__(self, sensor: Sensor, scene: SceneSettings, view: View, *, serial: str | None = None) -> None:
        self.view = view
        self._swap = scene.swap_polarity
        self._cleaner = Cleaner(sensor, scene.noise_us)
        self._search: HotPixelSearch | None = None
        self._kept_in: HotPixelFile | None = None
        self._unkept = 0
        self.masks = scene.hot_pixels not in ("auto", "off") or (scene.hot_pixels == "auto" and serial is not None)
        if not self.masks:
            return
        if serial is not None:
            self._kept_in = HotPixelFile(serial, sensor)
            if scene.hot_pixels != "anew":
                self._cleaner.hot = self._kept_in.load()
        if self._cleaner.hot is None:
            self._search = HotPixelSearch(sensor, SEARCH_S)

    def counts(self) -> dict[str, int]:
        """What was left out so far, and how many pixels are known to be hot; `unkept` where they will be forgotten."""
        hot = 0 if self._cleaner.hot is None else int(np.count_nonzero(self._cleaner.hot))
        counts = {"hot_pixels": hot, "hot": self._cleaner.masked, "noise": self._cleaner.lonely}
        return counts | ({"unkept": self._unkept} if self._unkept else {})

    def see(self, packet: EventPacket) -> EventPacket:
        """Return a packet as the histogrammer of `view` is to get it."""
        if self._search is not None:
            self._search.add(packet)
            if self._search.over:
                self.mask(self._search.found())
        packet = self._cleaner(packet)
        p = ~packet.p if self._swap else packet.p
        if self.view.turned:
            return EventPacket(packet.t, packet.y, packet.x, p, packet.until_us)
        return EventPacket(packet.t, packet.x, packet.y, p, packet.until_us) if self._swap else packet

    def mask(self, hot: npt.NDArray[np.bool_]) -> None:
        """Leave these out from now on, and remember them where the camera is known: bool (height, width)."""
        self._search = None
        self._cleaner.hot = hot
        if self._kept_in is not None:
            try:
                self._kept_in.save(hot)
            except ConfigError:  # they are known for this run; that is worth more than the file
                self._unkept = 1
