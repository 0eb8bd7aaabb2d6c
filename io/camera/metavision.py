"""Prophesee's and other makers' cameras through the Metavision SDK or OpenEB, its open-source part.

    eventveil run prophesee://
    eventveil run prophesee://00050423

The SDK is not on the package index; it is used if this Python finds it. Events come from its own decoder, because
Python can read its raw buffers only byte by byte; coordinates are the sensor's, as in its recordings. It does not
report events that a camera lost, so `overflow` is never set here.

Written from the SDK's sources; never run, not even without a camera: see docs/cameras.md.

Source: OpenEB, Python bindings of HAL (hal/python/bindings: DeviceDiscovery, I_EventsStream, I_EventsStreamDecoder,
I_EventDecoder, I_Geometry, I_HW_Identification, I_LL_Biases, I_ROI, I_ErcModule), and docs.prophesee.ai, "HAL Python".
"""

from __future__ import annotations

import time
from typing import Any

import metavision_hal as hal
import numpy as np

from eventveil.events import Sensor
from eventveil.io.camera.configure import apply, check_biases, check_roi, refusal
from eventveil.io.camera.device import CameraBatch, CameraInfo, Tuning, to_records
from eventveil.io.camera.errors import camera_in_use, camera_lost, camera_not_found
from eventveil.io.camera.uri import METAVISION, CameraUri
from eventveil.io.formats.aedat4 import RECORD


def discover() -> list[CameraInfo]:
    """Return the cameras that the SDK sees."""
    return [
        CameraInfo(
            driver=METAVISION,
            model=f"{source.integrator_name} ({source.plugin_name})",
            serial=source.serial,
            connection=str(source.connection).rpartition(".")[2],
            uri=f"prophesee://{source.serial}",
        )
        for source in hal.DeviceDiscovery.list_available_sources_local()
    ]


class MetavisionCamera:
    """A camera supported by the Metavision SDK.

    Args:
        uri: prophesee://, optionally with a serial number.
        tuning: biases under the SDK's names (`bias_diff_on`, ...); a region of interest; a limit of the event rate.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning) -> None:
        self._uri = uri
        self._decoded: list[Any] = []
        self._device = self._open()
        identification, geometry = self._device.get_i_hw_identification(), self._device.get_i_geometry()
        self.info = CameraInfo(
            driver=METAVISION,
            model=f"{identification.get_integrator()} {identification.get_sensor_info().name}",
            serial=identification.get_serial(),
            sensor=Sensor(geometry.get_width(), geometry.get_height()),
            firmware=str(identification.get_system_info().get("System Version", "")) or None,
            uri=f"prophesee://{identification.get_serial()}",
        )
        self._tune(tuning)
        self._stream = self._device.get_i_events_stream()
        self._decoder = self._device.get_i_events_stream_decoder()
        # The SDK reuses its buffer, so the events are copied.
        self._device.get_i_event_cd_decoder().add_event_buffer_callback(
            lambda events: self._decoded.append(to_records(events["t"], events["x"], events["y"], events["p"]))
        )
        self._stream.start()

    def read(self) -> CameraBatch | None:
        """Return the next events."""
        status = self._stream.poll_buffer()
        if status < 0:
            raise camera_lost(self._uri)
        if status == 0:
            return None
        received_ns = time.monotonic_ns()
        self._decoder.decode(self._stream.get_latest_raw_data())
        decoded, self._decoded = self._decoded, []
        if not decoded:
            return None
        # As bytes: NumPy would drop the padding of the records.
        return CameraBatch(np.concatenate([part.view(np.uint8) for part in decoded]).view(RECORD), received_ns)

    def close(self) -> None:
        """Close the camera."""
        self._stream.stop()

    def _open(self) -> Any:
        serials = [source.serial for source in hal.DeviceDiscovery.list_available_sources_local()]
        if not serials or self._uri.name not in ("", *serials):
            raise camera_not_found(self._uri, ", ".join(serials))
        try:
            device = hal.DeviceDiscovery.open(self._uri.name)
        except RuntimeError:
            raise camera_in_use(self._uri) from None
        if device is None:
            raise camera_in_use(self._uri)
        return device

    def _tune(self, tuning: Tuning) -> None:
        uri, sensor = self._uri, self.info.sensor
        assert sensor is not None
        biases, roi = self._device.get_i_ll_biases(), self._device.get_i_roi()
        check_biases(uri, tuning, () if biases is None else biases.get_all_biases())
        check_roi(uri, tuning, sensor)
        for name, value in tuning.biases.items():
            apply(uri, f"bias {name}={value}", biases.set, name, value)
        if tuning.roi is not None:
            if roi is None:
                raise refusal(uri, "roi", "this camera has no region of interest")
            apply(uri, "roi", roi.set_window, hal.I_ROI.Window(*tuning.roi))
            apply(uri, "roi", roi.enable, True)
        if tuning.max_event_rate is not None:
            control = self._device.get_i_erc_module()
            if control is None:
                raise refusal(uri, "max_event_rate", "this camera cannot limit its event rate")
            apply(uri, f"max_event_rate {tuning.max_event_rate}", control.set_cd_event_rate, tuning.max_event_rate)
            apply(uri, "max_event_rate", control.enable, True)
