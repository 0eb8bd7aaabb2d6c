"""The sensors that can be simulated, by name: their geometry and the properties of their pixels.

Only the pixels of the DVS128 were compared with recordings (docs/simulator.md). Those of the others are estimates:
wider thresholds, longer refractory times, less mismatch.
"""

from __future__ import annotations

from dataclasses import dataclass

from eventveil.errors import EventError
from eventveil.events import Sensor
from eventveil.replay.simulation.sensor import Pixels


@dataclass(frozen=True, slots=True)
class SensorModel:
    """A sensor to simulate: its geometry, and the properties of its pixels."""

    sensor: Sensor
    pixels: Pixels


SENSOR_MODELS = {
    "DVS128": SensorModel(Sensor(128, 128), Pixels()),
    "DAVIS346": SensorModel(
        Sensor(346, 260), Pixels(on=0.2, off=0.2, mismatch=0.05, refractory_us=500, leak_hz=0.1, shot_hz=0.2)
    ),
    "GenX320": SensorModel(
        Sensor(320, 320),
        Pixels(on=0.22, off=0.22, mismatch=0.05, refractory_us=300, bandwidth_hz=1_000, leak_hz=0.02, shot_hz=0.05),
    ),
    "1280x720": SensorModel(
        Sensor(1280, 720),
        Pixels(on=0.22, off=0.22, mismatch=0.05, refractory_us=300, bandwidth_hz=2_000, leak_hz=0.02, shot_hz=0.05),
    ),
}
"""The known sensors by name; 1280x720 is an IMX636, the sensor of the EVK4."""


def sensor_model(text: str) -> SensorModel:
    """Return the sensor of a name, in any case, or of another geometry WIDTHxHEIGHT with the pixels of a DVS128.

    Raises:
        EventError: neither; the message lists the known names.
    """
    for name, model in SENSOR_MODELS.items():
        if text.strip().lower() == name.lower():
            return model
    try:
        return SensorModel(Sensor.parse(text), Pixels())
    except EventError as error:
        known = ", ".join(SENSOR_MODELS)
        raise EventError(f"unknown sensor {text!r}; known: {known}, or another WIDTHxHEIGHT ({error})") from None
