"""The resolved plan of a pipeline: plain values that can be passed to another process, without torch."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.settings.pipeline import PipelineSettings

if TYPE_CHECKING:
    from eventveil.events import Window
    from eventveil.stream.histogram import WindowedHistogrammer
    from eventveil.stream.histogram.event_box import Box
    from eventveil.stream.planning.books import BookPlan
    from eventveil.stream.preprocess.view import View


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How events become windows, with all defaults resolved.

    Attributes:
        mode: what a window is; see `WindowedHistogrammer`.
        bins: bins of a window.
        bin_us: length of a bin in microseconds; None where a whole recording is one window.
        hop: bins from the start of a window to that of the next; None is `bins`.
        size: (width, height) of a window in cells.
        field: (width, height) in sensor pixels that windows covered in training; None if not recorded.
        density: 1 %, 50 % and 99 % quantile of the events per pixel of a training window; None if not recorded.
        box: whether a window is the box around its events, see `stream.histogram.event_box`.
        clock_us: step of the clock that divides a whole recording into bins.
        judge_end: whether what is published of a window is about its last hop, as for a stand-in.
    """

    mode: Literal["windows", "recording", "voxel"]
    bins: int
    bin_us: int | None
    hop: int | None
    size: tuple[int, int]
    field: tuple[int, int] | None = None
    density: tuple[float, float, float] | None = None
    box: Box | None = None
    clock_us: int = 1
    judge_end: bool = False

    def judged_from_us(self, window: Window) -> int:
        """Return the start of the part of a window, up to its end, whose ground truth is compared with the gesture."""
        if self.judge_end and self.hop_us is not None:
            return window.t_end_us - self.hop_us
        return window.t_start_us

    @property
    def hop_us(self) -> int | None:
        """Time from the start of a window to that of the next; None where a whole recording is one window."""
        return None if self.bin_us is None else self.bin_us * (self.hop or self.bins)

    @property
    def shape(self) -> tuple[int, int] | None:
        """(width, height) whose aspect ratio the view of a camera should have; None for the box around events."""
        return self.size if self.box is None else None

    def histogrammer(self, view: View, start_us: int | None = None) -> WindowedHistogrammer:
        """Return a histogrammer for one source; its first window starts at `start_us`, or on a grid of `hop_us`.

        Raises:
            EventError: the sensor is smaller than the window, or does not contain the crop.
        """
        from eventveil.stream.histogram import WindowedHistogrammer

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
            grid_us=self.hop_us,
            box=self.box,
            clock_us=self.clock_us,
        )


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """A pipeline that is ready to start.

    Attributes:
        settings: the settings that it was made from.
        window: how events become windows.
        provenance: the weights in use.
        book: the book of a stand-in, or None.
        min_density: events per pixel of a raw window below which no gesture is named; None: always named.
        judged: streams whose ground truth has classes that the classifier, or the book, knows: their accuracy is
            measured.
        remarks: what the user should know before the pipeline starts.
        run: a unique name of this run, by which subscribers distinguish a restarted publisher from a new run.
    """

    settings: PipelineSettings
    window: WindowPlan
    provenance: Provenance
    book: BookPlan | None = None
    min_density: float | None = None
    judged: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    run: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def max_age_ms(self) -> int | None:
        """The age above which a window is dropped; None in lossless delivery."""
        line = self.settings.line
        return line.max_age_ms if line.delivery == "live" else None
