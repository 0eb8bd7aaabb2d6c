"""The anonymizer as a transform of events: what a pipeline would publish, alone and in a composition of tonic."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from model_helpers import anonymizer_weights
from moving_disc import moving_disc
from stand_in_helpers import WORDS, book_of, make_stand_in_kit

from eventveil import Sensor
from eventveil.errors import AnonymizerCrashError, BookError, WeightsError
from eventveil.io import open_events
from eventveil.models import Anonymizer, Book, load_weights
from eventveil.models.shipped import NOISY_CHANNEL, NOISY_CHANNEL_GESTURES
from eventveil.training import AnonymizeEvents

FIELDS = [("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "?")]


def made(count, span_us, size=128, begin_us=0):
    random = np.random.default_rng(1)
    events = np.empty(count, FIELDS)
    events["t"] = begin_us + np.sort(random.integers(0, span_us, count))
    for axis in "xy":
        events[axis] = random.integers(0, size, count)
    events["p"] = random.random(count) < 0.5
    return events


def test_windows_are_anonymized_without_overlap_and_with_new_noise_each_time():
    anonymize = AnonymizeEvents(load_weights(NOISY_CHANNEL), (128, 128, 2))
    events = made(4_000, 2_500_000)
    first, second = anonymize(events), anonymize(events)
    assert first.shape == second.shape == (3, 20, 32, 32)
    assert first.dtype == np.float32
    assert (first != second).any(axis=(1, 2, 3)).all()
    assert anonymize(events[:0]).shape == (0, 20, 32, 32)


def test_the_network_gets_the_counts_of_the_events(monkeypatch):
    seen = []
    call = Anonymizer.__call__
    monkeypatch.setattr(Anonymizer, "__call__", lambda self, counts: (seen.extend(counts), call(self, counts))[1])
    events = made(3_000, 11_900_000, begin_us=5_000_000)
    AnonymizeEvents(load_weights(NOISY_CHANNEL), (128, 128, 2))(events)
    counts = np.zeros((12, 10, 2, 32, 32), np.uint16)
    t = events["t"] - 5_000_000
    np.add.at(counts, (t // 1_000_000, t % 1_000_000 // 100_000, events["p"].astype(int),
                       events["y"] // 4, events["x"] // 4), 1)  # fmt: skip
    np.testing.assert_array_equal(np.stack(seen), counts)


def test_a_stand_in_gives_the_words_of_its_book(tmp_path):
    kit = make_stand_in_kit(tmp_path, moving_disc(Sensor(64, 64), 4.0))
    book, weights = Book.read(book_of(kit)), load_weights(kit.anonymizer)
    with open_events(kit.recording) as source:
        packets = list(source)
    events = np.concatenate([np.rec.fromarrays([p.x, p.y, p.t, p.p], dtype=FIELDS) for p in packets])
    anonymize = AnonymizeEvents(weights, (64, 64, 2), book)
    windows = anonymize(events)
    begin_us = int(events["t"][0]) // 100_000 * 100_000
    possible = [
        [book.window(word, begin_us + 100_000 * (9 + number)).tobytes() for word in range(len(WORDS))]
        for number in range(len(windows))
    ]
    chosen = [words.index(window.tobytes()) for words, window in zip(possible, windows, strict=True)]
    assert len(set(chosen)) > 1
    np.testing.assert_array_equal(anonymize(events), windows)  # each call is a stream of its own


def test_a_word_changes_no_more_often_than_a_publisher_lets_it(tmp_path, monkeypatch):
    kit = make_stand_in_kit(tmp_path, moving_disc(Sensor(64, 64), 0.2))
    book, weights = Book.read(book_of(kit)), load_weights(kit.anonymizer)
    anonymize = AnonymizeEvents(weights, (64, 64, 2), book)
    step_us, most = book.step_us, weights.model.config.changes_per_second
    flicker = lambda _self, _counts, _streams, ends_us: [end_us // step_us % 2 for end_us in ends_us]  # noqa: E731
    monkeypatch.setattr(type(anonymize._stand_in), "__call__", flicker)
    windows = anonymize(made(2_000, 5_000_000, size=64))
    begin_us = 10 * step_us - step_us  # the first window ends with the first whole second
    words = [
        next(word for word in (0, 1) if book.window(word, begin_us + step_us * n).tobytes() == window.tobytes())
        for n, window in enumerate(windows)
    ]
    changes = [n for n, (one, other) in enumerate(zip([None, *words], words, strict=False)) if one != other]
    assert len(words) > 20
    spans = [later - earlier for earlier, later in zip(changes, changes[most:], strict=False)]
    assert min(spans) * step_us >= 1_000_000


def test_it_is_a_transform_of_tonic():
    transforms = pytest.importorskip("tonic.transforms", reason="no tonic here: pip install tonic")
    chain = transforms.Compose([
        transforms.TimeJitter(std=10, clip_negative=True, sort_timestamps=True),
        AnonymizeEvents(load_weights(NOISY_CHANNEL), (128, 128, 2)),
    ])  # fmt: skip
    assert chain(made(2_000, 900_000)).shape == (1, 20, 32, 32)


def test_a_worker_that_is_not_forked_gets_it_as_a_pickle():
    anonymize = pickle.loads(pickle.dumps(AnonymizeEvents(load_weights(NOISY_CHANNEL), (128, 128, 2))))
    assert anonymize(made(100, 900_000)).shape == (1, 20, 32, 32)


def test_a_failure_gives_no_window(monkeypatch):
    anonymize = AnonymizeEvents(load_weights(NOISY_CHANNEL), (128, 128, 2))
    monkeypatch.setattr(anonymize._anonymizer._model, "anonymize", lambda *_: 1 / 0)
    with pytest.raises(AnonymizerCrashError):
        anonymize(made(100, 900_000))


def test_what_does_not_fit_is_refused(tmp_path):
    kit = make_stand_in_kit(tmp_path, moving_disc(Sensor(64, 64), 0.2))
    weights = load_weights(kit.anonymizer)
    with pytest.raises(BookError, match="with which the stand-in was trained, got None"):
        AnonymizeEvents(weights, (64, 64, 2))
    with pytest.raises(BookError, match="expected no book"):
        AnonymizeEvents(anonymizer_weights(), (64, 64, 2), Book.read(book_of(kit)))
    with pytest.raises(WeightsError, match="expected weights of an anonymizer"):
        AnonymizeEvents(load_weights(NOISY_CHANNEL_GESTURES), (64, 64, 2))
