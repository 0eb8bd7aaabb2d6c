"""Before and after: pictures of one recording, from its raw events and from what would be published of it.

OUT/work/pictures/recording-SUBJECT.png     shows the person recorded: private, and never part of report.html
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.attacks.base import AttackJob, Findings
from eventveil.audit.execution.scheduler import Results
from eventveil.audit.report.image_grid import SHEETS, draw_sheet
from eventveil.audit.settings import train_settings
from eventveil.audit.subjects import Subject
from eventveil.audit.workspace.pictures import grids_of
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError
from eventveil.events import EventPacket
from eventveil.io import open_events
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import LiveNoise
from eventveil.models.pictures import reconstructed
from eventveil.models.reconstruction import BINS, FireNet, RecurrentState, load_firenet
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.data.loader import prepared
from eventveil.training.settings import CLOCK_US, TrainingWindowSettings, TrainSettings

LONGEST_US = 10_000_000  # part of the recording that is used
SHORT_US = 40_000  # length of a grid of the raw events: FireNet was trained on short ones


@dataclass(frozen=True)
class BeforeAndAfter(AttackJob):
    """The job of drawing a recording, before and after.

    Attributes:
        subject: name of the anonymizer.
        recording: its file.
        weights: FireNet's file.
    """

    FILE = "recording"
    TITLE = "a recording before and after {job.subject}"

    subject: str
    recording: Path
    weights: Path

    def run(self, workspace: AuditWorkspace) -> dict[str, Any]:
        """Draw the recording; nothing is measured."""
        device, subject = workspace.group.device, workspace.subject(self.subject)
        network = load_firenet(self.weights).to(device)
        settings = train_settings(workspace.settings, pooled=False)
        with torch.inference_mode():
            before = _last(raw_pictures(self.recording, network, device))
            raw, published = recorded_windows(self.recording, subject.anonymizer, settings, device)
            columns = [
                ("all raw events", before),
                ("raw window", raw[-1].sum(0).cpu().numpy()),
                ("its picture", _last(window_pictures(network, raw, settings.window))),
                ("published window", published[-1].sum(0).cpu().numpy()),
                ("its picture", _last(window_pictures(network, published, settings.window))),
            ]
        path = workspace.work / SHEETS / f"recording-{subject.folder}.png"
        draw_sheet(path, [("", [picture for _, picture in columns])], [title for title, _ in columns])
        return {"drawn": True}


def _packets(path: Path) -> Iterator[tuple[Any, EventPacket]]:
    """Yield the sensor and a packet, for the packets of the first ten seconds."""
    first_us: int | None = None
    with open_events(path) as source:
        for packet in source:
            if len(packet):
                first_us = int(packet.t[0]) if first_us is None else first_us
                if int(packet.t[0]) - first_us >= LONGEST_US:
                    return
            yield source.sensor, packet


def raw_pictures(path: Path, network: FireNet, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield a picture (1, 1, H, W) of the raw events every 40 ms, in the sensor's full resolution.

    Raises:
        AuditError: the recording is too short for one.
    """
    histogrammer: WindowedHistogrammer | None = None
    state: RecurrentState | None = None
    for sensor, packet in _packets(path):
        histogrammer = histogrammer or WindowedHistogrammer(sensor, bins=BINS, bin_us=SHORT_US // BINS, mode="voxel")
        for window in histogrammer.push(packet):
            grid_BGVHW = torch.from_numpy(window.counts).to(device)[None, None]
            picture, state = reconstructed(network, grid_BGVHW, state)
            yield picture
    if state is None:
        raise AuditError(f"{path}: the recording is too short for a picture ({SHORT_US // 1000} ms); choose another")


def recorded_windows(
    path: Path, anonymizer: AnonymizerNetwork, settings: TrainSettings, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the windows up to the one with most events, raw and anonymized, (N, C, H, W) each.

    They are cut as the pipeline cuts them.
    """
    histogrammer: WindowedHistogrammer | None = None
    counts: list[npt.NDArray[Any]] = []
    cut = settings.window
    for sensor, packet in _packets(path):
        histogrammer = histogrammer or WindowedHistogrammer(
            sensor,
            cut.size,
            cut.bins,
            cut.bin_us,
            mode=cut.mode,
            crop=None if isinstance(cut.crop, str) else cut.crop,
            box=cut.crop if isinstance(cut.crop, str) else None,
            clock_us=CLOCK_US[cut.clock],
        )
        counts += [window.counts for window in histogrammer.push(packet)]
    if histogrammer is not None:
        counts += [window.counts for window in histogrammer.finish()]
    if not counts:
        raise AuditError(f"{path}: the recording has no events; set reconstruction.recording to another")
    most = int(np.argmax([np.abs(window).sum() for window in counts]))
    height, width = counts[0].shape[-2:]
    stacked = np.stack(counts[: most + 1]).astype(np.float32).reshape(most + 1, -1, height, width)
    raw = prepared(torch.from_numpy(stacked).to(device), settings)
    return raw, anonymizer.anonymize(raw, LiveNoise())


def window_pictures(network: FireNet, x_NCHW: torch.Tensor, window: TrainingWindowSettings) -> Iterator[torch.Tensor]:
    """Yield the picture (1, 1, H, W) of each window; the network's state carries over from those before it."""
    state: RecurrentState | None = None
    for x_1CHW in torch.split(x_NCHW, 1):
        picture, state = reconstructed(network, grids_of(x_1CHW, window), state)
        yield picture


def _last(pictures: Iterable[torch.Tensor]) -> npt.NDArray[np.float32]:
    """Return the last picture, (H, W), and keep no other: a long recording has thousands."""
    (picture_11HW,) = deque(pictures, maxlen=1)
    return np.asarray(picture_11HW[0, 0].cpu().numpy())


def jobs(plan: AuditPlan) -> list[BeforeAndAfter]:
    """List the jobs of drawing the recording that the settings name, for audited anonymizers."""
    settings = plan.settings.reconstruction
    if settings.recording is None or settings.weights is None:
        return []
    return [
        BeforeAndAfter(subject.name, settings.recording, settings.weights)
        for subject in plan.subjects
        if subject.audited and subject.source is None
    ]


def collect(subject: Subject, plan: AuditPlan, results: Results) -> Findings:  # noqa: ARG001
    """Return nothing: the pictures are private."""
    return {}
