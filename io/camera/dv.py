"""iniVation's cameras through dv-processing 2.x: DVXplorer, Lite, Mini/Micro, DAVIS346 and DVS128.

    eventveil run dv://            the first camera found
    eventveil run dv://DXB00010    the one with this serial number

Such a camera can only be closed by deleting it; its process is ended instead. dv-processing does not report events that
a camera lost, so `overflow` is never set here. Never tried on a camera: see docs/cameras.md.

Source: dv-processing 2.0.4, its Python interface as installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import dv_processing as dv
import numpy as np

from eventveil.events import Sensor
from eventveil.io.camera.configure import apply, check_biases, check_roi, refusal
from eventveil.io.camera.device import CameraBatch, CameraInfo, Tuning
from eventveil.io.camera.errors import camera_in_use, camera_lost, camera_not_found
from eventveil.io.camera.uri import DV, DV_PROCESSING, CameraUri
from eventveil.io.formats.aedat4 import RECORD

INTERVAL = timedelta(milliseconds=5)  # how often the driver delivers events; its default of 10 ms would add latency
CONTRAST = {"contrast_threshold_on": "setContrastThresholdOn", "contrast_threshold_off": "setContrastThresholdOff"}
FINE, COARSE = 256, 8  # steps of a DAVIS's biases


def discover() -> list[CameraInfo]:
    """Return the cameras that dv-processing sees."""
    return [
        CameraInfo(
            driver=DV_PROCESSING,
            model=f"iniVation {camera.cameraModel.name}",
            serial=camera.serialNumber,
            firmware=str(camera.firmwareVersion),
            connection=f"USB bus {camera.busNumber}, device {camera.devAddress}",
            uri=f"{DV}://{camera.serialNumber}",
        )
        for camera in dv.io.camera.discover()
    ]


class DvCamera:
    """An iniVation camera.

    Args:
        uri: dv://, optionally with a serial number.
        tuning: biases `contrast_threshold_on` and `contrast_threshold_off` of a DVXplorer; those of a DVS128 and of a
            DAVIS346 under dv-processing's names, for a DAVIS346 as 256 times the coarse value plus the fine value; a
            region of interest; no limit of the event rate.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning) -> None:
        self._uri = uri
        descriptor = self._find()
        try:
            self._camera = dv.io.camera.open(descriptor)
        except RuntimeError:
            raise camera_in_use(uri) from None
        self.info = CameraInfo(
            driver=DV_PROCESSING,
            model=f"iniVation {descriptor.cameraModel.name}",
            serial=descriptor.serialNumber,
            sensor=Sensor(*self._camera.getEventResolution()),
            firmware=str(descriptor.firmwareVersion),
            uri=f"{DV}://{descriptor.serialNumber}",
        )
        self._camera.setTimeInterval(INTERVAL)
        self._tune(tuning)

    def read(self) -> CameraBatch | None:
        """Return the next events."""
        events = self._camera.getNextEventBatch()
        if events is not None and len(events):
            return CameraBatch(as_records(events), time.monotonic_ns())
        if not self._camera.isRunning():
            raise camera_lost(self._uri)
        return None

    def close(self) -> None:
        """Close the camera by deleting it."""
        del self._camera

    def _find(self) -> Any:
        """Return the requested camera; if opened by name, dv-processing raises C++ errors with a stack trace."""
        cameras = dv.io.camera.discover()
        for camera in cameras:
            if self._uri.name in ("", camera.serialNumber):
                return camera
        others = ", ".join(camera.serialNumber for camera in cameras)
        raise camera_not_found(self._uri, others)

    def _tune(self, tuning: Tuning) -> None:
        uri, camera, sensor = self._uri, self._camera, self.info.sensor
        assert sensor is not None
        if tuning.max_event_rate is not None:
            raise refusal(uri, "max_event_rate", "dv-processing cannot limit the event rate")
        setters = self._biases()
        check_biases(uri, tuning, setters)
        check_roi(uri, tuning, sensor)
        for name, value in tuning.biases.items():
            apply(uri, f"bias {name}={value}", setters[name], value)
        if tuning.roi is not None:
            apply(uri, "roi", camera.setCropArea, tuning.roi)

    def _biases(self) -> dict[str, Callable[[int], Any]]:
        """Return the setter of each bias of this camera."""
        camera, kind = self._camera, type(self._camera)
        if hasattr(kind, "Bias"):  # a DVS128
            return {name: partial(camera.setBias, bias) for name, bias in kind.Bias.__members__.items()}
        if hasattr(kind, "SensorModel"):  # a DAVIS
            if camera.getSensorModel() != kind.SensorModel.DAVIS346:
                return {}
            biases = kind.Davis346BiasCF.__members__
            return {name: partial(_set_davis346, camera, bias) for name, bias in biases.items()}
        return {name: getattr(camera, setter) for name, setter in CONTRAST.items() if hasattr(camera, setter)}


def _set_davis346(camera: Any, bias: Any, value: int) -> bool:
    """Set a bias that is given as in neuromorphic-drivers, as one number for coarse and fine."""
    coarse, fine = divmod(value, FINE)
    if not 0 <= coarse < COARSE:
        return False
    camera.setDavis346BiasCoarseFine(bias, coarse, fine)
    return True


def as_records(events: Any) -> Any:
    """View an `EventStore` as our records: the same 16 bytes under other names."""
    return np.ascontiguousarray(events.numpy()).view(RECORD)
