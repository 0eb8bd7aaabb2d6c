"""What is shown of a step: the raw events, and what each anonymizer publishes of them, with reconstructions of both.

Legend of axes: K bins, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import ConfigError
from eventveil.events import EventPacket, Sensor, Window
from eventveil.models.pictures import reconstructed, voxel_weights
from eventveil.models.reconstruction import BINS, FireNet, RecurrentState
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import load_same
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.owner.show.steps import STEP_US
from eventveil.stream.planning.books import read_planned
from eventveil.stream.planning.plan import PipelinePlan
from eventveil.stream.preprocess.view import View

MAX_SIDE = 256  # pixels of a picture
GRIDS = 2  # voxel grids in a step: FireNet was trained on short ones
STREAM = "show"
FADE = 0.95  # of the brightest value, from step to step: the scale must not jump

Grey = npt.NDArray[np.uint8]
Signed = npt.NDArray[np.float32]


class PublishedView(Protocol):
    """What an anonymizer publishes, step by step."""

    name: str
    label: str

    def see(self, packet: EventPacket) -> tuple[Signed, Grey | None]:
        """Take the events of a step; return ON minus OFF events (H, W) of what is published, and a reconstruction."""
        ...


class Scale:
    """Turns signed counts into grey: 128 is no event, light is ON. A square root makes faint pixels visible."""

    def __init__(self) -> None:
        self._top = 0.0

    def grey(self, signed: Signed) -> Grey:
        """Return a picture of this step, on the scale of the latest ones."""
        self._top = max(float(np.abs(signed).max(initial=0.0)), FADE * self._top)
        gain = 127 / self._top**0.5 if self._top > 0 else 0.0
        return (128 + gain * np.sign(signed) * np.sqrt(np.abs(signed))).astype(np.uint8)


class Reconstruction:
    """FireNet on the voxel grids of one stream, in the order of time."""

    def __init__(self, network: FireNet) -> None:
        self._network = network
        self._state: RecurrentState | None = None

    def pictures(self, grids_G5HW: npt.NDArray[np.float32]) -> list[Grey]:
        """Return the picture (H, W) after each grid."""
        pictures = []
        for grid in torch.from_numpy(np.ascontiguousarray(grids_G5HW, np.float32)):
            with torch.inference_mode():
                picture, self._state = reconstructed(self._network, grid[None, None], self._state)
            pictures.append((255 * picture[0, 0]).round().to(torch.uint8).numpy())
        return pictures


class EventPanel:
    """Events as they are, of the camera or of a stand-in, with their reconstruction.

    Args:
        view: the part of the sensor that is shown.
        network: FireNet, or None.
    """

    def __init__(self, view: View, network: FireNet | None) -> None:
        width, height = view.crop[2:] if view.crop else (view.sensor.width, view.sensor.height)
        factor = max(1, -(-max(width, height) // MAX_SIDE))
        self.size = max(1, width // factor), max(1, height // factor)
        self._view = view
        self._network = None if network is None else Reconstruction(network)
        self._counts: WindowedHistogrammer | None = None
        self._grids: WindowedHistogrammer | None = None
        self._picture: Grey | None = None

    def see(self, packet: EventPacket) -> tuple[Signed, Grey | None]:
        """Take the events of a step; return ON minus OFF events (H, W), and a reconstruction."""
        assert packet.until_us is not None
        if self._counts is None:
            self._counts = self._histogrammer(packet.until_us - STEP_US, 1, STEP_US)
        signed = np.zeros(self.size[::-1], np.float32)
        for window in self._counts.push(packet):
            signed += window.counts[0, 1].astype(np.float32) - window.counts[0, 0]
        if self._network is not None:
            if self._grids is None:
                self._grids = self._histogrammer(packet.until_us - STEP_US, BINS, STEP_US // GRIDS // BINS, voxel=True)
            grids = [window.counts for window in self._grids.push(packet)]
            for picture in self._network.pictures(np.stack(grids)) if grids else ():
                self._picture = picture
        return signed, self._picture

    def _histogrammer(self, start_us: int, bins: int, bin_us: int, *, voxel: bool = False) -> WindowedHistogrammer:
        view = self._view
        return WindowedHistogrammer(
            view.sensor, self.size, bins, bin_us, mode="voxel" if voxel else "windows", crop=view.crop,
            flip_x=view.flip_x, flip_y=view.flip_y, start_us=start_us,
        )  # fmt: skip


class WindowPanel:
    """The windows of an anonymizer, bin by bin, from the moment at which each is complete."""

    def __init__(self, name: str, plan: PipelinePlan, view: View, network: FireNet | None) -> None:
        settings, window = plan.settings, replace(plan.window, hop=None)  # no bin is published twice
        assert settings.anonymize.weights is not None
        if window.hop_us is None:
            raise ConfigError(
                f"{name}: its windows are whole recordings and cannot be shown step by step; choose other weights"
            )
        weights = load_same(settings.anonymize.weights, plan.provenance.anonymizer)
        self.name, self.label = name, ""
        self._histogrammer = window.histogrammer(view)
        self._anonymizer = Anonymizer(weights, device=settings.anonymize.device)
        self._network = None if network is None else Reconstruction(network)
        self._voxels = window.mode == "voxel"
        self._steps = max(1, window.hop_us // STEP_US)
        self._blank = np.zeros(window.size[::-1], np.float32)
        self._images: list[Signed] = []  # still to come, the next one first
        self._pictures: list[Grey] = []
        self._picture: Grey | None = None
        self._classifier, self._labels = None, plan.provenance.labels
        if settings.classify.weights is not None:
            gestures = load_same(settings.classify.weights, plan.provenance.classifier)
            self._classifier = Classifier(gestures, device=settings.classify.device)

    def see(self, packet: EventPacket) -> tuple[Signed, Grey | None]:
        """Take the events of a step; return ON minus OFF events (H, W) of what is published, and a reconstruction."""
        windows = list(self._histogrammer.push(packet))
        if windows:
            self._images, self._pictures = [], []
            self._take(windows)
        image = self._images.pop(0) if self._images else self._blank
        self._picture = self._pictures.pop(0) if self._pictures else self._picture
        return image, self._picture

    def _take(self, windows: Sequence[Window]) -> None:
        """Anonymize the windows that end in this step, and prepare the pictures of the next ones."""
        values_NCHW = self._anonymizer([window.counts for window in windows])
        if self._classifier is not None:
            self.label = self._labels[int(self._classifier(values_NCHW)[-1].argmax())]
        bins = values_NCHW if self._voxels else values_NCHW[:, 1::2] - values_NCHW[:, 0::2]
        bins_KHW = bins.reshape(-1, *bins.shape[2:])
        self._images = [part.sum(0, dtype=np.float32) for part in _parts(bins_KHW, self._steps)]
        if self._network is not None:
            grids = bins if self._voxels else np.einsum("gvk,nkhw->ngvhw", voxel_weights(bins.shape[1]).numpy(), bins)
            pictures = self._network.pictures(grids.reshape(-1, BINS, *bins.shape[2:]))
            self._pictures = [pictures[n * len(pictures) // self._steps] for n in range(self._steps)]


class StandInPanel:
    """The words of a stand-in."""

    def __init__(self, name: str, plan: PipelinePlan, view: View, network: FireNet | None) -> None:
        assert plan.book is not None
        assert plan.settings.anonymize.weights is not None
        weights = load_same(plan.settings.anonymize.weights, plan.provenance.anonymizer)
        self.name, self.label = name, ""
        self._book = read_planned(plan.book)
        self._stand_in = StandInRuntime(weights, device=plan.settings.anonymize.device)
        self._histogrammer = plan.window.histogrammer(view)
        self._panel = EventPanel(View(self._book.sensor), network)
        self._word: int | None = None

    def see(self, packet: EventPacket) -> tuple[Signed, Grey | None]:
        """Take the events of a step; return ON minus OFF events (H, W) of what is published, and a reconstruction."""
        assert packet.until_us is not None
        windows = list(self._histogrammer.push(packet))
        if windows:
            counts, ends_us = [window.counts for window in windows], [window.t_end_us for window in windows]
            self._word = self._stand_in(counts, [STREAM] * len(counts), ends_us)[-1]
            self.label = self._book.words[self._word].label
        return self._panel.see(self._events(packet.until_us))

    def _events(self, until_us: int) -> EventPacket:
        """Return the events of the word in the step that ends at this time."""
        if self._word is None:
            return EventPacket.empty(until_us)
        step_us, start_us = self._book.step_us, until_us - STEP_US
        begins = range(start_us // step_us * step_us, until_us, step_us)
        parts = [self._book.events(self._word, begin_us) for begin_us in begins]
        t, x, y, p = (np.concatenate([getattr(part, name) for part in parts]) for name in ("t", "x", "y", "p"))
        inside = (t >= start_us) & (t < until_us)
        return EventPacket(t[inside], x[inside], y[inside], p[inside], until_us)


def panel_of(name: str, plan: PipelinePlan, sensor: Sensor, network: FireNet | None) -> PublishedView:
    """Return what shows the anonymizer of a plan.

    Raises:
        ConfigError: it takes whole recordings.
        EventError: the sensor is smaller than its windows.
        WeightsError, BookError: a file has changed since the plan was made.
    """
    view = View.of(sensor, plan.settings.sources[0].scene, plan.window.size, plan.window.field)
    make = WindowPanel if plan.book is None else StandInPanel
    return make(name, plan, view, network)


def _parts(bins_KHW: Signed, parts: int) -> list[Signed]:
    """Divide the bins of a window into steps; a bin that is longer than a step is shown in each of them."""
    bounds = [n * len(bins_KHW) // parts for n in range(parts + 1)]
    return [bins_KHW[low : max(high, low + 1)] for low, high in pairwise(bounds)]
