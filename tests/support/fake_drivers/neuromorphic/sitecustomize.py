"""Replaces only the compiled part of neuromorphic-drivers; its Python part runs as installed."""

from __future__ import annotations

import sys
import time
import types

import fake_camera
import numpy as np

EVENTS = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])


def list_devices() -> list:
    """Return (name, connection, address, serial, error) of each."""
    properties = fake_camera.properties()
    if properties is None:
        return []
    error = properties.get("error")
    return [(properties["model"], "USB 3.0 SuperSpeed (5.0 Gb/s)", "", None if error else properties["serial"], error)]


class Packet:
    """A packet of an iniVation camera, with the fields in use."""

    def __init__(self, events, holes):
        self.polarity_events = events if len(events) else None
        self.polarity_events_overflow_indices = holes


class Device:
    """The compiled device: its iterator yields (system time, ring status, packet)."""

    def __new__(cls, raw, _most, kind, configuration, serial, _address, _ring, timeout):
        properties = fake_camera.properties()
        if properties is None:
            raise RuntimeError("device not found")
        if properties.get("open_error"):
            raise RuntimeError(properties["open_error"])
        fake_camera.record_call("configuration", [kind, None if configuration is None else list(configuration)])
        device = super().__new__(cls)
        device.camera, device.raw, device.timeout = properties, raw, timeout
        return device

    def name(self):
        return self.camera["model"]

    def serial(self):
        return self.camera["serial"]

    def connection(self):
        return "USB 3.0 SuperSpeed (5.0 Gb/s)"

    def clear_backlog(self, until):
        """Discard the waiting packets."""
        for path in fake_camera.waiting()[: None if until == 0 else -until]:
            path.unlink()
        fake_camera.record_call("cleared", until)

    def __next__(self):
        if fake_camera.properties() is None:
            raise RuntimeError("No such device (it may have been disconnected)")
        taken = fake_camera.take(self.timeout)
        now = time.time()
        if taken is None:
            return now, None, None
        data, status = taken
        holes = status.get("holes")
        backlog = len(fake_camera.waiting())
        ring = (now - status.get("delay_s", 0.0), backlog, 1, False, holes, None, status.get("dropped_packets", 0))
        if self.raw:
            return now, ring, data.tobytes()
        ring = (*ring[:5], int(data["t"][-1]) if len(data) else 0, ring[6])
        return now, ring, Packet(data.astype(EVENTS), None if holes is None else np.array(holes))

    def __exit__(self, *_):
        pass


extension = types.ModuleType("neuromorphic_drivers.neuromorphic_drivers")
extension.Device, extension.list_devices = Device, list_devices
sys.modules[extension.__name__] = extension
