"""iniVation's cameras through dv-processing 2.x: DVXplorer, Lite, Mini/Micro, DAVIS346 and DVS128.

    eventveil run dv://            the first camera that is found
    eventveil run dv://DXB00010    the one with this serial number

There is no way to close such a camera but to let go of it; its process is ended instead. dv-processing tells nothing
about events that a camera lost, so that `overflow` is never set here. Never tried on a camera: see docs/cameras.md.

Source: dv-processing 2.0.4, its Python interface as installed.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import dv_processing as dv
import numpy as np

from eventveil.events import Sensor
from eventveil.io.aedat4 import RECORD
from eventveil.io.camera import DV, DV_PROCESSING, Batch, CameraInfo, CameraUri, Tuning
from eventveil.io.camera_words import absent, in_use, lost, refused

INTERVAL = timedelta(milliseconds=5)  # how often the driver hands events over; its own 10 ms would add to the latency
CONTRAST = {"contrast_threshold_on": "setContrastThresholdOn", "contrast_threshold_off": "setContrastThresholdOff"}


def discover() -> list[CameraInfo]:
    """The cameras that dv-processing sees."""
    return [
        CameraInfo(
            driver=DV_PROCESSING,
            model=f"iniVation {found.cameraModel.name}",
            serial=found.serialNumber,
            firmware=str(found.firmwareVersion),
            connection=f"USB bus {found.busNumber}, device {found.devAddress}",
            uri=f"{DV}://{found.serialNumber}",
        )
        for found in dv.io.camera.discover()
    ]


class DvCamera:
    """A camera of iniVation.

    Args:
        uri: dv://, or with a serial number.
        tuning: biases `contrast_threshold_on` and `contrast_threshold_off` of a DVXplorer, the twelve biases of a
            DVS128 under dv-processing's names; a region of interest; no limit of the event rate.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning) -> None:
        self._uri = uri
        found = self._find()
        try:
            self._camera = dv.io.camera.open(found)
        except RuntimeError:
            raise in_use(uri) from None
        self.info = CameraInfo(
            driver=DV_PROCESSING,
            model=f"iniVation {found.cameraModel.name}",
            serial=found.serialNumber,
            sensor=Sensor(*self._camera.getEventResolution()),
            firmware=str(found.firmwareVersion),
            uri=f"{DV}://{found.serialNumber}",
        )
        self._camera.setTimeInterval(INTERVAL)
        self._tune(tuning)

    def read(self) -> Batch | None:
        """Return the next events."""
        events = self._camera.getNextEventBatch()
        if events is not None and len(events):
            return Batch(as_records(events), time.monotonic_ns())
        if not self._camera.isRunning():
            raise lost(self._uri)
        return None

    def close(self) -> None:
        """Let go of the camera."""
        del self._camera

    def _find(self) -> Any:
        """The camera that is meant: asked for it by name, dv-processing answers with C++ and a stack."""
        cameras = dv.io.camera.discover()
        for camera in cameras:
            if self._uri.name in ("", camera.serialNumber):
                return camera
        others = ", ".join(camera.serialNumber for camera in cameras)
        raise absent(self._uri, others)

    def _tune(self, tuning: Tuning) -> None:
        if tuning.max_event_rate is not None:
            raise refused(self._uri, "max_event_rate", "dv-processing offers none")
        if tuning.roi is not None:
            self._camera.setCropArea(tuning.roi)
        biases = getattr(type(self._camera), "Bias", None)  # of a DVS128
        for name, value in tuning.biases.items():
            if biases is not None and name in biases.__members__:
                self._camera.setBias(biases.__members__[name], value)
            elif name in CONTRAST and hasattr(self._camera, CONTRAST[name]):
                getattr(self._camera, CONTRAST[name])(value)
            else:
                offered = sorted(biases.__members__) if biases is not None else self._contrast()
                raise refused(self._uri, f"bias {name!r}", f"this camera has {', '.join(offered) or 'none to be set'}")

    def _contrast(self) -> list[str]:
        return [name for name, setter in CONTRAST.items() if hasattr(self._camera, setter)]


def as_records(events: Any) -> Any:
    """An `EventStore` as records of ours: the same 16 bytes, under other names."""
    return np.ascontiguousarray(events.numpy()).view(RECORD)
