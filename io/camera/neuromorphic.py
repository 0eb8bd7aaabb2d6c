"""Prophesee's and iniVation's cameras through neuromorphic-drivers, which needs no SDK.

    eventveil run prophesee://                                  EVK3 HD, EVK4, CenturyArks VGA, Lucid Triton
    eventveil run 'dv://?driver=neuromorphic-drivers'           DAVIS346, DVXplorer

Prophesee's cameras deliver raw EVT3 bytes, which pass through the same decoder as recordings, so live and recorded
coordinates agree. After missing bytes (an overflow, a discarded backlog) the decoder resumes at the next time word.
Never tried on a camera: see docs/cameras.md.

Source: neuromorphic-drivers 0.18.2, its Python interface as installed.
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import neuromorphic_drivers as nd

from eventveil.errors import CameraError
from eventveil.events import Sensor
from eventveil.io.camera.configure import apply, check_biases, check_roi, refusal
from eventveil.io.camera.device import CameraBatch, CameraInfo, Tuning, concatenate, to_records
from eventveil.io.camera.errors import camera_in_use, camera_lost, camera_not_found, no_permission
from eventveil.io.camera.uri import DV, NEUROMORPHIC, CameraUri

if TYPE_CHECKING:
    from eventveil.io.formats.evt3 import Evt3Decoder

TIMEOUT_S = 0.002  # how long the driver waits for a packet
RATE_PERIOD_US = 1000  # over which the camera counts events to limit their rate


def discover() -> list[CameraInfo]:
    """Return the cameras that neuromorphic-drivers sees; none if the machine has no USB."""
    try:
        devices = nd.list_devices()
    except RuntimeError:
        return []
    return [_describe(device) for device in devices]


def _describe(device: Any) -> CameraInfo:
    uri = CameraUri(_kind(device.name), device.serial or "", {"driver": NEUROMORPHIC})
    properties = nd.name_to_properties(device.name)
    info = CameraInfo(
        driver=NEUROMORPHIC,
        model=device.name.value,
        serial=device.serial,
        sensor=Sensor(properties.width, properties.height),
        connection=device.connection.value,
        uri=str(uri),
    )
    if device.error is None:
        return info
    error = _as_camera_error(uri, device.error)
    return replace(info, problem=error.found, remedy=error.remedy)


class NeuromorphicCamera:
    """A camera supported by neuromorphic-drivers.

    Args:
        uri: prophesee:// or dv://, optionally with a serial number.
        tuning: biases under the driver's names, not for a CenturyArks VGA; a region of interest for DAVIS346, EVK3 HD
            and EVK4; a limit of the event rate for EVK3 HD and EVK4.
        max_age_ms: packets that have waited longer in the driver are discarded there; None: none are.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning, max_age_ms: int | None) -> None:
        self._uri = uri
        self._max_age_s = None if max_age_ms is None else max_age_ms / 1000
        self._missing = 0  # packets that the driver reports as dropped
        listed = self._find()
        self._decoder = None if _kind(listed.name) == DV else _decoder()
        try:
            self._device = nd.open(
                configuration=_configuration(uri, listed.name, tuning),
                iterator_timeout=TIMEOUT_S,
                raw=self._decoder is not None,
                serial=listed.serial,
            )
        except RuntimeError as error:
            raise _as_camera_error(uri, str(error)) from None
        properties = self._device.properties()
        self.info = CameraInfo(
            driver=NEUROMORPHIC,
            model=listed.name.value,
            serial=self._device.serial(),
            sensor=Sensor(properties.width, properties.height),
            connection=self._device.connection().value,
            uri=str(uri),
        )

    def read(self) -> CameraBatch | None:
        """Return the next events."""
        try:
            status, packet = next(self._device)
        except (RuntimeError, StopIteration):
            raise camera_lost(self._uri) from None
        if status.ring is None:
            return None
        if self._max_age_s is not None and status.delay() > self._max_age_s:
            return self._discard_backlog(status)
        overflow = self._has_overflown(status, packet)
        events = self._events(packet) if self._decoder is None else self._decode(packet, status.ring.overflow_indices)
        if not len(events) and not overflow:
            return None
        return CameraBatch(events, time.monotonic_ns() - round(status.delay() * 1e9), overflow)

    def close(self) -> None:
        """Close the camera."""
        self._device.close()

    def _find(self) -> Any:
        try:
            devices = [device for device in nd.list_devices() if _kind(device.name) == self._uri.kind]
        except RuntimeError:
            raise camera_not_found(self._uri, "") from None
        for device in devices:
            if self._uri.name in ("", device.serial or ""):
                return device
        if devices and any(device.serial is None for device in devices):
            raise no_permission(self._uri)  # not even its serial number can be read
        raise camera_not_found(self._uri, ", ".join(device.serial for device in devices))

    def _discard_backlog(self, status: Any) -> CameraBatch:
        """Have the driver discard its backlog: this packet is too old, and most of the following ones will be too."""
        self._device.clear_backlog(until=0)
        if self._decoder is not None:
            self._decoder.resume_after_gap()
        discarded = status.ring.raw_packets + status.ring.backlog
        return CameraBatch(to_records((), (), (), ()), time.monotonic_ns(), discarded=discarded)

    def _has_overflown(self, status: Any, packet: Any) -> bool:
        before, self._missing = self._missing, status.ring.dropped_packets
        holes = (
            packet.polarity_events_overflow_indices if self._decoder is None else status.ring.overflow_indices
        )  # fmt: skip
        return self._missing > before or (holes is not None and len(holes) > 0)

    def _decode(self, data: bytes, holes: list[int] | None) -> Any:
        """Decode bytes; some bytes are missing before each position in `holes`."""
        assert self._decoder is not None
        parts, begin = [], 0
        for place in sorted(holes or ()):
            parts.append(self._decoder.decode(data[begin:place]))
            self._decoder.resume_after_gap()
            begin = place
        parts.append(self._decoder.decode(data[begin:]))
        events = parts[0] if len(parts) == 1 else concatenate(parts)
        return to_records(events.t, events.x, events.y, events.p)

    @staticmethod
    def _events(packet: Any) -> Any:
        events = packet.polarity_events
        if events is None:
            return to_records((), (), (), ())
        return to_records(events["t"], events["x"], events["y"], events["on"])


