"""The gate that all events pass on their way in: checked, in order, or kept out with the reason."""

from __future__ import annotations

from eventveil.events import EventPacket, Sensor
from eventveil.io.validation.checks import Fault, first_fault
from eventveil.io.validation.disorder import ClipDisorder, Order, RefuseDisorder, SortDisorder

ORDERS: dict[str, type[Order]] = {"raise": RefuseDisorder, "sort": SortDisorder, "clip": ClipDisorder}


class Gate:
    """Checks each packet and keeps the order from packet to packet.

    Args:
        sensor: geometry that every event must lie on.
        on_disorder: "raise", "sort" or "clip", as for `open_events`.
    """

    def __init__(self, sensor: Sensor, on_disorder: str) -> None:
        self.sensor = sensor
        self._order = ORDERS[on_disorder]()

    @property
    def disorders(self) -> int:
        """How many late events were put right."""
        return self._order.disorders

    def push(self, packet: EventPacket) -> tuple[EventPacket, Fault | None]:
        """Return what may go on, and the first fault in the packet, which keeps the rest of it out."""
        fault = first_fault(packet, self.sensor, self._order.floor_us, order=not self._order.repairs)
        if fault is None:
            return self._order.push(packet), None
        good = packet[: fault.event]
        if fault.rule == "time":
            # Which of the two neighbours is wrong cannot be known: keep what is in order with both.
            good = good[: int(good.t.searchsorted(packet.t[fault.event], side="right"))]
        return self._order.push(good), fault._replace(lost=len(packet) - len(good))

    def finish(self) -> EventPacket:
        """Return what sorting holds back."""
        return self._order.finish()
