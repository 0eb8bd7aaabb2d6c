"""The gate that all events pass on entry: they are valid and in order, or left out with a reason."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.clock import CONFIRMATIONS
from eventveil.io.formats.reader import NEAR_US
from eventveil.io.validation.checks import Fault, first_fault
from eventveil.io.validation.disorder import ClipDisorder, DisorderPolicy, RefuseDisorder, SortDisorder
from eventveil.io.validation.outliers import OutlierFilter

POLICIES: dict[str, type[DisorderPolicy]] = {"raise": RefuseDisorder, "sort": SortDisorder, "clip": ClipDisorder}


Checked = tuple[EventPacket, Fault | None]
"""The valid events of a packet, and the first fault in it."""


class Gate:
    """Checks each packet, and the order from packet to packet.

    Args:
        sensor: every event must lie on it.
        on_disorder: "raise", "sort" or "clip", as for `open_events`.
        tolerated: the share of a packet's events that may lie off the sensor or have an invalid polarity: they alone
            are left out. More are a fault: the sensor is wrong, or the packet is damaged as a whole.
        near_us: a step of time beyond this, ahead or back, counts only if later events confirm it.

    Attributes:
        left_out: how many events were left out because they are not valid.
    """

    def __init__(self, sensor: Sensor, on_disorder: str, tolerated: float = 0.0, near_us: int = NEAR_US) -> None:
        self.sensor = sensor
        self.left_out = 0
        self._tolerated = tolerated
        self._outliers = OutlierFilter(near_us)
        self._policy = POLICIES[on_disorder]()

    @property
    def disorders(self) -> int:
        """The number of late events repaired so far."""
        return self._policy.disorders

    @property
    def outlying(self) -> int:
        """The number of events left out so far because their time was an outlier."""
        return self._outliers.left_out

    def push(self, packet: EventPacket) -> Iterator[Checked]:
        """Yield what has become of this packet; nothing if the next ones must confirm its times, and then of all.

        The events after a fault are lost.
        """
        if first_fault(packet, self.sensor, self._policy.floor_us) is None and self._outliers.is_steady(packet):
            yield self._policy.push(packet), None
        else:
            yield from map(self._check, self._outliers.push(packet))

    def finish(self) -> Iterator[Checked]:
        """Yield the results for the packets that are still waiting for a next one: none follows."""
        return map(self._check, self._outliers.finish())

    def held_back(self) -> EventPacket:
        """Return the events that sorting holds back. More packets may follow."""
        return self._policy.finish()

    def _check(self, packet: EventPacket) -> Checked:
        fault = first_fault(packet, self.sensor, self._policy.floor_us, order=not self._policy.repairs)
        if fault is not None and fault.rule != "time" and self._tolerated:
            packet = self._without_invalid(packet)
            fault = first_fault(packet, self.sensor, self._policy.floor_us, order=not self._policy.repairs)
        if fault is None:
            return self._policy.push(packet), None
        good = packet[: fault.event]
        if fault.rule == "time":
            # Which of the two neighbours is wrong? The earlier one, unless many events agree with it.
            in_order = int(good.t.searchsorted(packet.t[fault.event], side="right"))
            good = good if len(good) - in_order >= CONFIRMATIONS else good[:in_order]
        return self._policy.push(good), fault._replace(lost=len(packet) - len(good))

    def _without_invalid(self, packet: EventPacket) -> EventPacket:
        """Leave out the events that are not valid by themselves; return the packet as it is if they are too many."""
        valid = (packet.x < self.sensor.width) & (packet.y < self.sensor.height) & (packet.p.view(np.uint8) <= 1)
        invalid = len(packet) - int(np.count_nonzero(valid))
        if invalid == len(packet) or invalid > max(1, self._tolerated * len(packet)):
            return packet
        self.left_out += invalid
        return EventPacket(packet.t[valid], packet.x[valid], packet.y[valid], packet.p[valid], packet.until_us)
