"""Books that are damaged or contradict themselves: a BookError that says what is wrong, and nothing else."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import safetensors.numpy
from book_helpers import WORDS, clip, small_book
from mutations import mutate

from eventveil import EventPacket, Sensor
from eventveil.errors import BookError
from eventveil.models import book as book_module
from eventveil.models.book import Book, Word
from eventveil.models.book_format import METADATA_KEY


@pytest.fixture
def file(tmp_path):
    small_book().write(tmp_path / "book")
    return tmp_path / "book"


def rewrite(file, change_tensors=None, change_words=None, remove=None, **metadata):
    """Change the tensors or the metadata of a book."""
    data = file.read_bytes()
    tensors = {key: value.copy() for key, value in safetensors.numpy.load(data).items()}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = json.loads(header["__metadata__"][METADATA_KEY]) | metadata
    if change_tensors:
        change_tensors(tensors)
    if change_words:
        change_words(text["words"])
    text.pop(remove, None)
    file.write_bytes(safetensors.numpy.save(tensors, metadata={METADATA_KEY: json.dumps(text)}))


def setting(key, at, value):
    def change(tensors):
        tensors[key][at] = value

    return change


def swapped(tensors):
    first, last = tensors["starts"][:2]
    t = tensors["t"][first:last]
    assert t[0] != t[-1]
    t[0], t[-1] = t[-1], t[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("x", 3, 7), "expected x from 0 to 6, got 0 to 7"),
        (setting("y", 3, 5), "expected y from 0 to 4, got 0 to 5"),
        (setting("p", 3, 2), "expected p from 0 to 1, got 0 to 2"),
        (setting("t", 0, 120), "expected each event within its step"),
        (setting("t", -1, 2**32 - 1), "expected each event within its step"),
        (swapped, "events of a step in order"),
        (setting("starts", 0, 1), "expected starts that rise from 0 to 120"),
        (setting("starts", -1, 119), "expected starts that rise from 0 to 120"),
        (setting("starts", 1, -5), "expected starts that rise"),
        (setting("starts", 1, 2**62), "expected starts that rise"),
        (lambda t: t.update(starts=t["starts"][:-1]), "starts of whole clips of 4 steps"),
        (lambda t: t.update(starts=t["starts"][:1]), "starts of whole clips of 4 steps"),
        (lambda t: t.update(starts=t["starts"][:0]), "starts of whole clips of 4 steps"),
        (lambda t: t.pop("p"), "the tensors t, x, y, p, starts, got starts, t, x, y"),
        (lambda t: t.update(z=t["p"]), "the tensors t, x, y, p, starts, got p, starts, t, x, y, z"),
        (lambda t: t.update(x=t["x"].astype(np.uint16)), "expected x as 1-D uint8, got uint16"),
        (lambda t: t.update(t=t["t"].astype(np.int64)), "expected t as 1-D uint32, got int64"),
        (lambda t: t.update(p=t["p"][:, None]), r"expected p as 1-D uint8, got uint8 of shape \[120, 1\]"),
        (lambda t: t.update(y=t["y"][1:]), "expected y of 120 events, as t, got 119"),
    ],
)
def test_damaged_events_are_refused(file, change, message):
    rewrite(file, change)
    with pytest.raises(BookError, match=f"{file}: .*{message}.*; make the book again"):
        Book.read(file)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format_version": 2}, "book format 2, this eventveil reads 1; update eventveil"),
        ({"format_version": "1"}, "format_version"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"words": []}, "words: Tuple should have at least 1 item"),
        ({"sensor": [0, 5]}, "sensor.0"),
        ({"sensor": [6, 5]}, "expected x from 0 to 5"),
        ({"sensor": [7, 2_000_000]}, "sensor.1"),
        ({"sensor": [7, 60_000], "bins": 40}, "more than 16777216 counts"),
        ({"bins": 7}, "does not divide into 7 bins"),
        ({"steps": 0}, "steps"),
        ({"steps": 3}, "starts of whole clips of 3 steps"),
        ({"step_us": 118}, "within its step"),
        ({"step_us": 1_000_000, "steps": 5_000}, "shorter than 4294967296 µs"),
        ({"step_us": 120.5}, "step_us"),
    ],
)
def test_wrong_settings_are_refused(file, metadata, message):
    rewrite(file, **metadata)
    with pytest.raises(BookError, match=message):
        Book.read(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": 2}, r"word 1 \(wave\): a clip from 0 to 1, got 2"),
        ({"clip": -1}, "words.1.clip"),
        ({"tempo": [3, 1]}, "a tempo in lowest terms that plays 4 steps in whole steps, got 3/1"),
        ({"tempo": [2, 2]}, "a tempo in lowest terms"),
        ({"tempo": [1, 0]}, "words.1.tempo.1"),
        ({"phase": 6}, "a phase below 6 steps, got 6"),
        ({"dx": 7}, "a shift that leaves some of the clip on the sensor, got 7, -1"),
        ({"dy": -5}, "a shift that leaves some of the clip on the sensor, got 2, -5"),
        ({"presence": False}, "presence as in the other words of this label, got False"),
        ({"dx": 0, "dy": 0, "tempo": [1, 1], "phase": 0, "size": 1.0}, "words that differ, got two that are the same"),
        ({"label": "a\x1b[2J"}, "words.1.label"),
        ({"label": ""}, "words.1.label"),
        ({"size": float("nan")}, "words.1.size"),
        ({"presence": 1}, "words.1.presence"),
        ({"secret": 1}, "words.1.secret"),
    ],
)
def test_wrong_words_are_refused(file, change, message):
    rewrite(file, change_words=lambda words: words[1].update(change))
    with pytest.raises(BookError, match=message):
        Book.read(file)


@pytest.mark.parametrize("key", ["step_us", "bins", "seed", "note"])
def test_a_missing_setting_is_refused_though_it_has_a_default(file, key):
    rewrite(file, remove=key)
    with pytest.raises(BookError, match=f"{file}: {key}: is missing"):
        Book.read(file)


@pytest.mark.parametrize("key", ["dx", "tempo", "phase", "size", "amplitude"])
def test_a_missing_key_of_a_word_is_refused_though_it_has_a_default(file, key):
    rewrite(file, change_words=lambda words: words[1].pop(key))
    with pytest.raises(BookError, match=f"{file}: words.1.{key}: is missing"):
        Book.read(file)


def test_other_metadata_is_refused(file):
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = header["__metadata__"][METADATA_KEY]
    file.write_bytes(safetensors.numpy.save(safetensors.numpy.load(data), metadata={METADATA_KEY: text, "more": "1"}))
    with pytest.raises(BookError, match="expected eventveil as the only metadata, got eventveil, more"):
        Book.read(file)


def test_a_clip_that_no_word_plays_is_refused(file):
    rewrite(file, change_words=lambda words: words.pop())
    with pytest.raises(BookError, match="words for all clips, got none for clip 1"):
        Book.read(file)


def test_more_words_than_the_bound_are_refused():
    words = [Word(label=f"{n}", presence=True, clip=0) for n in range(4097)]
    small_book([clip()], words[:4096])
    with pytest.raises(BookError, match="words: Tuple should have at most 4096 items"):
        small_book([clip()], words)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "other"
    with pytest.raises(BookError, match=r"cannot be read .*; check the path"):
        Book.read(file)
    with pytest.raises(BookError, match=r"cannot be read .*; check the path"):
        Book.read(tmp_path)
    for data in (b"", b"PK\x03\x04", bytes(1000), b"\xff" * 100):
        file.write_bytes(data)
        with pytest.raises(BookError, match="expected a safetensors file"):
            Book.read(file)
    file.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}))
    with pytest.raises(BookError, match="a safetensors file without words; make a book"):
        Book.read(file)


def test_a_file_that_is_too_large_is_not_read(file, monkeypatch):
    monkeypatch.setattr(book_module, "MAX_BYTES", file.stat().st_size - 1)
    with pytest.raises(BookError, match="expected a book of at most"):
        Book.read(file)


def test_a_truncated_book_is_refused_at_every_length(file):
    data = file.read_bytes()
    for length in range(0, len(data), 23):
        file.write_bytes(data[:length])
        with pytest.raises(BookError):
            Book.read(file)


def test_a_mutated_book_is_refused_or_stays_within_the_rules(file, tmp_path):
    # Seeded: the same mutations on every run.
    rng, data = random.Random(5), file.read_bytes()
    refused = 0
    for _ in range(400):
        (tmp_path / "mutated").write_bytes(mutate([data], rng))
        try:
            book = Book.read(tmp_path / "mutated")
        except BookError:
            refused += 1
            continue
        for word in range(len(book.words)):
            for step in range(8):
                window = book.window(word, step * book.step_us)
                assert window.min() >= 0
    assert refused > 200


def test_a_write_that_fails_says_so_and_leaves_no_file(tmp_path):
    with pytest.raises(BookError, match="cannot be written"):
        small_book().write(tmp_path / "missing" / "book")
    (tmp_path / "book").write_bytes(b"mine")
    with pytest.raises(BookError, match="cannot be written"):
        small_book().write(tmp_path / "book", replace=False)
    assert (tmp_path / "book").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["book"]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (EventPacket.of(t=[480], x=[0], y=[0], p=[0]), "t from 0 to 479, got 480"),
        (EventPacket.of(t=[-1], x=[0], y=[0], p=[0]), "t from 0 to 479, got -1"),
        (EventPacket.of(t=[2**32], x=[0], y=[0], p=[0]), "t from 0 to 479, got 4294967296"),
        (EventPacket.of(t=[0], x=[256], y=[0], p=[0]), "x from 0 to 6, got 256"),
        (EventPacket.of(t=[3, 2], x=[0, 0], y=[0, 0], p=[0, 0]), "in order of time"),
        (EventPacket.of(t=[300, 2], x=[0, 0], y=[0, 0], p=[0, 0]), "book: expected"),
    ],
)
def test_clips_that_break_the_rules_are_refused(events, message):
    with pytest.raises(BookError, match=message):
        small_book([events], WORDS[:1])


def test_a_book_needs_clips():
    with pytest.raises(BookError, match="starts of whole clips"):
        Book.compose([], WORDS[:1], sensor=Sensor(7, 5), steps=4)
