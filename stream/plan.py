"""What will run, with nothing left open: plain values that can be handed to another process, and no torch in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eventveil.events import Sensor
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.publish import Provenance
from eventveil.stream.settings import RunSettings


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How events become windows, with nothing left open."""

    mode: Literal["windows", "recording", "voxel"]
    bins: int
    bin_us: int | None
    hop: int | None
    size: tuple[int, int]
    crop: tuple[int, int, int, int] | None
    flip_x: bool
    flip_y: bool

    def histogrammer(self, sensor: Sensor) -> WindowedHistogrammer:
        """A histogrammer for one source.

        Raises:
            EventError: the sensor is smaller than the window, or does not hold the crop.
        """
        return WindowedHistogrammer(
            sensor,
            size=self.size,
            bins=self.bins,
            bin_us=self.bin_us,
            hop=self.hop,
            mode=self.mode,
            crop=self.crop,
            flip_x=self.flip_x,
            flip_y=self.flip_y,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A line that can be started: plain values, so that they can be handed to another process.

    Attributes:
        judged: the streams of which it is known what they show, in words that the classifier has, too.
        remarks: what the user should know about the others.
    """

    settings: RunSettings
    window: WindowPlan
    provenance: Provenance
    judged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def max_age_ms(self) -> int | None:
        """How old a window may be; None where nothing may be dropped."""
        line = self.settings.line
        return line.max_age_ms if line.delivery == "live" else None
