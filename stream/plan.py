"""What will run, with nothing left open: plain values that can be handed to another process, and no torch in sight."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.publisher.publisher import Provenance
from eventveil.stream.settings import PipelineSettings

if TYPE_CHECKING:
    from eventveil.stream.preprocess.view import View


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How events become windows, with nothing left open.

    Attributes:
        field: (width, height) in pixels of what windows showed in training, where the weights tell it.
        density: events per pixel of a window in training: few, as many as most had, many; likewise.
    """

    mode: Literal["windows", "recording", "voxel"]
    bins: int
    bin_us: int | None
    hop: int | None
    size: tuple[int, int]
    field: tuple[int, int] | None = None
    density: tuple[float, float, float] | None = None

    @property
    def hop_us(self) -> int | None:
        """From the start of a window to that of the next; None where a whole recording is one."""
        return None if self.bin_us is None else self.bin_us * (self.hop or self.bins)

    def histogrammer(self, view: View, start_us: int | None = None) -> WindowedHistogrammer:
        """A histogrammer for one source; its first window begins at `start_us`, or with the first event.

        Raises:
            EventError: the sensor is smaller than the window, or does not hold the crop.
        """
        return WindowedHistogrammer(
            view.sensor,
            size=self.size,
            bins=self.bins,
            bin_us=self.bin_us,
            hop=self.hop,
            mode=self.mode,
            crop=view.crop,
            field=view.field,
            flip_x=view.flip_x,
            flip_y=view.flip_y,
            start_us=start_us,
        )


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """A line that can be started: plain values, so that they can be handed to another process.

    Attributes:
        judged: the streams of which it is known what they show, in words that the classifier has, too.
        remarks: what the user should know about the others.
        run: a name for this run that no other has: subscribers tell by it whether a publisher goes on or begins anew.
    """

    settings: PipelineSettings
    window: WindowPlan
    provenance: Provenance
    judged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    run: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def max_age_ms(self) -> int | None:
        """How old a window may be; None where nothing may be dropped."""
        line = self.settings.line
        return line.max_age_ms if line.delivery == "live" else None
