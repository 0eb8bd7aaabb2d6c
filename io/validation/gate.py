"""The gate that all events pass on entry: they are valid and in order, or left out with a reason."""

from __future__ import annotations

import numpy as np

from eventveil.events import EventPacket, Sensor
from eventveil.io.validation.checks import Fault, first_fault
from eventveil.io.validation.disorder import ClipDisorder, DisorderPolicy, RefuseDisorder, SortDisorder

POLICIES: dict[str, type[DisorderPolicy]] = {"raise": RefuseDisorder, "sort": SortDisorder, "clip": ClipDisorder}


class Gate:
    """Checks each packet, and the order from packet to packet.

    Args:
        sensor: every event must lie on it.
        on_disorder: "raise", "sort" or "clip", as for `open_events`.
        tolerated: the share of a packet's events that may lie off the sensor or have an invalid polarity: they alone
            are left out. More are a fault: the sensor is wrong, or the packet is damaged as a whole.

    Attributes:
        left_out: how many events were left out in this way.
    """

    def __init__(self, sensor: Sensor, on_disorder: str, tolerated: float = 0.0) -> None:
        self.sensor = sensor
        self.left_out = 0
        self._tolerated = tolerated
        self._policy = POLICIES[on_disorder]()

    @property
    def disorders(self) -> int:
        """The number of late events repaired so far."""
        return self._policy.disorders

    def push(self, packet: EventPacket) -> tuple[EventPacket, Fault | None]:
        """Return the valid events, and the first fault in the packet, if any; the events after a fault are lost."""
        fault = first_fault(packet, self.sensor, self._policy.floor_us, order=not self._policy.repairs)
        if fault is not None and fault.rule != "time" and self._tolerated:
            packet = self._without_invalid(packet)
            fault = first_fault(packet, self.sensor, self._policy.floor_us, order=not self._policy.repairs)
        if fault is None:
            return self._policy.push(packet), None
        good = packet[: fault.event]
        if fault.rule == "time":
            # It is unknown which of the two neighbours is wrong: keep the events that are in order with both.
            good = good[: int(good.t.searchsorted(packet.t[fault.event], side="right"))]
        return self._policy.push(good), fault._replace(lost=len(packet) - len(good))

    def _without_invalid(self, packet: EventPacket) -> EventPacket:
        """Leave out the events that are not valid by themselves; return the packet as it is if they are too many."""
        valid = (packet.x < self.sensor.width) & (packet.y < self.sensor.height) & (packet.p.view(np.uint8) <= 1)
        invalid = len(packet) - int(np.count_nonzero(valid))
        if invalid == len(packet) or invalid > max(1, self._tolerated * len(packet)):
            return packet
        self.left_out += invalid
        return EventPacket(packet.t[valid], packet.x[valid], packet.y[valid], packet.p[valid], packet.until_us)

    def finish(self) -> EventPacket:
        """Return the events that sorting holds back."""
        return self._policy.finish()