def _decoder() -> Evt3Decoder:
    from eventveil.io.formats.evt3 import Evt3Decoder  # here, because it compiles: listing cameras must stay fast

    Evt3Decoder(live=True).decode(bytes(2))  # compile now, not when the first events come
    return Evt3Decoder(live=True)


def _kind(name: Any) -> str:
    return DV if name.name.startswith("INIVATION") else "prophesee"


def _configuration(uri: CameraUri, name: Any, tuning: Tuning) -> Any:
    """Return the camera's configuration; None: the driver's default."""
    if tuning == Tuning():
        return None
    if name is nd.Name.CENTURYARKS_VGA:
        # Its configuration has all of them, but the compiled part writes no such register when it opens the camera.
        raise refusal(uri, "biases, roi or max_event_rate", "neuromorphic-drivers accepts and ignores them")
    module = getattr(nd, name.name.lower())
    check_biases(uri, tuning, [field.name for field in fields(module.Biases)])
    check_roi(uri, tuning, Sensor(module.Properties.width, module.Properties.height))
    configuration = module.Configuration(biases=_biases(uri, module, tuning))
    if tuning.roi is not None:
        _set_roi(uri, module, configuration, tuning.roi)
    if tuning.max_event_rate is not None:
        if not hasattr(module, "RateLimiter"):
            raise refusal(uri, "max_event_rate", "neuromorphic-drivers cannot limit its event rate")
        events = max(1, tuning.max_event_rate * RATE_PERIOD_US // 1_000_000)
        configuration.rate_limiter = module.RateLimiter(RATE_PERIOD_US, events)
    return configuration


def _biases(uri: CameraUri, module: Any, tuning: Tuning) -> Any:
    """Return the biases; each must fit into its register."""
    biases = module.Biases()
    for field in fields(biases):
        if field.name in tuning.biases:
            value = tuning.biases[field.name]
            if field.type is bool and value not in (0, 1):
                raise refusal(uri, f"bias {field.name}={value}", "it is 0 or 1")
            setattr(biases, field.name, value)
            apply(uri, f"bias {field.name}={value}", biases.serialize)
    return biases


def _set_roi(uri: CameraUri, module: Any, configuration: Any, roi: tuple[int, int, int, int]) -> None:
    """Switch off the pixels outside a region."""
    if hasattr(module, "RegionOfInterest"):
        configuration.region_of_interest = module.RegionOfInterest(*roi)
    elif hasattr(configuration, "x_mask"):
        x, y, width, height = roi
        mask = nd.RowColumnMask(module.Properties.width, module.Properties.height, set=True)
        mask.clear_rectangle(x, module.Properties.height - y - height, width, height)  # counts rows from below
        configuration.x_mask, configuration.y_mask = mask.x_mask(), mask.y_mask()
    else:
        raise refusal(uri, "roi", "neuromorphic-drivers cannot set it for this camera; use scene.crop instead")


def _as_camera_error(uri: CameraUri, text: str) -> CameraError:
    """Convert the driver's message, which is libusb's, to our error."""
    message = text.lower()
    if "access" in message or "permission" in message:
        return no_permission(uri)
    if "busy" in message:
        return camera_in_use(uri)
    return camera_not_found(uri, "")
