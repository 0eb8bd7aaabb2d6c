"""The gate that all events pass on entry: they are valid and in order, or left out with a reason."""

from __future__ import annotations

from eventveil.events import EventPacket, Sensor
from eventveil.io.validation.checks import Fault, first_fault
from eventveil.io.validation.disorder import ClipDisorder, DisorderPolicy, RefuseDisorder, SortDisorder

POLICIES: dict[str, type[DisorderPolicy]] = {"raise": RefuseDisorder, "sort": SortDisorder, "clip": ClipDisorder}


class Gate:
    """Checks each packet, and the order from packet to packet.

    Args:
        sensor: every event must lie on it.
        on_disorder: "raise", "sort" or "clip", as for `open_events`.
    """

    def __init__(self, sensor: Sensor, on_disorder: str) -> None:
        self.sensor = sensor
        self._policy = POLICIES[on_disorder]()

    @property
    def disorders(self) -> int:
        """The number of late events repaired so far."""
        return self._policy.disorders

    def push(self, packet: EventPacket) -> tuple[EventPacket, Fault | None]:
        """Return the valid events, and the first fault in the packet, if any; the events after a fault are lost."""
        fault = first_fault(packet, self.sensor, self._policy.floor_us, order=not self._policy.repairs)
        if fault is None:
            return self._policy.push(packet), None
        good = packet[: fault.event]
        if fault.rule == "time":
            # It is unknown which of the two neighbours is wrong: keep the events that are in order with both.
            good = good[: int(good.t.searchsorted(packet.t[fault.event], side="right"))]
        return self._policy.push(good), fault._replace(lost=len(packet) - len(good))

    def finish(self) -> EventPacket:
        """Return the events that sorting holds back."""
        return self._policy.finish()
