"""One damaged bit in one time: the events that it places are left out and counted, and no other one is shifted."""

from __future__ import annotations

import numpy as np
import pytest
import reference_io
from all_formats import FORMATS, SENSOR
from recordings import assert_same, join
from reference_evt import tuples

from eventveil import EventPacket
from eventveil.io import open_events

N = 3_000
TIME_HIGH = 8
WORDS = {  # of each format: bytes, their order, where the type of a time word is, if it has one, and bits of its clock
    "DAT": (8, "little", None, range(21, 32)),
    "AEDAT2": (8, "big", None, range(21, 32)),
    "EVT2": (4, "little", 28, range(5, 28)),
    "EVT2.1": (8, "little", 60, range(37, 60)),
    "EVT3": (2, "little", 12, range(2, 12)),
}


def recording(start_us):
    random = np.random.default_rng(1)
    t = start_us + 100 * np.arange(N)
    return EventPacket.of(t, random.integers(0, 128, N), random.integers(0, 128, N), random.integers(0, 2, N))


def find_time_word(name, data):
    """Return the place of a time word in the middle of the file."""
    size, order, kind, _ = WORDS[name]
    if name == "AEDAT2":
        at = len(reference_io.aedat2("DVS128", []))
    else:
        at = data.index(b"% end\n") + 6 + 2 * (name == "DAT")
    for place in range(at + (len(data) - at) // 2 // size * size, len(data), size):
        word = int.from_bytes(data[place : place + size], order)
        if kind is None or word >> kind == TIME_HIGH:
            return place
    raise AssertionError("no time word")


@pytest.mark.parametrize("start_us", [0, (1 << 32) - 150_000])  # two of the clocks wrap in the middle
@pytest.mark.parametrize("name", WORDS)
def test_a_flipped_bit_costs_the_events_of_its_word(tmp_path, name, start_us):
    size, order, _, bits = WORDS[name]
    events = recording(start_us)
    path = tmp_path / f"a{FORMATS[name].suffix}"
    FORMATS[name].write(path, events, SENSOR)
    good, whole = path.read_bytes(), tuples(events)
    place = find_time_word(name, good)
    for bit in bits:
        word = int.from_bytes(good[place : place + size], order) ^ 1 << bit
        path.write_bytes(good[:place] + word.to_bytes(size, order) + good[place + size :])
        with open_events(path) as source:
            got = join(source)
            lost = source.skipped["event with an outlying time"]
        assert 1 <= lost <= 41  # those of one word
        first = next(
            k for k, (event, kept) in enumerate(zip(whole, [*tuples(got), None], strict=False)) if event != kept
        )
        assert_same(got, join([events[:first], events[first + lost :]]))
