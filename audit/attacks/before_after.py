"""Before and after: the pictures of one recording, as its events are and as they would be published.

OUT/work/pictures/recording-SUBJECT.png     it shows who was recorded: private, and in no report that is passed on
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.report.image_grid import SHEETS, draw_sheet
from eventveil.audit.settings import AuditSettings, train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.pictures import grids_of, reconstructed
from eventveil.audit.workspace.workspace import AuditWorkspace
from eventveil.errors import AuditError
from eventveil.events import EventPacket
from eventveil.io import open_events
from eventveil.models.kinds import Anonymizer
from eventveil.models.noise import LiveNoise
from eventveil.models.reconstruction import BINS, FireNet, RecurrentState, load_firenet
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.data.loader import prepared
from eventveil.training.networks.subjects import folder_of
from eventveil.training.settings import TrainingWindowSettings, TrainSettings

LONGEST_US = 10_000_000  # of the recording that is looked at
SHORT_US = 40_000  # a grid of the events as they are: FireNet was made for short ones


@dataclass(frozen=True)
class BeforeAndAfter:
    """The job of drawing a recording, before and after.

    Attributes:
        subject: name of the anonymizer.
        recording: its file.
        weights: of FireNet.
    """

    subject: str
    recording: Path
    weights: Path

    @property
    def name(self) -> str:
        """Of its file of results."""
        return f"{folder_of(self.subject)}/recording"

    @property
    def title(self) -> str:
        """What it does."""
        return f"a recording before and after {self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        """It needs nobody."""
        return ()

    def run(self, bench: AuditWorkspace) -> dict[str, Any]:
        """Draw it; nothing is measured."""
        device, subject = bench.world.device, bench.subject(self.subject)
        network = load_firenet(self.weights).to(device)
        settings = train_settings(bench.settings, pooled=False)
        with torch.inference_mode():
            before = _as_it_is(self.recording, network, device)
            raw, published = _windows(self.recording, subject.anonymizer, settings, device)
            columns = [
                ("all that the camera saw", before),
                ("raw window", raw[-1].sum(0).cpu().numpy()),
                ("its picture", _last_picture(network, raw, settings.window)),
                ("published window", published[-1].sum(0).cpu().numpy()),
                ("its picture", _last_picture(network, published, settings.window)),
            ]
        path = bench.work / SHEETS / f"recording-{subject.folder}.png"
        draw_sheet(path, [("", [picture for _, picture in columns])], [title for title, _ in columns])
        return {"drawn": True}


def _packets(path: Path) -> Iterator[tuple[Any, EventPacket]]:
    """The sensor, and the packets of the first ten seconds."""
    first_us: int | None = None
    with open_events(path) as source:
        for packet in source:
            if len(packet):
                first_us = int(packet.t[0]) if first_us is None else first_us
                if int(packet.t[0]) - first_us >= LONGEST_US:
                    return
            yield source.sensor, packet


def _as_it_is(path: Path, network: FireNet, device: torch.device) -> npt.NDArray[np.float32]:
    """The picture of the raw events, in the sensor's full resolution, at the end."""
    histogrammer: WindowedHistogrammer | None = None
    picture: torch.Tensor | None = None
    state: RecurrentState | None = None
    for sensor, packet in _packets(path):
        histogrammer = histogrammer or WindowedHistogrammer(sensor, bins=BINS, bin_us=SHORT_US // BINS, mode="voxel")
        for window in histogrammer.push(packet):
            grid_BGVHW = torch.from_numpy(window.counts).to(device)[None, None]
            picture, state = reconstructed(network, grid_BGVHW, state)
    if picture is None:
        raise AuditError(f"{path}: the recording is too short to make a picture of; it takes {SHORT_US // 1000} ms")
    return np.asarray(picture[0, 0].cpu().numpy())


def _windows(
    path: Path, anonymizer: Anonymizer, settings: TrainSettings, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw windows (N, C, H, W), cut as the line cuts them, up to the one with most events; and what is published."""
    histogrammer: WindowedHistogrammer | None = None
    held: list[npt.NDArray[Any]] = []
    own = settings.window
    for sensor, packet in _packets(path):
        histogrammer = histogrammer or WindowedHistogrammer(
            sensor, own.size, own.bins, own.bin_us, mode=own.mode, crop=None if own.crop == "events" else own.crop
        )
        held += [window.counts for window in histogrammer.push(packet)]
    if histogrammer is not None:
        held += [window.counts for window in histogrammer.finish()]
    if not held:
        raise AuditError(f"{path}: the recording has no events; name another as reconstruction.recording")
    most = int(np.argmax([np.abs(counts).sum() for counts in held]))
    height, width = held[0].shape[-2:]
    stacked = np.stack(held[: most + 1]).astype(np.float32).reshape(most + 1, -1, height, width)
    raw = prepared(torch.from_numpy(stacked).to(device), settings)
    return raw, anonymizer.anonymize(raw, LiveNoise())


def _last_picture(network: FireNet, x_NCHW: torch.Tensor, window: TrainingWindowSettings) -> npt.NDArray[np.float32]:
    """The picture of the last window, with what was seen in those before it."""
    state: RecurrentState | None = None
    for x_1CHW in torch.split(x_NCHW, 1):
        picture, state = reconstructed(network, grids_of(x_1CHW, window), state)
    return np.asarray(picture[0, 0].cpu().numpy())


def recording_jobs(settings: AuditSettings, subjects: Sequence[Subject]) -> list[BeforeAndAfter]:
    """The jobs of drawing the recording that the settings name, for audited anonymizers."""
    own = settings.reconstruction
    if own.recording is None or own.weights is None:
        return []
    return [BeforeAndAfter(subject.name, own.recording, own.weights) for subject in subjects if subject.audited]
