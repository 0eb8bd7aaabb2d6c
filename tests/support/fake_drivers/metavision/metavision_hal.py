"""Replaces the part of the Metavision SDK in use: names as in OpenEB, but never compared with a real one."""

from __future__ import annotations

import enum
import types

import fake_camera
import numpy as np

EVENT_CD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])


class ConnectionType(enum.Enum):
    USB_LINK = 1


class DeviceDiscovery:
    """Finds cameras."""

    @staticmethod
    def list_available_sources_local():
        properties = fake_camera.properties()
        if properties is None:
            return []
        return [
            types.SimpleNamespace(
                serial=properties["serial"],
                integrator_name="Prophesee",
                plugin_name="hal_plugin_prophesee",
                connection=ConnectionType.USB_LINK,
            )
        ]

    @staticmethod
    def open(serial):
        properties = fake_camera.properties()
        return None if properties.get("open_error") else Device(properties)


class I_ROI:  # noqa: N801
    Window = staticmethod(lambda *place: list(place))


class Device:
    """A device and all its facilities in one."""

    def __init__(self, properties):
        self._properties = properties
        self._callback = None
        self._raw = None
        self.name = "IMX636"

    def _self(self):
        return self

    get_i_hw_identification = get_i_geometry = get_i_events_stream = get_i_events_stream_decoder = _self
    get_i_event_cd_decoder = get_i_ll_biases = get_i_roi = get_i_erc_module = get_sensor_info = _self

    def get_integrator(self):
        return "Prophesee"

    def get_serial(self):
        return self._properties["serial"]

    def get_system_info(self):
        return {"System Version": "4.6.2"}

    def get_width(self):
        return self._properties["sensor"][0]

    def get_height(self):
        return self._properties["sensor"][1]

    def get_all_biases(self):
        return {"bias_diff_on": 0, "bias_fo": 0}

    def set(self, name, value):
        fake_camera.record_call(name, value)
        return -100 < value < 100

    def set_window(self, window):
        fake_camera.record_call("roi", window)
        return True

    def enable(self, on):
        fake_camera.record_call("enabled", on)
        return True

    def set_cd_event_rate(self, rate):
        if rate > 300_000_000:
            raise RuntimeError("Cannot set CD event count")
        fake_camera.record_call("rate", rate)
        return True

    def add_event_buffer_callback(self, callback):
        self._callback = callback

    def start(self):
        pass

    stop = start

    def poll_buffer(self):
        if fake_camera.properties() is None:
            return -1
        taken = fake_camera.take(0)
        self._raw = None if taken is None else taken[0]
        return 0 if taken is None else 1

    def get_latest_raw_data(self):
        return self._raw

    def decode(self, raw):
        """Deliver the events in two buffers, in memory that is reused."""
        buffer = np.zeros(len(raw), EVENT_CD)
        for low, high in ((0, len(raw) // 2), (len(raw) // 2, len(raw))):
            for field in "xypt":
                buffer[: high - low][field] = raw[low:high][field]
            self._callback(buffer[: high - low])
