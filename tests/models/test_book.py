"""Books: what a word shows depends on the word and the clock alone, and what is written is what is read."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import reference_book
from book_helpers import SENSOR, WORDS, clip, small_book
from hypothesis import given
from hypothesis import strategies as st
from strategies import events

from eventveil import EventPacket, Sensor
from eventveil.errors import BookError
from eventveil.models.book import Book, Word

TIMES = st.integers(-(10**16), 10**16)


def as_list(packet):
    return list(zip(*(getattr(packet, key).tolist() for key in "txyp"), strict=True))


@st.composite
def books(draw):
    """Draw the settings, the clip and the word of a book of one word."""
    steps, bins, bin_us = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 12))
    length_us = steps * bins * bin_us
    packet = draw(events())
    packet = packet[int(np.searchsorted(packet.t, 0)) : int(np.searchsorted(packet.t, length_us))]
    faster = draw(st.sampled_from([n for n in range(1, steps + 1) if steps % n == 0]))
    slower = draw(st.sampled_from([n for n in (1, 2, 3, 5) if np.gcd(n, faster) == 1]))
    word = Word(
        label="any",
        presence=True,
        clip=0,
        dx=draw(st.integers(1 - SENSOR.width, SENSOR.width - 1)),
        dy=draw(st.integers(1 - SENSOR.height, SENSOR.height - 1)),
        tempo=(faster, slower),
        phase=draw(st.integers(0, steps * slower // faster - 1)),
    )
    return {"steps": steps, "step_us": bins * bin_us, "bins": bins}, packet, word


@given(books(), TIMES)
def test_a_word_shows_what_its_slow_twin_shows(drawn, t_start_us):
    settings, packet, word = drawn
    book = Book.compose([packet], [word], sensor=SENSOR, **settings)
    steps, step_us, bins = settings.values()
    want = reference_book.events_of(
        as_list(packet), word, sensor=SENSOR, steps=steps, step_us=step_us, t_start_us=t_start_us
    )
    shown = book.events(0, t_start_us)
    assert as_list(shown) == want
    assert all(t_start_us <= t < t_start_us + step_us for t in shown.t)
    window = book.window(0, t_start_us)
    assert (window.dtype, window.shape) == (np.float32, (2 * bins, SENSOR.height, SENSOR.width))
    counts = reference_book.window_of(want, sensor=SENSOR, step_us=step_us, bins=bins, t_start_us=t_start_us)
    assert window.tolist() == counts


@given(books(), TIMES)
def test_a_round_shows_every_event_once_in_order_and_the_next_round_the_same(drawn, t_start_us):
    settings, packet, word = drawn
    still = word.model_copy(update={"dx": 0, "dy": 0})
    book = Book.compose([packet], [still], sensor=SENSOR, **settings)
    faster, slower = still.tempo
    played = settings["steps"] * slower // faster
    begin = t_start_us - book.step_of(0, t_start_us) * book.step_us
    shown = [book.events(0, begin + step * book.step_us) for step in range(played)]
    for key in "xyp":
        assert np.concatenate([getattr(part, key) for part in shown]).tolist() == getattr(packet, key).tolist()
    times = np.concatenate([part.t for part in shown])
    assert (np.diff(times) >= 0).all()
    later = [book.events(0, begin + (played + step) * book.step_us) for step in range(played)]
    assert [as_list(part) for part in later] == [
        [(t + played * book.step_us, x, y, p) for t, x, y, p in as_list(part)] for part in shown
    ]


def test_the_step_follows_the_clock_and_the_phase():
    book = small_book()
    assert [book.step_of(0, t) for t in (0, 119, 120, 479, 480, -1)] == [0, 0, 1, 3, 0, 3]
    assert [book.step_of(1, t) for t in (0, 120, 240, 720)] == [4, 5, 0, 4]  # 6 steps at this tempo, 4 ahead


def test_a_time_between_two_steps_shows_the_step_it_is_in():
    book = small_book()
    late, grid = book.events(0, 130), book.events(0, 120)
    assert (late.t - 10).tolist() == grid.t.tolist()
    assert (book.window(0, 130) == book.window(0, 120)).all()


def test_what_is_written_is_what_is_read_to_the_byte(tmp_path):
    book = small_book(seed=7, note="näive ☂")
    book.write(tmp_path / "b")
    read = Book.read(str(tmp_path / "b"))
    assert read.digest == book.digest == hashlib.sha256((tmp_path / "b").read_bytes()).hexdigest()
    assert read.metadata == book.metadata
    assert (read.words, read.sensor, read.step_us, read.bins) == (WORDS, SENSOR, 120, 2)
    for key in ("t", "x", "y", "p", "starts"):
        assert getattr(read, key).dtype == getattr(book, key).dtype
        assert (getattr(read, key) == getattr(book, key)).all()
    read.write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_book_has_the_same_bytes_everywhere():
    # A new digest means another format: old books would no longer match their weights and certificates.
    packet = EventPacket.of(t=[0, 5, 5, 19], x=[0, 1, 2, 3], y=[3, 2, 1, 0], p=[0, 1, 1, 0])
    words = [Word(label="é", presence=True, clip=0, size=1.25), Word(label="nobody", presence=False, clip=1)]
    book = Book.compose([packet, EventPacket.empty()], words, sensor=Sensor(4, 4), steps=2, step_us=10)
    assert book.digest == "ee6d2357dc31213ebf094893420576fd0301cafb7be437f23b9842544be60e9f"


def test_large_sensors_have_coordinates_of_two_bytes(tmp_path):
    packet = EventPacket.of(t=[0], x=[299], y=[200], p=[1])
    word = Word(label="far", presence=True, clip=0)
    for sensor, kind in ((Sensor(300, 256), np.uint16), (Sensor(256, 257), np.uint16), (Sensor(256, 256), np.uint8)):
        inside = packet[: int(sensor.width == 300)]
        book = Book.compose([inside], [word], sensor=sensor, steps=1)
        assert book.x.dtype == book.y.dtype == kind
        assert as_list(book.events(0, 0)) == as_list(inside)


def test_the_number_of_words_bounds_the_bits():
    assert small_book().bits == pytest.approx(1.584962500721156)
    assert small_book([clip()], WORDS[:1]).bits == 0


@pytest.mark.parametrize("number", [-1, 3])
def test_a_word_that_is_not_in_the_book_is_refused(number):
    with pytest.raises(BookError, match=f"words 0 to 2, not {number}"):
        small_book().window(number, 0)


@pytest.mark.parametrize("t_start_us", [1 << 63, -(1 << 63)])
def test_a_time_out_of_range_is_refused(t_start_us):
    with pytest.raises(BookError, match="out of range"):
        small_book().events(0, t_start_us)


def test_a_book_is_read_without_torch():
    code = "import sys, eventveil.models.book; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
