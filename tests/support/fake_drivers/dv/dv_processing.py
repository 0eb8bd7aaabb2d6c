"""Replaces dv-processing's USB cameras: same names, and same results without a camera."""

from __future__ import annotations

import enum
import types

import fake_camera


class CameraModel(enum.Enum):
    """A subset."""

    DVS128 = 0
    DAVIS = 1
    DVXPLORER = 2


class Store:
    """An `EventStore`."""

    def __init__(self, events):
        self._events = events.astype(fake_camera.DV_DTYPE)

    def __len__(self):
        return len(self._events)

    def numpy(self):
        return self._events


class Camera:
    """An open camera."""

    def __init__(self, properties):
        self._properties = properties

    def getEventResolution(self):  # noqa: N802
        return tuple(self._properties["sensor"])

    def isRunning(self):  # noqa: N802
        return fake_camera.properties() is not None

    def getNextEventBatch(self):  # noqa: N802
        if not self.isRunning():
            return None
        taken = fake_camera.take(0)
        if taken is None:
            return None
        data, status = taken
        if status.get("crash"):
            raise RuntimeError("/project/source.cpp(7): " + repr(data[:3]))
        while status.get("hang"):
            pass
        return Store(data)

    def setTimeInterval(self, interval):  # noqa: N802
        fake_camera.record_call("interval_ms", interval.total_seconds() * 1000)

    def setCropArea(self, area):  # noqa: N802
        if type(area) is not tuple:
            raise TypeError("incompatible function arguments")  # as pybind11 raises it
        fake_camera.record_call("crop", area)


class DVXplorer(Camera):
    """With contrast thresholds."""

    def setContrastThresholdOn(self, value):  # noqa: N802
        if not 0 <= value < 256:
            raise TypeError("incompatible function arguments")
        fake_camera.record_call("contrast_on", value)

    def setContrastThresholdOff(self, value):  # noqa: N802
        fake_camera.record_call("contrast_off", value)


class DVS128(Camera):
    """With biases."""

    class Bias(enum.Enum):
        """A subset."""

        DIFF_ON = 8
        DIFF_OFF = 4

    def setBias(self, bias, value):  # noqa: N802
        fake_camera.record_call(f"bias-{bias.name}", value)


class DAVIS(Camera):
    """With biases that have a coarse and a fine value."""

    class SensorModel(enum.Enum):
        """A subset."""

        DAVIS240C = 2
        DAVIS346 = 5

    class Davis346BiasCF(enum.Enum):
        """A subset."""

        On = 11
        Off = 12

    def getSensorModel(self):  # noqa: N802
        return self.SensorModel[self._properties.get("chip", "DAVIS346")]

    def setDavis346BiasCoarseFine(self, bias, coarse, fine):  # noqa: N802
        fake_camera.record_call(f"bias-{bias.name}", [coarse, fine])


def _discover():
    properties = fake_camera.properties()
    if properties is None:
        return []
    return [
        types.SimpleNamespace(
            cameraModel=CameraModel[properties["model"]],
            serialNumber=properties["serial"],
            firmwareVersion=7,
            busNumber=2,
            devAddress=9,
        )
    ]


def _open(descriptor):
    properties = fake_camera.properties()
    if properties.get("open_error"):
        raise RuntimeError(properties["open_error"])
    assert descriptor.serialNumber == properties["serial"]
    return {"DVXPLORER": DVXplorer, "DVS128": DVS128, "DAVIS": DAVIS}[properties["model"]](properties)


io = types.SimpleNamespace(camera=types.SimpleNamespace(discover=_discover, open=_open))
