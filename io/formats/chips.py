"""Geometry of iniVation's sensors, by the chip names that jAER and cAER write into their files."""

from __future__ import annotations

import re

from eventveil.events import Sensor

_DAVIS = {
    "128": Sensor(128, 128),
    "208": Sensor(208, 192),
    "240": Sensor(240, 180),
    "346": Sensor(346, 260),
    "640": Sensor(640, 480),
}
DVS128 = Sensor(128, 128)


def is_davis(name: str) -> bool:
    """Return whether a chip sends frames and events in the address layout of the DAVIS family."""
    return re.search(r"davis", name, re.IGNORECASE) is not None


def sensor_of(name: str) -> Sensor | None:
    """Return the geometry of a chip such as "DVS128" or "DAVIS240C", or None if the name is unknown.

    The name may be part of a longer one: "eu.seebetter.ini.chips.davis.Davis346red".
    """
    if re.search(r"(DVS|Tmpdiff)128", name, re.IGNORECASE):
        return DVS128
    davis = re.search(r"davis(\d+)", name, re.IGNORECASE)
    return _DAVIS.get(davis[1]) if davis else None


def davis_sensors() -> set[Sensor]:
    """Return the geometries of the DAVIS family that no other chip has."""
    return set(_DAVIS.values()) - {DVS128}
