"""An open source: a fault follows all valid events before it, and closing ends the iteration."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io import EventSource
from eventveil.io.formats.reader import Reader
from eventveil.io.validation.gate import Gate

SENSOR = Sensor(20, 10)


class Script(Reader):
    """A reader that plays a script: packets, errors to raise, and the end."""

    format = "SCRIPT"
    suffixes: ClassVar[tuple[str, ...]] = (".script",)

    def __init__(self, *acts):
        super().__init__(Path("trial.script"))
        self.acts = list(acts)
        self.closed = 0

    @classmethod
    def recognises(cls, head):
        return False

    def read_packet(self):
        act = self.acts.pop(0) if self.acts else None
        if isinstance(act, Exception):
            raise act
        return act

    def close(self):
        self.closed += 1


def lost(*, recoverable):
    return Script().fault("a packet is damaged", "read on", recoverable=recoverable)


def packet(*times, x=0, until_us=None):
    events = EventPacket.of(times, [x] * len(times), [0] * len(times), [1] * len(times))
    return EventPacket(events.t, events.x, events.y, events.p, until_us)


def play(*acts, on_disorder="raise"):
    """Return the output: lists of times, and errors."""
    source = EventSource(Script(*acts), Gate(SENSOR, on_disorder))
    out = []
    while True:
        try:
            out.append(next(source).t.tolist())
        except EventFileError as error:
            out.append(error)
        except StopIteration:
            return out, source


def test_packets_before_a_fault_come_first_and_reading_goes_on_after_it():
    fault = lost(recoverable=True)
    assert play(packet(1), fault, packet(2, 3))[0] == [[1], fault, [2, 3]]


@pytest.mark.parametrize("on_disorder", ["raise", "clip", "sort"])
def test_what_sorting_holds_back_comes_before_the_fault(on_disorder):
    fault = lost(recoverable=True)
    assert play(packet(1), packet(2), fault, packet(3), on_disorder=on_disorder)[0] == [[1], [2], fault, [3]]


def test_a_fault_that_ends_the_recording_ends_it():
    fault = lost(recoverable=False)
    assert play(packet(1), fault)[0] == [[1], fault]


def test_an_error_of_the_medium_is_reported_after_what_was_read():
    out, _ = play(packet(1), OSError(5, "Input/output error"), packet(2), on_disorder="sort")
    assert out[0] == [1]
    assert "Input/output error" in str(out[1])
    assert len(out) == 2


@pytest.mark.parametrize("on_disorder", ["raise", "clip", "sort"])
def test_an_event_off_the_sensor_costs_the_rest_of_its_packet(on_disorder):
    bad = EventPacket.of([2, 3, 4], [0, 20, 0], [0, 0, 0], [1, 1, 1])
    out, source = play(packet(1), bad, packet(5), on_disorder=on_disorder)
    assert [item for item in out if isinstance(item, list)] == [[1], [2], [5]]
    assert isinstance(out[2], EventFileError)
    assert (out[2].recoverable, out[2].where) == (True, "packet 1, event 1 in it")
    assert source.skipped == {"event of a damaged packet": 2}


def test_time_that_goes_back_is_refused_between_packets_and_inside():
    out, source = play(packet(1, 5), packet(4, 9), packet(5, 6, 5, 7), packet(5), packet(6))
    assert [item if isinstance(item, list) else item.where for item in out] == [
        [1, 5],
        "packet 1, event 0 in it",
        [5],
        "packet 2, event 2 in it",
        [5],
        [6],
    ]
    assert source.skipped == {"event of a damaged packet": 5}
    assert source.disorders == 0


def test_disorder_is_repaired_and_counted_where_asked():
    acts = packet(1, 5), packet(4, 9), packet(3, 10)
    out, source = play(*acts, on_disorder="clip")
    assert (out, source.disorders) == ([[1, 5], [5, 9], [9, 10]], 2)
    out, source = play(*acts, on_disorder="sort")
    assert (out, source.disorders) == ([[1, 4], [4, 5], [9, 10]], 2)


def test_no_message_tells_what_an_event_holds():
    bad = EventPacket.of([123_456_789, 123_456_780], [31_337, 0], [0, 0], [1, 1])
    out, _ = play(bad)
    assert not any(secret in str(out[0]) for secret in ("31337", "31_337", "123456789", "123456780"))


def test_silence_passes_with_its_promise_and_nothing_else_that_is_empty():
    out, _ = play(EventPacket.empty(), EventPacket.empty(until_us=9), packet(9))
    assert out == [[], [9]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6), st.sampled_from(["raise", "clip", "sort"]))
def test_time_never_goes_back_and_every_event_is_accounted_for(parts, on_disorder):
    out, source = play(*(packet(*part) for part in parts), on_disorder=on_disorder)
    times = [t for item in out if isinstance(item, list) for t in item]
    assert times == sorted(times)
    assert len(times) + source.skipped.total() == sum(len(part) for part in parts)


def test_leaving_the_block_gives_the_file_back_and_ends_the_iteration():
    reader = Script(packet(1), packet(2))
    with EventSource(reader, Gate(SENSOR, "raise")) as source:
        next(source)
    assert reader.closed == 1
    assert list(source) == []
