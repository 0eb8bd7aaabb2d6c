"""A subscriber with the book refuses every message that is not exactly what the book says of its header."""

from __future__ import annotations

import numpy as np
import pytest
from pipeline_helpers import DIGEST, OTHER_DIGEST, RUN, gesture, publisher, state, window
from stand_in_helpers import BOOK_SENSOR, STEP_US, WORDS, stand_in_book

from eventveil.errors import BookError, WireError
from eventveil.stream import subscribe
from eventveil.stream.protocol.event_records import event_records
from eventveil.stream.protocol.wire import EventsHeader, Geometry, GestureHeader, WindowHeader, encode

BOOK = stand_in_book()
TOPICS = ("window", "gesture", "events")
WORD, T_START_US = 0, 5 * STEP_US
COMMON = {
    "stream": "0", "run": RUN, "life": 1, "seq": 5, "t_start_us": T_START_US, "t_end_us": T_START_US + STEP_US,
    "age_ms": 250, "sensor": Geometry(width=BOOK_SENSOR.width, height=BOOK_SENSOR.height), "anonymizer": DIGEST,
    "trained": True, "book": BOOK.digest, "word": WORD, "bits_per_second": 8.77,
}  # fmt: skip
LABELS = tuple(word.label for word in WORDS)
GESTURE = {
    "labels": LABELS, "label": WORDS[WORD].label, "presence": True, "probability": None, "classifier": None,
    "classifier_trained": None,
}  # fmt: skip
VALUES, RECORDS = BOOK.window(WORD, T_START_US), event_records(BOOK.events(WORD, T_START_US))


def frames(kind, array=None, **keys):
    return [bytes(frame) for frame in encode(kind.model_validate(COMMON | keys), array)]


def window_of(values=VALUES, **keys):
    return frames(WindowHeader, values, **({"shape": values.shape} | keys))


def events_of(records=RECORDS, **keys):
    return frames(EventsHeader, records, **({"shape": records.shape} | keys))


def gesture_of(**keys):
    return frames(GestureHeader, **(GESTURE | keys))


def received(*messages, book=BOOK):
    with publisher(*messages, state(), topics=4) as endpoint:
        return [message.topic for message in subscribe(endpoint, TOPICS, book=book, timeout_s=60)]


def test_what_the_book_says_is_received(tmp_path):
    BOOK.write(tmp_path / "book")
    messages = (window_of(), events_of(), gesture_of())
    assert received(*messages) == ["window", "events", "gesture", "state"]
    assert received(*messages, book=tmp_path / "book") == ["window", "events", "gesture", "state"]


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


EMPTY = tuple(np.argwhere(VALUES == 0)[0])
BEFORE, AFTER = BOOK.window(WORD, T_START_US - STEP_US), BOOK.window(WORD + 1, T_START_US)


@pytest.mark.parametrize(
    "message",
    {
        "a count more": window_of(changed(VALUES, EMPTY, 1)),
        "a fraction": window_of(changed(VALUES, EMPTY, 1e-30)),
        "a zero with a sign": window_of(changed(VALUES, EMPTY, -0.0)),
        "the step before": window_of(BEFORE),
        "the step before, by name": window_of(t_start_us=T_START_US - STEP_US, t_end_us=T_START_US),
        "another word": window_of(AFTER),
        "another word, by name": window_of(word=WORD + 1),
        "another layout": window_of(VALUES.transpose(0, 2, 1)),
        "no word of the book": window_of(word=len(WORDS)),
        "a step and more": window_of(t_end_us=T_START_US + STEP_US + 1),
        "between two steps": window_of(t_start_us=T_START_US + 1, t_end_us=T_START_US + STEP_US + 1),
        "of another sensor": window_of(sensor=Geometry(width=346, height=260)),
        "an event less": events_of(RECORDS[:-1]),
        "an event later": events_of(changed(RECORDS, -1, (T_START_US + STEP_US, 0, 0, 1))),
        "events of another word": events_of(event_records(BOOK.events(WORD + 1, T_START_US))),
        "a polarity of 3": events_of(changed(RECORDS, 0, (*RECORDS[0].tolist()[:3], 3))),
        "another label": gesture_of(label=WORDS[WORD + 1].label),
        "no label": gesture_of(label=None),
        "nobody there": gesture_of(presence=False),
        "a label more": gesture_of(labels=(*LABELS, "Ann")),
        "labels in another order": gesture_of(labels=LABELS[::-1]),
    }.items(),
    ids=lambda message: message[0],
)
def test_a_message_that_is_not_what_the_book_says_is_refused(message):
    with pytest.raises(BookError, match=r"refused: (window|events|gesture) 5 of stream 0 is not what the book says"):
        received(message[1])


def test_zeros_after_the_events_are_no_place_for_a_message():
    topic, header, payload = events_of()
    assert received([topic, header, payload + bytes(100)]) == ["events", "state"]
    with pytest.raises(WireError, match="bytes other than zeros"):
        received([topic, header, payload + bytes(99) + b"\1"])


def test_a_pipeline_with_another_book_is_refused():
    with pytest.raises(BookError, match=f"the book with SHA-256 {OTHER_DIGEST}, and this one has {BOOK.digest}"):
        received(window_of(book=OTHER_DIGEST))


@pytest.mark.parametrize("message", [window(), gesture()], ids=["window", "gesture"])
def test_a_pipeline_without_a_book_is_refused(message):
    with pytest.raises(BookError, match="no words of a book"):
        received(message)


def test_a_damaged_book_is_refused_before_anything_is_received(tmp_path):
    (tmp_path / "book").write_bytes(b"no book")
    with pytest.raises(BookError, match="expected a safetensors file"):
        next(subscribe("tcp://127.0.0.1:5999", book=tmp_path / "book"))
