"""Prophesee's and iniVation's cameras through neuromorphic-drivers, which needs no SDK.

    eventveil run prophesee://                                  EVK3 HD, EVK4, CenturyArks VGA, Lucid Triton
    eventveil run 'dv://?driver=neuromorphic-drivers'           DAVIS346, DVXplorer

Prophesee's cameras are asked for their raw EVT3 bytes, which go through the decoder of recordings: live and
recorded coordinates agree. Where bytes are missing (an overflow, a backlog that was given up) the decoder takes up
at the next word that tells the time. Never tried on a camera: see docs/cameras.md.

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
RATE_PERIOD_US = 1000  # over which the camera counts events where their rate is limited


def discover() -> list[CameraInfo]:
    """The cameras that neuromorphic-drivers sees; none where there is no USB."""
    try:
        listed = nd.list_devices()
    except RuntimeError:
        return []
    return [_describe(one) for one in listed]


def _describe(one: Any) -> CameraInfo:
    kind = _kind(one.name)
    properties = nd.name_to_properties(one.name)
    info = CameraInfo(
        driver=NEUROMORPHIC,
        model=one.name.value,
        serial=one.serial,
        sensor=Sensor(properties.width, properties.height),
        connection=one.connection.value,
        uri=f"{kind}://{one.serial or ''}?driver={NEUROMORPHIC}",
    )
    if one.error is None:
        return info
    error = _understand(CameraUri.parse(info.uri), one.error)
    return replace(info, problem=error.found, remedy=error.remedy)


class NeuromorphicCamera:
    """A camera that neuromorphic-drivers knows.

    Args:
        uri: prophesee:// or dv://, or with a serial number.
        tuning: biases under the driver's names, none of a CenturyArks VGA; a region of interest of a DAVIS346, EVK3 HD
            and EVK4; a limit of the event rate of an EVK3 HD and EVK4.
        max_age_ms: packets that have waited longer in the driver are given up there; None: none are.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning, max_age_ms: int | None) -> None:
        self._uri = uri
        self._max_age_s = None if max_age_ms is None else max_age_ms / 1000
        self._missing = 0  # packets that the driver says it dropped
        found = self._find()
        self._decoder = None if _kind(found.name) == DV else _decoder()
        try:
            self._device = nd.open(
                configuration=_configuration(uri, found.name, tuning),
                iterator_timeout=TIMEOUT_S,
                raw=self._decoder is not None,
                serial=found.serial,
            )
        except RuntimeError as error:
            raise _understand(uri, str(error)) from None
        properties = self._device.properties()
        self.info = CameraInfo(
            driver=NEUROMORPHIC,
            model=found.name.value,
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
            return self._give_up(status)
        overflow = self._has_overflown(status, packet)
        events = self._events(packet) if self._decoder is None else self._decode(packet, status.ring.overflow_indices)
        if not len(events) and not overflow:
            return None
        return CameraBatch(events, time.monotonic_ns() - round(status.delay() * 1e9), overflow)

    def close(self) -> None:
        """Give the camera back."""
        self._device.close()

    def _find(self) -> Any:
        try:
            listed = [one for one in nd.list_devices() if _kind(one.name) == self._uri.kind]
        except RuntimeError:
            raise camera_not_found(self._uri, "") from None
        for one in listed:
            if self._uri.name in ("", one.serial or ""):
                return one
        if listed and any(one.serial is None for one in listed):
            raise no_permission(self._uri)  # it will not even tell its number
        raise camera_not_found(self._uri, ", ".join(one.serial for one in listed))

    def _give_up(self, status: Any) -> CameraBatch:
        """Let the driver forget what waits: this packet is too old, and most of those behind it will be."""
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
        """Decode bytes, which are missing some before each place in `holes`."""
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
    from eventveil.io.formats.evt3 import Evt3Decoder  # compiled: who only looks for a camera need not wait

    Evt3Decoder().decode(bytes(2))  # now, and not when the first events come
    return Evt3Decoder()


def _kind(name: Any) -> str:
    return DV if name.name.startswith("INIVATION") else "prophesee"


def _configuration(uri: CameraUri, name: Any, tuning: Tuning) -> Any:
    """What the camera is told; None: as the driver does by itself."""
    if tuning == Tuning():
        return None
    if name is nd.Name.CENTURYARKS_VGA:
        # Its configuration has all of them, but what is compiled writes no such register when it opens the camera.
        raise refusal(uri, "biases, roi or max_event_rate", "neuromorphic-drivers takes them and does nothing")
    module = getattr(nd, name.name.lower())
    check_biases(uri, tuning, [field.name for field in fields(module.Biases)])
    check_roi(uri, tuning, Sensor(module.Properties.width, module.Properties.height))
    configuration = module.Configuration(biases=_biases(uri, module, tuning))
    if tuning.roi is not None:
        _look_at(uri, module, configuration, tuning.roi)
    if tuning.max_event_rate is not None:
        if not hasattr(module, "RateLimiter"):
            raise refusal(uri, "max_event_rate", "neuromorphic-drivers offers none for it")
        most = max(1, tuning.max_event_rate * RATE_PERIOD_US // 1_000_000)
        configuration.rate_limiter = module.RateLimiter(RATE_PERIOD_US, most)
    return configuration


def _biases(uri: CameraUri, module: Any, tuning: Tuning) -> Any:
    """The biases, each of which must fit into the register that it is for."""
    biases = module.Biases()
    for field in fields(biases):
        if field.name in tuning.biases:
            value = tuning.biases[field.name]
            if field.type is bool and value not in (0, 1):
                raise refusal(uri, f"bias {field.name}={value}", "it is 0 or 1")
            setattr(biases, field.name, value)
            apply(uri, f"bias {field.name}={value}", biases.serialize)
    return biases


def _look_at(uri: CameraUri, module: Any, configuration: Any, roi: tuple[int, int, int, int]) -> None:
    """Switch off the pixels outside of a region."""
    if hasattr(module, "RegionOfInterest"):
        configuration.region_of_interest = module.RegionOfInterest(*roi)
    elif hasattr(configuration, "x_mask"):
        x, y, width, height = roi
        mask = nd.RowColumnMask(module.Properties.width, module.Properties.height, set=True)
        mask.clear_rectangle(x, module.Properties.height - y - height, width, height)  # it counts rows from below
        configuration.x_mask, configuration.y_mask = mask.x_mask(), mask.y_mask()
    else:
        raise refusal(uri, "roi", "neuromorphic-drivers offers none for it; scene.crop looks at a part as well")


def _understand(uri: CameraUri, text: str) -> CameraError:
    """The driver's words, which are libusb's, in ours."""
    words = text.lower()
    if "access" in words or "permission" in words:
        return no_permission(uri)
    if "busy" in words:
        return camera_in_use(uri)
    return camera_not_found(uri, "")
